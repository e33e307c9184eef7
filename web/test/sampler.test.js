import assert from 'node:assert/strict'
import {test} from 'node:test'
import {AdaptiveP, Mirostat1, Mirostat2} from '../adaptive.js'
import {ORDERS, STEPS} from '../generated.js'
import {uniformNoise} from '../noise.js'
import {Sampler, measure} from '../sampler.js'
import {softmax} from '../softmax.js'
import {readOrder} from '../steps.js'

const z = uniformNoise([3, 0], 0, 40).map(v => 12 * v * v)

test('each preset has every step once', () => {
  for (const order of Object.values(ORDERS)) {
    assert.deepEqual([...order].sort(), Object.keys(STEPS).sort())
  }
  assert.throws(() => readOrder('none'), /vllm/)
  assert.throws(() => readOrder(['top_k', 'top_k']), /each once/)
  assert.throws(() => readOrder('constructor'), /order/)
})

test('the order decides', () => {
  const logits = Float32Array.from([3, 2, 1]), knobs = {top_p: .8, temperature: .5}
  const kept = order => new Sampler({...knobs, order}).explain(logits).at(-1).kept
  assert.equal(kept('transformers'), 1)
  assert.equal(kept('llama.cpp'), 2)
})

test('wrong values are told by name', () => {
  for (const [knobs, said] of [
    [{top_p: 1.5}, /top_p must be a number in \[0, 1\]/], [{top_k: 0}, /top_k/],
    [{top_k: 2.5}, /top_k/], [{typical_p: 0}, /typical/], [{temperature: NaN}, /temp/],
    [{no_such: 1}, /no knob no_such/], [{'Mirostat1.tau': 1}, /no knob/],
    [{adaptive: {name: 'Mirostat3'}}, /adapt/], [{logit_bias: {1: Infinity}}, /bias/],
    [{adaptive: {name: 'Mirostat2', tau: -1}}, /tau/], [{constructor: 1}, /no knob/],
    [{top_k: 5, order: ['top_p']}, /lacks top_k/], [{ban_tokens: [[]]}, /ban_tokens/],
    [{dynamic_temperature: [2, 1]}, /dynamic/], [{repetition_penalty: 0}, /rep/],
  ]) assert.throws(() => new Sampler(knobs), said, JSON.stringify(knobs))
})

test('neutral values, null and nothing are off', () => {
  const off = {top_p: 1, temperature: 1, min_p: 0, top_n_sigma: Infinity, top_k: null,
               p_less: false, logit_bias: {}, typical_p: 1, repetition_penalty: 1}
  assert.deepEqual(new Sampler(off).filter(z, {ids: [1, 2]}), z)
})

test('greedy is the lowest id of the maximum', () => {
  const tie = Float32Array.from([1, 3, 3])
  assert.equal(new Sampler({temperature: 0}).draw(tie).id, 1)
})

test('a seed and a position give a token', () => {
  const s = new Sampler({temperature: 2, seed: 9})
  const ids = Array.from({length: 50}, (_, position) => s.draw(z, {position}).id)
  assert.deepEqual(ids, ids.map((_, position) => s.draw(z, {position}).id))
  assert.ok(new Set(ids).size > 5)
})

test('nothing to draw is an error', () => {
  const s = new Sampler({ban_tokens: [[0], [1]], top_p: .5, typical_p: .5})
  assert.throws(() => s.draw(new Float32Array(2)), /no token can be drawn/)
})

test('what a step removed', () => {
  const [model, step] = new Sampler({top_k: 3}).explain(z)
  assert.equal(model.kept, 40)
  assert.deepEqual([step.step, step.value, step.kept, step.removed.length],
                   ['top_k', 3, 3, 37])
  const p = softmax(z)
  assert.ok(p[step.removed[0]] >= p[step.removed[1]])
  const sum = step.removed.reduce((s, id) => s + p[id], 0)
  assert.ok(Math.abs(sum - step.mass) < 1e-12)
})

test('adaptive steps steer towards their target', () => {
  for (const settings of [{name: 'Mirostat1', tau: 2}, {name: 'Mirostat2', tau: 2}]) {
    const s = new Sampler({adaptive: settings, seed: 1})
    let state = s.init(), bits = 0
    for (let position = 0; position < 400; position++) {
      const drawn = s.draw(z, {position, state})
      bits -= Math.log2(softmax(z)[drawn.id])
      state = drawn.state
    }
    assert.ok(Math.abs(bits / 400 - 2) < .3, `${settings.name} ${bits / 400}`)
  }
})

test('states by hand', () => {
  const half = new Float32Array(2)
  const two = new Mirostat2({tau: 3})
  assert.deepEqual(two.update([6, 3], half, 0), [Math.fround(6.2), 3])
  assert.deepEqual(new Mirostat1({tau: null}).init(), [Infinity, Infinity])
  const [mean] = new AdaptiveP({target: .2, decay: .5}).update([.25, .2], half, 1)
  assert.equal(mean, .375)
  assert.equal(new AdaptiveP({target: null}).filter(half, [-1, -1]), half)
})

test('measures', () => {
  const {logprob, rank, top} = measure(Float32Array.from([0, Math.log(3)]), 0, 2)
  assert.ok(Math.abs(logprob - Math.log(.25)) < 1e-7)
  assert.deepEqual([rank, top.map(([id]) => id)], [2, [1, 0]])
})
