"""Penalties and bans against definitions in plain loops, transformers' processors, and
the wrong versions in circulation"""
import math
from functools import partial

import pytest
import torch
from checks import on_meta, rows_alone, same
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import rows
from transformers import (NoBadWordsLogitsProcessor, NoRepeatNGramLogitsProcessor,
                          RepetitionPenaltyLogitsProcessor, SequenceBiasLogitsProcessor)

from llm_sampling.penalties import (_matches, ban_tokens, dry_penalty,
                                    frequency_penalty, logit_bias, no_repeat_ngram,
                                    presence_penalty, repetition_penalty, token_counts)

INF = math.inf

# --- the definitions, one row and one token at a time

def loop_repetition(z, said, theta):
    return [x if i not in said else x * theta if x < 0 else x / theta
            for i, x in enumerate(z)]

def loop_normalised(z, said, theta):
    if max(z) == -INF: return z
    total = max(z) + math.log(math.fsum(math.exp(x - max(z)) for x in z))
    return [(x - total) * (theta if i in said else 1) for i, x in enumerate(z)]

def loop_frequency(z, said, cost):
    return [x - cost * said.count(i) for i, x in enumerate(z)]
def loop_presence(z, said, cost):
    return [x - cost * (i in said) for i, x in enumerate(z)]

def loop_ngram(z, said, size):
    grams = {tuple(said[i:i+size]) for i in range(len(said) - size + 1)}
    ending = tuple(said[len(said)-size+1:]) if size > 1 else ()
    if len(said) < size - 1: return z
    return [-INF if ending + (i,) in grams else x for i, x in enumerate(z)]

def loop_dry(z, said, cost, base=1.75, allowed=2, breakers=()):
    """As p-e-w's: from each earlier token back while it agrees with the end, and no
    further than a breaker"""
    longest = {}
    for j, t in enumerate(said):
        n = 0
        while n < j and said[j-1-n] == said[-1-n] not in breakers: n += 1
        if t not in breakers: longest[t] = max(longest.get(t, 0), n)
    return [x - cost * base**(longest[i] - allowed) if longest.get(i, 0) >= allowed
            else x for i, x in enumerate(z)]

def loop_ban(z, said, sequences):
    out = list(z)
    for s in sequences:
        before = list(s[:-1])
        if len(said) >= len(before) and said[len(said)-len(before):] == before:
            out[s[-1]] = -INF
    return out

# --- examples: few tokens, so that sequences recur

@st.composite
def texts(draw, longest=20):
    """Logits (B, V), ids (B, L) with pads of any id and outside the vocabulary, mask
    (B, L)"""
    B = draw(st.integers(1, 3))
    L = draw(st.integers(0, longest))
    V = draw(st.integers(2, 6))
    z = torch.stack([draw(rows(vocab=V)) for _ in range(B)])
    kinds = draw(st.integers(1, V))
    ids = torch.tensor([[draw(st.integers(0, kinds - 1)) for _ in range(L)]
                        for _ in range(B)], dtype=torch.long).view(B, L)
    mask = torch.tensor([[draw(st.booleans() if draw(st.booleans()) else st.just(True))
                          for _ in range(L)]
                         for _ in range(B)], dtype=torch.bool).view(B, L)
    return z, ids.masked_fill(~mask, draw(st.sampled_from([0, 1, -100, 10**9]))), mask

def by_rows(loop, z, ids, mask, *knob):
    "The definition in float64, each row with the tokens its mask shows"
    return torch.tensor([loop(r.tolist(), i[m].tolist(), *knob)
                         for r, i, m in zip(z.double(), ids, mask)]).float()

STEPS = [(repetition_penalty, loop_repetition, [.5, 1.2, 3.]),
         (partial(repetition_penalty, normalize=True), loop_normalised, [.5, 1.2, 3.]),
         (frequency_penalty, loop_frequency, [-.5, .7, 4.]),
         (presence_penalty, loop_presence, [-.5, .7, 4.]),
         (no_repeat_ngram, loop_ngram, [1, 2, 3, 5]),
         (dry_penalty, loop_dry, [.1, 1., 5.]),
         (ban_tokens, loop_ban,
          [[[0]], [[1], [0, 1], [1, 0, 0]], [[0, 0, 0, 0, 1], [0, 1, 0]]])]
NAMES = ['repetition', 'normalised', 'frequency', 'presence', 'n-gram', 'dry', 'ban']
each_step = pytest.mark.parametrize('f, loop, knobs', STEPS, ids=NAMES)

@each_step
@settings(max_examples=40)
@given(text=texts(), data=st.data())
def test_definition(f, loop, knobs, text, data):
    "Right, and input unchanged; a hidden token is as if it were not there"
    z, ids, mask = text
    knob = data.draw(st.sampled_from(knobs))
    copies = z.clone(), ids.clone(), mask.clone()
    out = f(z, ids, knob, mask=mask)
    same(out, by_rows(loop, z, ids, mask, knob), rtol=1e-5, atol=1e-4)
    for a, b in zip((z, ids, mask), copies): assert a.equal(b)

@each_step
@settings(max_examples=15)
@given(text=texts(), data=st.data())
def test_batch_and_meta(f, loop, knobs, text, data):
    z, ids, mask = text
    knob = data.draw(st.sampled_from(knobs))
    step = lambda z, ids, mask: f(z, ids, knob, mask=mask)
    rows_alone(step, z, ids, mask)
    on_meta(step, z, ids, mask)
    whole = f(z, ids, knob, mask=mask)
    for i in range(len(z)):
        same(f(z[i], ids[i], knob, mask=mask[i]), whole[i])  # (vocab,) with (length,)
    stack = lambda t: torch.stack([t, t])  # (2, batch, ...)
    same(f(stack(z), stack(ids), knob, mask=stack(mask)), stack(whole))
    wide = lambda t: torch.stack([t, t], -1).flatten(-2)[..., ::2]  # not contiguous
    same(f(wide(z), wide(ids), knob, mask=wide(mask)), whole)

@each_step
@settings(max_examples=15)
@given(text=texts(), data=st.data())
def test_half_precision_is_float32_rounded_once(f, loop, knobs, text, data):
    "Half precision is the float32 result rounded once; float64 stays"
    z, ids, mask = text
    knob = data.draw(st.sampled_from(knobs))
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        cast = z.to(dtype)
        out = f(cast, ids, knob, mask=mask)
        if dtype == torch.float64:
            same(out, f(z, ids, knob, mask=mask).double(), rtol=1e-5, atol=1e-4)
        else: same(out, f(cast.float(), ids, knob, mask=mask).to(dtype), rtol=0, atol=0)

@each_step
@settings(max_examples=15)
@given(text=texts(), data=st.data())
def test_finite_rows_stay(f, loop, knobs, text, data):
    """A penalty makes no finite logit infinite, a ban touches only what it bans; -inf
    stays"""
    z, ids, mask = text
    out = f(z, ids, data.draw(st.sampled_from(knobs)), mask=mask)
    assert (out[z == -INF] == -INF).all()
    if loop in (loop_ngram, loop_ban): assert ((out == z) | (out == -INF)).all()
    else: assert out[z.isfinite()].isfinite().all()

PER_ROW = [(repetition_penalty, 1.), (partial(repetition_penalty, normalize=True), 1.),
           (frequency_penalty, 0.), (presence_penalty, 0.), (dry_penalty, 0.)]

@pytest.mark.parametrize('f, neutral', PER_ROW)
@settings(max_examples=15)
@given(text=texts(), data=st.data())
def test_per_row(f, neutral, text, data):
    """One knob per row is each row with its knob; a neutral entry leaves its row to the
    bit"""
    z, ids, mask = text
    knobs = [data.draw(st.sampled_from([None, neutral, .3, 2.5])) for _ in z]
    out = f(z, ids, knobs, mask=mask)
    for i, k in enumerate(knobs):
        if k in (None, neutral): assert out[i].equal(z[i])
        else: same(out[i], f(z[i], ids[i], k, mask=mask[i]))
    tensor = torch.tensor([neutral if k is None else k for k in knobs])
    same(f(z, ids, tensor, mask=mask), out, rtol=0, atol=0)
    on_meta(lambda z, ids, k: f(z, ids, k), z, ids, tensor)
    assert f(z, ids, None) is z and f(z, ids, neutral) is z

@settings(max_examples=20)
@given(text=texts(), data=st.data())
def test_monotone(text, data):
    """Stronger never raises a token that was said: presence, frequency, DRY, and
    repetition"""
    z, ids, mask = text
    a, b = sorted(data.draw(st.lists(st.sampled_from([.1, .5, 1., 2., 7.]), min_size=2,
                                     max_size=2)))
    for f in (presence_penalty, frequency_penalty, dry_penalty, repetition_penalty):
        assert (f(z, ids, b, mask=mask) <= f(z, ids, a, mask=mask)).all()
    # a repeated trigram is a repeated bigram
    assert (no_repeat_ngram(z, ids, 3, mask) >= no_repeat_ngram(z, ids, 2, mask)).all()

@settings(max_examples=20)
@given(text=texts())
def test_permutation(text):
    "Renumbering the vocabulary and the history renumbers the result"
    z, ids, mask = text
    V = z.shape[-1]
    order = torch.arange(V).roll(1)
    new = torch.where((ids >= 0) & (ids < V), order.argsort()[ids.clamp(0, V - 1)], ids)
    for f in (lambda z, i: repetition_penalty(z, i, 1.3, mask),
              lambda z, i: frequency_penalty(z, i, .5, mask),
              lambda z, i: no_repeat_ngram(z, i, 2, mask),
              lambda z, i: dry_penalty(z, i, .8, mask=mask)):
        same(f(z[:, order], new), f(z, ids)[:, order])

@settings(max_examples=20)
@given(text=texts())
def test_once_or_often(text):
    """Bans are idempotent; presence ignores how often; normalised repetition ignores a
    shift"""
    z, ids, mask = text
    for f in (lambda z: no_repeat_ngram(z, ids, 2, mask),
              lambda z: ban_tokens(z, ids, [[1], [0, 0]], mask)):
        same(f(f(z)), f(z))
    twice, shown = torch.cat([ids, ids], -1), torch.cat([mask, mask], -1)
    same(presence_penalty(z, twice, .7, shown), presence_penalty(z, ids, .7, mask))
    same(repetition_penalty(z, twice, 1.7, shown),
         repetition_penalty(z, ids, 1.7, mask))
    law = lambda z: repetition_penalty(z, ids, 1.7, mask, normalize=True)
    same(law(z + 16), law(z), rtol=1e-4, atol=1e-3)

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

# ---------------------------------------------------------------- transformers

@given(text=texts(), theta=st.sampled_from([.5, 1.1, 3.]), size=st.integers(1, 5))
def test_transformers(text, theta, size):
    z, ids, _ = text
    assume(ids.shape[-1] > 0)
    ids = ids.clamp(0, z.shape[-1] - 1)
    same(repetition_penalty(z, ids, theta),
         RepetitionPenaltyLogitsProcessor(theta)(ids, z), rtol=0, atol=0)
    same(no_repeat_ngram(z, ids, size), NoRepeatNGramLogitsProcessor(size)(ids, z),
         rtol=0, atol=0)
    rules = [[0], [1, 1], [0, 1], [1, 0, 0, 1]]
    same(ban_tokens(z, ids, rules), NoBadWordsLogitsProcessor(rules)(ids, z), rtol=0,
         atol=0)
    bias = {0: 1.5, 1: -2.25}
    same(logit_bias(z, bias),
         SequenceBiasLogitsProcessor({(i,): b for i, b in bias.items()})(ids, z),
         rtol=0, atol=0)

def test_transformers_differences():
    """Each deliberate: pads never count, bans ban what they are told, strong penalties
    stay finite"""
    z = torch.tensor([[1., 2, 3, 4, 5]])
    ids = torch.tensor([[0, 0, 3, 2, 0]])
    mask = torch.tensor([[False, False, True, True, False]])
    ids2 = torch.tensor([[0, 0, 3, 2]])
    mask2 = torch.tensor([[False, False, True, True]])
    assert RepetitionPenaltyLogitsProcessor(2.)(ids2, z)[0, 0] == .5
    assert repetition_penalty(z, ids2, 2., mask2)[0, 0] == 1
    same(repetition_penalty(z, ids2, 2., mask2),
         RepetitionPenaltyLogitsProcessor(2., prompt_ignore_length=2)(ids2, z))
    pads = torch.tensor([[0, 0, 3, 2, 0]])
    front = torch.tensor([[False, False, True, True, True]])
    assert NoRepeatNGramLogitsProcessor(2)(pads, z).isinf().sum() == 2
    assert no_repeat_ngram(z, pads, 2, front).equal(z)
    assert NoBadWordsLogitsProcessor([[0, 4]])(ids, z)[0, 4] == -INF
    assert ban_tokens(z, ids, [[0, 4]], mask)[0, 4] == 5
    assert NoBadWordsLogitsProcessor([[4], [1]], eos_token_id=4)(ids, z)[0, 4] == 5
    assert ban_tokens(z, ids, [[4], [1]])[0, 4] == -INF
    assert RepetitionPenaltyLogitsProcessor(3e38)(ids2, -10*z)[0, 2] == -INF
    assert repetition_penalty(-10*z, ids2, 3e38)[0, 2].isfinite()

# ---------------------------------------------------------------- DRY

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

# ---------------------------------------------------------------- bias, bans, errors

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

def test_broken_rows_pass():
    z = torch.tensor([[-INF, 1, math.nan, INF], [-INF] * 4])
    ids = torch.tensor([[0, 2, 3, 0, 2, 3, 0]] * 2)
    for f in (repetition_penalty, frequency_penalty, presence_penalty, dry_penalty):
        torch.testing.assert_close(f(z, ids, 3.), z, equal_nan=True)
    assert repetition_penalty(z, ids, 3., normalize=True)[1].equal(z[1])

z, ids = torch.zeros(2, 5), torch.zeros(2, 3, dtype=torch.long)
BAD = [(ValueError, 'penalty', lambda: repetition_penalty(z, ids, 0)),
       (ValueError, 'penalty', lambda: repetition_penalty(z, ids, INF)),
       (ValueError, 'penalty', lambda: frequency_penalty(z, ids, math.nan)),
       (TypeError, 'penalty', lambda: presence_penalty(z, ids, True)),
       (ValueError, 'penalty', lambda: presence_penalty(z, ids, [1.])),
       (ValueError, 'multiplier', lambda: dry_penalty(z, ids, [1, -1])),
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
       (TypeError, 'ids', lambda: frequency_penalty(z, ids.float(), 1)),
       (TypeError, 'ids', lambda: ban_tokens(z, None, [[1]])),
       (ValueError, 'ids', lambda: frequency_penalty(z, ids[:1], 1)),
       (ValueError, 'ids', lambda: frequency_penalty(z, ids[0], 1)),
       (ValueError, 'mask', lambda: dry_penalty(z, ids, 1, mask=ids[:, 1:].bool())),
       (TypeError, 'mask', lambda: dry_penalty(z, ids, 1, mask=ids.float()))]

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
def ngram_with_pads(z, ids, size, mask=None):
    return NoRepeatNGramLogitsProcessor(size)(ids, z)
def dry_counts_itself(z, ids, cost, mask=None):
    return dry_penalty(z, ids, cost, allowed_length=1, mask=mask)
def dry_no_breaker(z, ids, cost, mask=None): return dry_penalty(z, ids, cost, mask=mask)

TEXT = (torch.tensor([[2., -1, .5, -3]] * 2),
        torch.tensor([[0, 1, 2, 0, 1, 2, 0], [3, 3, 3, 1, 0, 1, 3]]),
        torch.tensor([[True] * 7, [False] * 3 + [True] * 4]))

@pytest.mark.parametrize('wrong, loop, knob', [
    (in_place, loop_presence, .5), (presence_counts_twice, loop_presence, .5),
    (frequency_once, loop_frequency, .5), (one_list, loop_presence, .5),
    (always_divides, loop_repetition, 1.5), (ngram_with_pads, loop_ngram, 2),
    (dry_counts_itself, loop_dry, .8),
    (dry_no_breaker, partial(loop_dry, breakers=(2,)), .8)])
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
