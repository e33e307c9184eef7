"Intervals against closed forms, scipy and what they promise"
import math

import numpy as np
import pytest
import torch

from llm_sampling.intervals import (Interval, by_prompt, corpus_interval, interval,
                                    paired_bootstrap)


def binomial_ends(n, k, level):
    "Exact quantiles of the share of ones in a resampled set"
    total = torch.tensor([math.comb(n, i) * (k / n)**i * (1 - k / n)**(n - i)
                          for i in range(n + 1)], dtype=torch.float64).cumsum(0)
    return [(total < q).sum().item() / n for q in ((1 - level) / 2, (1 + level) / 2)]


@pytest.mark.parametrize('n, k, level', [(20, 7, .95), (50, 25, .9), (30, 2, .8)])
def test_paired_bootstrap_of_zeros_and_ones_is_binomial(n, k, level):
    "One step of the lattice is allowed where a quantile lies on its edge"
    a = torch.tensor([1.] * k + [0.] * (n - k))
    mean, low, high = paired_bootstrap(a, torch.zeros(n), draws=40_000, level=level)
    assert mean == pytest.approx(k / n)
    want = binomial_ends(n, k, level)
    assert [low, high] == pytest.approx(want, abs=1 / n + 1e-9)
    assert sum(abs(x - y) > 1e-9 for x, y in zip((low, high), want)) <= 1


def test_paired_bootstrap_of_many_is_normal():
    "mean ± 1.96 standard errors, to 3 % of the width"
    d = torch.randn(400, generator=torch.Generator().manual_seed(1)).double()
    base = torch.randn(400, generator=torch.Generator().manual_seed(2)).double() * 50
    mean, low, high = paired_bootstrap(base + d, base)
    half = 1.96 * d.std(correction=0).item() / 20
    assert mean == pytest.approx(d.mean().item(), abs=1e-9)
    assert [low, high] == pytest.approx([mean - half, mean + half], abs=.06 * half)
    assert (mean, low, high) == paired_bootstrap(base + d, base)
    assert (low, high) != paired_bootstrap(base + d, base, seed=1)[1:]


@pytest.mark.parametrize('a, b', [([1, 2], [1]), ([], []), ([[1]], [[1]]), (1, 1)])
def test_paired_bootstrap_wants_pairs(a, b):
    with pytest.raises(ValueError, match='a and b must hold a score for each problem'):
        paired_bootstrap(a, b)


def skewed(n, seed=0):
    return np.random.default_rng(seed).exponential(size=n)


@pytest.mark.parametrize('paired', [False, True])
def test_interval_is_scipys(paired):
    "BCa of the means of prompts; the difference is resampled, not both apart"
    stats = pytest.importorskip('scipy.stats')
    a, b = skewed(24), skewed(24, 1)
    rows = a.reshape(12, 2).mean(1) - (b.reshape(12, 2).mean(1) if paired else 0)
    want = stats.bootstrap((rows,), np.mean, n_resamples=500, method='BCa',
                           confidence_level=.9, batch=200,
                           rng=np.random.default_rng(3)).confidence_interval
    got = interval(a, b if paired else None, n=2, level=.9, draws=500, seed=3)
    assert got == (pytest.approx(rows.mean()), *want, 12)


def test_interval_of_many_is_normal():
    x = np.random.default_rng(0).normal(size=400)
    got, half = interval(x), 1.96 * x.std() / 20
    assert got[:3] == pytest.approx([x.mean(), x.mean() - half, x.mean() + half],
                                    abs=.08 * half)


def test_interval_leaves_out_what_has_no_value():
    nan = math.nan
    assert by_prompt([1, nan, nan, nan, 3, 5], 2).tolist()[::2] == [1, 4]
    assert math.isnan(by_prompt([1, nan, nan, nan, 3, 5], 2)[1])
    # a pair counts if both have a value
    got = interval([1., nan, 3, 4, 7], [0., 5, nan, 1, 2])
    assert got.prompts == 3 and got.value == 3
    assert interval([nan, nan]) == pytest.approx((nan, nan, nan, 0), nan_ok=True)
    assert interval([2.]) == pytest.approx((2, nan, nan, 1), nan_ok=True)
    assert interval([2., 2.]) == (2, 2, 2, 2)
    assert interval([2., math.inf])[:1] == (math.inf,)


def test_corpus_interval_of_a_mean_is_students():
    "Of a mean, leaving out is exact: the interval of Student's t"
    stats = pytest.importorskip('scipy.stats')
    a, b = skewed(30), skewed(30, 1)
    for other in (None, b):
        d = a if other is None else a - b
        half = stats.t.ppf(.975, 29) * d.std(ddof=1) / 30**.5
        got = corpus_interval(np.mean, a.tolist(), other)
        assert got[:3] == pytest.approx((d.mean(), d.mean() - half, d.mean() + half))


def test_corpus_interval_takes_whole_prompts():
    "Copies of a row within a prompt say nothing new"
    once = skewed(12)
    twice = np.repeat(once, 2)
    assert corpus_interval(np.mean, twice, n=2)[:3] == pytest.approx(
        corpus_interval(np.mean, once)[:3])
    wrong, right = (corpus_interval(np.mean, twice, n=n) for n in (1, 2))
    assert wrong.high - wrong.low < .75 * (right.high - right.low)
    pair = corpus_interval(np.mean, twice, once, n=(2, 1))
    assert pair[:3] == pytest.approx((0, 0, 0), abs=1e-12)
    apart = corpus_interval(np.mean, once, twice, n=(1, 2), f_other=np.max)
    assert apart.value == once.mean() - once.max()


@pytest.mark.parametrize('call, what', [
    (lambda: interval([1, 2, 3], n=2), 'values must be'),
    (lambda: interval([]), 'values must be'), (lambda: interval([[1]]), 'values must'),
    (lambda: interval('abc'), 'values must be'),
    (lambda: interval([1, 2], [1, 2, 3]), 'same prompts'),
    (lambda: interval([1, 2], level=95), 'level must be'),
    (lambda: interval([1, 2], draws=0), 'draws must be'),
    (lambda: interval([1, 2], n=(1, 2, 3)), 'n must be'),
    (lambda: corpus_interval(len, []), 'items must be'),
    (lambda: corpus_interval(len, None), 'items must be'),
    (lambda: corpus_interval(len, [1, 2, 3], n=2), 'items must be'),
    (lambda: corpus_interval(len, [1, 2], [1]), 'same prompts'),
    (lambda: corpus_interval(len, [1, 2], n=0), 'n must be')])
def test_wrong_ones_are_named(call, what):
    with pytest.raises((TypeError, ValueError), match=what): call()


def test_an_interval_reads_well():
    assert f'{Interval(.123, -.1, .2, 5):+.2f}' == '+0.12 [-0.10, +0.20]'
