"""Min-p, top-a, top-nσ, p-less and tail-free against definitions in plain Python, and
the versions in circulation that are wrong"""
import math

import pytest
import torch
from checks import commutes, rows_alone, same
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import rows
from transformers import MinPLogitsWarper

from llm_sampling.min_p import (min_p_filter, p_less_filter, tail_free_filter,
                                top_a_filter, top_n_sigma_filter)
from llm_sampling.softmax import apply_temperature
from llm_sampling.top_k import top_k_filter
from llm_sampling.top_p import top_p_filter

INF = math.inf
FILTERS = {'min_p': min_p_filter, 'top_a': top_a_filter,
           'top_n_sigma': top_n_sigma_filter, 'tail_free': tail_free_filter}
VALUES = {'min_p': [0, 1e-4, .3, 1], 'top_a': [0, .2, .9, 1],
          'top_n_sigma': [.1, 1., 2.5, INF], 'tail_free': [.1, .8, .97, 1]}
KNOBS = [(name, v) for name in FILTERS for v in VALUES[name]]

def apply(name, z, v):
    return p_less_filter(z) if name == 'p_less' else FILTERS[name](z, v)

every = pytest.mark.parametrize('name,value', KNOBS + [('p_less', None)])


# --- definitions, written without the code: floats of Python, lists, no differences of
# logits where a probability is meant

def law(row):
    top = max(row)
    w = [math.exp(x - top) for x in row]
    return [x / math.fsum(w) for x in w]

def sigma(row):
    live = [x for x in row if x > -INF]
    mean = math.fsum(live) / len(live)
    return math.sqrt(math.fsum((x - mean)**2 for x in live) / len(live))

def bends(row):
    p = sorted((q for q, x in zip(law(row), row) if x > -INF), reverse=True)
    return p, [abs(p[i] - 2 * p[i+1] + p[i+2]) for i in range(len(p) - 2)]

def reached(name, row, v):
    "Value and level of each token: kept iff value >= level"
    p = law(row)
    if name == 'min_p': return p, v * max(p)
    if name == 'top_a': return p, v * max(p)**2
    if name == 'p_less': return p, math.fsum(q*q for q in p)
    if name == 'top_n_sigma':
        return row, -INF if v == INF else max(row) - v * sigma(row)

def tail_free(row, z):
    "Tokens kept, or None where rounding could decide"
    live = sorted((x for x in row if x > -INF), reverse=True)
    p, d = bends(row)
    total = math.fsum(d)
    if z == 1 or total == 0: return [x > -INF for x in row]
    if total < 1e-3 * p[0]: return None                # straight, or nearly
    sums = [math.fsum(d[:i+1]) / total for i in range(len(d))]
    if any(abs(s - z) < 1e-3 for s in sums): return None
    return [x >= live[sum(s <= z for s in sums)] for x in row]

def brute(name, row, v):
    """Tokens kept, or None where a token other than the best is within rounding of the
    level"""
    row = row.double().tolist()
    if name == 'tail_free': return tail_free(row, v)
    values, level = reached(name, row, v)
    if level in (0, -INF): return [x > -INF for x in row]
    slack = 1e-5 * (level if name != 'top_n_sigma'
                    else 1 + max(abs(x) for x in row if x > -INF))
    if any(x != max(row) and abs(q - level) <= slack for x, q in zip(row, values)):
        return None
    return [x == max(row) or q >= level for x, q in zip(row, values)]


@every
@given(rows())
def test_definition(name, value, row):
    expected = brute(name, row, value)
    assume(expected is not None)
    got = apply(name, row, value)
    assert got.isfinite().tolist() == expected
    same(got[got.isfinite()], row[got.isfinite()], rtol=0, atol=0)


def test_brute_force_is_not_skipped():
    "The comparison above must not live on its exceptions"
    g = torch.Generator().manual_seed(0)
    many = torch.randn(200, 8, generator=g) * 3
    for name, v in KNOBS + [('p_less', None)]:
        decided = [brute(name, row, v) for row in many]
        assert sum(d is not None for d in decided) > 150, name
        for row, d in zip(many, decided):
            if d is not None: assert apply(name, row, v).isfinite().tolist() == d


@given(rows())
def test_min_p_is_idempotent_and_keeps_only_maxima_at_1(row):
    once = min_p_filter(row, .3)
    same(min_p_filter(once, .3), once)
    assert min_p_filter(row, 1).isfinite().equal(row == row.max())


@given(rows(), st.sampled_from([.25, .5, 2., 4.]), st.sampled_from([.05, .2, .6]))
def test_temperature_before_min_p_raises_the_base_to_its_power(row, T, m):
    gap = row.max().double() - row.double()
    assume(not ((gap + T * math.log(m)).abs() < 1e-4).any())
    assert min_p_filter(apply_temperature(row, T),
                        m).isfinite().equal(min_p_filter(row, m**T).isfinite())


@given(rows(), st.sampled_from([.25, .5, 2., 4.]), st.sampled_from([.3, 1., 2.]))
def test_top_n_sigma_is_blind_to_temperature(row, T, n):
    live = row[row.isfinite()].double()
    assume(not ((live.max() - live - n * live.std(correction=0)).abs() < 1e-4).any()
           or live.std(correction=0) == 0)
    hot = apply_temperature(row, T)
    assert top_n_sigma_filter(hot,
                              n).isfinite().equal(top_n_sigma_filter(row, n).isfinite())
    k3 = top_k_filter(row, 3)
    live = k3[k3.isfinite()].double()
    assume(not ((live.max() - live - n * live.std(correction=0)).abs() < 1e-4).any()
           or live.std(correction=0) == 0)
    assert top_n_sigma_filter(top_k_filter(hot, 3),
                              n).isfinite().equal(top_n_sigma_filter(k3, n).isfinite())


def test_others_move_with_temperature():
    g = torch.Generator().manual_seed(0)
    z = torch.randn(100, 12, generator=g) * 2
    for name, v in (('min_p', .1), ('top_a', .2), ('tail_free', .9), ('p_less', None)):
        hot = apply(name, apply_temperature(z, 2), v)
        assert (hot.isfinite() != apply(name, z, v).isfinite()).any(), name
    after = [top_n_sigma_filter(top_p_filter(apply_temperature(z, T), .9), 1).isfinite()
             for T in (1, 2)]
    assert (after[0] != after[1]).any()  # a filter before it that moves


@given(rows(), st.sampled_from([.01, .1, .5, .9]))
def test_transformers_min_p(row, m):
    gap = row.max().double() - row.double()
    assume(not ((gap + math.log(m)).abs() < 1e-4).any())
    same(min_p_filter(row[None], m), MinPLogitsWarper(m)(None, row[None]))


def test_differences_from_transformers():
    near = torch.tensor([[.01, .01]]).nextafter(torch.tensor([[.01, 1.]]))
    # equal as probabilities
    assert MinPLogitsWarper(1.)(None, near).isfinite().sum() == 2
    assert min_p_filter(near, 1).isfinite().sum() == 1  # not as logits
    tiny = torch.tensor([[0., -120.]])
    # e^-120 underflows
    assert MinPLogitsWarper(1e-44)(None, tiny).isfinite().sum() == 1
    assert min_p_filter(tiny.double(), 1e-60).isfinite().sum() == 2  # 120 < 60 ln 10


def test_a_knob_cuts_at_the_same_bit_in_every_form():
    for p in [i / 23 for i in range(1, 23)]:
        level = torch.tensor(math.log(p))
        near = [level]
        for end in (-INF, 0.):
            x = level
            for _ in range(3): x = x.nextafter(torch.tensor(end)); near.append(x)
        z = torch.stack([torch.tensor(0.), *near])[None]
        for f in (min_p_filter, top_a_filter):
            for form in (torch.tensor([p]), torch.tensor([p], dtype=torch.float64), [p],
                         torch.tensor(p)):
                same(f(z, form), f(z, p))


def test_by_hand():
    toy = torch.tensor([8., 4, 2, 1, 1]).log()
    count = lambda z: z.isfinite().sum().item()
    assert [count(min_p_filter(toy, m))
            for m in (1, .5, .26, .25, .125, .1, 0)] == [1, 2, 2, 3, 5, 5, 5]
    assert [count(top_a_filter(toy, a)) for a in (1, .5, .26, .2)] == [2, 3, 3, 5]
    assert [count(top_n_sigma_filter(toy, n))
            for n in (.8, .9, 1.7, 1.8, 2.5, 2.6)] == [1, 2, 2, 3, 3, 5]
    assert count(p_less_filter(toy)) == 1
    assert [count(tail_free_filter(toy, z))
            for z in (.49, .5, .74, .75, .99)] == [1, 2, 2, 3, 3]


@pytest.mark.parametrize('n', [1, 2, 3, 7, 128_256])
def test_p_less_keeps_all_of_a_uniform_row(n):
    assert p_less_filter(torch.full((n,), 1.7)).isfinite().all()
    assert p_less_filter(torch.full((n,), 1.7).bfloat16()).isfinite().all()


# --- versions in circulation: our checks must catch each

def first_token_as_best(z, m): return z.masked_fill(z < z[..., :1] * m, -INF)
def share_of_the_logit(z, m):
    return z.masked_fill(z < z.amax(-1, keepdim=True) * m, -INF)
def strict(z, m):
    return z.masked_fill(~(z > z.amax(-1, keepdim=True) + math.log(m)), -INF)
def best_of_the_batch(z, m): return z.masked_fill(z < z.max() + math.log(m), -INF)

@pytest.mark.parametrize('wrong', [first_token_as_best, share_of_the_logit, strict,
                                   best_of_the_batch])
def test_wrong_min_p_is_caught(wrong):
    with pytest.raises(AssertionError): min_p_checks(wrong)

def test_right_min_p_passes(): min_p_checks(min_p_filter)

def min_p_checks(f):
    z = torch.tensor([[4.51, .89, -1.9, 6.75], [0., 1, 2, 3]])
    commutes(lambda x: f(x, .2), z)
    rows_alone(lambda x: f(x, .2), z)
    same(f(z - 10, .2).isfinite(), f(z, .2).isfinite())
    same(f(z, 1).isfinite(), z == z.amax(-1, keepdim=True))


def std_with_dropped(z, n):
    return z.masked_fill(z < z.amax(-1, keepdim=True) - n * z.std(-1, keepdim=True),
                         -INF)

def std_with_zeros(z, n):
    s = z.masked_fill(z == -INF, 0).std(-1, keepdim=True)
    return z.masked_fill(z < z.amax(-1, keepdim=True) - n * s, -INF)

def sample_std(z, n):
    s = torch.stack([r[r > -INF].std() for r in z])[:, None]
    return z.masked_fill(z < z.amax(-1, keepdim=True) - n * s, -INF)

@pytest.mark.parametrize('wrong', [std_with_dropped, std_with_zeros, sample_std])
def test_wrong_sigma_is_caught(wrong):
    with pytest.raises(AssertionError): sigma_checks(wrong)

def sigma_checks(f):
    left = torch.tensor([[8., 7, 6] + [-INF] * 5])
    same(f(left, 1), [[8.] + [-INF] * 7])
    same(f(left, 1)[:, :3], f(left[:, :3], 1))
    # 1.23 * .816 = 1.004; the sample's deviation is 1
    same(f(left[:, :3], 1.23), [[8., 7, -INF]])

def test_right_sigma_passes(): sigma_checks(top_n_sigma_filter)


def strict_p_less(z):
    p = z.softmax(-1)
    return z.masked_fill(~(p > p.square().sum(-1, keepdim=True)), -INF)

def slack_p_less(z):
    p = z.softmax(-1)
    return z.masked_fill(p < p.square().sum(-1, keepdim=True) - 1e-5, -INF)

@pytest.mark.parametrize('wrong', [strict_p_less, slack_p_less])
def test_wrong_p_less_is_caught(wrong):
    with pytest.raises(AssertionError): p_less_checks(wrong)

def p_less_checks(f):
    assert f(torch.zeros(8)).isfinite().all()
    z = torch.randn(128_256, generator=torch.Generator().manual_seed(0))
    c = z.double().softmax(-1).square().sum()
    assert abs(f(z).isfinite().sum() - (z.double().softmax(-1) >= c).sum()) <= 1

def test_right_p_less_passes(): p_less_checks(p_less_filter)


def uncentred(z, share):
    "llama.cpp's, before it was removed: one token fewer"
    p = z.softmax(-1).sort(descending=True).values
    d = p.diff(n=2).abs()
    n = max(1, ((d / d.sum()).cumsum(-1) <= share).sum().item())
    return z.masked_fill(z < z.sort(descending=True).values[n-1], -INF)

def test_tail_free_is_centred():
    toy = torch.tensor([8., 4, 2, 1, 1]).log()
    assert [uncentred(toy, z).isfinite().sum().item()
            for z in (.4, .5, .75)] == [1, 1, 2]
    assert [tail_free_filter(toy, z).isfinite().sum().item()
            for z in (.4, .5, .75)] == [1, 2, 3]
