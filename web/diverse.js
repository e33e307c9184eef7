// Beams in groups, each of which pays for the words that those before it have just
// taken: Python's `diverse_beam_search`.

import {Beams, GIVEN, check, searchBeams} from './beams.js'
import {ask} from './request.js'
import {bestFirst, f32} from './softmax.js'
import {TokenTree} from './tree.js'

/** Hypotheses of one group, and the groups before it */
class Group extends Beams {
  constructor(request, tree, root, options, earlier) {
    super(request, tree, root, options)
    Object.assign(this, {earlier, price: f32(options.diversity_penalty)})
  }

  /** Log-probabilities, less what tokens of earlier groups cost */
  charged(logprobs) {
    const counts = new Map(), out = logprobs.slice()
    for (const id of this.earlier.flatMap(g => g.taken)) {
      counts.set(id, (counts.get(id) ?? 0) + 1)
    }
    for (const [id, n] of counts) out[id] -= f32(this.price * n)
    return out
  }
}

/** The finished hypotheses of all groups, best first */
function joined(groups) {
  const [first] = groups, ended = groups.flatMap(g => g.ended)
  const scores = Float32Array.from(ended, e => e.score)
  first.ended = bestFirst(scores, ended.length).map(i => ended[i])
  return first
}

/**
 * Texts that differ, as a generator.
 * @param {import('./request.js').LanguageModel} lm
 * @param {string|number[]} prompt
 * @param {Object|null} settings of a `Sampler`: filters of the penalised
 *   log-probabilities
 * @param {Object} options as Python's
 * @yields {Object} after each step as `beamSearch`
 * @returns {{rows: Object[], stats: Object}}
 */
export function* diverseBeamSearch(lm, prompt, settings = null, options = {}) {
  const start = performance.now()
  const given = {...GIVEN, num_beam_groups: 2, diversity_penalty: 1, ...options}
  const {num_beams, num_beam_groups: count} = given, width = num_beams / count
  if (!(Number.isInteger(width) && Number.isInteger(count) && count >= 1)) {
    throw new RangeError('num_beam_groups must be a divisor of num_beams, '
                         + `${num_beams}, not ${count}`)
  }
  if (!(given.diversity_penalty >= 0 && given.diversity_penalty <= 1e30)) {
    throw new RangeError('diversity_penalty must be a number in [0, 1e30], not '
                         + given.diversity_penalty)
  }
  const request = ask(lm, prompt, settings, {...options, n: width})
  check(given, request)
  const tree = new TokenTree(lm.model), root = tree.read(request.ids), groups = []
  for (let i = 0; i < count; i++) {
    const own = {...given, num_beams: width}
    groups.push(new Group(request, tree, root, own, [...groups]))
  }
  yield* searchBeams(groups)
  const rows = joined(groups).rows(given.num_return_sequences)
  return {rows, stats: {tokens_evaluated: tree.evaluated,
                        seconds: (performance.now() - start) / 1e3}}
}
