"""The sampler: every step in every order, the short cut against the plain path, draws
against float64, and what it refuses"""
from unittest.mock import patch

import numpy as np
import pytest
import torch
from checks import commutes, frequencies, on_meta
from hypothesis import given
from hypothesis import strategies as st

from strategies import rows
from llm_sampling import Mirostat2, Sampler
from llm_sampling.multinomial import greedy
from llm_sampling.noise import sample
from llm_sampling.steps import EXTRA, ORDERS, STEPS, Context, read_order

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
    kept, t = s.filter(z, position=position), s.knobs.get('temperature', 1)
    drawn = sample(kept, seed, position)
    return torch.where(torch.as_tensor(t) == 0, greedy(kept), drawn)


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
        with patch('llm_sampling.shortlist.LEAST', 0): got = s(z, position=5).tolist()
        assert got == plain(s, z, seed, 5).tolist()


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


@given(rows(vocab=9), st.sampled_from(list(ORDERS)))
def test_a_chain_is_its_steps(row, order):
    "`filter` is the composition of the functions, in the order of the preset"
    z = torch.stack([row, row.flip(-1)])
    s = Sampler(**ALL, seed=3, order=order)
    assert s.steps == [n for n in ORDERS[order] if n != 'adaptive']
    context = Context(IDS, MASK, 3, s.seed, None, s.knobs)
    want = z
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
def test_draws_follow_the_probabilities_in_float64(order):
    """40,000 draws through each preset against its probabilities, by numpy for
    temperature, top-k, top-p and min-p"""
    row = np.log(np.array([30., 20, 15, 12, 9, 6, 4, 2, 1, 1]))
    def dist(z, steps):
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
    want = dist(row, [(n, knobs[n]) for n in ORDERS[order] if n in knobs])
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
    rows = told.report(0)[1:]
    assert all(r.why for r in rows) and all(r.why in str(told) for r in rows)


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
           processors=[3, {'top_k': len}, {'a': 1}, {1: len}, {'seed': len}],
           order=['hf', ['top_q'], ['top_k', 'top_k']],
           seed=['x', 1.5, 2**64])

def test_every_keyword_is_tested_for_bad_values():
    assert set(BAD) == set(STEPS) | set(EXTRA) | {'order', 'processors', 'seed'}

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
    """With a seed `update` sees what the token was drawn from; without one it
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


# --- steps of one's own ---

def odd_out(ids, logits):
    "Ban the odd ids, writing into what it is given"
    logits[..., 1::2] = -torch.inf
    return logits

class Counting:
    "Ban the tokens it has seen given, a count per row: a memory"
    def __init__(self, counts): self.counts = counts
    def __call__(self, ids, logits):
        self.counts = self.counts + 1
        return logits - self.counts[:, None]
    def rows(self, index): return Counting(self.counts[index])


@pytest.mark.parametrize('knobs', [
    dict(), dict(top_k=3), dict(temperature=.5, top_p=.9), dict(temperature=0),
    dict(top_k=5, order='mlx'), dict(min_p=.1, order='llama.cpp')])
def test_own_step_on_every_path(knobs):
    "Its tokens are banned by hand first: without later steps before it, the same"
    z = torch.randn(4, 2000, generator=torch.Generator().manual_seed(1)) * 3
    order = read_order(knobs.get('order', 'transformers'))
    first = dict(knobs, order=['odd_out', *order])
    s = Sampler(**first, processors={'odd_out': odd_out}, seed=[1, 2, 3, 4])
    bare, banned = Sampler(**knobs, seed=[1, 2, 3, 4]), odd_out(None, z.clone())
    before = z.clone()
    assert torch.equal(s.filter(z), bare.filter(banned))
    assert s(z).tolist() == bare(banned).tolist()
    assert torch.equal(z, before)
    index = torch.tensor([2, 0])
    assert s.rows(index)(z[index]).tolist() == bare(banned)[index].tolist()
    name, kept = s.explain(z).report(0)[1][:2]
    assert (name, kept) == ('odd_out', 1000)


def test_own_step_before_an_adaptive_one():
    "`update` sees the logits that its step left"
    z = torch.randn(2, 50, generator=torch.Generator().manual_seed(2))
    mirostat = Mirostat2(tau=2.)
    s = Sampler(processors={'odd_out': odd_out}, adaptive=mirostat, seed=1)
    state, ids = s.init(2), torch.tensor([0, 2])
    want = mirostat.update(state, odd_out(None, z.clone()), ids)
    assert torch.equal(s.update(state, z, ids), want)
    memory = {'counting': Counting(torch.zeros(2))}
    with pytest.raises(ValueError, match="^processors must have no memory"):
        Sampler(processors=memory, adaptive=mirostat)


def test_own_step_is_part_of_the_sampler():
    s = Sampler(top_k=3, processors={'odd_out': odd_out})
    assert s == Sampler(top_k=3, processors={'odd_out': odd_out}) != Sampler(top_k=3)
    assert s != Sampler(top_k=3, processors={'odd_out': lambda ids, z: z})
    assert repr(s) == "Sampler(top_k=3, processors={'odd_out': odd_out})"
    assert s.replace(top_k=None).steps == ['odd_out'] and s.odd_out is odd_out
    assert s.replace(processors=None) == Sampler(top_k=3)
    assert s.processors == {'odd_out': odd_out} and Sampler().processors is None
    with pytest.raises(ValueError, match="order must hold step names"):
        s.replace(processors=None, order=['odd_out', 'top_k'])


def test_a_memory_follows_its_rows():
    z = torch.zeros(3, 4)
    s = Sampler(processors={'counting': Counting(torch.tensor([0., 10, 20]))})
    picked = s.rows(torch.tensor([2, 0, 2]))
    assert picked.filter(z)[:, 0].tolist() == [-21, -1, -21]
    assert s.filter(z)[:, 0].tolist() == [-1, -11, -21]     # its own count
    ids = torch.arange(6).view(3, 2)
    spread = s.spread(ids, n=2).knobs['counting'].counts
    assert spread.tolist() == [1, 1, 11, 11, 21, 21]
    class Lost:
        memory = True
        def __call__(self, ids, logits): return logits
    s = Sampler(processors={'lost': Lost()})
    assert torch.equal(s.filter(z), z)
    for call in (lambda: s.rows([0]), lambda: s.spread(ids),
                 lambda: Sampler.stack([s])):
        with pytest.raises(ValueError, match="^processors must"): call()


@pytest.mark.parametrize('name', ['stages', 'filter', '__call__', 'explain', 'update',
                                  'rows', '_apply', 'spread', 'init', 'draws', 'stack'])
def test_a_subclass_leaves_the_machinery_alone(name):
    with pytest.raises(TypeError, match=f"must not override '{name}'"):
        type('Mine', (Sampler,), {name: lambda self, *args: None})
    class Warm(Sampler):
        def __init__(self, **knobs): super().__init__(**dict(temperature=2.) | knobs)
    assert Warm(top_k=1).steps == ['temperature', 'top_k']


# --- what a search adds up ---

@pytest.mark.parametrize('knobs', [
    dict(temperature=.5), dict(temperature=[.5, 1., 0., 3.]), dict(temperature=0),
    dict(dynamic_temperature=(.5, 2.)), dict(dynamic_temperature=(0., 0.)),
    dict(temperature=2., dynamic_temperature=(.5, 2.)), dict(temperature=1e-45)])
def test_unshifted_is_the_same_but_for_a_constant(knobs):
    """The differences are those of `filter`; the largest is the largest log-probability
    divided by the temperature that the differences show"""
    g = torch.Generator().manual_seed(7)
    logp = torch.randn(4, 30, generator=g).log_softmax(-1)
    a = Sampler(**knobs).filter(logp)
    b = Sampler(**knobs).filter(logp, shift=False)
    assert torch.equal(a == -torch.inf, b == -torch.inf)
    torch.testing.assert_close(b.softmax(-1), a.softmax(-1))
    for row in range(4):
        kept, x, y = a[row] > -torch.inf, logp[row].double(), b[row].double()
        if kept.sum() == 1: want = x[kept]
        else: want = x * ((y.max() - y.min()) / (x.max() - x.min()))
        torch.testing.assert_close(y[kept], want, rtol=1e-4, atol=1e-4)


def test_stages_are_the_walk():
    z = torch.randn(2, 9, generator=torch.Generator().manual_seed(5))
    s = Sampler(**ALL, seed=3)
    told = list(s.stages(z, IDS, MASK, 3))
    assert [name for name, _, _ in told] == ['model', *s.steps]
    for (_, _, after), (_, before, _) in zip(told, told[1:]): assert after is before
    assert torch.equal(told[-1][2], s.filter(z, IDS, MASK, 3))
    with pytest.raises(ValueError, match='ids must be given'): s.stages(z)


def test_rows_and_how_they_print():
    s = Sampler(temperature=[0, .5, 5], top_k=3, seed=torch.tensor([10, 11, 12]))
    assert repr(s) == ('Sampler(temperature=[0.0, 0.5, 5.0], top_k=3, '
                       'seed=[10, 11, 12])')
    assert repr(s.rows(torch.tensor([2, 0, 0]))) == (
        'Sampler(temperature=[5.0, 0.0, 0.0], top_k=3, seed=[12, 10, 10])')
    assert s.rows(torch.tensor([1]), seed=torch.tensor([4])).seed.tolist() == [4]
    assert repr(Sampler(seed=3).rows(torch.tensor([0, 0]))) == 'Sampler(seed=3)'
    assert repr(Sampler(top_k=np.int64(5), temperature=np.float32(.5))) == (
        'Sampler(temperature=0.5, top_k=5)')
    z = torch.randn(3, 9, generator=torch.Generator().manual_seed(0))
    order = torch.tensor([2, 0, 1])
    assert s.rows(order)(z[order]).equal(s(z)[order])


def test_what_penalties_and_bans_see():
    "Prompt `2 1` after two pads, output `3 8`: pads never, the prompt by some"
    ids = torch.tensor([[0, 0, 2, 1, 3, 8]])
    mask = torch.tensor([[False, False, True, True, True, True]])
    z = torch.tensor([[4.51, .89, -1.90, 6.75, 1.63, -1.62, -1.89, 6.28, 1.79]])
    for knob, touched in ((dict(repetition_penalty=1.2), [1, 2, 3, 8]),
                          (dict(frequency_penalty=.5), [3, 8]),
                          (dict(presence_penalty=.5), [3, 8]),
                          (dict(no_repeat_ngram_size=1), [1, 2, 3, 8]),
                          (dict(ban_tokens=[[3, 8, 5], [7]]), [5, 7]),
                          (dict(logit_bias={4: 1., 6: -torch.inf}), [4, 6])):
        after = Sampler(**knob).filter(z, ids, mask, position=2)
        assert (after != z).nonzero()[:, 1].tolist() == touched, knob


def test_a_row_of_a_memory_is_the_row_alone():
    z = torch.tensor([4.51, .89, -1.90, 6.75, 1.63, -1.62]).repeat(3, 1)
    many = Sampler(adaptive=Mirostat2(tau=2., eta=.3), seed=[1, 2, 3])
    alone = Sampler(adaptive=Mirostat2(tau=2., eta=.3), seed=2)
    state, one = many.init(3), alone.init(1)
    for n in range(4):
        state = many.update(state, z, many(z, position=n, state=state))
        one = alone.update(one, z[:1], alone(z[:1], position=n, state=one))
    assert one[0].equal(state[1])
    assert Sampler().init(3) is None and Sampler().update(None, z, None) is None


@pytest.mark.parametrize('knobs', [{}, dict(temperature=0), dict(top_k=2),
                                   dict(top_p=.5), dict(temperature=[0, 1])])
def test_rows_that_cannot_be_drawn_from(knobs):
    for bad in (torch.full((2, 9), -torch.inf), torch.full((2, 9), torch.nan)):
        with pytest.raises(ValueError): Sampler(**knobs)(bad)


def test_knobs_are_keywords():
    with pytest.raises(TypeError): Sampler(.8)
    with pytest.raises(TypeError): Sampler(topk=5)
