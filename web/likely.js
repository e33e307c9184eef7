// The tree of what could be written: all beginnings that may follow a prompt, the most
// probable first, as Python's `likeliest`.

import {logitsAfter} from './explain.js'
import {ask} from './request.js'
import {logSoftmax} from './softmax.js'

/** What a tree of texts is asked: all of them fit into the window */
export function askTree(lm, prompt, options) {
  const request = ask(lm, prompt, null, options), {ids, max} = request
  const length = ids.length + max - 1
  if (max < 1) throw new RangeError('max_new_tokens must be >= 1')
  if (length <= lm.window) return request
  throw new RangeError(`prompt and max_new_tokens need ${length} tokens of a window of `
                       + `${lm.window}`)
}

/** Ids by falling value, of equal ones the lowest first */
function falling(values) {
  return Int32Array.from(values.keys()).sort((a, b) => values[b] - values[a] || a - b)
}

/** Beginnings that are known, and what may come next */
class Frontier {
  constructor(lm, request) {
    Object.assign(this, {lm, request, open: []})
    const root = {parent: null, number: -1, ids: [], logprob: 0}
    this.read(root)
    this.push(root, 0, 0)
  }

  /** What may follow a beginning: ids and log-probabilities, likeliest first */
  read(place) {
    place.logprobs = logSoftmax(logitsAfter(this.lm, this.request.ids, place.ids))
    place.order = falling(place.logprobs)
  }

  /** The child of a rank; `before` is the mass of those before it */
  push(parent, rank, before) {
    const token = parent.order[rank], own = parent.logprobs[token]
    if (rank === parent.order.length || own === -Infinity) return
    const ids = [...parent.ids, token], {eos, max} = this.request
    this.open.push({parent, rank, token, ids, before, share: Math.exp(own),
                    logprob: parent.logprob + own,
                    ended: eos.includes(token) || ids.length === max})
  }

  /** Take the most probable one; no unknown one is more probable */
  pop(number) {
    const most = this.open.reduce((a, b) => b.logprob > a.logprob ? b : a)
    this.open.splice(this.open.indexOf(most), 1)
    most.number = number
    this.push(most.parent, most.rank + 1, most.before + most.share)
    if (!most.ended) {
      this.read(most)
      this.push(most, 0, 0)
    }
    return most
  }
}

/** What a page is told of a beginning */
function told(lm, {parent, token, ids, logprob, before, share, ended}) {
  return {parent: parent.number, id: token, text: lm.tokenizer.name(token),
          depth: ids.length, logprob, before, share, ended}
}

/**
 * Beginnings after a prompt, the most probable first, as a generator.
 * @param {import('./request.js').LanguageModel} lm
 * @param {string|number[]} prompt
 * @param {{num_nodes?: number, max_new_tokens?: number, eos_token_id?: number[]}}
 *   options as Python's
 * @yields {{parent: number, id: number, text: string, depth: number, logprob: number,
 *   before: number, share: number, ended: boolean}} `parent` counts those before, -1 is
 *   the prompt; `share` is the chance after the parent, `before` that of likelier ones
 * @returns {number} how many
 */
export function* likeliest(lm, prompt, {num_nodes = 100, max_new_tokens = 4,
                                        ...options} = {}) {
  const frontier = new Frontier(lm, askTree(lm, prompt, {max_new_tokens, ...options}))
  let number = 0
  for (; number < num_nodes && frontier.open.length; number++) {
    yield told(lm, frontier.pop(number))
  }
  return number
}

/**
 * Where some texts lie in the tree: what `likeliest` says of each of their tokens.
 * @param {import('./request.js').LanguageModel} lm
 * @param {string|number[]} prompt
 * @param {number[][]} texts ids after the prompt
 * @returns {Object[][]} by text and token: `id`, `text`, `logprob`, `before`, `share`
 */
export function locate(lm, prompt, texts) {
  const request = ask(lm, prompt, null)
  return texts.map(ids => {
    let sum = 0
    return ids.map((id, t) => {
      const logits = logitsAfter(lm, request.ids, ids.slice(0, t))
      const logprobs = logSoftmax(logits), own = logprobs[id]
      const likelier = l => (p, j) => p > l || p === l && j < id
      const before = logprobs.filter(likelier(own)).reduce((a, l) => a + Math.exp(l), 0)
      sum += own
      return {id, text: lm.tokenizer.name(id), logprob: sum, before,
              share: Math.exp(own)}
    })
  })
}
