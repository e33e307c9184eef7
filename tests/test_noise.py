"Noise, seeds and hashes against unsigned integers of plain Python"
import pytest
import torch

from llm_sampling import noise, row_seeds, sample
from llm_sampling.noise import gumbel_noise, mix, uniform_noise

M = 2**32 - 1

def scramble(x, key=0):
    x = (x ^ x >> 16) * 0x7feb352d & M ^ key & M
    x = (x ^ x >> 15) * 0x846ca68b & M
    return x ^ x >> 16

def keys(seed, parts, salt):
    for start in (0x243f6a88, 0x13198a2e):
        h = scramble(start + salt)
        for part in (seed & M, seed >> 32 & M, *parts): h = scramble(h ^ part)
        yield h

def mixed(seed, j):
    if j == 0: return seed
    low, high = keys(seed, (j & M, j >> 32 & M), 0x5eed)
    value = low | high << 32
    return value - 2**64 if value >= 2**63 else value

def prompt_hash(ids):
    h = 0
    for place, i in enumerate(ids, 1): h ^= scramble(i, scramble(place))
    return scramble(h ^ len(ids)) + (0x70726f6d << 32)


@pytest.mark.parametrize('seed', [0, 1, -7, 2**63 - 1, -2**63, 5 + 2**32])
@pytest.mark.parametrize('position, salt', [(0, 0), (3, 0), (2**31 - 1, 0x787463)])
def test_uniform_noise(seed, position, salt):
    a, b = keys(seed, (position,), salt)
    want = [(scramble(i ^ a, b) + .5) * 2**-32 for i in range(40)]
    got = uniform_noise(seed, position, 40, salt)
    torch.testing.assert_close(got, torch.tensor(want), rtol=1e-6, atol=0)
    clock = -torch.log1p(-torch.tensor(want, dtype=torch.float64))
    torch.testing.assert_close(gumbel_noise(seed, position, 40, salt).double(),
                               -clock.log(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('seed', [0, 1, -7, 2**63 - 1, 5 + 2**32])
def test_mix(seed):
    for j in (0, 1, 5, 5 + 2**32, -1): assert mix(seed, j).item() == mixed(seed, j)


@pytest.mark.parametrize('ids', [[7], [0, 0], [7, 8, 9], list(range(100))])
@pytest.mark.parametrize('pads', [0, 3])
def test_row_seeds(ids, pads):
    "Padded or not, the mixed seed of the prompt, then of the sample"
    own = mixed(11, prompt_hash(ids))
    row = torch.tensor([[5] * pads + ids])
    mask = torch.tensor([[False] * pads + [True] * len(ids)])
    assert row_seeds(11, row, mask, n=3).tolist() == [mixed(own, j) for j in range(3)]


@pytest.mark.parametrize('call', [
    lambda ids: row_seeds(0, ids, n=0), lambda ids: row_seeds(0, ids, n=True),
    lambda ids: row_seeds([1, 2, 3], ids), lambda ids: row_seeds(.5, ids),
    lambda ids: row_seeds(0, ids[0]), lambda ids: row_seeds(0, ids[:, :0]),
    lambda ids: sample(torch.zeros(2, 3), [1, 2, 3]),
    lambda ids: sample(torch.zeros(2, 3), 0, [1, 2, 3]),
    lambda ids: sample(torch.zeros(2, 3), 0, ids=ids)])
def test_what_is_refused(call):
    named = '^(n|seed|ids|mask|position) must'
    with pytest.raises((TypeError, ValueError), match=named):
        call(torch.tensor([[1, 2], [3, 4]]))


def test_no_rows_have_no_noise():
    "Empty tensors have strides that numpy does not view as other integers"
    none = torch.zeros(0, dtype=torch.long)
    assert mix(none, 1).shape == (0,)
    assert gumbel_noise(none, 0, 5).shape == (0, 5)
    assert row_seeds(1, none.new_zeros(0, 3)).shape == (0,)


@pytest.mark.parametrize('lead', [(7,), (2, 3)])
@pytest.mark.parametrize('named', [False, True])
def test_a_draw_in_blocks_is_the_draw_at_once(monkeypatch, lead, named):
    g = torch.Generator().manual_seed(3)
    z = torch.randn(*lead, 40, generator=g)
    ids = torch.randint(0, 500, (*lead, 40), generator=g).sort(-1).values
    ids += torch.arange(40)                             # ascending
    seeds = torch.randint(-2**63, 2**63 - 1, lead, generator=g)
    places = torch.randint(0, 99, lead, generator=g)
    draw = lambda: [noise.sample(z, s, p, ids=ids if named else None).tolist()
                    for s in (seeds, 5) for p in (places, 7)]
    whole = draw()
    for block in (1, 40, 81, 200):
        monkeypatch.setattr(noise, '_BLOCK', block)
        assert draw() == whole
