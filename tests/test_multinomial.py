"""The inverse CDF at its edges, against exact fractions, and in the precision of what
it is given"""
from fractions import Fraction
from itertools import accumulate

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import strategies  # the profile: no example fails for being slow
from llm_sampling import sample_cdf

TENTHS = [.1, .3, .4, .2]


@pytest.mark.parametrize(
    'form', [list, torch.tensor, lambda x: torch.tensor(x, dtype=torch.float64)])
@pytest.mark.parametrize('edge, id', [(0., 0), (.1, 1), (.4, 2), (.8, 3)])
def test_an_edge_of_the_cdf_belongs_to_the_right(form, edge, id):
    """The CDF of .1 .3 .4 .2 is .1 .4 .8 1, as numbers of Python, in float32 and in
    float64"""
    assert sample_cdf(form(TENTHS), edge).item() == id

@pytest.mark.parametrize('edge, id', [(0., 0), (.1, 1), (.4, 2), (.8, 3)])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_an_edge_given_as_a_tensor_of_the_same_precision_is_hit(dtype, edge, id):
    assert sample_cdf(torch.tensor(TENTHS, dtype=dtype),
                      torch.tensor(edge, dtype=dtype)).item() == id

@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.int64])
def test_whole_weights_hit_every_edge(dtype):
    "29/100 is the nearest number to .29; 100 times .29 is not 29"
    edges = [i / 100 for i in range(100)]
    rows = torch.ones(100, 100, dtype=dtype)
    assert sample_cdf(rows, edges).tolist() == list(range(100))
    assert sample_cdf(rows[0], edges[29]).item() == 29

@given(st.lists(st.integers(0, 1000), min_size=1, max_size=30).filter(any),
       st.floats(0, 1, exclude_max=True))
def test_it_is_its_definition(weights, u):
    """Exact fractions are the judge: the first id whose share is greater than u, up to
    one rounding"""
    ends = [Fraction(c, sum(weights)) for c in accumulate(weights)]
    id = sample_cdf(torch.tensor(weights, dtype=torch.float64), u).item()
    assert weights[id] > 0 and ends[id] >= Fraction(u)
    assert id == 0 or ends[id-1] <= Fraction(u) + Fraction(1, 2**53)
    assert weights[sample_cdf(torch.tensor(weights).float(), u).item()] > 0

@pytest.mark.parametrize('weights', [[2., 1, 1, 0], [1e-30, 1., 0, 0], [3.]])
def test_a_dart_just_below_one_takes_the_last_weight(weights):
    """1 - 2**-53 rounds to 1 in float32, and must neither leave the row nor draw a
    weight of 0"""
    last = max(i for i, w in enumerate(weights) if w)
    for u in (1 - 2**-53, torch.tensor(1 - 2**-53, dtype=torch.float64), 1 - 2**-24):
        assert sample_cdf(torch.tensor(weights), u).item() == last

def test_float64_darts_tell_more_categories_than_float32_has():
    weights, ids = torch.ones(2**24 + 2), torch.arange(2**24 - 1, 2**24 + 2)
    u = (ids.double() + .5) / len(weights)
    assert sample_cdf(weights.expand(3, -1), u).tolist() == ids.tolist()

@pytest.mark.parametrize('probs, u, name', [
    ([.5, .5], 1., 'u'), ([.5, .5], -.1, 'u'), ([.5, .5], float('nan'), 'u'),
    (torch.ones(2), torch.tensor(1.), 'u'),
    ([0., 0.], .5, 'probs'), ([1., -1], .5, 'probs'), ([float('nan'), 1], .5, 'probs'),
    ([float('inf'), 1], .5, 'probs')])
def test_what_is_no_draw_is_refused_by_name(probs, u, name):
    with pytest.raises(ValueError, match=f'^{name} must be'): sample_cdf(probs, u)
