"""What every filter has in common, from temperature to top-H: rows, vocabularies,
dtypes, knobs, refusals

The definition of each is in the tests of its own module."""
import math
from functools import partial

import pytest
import torch
from checks import commutes, on_meta, rows_alone, same
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import batches, rows

import llm_sampling as ls
from llm_sampling.gallery import (EPSILON_CUTOFF, ETA_CUTOFF, TAIL_FREE, TOP_A, TOP_H,
                                  TOP_N_SIGMA)
from llm_sampling.min_p import MIN_P
from llm_sampling.softmax import TEMPERATURE
from llm_sampling.top_k import TOP_K
from llm_sampling.top_p import TOP_P
from llm_sampling.typical import TYPICAL_P

INF = math.inf
HALF_AND_DOUBLE = [torch.bfloat16, torch.float16, torch.float64]
FILTERS = dict(
    top_k=ls.top_k_filter, top_p=ls.top_p_filter, min_p=ls.min_p_filter,
    top_a=ls.top_a_filter, top_n_sigma=ls.top_n_sigma_filter,
    tail_free=ls.tail_free_filter, typical=ls.typical_filter, epsilon=ls.epsilon_filter,
    eta=ls.eta_filter, top_h=ls.top_h_filter,
    top_h_theirs=partial(ls.top_h_filter, rule='transformers'))
VALUES = dict(
    top_k=[1, 3, 7], top_p=[0, .3, .9, 1], min_p=[0, 1e-4, .3, 1], top_a=[0, .2, .9, 1],
    top_n_sigma=[.1, 1., 2.5, INF], tail_free=[.1, .8, .97, 1], typical=[.2, .8, 1],
    epsilon=[0, .05, .6], eta=[0, .05, .6], top_h=[.3, .8, 1], top_h_theirs=[.3, .8, 1],
    p_less=[None])
KNOBS = [(name, v) for name in VALUES for v in VALUES[name]]
NEUTRAL = dict(top_k=99, top_p=1, min_p=0, top_a=0, top_n_sigma=INF, tail_free=1,
               typical=1, epsilon=0, eta=0, top_h=1, top_h_theirs=1)
OFTEN = dict(                # a value that cuts
    top_k=3, top_p=.9, min_p=.05, top_a=.2, top_n_sigma=1, tail_free=.95,
    p_less=None, typical=.9, epsilon=1e-4, eta=1e-4, top_h=.5, top_h_theirs=.5)
WIDER = dict(  # values of which each keeps at least what the one before keeps
    top_k=range(1, 11), top_p=[0, .1, .4, .7, .9, .99, 1], min_p=[.7, .15],
    top_a=[.7, .15], top_n_sigma=[.15, .7], tail_free=[.15, .7], typical=[.15, .7],
    epsilon=[.4, .05], eta=[.4, .05], top_h=[.15, .7], top_h_theirs=[.15, .7])

every = pytest.mark.parametrize('name, value', KNOBS)
each = pytest.mark.parametrize('name', FILTERS)


def apply(name, z, value):
    return ls.p_less_filter(z) if name == 'p_less' else FILTERS[name](z, value)


@pytest.mark.some(6)
@pytest.mark.parametrize('name', OFTEN)
@settings(max_examples=2 * settings.default.max_examples)  # over three or four values
@given(batch=batches(finite=False), data=st.data())
def test_properties(name, batch, data):
    f = partial(apply, name, value=data.draw(st.sampled_from(VALUES[name])))
    before = batch.clone()
    out = f(batch)
    same(batch, before, rtol=0, atol=0)                               # input untouched
    assert ((out == batch) | (out == -INF)).all()
    finite = batch.isfinite().any(-1)
    assert out.isfinite().any(-1).equal(finite)  # never empties a row
    if name != 'typical':                                             # the maxima stay
        best = batch.amax(-1, keepdim=True)
        assert (out.isfinite() | (batch < best) | ~batch.isfinite()).all()
    commutes(f, batch, tries=2)
    rows_alone(f, batch)
    same(f(batch.t().contiguous().t()), out)                          # not contiguous
    same(f(batch[None, :, None])[0, :, 0], out)  # leading dimensions
    for row, kept in zip(batch, out):  # dropped ones are absent
        if row.isfinite().any(): same(f(row[row.isfinite()]), kept[row.isfinite()])


@every
@pytest.mark.parametrize('dtype', HALF_AND_DOUBLE)
def test_dtypes(name, value, dtype):
    "Random rows, ties, and masked tokens"
    g = torch.Generator().manual_seed(1)
    z = torch.cat([torch.randn(5, 40, generator=g) * 3,
                   torch.randint(-3, 4, (2, 40), generator=g).float()]).to(dtype)
    z[5:, ::3] = -INF
    out = apply(name, z, value)
    assert out.dtype == dtype
    if dtype != torch.float64: same(out, apply(name, z.float(), value).to(dtype))
    else: same(out.isfinite(), apply(name, z.float(), value).isfinite())
    on_meta(partial(apply, name, value=value), z)


@pytest.mark.some(6)
@each
@given(data=st.data())
def test_knob_per_row(name, data):
    "`None` and a neutral value leave their row to the bit"
    f, batch = FILTERS[name], data.draw(batches())
    value = st.sampled_from(VALUES[name] + [None])
    values = data.draw(st.lists(value, min_size=len(batch), max_size=len(batch)))
    out = f(batch, values)
    for row, v, kept in zip(batch, values, out): same(kept, f(row, v))
    full = [NEUTRAL[name] if v is None else v for v in values]
    same(f(batch, torch.tensor(full)), out)
    other = torch.int32 if name == 'top_k' else torch.float64
    same(f(batch, torch.tensor(full, dtype=other)), out)
    rows_alone(f, batch, torch.tensor(full))
    rows_alone(f, batch, values)
    on_meta(f, batch, torch.tensor(full))
    on_meta(lambda z: f(z, values), batch)


@each
@given(row=rows())
def test_monotone(name, row):
    kept = [FILTERS[name](row, v).isfinite() for v in WIDER[name]]
    assert all((b | ~a).all() for a, b in zip(kept, kept[1:]))


@pytest.mark.parametrize('name', OFTEN)
def test_large_vocabulary_alone_and_in_a_batch(name):
    g = torch.Generator().manual_seed(2)
    z = torch.randn(4, 128_256, generator=g) * torch.tensor([.5, 1, 2, 4])[:, None]
    f = partial(apply, name, value=OFTEN[name])
    rows_alone(f, z[::3])
    commutes(f, z[1:3], tries=1)


@pytest.mark.parametrize('name', OFTEN)
def test_bad_rows_pass(name):
    "The draw will refuse them"
    empty = torch.full((2, 4), -INF)
    same(apply(name, empty, OFTEN[name]), empty)
    for bad in (math.nan, INF):
        out = apply(name, torch.tensor([1., bad, 3, 2, 0]), OFTEN[name])
        assert out.shape == (5,) and not out.amax().isfinite()


OUTSIDE = dict(top_k=[0, 2.5, [3, 0]], top_p=[1.2, [.5, 2]], min_p=[1.01], top_a=[1.01],
               top_n_sigma=[0], tail_free=[0, 1.01], typical=[0, 1.01],
               epsilon=[1, 1.01], eta=[1, 1.01], top_h=[0, 1.01], top_h_theirs=[1.01])
NOWHERE = [-1, -.1, math.nan, -INF, True, 'x', [.5], torch.tensor([.5, .5]),
           [.5, -1., .5]]
NAMED = dict(top_k='k', top_p='p', min_p='min_p', top_a='top_a', top_n_sigma='n',
             tail_free='z', typical='typical_p', epsilon='epsilon', eta='epsilon',
             top_h='alpha', top_h_theirs='alpha')

@pytest.mark.parametrize('name, bad',
                         [(n, b) for n in FILTERS for b in NOWHERE + OUTSIDE[n]])
def test_wrong_knobs(name, bad):
    with pytest.raises((TypeError, ValueError), match=f'^{NAMED[name]} must'):
        FILTERS[name](torch.zeros(3, 5), bad)


@pytest.mark.parametrize('name', [*OFTEN, 'temperature'])
def test_wrong_logits(name):
    f = dict(temperature=ls.apply_temperature).get(name) or partial(apply, name)
    value = OFTEN.get(name, .5)
    for bad in (torch.zeros(2, 5, dtype=torch.long), torch.tensor(1.),
                torch.zeros(2, 0), [1., 2.]):
        with pytest.raises((TypeError, ValueError), match='logits'): f(bad, value)


@pytest.mark.parametrize('knob, neutral', [
    (TEMPERATURE, 1), (TOP_K, 2**62), (TOP_P, 1), (MIN_P, 0), (TOP_A, 0),
    (TOP_N_SIGMA, INF),
    (TAIL_FREE, 1), (TYPICAL_P, 1), (EPSILON_CUTOFF, 0), (ETA_CUTOFF, 0), (TOP_H, 1)])
def test_knobs_for_the_sampler(knob, neutral):
    value = 5 if knob is TOP_K else .5
    assert knob.neutral == neutral
    assert knob.entries('x', [None, value]).tolist() == [neutral, value]
