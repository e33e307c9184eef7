"""Locally typical sampling against its definition in plain Python and transformers, and
the versions in circulation that are wrong"""
import math

import pytest
import torch
from checks import same
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import rows
from transformers import TypicalLogitsWarper

from llm_sampling.softmax import entropy
from llm_sampling.typical import surprisal, typical_filter

INF = math.inf


# --- the definition in Python's floats: kept tokens, or None if rounding could decide

def probs_of(row):
    w = [math.exp(x - max(row)) for x in row]
    return [x / math.fsum(w) for x in w]

def H(p): return math.fsum(-x * math.log(x) for x in p if x > 0)

def surprisals(row):
    norm = max(row) + math.log(math.fsum(math.exp(x - max(row)) for x in row))
    return [norm - x for x in row]

def typical(row, tau):
    if tau == 1: return [x > -INF for x in row]
    p, h = probs_of(row), H(probs_of(row))
    away = [abs(s - h) for s in surprisals(row)]
    # one per distinct logit
    distances = sorted({x: a for x, a in zip(row, away) if a < INF}.values())
    if any(b - a < 1e-5 * (1 + b) for a, b in zip(distances, distances[1:])):
        return None
    nearer = [math.fsum(q for q, b in zip(p, away) if b < a) for a in away]
    if any(0 < n and abs(n - tau) < 1e-5 for n in nearer): return None
    return [n < tau and x > -INF for n, x in zip(nearer, row)]

@pytest.mark.parametrize('tau', [.2, .8, 1])
@given(row=rows())
def test_definition(tau, row):
    expected = typical(row.double().tolist(), tau)
    assume(expected is not None)
    got = typical_filter(row, tau)
    assert got.isfinite().tolist() == expected
    same(got[got.isfinite()], row[got.isfinite()], rtol=0, atol=0)

def test_brute_force_is_not_skipped():
    many = torch.randn(100, 9, generator=torch.Generator().manual_seed(0)) * 3
    for tau in (.2, .8, 1):
        decided = [typical(row, tau) for row in many.double().tolist()]
        assert sum(d is not None for d in decided) > 80, tau

@given(rows())
def test_surprisal(row):
    "Against a loop; a dropped token has probability 0 and counts nothing"
    p, s, h = surprisal(row.double())
    want = torch.tensor(probs_of(row.double().tolist()), dtype=torch.float64)
    same(p, want, rtol=1e-9, atol=1e-12)
    live = row.isfinite()
    want = torch.tensor(surprisals(row.double().tolist()), dtype=torch.float64)
    same(s[live], want[live], rtol=1e-9, atol=1e-9)
    same(h[0], torch.tensor(H(p.tolist()), dtype=torch.float64), rtol=1e-9, atol=1e-9)


# --- transformers

@given(rows(), st.sampled_from([.1, .5, .9]))
def test_transformers_typical(row, tau):
    assume(typical(row.double().tolist(), tau) is not None)
    same(typical_filter(row[None], tau), TypicalLogitsWarper(tau)(None, row[None]))

def test_differences_from_transformers():
    for bad in (0, 1):
        with pytest.raises(ValueError): TypicalLogitsWarper(bad)
    toy = torch.tensor([[8., 4, 2, 1, 1]]).log()
    same(typical_filter(toy, 1), toy)


# --- by hand, and at the edges

def count(z): return z.isfinite().sum().item()

@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_by_hand(dtype):
    toy = torch.tensor([8., 4, 2, 1, 1], dtype=dtype).log()
    assert [count(typical_filter(toy, t)) for t in (.2, .25, .26, .5, .75, .76, .875,
                                                    .88)] == [1, 1, 2, 2, 2, 3, 3, 5]
    assert typical_filter(toy, .2).argmax() == 1

def test_equal_distances_share_one_fate():
    # 1/2 1/4 1/4: all .5 ln 2 away
    z = torch.tensor([1., 0, 0], dtype=torch.float64) * math.log(2)
    for tau in (.1, .3, .6): assert count(typical_filter(z, tau)) == 3

def test_uniform():
    for n in (1, 2, 1000, 50_000):
        assert count(typical_filter(torch.full((n,), 2.3), .1)) == n

def test_extremes():
    assert typical_filter(torch.tensor([0., -200, -1000, -INF]), .5)[0] == 0
    assert count(typical_filter(torch.tensor([0., -1e-3]), 1e-30)) == 1

# --- versions in circulation: our checks must catch each

def sketch(z, tau, away, stop):
    order = away.argsort(dim=-1, stable=True)
    p = z.softmax(-1).gather(-1, order)
    keep = torch.zeros_like(z, dtype=torch.bool).scatter(-1, order,
                                                         stop(p.cumsum(-1), p, tau))
    return z.masked_fill(~keep, -INF)

def distance(z, unit=1., H=None):
    return (-z.log_softmax(-1) - (entropy(z)[..., None] if H is None else H)
            / unit).abs()

def right(z, tau): return sketch(z, tau, distance(z), lambda m, p, t: m - p < t)
def bits(z, tau):
    return sketch(z, tau, distance(z, math.log(2)), lambda m, p, t: m - p < t)
def crossing(z, tau): return sketch(z, tau, distance(z), lambda m, p, t: m <= t)
def strict(z, tau): return sketch(z, tau, distance(z), lambda m, p, t: m - p <= t)
def unguarded(z, tau):
    return sketch(z, tau, distance(z, H=-(z.softmax(-1) * z.log_softmax(-1)).sum(
        -1, keepdim=True)), lambda m, p, t: m - p < t)
def misplaced(z, tau):
    y = z.softmax(-1) + (z.softmax(-1) + 1e-10).log()
    return sketch(z, tau, (-y + (z.softmax(-1) * y).sum(-1, keepdim=True)).abs(),
                  lambda m, p, t: m - p < t)

def typical_checks(f):
    toy = torch.tensor([8., 4, 2, 1, 1]).log()
    assert [count(f(toy, t)) for t in (.2, .5, .75, .8)] == [1, 2, 2, 3]
    assert f(toy, .2).argmax() == 1
    assert f(torch.tensor([.5, .3, .15, .05]).log(),
             .5).isfinite().tolist() == [True, True, False, False]
    same(f(torch.cat([toy, torch.tensor([-INF])]), .5)[:5], f(toy, .5))
    z = torch.randn(200, 12, generator=torch.Generator().manual_seed(0)) * 2
    kept = torch.tensor([typical(row, .5) for row in z.double().tolist()])
    assert f(z, .5).isfinite().equal(kept)      # of lists pytest would draw the diff

@pytest.mark.parametrize('wrong', [bits, crossing, strict, unguarded, misplaced])
def test_wrong_typical_is_caught(wrong):
    with pytest.raises(AssertionError): typical_checks(wrong)

def test_right_typical_passes(): typical_checks(typical_filter)
