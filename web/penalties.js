// Steps that look at the tokens so far: what was said, what would repeat a sequence,
// what must not be said. `ids` are the ids of one text, without pads.

import {f32} from './softmax.js'
import {without} from './filters.js'

const MOST = f32(3.4028234663852886e38)

/** What a finite logit may become */
function bounded(v, old) {
  return Number.isFinite(old) ? Math.max(-MOST, Math.min(f32(v), MOST)) : old
}

/** A copy with the logit of each token of the history made `change(logit, count)` */
function rewritten(z, ids, change) {
  const counts = new Map(), out = z.slice()
  for (const id of ids) counts.set(id, (counts.get(id) ?? 0) + 1)
  for (const [id, n] of counts) out[id] = bounded(change(z[id], n), z[id])
  return out
}

export function repetitionPenalty(z, penalty, ids) {
  return rewritten(z, ids, v => v < 0 ? v * f32(penalty) : v / f32(penalty))
}

export function frequencyPenalty(z, penalty, ids) {
  return rewritten(z, ids, (v, n) => v - f32(f32(penalty) * n))
}

export function presencePenalty(z, penalty, ids) {
  return rewritten(z, ids, v => v - f32(penalty))
}

function checkIds(ids, vocab) {
  const wrong = ids.find(id => !(Number.isInteger(id) && id >= 0 && id < vocab))
  if (wrong === undefined) return
  throw new RangeError(`token ids must be from 0 to ${vocab - 1}, not ${wrong}`)
}

/** @param {Object<number, number>} bias added to the logits of some ids */
export function logitBias(z, bias) {
  const out = z.slice()
  checkIds(Object.keys(bias).map(Number), z.length)
  for (const [id, b] of Object.entries(bias)) {
    out[id] = b === -Infinity ? b : bounded(z[id] + f32(b), z[id])
  }
  return out
}

/** @param {number[]} ids what alone may be said */
export function allowedTokens(z, ids) {
  const wrong = Math.max(...ids), allowed = new Set(ids)
  if (wrong < z.length) return without(z, (_, id) => !allowed.has(id))
  throw new RangeError(`allowed_token_ids must be below ${z.length}, not ${wrong}`)
}

/** Do the tokens before place `end` end in `tail`? */
function endsIn(ids, end, tail) {
  return tail.length <= end && tail.every((id, i) => ids[end - tail.length + i] === id)
}

/** @param {number[][]} sequences whose last token is banned after the others */
export function banTokens(z, sequences, ids) {
  checkIds(sequences.flat(), z.length)
  const last = sequences.filter(s => endsIn(ids, ids.length, s.slice(0, -1)))
  const banned = new Set(last.map(s => s[s.length - 1]))
  return without(z, (_, id) => banned.has(id))
}

/** Ban what would complete `size` tokens for the second time */
export function noRepeatNgram(z, size, ids) {
  if (size > ids.length) return z
  const tail = ids.slice(ids.length - size + 1)
  const banned = new Set(ids.filter((_, i) => i >= size - 1 && endsIn(ids, i, tail)))
  return without(z, (_, id) => banned.has(id))
}

/** Subtract a price that grows with the sequence a token would repeat */
export function dryPenalty(z, multiplier, ids, base, allowed, breakers) {
  if (ids.length <= allowed) return z
  const ends = new Set(breakers), n = ids.length, out = z.slice()
  const fits = base > 1 ? Math.trunc(88 / Math.log(base)) : 0     // powers in float32
  const limit = Math.min(allowed + fits, n - 1)
  for (let at = 1; at < n; at++) {                 // the token that followed, last time
    let same = 0
    while (same < limit && same < at && ids[at - 1 - same] === ids[n - 1 - same]
           && !ends.has(ids[at - 1 - same])) same++
    const id = ids[at]
    if (same < allowed || ends.has(id)) continue
    const price = f32(f32(multiplier) * f32(f32(base) ** (same - allowed)))
    out[id] = Math.min(out[id], bounded(z[id] - price, z[id]))
  }
  return out
}
