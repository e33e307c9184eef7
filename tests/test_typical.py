"""Typical, epsilon, eta and top-H against definitions in plain Python and transformers,
and the versions in circulation that are wrong"""
import math
from functools import partial

import pytest
import torch
from checks import same
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import rows
from transformers import (EpsilonLogitsWarper, EtaLogitsWarper, TopHLogitsWarper,
                          TypicalLogitsWarper)

from llm_sampling.softmax import entropy
from llm_sampling.typical import (epsilon_filter, eta_filter, top_h_filter,
                                  typical_filter)

INF = math.inf
theirs_h = partial(top_h_filter, rule='transformers')
FILTERS = {'typical': typical_filter, 'epsilon': epsilon_filter, 'eta': eta_filter,
           'top_h': top_h_filter, 'top_h_theirs': theirs_h}
VALUES = {'typical': [.2, .8, 1], 'epsilon': [0, .05, .6], 'eta': [0, .05, .6],
          'top_h': [.3, .8, 1], 'top_h_theirs': [.3, .8, 1]}
every = pytest.mark.parametrize('name,value',
                                [(n, v) for n in FILTERS for v in VALUES[n]])


# --- definitions in Python's floats: kept tokens, or None where rounding could decide

def law(row):
    w = [math.exp(x - max(row)) for x in row]
    return [x / math.fsum(w) for x in w]

def H(p): return math.fsum(-x * math.log(x) for x in p if x > 0)

def surprisal(row):
    norm = max(row) + math.log(math.fsum(math.exp(x - max(row)) for x in row))
    return [norm - x for x in row]

def typical(row, tau):
    if tau == 1: return [x > -INF for x in row]
    p, h = law(row), H(law(row))
    away = [abs(s - h) for s in surprisal(row)]
    # one per distinct logit
    distances = sorted({x: a for x, a in zip(row, away) if a < INF}.values())
    if any(b - a < 1e-5 * (1 + b) for a, b in zip(distances, distances[1:])):
        return None
    nearer = [math.fsum(q for q, b in zip(p, away) if b < a) for a in away]
    if any(0 < n and abs(n - tau) < 1e-5 for n in nearer): return None
    return [n < tau and x > -INF for n, x in zip(nearer, row)]

def floor(row, level):
    p = law(row)
    if level == 0: return [x > -INF for x in row]
    if any(x != max(row) and abs(q - level) <= 1e-5 * level for x, q in zip(row, p)):
        return None
    return [x == max(row) or q >= level for x, q in zip(row, p)]

def epsilon(row, e): return floor(row, e)
def eta(row, e): return floor(row, min(e, math.sqrt(e) * math.exp(-H(law(row)))))

def top_h(row, alpha, rule='paper'):
    "Grow by whole classes of equal logits while the budget holds"
    if alpha == 1: return [x > -INF for x in row]
    first = sorted(row, reverse=True)[:len(row) if rule == 'paper' else 100]
    q = law(first)
    budget = alpha * H(q)
    kept = max(row)
    if H(q) < 1e-9 and len(set(first) - {-INF}) > 1: return None
    for level in sorted({x for x in row if x > -INF}, reverse=True):
        if sum(x >= level for x in row) > len(first): break
        prefix = [x for x in first if x >= level]
        held = H(law(prefix)) if rule == 'paper' else H(q[:len(prefix)])
        if level < max(row) and abs(held - budget) < 1e-5 * (H(q) + 1e-9): return None
        if held <= budget: kept = level
    return [x >= kept for x in row]

BRUTE = {'typical': typical, 'epsilon': epsilon, 'eta': eta, 'top_h': top_h,
         'top_h_theirs': partial(top_h, rule='transformers')}


@every
@given(rows())
def test_definition(name, value, row):
    expected = BRUTE[name](row.double().tolist(), value)
    assume(expected is not None)
    got = FILTERS[name](row, value)
    assert got.isfinite().tolist() == expected
    same(got[got.isfinite()], row[got.isfinite()], rtol=0, atol=0)


def test_brute_force_is_not_skipped():
    many = torch.randn(100, 9, generator=torch.Generator().manual_seed(0)) * 3
    for name in FILTERS:
        for v in VALUES[name]:
            decided = [BRUTE[name](row, v) for row in many.double().tolist()]
            assert sum(d is not None for d in decided) > 80, (name, v)
            for row, d in zip(many, decided):
                if d is not None:
                    assert FILTERS[name](row, v).isfinite().tolist() == d, (name, v)


@given(rows(), st.sampled_from([.2, .5, .8]))
def test_top_h_stays_in_its_budget(row, alpha):
    out = top_h_filter(row.double(), alpha)
    if out.isfinite().sum() > (row == row.max()).sum():
        assert entropy(out) <= alpha * entropy(row.double()) + 1e-6


# --- transformers

@given(rows(), st.sampled_from([.1, .5, .9]))
def test_transformers_typical(row, tau):
    assume(typical(row.double().tolist(), tau) is not None)
    same(typical_filter(row[None], tau), TypicalLogitsWarper(tau)(None, row[None]))

@given(rows(), st.sampled_from([3e-4, .05, .4]))
def test_transformers_epsilon_and_eta(row, e):
    x = row.double().tolist()
    assume(epsilon(x, e) is not None and eta(x, e) is not None)
    same(epsilon_filter(row[None], e), EpsilonLogitsWarper(e)(None, row[None]))
    same(eta_filter(row[None], e), EtaLogitsWarper(e)(None, row[None]))

@pytest.mark.parametrize('vocab', [3, 50, 100, 101, 1000])
@pytest.mark.parametrize('alpha', [.1, .4, .8, .99])
def test_transformers_top_h(vocab, alpha):
    z = torch.randn(40, vocab, generator=torch.Generator().manual_seed(vocab)) * 2
    same(theirs_h(z, alpha), TopHLogitsWarper(alpha)(None, z))
    z[:, 1:][torch.rand(40, vocab - 1, generator=torch.Generator().manual_seed(1))
             < .3] = -INF
    same(theirs_h(z, alpha), TopHLogitsWarper(alpha)(None, z))

def test_differences_from_transformers():
    toy = torch.tensor([[8., 4, 2, 1, 1]]).log()
    assert TopHLogitsWarper(.9)(None, toy).isfinite().sum() == 4  # splits a tie
    assert theirs_h(toy, .9).isfinite().sum() == 3
    flat = torch.linspace(1, 0, 500)[None]
    assert TopHLogitsWarper(1.)(None, flat).isfinite().sum() <= 100  # 1 is not off
    assert theirs_h(flat, 1).isfinite().all()
    five = torch.tensor([[.5, .2, .15, .1, .05]]).log()
    assert TopHLogitsWarper(.5)(None, five).isfinite().sum() == 1  # no renormalisation
    assert theirs_h(five, .5).isfinite().sum() == 1
    assert top_h_filter(five, .5).isfinite().sum() == 2
    for bad in (0, 1):
        with pytest.raises(ValueError): TypicalLogitsWarper(bad)
    same(typical_filter(toy, 1), toy)


# --- by hand, and at the edges

def count(z): return z.isfinite().sum().item()

@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_by_hand(dtype):
    toy = torch.tensor([8., 4, 2, 1, 1], dtype=dtype).log()
    assert [count(typical_filter(toy, t)) for t in (.2, .25, .26, .5, .75, .76, .875,
                                                    .88)] == [1, 1, 2, 2, 2, 3, 3, 5]
    assert typical_filter(toy, .2).argmax() == 1
    assert [count(epsilon_filter(toy, e))
            for e in (.6, .5, .25, .2, .1, 1/16, .06)] == [1, 1, 2, 2, 3, 5, 5]
    assert [count(eta_filter(toy, e)) for e in (.25, .2, .9)] == [2, 3, 1]
    assert [count(top_h_filter(toy, a))
            for a in (.4, .49, .5, .73, .74, .9, .999)] == [1, 2, 2, 2, 3, 3, 3]
    assert [count(theirs_h(toy, a))
            for a in (.2, .27, .5, .54, .73, .74, .9)] == [1, 1, 1, 2, 2, 3, 3]

def test_equal_distances_share_one_fate():
    # 1/2 1/4 1/4: all .5 ln 2 away
    z = torch.tensor([1., 0, 0], dtype=torch.float64) * math.log(2)
    for tau in (.1, .3, .6): assert count(typical_filter(z, tau)) == 3

def test_uniform():
    for n in (1, 2, 1000, 50_000):
        for f in (typical_filter, epsilon_filter, eta_filter, top_h_filter):
            assert count(f(torch.full((n,), 2.3), .1)) == n

def test_extremes():
    sharp = torch.tensor([0., -200, -1000, -INF])
    for name, f in FILTERS.items(): assert f(sharp, .5)[0] == 0, name
    assert count(typical_filter(torch.tensor([0., -1e-3]), 1e-30)) == 1

def test_wrong_rule():
    for alpha in (.5, 1, None):
        with pytest.raises(ValueError, match="rule must be 'paper' or 'transformers'"):
            top_h_filter(torch.zeros(3), alpha, rule='hf')

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
    assert f(z, .5).isfinite().tolist() == [typical(row, .5)
                                            for row in z.double().tolist()]

@pytest.mark.parametrize('wrong', [bits, crossing, strict, unguarded, misplaced])
def test_wrong_typical_is_caught(wrong):
    with pytest.raises(AssertionError): typical_checks(wrong)

def test_right_typical_passes(): typical_checks(typical_filter)


def documented_eta(z, e):
    floor = (e * (-entropy(z)[..., None]).exp()).sqrt().clamp(max=e)
    return z.masked_fill((z.softmax(-1) < floor) & (z < z.amax(-1, keepdim=True)), -INF)

def eta_in_bits(z, e):
    floor = (math.sqrt(e) * (-entropy(z)[..., None] / math.log(2)).exp()).clamp(max=e)
    return z.masked_fill((z.softmax(-1) < floor) & (z < z.amax(-1, keepdim=True)), -INF)

def eta_checks(f):
    flat = (torch.linspace(1.5, .5, 10_000) / 10_000).log()
    assert count(f(flat, 3e-4)) == 10_000
    toy = torch.tensor([8., 4, 2, 1, 1]).log()
    assert [count(f(toy, e)) for e in (.25, .2)] == [2, 3]

@pytest.mark.parametrize('wrong', [documented_eta, eta_in_bits, epsilon_filter])
def test_wrong_eta_is_caught(wrong):
    with pytest.raises(AssertionError): eta_checks(wrong)

def test_right_eta_passes(): eta_checks(eta_filter)
