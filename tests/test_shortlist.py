"The short list against the plain steps, and that the comparison can fail"
import numpy as np
import pytest
import torch

from llm_sampling import Sampler
from llm_sampling.shortlist import largest_few, shorten, shortlist, split_tail
from llm_sampling.top_p import top_p_filter


def test_a_wrong_bound_would_be_caught(monkeypatch):
    """A list that leaves out the largest logit gives other tokens"""
    import llm_sampling.shortlist as module
    z = torch.randn(50, 3000, generator=torch.Generator().manual_seed(2)) * 3
    s = Sampler(top_k=5, seed=torch.arange(50))
    want = s(z).tolist()
    def lossy(z, n):
        short, ids, count, all_there = largest_few(z, n)
        short = np.where(short == short.max(-1, keepdims=True), -np.inf, short)
        return short.astype(np.float32), ids, count, all_there
    monkeypatch.setattr(module, 'largest_few', lossy)
    assert s(z).tolist() != want


@pytest.mark.parametrize('steps, want', [
    (['temperature', 'top_k'], 2), (['typical_p', 'top_k'], 1),
    (['top_k', 'typical_p'], 0),
    (['temperature'], 0), ([], 0), (['min_p', 'top_p', 'temperature'], 3)])
def test_only_an_end_that_cuts_is_short(steps, want):
    head, tail = split_tail(steps)
    assert head + tail == steps and len(tail) == want


def test_it_is_exact_or_none():
    "Ties beyond the list: one more and nothing is certain"
    z = -torch.arange(100.).repeat(1, 1)
    z[:, 4:10] = -4                                       # six tie at place 5
    assert shortlist(z, [('top_k', 5)], 10) is None
    short, ids = shortlist(z, [('top_k', 5)], 11)
    assert ids[short > -torch.inf].tolist() == list(range(10))


@pytest.mark.parametrize('p', [.01, .5, .9])
def test_it_is_the_filter_of_the_whole_row(p):
    "Logits and ids, scattered back, are top-p of all tokens"
    z = torch.randn(3, 4000, generator=torch.Generator().manual_seed(3)) * 4
    found = shorten(z, [('top_p', p)])
    assert found is not None
    back = torch.full_like(z, -torch.inf).scatter(-1, found[1], found[0])
    # padding repeats id 0: put its own logit back
    want = top_p_filter(z, p)
    back[:, 0] = want[:, 0]
    assert torch.equal(back, want)
