import assert from 'node:assert/strict'
import {test} from 'node:test'
import * as p from '../penalties.js'

const z = Float32Array.from([2, -2, 1, 0, -Infinity])
const banned = out => [...out.keys()].filter(i => out[i] === -Infinity && i < 4)

test('counting penalties', () => {
  assert.deepEqual([...p.repetitionPenalty(z, 2, [0, 1, 0, 4])],
                   [1, -4, 1, 0, -Infinity])
  assert.deepEqual([...p.frequencyPenalty(z, .5, [0, 0, 3])],
                   [1, -2, 1, -.5, -Infinity])
  assert.deepEqual([...p.presencePenalty(z, .5, [0, 0, 3])],
                   [1.5, -2, 1, -.5, -Infinity])
})

test('a penalty never bans', () => {
  const out = p.presencePenalty(z, 3.4e38, [0, 1])
  assert.ok(out.slice(0, 4).every(Number.isFinite))
})

test('bias and bans', () => {
  assert.deepEqual([...p.logitBias(z, {0: 1, 2: -Infinity, 4: 9})],
                   [3, -2, -Infinity, 0, -Infinity])
  assert.throws(() => p.logitBias(z, {5: 1}), /ids/)
  assert.throws(() => p.logitBias(z, {x: 1}), /ids/)
  assert.throws(() => p.banTokens(z, [[0, 5]], []), /ids/)
  assert.deepEqual(banned(p.banTokens(z, [[3], [1, 2], [2, 0]], [0, 1])), [2, 3])
})

test('no n-gram twice', () => {
  assert.deepEqual(banned(p.noRepeatNgram(z, 2, [0, 1, 3, 0])), [1])
  assert.deepEqual(banned(p.noRepeatNgram(z, 1, [0, 2])), [0, 2])
  assert.equal(p.noRepeatNgram(z, 3, [0, 1]), z)
})

test('DRY: a price that grows', () => {
  // after 0 1 came 2, and 0 1 stands at the end again: two tokens match
  const ids = [3, 0, 1, 2, 3, 0, 1]
  assert.equal(p.dryPenalty(z, 1, ids, 2, 2, [])[2], 1 - 2)        // 3 0 1: three match
  assert.equal(p.dryPenalty(z, 1, ids, 2, 3, [])[2], 1 - 1)
  assert.deepEqual(p.dryPenalty(z, 1, ids, 2, 4, []), z)
  assert.equal(p.dryPenalty(z, 1, ids, 2, 2, [3])[2], 1 - 1)     // 3 breaks: 2 match
  assert.deepEqual(p.dryPenalty(z, 1, ids, 2, 1, [1]), z)
})

test('only what is allowed is left', () => {
  assert.deepEqual([...p.allowedTokens(z, [3, 0, 3])],
                   [2, -Infinity, -Infinity, 0, -Infinity])
  assert.throws(() => p.allowedTokens(z, [1, 5]), /below 5, not 5/)
})
