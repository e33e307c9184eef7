"""Dynamic temperature and XTC against loops in float64, their published behaviour, and
versions in circulation that must fail"""
import math

import numpy as np
import pytest
import torch
from checks import (any_filter, bad_rows_pass_through, commutes, frequencies, kept,
                    masked_tokens_do_not_count, probabilities, rows_alone, same,
                    what_is_no_logits_is_refused)
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from llm_sampling.adaptive import (XTC_SALT, dynamic_temperature, steady_probs,
                                   xtc_filter)
from llm_sampling.noise import sample, uniform_noise
from llm_sampling.softmax import apply_temperature, entropy, softmax
from strategies import batches, rows

INF = math.inf


# --- dynamic temperature

def temperature_of(row, low, high, exponent):
    p = [x for x in probabilities(row) if x > 0]
    n = sum(x > -INF for x in row)
    if n == 1: return 1
    return low + (high - low) * min(1, max(0, -math.fsum(x * math.log(x) for x in p))
                                    / math.log(n))**exponent

@given(batches(), st.floats(.1, 2), st.floats(0, 3), st.floats(0, 3))
def test_dynamic_temperature_is_the_formula(z, low, extra, exponent):
    out = dynamic_temperature(z, low, low + extra, exponent)
    for row, got in zip(z.tolist(), out.double()):
        t = temperature_of(row, low, low + extra, exponent)
        want = np.array([x - max(row) for x in row]) / t
        assert np.allclose(got - got.max(), want, rtol=1e-4, atol=1e-4)

def test_dynamic_temperature_ends():
    flat = torch.zeros(1, 7)
    flat[0, 2] = -INF
    # flat, or nothing to share
    for z in (flat, torch.zeros(2, 1), torch.tensor([[3., -INF, -INF]])):
        same(softmax(dynamic_temperature(z, 0, 5)), softmax(z))
    assert dynamic_temperature(torch.tensor([1e4, 0, -1e4]), 0,
                               5).tolist() == [0, -INF, -INF]
    z = torch.randn(5, 9, generator=torch.Generator().manual_seed(0)) * 3
    same(dynamic_temperature(z, .7, .7, 2), apply_temperature(z, .7))
    same(dynamic_temperature(z, 1, 1), z, rtol=0, atol=0)
    same(dynamic_temperature(z, .2, 3, 0), apply_temperature(z, 3))
    share = entropy(z) / math.log(9)
    same(dynamic_temperature(z, .5, 2, 2), apply_temperature(z, .5 + 1.5 * share**2))
    # every T is below 1
    assert (entropy(dynamic_temperature(z, 0, .9)) <= entropy(z)).all()

def test_entropy_summed_over_the_batch_is_caught():
    def wrong(z):
        share = entropy(z).sum() / math.log(z.isfinite().sum())
        return apply_temperature(z, (.5 + share).item())
    z = torch.tensor([[5., 0, 0, 0], [.1, 0, 0, 0], [1, 2, 3, 4]])
    same(wrong(z[:1]), dynamic_temperature(z[:1], .5, 1.5))  # right for one row
    with pytest.raises(AssertionError): rows_alone(wrong, z)
    rows_alone(lambda z: dynamic_temperature(z, .5, 1.5), z)

@pytest.mark.parametrize('low, high, exponent',
                         [(1.5, .5, 1), (-.1, 1, 1), (0, INF, 1), (math.nan, 1, 1),
                          (0, 1, -1), (0, 1, math.nan),
                                                 ('0', 1, 1), ([0., 1], 2, 1),
                          (torch.zeros(2), 1, 1), (True, 1, 1), (None, 1, 1)])
def test_dynamic_temperature_refuses(low, high, exponent):
    with pytest.raises((TypeError, ValueError)):
        dynamic_temperature(torch.zeros(2, 3), low, high, exponent)


# --- XTC

def test_steady_probs_do_not_depend_on_the_batch():
    z = torch.randn(5, 128_256, generator=torch.Generator().manual_seed(0))
    assert steady_probs(z).dtype == torch.float32
    for i in range(5): assert steady_probs(z)[i].equal(steady_probs(z[i]))

@given(rows(), st.floats(0, 1))
def test_xtc_is_the_definition(z, threshold):
    p = probabilities(z.tolist())
    assume(all(abs(x - threshold) > 1e-5 for x in p) or threshold == 0)
    good = [i for i, x in enumerate(z.tolist()) if x > -INF and p[i] >= threshold]
    least = min((z[i].item() for i in good), default=None)
    want = [x > -INF and not (i in good and x > least)
            for i, x in enumerate(z.tolist())]
    out = xtc_filter(z, threshold, 1, seed=0)
    assert kept(out) == want
    same(out[want], z[want], rtol=0, atol=0)
    same(xtc_filter(z, threshold, 0), z, rtol=0, atol=0)

@pytest.mark.parametrize('threshold, want', [
    (.09, [.1]), (.19, [.2, .1]), (.29, [.3, .2, .1]), (.39, [.4, .3, .2, .1])])
def test_xtc_published_cases(threshold, want):
    "llama.cpp's tests, in any order of the vocabulary"
    p = torch.tensor([.4, .3, .2, .1])
    for order in ([0, 1, 2, 3], [2, 0, 3, 1], [3, 2, 1, 0]):
        out = xtc_filter(p[order].log(), threshold, 1, seed=5)
        same(p[order][out > -INF].sort(descending=True).values, torch.tensor(want))

def test_xtc_threshold_is_reached_by_an_exact_hit():
    # halves, exact once rounded to float32
    z = torch.tensor([8, 4, 2, 1, 1], dtype=torch.float64).log()
    for threshold, first in ((.25, 1), (.125, 2), (.0625, 3)):
        for knob in (threshold, torch.tensor(threshold),
                     torch.tensor(threshold).double()):
            assert (kept(xtc_filter(z, knob, 1, seed=0))
                    == [i >= first for i in range(5)])

@given(batches(), st.floats(.5, 1, exclude_min=True))
def test_xtc_does_nothing_above_a_half(z, threshold):
    same(xtc_filter(z, threshold, 1, seed=1), z, rtol=0, atol=0)

def test_xtc_knobs_and_rolls_per_row():
    z = torch.tensor([.4, .3, .2, .1]).log().repeat(6, 1)
    out = xtc_filter(z, [.09, None, .19, .29, .09, 1.], [1, 1, 1, 1, None, 1], seed=0)
    assert out.isfinite().sum(-1).tolist() == [1, 4, 2, 3, 4, 4]
    for per_row in ([.09, 1., .29, .09, .09, .2],
                    torch.tensor([.09, 1, .29, .09, .09, .2]).double()):
        rows_alone(lambda z, t, s, n: xtc_filter(z, t, .5, seed=s, position=n), z,
                   per_row, torch.arange(6), torch.arange(6) * 3)
    hit = xtc_filter(z, .09, .5, seed=torch.arange(6))[:, 0] == -INF
    assert hit.any() and not hit.all()
    shared = [xtc_filter(z, .09, .5, seed=9, position=t) for t in range(20)]
    # one seed, one luck
    assert all(len(set(map(tuple, x.tolist()))) == 1 for x in shared)
    assert len({x[0, 0].item() for x in shared}) == 2  # that changes with the position
    torch.manual_seed(0); a = xtc_filter(z.repeat(20, 1), .09, .5)
    torch.manual_seed(0); b = xtc_filter(z.repeat(20, 1), .09, .5)
    same(a, b, rtol=0, atol=0)
    assert 0 < (a[:, 0] == -INF).sum() < 120

def expected(p, removed, q):
    m = p[removed].sum()
    return torch.where(removed, p * (1 - q), p * (1 + q * m / (1 - m)))

@pytest.mark.parametrize('q', [.2, .5, .9])
def test_xtc_draws_follow_the_expected_probabilities(q):
    p, n = torch.tensor([.1, .4, .2, .05, .25]), 20_000
    seeds = torch.arange(n)
    z = xtc_filter(p.log().expand(n, -1), .15, q, seed=seeds, position=2)
    want = expected(p, torch.tensor([False, True, False, False, True]), q)
    frequencies(sample(z, seed=seeds, position=2), want)
    frequencies((z[:, 1] == -INF).long(), torch.tensor([1 - q, q]))

def test_xtc_negative_references():
    p, n = torch.tensor([.1, .4, .2, .3]), 20_000
    def loop(z, q=.5):  # exllamav2: needs sorted candidates
        x = softmax(z)
        return expected(x, torch.cat([x[..., 1:] >= .15, torch.tensor([False])]), q)
    same(loop(p.log()), [.05, .2, .1, .65])
    with pytest.raises(AssertionError): commutes(loop, p.log())
    def one_roll(z, u=.1):  # mlx-lm: one roll, and the least good of the batch
        x = softmax(z)
        return z.masked_fill(x > x.masked_fill(x <= .15, INF).min(),
                             -INF) if u <= .5 else z
    pair = torch.tensor([[.5, .25, .2, .05], [.4, .35, .15, .1]]).log()
    with pytest.raises(AssertionError): rows_alone(one_roll, pair)
    assert one_roll(pair).isfinite()[1].tolist() == [False, False, True, True]
    want = expected(p, torch.tensor([False, True, False, True]), .5)
    seeds = torch.arange(n)
    # the roll must not be the draw's own noise
    for salt, right in ((0, False), (XTC_SALT, True)):
        hit = uniform_noise(seeds, 0, 1, salt=salt) <= .5
        ids = sample(torch.where(hit, xtc_filter(p.log(), .15, 1, seed=0), p.log()),
                     seed=seeds)
        if right: frequencies(ids, want)
        else:
            with pytest.raises(AssertionError): frequencies(ids, want)

@pytest.mark.parametrize('kw',
                         [dict(threshold=1.1), dict(threshold=-.1), dict(probability=2),
                          dict(probability=math.nan), dict(probability='x'),
                                dict(threshold=[.1]),
                          dict(probability=torch.tensor([.1, .2, .3])), dict(seed='x'),
                          dict(seed=[1, 2, 3]),
                                dict(seed=1.5), dict(position=torch.arange(3)),
                          dict(position=.5), dict(threshold=True)])
def test_xtc_refuses(kw):
    with pytest.raises((TypeError, ValueError)):
        xtc_filter(torch.zeros(2, 4),
                   **(dict(threshold=.1, probability=.5, seed=0) | kw))


# --- both

FILTERS = {'dynamic': lambda z: dynamic_temperature(z, .3, 1.7, 1.2),
           'xtc': lambda z: xtc_filter(z, .08, 1, seed=0),
           'xtc 0': lambda z: xtc_filter(z, 0, 1, seed=0)}

@pytest.mark.some(1)
@pytest.mark.parametrize('name', FILTERS)
@settings(max_examples=25)
@given(z=batches())
def test_any_filter(name, z): any_filter(FILTERS[name], z)

@pytest.mark.parametrize('name', FILTERS)
def test_masked_tokens_do_not_count(name): masked_tokens_do_not_count(FILTERS[name])

@pytest.mark.parametrize('name', FILTERS)
def test_bad_rows_pass_through(name): bad_rows_pass_through(FILTERS[name])

@pytest.mark.parametrize('name', FILTERS)
def test_what_is_no_logits_is_refused(name): what_is_no_logits_is_refused(FILTERS[name])
