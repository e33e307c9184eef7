"""Top-k against its definition written with loops, transformers, and the wrong versions
in circulation

A wrong version is a negative reference: a check that the right one passes must fail on
it."""
import math

import pytest
import torch
from checks import as_defined, same
from hypothesis import given
from hypothesis import strategies as st
from strategies import rows
from transformers import TopKLogitsWarper

from llm_sampling import top_k_filter


def loop(row, k):
    return [sum(y > x for y in row) < k for x in row]


@given(rows(), st.integers(1, 14))
def test_it_is_its_definition(row, k):
    want = [a and x > -math.inf for a, x in zip(loop(row.tolist(), k), row.tolist())]
    assert (top_k_filter(row, k) > -torch.inf).tolist() == want


@given(rows(vocab=9))
def test_it_is_idempotent(row):
    for k in (1, 4):
        once = top_k_filter(row, k)
        same(top_k_filter(once, k), once, rtol=0, atol=0)


@given(rows(vocab=9), st.integers(1, 9))
def test_transformers(row, k):
    theirs = TopKLogitsWarper(k)(None, row[None])
    same(top_k_filter(row[None], k), theirs, rtol=0, atol=0)


# --- versions in circulation (the numbers are those of the chapter's stories)

def threshold_of_shape_b(z, k):
    return torch.where(z < z.topk(k).values[:, -1], -torch.inf, z)

def threshold_of_the_batch(z, k):
    return torch.where(z < z.topk(k).values.min(), -torch.inf, z)

def off_by_one(z, k):
    level = z.sort(-1, descending=True).values[..., k:k+1]
    return z.masked_fill(z < level, -torch.inf)

def by_index(z, k):
    best = z.topk(k)
    return torch.full_like(z, -torch.inf).scatter(-1, best.indices, best.values)

def in_place(z, k):
    z[z < z.topk(k).values[..., -1:]] = -torch.inf
    return z

def mask_too_small(z, k):
    return z.masked_fill(z < z.topk(k).values[..., -1:], 1e-10)


@pytest.mark.parametrize('wrong', [threshold_of_shape_b, threshold_of_the_batch,
                                   off_by_one, by_index, in_place, mask_too_small])
def test_a_wrong_one_is_caught(wrong):
    as_defined(top_k_filter, 3, loop)
    with pytest.raises((AssertionError, RuntimeError)): as_defined(wrong, 3, loop)
