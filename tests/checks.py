"""The checks of `llm_sampling.testing` under names that pytest does not collect, and
what more than one file compares with"""
import math

import torch

from llm_sampling.testing import test_frequencies as frequencies
from llm_sampling.testing import test_meta as on_meta
from llm_sampling.testing import test_permutation as commutes
from llm_sampling.testing import test_rows_alone as rows_alone
from llm_sampling.testing import test_tensor as same

__all__ = ['as_defined', 'commutes', 'formula', 'frequencies', 'on_meta', 'rows_alone',
           'same']


def as_defined(f, value, loop):
    """What a filter passes and its wrong versions do not: ties, peaks, as many rows as
    tokens"""
    g = torch.Generator().manual_seed(3)
    z = torch.cat([torch.randn(4, 9, generator=g) * 2,
                   torch.randint(-2, 3, (4, 9), generator=g).float(),
                   torch.eye(9)[:1] * 9])
    z = z + torch.arange(9.)[:, None]  # a constant per row changes nothing
    before = z.clone()
    out = f(z, value)
    same(z, before, rtol=0, atol=0)
    assert (out > -torch.inf).tolist() == [loop(row.tolist(), value) for row in z]
    rows_alone(lambda x: f(x, value), z)
    commutes(lambda x: f(x, value), z)


def formula(p, q, own, against, alpha):
    "The contrast of two rows in float64, token by token"
    p, q = p.double().softmax(-1), q.double().softmax(-1)
    best = p.max()
    return [own * math.log(x) - against * math.log(y) if x >= alpha * best
            else -math.inf
            for x, y in zip(p.tolist(), q.tolist())]
