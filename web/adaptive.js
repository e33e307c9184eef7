// Cuts with a memory: measure how surprising the last token was, correct the next step.
// The state of a text is two float32 numbers: what is steered, and the target.

import {steadyProbs, topK, without} from './filters.js'
import {descending, f32, logSoftmaxWide} from './softmax.js'

const LN2 = f32(Math.LN2)

/** Surprise of every token in bits */
function bitsOf(z) {
  return new Float32Array(logSoftmaxWide(z).map(l => -l / Math.LN2))
}

/** Both versions of Mirostat: mean surprise `tau`, `eta` of the error corrected */
class Mirostat {
  constructor({tau, eta = .1, surprise = 'original'}) {
    Object.assign(this, {tau: f32(tau ?? Infinity), eta: f32(eta), surprise})
  }

  init() { return [f32(2 * this.tau), this.tau] }

  /** @param {Float32Array} z what `filter` was given; `id` was then drawn */
  update([mu, tau], z, id) {
    if (this.surprise === 'kept') z = this.filter(z, [mu, tau])
    if (z[id] === -Infinity) return [mu, tau]
    const error = f32(bitsOf(z)[id] - tau)
    return [f32(mu - f32(this.eta * error)), tau]
  }
}

/** Keep the tokens of at most mu bits, and the best */
export class Mirostat2 extends Mirostat {
  filter(z, [mu]) {
    const bits = bitsOf(z), least = bits.reduce((a, b) => Math.min(a, b), Infinity)
    return without(z, (_, id) => bits[id] > Math.max(mu, least))
  }
}

/** Least squares fit of Zipf's exponent to the steps between the `m` largest */
function zipfExponent(z, m) {
  const ranked = descending(z).subarray(0, m)
  let up = 0, down = 0
  for (let i = 1; i < ranked.length && ranked[i] > -Infinity; i++) {
    const t = Math.log(f32((i + 1) / i))
    up += t * (ranked[i - 1] - ranked[i])
    down += t * t
  }
  return up / down
}

/** Keep the ranks of at most mu bits under a fitted Zipf law */
export class Mirostat1 extends Mirostat {
  filter(z, [mu]) {
    const s = zipfExponent(z, 100), eps = s - 1
    const log = Math.log(z.reduce((n, v) => n + (v > -Infinity), 0))
    const integral = eps === 0 ? log : -Math.expm1(-eps * log) / eps
    const rank = Math.exp((f32(mu * LN2) - Math.log(integral)) / s)
    const k = Number.isNaN(rank) ? 1 : Math.max(1, Math.min(rank, z.length))
    return topK(z, Math.trunc(k))
  }
}

/** Prefer probabilities near a target, steered by those chosen */
export class AdaptiveP {
  constructor({target, decay = .9}) {
    Object.assign(this, {target: f32(target ?? -1), stays: f32(decay)})
    this.comes = f32(1 - decay)
  }

  init() { return [this.target, this.target] }

  filter(z, [mean, target]) {
    if (target < 0) return z
    const aim = Math.max(0, Math.min(f32(f32(2 * target) - mean), 1)), third = f32(.3)
    return steadyProbs(z).map((p, id) => {
      if (z[id] === -Infinity) return z[id]
      const d = f32(Math.abs(f32(p - aim)) / third)
      return 5 - f32(f32(10 * f32(d * d)) / f32(1 + d))
    })
  }

  update([mean, target], z, id) {
    if (z[id] === -Infinity) return [mean, target]
    const p = steadyProbs(z)[id]
    return [f32(f32(this.stays * mean) + f32(this.comes * p)), target]
  }
}
