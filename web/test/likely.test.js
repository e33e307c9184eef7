import assert from 'node:assert/strict'
import {test} from 'node:test'
import {logitsAfter} from '../explain.js'
import {generate, last} from '../generate.js'
import {likeliest, locate} from '../likely.js'
import {searchTree} from '../mcts.js'
import {logSoftmax} from '../softmax.js'
import {tinyLm} from './tiny.js'

const lm = tinyLm(), prompt = [0, 7, 9]
const near = (a, b) => assert.ok(Math.abs(a - b) < 1e-5, `${a} is not ${b}`)

/** All beginnings of at most `n` tokens, computed one by one */
function every(n, ids = [], sum = 0) {
  if (ids.length === n || ids.at(-1) === 0) return []
  const logprobs = logSoftmax(logitsAfter(lm, prompt, ids))
  return Array.from(logprobs.keys()).flatMap(id => {
    const found = [...ids, id], logprob = sum + logprobs[id]
    return [{ids: found, logprob}, ...every(n, found, logprob)]
  })
}

function walked(options) {
  const nodes = [...likeliest(lm, prompt, options)]
  const idsOf = n => n < 0 ? [] : [...idsOf(nodes[n].parent), nodes[n].id]
  return nodes.map((node, n) => ({...node, ids: idsOf(n)}))
}

test('the tree is that of all beginnings, the most probable first', () => {
  const all = every(2).sort((a, b) => b.logprob - a.logprob)
  const nodes = walked({num_nodes: 1e5, max_new_tokens: 2})
  assert.equal(nodes.length, all.length)
  nodes.forEach((node, i) => near(node.logprob, all[i].logprob))
  assert.deepEqual(new Set(nodes.map(n => n.ids.join())),
                   new Set(all.map(n => n.ids.join())))
  for (const n of nodes) assert.equal(n.ended, n.depth === 2 || n.id === 0)
  const first = nodes.filter(n => n.parent < 0)
  near(first.reduce((a, n) => a + n.share, 0), 1)
  first.forEach((n, i) => near(n.before,
                               first.slice(0, i).reduce((a, m) => a + m.share, 0)))
})

test('a text lies where the tree has it', () => {
  const nodes = walked({num_nodes: 60, max_new_tokens: 3})
  const texts = nodes.map(n => n.ids), places = locate(lm, prompt, texts)
  places.forEach((place, i) => {
    const {text, logprob, before, share} = place.at(-1)
    assert.equal(text, nodes[i].text)
    near(logprob, nodes[i].logprob)
    near(before, nodes[i].before)
    near(share, nodes[i].share)
  })
})

test('a tree search finds what there is to be found', () => {
  const options = {max_new_tokens: 3, top_k: 64, num_simulations: 3000}
  const seen = [...searchTree(lm, prompt, options)]
  const [greedy] = last(generate(lm, prompt, null, {max_new_tokens: 3})).rows
  assert.deepEqual(seen[0].text, greedy.ids)
  const best = seen.reduce((a, b) => b.value > a.value ? b : a)
  const mode = walked({num_nodes: 1e5, max_new_tokens: 3}).find(n => n.ended)
  near(best.value, mode.logprob)
  for (const {leaf, text} of seen) assert.deepEqual(text.slice(0, leaf.length), leaf)
})

test('a tree must fit into the window', () => {
  const long = Array(20).fill(1)
  assert.equal([...likeliest(lm, long, {num_nodes: 3, max_new_tokens: 5})].length, 3)
  for (const options of [{max_new_tokens: 6}, {max_new_tokens: 0}]) {
    assert.throws(() => likeliest(lm, long, options).next(), RangeError)
    assert.throws(() => searchTree(lm, long, options).next(), RangeError)
  }
})
