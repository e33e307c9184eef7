import assert from 'node:assert/strict'
import {test} from 'node:test'
import * as f from '../filters.js'
import {entropy, f32} from '../softmax.js'

// p = 1/2 1/4 1/8 1/16 1/16, the distribution of the chapters
const z = Float32Array.from([8, 4, 2, 1, 1], Math.log)
const kept = out => [...out.keys()].filter(i => out[i] > -Infinity)

test('cuts by hand', () => {
  assert.deepEqual(kept(f.topK(z, 2)), [0, 1])
  assert.deepEqual(kept(f.topK(z, 4)), [0, 1, 2, 3, 4])           // a tie
  assert.deepEqual(kept(f.topP(z, .75)), [0, 1])
  assert.deepEqual(kept(f.topP(z, .76)), [0, 1, 2])
  assert.deepEqual(kept(f.topP(z, 0)), [0])
  assert.deepEqual(kept(f.minP(z, .3)), [0, 1])
  assert.deepEqual(kept(f.epsilonCutoff(z, .1)), [0, 1, 2])
  assert.deepEqual(kept(f.epsilonCutoff(z, .9)), [0])             // the best stays
  assert.deepEqual(kept(f.etaCutoff(z, .2)), [0, 1, 2])           // √.2 e^-1.3 = .122
  assert.deepEqual(kept(f.topA(z, .9)), [0, 1])                   // .9/4 = .225
  assert.deepEqual(kept(f.pLess(z)), [0])                         // Σp² = .34
})

test('typical may drop the best', () => {
  // entropy 1.30 nats; surprisals .69 1.39 2.08 2.77 2.77
  assert.deepEqual(kept(f.typical(z, .2)), [1])
  assert.deepEqual(kept(f.typical(z, .3)), [0, 1])
})

test('temperature', () => {
  assert.deepEqual(kept(f.applyTemperature(z, 0)), [0])
  const half = f.applyTemperature(z, .5)
  assert.equal(half[0], 0)
  assert.ok(Math.abs(half[1] + 2 * Math.log(2)) < 1e-6)
  const unshifted = f.applyTemperature(z, .5, false)
  assert.ok(Math.abs(unshifted[0] - 2 * Math.log(8)) < 1e-6)
  assert.equal(f.dynamicTemperature(z, [1, 1]), z)
  const flat = new Float32Array(4)
  assert.deepEqual(f.dynamicTemperature(flat, [.5, 2]), flat)     // 0/2 is 0
})

test('top-h stays below its share of the entropy', () => {
  const out = f.topH(z, .7), share = entropy(out) / entropy(z)
  assert.ok(share <= .7 && kept(out).length === 2)
})

test('spread cuts', () => {
  const two = Float32Array.from([10, 0, 0, 0, 0, 0])
  assert.deepEqual(kept(f.topNSigma(two, 1)), [0])
  assert.equal(kept(f.topNSigma(two, 5)).length, 6)
  assert.deepEqual(kept(f.tailFree(two, .5)), [0])
})

test('XTC leaves the least likely of the good ones', () => {
  assert.deepEqual(kept(f.xtc(z, 1, .2, [1, 0], 0)), [1, 2, 3, 4])
  assert.equal(f.xtc(z, 0, .2, [1, 0], 0), z)
})

test('nothing is written to, and ids do not matter', () => {
  const turned = Float32Array.from(z).reverse(), before = [...z]
  for (const [cut, v] of [[f.topP, .7], [f.typical, .6], [f.topH, .5], [f.tailFree, .8],
                          [f.topNSigma, 1], [f.etaCutoff, .2], [f.topA, .3]]) {
    assert.deepEqual(cut(turned, v).reverse(), cut(z, v))
    assert.deepEqual([...z], before)
  }
})

test('knobs are float32', () => assert.notEqual(f32(.9), .9))
