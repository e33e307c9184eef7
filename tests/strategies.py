"""Rows of logits as they come in the wild, for hypothesis: ties, masked tokens, one
token, large and tiny values"""
import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st

# the same examples in every run, and no example fails for being slow: a test says the
# same on every machine
settings.register_profile('llm_sampling', derandomize=True, deadline=None,
                          max_examples=60, database=None)
settings.load_profile('llm_sampling')

values = st.one_of(st.integers(-4, 4).map(float),                         # ties
                   st.floats(-30, 30, width=32), st.just(-np.inf))

@st.composite
def rows(draw, vocab=None, finite=True):
    "A 1-D float32 row of logits; with `finite` at least one is"
    n = vocab or draw(st.integers(1, 12))
    row = draw(st.lists(values, min_size=n, max_size=n))
    if finite and max(row) == -np.inf: row[draw(st.integers(0, n - 1))] = 0.
    return torch.tensor(row, dtype=torch.float32)

@st.composite
def batches(draw, **kw):
    "A 2-D float32 batch of 1 to 4 rows"
    vocab = draw(st.integers(1, 12))
    return torch.stack(draw(st.lists(rows(vocab=vocab, **kw), min_size=1, max_size=4)))
