import assert from 'node:assert/strict'
import {test} from 'node:test'
import {SYSTEMS, readConfiguration} from '../configuration.js'
import {parseLiteral} from '../views/literal.js'

test('what is not written has the defaults of its system', () => {
  const steps = system => readConfiguration(system, {}).settings
  assert.deepEqual(steps('vllm'), {temperature: 1, order: 'vllm'})
  assert.deepEqual(steps('openai'), {})
  assert.deepEqual(steps('transformers'), {temperature: 0})
  const {top_k, top_p, min_p, temperature, order} = steps('llama_cpp')
  assert.deepEqual({top_k, top_p, min_p, temperature, order},
                   {top_k: 40, top_p: .95, min_p: .05, temperature: .8,
                    order: 'llama.cpp'})
})

test('what cannot be honoured is told, by any name', () => {
  const {lost} = readConfiguration('vllm', JSON.parse(
    '{"min_tokens": 2, "__proto__": 1, "constructor": 2, "n": 1}'))
  assert.deepEqual(Object.keys(lost), ['min_tokens', '__proto__', 'constructor'])
  assert.throws(() => readConfiguration('constructor', {}), /system/)
  for (const system of SYSTEMS) {
    assert.throws(() => readConfiguration(system, []), /a dict/)
  }
})

test('a configuration as people have it', () => {
  const want = {temperature: .8, top_k: -1, stop: ['a', "b'\n"], seed: null, n: true,
                logit_bias: {5: -1e3}}
  for (const text of [
    JSON.stringify(want),
    `params = SamplingParams(temperature=.8, top_k=-1, stop=("a", 'b\\'\\n'), # here
       seed=None, n=True, logit_bias={5: -1_000.0},)`,
    `{'temperature': 8e-1, 'top_k': -1, 'stop': ['a', "b'\\n",], 'seed': None,
      'n': True, 'logit_bias': {5: -1000}}`,
  ]) assert.deepEqual(parseLiteral(text), want, text)
  assert.deepEqual(Object.keys(parseLiteral('{"__proto__": 1}')), ['__proto__'])
})

test('what is no configuration is told, and nothing is run', () => {
  for (const text of ['', '[1]', '3', 'alert(1)', '{"a": }', '{"a": 1} x', 'f(x=1',
                      '{"a": 1 "b": 2}', '{"a": f}', '['.repeat(9999), '{"a: 1}',
                      'a.b.c', '{1.5.2: 3}']) {
    assert.throws(() => parseLiteral(text), /understood|is a dict/, text)
  }
})
