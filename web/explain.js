// One place in a text under the glass: what each step does to the likeliest tokens,
// which token the seed draws, and by how much.

import {perturbed} from './noise.js'
import {ask} from './request.js'
import {argmax, bestFirst, softmax} from './softmax.js'
import {TokenTree} from './tree.js'

const NAMED = 4        // tokens of those that a step removes
const MANY = 1024      // nodes after which a tree is given up: some 30 MB

/** How many of its tokens the model sees of a text that grew, as `generate` lets it */
function seenOf(prompt, written, window) {
  let seen = prompt
  for (let i = 0; i < written; i++) seen = seen + 1 < window ? seen + 1 : window >> 1
  return seen
}

/** Logits after prompt and tokens, from the tree that `lm` keeps for such questions */
export function logitsAfter(lm, prompt, ids) {
  if (!lm.tree || lm.tree.nodes.length > MANY) lm.tree = new TokenTree(lm.model)
  const seen = seenOf(prompt.length, ids.length, lm.window)
  const nodes = lm.tree.reach([...prompt, ...ids].slice(-seen))
  return lm.tree.logits(nodes[nodes.length - 1])
}

/** What an adaptive step remembers after some tokens */
function stateAfter(lm, {sampler, ids: prompt, seeds: [seed]}, written) {
  return written.reduce((state, id, position) => {
    if (!state) return state
    const before = written.slice(0, position)
    return sampler.update(logitsAfter(lm, prompt, before), id,
                          {ids: [...prompt, ...before], position, seed, state})
  }, sampler.init())
}

/**
 * @param {import('./request.js').LanguageModel} lm
 * @param {string|number[]} prompt
 * @param {number[]} ids written after it, drawn or forced
 * @param {Object|null} settings of a `Sampler`; null is greedy
 * @param {{top?: number, row?: number, also?: number[]}} options how many tokens to
 *   list; which sample; ids that are listed, too
 * @returns {{drawn: number|null, steps: Object[], tokens: Object[]}} `steps`: the model
 *   and each step with `kept`, `removed` (how many), `first` (ids of some), `names`,
 *   `mass`, `entropy`, `why`; `tokens`: `id`, `text`, `probs` after each step, null if
 *   removed, `score` (logit and noise; the largest is drawn)
 */
export function explain(lm, prompt, ids = [], settings = null,
                        {top = 20, row = 0, also = [], ...options} = {}) {
  const greedy = {temperature: 0}
  const request = ask(lm, prompt, settings ?? greedy, {...options, n: row + 1})
  request.seeds = request.seeds.slice(row)
  const {sampler, seeds: [seed]} = request, logits = logitsAfter(lm, request.ids, ids)
  const where = {ids: [...request.ids, ...ids], position: ids.length, seed,
                 state: stateAfter(lm, request, ids)}
  const reports = sampler.explain(logits, where), left = sampler.filter(logits, where)
  const scores = sampler.draws ? perturbed(left, seed, ids.length) : left
  const drawn = left.some(v => v > -Infinity) ? argmax(scores) : null
  const shown = bestFirst(softmax(logits), top)
  for (const id of drawn === null ? also : [drawn, ...also]) {
    if (!shown.includes(id)) shown.push(id)
  }
  return {
    drawn,
    steps: reports.map(({probs, removed, ...rest}) => (
      {...rest, removed: removed.length, first: removed.slice(0, 5),
       names: removed.slice(0, NAMED).map(id => lm.tokenizer.name(id))})),
    tokens: shown.map(id => ({
      id, text: lm.tokenizer.name(id), score: scores[id],
      probs: reports.map(r => r.probs[id] || null)})),
  }
}
