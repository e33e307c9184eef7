"""The penalties against transformers' processor, and the wrong versions in circulation

What they share with bans is in the tests of a history."""
import math

import pytest
import torch
from checks import same
from histories import (INF, TEXT, by_rows, loop_frequency, loop_presence,
                       loop_repetition, texts)
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers import RepetitionPenaltyLogitsProcessor

from llm_sampling.penalties import (bounded, frequency_penalty, presence_penalty,
                                    repetition_penalty, token_counts)


def test_counts():
    ids = torch.tensor([10, 20, 10, 30, 10, 20])
    counts = token_counts(ids, 40)
    assert counts.dtype == torch.int32
    assert counts.nonzero().flatten().tolist() == [10, 20, 30]
    z = presence_penalty(frequency_penalty(torch.zeros(40), ids, .5), ids, .1)
    same(z[[10, 20, 30, 0]], [-1.6, -1.1, -.6, 0])
    assert token_counts(torch.tensor([[-1, 5, 4, 4]]), 5).tolist() == [[0, 0, 0, 0, 2]]
    assert token_counts(torch.zeros(2, 0, dtype=torch.long),
                        3).tolist() == [[0] * 3] * 2

def test_bounded_keeps_what_is_not_finite():
    old = torch.tensor([1., -INF, math.nan, 2.])
    out = bounded(torch.tensor([1e9, 0, 0, -INF]), old, torch.float16)
    most = torch.finfo(torch.float16).max
    torch.testing.assert_close(out, torch.tensor([most, -INF, math.nan, -most]),
                               equal_nan=True)

@settings(max_examples=20)
@given(text=texts())
def test_once_or_often(text):
    "Presence ignores how often; normalised repetition ignores a shift"
    z, ids, mask = text
    twice, shown = torch.cat([ids, ids], -1), torch.cat([mask, mask], -1)
    same(presence_penalty(z, twice, .7, shown), presence_penalty(z, ids, .7, mask))
    same(repetition_penalty(z, twice, 1.7, shown),
         repetition_penalty(z, ids, 1.7, mask))
    normal = lambda z: repetition_penalty(z, ids, 1.7, mask, normalize=True)
    same(normal(z + 16), normal(z), rtol=1e-4, atol=1e-3)

# --- transformers

@given(text=texts(), theta=st.sampled_from([.5, 1.1, 3.]))
def test_transformers(text, theta):
    z, ids, _ = text
    assume(ids.shape[-1] > 0)
    ids = ids.clamp(0, z.shape[-1] - 1)
    same(repetition_penalty(z, ids, theta),
         RepetitionPenaltyLogitsProcessor(theta)(ids, z), rtol=0, atol=0)

def test_transformers_differences():
    "Each deliberate: pads never count, strong penalties stay finite"
    z = torch.tensor([[1., 2, 3, 4, 5]])
    ids = torch.tensor([[0, 0, 3, 2]])
    mask = torch.tensor([[False, False, True, True]])
    assert RepetitionPenaltyLogitsProcessor(2.)(ids, z)[0, 0] == .5
    assert repetition_penalty(z, ids, 2., mask)[0, 0] == 1
    same(repetition_penalty(z, ids, 2., mask),
         RepetitionPenaltyLogitsProcessor(2., prompt_ignore_length=2)(ids, z))
    assert RepetitionPenaltyLogitsProcessor(3e38)(ids, -10*z)[0, 2] == -INF
    assert repetition_penalty(-10*z, ids, 3e38)[0, 2].isfinite()

# --- errors

z, ids = torch.zeros(2, 5), torch.zeros(2, 3, dtype=torch.long)
BAD = [(ValueError, 'penalty', lambda: repetition_penalty(z, ids, 0)),
       (ValueError, 'penalty', lambda: repetition_penalty(z, ids, INF)),
       (ValueError, 'penalty', lambda: frequency_penalty(z, ids, math.nan)),
       (TypeError, 'penalty', lambda: presence_penalty(z, ids, True)),
       (ValueError, 'penalty', lambda: presence_penalty(z, ids, [1.])),
       (TypeError, 'ids', lambda: frequency_penalty(z, ids.float(), 1)),
       (ValueError, 'ids', lambda: frequency_penalty(z, ids[:1], 1)),
       (ValueError, 'ids', lambda: frequency_penalty(z, ids[0], 1))]

@pytest.mark.parametrize('error, name, call', BAD)
def test_errors(error, name, call):
    with pytest.raises(error, match=name): call()

# --- wrong versions in circulation: our checks catch each

def in_place(z, ids, cost, mask=None):
    for row, said in zip(z, ids): row[said.unique()] -= cost
    return z

def presence_counts_twice(z, ids, cost, mask=None):
    return z.scatter_add(-1, ids, torch.full(ids.shape, -cost))
def frequency_once(z, ids, cost, mask=None):
    return z.scatter(-1, ids, z.gather(-1, ids) - cost)
def one_list(z, ids, cost, mask=None):
    out = z.clone()
    out[:, ids.flatten().unique()] -= cost
    return out
def always_divides(z, ids, theta, mask=None):
    return z.scatter(-1, ids, z.gather(-1, ids) / theta)

@pytest.mark.parametrize('wrong, loop, knob', [
    (in_place, loop_presence, .5), (presence_counts_twice, loop_presence, .5),
    (frequency_once, loop_frequency, .5), (one_list, loop_presence, .5),
    (always_divides, loop_repetition, 1.5)])
def test_wrong_versions_are_caught(wrong, loop, knob):
    z, ids, mask = (t.clone() for t in TEXT)
    want = by_rows(loop, z, ids, mask, knob)
    with pytest.raises(AssertionError):
        same(wrong(z, ids, knob, mask=mask), want)
        assert z.equal(TEXT[0])

def test_in_place_is_caught_without_pads():
    z, ids, _ = (t[:1].clone() for t in TEXT)
    same(in_place(z.clone(), ids, .5), presence_penalty(z, ids, .5))  # right, but
    before = z.clone()
    in_place(z, ids, .5)
    assert not z.equal(before)

def test_window_of_zero():
    "ids[:, -0:] is everything, so a window of 0 must be asked for by the mask"
    z, ids, mask = TEXT
    assert ids[:, -0:].equal(ids)
    assert frequency_penalty(z, ids, 1., torch.zeros_like(mask)).equal(z)
