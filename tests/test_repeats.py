"""N-grams, DRY, bias and bans against transformers' processors and plain loops, and the
wrong versions in circulation

What they share with penalties is in the tests of a history."""
import math
from functools import partial

import pytest
import torch
from checks import on_meta, rows_alone, same
from histories import INF, TEXT, by_rows, loop_dry, loop_ngram, texts
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers import (NoBadWordsLogitsProcessor, NoRepeatNGramLogitsProcessor,
                          SequenceBiasLogitsProcessor)

from llm_sampling.repeats import (_matches, ban_tokens, dry_penalty, logit_bias,
                                  no_repeat_ngram)


@settings(max_examples=20)
@given(text=texts())
def test_bans_are_idempotent(text):
    z, ids, mask = text
    for f in (lambda z: no_repeat_ngram(z, ids, 2, mask),
              lambda z: ban_tokens(z, ids, [[1], [0, 0]], mask)):
        same(f(f(z)), f(z))

# --- transformers

# Releases before 5.20 pass over a rule that is longer than the text by the token banned
PASSES_OVER = NoBadWordsLogitsProcessor([[0, 1]])(
    torch.tensor([[0]]), torch.zeros(1, 2))[0, 1] == 0

@given(text=texts(), size=st.integers(1, 5))
def test_transformers(text, size):
    z, ids, _ = text
    assume(ids.shape[-1] > 0)
    ids = ids.clamp(0, z.shape[-1] - 1)
    same(no_repeat_ngram(z, ids, size), NoRepeatNGramLogitsProcessor(size)(ids, z),
         rtol=0, atol=0)
    rules = [[0], [1, 1], [0, 1], [1, 0, 0, 1]]
    if PASSES_OVER: rules = [r for r in rules if len(r) <= ids.shape[-1]]
    same(ban_tokens(z, ids, rules), NoBadWordsLogitsProcessor(rules)(ids, z), rtol=0,
         atol=0)
    bias = {0: 1.5, 1: -2.25}
    same(logit_bias(z, bias),
         SequenceBiasLogitsProcessor({(i,): b for i, b in bias.items()})(ids, z),
         rtol=0, atol=0)

def test_transformers_differences():
    "Each deliberate: pads never count, bans ban what they are told"
    z = torch.tensor([[1., 2, 3, 4, 5]])
    ids = torch.tensor([[0, 0, 3, 2, 0]])
    mask = torch.tensor([[False, False, True, True, False]])
    front = torch.tensor([[False, False, True, True, True]])
    assert NoRepeatNGramLogitsProcessor(2)(ids, z).isinf().sum() == 2
    assert no_repeat_ngram(z, ids, 2, front).equal(z)
    assert NoBadWordsLogitsProcessor([[0, 4]])(ids, z)[0, 4] == -INF
    assert ban_tokens(z, ids, [[0, 4]], mask)[0, 4] == 5
    assert NoBadWordsLogitsProcessor([[4], [1]], eos_token_id=4)(ids, z)[0, 4] == 5
    assert ban_tokens(z, ids, [[4], [1]])[0, 4] == -INF

# --- DRY

@settings(max_examples=40)
@given(text=texts(longest=60), base=st.sampled_from([1, 1.2, 1.75, 4]),
       allowed=st.integers(1, 6), breakers=st.sampled_from([(), (0,), (1, 0)]))
def test_dry_knobs(text, base, allowed, breakers):
    z, ids, mask = text
    out = dry_penalty(z, ids, .5, base, allowed, breakers, mask)
    same(out, by_rows(loop_dry, z, ids, mask, .5, base, allowed, breakers), rtol=1e-4,
         atol=1e-3)
    same(dry_penalty(z, ids, .5, base, allowed,
                     torch.tensor(breakers, dtype=torch.long), mask), out)

@pytest.mark.some(24)
@pytest.mark.parametrize('look', [True, False])
@pytest.mark.parametrize('length', [2, 3, 7, 64, 65, 300])
@pytest.mark.parametrize('limit', [1, 2, 5, 63, 158, 400])
def test_matches(length, limit, look):
    """Every width of the steps, on a text of period 3 with a slip in it, beside a row
    that ends at once; looking or not"""
    said = [i % 3 for i in range(length)]
    if length > 50: said[40] = 9
    back, limit = torch.tensor(said).flip(0), max(1, min(limit, length - 1))
    want = torch.zeros(2, length - 1, dtype=torch.long)
    for d in range(length - 1):
        n = 0
        while n < limit and d + 1 + n < length and back[n] == back[d+1+n]: n += 1
        want[0, d] = n
    row, d, n = _matches(torch.stack([back, torch.arange(100, 100 + length)]), limit,
                         look)
    out = torch.zeros_like(want)
    out[row, d] = n
    assert out.equal(want) and len(n) == ((want > 0).sum() if look else want.numel())

def test_breakers():
    """A match ends at a breaker, a breaker is never penalised, a history that ends in
    one has no match"""
    z, kw = torch.zeros(6), dict(multiplier=1., base=2, allowed_length=1)
    said = lambda *ids: torch.tensor(ids)
    same(dry_penalty(z, said(1, 5, 2, 3, 1, 5, 2), **kw), [0, 0, 0, -4, 0, 0])  # n = 3
    # cut to n = 1
    same(dry_penalty(z, said(1, 5, 2, 3, 1, 5, 2), breakers=[5], **kw),
         [0, 0, 0, -1, 0, 0])
    # the price would be 5's
    same(dry_penalty(z, said(1, 2, 5, 1, 2), breakers=[5], **kw), [0] * 6)
    same(dry_penalty(z, said(5, 3, 5, 3, 5), breakers=[5], **kw), [0] * 6)

def test_dry_overflow():
    loop = torch.zeros(3, 3000, dtype=torch.long)
    for base in (1, 1 + 1e-12, 1.001, 1.75, 100., 3e38):
        out = dry_penalty(torch.ones(3, 4), loop, [0, 1e38, .5], base)
        assert out.isfinite().all()
        assert out[0].equal(torch.ones(4))
        assert (out[1:, 0] < 1).all()
    # match 161, exponent cut at 157
    short = dry_penalty(torch.zeros(2), torch.zeros(162, dtype=torch.long), 1e-30)
    same(short[0], torch.tensor(-1e-30 * 1.75**157), rtol=1e-3, atol=0)

# --- bias, bans, errors

def test_bias():
    z = torch.tensor([[1., -INF, 3], [4, 5, math.nan]])
    out = logit_bias(z, {0: -INF, 1: 2., 2: .5})
    torch.testing.assert_close(
        out, torch.tensor([[-INF, -INF, 3.5], [-INF, 7, math.nan]]), equal_nan=True)
    assert logit_bias(z, {}) is z
    assert logit_bias(z, None) is z
    assert ban_tokens(z, torch.zeros(2, 0, dtype=torch.long), []) is z
    on_meta(lambda z: logit_bias(z, {0: 1., 2: -INF}), z)
    rows_alone(lambda z: logit_bias(z, {0: 1., 2: -1.}), torch.randn(3, 4))
    assert logit_bias(z.half(), {0: 3e38})[:, 0].isfinite().all()
    assert ban_tokens(z, torch.zeros(2, 0, dtype=torch.long),
                      [[0], [0, 2]])[0].tolist() == [-INF, -INF, 3]

z, ids = torch.zeros(2, 5), torch.zeros(2, 3, dtype=torch.long)
BAD = [(ValueError, 'multiplier', lambda: dry_penalty(z, ids, [1, -1])),
       (ValueError, 'base', lambda: dry_penalty(z, ids, 1, base=.9)),
       (TypeError, 'base', lambda: dry_penalty(z, ids, 1, base=[2, 2])),
       (ValueError, 'allowed_length', lambda: dry_penalty(z, ids, 1, allowed_length=0)),
       (TypeError, 'breakers', lambda: dry_penalty(z, ids, 1, breakers='\n')),
       (ValueError, 'size', lambda: no_repeat_ngram(z, ids, 0)),
       (TypeError, 'size', lambda: no_repeat_ngram(z, ids, 2.)),
       (TypeError, 'size', lambda: no_repeat_ngram(z, ids, [2, 2])),
       (ValueError, 'bias', lambda: logit_bias(z, {5: 1.})),
       (ValueError, 'bias', lambda: logit_bias(z, {1: INF})),
       (TypeError, 'bias', lambda: logit_bias(z, {'a': 1.})),
       (ValueError, 'sequences', lambda: ban_tokens(z, ids, [[]])),
       (ValueError, 'sequences', lambda: ban_tokens(z, ids, [3])),
       (ValueError, 'sequences', lambda: ban_tokens(z, ids, [[5]])),
       (TypeError, 'logits', lambda: no_repeat_ngram(z.long(), ids, 2)),
       (TypeError, 'ids', lambda: ban_tokens(z, None, [[1]])),
       (ValueError, 'mask', lambda: dry_penalty(z, ids, 1, mask=ids[:, 1:].bool())),
       (TypeError, 'mask', lambda: dry_penalty(z, ids, 1, mask=ids.float()))]

@pytest.mark.parametrize('error, name, call', BAD)
def test_errors(error, name, call):
    with pytest.raises(error, match=name): call()

# --- wrong versions in circulation: our checks catch each

def ngram_with_pads(z, ids, size, mask=None):
    return NoRepeatNGramLogitsProcessor(size)(ids, z)
def dry_counts_itself(z, ids, cost, mask=None):
    return dry_penalty(z, ids, cost, allowed_length=1, mask=mask)
def dry_no_breaker(z, ids, cost, mask=None): return dry_penalty(z, ids, cost, mask=mask)

@pytest.mark.parametrize('wrong, loop, knob', [
    (ngram_with_pads, loop_ngram, 2), (dry_counts_itself, loop_dry, .8),
    (dry_no_breaker, partial(loop_dry, breakers=(2,)), .8)])
def test_wrong_versions_are_caught(wrong, loop, knob):
    z, ids, mask = (t.clone() for t in TEXT)
    want = by_rows(loop, z, ids, mask, knob)
    with pytest.raises(AssertionError):
        same(wrong(z, ids, knob, mask=mask), want)
        assert z.equal(TEXT[0])
