import assert from 'node:assert/strict'
import {test} from 'node:test'
import {fromPlanes} from '../model.js'
import {TokenTree} from '../tree.js'
import {tinyModel} from './tiny.js'

const model = tinyModel()

/** Logits after some ids, each evaluated alone */
function alone(ids) {
  const tree = new TokenTree(model)
  let node = -1
  for (const id of ids) node = tree.read([id], node)
  return tree.logits(node)
}

test('bfloat16 comes in two planes', () => {
  // 1 is 3f80, -2 is c000, 3.140625 is 4049
  const planes = Uint8Array.from([0x3f, 0xc0, 0x40, 0x80, 0x00, 0x49])
  assert.deepEqual([...fromPlanes(planes)], [1, -2, 3.140625])
})

test('a chain gives the bits of tokens alone', () => {
  const ids = [0, 5, 9, 33, 60, 2, 7, 7, 1], tree = new TokenTree(model)
  assert.deepEqual(tree.logits(tree.read(ids)), alone(ids))
})

test('branches give the bits of texts alone, and share a prompt', () => {
  const tree = new TokenTree(model, {slots: 2}), prompt = [0, 4, 8]
  const root = tree.read(prompt)
  const nodes = tree.extend([root, root, root, root, root], [1, 2, 3, 5, 6])
  const more = tree.extend([nodes[1], nodes[4]], [9, 9])
  assert.deepEqual(tree.logits(nodes[3]), alone([...prompt, 5]))
  assert.deepEqual(tree.logits(more[0]), alone([...prompt, 2, 9]))
  assert.deepEqual(tree.logits(more[1]), alone([...prompt, 6, 9]))
  assert.notDeepEqual(tree.logits(more[0]), tree.logits(more[1]))
  assert.deepEqual(tree.ids(more[1], root), [6, 9])
  assert.equal(tree.evaluated, 3 + 5 + 2)
})

test('what is forgotten makes room, what is kept stays', () => {
  const tree = new TokenTree(model, {slots: 4}), root = tree.read([0, 4])
  const [a, b] = tree.extend([root, root], [1, 2])
  tree.keep([b])
  assert.equal(tree.nodes[a], null)
  const c = tree.extend([b], [3])[0]
  assert.equal(c, a)
  assert.deepEqual(tree.logits(c), alone([0, 4, 2, 3]))
})

test('a text is found again, and only what is new is evaluated', () => {
  const tree = new TokenTree(model), first = tree.reach([0, 1, 2, 3])
  const second = tree.reach([0, 1, 9])
  assert.deepEqual(second.slice(0, 2), first.slice(0, 2))
  assert.equal(tree.evaluated, 5)
  assert.deepEqual(tree.logits(second[2]), alone([0, 1, 9]))
  tree.keep([second[2]])
  assert.deepEqual(tree.logits(tree.reach([0, 1, 2])[2]), alone([0, 1, 2]))
})

test('the window is a limit', () => {
  const tree = new TokenTree(model), node = tree.read(Array(24).fill(3))
  assert.throws(() => tree.extend([node], [1]), /window/)
})

test('a position turns keys, and keeps their lengths', () => {
  const tree = new TokenTree(model)
  tree.read([7, 7, 7])
  const all = tree.cache[0].keys, keys = [0, 8, 16].map(i => [...all.slice(i, i + 8)])
  const lengths = keys.map(key => Math.hypot(...key))
  assert.notDeepEqual(keys[0], keys[2])
  for (const length of lengths) assert.ok(Math.abs(length / lengths[0] - 1) < 1e-6)
})
