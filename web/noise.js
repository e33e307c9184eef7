// Noise that (seed, position, token id) alone decide: the hash of `llm_sampling.noise`
// in 32-bit integers. A seed is a pair of them, its lower and its upper half.

import {argmax, f32, shifted} from './softmax.js'

const PI = [0x243f6a88, 0x13198a2e]    // digits of pi: where the two keys begin
const PROMPT = 0x70726f6d              // no sample has such a number

/** A bijection of the 32-bit integers; `key` joins halfway */
function scramble(x, key = 0) {
  x ^= x >>> 16
  x = Math.imul(x, 0x7feb352d) ^ key
  x ^= x >>> 15
  x = Math.imul(x, 0x846ca68b)
  return x ^ x >>> 16
}

/** @param {number|bigint|string|number[]} value of 64 bits @returns {number[]} */
export function asSeed(value) {
  if (Array.isArray(value)) return value
  let wide
  try { wide = BigInt(value) } catch { wide = 1n << 64n }
  if (wide !== BigInt.asIntN(64, wide)) {
    throw new RangeError(`seed must be an integer that fits in 64 bits, not ${value}`)
  }
  return [Number(BigInt.asIntN(32, wide)), Number(BigInt.asIntN(32, wide >> 32n))]
}

/** A seed as text, exact */
export function seedText([low, high]) {
  return String(BigInt.asIntN(64, BigInt(high) << 32n | BigInt(low >>> 0)))
}

/** A seed by chance */
export function freshSeed() { return [...crypto.getRandomValues(new Int32Array(2))] }

/** Two keys from a seed, what follows it (32-bit halves), and what the roll is for */
function keysOf([low, high], halves, salt) {
  return PI.map(start => {
    let h = scramble(start + salt | 0)
    for (const half of [low, high, ...halves]) h = scramble(h ^ half)
    return h
  })
}

/**
 * Uniform numbers in (0, 1].
 * @param {number[]} seed
 * @param {number} position which token of its text is drawn, from 0
 * @param {number} vocab ids 0 to vocab - 1
 * @param {number} salt keeps rolls for other purposes apart
 * @returns {Float32Array} `(vocab,)`
 */
export function uniformNoise(seed, position, vocab, salt = 0) {
  const [key, join] = keysOf(seed, [position | 0], salt), out = new Float32Array(vocab)
  for (let id = 0; id < vocab; id++) {
    const h = scramble(id ^ key, join)
    out[id] = f32(f32(f32(h) + .5) * 2 ** -32) + (h < 0)
  }
  return out
}

const LATEST = f32(33 * Math.LN2)

/** Gumbel noise, -log(-log(1 - v)) of `uniformNoise`, `(vocab,)` */
export function gumbelNoise(seed, position, vocab, salt = 0) {
  const v = uniformNoise(seed, position, vocab, salt)
  for (let i = 0; i < vocab; i++) {
    v[i] = -Math.log(Math.min(f32(-Math.log1p(-v[i])), LATEST))
  }
  return v
}

/** Logits plus noise; the largest is drawn */
export function perturbed(logits, seed, position) {
  const noise = gumbelNoise(seed, position, logits.length)
  return shifted(logits).map((v, i) => v + noise[i])
}

/** The id of a token, drawn from softmax(logits) by Gumbel-max (Gumbel, 1954) */
export function sample(logits, seed, position) {
  return argmax(perturbed(logits, seed, position))
}

/** A seed made of two 64-bit integers, pairs; `seed` itself where j is 0 */
export function mix(seed, j) {
  return j[0] === 0 && j[1] === 0 ? seed : keysOf(seed, j, 0x5eed)
}

/** Depends on the ids of a prompt and on their order only */
function promptHash(ids) {
  const h = ids.reduce((h, id, i) => h ^ scramble(id, scramble(i + 1)), 0)
  return [scramble(h ^ ids.length), PROMPT]
}

/** The seeds of a strategy's `n` rows from one prompt */
export function rowSeeds(seed, ids, n = 1) {
  const own = mix(asSeed(seed), promptHash(ids))
  return Array.from({length: n}, (_, j) => mix(own, [j, 0]))
}
