"Each check of `testing` lets the right one pass, and sees what it is for"

import pytest
import torch
from checks import commutes, frequencies, on_meta, rows_alone, same

from llm_sampling import sample, top_k_filter
from llm_sampling.softmax import softmax
from llm_sampling.testing import chi_square

Z = torch.tensor([[2., 1, 1, 0], [0, 3, -1, 2], [1, 1, 1, 1]])


@pytest.mark.parametrize('a, b', [
    (torch.ones(2), torch.ones(3)), (torch.ones(2), torch.ones(2).double()),
    (torch.ones(2), [1., 1.01]), (torch.tensor([torch.nan]), [torch.nan]),
    (torch.tensor([torch.inf]), [-torch.inf])])
def test_same_sees_shape_dtype_and_value(a, b):
    if not a.isnan().any(): same(a, a.clone())
    with pytest.raises(AssertionError): same(a, b)


def test_rows_alone_sees_another_row():
    rows_alone(lambda z, k: top_k_filter(z, k), Z, [1, 2, None])
    with pytest.raises(AssertionError): rows_alone(lambda z: z - z.max(), Z)


def test_commutes_sees_a_position():
    commutes(lambda z: top_k_filter(z, 2), Z)
    with pytest.raises(AssertionError): commutes(lambda z: z + torch.arange(4), Z)


def test_on_meta_sees_a_value_read_and_another_shape():
    on_meta(top_k_filter, Z, 2)
    with pytest.raises(Exception, match='meta'):
        on_meta(lambda z: z if z.max() > 0 else -z, Z)
    for f in (lambda z: z[0], lambda z: z.double()):
        with pytest.raises(AssertionError): on_meta(f, Z)


def test_frequencies_see_a_wrong_distribution():
    n, p = 20_000, softmax(Z[0])
    ids = sample(Z[:1].expand(n, -1), seed=torch.arange(n))
    frequencies(ids, p)
    with pytest.raises(AssertionError): frequencies(ids, torch.full((4,), .25))
    with pytest.raises(AssertionError, match='probability 0'):
        frequencies(ids, softmax(top_k_filter(Z[0], 1)))
    with pytest.raises(AssertionError, match='there are 3'): frequencies(ids, p[:3])


def test_chi_square_is_scipys():
    stats = pytest.importorskip('scipy.stats', reason='the oldest versions go without')
    counts, p = torch.tensor([30, 18, 40, 12]), torch.tensor([.25, .25, .35, .15])
    theirs = stats.chisquare(counts.numpy(), (p.double() * 100).numpy()).pvalue
    assert chi_square(counts, p) == pytest.approx(theirs, rel=1e-5)
