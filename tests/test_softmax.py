"Temperature against its formula, and knobs and logits that are none"
import math

import numpy as np
import pytest
import torch
from checks import same
from hypothesis import given
from hypothesis import strategies as st
from strategies import batches

from llm_sampling import apply_temperature


@given(batches(), st.sampled_from([1e-30, .1, .5, 2, 1e30]))
def test_temperature_is_division(z, t):
    x = z.double().numpy() - z.double().amax(-1, keepdim=True).numpy()
    with np.errstate(over='ignore'): want = np.exp(x / t)
    want /= want.sum(-1, keepdims=True)
    out = torch.softmax(apply_temperature(z, t), -1)
    same(out, torch.tensor(want).float(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('bad', [-1, math.nan, math.inf, True, 'x', [1, -1], [1]])
def test_bad_temperatures(bad):
    with pytest.raises((TypeError, ValueError), match='^temperature must'):
        apply_temperature(torch.zeros(2, 5), bad)
