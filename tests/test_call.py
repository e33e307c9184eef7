"What a sampler is called with, checked before a step runs; and the draw after them"
import pytest
import torch

import llm_sampling as ls
from llm_sampling.call import begin, choose, float32_of, is_cold, position_of

z = torch.tensor([[2., 1, 0], [0, 3, 1]])


@pytest.mark.parametrize('position, want', [(0, 0), (7, 7), (2**63 - 1, 2**63 - 1)])
def test_one_position(position, want):
    assert position_of(position, z, True) == want


def test_positions_of_rows():
    assert position_of([4, 7], z, True).tolist() == [4, 7]
    assert position_of(torch.tensor([4, 7]), z, True).tolist() == [4, 7]
    assert position_of(None, z, False, ['seed']) == position_of(None, z, True) == 0


@pytest.mark.parametrize('position', [-1, 2**63, True, 'a', [1, 2, 3], [-1, 0], [[0]],
                                      .5])
def test_wrong_positions(position):
    with pytest.raises((TypeError, ValueError), match='position must'):
        position_of(position, z, True)


def test_a_guess_is_refused():
    with pytest.raises(ValueError, match='position must be given for seed'):
        position_of(None, z, True, ['seed', 'presence_penalty'])


@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16, torch.float32])
def test_logits_become_float32_once(dtype):
    out = float32_of(z.to(dtype), ['top_k'])
    assert out.dtype == torch.float32 and out.equal(z)


def test_large_float64_rows_keep_their_differences():
    large = torch.tensor([1e12, 1e12 - 1], dtype=torch.float64)
    assert (float32_of(large, ['top_p']) == torch.tensor([0., -1])).all()
    for kept in (float32_of(large, ['repetition_penalty']), float32_of(large, ['mine']),
                 float32_of(large, ['top_p'], shift=False)):
        assert kept[0] == kept[1] == 1e12            # as they are: the step sees more


def test_fresh_seeds_only_where_something_rolls():
    assert begin(ls.Sampler(top_k=2), z)[1].seed is None
    assert begin(ls.Sampler(temperature=0), z, draw=True)[1].seed is None
    assert begin(ls.Sampler(top_k=2), z, draw=True)[1].seed.shape == (2,)
    assert begin(ls.Sampler(xtc_probability=.5), z)[1].seed.shape == (2,)


def test_what_is_missing_is_named():
    ids = torch.zeros(2, 1).long()
    for s, given, said in (
            (ls.Sampler(dry_multiplier=1.), {}, 'ids must be given for dry_multiplier'),
            (ls.Sampler(adaptive=ls.Mirostat2(2.)), {}, 'state must be given'),
            (ls.Sampler(top_k=[1, 2, 3]), {}, 'top_k must'),
            (ls.Sampler(ban_tokens=['a']), dict(ids=ids), 'needs a tokenizer'),
            (ls.Sampler(frequency_penalty=1.), dict(ids=ids), 'for frequency_penalty')):
        with pytest.raises(ValueError, match=said): begin(s, z, **given)


def test_cold_is_what_float32_takes_for_zero():
    assert is_cold(0) and is_cold(1e-39) and not is_cold(1e-37)
    assert is_cold(torch.tensor([0, 1e-40, 1e-30])).tolist() == [True, True, False]


def test_greedy_and_drawn_rows_share_a_batch():
    rows = z.repeat(50, 1)
    s = ls.Sampler(temperature=[0, 9.] * 50, seed=range(100))
    logits, context = begin(s, rows, draw=True)
    chosen = choose(logits, context, s.draws)
    assert (chosen[::2] == 0).all() and len({*chosen[1::2].tolist()}) == 3
    named = torch.tensor([[10, 20, 30]]).expand(100, -1)
    assert choose(logits, context, s.draws, named)[::2].tolist() == [10] * 50


def test_no_host_sync():
    meta = torch.zeros(2, 5, device='meta')
    assert begin(ls.Sampler(top_k=[1, 2], temperature=.5), meta)[0].is_meta
