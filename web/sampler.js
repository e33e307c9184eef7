// An ordered list of steps and one draw: Python's `Sampler` for one text at a time.

import {isCold} from './filters.js'
import {asSeed, freshSeed, perturbed} from './noise.js'
import {argmax, bestFirst, entropy, logSoftmaxWide, softmax, sumOf} from './softmax.js'
import {ALL_STEPS, applyStep, readSettings} from './steps.js'

export class Sampler {
  /**
   * @param {Object} settings keywords of Python's `Sampler`, with its defaults;
   *   `adaptive` is `{name: 'Mirostat2', tau: 5}` or the like
   */
  constructor(settings = {}) {
    Object.assign(this, {settings}, readSettings(settings))
    this.seed = settings.seed == null ? null : asSeed(settings.seed)
  }

  /** Does a draw use random numbers? Not at temperature 0 */
  get draws() { return !isCold(this.knobs.temperature ?? 1) }

  /** What an adaptive step remembers before the first token; null without one */
  init() { return this.knobs.adaptive?.init() ?? null }

  /**
   * @param {{ids?: number[], position?: number, seed?: number[], state?: number[],
   *   shift?: boolean}} where as `Context`; `seed` in place of the sampler's
   */
  context({ids = [], position = 0, seed = this.seed ?? freshSeed(), state = this.init(),
           shift = true} = {}) {
    return {ids, position, seed, state, shift, knobs: this.knobs}
  }

  /** Name of each step, logits `(vocab,)` before and after it; the first is 'model' */
  * stages(logits, where) {
    const context = this.context(where)
    yield ['model', logits, logits]
    for (const name of this.steps) {
      const before = logits
      logits = applyStep(name, before, context)
      yield [name, before, logits]
    }
  }

  /** The logits after every step */
  filter(logits, where) {
    for (const [, , after] of this.stages(logits, where)) logits = after
    return logits
  }

  /**
   * Filter, then draw.
   * @param {Float32Array} logits `(vocab,)`
   * @returns {{id: number, state: number[], filtered: Float32Array}} `state`: the next
   *   one; `Error` where every token was banned
   */
  draw(logits, where) {
    const context = this.context(where), filtered = this.filter(logits, context)
    const scores = this.draws ? perturbed(filtered, context.seed, context.position)
      : filtered
    const id = argmax(scores)
    if (!Number.isFinite(scores[id])) {
      throw new Error('no token can be drawn: all are banned')
    }
    return {id, state: this.update(logits, id, context), filtered}
  }

  /** What an adaptive step remembers after a token; null without one */
  update(logits, id, where) {
    if (!this.knobs.adaptive) return null
    const {adaptive} = this.knobs, context = this.context(where)
    for (const [name, before] of this.stages(logits, context)) {
      if (name === 'adaptive') return adaptive.update(context.state, before, id)
    }
  }

  /**
   * What each step removed, and why.
   * @returns {{step: string, value: any, why: string, kept: number, removed: number[],
   *   mass: number, entropy: number, probs: Float64Array}[]} of the model and each
   *   step: ids removed, most likely first, their probability before it; what is left
   */
  explain(logits, where) {
    return Array.from(this.stages(logits, where), ([step, before, after]) => {
      const old = softmax(before), gone = []
      after.forEach((v, id) => {
        if (v === -Infinity && before[id] > -Infinity) gone.push(id)
      })
      gone.sort((a, b) => old[b] - old[a] || a - b)
      const kept = after.reduce((n, v) => n + (v > -Infinity), 0)
      return {step, value: this.settings[step] ?? null, why: ALL_STEPS[step]?.why ?? '',
              kept, removed: gone, mass: sumOf(gone.map(id => old[id])),
              entropy: kept ? entropy(after) : NaN, probs: softmax(after)}
    })
  }
}

/** How likely the model found a token: Python's `measure`, with the likeliest `k` */
export function measure(logits, id, k = 5) {
  const logp = logSoftmaxWide(logits), top = bestFirst(logits, k)
  let entropy = 0, rank = 1
  for (let i = 0; i < logp.length; i++) {
    entropy -= Math.exp(logp[i]) * logp[i]
    rank += logits[i] > logits[id]
  }
  return {logprob: logp[id], entropy, rank, top: top.map(i => [i, Math.exp(logp[i])])}
}
