// Keep the best few beginnings of a text: Python's `beam_search`, token for token that
// of transformers, for one prompt.

import {Writer} from './generate.js'
import {gumbelNoise} from './noise.js'
import {ask} from './request.js'
import {bestFirst, f32, logSoftmax} from './softmax.js'
import {TokenTree} from './tree.js'

/** Values as float32, `f` of each of 0 to n - 1 */
function floats(n, f) { return Float32Array.from({length: n}, (_, i) => f(i)) }

/** What is not asked otherwise */
export const GIVEN = {num_beams: 4, length_penalty: 1, early_stopping: false,
                      num_return_sequences: 1, do_sample: false}
export const NONE = {node: -2, token: -1, sum: -Infinity, score: -Infinity}

/** Live and finished hypotheses: a node of the tree, a token after it, their sum */
export class Beams {
  constructor(request, tree, root, options) {
    const {num_beams, length_penalty, early_stopping, do_sample} = options
    Object.assign(this, {request, tree, root, width: num_beams,
                         penalty: length_penalty, early: early_stopping,
                         length: 0, open: true, taken: []})
    this.noisy = do_sample
    this.count = Math.max(2, 1 + request.eos.length) * num_beams
    const none = Array.from({length: num_beams - 1}, () => NONE)
    this.live = [{node: this.root, token: -1, sum: 0}, ...none]      // best first
    this.ended = [NONE, ...none]                                     // best first
  }

  /** Log-probabilities after a live hypothesis, through the filters */
  logprobs({node}, beam) {
    return this.filtered(this.charged(logSoftmax(this.tree.logits(node))), node, beam)
  }

  /** What follows a node, through the filters */
  filtered(z, node, beam) {
    const {sampler, seeds} = this.request
    if (!sampler) return z
    const ids = [...this.request.ids, ...this.tree.ids(node, this.root)]
    return sampler.filter(z, {ids, position: this.length, seed: seeds[beam],
                              shift: false})
  }

  /** Log-probabilities as this search has them: those of the model */
  charged(logprobs) { return logprobs }

  /** The sums of the live ones with each token, `(width * vocab,)` */
  totals() {
    const vocab = this.tree.model.config.vocab
    const sums = new Float32Array(this.width * vocab).fill(-Infinity)
    this.live.forEach((beam, k) => {
      if (beam.node === -2) return
      sums.set(this.logprobs(beam, k).map(l => beam.sum + l), k * vocab)
    })
    return sums
  }

  /** The best continuations of the live ones, best first */
  candidates(sums) {
    const vocab = sums.length / this.width
    const noise = this.noisy
      && gumbelNoise(this.request.seeds[0], this.length, sums.length)
    const ranked = noise ? sums.map((s, i) => s + noise[i]) : sums
    return bestFirst(ranked, this.count).map(at => ({
      node: this.live[Math.floor(at / vocab)].node, token: at % vocab, sum: sums[at]}))
  }

  /** Does a text end with this candidate, however long it is? */
  ends({node, token}) {
    const {eos, stops} = this.request
    if (eos.includes(token)) return true
    if (!stops.length || node === -2) return false
    const writer = new Writer(this.request)
    for (const id of this.tree.ids(node, this.root)) writer.stream.add([id])
    writer.stream.add([token])
    return writer.stream.stopped !== null
  }

  step() {
    const found = this.candidates(this.totals())
    const over = found.map(c => this.ends(c))
    const last = ++this.length === this.request.max
    this.finish(found.slice(0, this.width).filter((_, i) => over[i] || last))
    const on = found.map((c, i) => over[i] ? -Infinity : c.sum)
    this.live = bestFirst(floats(on.length, i => on[i]), this.width).map(i =>
      on[i] === -Infinity ? NONE : found[i])
    this.taken = this.live.filter(b => b.node !== -2).map(b => b.token)
    if (last) this.live = this.live.map(() => NONE)
    this.close()
  }

  /** Of the first candidates those that ended compete with the finished ones */
  finish(candidates) {
    const power = f32(this.length ** this.penalty)
    const fresh = candidates.map(c => ({...c, score: f32(c.sum / power)}))
    const all = [...this.ended, ...fresh]
    this.ended = bestFirst(floats(all.length, i => all[i].score), this.width)
      .map(i => all[i].score === -Infinity ? NONE : all[i])
  }

  /** Close the search when nothing better can come */
  close() {
    const full = this.ended.every(e => e.score > -Infinity), [{sum}] = this.live
    const patient = this.early === 'never' && this.penalty > 0
    const power = (patient ? this.request.max : this.length) ** this.penalty
    const hope = f32(sum / f32(power))
    const worst = this.ended[this.width - 1].score
    const done = full && (hope <= worst || this.early === true)
    this.open = !done && sum > -Infinity
    if (!this.open) this.live = this.live.map(() => NONE)
  }

  /** Ids of a hypothesis that is not evaluated yet */
  path({node, token}) { return [...this.tree.ids(node, this.root), token] }

  /** What there is now, for a figure */
  view() {
    const known = beams => beams.filter(b => b.node !== -2)
    const live = known(this.live).map(b => ({ids: this.path(b), sum: b.sum}))
    const ended = known(this.ended).map(b => ({ids: this.path(b), score: b.score}))
    const {lm, eos} = this.request, best = (live[0] ?? ended[0])?.ids ?? []
    return {length: this.length, live, ended,
            said: lm.tokenizer.decode(best.filter(id => !eos.includes(id)))}
  }

  /** The best finished hypotheses as rows */
  rows(n) {
    return this.ended.slice(0, n).map((end, i) => {
      if (end.node === -2) throw new Error(`only ${i} hypotheses finished, not ${n}`)
      const writer = new Writer(this.request), ids = this.path(end)
      ids.forEach((id, t) => writer.add(id, t === ids.length - 1))
      const above = this.tree.nodes[end.node].path.subarray(this.request.ids.length - 1)
      writer.logprobs = Array.from(above, (node, t) =>
        logSoftmax(this.tree.logits(node))[ids[t]])
      return writer.result(end.score)
    })
  }
}

/** Evaluate the live ones of groups over one tree, equal ones once */
function extend(groups) {
  const [{tree, root}] = groups, nameOf = ({node, token}) => `${node} ${token}`
  const alive = groups.flatMap(g => g.live.filter(b => b.node !== -2))
  const fresh = new Map(alive.map(b => [nameOf(b), b])), all = [...fresh.values()]
  const nodes = tree.extend(all.map(b => b.node), all.map(b => b.token))
  const nodeOf = new Map([...fresh.keys()].map((name, i) => [name, nodes[i]]))
  for (const g of groups) {
    g.live = g.live.map(b => b.node === -2 ? b : {...b, node: nodeOf.get(nameOf(b))})
  }
  tree.keep([root, ...nodes, ...groups.flatMap(g => g.ended.map(e => e.node))])
}

/** The steps of groups until all are closed; yields all hypotheses, and what the first
 * group says */
export function* searchBeams(groups) {
  for (;;) {
    for (const g of groups) g.step()
    const views = groups.map(g => g.view())
    yield {...views[0], live: views.flatMap(v => v.live),
           ended: views.flatMap(v => v.ended)}
    if (!groups.some(g => g.open)) return
    extend(groups)
  }
}

/**
 * The most probable texts that `num_beams` beginnings can find, as a generator.
 * @param {import('./request.js').LanguageModel} lm
 * @param {string|number[]} prompt
 * @param {Object|null} settings of a `Sampler`: its filters, without renormalising
 * @param {Object} options as Python's
 * @yields {{length: number, live: Object[], ended: Object[], said: string}} after each
 *   step; `said` is the text of the best one
 * @returns {{rows: Object[], stats: Object}}
 */
export function* beamSearch(lm, prompt, settings = null, options = {}) {
  const start = performance.now()
  const given = {...GIVEN, ...options}
  const request = ask(lm, prompt, settings, {...options, n: given.num_beams})
  check(given, request)
  const tree = new TokenTree(lm.model)
  const beams = new Beams(request, tree, tree.read(request.ids), given)
  yield* searchBeams([beams])
  const rows = beams.rows(given.num_return_sequences)
  return {rows, stats: {tokens_evaluated: tree.evaluated,
                        seconds: (performance.now() - start) / 1e3}}
}

export function check(given, {lm, ids, max, sampler}) {
  const {num_beams, length_penalty, early_stopping, num_return_sequences} = given
  const fail = text => { throw new RangeError(text) }
  if (max < 1) fail('max_new_tokens must be >= 1')
  if (!(num_return_sequences >= 1 && num_return_sequences <= num_beams)) {
    fail('num_return_sequences must be from 1 to num_beams')
  }
  if (!Number.isFinite(length_penalty)) fail('length_penalty must be a number')
  if (![true, false, 'never'].includes(early_stopping)) {
    fail("early_stopping must be true, false or 'never'")
  }
  if (sampler?.knobs.adaptive) fail('beams take no adaptive step: it follows one text')
  if (ids.length + max - 1 > lm.window) {
    fail(`prompt and max_new_tokens need ${ids.length + max - 1} tokens of a window of `
         + `${lm.window}`)
  }
}
