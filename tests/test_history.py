"""What every step that reads the history has in common, penalties and bans: the
definition in plain loops, rows, dtypes, one knob per row"""
import math
from functools import partial

import pytest
import torch
from checks import on_meta, rows_alone, same
from histories import (INF, by_rows, loop_ban, loop_dry, loop_frequency, loop_ngram,
                       loop_normalised, loop_presence, loop_repetition, texts)
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_sampling import (ban_tokens, dry_penalty, frequency_penalty, no_repeat_ngram,
                          presence_penalty, repetition_penalty)

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

@pytest.mark.some(4)
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

@pytest.mark.some(4)
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

@pytest.mark.some(3)
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

def test_broken_rows_pass():
    z = torch.tensor([[-INF, 1, math.nan, INF], [-INF] * 4])
    ids = torch.tensor([[0, 2, 3, 0, 2, 3, 0]] * 2)
    for f in (repetition_penalty, frequency_penalty, presence_penalty, dry_penalty):
        torch.testing.assert_close(f(z, ids, 3.), z, equal_nan=True)
    assert repetition_penalty(z, ids, 3., normalize=True)[1].equal(z[1])
