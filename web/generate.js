// From one token to a text: rows of one prompt that grow together, each to its own end.

import {ask} from './request.js'
import {argmax} from './softmax.js'
import {measure} from './sampler.js'
import {TextStream} from './text_stream.js'
import {TokenTree} from './tree.js'

/** The output of one row: its ids, its text, and why it ended */
export class Writer {
  constructor({lm, eos, context, stops}) {
    Object.assign(this, {eos, ids: [], logprobs: [], finish_reason: null, stop: null})
    this.stream = new TextStream(lm.tokenizer, context, stops)
  }

  /** Take in a token; gives the text that has become certain */
  add(id, last) {
    this.ids.push(id)
    let text = ''
    if (this.eos.includes(id)) this.end('stop', id)
    else text = this.stream.add([id])
    if (this.stream.stopped !== null) this.end('stop', this.stream.stopped)
    if (last) this.end('length', null)
    return this.finish_reason ? text + this.stream.finish() : text
  }

  end(reason, stop) {
    if (!this.finish_reason) Object.assign(this, {finish_reason: reason, stop})
  }

  get text() { return this.stream.text }

  /** @returns {{ids: number[], text: string, logprobs: number[], score: number,
   *   finish_reason: string, stop: any}} */
  result(score = this.logprobs.reduce((a, b) => a + b, 0)) {
    const {ids, text, logprobs, finish_reason, stop} = this
    return {ids, text, logprobs, score, finish_reason, stop}
  }
}

/** A row of tokens: what was said, and the node from which it goes on */
export class Row {
  constructor(request, number, node) {
    this.number = number
    this.ids = [...request.ids]
    this.node = node
    this.seed = request.seeds[number]
    this.state = request.sampler?.init() ?? null
    this.writer = new Writer(request)
  }

  /** The next token at a position: drawn, unless it is known */
  choose(sampler, logits, position, known) {
    if (!sampler) return known ?? argmax(logits)
    const {ids, seed, state} = this, where = {ids, position, seed, state}
    const drawn = known === undefined ? sampler.draw(logits, where)
      : {id: known, state: sampler.update(logits, known, where)}
    this.state = drawn.state
    return drawn.id
  }
}

/** Evaluate the last token of each row; who fills the window goes on with its half */
export function grow(tree, rows, window) {
  const full = rows.filter(row => tree.depth(row.node) >= window - 1)
  const rest = rows.filter(row => !full.includes(row))
  const last = row => row.ids[row.ids.length - 1]
  const nodes = tree.extend(rest.map(row => row.node), rest.map(last))
  rest.forEach((row, i) => { row.node = nodes[i] })
  for (const row of full) row.node = tree.read(row.ids.slice(-Math.max(1, window >> 1)))
  tree.keep(rows.map(row => row.node))
}

/**
 * Texts of a model, one token after another: Python's `generate`, as a generator.
 * @param {import('./request.js').LanguageModel} lm
 * @param {string|number[]} prompt
 * @param {Object|null} settings of a `Sampler`; null is greedy
 * @param {Object} options as `ask`; `top`: how many likeliest tokens a step lists;
 *   `written`: ids that the text begins with, drawn or forced: they count as its
 *   tokens, and no step tells of them
 * @yields {{row: number, position: number, id: number, text: string, logprob: number,
 *   entropy: number, rank: number, top: number[][], finish_reason: ?string}} each token
 * @returns {{rows: Object[], stats: {tokens_evaluated: number, seconds: number}}}
 */
export function* generate(lm, prompt, settings = null,
                          {top = 5, written = [], ...options} = {}) {
  const start = performance.now(), request = ask(lm, prompt, settings, options)
  const tree = new TokenTree(lm.model), {n, max} = request
  const node = max ? tree.read(request.ids) : -1
  const all = Array.from({length: n}, (_, j) => new Row(request, j, node))
  let live = max ? all : []
  for (let position = 0; live.length; position++) {
    for (const row of live) {
      const logits = tree.logits(row.node), last = position === max - 1
      const id = row.choose(request.sampler, logits, position, written[position])
      const {logprob, ...measures} = measure(logits, id, top)
      row.ids.push(id)
      row.writer.logprobs.push(logprob)
      const text = row.writer.add(id, last), {finish_reason} = row.writer
      if (position < written.length) continue
      yield {row: row.number, position, id, text, logprob, ...measures, finish_reason}
    }
    live = live.filter(row => !row.writer.finish_reason)
    if (live.length) grow(tree, live, lm.window)
  }
  for (const {writer} of all) writer.end('length', null)
  return {rows: all.map(row => row.writer.result()),
          stats: {tokens_evaluated: tree.evaluated,
                  seconds: (performance.now() - start) / 1e3}}
}

/** Take all steps of a generator; what it returns */
export function last(steps) {
  for (;;) {
    const {done, value} = steps.next()
    if (done) return value
  }
}
