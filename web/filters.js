// Filters: logits in, a copy out whose dropped tokens are -Infinity. A knob is rounded
// to float32, as torch does; a cut is a value, so equal logits go the same way.

import {uniformNoise} from './noise.js'
import {descending, entropy, f32, largest, shifted, softmax, sumOf, weigh, wide}
  from './softmax.js'

const TINY = 2 ** -126     // the smallest normal float32
const XTC_SALT = 0x787463

/** A copy, -Infinity where `dropped(logit, id)` */
export function without(z, dropped) {
  return z.map((v, id) => dropped(v, id) ? -Infinity : v)
}

function below(z, cut) { return without(z, v => v < cut) }

/** log of a knob, float64 */
function logOf(knob) { return Math.log(f32(knob)) }

/** Probabilities, computed in float64 and rounded */
export function steadyProbs(z) { return new Float32Array(softmax(z)) }

/** Is a temperature 0, or too small for float32? */
export function isCold(temperature) { return temperature < TINY }

/** Logits divided; 0 keeps the maxima. `shift` puts the maximum at 0 */
export function applyTemperature(z, temperature, shift = true) {
  const t = f32(temperature), cold = isCold(temperature)
  const cooled = shifted(z).map(v => cold ? (v < 0 ? -Infinity : v) : v / t)
  if (shift) return cooled
  const height = f32(largest(z) / (cold ? 1 : t))
  return cooled.map(v => v + height)
}

/** Divided by more the higher the entropy */
export function dynamicTemperature(z, [low, high, exponent = 1], shift = true) {
  const n = z.reduce((n, v) => n + (v > -Infinity), 0)
  const share = Math.min(entropy(z) / Math.log(n), 1)
  const t = low + (high - low) * share ** exponent
  if (n <= 1 || !Number.isFinite(t) || f32(t) === 1) return z
  return applyTemperature(z, f32(t), shift)
}

export function topK(z, k) {
  return k < z.length ? below(z, descending(z)[k - 1]) : z
}

export function topP(z, p) {
  const ranked = descending(z), {total} = weigh(z), level = f32(p)
  let mass = 0, i = -1
  do mass += f32(Math.exp(f32(ranked[++i] - ranked[0])))
  while (i < z.length - 1 && f32(mass / total) < level)
  return below(z, ranked[i])
}

export function minP(z, share) { return below(z, f32(largest(z) + f32(logOf(share)))) }

/** Probabilities, surprisals in nats and the entropy, in float64 */
function surprisals(z) {
  const most = largest(z), gap = wide(z, v => f32(most - v))
  const w = gap.map(g => Math.exp(-g)), total = sumOf(w), log = Math.log(total)
  const p = w.map(v => v / total), s = gap.map(g => g + log)
  return {p, s, mean: sumOf(p.map((v, i) => v ? v * s[i] : 0))}
}

export function typical(z, mass) {
  const {p, s, mean} = surprisals(z)
  const away = new Float32Array(s.map(v => Math.abs(v - mean)))
  const order = Uint32Array.from(z.keys()).sort((a, b) => away[a] - away[b] || a - b)
  let sum = 0, i = -1
  do sum += p[order[++i]]
  while (i < z.length - 1 && f32(sum) < f32(mass))
  const cut = away[order[i]]
  return without(z, (_, id) => away[id] > cut)
}

/** Keep what has a probability of at least exp(level), and the best */
function atLeast(z, level) {
  return below(z, f32(largest(z) + f32(Math.min(0, level + Math.log(weigh(z).total)))))
}

export function epsilonCutoff(z, epsilon) { return atLeast(z, logOf(epsilon)) }

export function etaCutoff(z, epsilon) {
  const level = logOf(epsilon)
  return atLeast(z, Math.min(level, level / 2 - surprisals(z).mean))
}

export function topA(z, share) {
  return below(z, f32(largest(z) + f32(logOf(share) - Math.log(weigh(z).total))))
}

export function topNSigma(z, n) {
  const most = largest(z)
  const gaps = wide(z.filter(v => v > -Infinity), v => f32(most - v))
  const mean = sumOf(gaps) / gaps.length
  const sigma = Math.sqrt(sumOf(gaps.map(g => (g - mean) ** 2)) / gaps.length)
  return below(z, f32(most - f32(f32(n) * sigma)))
}

export function pLess(z) {
  const {w, total} = weigh(z)
  return below(z, f32(largest(z) + f32(Math.log(sumOf(w.map(v => v * v)) / total))))
}

export function tailFree(z, share) {
  const ranked = descending(z)
  const w = ranked.map(v => Math.exp(f32(v - ranked[0])))
  const bends = wide(ranked.subarray(2), (v, i) =>
    v === -Infinity ? 0 : Math.abs(w[i + 2] - w[i + 1] - (w[i + 1] - w[i])))
  const total = sumOf(bends)
  if (!(total > 1e-6)) return z
  let sum = 0, passed = 0
  for (const b of bends) passed += f32((sum += b) / total) <= f32(share)
  return below(z, ranked[passed])
}

export function topH(z, share) {
  const ranked = descending(z), n = ranked.length
  const w = new Float64Array(n), held = new Float64Array(n)
  let mass = 0, nats = 0
  for (let i = 0; i < n; i++) {
    const gap = f32(ranked[0] - ranked[i])
    mass += w[i] = Math.exp(-gap)
    nats += w[i] ? w[i] * gap : 0
    held[i] = nats / mass + Math.log(mass)
  }
  let cut = ranked[0]
  for (let i = 0; i < n; i++) {
    const ends = i === n - 1 || ranked[i + 1] < ranked[i]          // of equal logits
    if (ends && f32(held[i] / held[n - 1]) <= f32(share)) cut = Math.min(cut, ranked[i])
  }
  return below(z, cut)
}

/** By a roll, drop the good tokens but the least likely and its ties */
export function xtc(z, probability, threshold, seed, position) {
  const [roll] = uniformNoise(seed, position, 1, XTC_SALT)
  if (roll > f32(probability)) return z
  const good = steadyProbs(z).map((p, i) => p >= f32(threshold) && z[i] > -Infinity)
  const least = z.reduce((v, w, i) => good[i] ? Math.min(v, w) : v, Infinity)
  return without(z, (v, i) => good[i] && v > least)
}
