// A beam search that draws texts, no text twice: Python's `stochastic_beam_search`.

import {Beams, GIVEN, NONE, check, searchBeams} from './beams.js'
import {gumbelNoise, mix} from './noise.js'
import {ask} from './request.js'
import {bestFirst, largest, logSoftmax} from './softmax.js'
import {TokenTree} from './tree.js'

const SALT = 0xbea        // keeps the noise of the children apart from that of a draw

/** Perturbed log-probabilities, the largest `top` (Kool et al., 2019, appendix B.3) */
function truncated(free, top) {
  const most = largest(free)
  return free.map(x => {
    const v = top - x + Math.log1p(-Math.exp(x - most))
    return top - Math.max(0, v) - Math.log1p(Math.exp(-Math.abs(v)))
  })
}

/** Hypotheses and finished texts with the largest perturbed log-probabilities */
class Drawn extends Beams {
  constructor(request, tree, root, options) {
    super(request, tree, root, options)
    const [seed] = request.seeds
    Object.assign(this.live[0], {seed, top: gumbelNoise(seed, 0, 1, SALT + 1)[0]})
  }

  /** Of the children of all live ones, and of the finished, the largest stay */
  step() {
    const vocab = this.tree.model.config.vocab, sums = []
    const tops = new Float64Array(this.width * (1 + vocab)).fill(-Infinity)
    this.ended.forEach((e, i) => { tops[i] = e.score })
    this.live.forEach((beam, k) => {
      if (beam.node === -2) return
      const {node, seed} = beam
      const logprobs = logSoftmax(this.filtered(this.tree.logits(node), node, k))
      const noise = gumbelNoise(seed, this.length, vocab, SALT)
      sums[k] = Float64Array.from(logprobs, l => beam.sum + l)
      tops.set(truncated(sums[k].map((s, id) => s + noise[id]), beam.top),
               this.width + k * vocab)
    })
    const last = ++this.length === this.request.max
    const kept = bestFirst(tops, this.width).map(at => {
      if (tops[at] === -Infinity) return NONE
      if (at < this.width) return this.ended[at]
      const place = at - this.width, k = Math.floor(place / vocab)
      const token = place % vocab, {node, seed} = this.live[k], child = {node, token}
      return last || this.ends(child) ? {...child, score: tops[at]}
        : {...child, sum: sums[k][token], top: tops[at],
           seed: mix(seed, [token + 1, 0])}
    })
    this.live = kept.map(c => c.top === undefined ? NONE : c)
    this.ended = kept.map(c => c.top === undefined ? c : NONE)
    this.open = this.live.some(beam => beam.node !== -2)
  }
}

/**
 * Texts drawn without replacement, as a generator.
 * @param {import('./request.js').LanguageModel} lm
 * @param {string|number[]} prompt
 * @param {Object|null} settings of a `Sampler`: its filters, renormalised, are what is
 *   drawn from
 * @param {Object} options as Python's
 * @yields {Object} after each step as `beamSearch`
 * @returns {{rows: Object[], stats: Object}}
 */
export function* stochasticBeamSearch(lm, prompt, settings = null, options = {}) {
  const start = performance.now(), given = {...GIVEN, num_beams: options.num_beams ?? 4}
  const request = ask(lm, prompt, settings, {...options, n: given.num_beams})
  check(given, request)
  const tree = new TokenTree(lm.model)
  const drawn = new Drawn(request, tree, tree.read(request.ids), given)
  yield* searchBeams([drawn])
  return {rows: drawn.rows(given.num_beams),
          stats: {tokens_evaluated: tree.evaluated,
                  seconds: (performance.now() - start) / 1e3}}
}
