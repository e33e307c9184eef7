// One configuration in several orders, on one distribution: what each order keeps,
// which token the seed draws, and the step by which one drops what another keeps.

import {logitsAfter} from './explain.js'
import {ORDERS} from './generated.js'
import {perturbed} from './noise.js'
import {ask} from './request.js'
import {argmax, softmax, sumOf} from './softmax.js'

const FIRST_IDS = 5    // of the tokens that a step removed, or that orders part at

/** The chain of an order at the first token after a prompt */
function chainOf(lm, prompt, settings, name, order = name) {
  const asked = {...settings, order}
  const {sampler, ids, seeds: [seed]} = ask(lm, prompt, asked, {})
  const where = {ids, position: 0, seed, state: sampler.init()}
  const logits = logitsAfter(lm, ids, []), left = sampler.filter(logits, where)
  const kept = new Set(Array.from(left.keys()).filter(id => left[id] > -Infinity))
  const scores = sampler.draws ? perturbed(left, seed, 0) : left
  return {name, kept, logits, probs: softmax(left),
          drawn: kept.size ? argmax(scores) : null,
          reports: sampler.explain(logits, where)}
}

/** What `here` keeps and `there` drops, by the step that drops it */
function parted(here, there) {
  return there.reports.map(({step, removed}) => ({
    step, ids: removed.filter(id => here.kept.has(id))}))
    .filter(({ids}) => ids.length)
    .map(({step, ids}) => ({step, count: ids.length, first: ids.slice(0, FIRST_IDS),
                            mass: sumOf(ids.map(id => here.probs[id]))}))
}

function rowOf(own, chain) {
  return {
    order: chain.name, kept: chain.kept.size, drawn: chain.drawn,
    less: parted(own, chain), more: parted(chain, own),
    steps: chain.reports.map(({probs, removed, ...rest}) => (
      {...rest, removed: removed.length, first: removed.slice(0, FIRST_IDS)})),
  }
}

/** The step that removed a token; null if none did */
function removedBy({reports}, id) {
  return reports.find(({removed}) => removed.includes(id))?.step ?? null
}

/**
 * @param {import('./request.js').LanguageModel} lm
 * @param {string|number[]} prompt
 * @param {Object} settings of a `Sampler`; its own order comes first
 * @param {{top?: number}} options how many tokens that some order keeps are listed,
 *   beside those at which orders part
 * @returns {{rows: Object[], tokens: Object[]}} a row per order: `steps` as `explain`
 *   has them, `less`: what the first order keeps and this one drops, `more`: the other
 *   way round; of a token `before`, its probability `probs` in each order, null where
 *   it is removed, and the step `by` which it is
 */
export function inOrders(lm, prompt, settings, {top = 8} = {}) {
  const {order = 'transformers'} = settings
  const own = typeof order === 'string' ? order : 'own'
  const others = Object.keys(ORDERS).filter(name => name !== own)
  const chains = [chainOf(lm, prompt, settings, own, order),
                  ...others.map(name => chainOf(lm, prompt, settings, name))]
  const rows = chains.map(chain => rowOf(chains[0], chain))
  const probs = softmax(chains[0].logits)
  const best = Array.from(probs.keys()).sort((a, b) => probs[b] - probs[a] || a - b)
  const kept = best.filter(id => chains.some(c => c.kept.has(id))).slice(0, top)
  const parts = rows.flatMap(({less, more}) => [...less, ...more])
  const shown = new Set([...kept, ...parts.flatMap(({first}) => first.slice(0, 3)),
                         ...rows.map(r => r.drawn).filter(id => id !== null)])
  return {rows, tokens: best.filter(id => shown.has(id)).map(id => ({
    id, text: lm.tokenizer.name(id), before: probs[id],
    probs: chains.map(c => c.kept.has(id) ? c.probs[id] : null),
    by: chains.map(c => removedBy(c, id))}))}
}
