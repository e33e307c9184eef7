// What a model says beyond another voice of itself: Python's `contrastive_decoding`
// against the same model with less of the text, and `dola` against its early layers.

import {applyTemperature, minP} from './filters.js'
import {Row, grow} from './generate.js'
import {ask} from './request.js'
import {measure} from './sampler.js'
import {argmax, f32, logSoftmax, softmax} from './softmax.js'
import {TokenTree} from './tree.js'

const FLOOR = -1000        // of the logarithm that is subtracted

/** own · log p − against · log q where p is plausible */
function contrast(p, q, own, against, alpha) {
  const best = alpha ? minP(p, alpha) : p, minus = logSoftmax(q)
  return logSoftmax(p).map((v, i) => best[i] === -Infinity ? -Infinity
    : f32(own * v) - f32(against * Math.max(FLOOR, minus[i])))
}

/** Jensen-Shannon divergence, nats */
function divergence(p, q) {
  const cost = x => x > 0 ? -x * Math.log(x) : 0
  return p.reduce((sum, v, i) => sum + cost((v + q[i]) / 2)
                                 - (cost(v) + cost(q[i])) / 2, 0)
}

/** One text on a tree of its own */
class Line {
  constructor(lm, ids, layers = []) {
    Object.assign(this, {lm, ids: [...ids], tree: new TokenTree(lm.model, {layers})})
    this.node = this.tree.read(ids)
  }

  get logits() { return this.tree.logits(this.node) }

  /** Logits of the early layers */
  get exits() { return this.tree.nodes[this.node].exits }

  grow(id) {
    this.ids.push(id)
    grow(this.tree, [this], this.lm.window)
  }
}

/** A text whose tokens `values()` chooses; `lines`: what the model reads for it */
function* spoken(request, start, voices) {
  const {sampler, max} = request, row = new Row(request, 0, -1), {writer} = row
  const {lines, values} = max ? voices() : {lines: []}
  let total = 0
  if (!max) writer.end('length', null)
  for (let position = 0; !writer.finish_reason; position++) {
    const scores = values(), id = row.choose(sampler, scores, position)
    total += scores[id]
    row.ids.push(id)
    writer.logprobs.push(measure(lines[0].logits, id, 1).logprob)
    writer.add(id, position === max - 1)
    yield {live: [{ids: [...writer.ids]}], ended: [], said: writer.text}
    if (!writer.finish_reason) lines.forEach(line => line.grow(id))
  }
  return {rows: [writer.result(total)],
          stats: {tokens_evaluated: lines.reduce((n, l) => n + l.tree.evaluated, 0),
                  seconds: (performance.now() - start) / 1e3}}
}

/**
 * What a model finds likelier than it would with the last tokens of the prompt alone
 * (Li et al., O'Brien and Lewis, 2023), as a generator.
 * @param {import('./request.js').LanguageModel} lm
 * @param {string|number[]} prompt
 * @param {Object|null} settings of a `Sampler`; null is greedy
 * @param {Object} options as Python's; the amateur is the model itself
 * @yields {{live: Object[], ended: Object[], said: string}} as `beamSearch`, after each
 *   token
 * @returns {{rows: Object[], stats: Object}}
 */
export function* contrastiveDecoding(
  lm, prompt, settings = null,
  {alpha = .1, beta = Infinity, amateur_temperature: heat = 1, amateur_context: last,
   ...options} = {}) {
  const start = performance.now(), request = ask(lm, prompt, settings, options)
  checkNumber('alpha', alpha, alpha >= 0 && alpha <= 1, 'in [0, 1]')
  checkNumber('beta', beta, beta >= 0, '>= 0')
  checkNumber('amateur_temperature', heat, heat > 0 && heat < Infinity, '> 0')
  checkNumber('amateur_context', last ?? 1, (last ?? 1) >= 1, '>= 1')
  const [own, against] = beta === Infinity ? [1, 1] : [1 + beta, beta]
  return yield* spoken(request, start, () => {
    const line = new Line(lm, request.ids), other = new Line(lm, request.ids.slice(
      -(last ?? request.ids.length)))
    const values = () => contrast(line.logits, applyTemperature(other.logits, heat),
                                  own, against, alpha)
    return {lines: [line, other], values}
  })
}

/**
 * What a model says at its end and not yet at an early layer (Chuang et al., 2024), as
 * a generator; parameters and steps as of `contrastiveDecoding`.
 */
export function* dola(lm, prompt, settings = null,
                      {dola_layers, alpha = .1, ...options} = {}) {
  const start = performance.now(), request = ask(lm, prompt, settings, options)
  checkNumber('alpha', alpha, alpha >= 0 && alpha <= 1, 'in [0, 1]')
  const layers = candidateLayers(dola_layers, lm.model.config.layers)
  return yield* spoken(request, start, () => {
    const line = new Line(lm, request.ids, layers)
    const values = () => {
      const p = softmax(line.logits)
      const far = line.exits.map(z => divergence(p, softmax(z)))
      return contrast(line.logits, line.exits[argmax(far)], 1, 1, alpha)
    }
    return {lines: [line], values}
  })
}

/** The layers among which DoLa chooses; input and output embeddings are one matrix */
function candidateLayers(asked, n) {
  const from = (low, high) => Array.from({length: n}, (_, i) => i)
    .filter(i => i >= low && i < high && (i - low) % 2 === 0)
  const low = Math.min(2, n - 1), half = n >> 1
  if (asked === 'low') {
    const found = from(low, Math.min(half, 20))
    return found.length ? found : [low]
  }
  if (asked === 'high') return from(Math.max(half, n - 20), n)
  const layer = i => Number.isInteger(i) && i >= 0 && i < n
  if (Array.isArray(asked) && asked.length && asked.every(layer)) {
    return [...new Set(asked)].sort((a, b) => a - b)
  }
  throw new RangeError("dola_layers must be 'low', 'high' or a list of layers from 0 "
                       + `to ${n - 1}, not ${JSON.stringify(asked)}`)
}

function checkNumber(name, value, fine, allowed) {
  if (typeof value === 'number' && fine) return
  throw new RangeError(`${name} must be a number ${allowed}, not ${value}`)
}
