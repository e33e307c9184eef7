"MAUVE against the paper's formula, written another way, and recorded values"
import math

import numpy as np
import pytest

from llm_sampling.mauve import (buckets_of, clustered, divergence_curve, kl_divergence,
                                mauve_of_histograms, mauve_score)


def by_loops(p, q, scaling=5, points=25):
    "The paper's curve in plain Python; the area once over x and once over y"
    kl = lambda a, b: sum(x * math.log(x / y) for x, y in zip(a, b) if x)
    curve = [(0., 1.), (1., 0.)]
    for i in range(points):
        w = 1e-6 + i * (1 - 2e-6) / (points - 1)
        r = [w * x + (1 - w) * y for x, y in zip(p, q)]
        curve.append((math.exp(-scaling * kl(q, r)), math.exp(-scaling * kl(p, r))))
    def area(points):
        points = sorted(points)
        return sum((b[0] - a[0]) * (a[1] + b[1]) / 2
                   for a, b in zip(points, points[1:]))
    return (area(curve) + area([(y, x) for x, y in curve])) / 2


def histograms(seed, k=12):
    rng = np.random.default_rng(seed)
    p, q = rng.dirichlet(np.full(k, .3), 2)
    p[rng.integers(0, k, 3)] = 0
    q[rng.integers(0, k, 3)] = 0
    return p / p.sum(), q / q.sum()


@pytest.mark.parametrize('seed', range(8))
def test_mauve_is_the_papers(seed):
    p, q = histograms(seed)
    assert mauve_of_histograms(p, q) == pytest.approx(by_loops(p, q), abs=1e-9)
    assert mauve_of_histograms(p, q, 2, 60) == pytest.approx(by_loops(p, q, 2, 60))
    # either set may be called the model's
    assert mauve_of_histograms(p, q) == pytest.approx(mauve_of_histograms(q, p))


@pytest.mark.parametrize('p, q, five, two', [
    ([.5, .25, .25, 0], [0, .25, .25, .5], 0.09257236294829274, 0.4999999999999999),
    ([.1, .2, .3, .4], [.4, .3, .2, .1], 0.6538536633533254, 0.9113995025239849),
    ([.7, .2, .1], [.6, .2, .2], 0.9932465389072718, 0.9988666580511578)])
def test_mauve_is_the_references(p, q, five, two):
    "Recorded from mauve-text 0.4.0: c = 5 and 25 points, c = 2 and 50 points"
    assert mauve_of_histograms(p, q) == pytest.approx(five, abs=1e-9)
    assert mauve_of_histograms(p, q, 2, 50) == pytest.approx(two, abs=1e-9)


def test_the_ends_of_the_scale():
    assert mauve_of_histograms([.2, .8], [.2, .8]) == pytest.approx(1)
    # nothing in common: the curve is (1-w)^5 and w^5, its area 5 B(6, 5)
    apart = mauve_of_histograms([1, 0], [0, 1], points=4000)
    assert apart == pytest.approx(5 * math.gamma(5) * math.gamma(6) / math.gamma(11),
                                  rel=1e-3)


def test_kl_by_hand():
    half, quarter = np.array([.5, .5]), np.array([.25, .75])
    want = .5 * math.log(2) + .5 * math.log(2 / 3)
    assert kl_divergence(half, quarter) == pytest.approx(want)
    assert kl_divergence(half, np.array([1., 0])) == math.inf
    assert kl_divergence(np.array([1., 0]), half) == pytest.approx(math.log(2))


def test_the_curve_falls_from_corner_to_corner():
    x, y = divergence_curve(*histograms(3)).T
    assert (np.diff(x) <= 0).all() and (np.diff(y) >= 0).all()
    assert [x[0], y[0], x[-1], y[-1]] == [1, 0, 0, 1]


def clouds(n, apart, seed=0):
    pytest.importorskip('sklearn')
    rng = np.random.default_rng(seed)
    shift = np.zeros(8)
    shift[0] = apart
    return rng.normal(size=(n, 8)), rng.normal(size=(n, 8)) + shift


def test_the_farther_apart_the_lower():
    near, far, farther = (mauve_score(*clouds(200, d)) for d in (0, 2, 6))
    assert 1 >= near > .8 > far > farther


def test_buckets_are_clusters_of_both():
    "Two far groups: each in a bucket of its own, whichever set a vector is of"
    p, q = clouds(40, 0)
    for v in (p, q): v[:, 1] += np.where(np.arange(40) % 4 == 0, 50, -50)
    a, b, buckets = buckets_of(p, q, 2)
    assert buckets == 2 and len({*a[::4], *b[::4]}) == 1
    assert len({*a[1::4], *b[1::4]}) == 1 and a[0] != a[1]
    share = np.bincount(a, minlength=2) / 40
    f, labels = clustered(p, q, 2)
    assert f(labels) == pytest.approx(1) and labels == a.tolist()
    assert sorted(share) == [.25, .75]
    assert f([labels[0]] * 5) < f(labels)


def test_equal_vectors_are_one_bucket():
    same = np.ones((6, 3))
    assert mauve_score(same, same) == pytest.approx(1)


@pytest.mark.parametrize('call, what', [
    (lambda: mauve_of_histograms([.5, .6], [.5, .5]), 'p must be the shares'),
    (lambda: mauve_of_histograms([.5, .5], [1.5, -.5]), 'q must be the shares'),
    (lambda: mauve_of_histograms([.5, .5], 'no'), 'q must be the shares'),
    (lambda: mauve_of_histograms([], []), 'p must be the shares'),
    (lambda: mauve_of_histograms([1.], [.5, .5]), 'same buckets'),
    (lambda: mauve_of_histograms([1.], [1.], scaling=0), 'scaling must be'),
    (lambda: mauve_of_histograms([1.], [1.], points=1), 'points must be'),
    (lambda: mauve_score(np.ones(3), np.ones((3, 2))), 'p must hold a vector'),
    (lambda: mauve_score(np.ones((3, 2)), np.ones((1, 2))), 'q must hold a vector'),
    (lambda: mauve_score(np.full((3, 2), np.nan), np.ones((3, 2))), 'p must hold'),
    (lambda: mauve_score(np.ones((3, 2)), np.ones((3, 4))), 'of one model'),
    (lambda: mauve_score(np.ones((3, 2)), np.ones((3, 2)), buckets=0), 'buckets must'),
    (lambda: buckets_of(np.ones((3, 2)), np.ones((3, 2)), explained=2), 'explained')])
def test_wrong_ones_are_named(call, what):
    with pytest.raises((TypeError, ValueError), match=what): call()
