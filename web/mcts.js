// Monte Carlo tree search from one place: Python's `Search`, a simulation at a time.
// Rollouts are greedy, the value of a text is its log-probability.

import {logitsAfter} from './explain.js'
import {askTree} from './likely.js'
import {bestFirst, logSoftmax, softmax} from './softmax.js'

class Node {
  constructor(parent, token, logprob) {
    Object.assign(this, {parent, token, children: new Map(), moves: null, visits: 0,
                         total: 0, low: Infinity, high: -Infinity})
    this.ids = parent ? [...parent.ids, token] : []
    this.logprob = parent ? parent.logprob + logprob : 0
  }
}

/** Scores of the moves: value so far, and prior times a share of the visits */
function puct(node, {low, high}, weight) {
  const value = n => high > low ? (n.total - n.visits * low) / (high - low) : 0
  return node.moves.map(({token, prior}) => {
    const child = node.children.get(token), tries = child?.visits ?? 0
    const q = tries ? value(child) / tries : value(node) / node.visits
    return q + weight * Math.sqrt(node.visits) * prior / (1 + tries)
  })
}

class Search {
  constructor(lm, request, top, weight) {
    Object.assign(this, {lm, request, top, weight, root: new Node(null)})
  }

  ended({ids}) {
    const {eos, max} = this.request
    return ids.length === max || eos.includes(ids[ids.length - 1])
  }

  child(node, {token, logprob}) {
    if (!node.children.has(token)) {
      node.children.set(token, new Node(node, token, logprob))
    }
    return node.children.get(token)
  }

  /** Down the best moves, to where no simulation has ended yet */
  select() {
    let node = this.root
    while (node.moves && node.visits) {
      const scores = puct(node, this.root, this.weight)
      node = this.child(node, node.moves[bestFirst(scores, 1)[0]])
    }
    return node
  }

  /** Give a node its moves: the best tokens */
  expand(node) {
    if (node.moves || this.ended(node)) return
    const z = logitsAfter(this.lm, this.request.ids, node.ids), logprobs = logSoftmax(z)
    const best = bestFirst(z, this.top), priors = softmax(best.map(id => z[id]))
    node.moves = best.map((token, i) => ({token, prior: priors[i],
                                          logprob: logprobs[token]}))
  }

  /** Write the text to its end, the greedy way */
  roll(node) {
    while (!this.ended(node)) {
      this.expand(node)
      node = this.child(node, node.moves[0])
    }
    return node
  }

  simulate() {
    const leaf = this.select(), end = this.roll(leaf), value = end.logprob
    for (let node = leaf; node; node = node.parent) {
      node.visits++
      node.total += value
      node.low = Math.min(node.low, value)
      node.high = Math.max(node.high, value)
    }
    return {leaf: leaf.ids, text: end.ids, value}
  }
}

/**
 * Simulations from the end of a prompt, as a generator.
 * @param {import('./request.js').LanguageModel} lm
 * @param {string|number[]} prompt
 * @param {{num_simulations?: number, max_new_tokens?: number, top_k?: number,
 *   c_puct?: number}} options as Python's
 * @yields {{leaf: number[], text: number[], value: number}} where the tree ended, the
 *   text that was written from there, its log-probability
 * @returns {number} how many
 */
export function* searchTree(lm, prompt, {num_simulations = 50, max_new_tokens = 4,
                                         top_k = 10, c_puct = 1, ...options} = {}) {
  const request = askTree(lm, prompt, {max_new_tokens, ...options})
  const search = new Search(lm, request, top_k, c_puct)
  for (let i = 0; i < num_simulations; i++) yield search.simulate()
  return num_simulations
}
