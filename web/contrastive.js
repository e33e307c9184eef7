// Of the likely next tokens the one whose state is unlike all before it: Python's
// `contrastive_search`, for one prompt.

import {Writer} from './generate.js'
import {ask} from './request.js'
import {measure} from './sampler.js'
import {argmax, bestFirst, softmax} from './softmax.js'
import {TokenTree} from './tree.js'

/** A vector of length 1 that points where this one does */
function direction(v) {
  const length = Math.sqrt(v.reduce((sum, x) => sum + x * x, 0))
  return v.map(x => x / length)
}

/** The cosine of the angle between two directions */
function cosine(a, b) {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i]
  return sum
}

/** A text as a chain on a tree: it can try candidates for its next token */
class Chain {
  constructor({lm, ids}) {
    Object.assign(this, {lm, spent: 0})
    this.plant(ids)
    if (!this.full) return
    // a prompt that fills the window leaves room for candidates
    const {logits} = this
    this.plant(ids.slice(-Math.max(1, this.half - 1)))
    this.logits = logits
  }

  get half() { return Math.max(1, this.lm.window >> 1) }

  get full() { return this.context.length >= this.lm.window }

  get evaluated() { return this.spent + this.tree.evaluated }

  /** Read some tokens; `context`: the directions of their states */
  plant(ids) {
    if (this.tree) this.spent = this.evaluated
    this.tree = new TokenTree(this.lm.model, {hidden: true})
    this.stand(this.tree.read(ids))
    const {path} = this.tree.nodes[this.node]
    this.context = Array.from(path, n => direction(this.tree.nodes[n].state))
  }

  stand(node) { Object.assign(this, {node, logits: this.tree.logits(node)}) }

  /** Read candidates in one pass: a node, a direction and a penalty each */
  attempt(tokens) {
    this.tree.keep([this.node])
    const nodes = this.tree.extend(tokens.map(() => this.node), tokens)
    return nodes.map(node => {
      const state = direction(this.tree.nodes[node].state)
      const cosines = this.context.map(before => cosine(before, state))
      return {node, state, penalty: Math.max(...cosines)}
    })
  }

  /** Go on from a candidate; who fills the window goes on with its half of a text */
  take({node, state}, ids) {
    this.stand(node)
    this.context.push(state)
    if (this.full) this.plant(ids.slice(-this.half))
  }
}

/**
 * A text whose tokens are likely and unlike those before them (Su et al., 2022), as a
 * generator.
 * @param {import('./request.js').LanguageModel} lm
 * @param {string|number[]} prompt
 * @param {Object|null} settings of a `Sampler` that filters the candidates; null: none
 * @param {Object} options as Python's
 * @yields {{live: Object[], ended: Object[], said: string}} as `beamSearch`, after each
 *   token
 * @returns {{rows: Object[], stats: Object}}
 */
export function* contrastiveSearch(lm, prompt, settings = null,
                                  {top_k = 4, penalty_alpha = .6, ...options} = {}) {
  const start = performance.now(), request = ask(lm, prompt, settings, options)
  checkPenalty(top_k, penalty_alpha)
  const {sampler, seeds: [seed], max} = request, writer = new Writer(request)
  const chain = max ? new Chain(request) : null, ids = [...request.ids]
  let state = sampler?.init() ?? null, total = 0
  if (!max) writer.end('length', null)
  for (let position = 0; !writer.finish_reason; position++) {
    const {logits} = chain, where = {ids: [...ids], position, seed, state}
    const z = sampler ? sampler.filter(logits, where) : logits
    const likely = bestFirst(z, top_k).filter(id => z[id] > -Infinity)
    if (!likely.length) throw new Error('no token can be chosen: all are banned')
    const probs = softmax(z), tried = chain.attempt(likely)
    const scores = likely.map((id, i) =>
      (1 - penalty_alpha) * probs[id] - penalty_alpha * tried[i].penalty)
    const best = argmax(scores), id = likely[best]
    if (sampler) state = sampler.update(logits, id, where)
    ids.push(id)
    total += scores[best]
    writer.logprobs.push(measure(logits, id, 1).logprob)
    writer.add(id, position === max - 1)
    yield {live: [{ids: [...writer.ids]}], ended: [], said: writer.text}
    if (!writer.finish_reason) chain.take(tried[best], ids)
  }
  return {rows: [writer.result(total)],
          stats: {tokens_evaluated: chain?.evaluated ?? 0,
                  seconds: (performance.now() - start) / 1e3}}
}

function checkPenalty(k, alpha) {
  const fail = text => { throw new RangeError(text) }
  if (!(Number.isInteger(k) && k >= 1)) fail(`top_k must be an integer >= 1, not ${k}`)
  if (!(alpha >= 0 && alpha <= 1)) {
    fail(`penalty_alpha must be a number in [0, 1], not ${alpha}`)
  }
}
