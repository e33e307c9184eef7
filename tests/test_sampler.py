"""The sampler: every step in every order, the short cut against the plain path, laws
against float64, and what it refuses"""
import numpy as np
import pytest
import torch
from checks import commutes, frequencies, on_meta
from hypothesis import given
from hypothesis import strategies as st

from strategies import rows
from llm_sampling import Mirostat2, Sampler
from llm_sampling.multinomial import greedy, sample
from llm_sampling.sampler import EXTRA, ORDERS, STEPS, candidates

CUTS = [dict(top_k=1), dict(top_k=7), dict(top_p=0), dict(top_p=.5), dict(top_p=.95),
        dict(min_p=.1), dict(min_p=1), dict(top_k=20, top_p=.9),
        dict(top_k=30, min_p=.02), dict(top_p=.9, min_p=.05),
        dict(top_k=40, top_p=.9, min_p=.1)]
# one value for each step that has one, strong enough to do something
ALL = dict(logit_bias={0: 1., 2: float('-inf')}, ban_tokens=[[1, 2], [3]],
           no_repeat_ngram_size=2, repetition_penalty=1.3, frequency_penalty=.4,
           presence_penalty=.3, dry_multiplier=.8, temperature=.7,
           dynamic_temperature=(.5, 1.5), top_h=.8, top_k=6, top_p=.9, min_p=.02,
           typical_p=.95, epsilon_cutoff=.01, eta_cutoff=.01, top_a=.05, top_n_sigma=2.,
           p_less=True, tail_free=.95, xtc_probability=.5)
IDS = torch.tensor([[3, 1, 4, 1, 5, 1, 4], [0, 0, 2, 7, 1, 2, 7]])
MASK = torch.tensor([[True] * 7, [False, False] + [True] * 5])


def plain(s, z, seed, position=0):
    "The token without the short cut"
    law, t = s.filter(z, position=position), s.knobs.get('temperature', 1)
    drawn = sample(law, seed, position)
    return torch.where(torch.as_tensor(t) == 0, greedy(law), drawn)


def test_every_step_has_a_test_value():
    assert set(ALL) | {'adaptive'} == set(STEPS)


@given(st.data())
def test_short_cut_returns_the_plain_token(data):
    g = torch.Generator().manual_seed(data.draw(st.integers(0, 10**6)))
    vocab = data.draw(st.sampled_from([7, 40, 1100, 2053, 6000]))
    z = torch.randn(3, vocab, generator=g) * data.draw(st.sampled_from([.1, 1, 3, 10]))
    kind = data.draw(st.sampled_from(['plain', 'ties', 'masked', 'few', 'sorted',
                                      'bfloat16', 'spike']))
    if kind == 'ties': z = (z * 4).round() / 4
    if kind == 'masked':
        z = z.masked_fill(torch.rand(z.shape, generator=g) < .9, -torch.inf)
    if kind == 'few':
        z = torch.full_like(z, -torch.inf)
        z[:, [3, 5, vocab - 1]] = torch.tensor([1., 2, 2])
    if kind == 'sorted': z = z.sort(-1).values
    if kind == 'bfloat16': z = z.bfloat16()
    if kind == 'spike': z[:, vocab // 2] = 60
    cut = data.draw(st.sampled_from(CUTS))
    t = data.draw(st.sampled_from([None, 0, .1, .8, 3]))
    order = data.draw(st.sampled_from(list(ORDERS)))
    seed = torch.tensor([1, 2, 3])
    s = Sampler(**cut, temperature=t, order=order, seed=seed)
    if z.isfinite().any(-1).all():
        assert s(z, position=5).tolist() == plain(s, z, seed, 5).tolist()


def test_short_cut_with_knobs_per_row():
    z = torch.randn(6, 3000, generator=torch.Generator().manual_seed(1)) * 3
    seed = torch.arange(6)
    for knobs in (dict(top_k=[1, 5, None, 50, 2, 9]),
                  dict(top_k=[1, 5, 7, 50, 2, 9], top_p=[.1, .5, None, 1, .9, .95]),
                  dict(top_p=[.1, .5, .3, .2, .9, .95], min_p=[0, .5, None, .01, .1, 1],
                       temperature=[0, .5, 1, 2, None, 0])):
        for order in ORDERS:
            s = Sampler(**knobs, seed=seed, order=order)
            assert s(z).tolist() == plain(s, z, seed).tolist()


def test_a_wrong_bound_would_be_caught(monkeypatch):
    """The comparison above can fail: a list that leaves out the largest logit gives
    other tokens"""
    import llm_sampling.sampler as module
    z = torch.randn(50, 3000, generator=torch.Generator().manual_seed(2)) * 3
    seed = torch.arange(50)
    s = Sampler(top_k=5, seed=seed)
    want = plain(s, z, seed).tolist()
    assert s(z).tolist() == want
    def lossy(z, n):
        short, ids, count, whole = candidates(z, n)
        return np.where(short == short.max(-1, keepdims=True), -np.inf,
                        short).astype(np.float32), ids, count, whole
    monkeypatch.setattr(module, 'candidates', lossy)
    assert s(z).tolist() != want


@given(rows(vocab=9), st.sampled_from(list(ORDERS)))
def test_a_chain_is_its_steps(row, order):
    "`filter` is the composition of the functions, in the order of the preset"
    z = torch.stack([row, row.flip(-1)])
    s = Sampler(**ALL, seed=3, order=order)
    assert s.steps == [n for n in ORDERS[order] if n != 'adaptive']
    want, context = s._begin(z, IDS, MASK, 3, None)
    for name in s.steps: want = STEPS[name].apply(want, s.knobs[name], context)
    got = s.filter(z, IDS, MASK, 3)
    assert torch.equal(got.nan_to_num(7), want.nan_to_num(7))


@pytest.mark.parametrize('name', list(ALL))
def test_each_step_alone(name):
    """One row of a batch is the row alone, the input stays, a permutation only
    permutes, and no value is read from the device"""
    g = torch.Generator().manual_seed(5)
    z = torch.randn(2, 9, generator=g) * 2
    s, before = Sampler(**{name: ALL[name]}, seed=torch.tensor([4, 5])), z.clone()
    whole = s.filter(z, IDS, MASK, 3)
    assert torch.equal(z, before) and not torch.equal(whole, z)
    for i in range(2):
        alone = s.rows(torch.tensor([i])).filter(z[i:i+1], IDS[i:i+1], MASK[i:i+1], 3)
        torch.testing.assert_close(alone, whole[i:i+1], rtol=0, atol=0)
    if not s.steps[0] in ('logit_bias', 'ban_tokens', 'no_repeat_ngram_size',
                          'repetition_penalty', 'frequency_penalty', 'presence_penalty',
                          'dry_multiplier'):
        commutes(lambda x: Sampler(**{name: ALL[name]}, seed=4).filter(x), z.round())
    on_meta(lambda x, i, m: s.filter(x, i, m, 3), z, IDS, MASK)


def test_padding_never_counts():
    """The same text with and without pads on the left, pads being tokens of the
    vocabulary"""
    z = torch.randn(1, 9, generator=torch.Generator().manual_seed(6))
    for name in ('repetition_penalty', 'frequency_penalty', 'presence_penalty',
                 'no_repeat_ngram_size', 'dry_multiplier', 'ban_tokens'):
        s = Sampler(**{name: ALL[name]})
        alone = s.filter(z, IDS[1:, 2:], None, 3)
        torch.testing.assert_close(s.filter(z, IDS[1:], MASK[1:], 3), alone, rtol=0,
                                   atol=0)


@pytest.mark.parametrize('order', list(ORDERS))
def test_draws_follow_the_law_in_float64(order):
    """40,000 draws through each preset against its law, by numpy in float64 for
    temperature, top-k, top-p and min-p"""
    row = np.log(np.array([30., 20, 15, 12, 9, 6, 4, 2, 1, 1]))
    def law(z, steps):
        for name, v in steps:
            p = np.exp(z - z.max()); p /= p.sum()
            if name == 'temperature': z = z / v
            if name == 'top_k': z = np.where(z >= np.sort(z)[-v], z, -np.inf)
            if name == 'min_p': z = np.where(p >= v * p.max(), z, -np.inf)
            if name == 'top_p':
                z = np.where(np.array([p[p > x].sum() for x in p]) < v, z, -np.inf)
        p = np.exp(z - z.max())
        return p / p.sum()
    knobs = dict(temperature=1.3, top_k=8, top_p=.93, min_p=.06)
    want = law(row, [(n, knobs[n]) for n in ORDERS[order] if n in knobs])
    n = 40_000
    ids = Sampler(**knobs, order=order,
                  seed=torch.arange(n))(torch.tensor(row).float().expand(n, -1))
    frequencies(ids, torch.tensor(want))


def test_state_can_be_copied_indexed_and_rolled_back():
    z = torch.randn(3, 50, generator=torch.Generator().manual_seed(7)) * 2
    s = Sampler(adaptive=Mirostat2(tau=2., eta=.5), seed=torch.tensor([1, 2, 3]))
    def walk(s, z, state, start, steps):
        out = []
        for n in range(start, start + steps):
            ids = s(z, position=n, state=state)
            state = s.update(state, z, ids); out.append(ids)
        return torch.stack(out, -1), state
    first, middle = walk(s, z, s.init(3), 0, 5)
    copy = middle.clone()
    ahead, _ = walk(s, z, middle, 5, 5)
    assert torch.equal(middle, copy)  # nothing is changed in place
    again, _ = walk(s, z, middle, 5, 5)
    assert torch.equal(ahead, again)  # rolled back, the same tokens
    at = torch.tensor([2, 0])
    picked, _ = walk(s.rows(at), z[at], middle[at], 5, 5)
    assert torch.equal(picked, ahead[at])  # rows go their own way


def test_explain_covers_every_step():
    told = Sampler(**ALL, seed=1).explain(
        torch.randn(2, 9, generator=torch.Generator().manual_seed(8)), IDS, MASK, 3)
    assert ([r.step.split()[0] for r in told.report(1)][1:]
            == [n for n in ORDERS['transformers'] if n in ALL])
    assert all(r.why for r in told.report(0)[1:]) and 'why' in str(told)


BAD = dict(temperature=[-1, float('nan'), float('inf'), 'a', True], top_k=[0, -1, 2.5],
           top_p=[-.1, 1.1, float('nan')], min_p=[-.1, 1.1], top_a=[-1, 2],
           top_n_sigma=[0, -1], typical_p=[0, 1.1], epsilon_cutoff=[-.1, 1],
           eta_cutoff=[-.1, 1], top_h=[0, 1.1], tail_free=[0, 2],
           repetition_penalty=[0, -1], frequency_penalty=[float('inf'), 'a'],
           presence_penalty=[float('nan')], no_repeat_ngram_size=[0, 1.5, [2, 3]],
           dry_multiplier=[-1], dry_base=[-1, 'a'], dry_allowed_length=[-1, 1.5],
           dry_breakers=[[-1], [1.5], 'a', 3], xtc_probability=[-.1, 1.1],
           xtc_threshold=[-.1, 1.1],
           logit_bias=[{'a': None}, {'': 1}, {-1: 1},
                       {1: float('inf')}, {1: float('nan')}, [1]],
           ban_tokens=[[[]], [['a']], 'a', [''], 3, [3]],
           dynamic_temperature=[(1,), (2, 1), (-1, 1), 3, (1, 2, -1)],
           p_less=[3, 'yes'], adaptive=['mirostat'],
           order=['hf', ['top_q'], ['top_k', 'top_k']],
           seed=['x', 1.5, 2**64])

def test_every_keyword_is_tested_for_bad_values():
    assert set(BAD) == set(STEPS) | set(EXTRA) | {'order', 'seed'}

@pytest.mark.parametrize('name,value', [(n, v) for n, vs in BAD.items() for v in vs])
def test_bad_knobs_are_named(name, value):
    more = (dict(dry_multiplier=.5)
            if name.startswith('dry_') and name != 'dry_multiplier'
            else dict(xtc_probability=.5)
            if name == 'xtc_threshold'
            else {})
    with pytest.raises((TypeError, ValueError), match=name):
        Sampler(**{name: value}, **more)


def test_bad_calls_are_named():
    z = torch.zeros(2, 9)
    with pytest.raises(ValueError, match='ids must be given for presence_penalty'):
        Sampler(presence_penalty=.5)(z)
    with pytest.raises(ValueError, match='state must be given'):
        Sampler(adaptive=Mirostat2(3.))(z)
    with pytest.raises(ValueError,
                       match=r'top_p must have one entry per row, shape \(2,\)'):
        Sampler(top_p=[.5] * 3)(z)
    with pytest.raises(ValueError, match="lacks 'min_p'"):
        Sampler(min_p=.1, order=['top_k'])
    with pytest.raises(TypeError, match='logits'):
        Sampler()(torch.zeros(2, 9, dtype=torch.long))
    for bad in (torch.nan, torch.inf, -torch.inf):
        x = torch.zeros(2, 3000); x[1, 2999] = bad
        if bad == -torch.inf: x[1] = bad
        for s in (Sampler(), Sampler(top_k=5), Sampler(top_p=.9), Sampler(min_p=.1),
                  Sampler(temperature=0)):
            with pytest.raises(ValueError, match=r'row \[1\]'): s(x)


def test_forms_of_a_knob():
    "numpy's numbers and arrays, lists, tensors, and the empty containers that are off"
    z = torch.randn(2, 9, generator=torch.Generator().manual_seed(1))
    want = Sampler(temperature=[.5, 2.]).filter(z)
    for form in (np.array([.5, 2.]), torch.tensor([.5, 2.]), (.5, 2.)):
        assert torch.equal(Sampler(temperature=form).filter(z), want)
    assert torch.equal(Sampler(temperature=np.float32(.5)).filter(z),
                       Sampler(temperature=.5).filter(z))
    assert not Sampler(ban_tokens=[], logit_bias={}, p_less=False, top_k=None).steps
    assert Sampler(dynamic_temperature=[.5, 1.5]).steps == ['dynamic_temperature']
    s = Sampler(temperature=[.5, 1]).rows([1], seed=4)
    assert repr(s) == 'Sampler(temperature=[None], seed=4)'
    assert Sampler(frequency_penalty=1.).filter(z, IDS, MASK, [2, 1]).equal(
        Sampler(frequency_penalty=1.).filter(z, IDS, MASK, torch.tensor([2, 1])))


def test_update_repeats_the_roll():
    """With a seed `update` sees the law the token was drawn from; without one it
    cannot, and says so"""
    z = torch.tensor([[2., 1.9, 0, 0]])
    s = Sampler(xtc_probability=.5, adaptive=Mirostat2(3.))
    with pytest.raises(ValueError, match='seed must be given'):
        s.update(s.init(1), z, torch.tensor([0]))
    for seed in range(20):
        s = Sampler(xtc_probability=.5, adaptive=Mirostat2(3.), seed=seed)
        state = s.init(1)
        ids = s(z, position=4, state=state)
        # the token was possible, so it counts
        assert not torch.equal(s.update(state, z, ids, position=4), state)


def test_fresh_seeds_follow_torch():
    z = torch.zeros(4, 500)
    s = Sampler(top_k=400, xtc_probability=.5)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed); draws.append(s(z).tolist())
    assert draws[0] == draws[1] != draws[2]
