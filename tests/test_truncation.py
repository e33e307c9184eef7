"""Temperature, top-k and top-p against definitions written with loops, against transformers, and against the wrong versions in circulation

A wrong version is a negative reference: one of the checks that the right function passes must fail on it."""
import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from transformers import TopKLogitsWarper, TopPLogitsWarper

from strategies import batches, rows
from llm_sampling import apply_temperature, top_k_filter, top_p_filter
from llm_sampling.testing import test_meta as check_meta
from llm_sampling.testing import test_permutation as check_permutation
from llm_sampling.testing import test_rows_alone as check_rows_alone
from llm_sampling.testing import test_tensor as check_tensor


def top_k_loop(row, k):
    return [sum(y > x for y in row) < k for x in row]

def mass_ahead(row):
    w = [math.exp(x - max(row)) for x in row]
    return [math.fsum(v for v, y in zip(w, row) if y > x) / math.fsum(w) for x in row]

def top_p_loop(row, p):
    return [x > -math.inf and (a < p or p == 1) for x, a in zip(row, mass_ahead(row))]


@given(rows(), st.integers(1, 14))
def test_top_k_is_its_definition(row, k):
    want = [a and x > -math.inf for a, x in zip(top_k_loop(row.tolist(), k), row.tolist())]
    assert (top_k_filter(row, k) > -torch.inf).tolist() == want

@given(rows(), st.floats(1e-4, 1))
def test_top_p_is_its_definition(row, p):
    assume(all(abs(a - p) > 1e-5 for a in mass_ahead(row.tolist())))            # exact hits have a test of their own
    assert (top_p_filter(row, p) > -torch.inf).tolist() == top_p_loop(row.tolist(), p)

@pytest.mark.parametrize('p', [.5, .75, .875, .9375])
def test_exact_hits_stop(p):
    "Eighths and sixteenths are exact: the mass p is reached, and the next token is not needed"
    toy = torch.tensor([8., 4, 2, 1, 1]).log()
    assert (top_p_filter(toy, p) > -torch.inf).sum() == {.5: 1, .75: 2, .875: 3, .9375: 5}[p]

@given(batches(), st.sampled_from([1e-30, .1, .5, 2, 1e30]))
def test_temperature_is_division(z, t):
    x = z.double().numpy() - z.double().amax(-1, keepdim=True).numpy()
    with np.errstate(over='ignore'): want = np.exp(x / t)
    want /= want.sum(-1, keepdims=True)
    check_tensor(torch.softmax(apply_temperature(z, t), -1), torch.tensor(want).float(), rtol=1e-4, atol=1e-6)


FILTERS = {'top_k': (top_k_filter, [1, 3, 7]), 'top_p': (top_p_filter, [0, .3, .9])}
CASES = [(f, v) for f, vs in FILTERS.values() for v in vs]

@pytest.mark.parametrize('f,value', CASES)
@given(z=batches())
def test_properties(f, value, z):
    before, out = z.clone(), f(z, value)
    assert torch.equal(z, before)
    kept = out > -torch.inf
    assert kept.any(-1).all() and torch.equal(out[kept], z[kept])                # never empty; kept values are untouched
    assert (kept | (z < z.amax(-1, keepdim=True))).all()                         # the most likely stays
    check_rows_alone(lambda x: f(x, value), z)
    check_permutation(lambda x: f(x, value), z)
    check_meta(f, z, value)
    check_tensor(f(z[None, :, None], value), out[None, :, None], rtol=0, atol=0)  # leading dimensions
    check_tensor(f(z.repeat(1, 2)[:, ::2], value), f(z.repeat(1, 2)[:, ::2].clone(), value), rtol=0, atol=0)    # not contiguous
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        half = z.to(dtype)
        check_tensor(f(half, value), f(half.float(), value).to(dtype), rtol=0, atol=0)

@given(batches())
def test_knobs_per_row(z):
    ks, ps = [1 + i % 3 for i in range(len(z))], [(.2, None, .9, 1)[i % 4] for i in range(len(z))]
    check_rows_alone(top_k_filter, z, ks); check_rows_alone(top_p_filter, z, ps)
    for i in range(len(z)):
        check_tensor(top_k_filter(z, ks)[i], top_k_filter(z[i], ks[i]), rtol=0, atol=0)
        check_tensor(top_p_filter(z, ps)[i], top_p_filter(z[i], ps[i]), rtol=0, atol=0)

@given(rows(vocab=9))
def test_monotone_and_idempotent(row):
    for f, values in ((top_k_filter, range(1, 11)), (top_p_filter, [0, .1, .4, .7, .9, .99, 1])):
        kept = [f(row, v) > -torch.inf for v in values]
        assert all((~a | b).all() for a, b in zip(kept, kept[1:]))               # a larger knob keeps at least as much
    for k in (1, 4): check_tensor(top_k_filter(top_k_filter(row, k), k), top_k_filter(row, k), rtol=0, atol=0)

@given(rows(vocab=9), st.integers(1, 9))
def test_transformers_top_k(row, k):
    check_tensor(top_k_filter(row[None], k), TopKLogitsWarper(k)(None, row[None]), rtol=0, atol=0)

def test_transformers_top_p_differs_at_ties_only():
    z = torch.randn(200, 300, generator=torch.Generator().manual_seed(0)) * 3
    for p in (.2, .9, .99): check_tensor(top_p_filter(z, p), TopPLogitsWarper(p)(None, z), rtol=0, atol=0)
    tied = torch.tensor([[.5, .25, .25]]).log()                                   # a tie at the cut: together here, by sort order there
    assert (top_p_filter(tied, .75) > -torch.inf).sum() == 3
    assert (TopPLogitsWarper(.75)(None, tied) > -torch.inf).sum() == 2


# --- versions in circulation (the numbers are those of the chapters' stories), and the check that each one fails

def threshold_of_shape_b(z, k): return torch.where(z < z.topk(k).values[:, -1], -torch.inf, z)
def threshold_of_the_batch(z, k): return torch.where(z < z.topk(k).values.min(), -torch.inf, z)
def off_by_one(z, k): return z.masked_fill(z < z.sort(-1, descending=True).values[..., k:k+1], -torch.inf)
def by_index(z, k): return torch.full_like(z, -torch.inf).scatter(-1, z.topk(k).indices, z.topk(k).values)
def in_place(z, k):
    z[z < z.topk(k).values[..., -1:]] = -torch.inf
    return z
def mask_too_small(z, k): return z.masked_fill(z < z.topk(k).values[..., -1:], 1e-10)

def crossing_dropped(z, p):
    ranked, at = z.sort(-1, descending=True)
    return torch.full_like(z, -torch.inf).scatter(-1, at, ranked.masked_fill(ranked.softmax(-1).cumsum(-1) > p, -torch.inf))
def no_way_back(z, p):
    ranked, at = z.sort(-1, descending=True)
    mass = ranked.softmax(-1).cumsum(-1)
    return ranked.masked_fill(mass - ranked.softmax(-1) >= p, -torch.inf)
def first_row_only(z, p):
    ranked, at = z.sort(-1, descending=True)
    drop = ranked.softmax(-1).cumsum(-1) > p
    drop[0] = False                                                              # meant: drop[..., 0]
    return torch.full_like(z, -torch.inf).scatter(-1, at, ranked.masked_fill(drop, -torch.inf))
def of_log_probabilities(z, p):
    ranked, at = z.sort(-1, descending=True)
    keep = ranked.log_softmax(-1).cumsum(-1) > math.log(p)
    return torch.full_like(z, -torch.inf).scatter(-1, at, ranked.masked_fill(~keep, -torch.inf))
def in_half(z, p):
    law = z.bfloat16().softmax(-1)
    ranked, at = law.sort(-1, descending=True)
    drop = ranked.cumsum(-1) - ranked >= p
    return z.masked_fill(torch.zeros_like(drop).scatter(-1, at, drop), -torch.inf)

def checks(f, value, loop):
    "What every filter of this kind passes; the input has ties, peaked rows and as many rows as tokens"
    g = torch.Generator().manual_seed(3)
    z = torch.cat([torch.randn(4, 9, generator=g) * 2, torch.randint(-2, 3, (4, 9), generator=g).float(), torch.eye(9)[:1] * 9])
    z = z + torch.arange(9.)[:, None]                                             # a constant per row changes no law
    before = z.clone()
    out = f(z, value)
    check_tensor(z, before, rtol=0, atol=0)
    assert (out > -torch.inf).tolist() == [loop(row.tolist(), value) for row in z]
    check_rows_alone(partial(lambda x: f(x, value)), z)
    check_permutation(lambda x: f(x, value), z)

def wide_check(f):
    "Rows of a real size: the cut must not move by rounding"
    z = torch.randn(3, 50_000, generator=torch.Generator().manual_seed(4))
    check_tensor(f(z, .9), top_p_filter(z, .9), rtol=0, atol=0)

@pytest.mark.parametrize('wrong', [threshold_of_shape_b, threshold_of_the_batch, off_by_one, by_index, in_place, mask_too_small])
def test_wrong_top_k_is_caught(wrong):
    checks(top_k_filter, 3, top_k_loop)
    with pytest.raises((AssertionError, RuntimeError)): checks(wrong, 3, top_k_loop)

@pytest.mark.parametrize('wrong', [crossing_dropped, no_way_back, first_row_only, of_log_probabilities])
def test_wrong_top_p_is_caught(wrong):
    checks(top_p_filter, .9, top_p_loop)
    with pytest.raises((AssertionError, RuntimeError)): checks(wrong, .9, top_p_loop)

def test_top_p_in_half_precision_is_caught():
    with pytest.raises(AssertionError): wide_check(in_half)


@pytest.mark.parametrize('f,bad', [(f, b) for f, bs in ((top_k_filter, (0, -1, 2.5, True, 'x', [3, 0], [1])), (top_p_filter, (1.2, -.1, math.nan, True, 'x', [.5, 2], [.9])),
                                                        (apply_temperature, (-1, math.nan, math.inf, True, 'x', [1, -1], [1]))) for b in bs])
def test_bad_knobs(f, bad):
    name = {top_k_filter: 'k', top_p_filter: 'p', apply_temperature: 'temperature'}[f]
    with pytest.raises((TypeError, ValueError), match=f'^{name} must'): f(torch.zeros(2, 5), bad)

@pytest.mark.parametrize('f,v', [(top_k_filter, 2), (top_p_filter, .5), (apply_temperature, .5)])
def test_bad_logits(f, v):
    for bad in (torch.zeros(2, 5, dtype=torch.long), torch.tensor(1.), torch.zeros(2, 0), [1., 2.]):
        with pytest.raises((TypeError, ValueError), match='logits'): f(bad, v)
    for row in (torch.full((3,), -torch.inf), torch.tensor([1., torch.nan, 2])):
        assert f(row, v).shape == (3,)                                           # bad rows pass through; the draw refuses them
