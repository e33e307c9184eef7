import assert from 'node:assert/strict'
import {test} from 'node:test'
import {beamSearch} from '../beams.js'
import {contrastiveSearch} from '../contrastive.js'
import {explain} from '../explain.js'
import {generate, last} from '../generate.js'
import {withIds} from '../request.js'
import {logSoftmax} from '../softmax.js'
import {TokenTree} from '../tree.js'
import {tinyLm, tokenizer} from './tiny.js'

const lm = tinyLm(), prompt = [0, 7, 9]
const run = (settings, options) => last(generate(lm, prompt, settings, options)).rows
const ids = (settings, options) => run(settings, options).map(row => row.ids)

test('samples of a batch are those alone', () => {
  const settings = {temperature: 3, seed: 4}, options = {max_new_tokens: 8, n: 3}
  const three = ids(settings, options)
  assert.equal(new Set(three.map(String)).size, 3)
  assert.deepEqual(ids(settings, {...options, n: 1}), three.slice(0, 1))
})

test('greedy needs no settings', () => {
  const [greedy] = ids(null, {max_new_tokens: 4, eos_token_id: []})
  const cold = ids({temperature: 0}, {max_new_tokens: 4, eos_token_id: []})
  assert.deepEqual(cold, [greedy])
  const tree = new TokenTree(lm.model)
  const first = tree.logits(tree.read(prompt))
  assert.equal(greedy[0], first.indexOf(Math.max(...first)))
})

test('a row ends by length, end of text, stop string', () => {
  const settings = {temperature: 3, seed: 4}
  const [[first, second]] = ids(settings, {max_new_tokens: 2})
  const ended = options => run(settings, {max_new_tokens: 5, ...options})[0]
  const {ids: got, finish_reason, stop} = ended({eos_token_id: [second]})
  assert.deepEqual([got, finish_reason, stop], [[first, second], 'stop', second])
  const text = ended({stop: tokenizer.name(second)})
  assert.deepEqual([text.text, text.finish_reason], [tokenizer.name(first), 'stop'])
  assert.equal(ended({}).finish_reason, 'length')
  assert.deepEqual(ended({max_new_tokens: 0}).ids, [])
})

test('a text grows past the window', () => {
  const [row] = run({temperature: 2, seed: 1}, {max_new_tokens: 60, eos_token_id: []})
  assert.equal(row.ids.length, 60)
})

test('a text goes on from what was written, drawn or forced', () => {
  for (const settings of [{temperature: 2, seed: 3, frequency_penalty: 1}, null,
                          {adaptive: {name: 'Mirostat2', tau: 4}, seed: 3}]) {
    const options = {max_new_tokens: 28, eos_token_id: []}
    const [whole] = ids(settings, options), written = whole.slice(0, 9)
    const steps = [...generate(lm, prompt, settings, {...options, written})]
    assert.deepEqual([...written, ...steps.map(s => s.id)], whole)
    const forced = [...written, (whole[9] + 1) % 64]
    const [other] = ids(settings, {...options, written: forced})
    assert.deepEqual(other.slice(0, 10), forced)
    assert.equal(other.length, 28)
  }
})

test('contrastive search without a penalty, or a choice, is greedy', () => {
  const options = {max_new_tokens: 8, eos_token_id: []}, [greedy] = ids(null, options)
  const search = more =>
    last(contrastiveSearch(lm, prompt, null, {...options, ...more}))
  assert.deepEqual(search({penalty_alpha: 0}).rows[0].ids, greedy)
  assert.deepEqual(search({top_k: 1, penalty_alpha: 1}).rows[0].ids, greedy)
  assert.notDeepEqual(search({top_k: 9, penalty_alpha: 1}).rows[0].ids, greedy)
  assert.equal(search({}).stats.tokens_evaluated, prompt.length + 4 * 8)
})

test('contrastive search grows past the window, and refuses what it cannot do', () => {
  const search = options => last(contrastiveSearch(lm, prompt, null, options))
  const long = {max_new_tokens: 60, eos_token_id: []}
  assert.equal(search(long).rows[0].ids.length, 60)
  assert.deepEqual(search({max_new_tokens: 0}).rows[0].ids, [])
  for (const wrong of [{top_k: 0}, {top_k: 1.5}, {penalty_alpha: 1.1}]) {
    assert.throws(() => search(wrong), RangeError)
  }
})

test('steps say what was chosen', () => {
  const steps = [...generate(lm, prompt, {seed: 2}, {max_new_tokens: 3, top: 4})]
  assert.deepEqual(steps.map(s => s.position), [0, 1, 2])
  assert.ok(steps.every(s => s.top.length === 4 && s.logprob <= 0 && s.rank >= 1))
})

/** The best text of a length by trying all */
function best(length) {
  let beams = [{ids: [], sum: 0}]
  for (let t = 0; t < length; t++) {
    beams = beams.flatMap(({ids, sum}) => {
      const tree = new TokenTree(lm.model)
      const logp = logSoftmax(tree.logits(tree.read([...prompt, ...ids])))
      return Array.from(logp, (l, id) => ({ids: [...ids, id], sum: sum + l}))
    })
  }
  return beams.reduce((a, b) => a.sum >= b.sum ? a : b)
}

test('as many beams as tokens find the best text', () => {
  const options = {num_beams: 64, max_new_tokens: 2, eos_token_id: []}
  const {rows: [row]} = last(beamSearch(lm, prompt, null, options)), whole = best(2)
  assert.deepEqual(row.ids, whole.ids)
  assert.ok(Math.abs(row.score - whole.sum / 2) < 1e-5)
  assert.ok(Math.abs(row.logprobs[0] + row.logprobs[1] - whole.sum) < 1e-5)
})

test('one beam is greedy, filters act, wrong arguments raise', () => {
  const one = options => last(beamSearch(lm, prompt, null, {num_beams: 1, ...options}))
  const greedy = ids(null, {max_new_tokens: 5, eos_token_id: []})
  const {rows} = one({max_new_tokens: 5, eos_token_id: []})
  assert.deepEqual(rows.map(r => r.ids), greedy)
  const ban = {ban_tokens: [[greedy[0][0]]]}
  const {rows: [other]} = last(beamSearch(lm, prompt, ban, {max_new_tokens: 5}))
  assert.ok(!other.ids.includes(greedy[0][0]))
  for (const wrong of [{max_new_tokens: 0}, {num_return_sequences: 5}, {num_beams: 0},
                       {early_stopping: 1}, {max_new_tokens: 40}]) {
    const options = {max_new_tokens: 3, ...wrong}
    assert.throws(() => last(beamSearch(lm, prompt, null, options)), RangeError)
  }
})

test('an explanation draws the token that is written', () => {
  for (const settings of [{temperature: 2, seed: 3, top_p: .9},
                          {adaptive: {name: 'Mirostat2', tau: 4}, seed: 3}]) {
    const options = {max_new_tokens: 30, n: 2, eos_token_id: []}
    const written = ids(settings, options)[1], row = 1
    for (const t of [0, 1, 9, 22, 25]) {
      const before = written.slice(0, t)
      assert.equal(explain(lm, prompt, before, settings, {row}).drawn, written[t])
    }
  }
  const banned = {ban_tokens: Array.from({length: 64}, (_, i) => [i])}
  assert.equal(explain(lm, prompt, [], banned).drawn, null)
})

test('an explanation lists the tokens that are asked for, once', () => {
  const listed = also => explain(lm, prompt, [], {temperature: 0}, {top: 3, also})
    .tokens.map(t => t.id)
  const top = listed([]), rest = [40, 41, 42, 43].filter(id => !top.includes(id))
  assert.equal(top.length, 3)
  assert.deepEqual(listed([rest[0], top[2], rest[0], rest[1]]),
                   [...top, rest[0], rest[1]])
  const [last] = explain(lm, prompt, [], {temperature: 0}, {top: 3, also: [rest[0]]})
    .tokens.slice(-1)
  assert.ok(last.probs[0] > 0 && last.probs.at(-1) === null)
})

test('texts name tokens', () => {
  const read = withIds(tokenizer, {ban_tokens: ['ab', [3]], dry_breakers: ['!'],
                                   logit_bias: [['!', 2], [5, -1]]})
  assert.deepEqual(read.logit_bias, {1: 2, 5: -1})
  assert.deepEqual(read.ban_tokens, [tokenizer.idsOf('ab'), [3]])
  assert.ok(read.dry_breakers.every(id => tokenizer.name(id).includes('!')))
  assert.throws(() => withIds(tokenizer, {logit_bias: [['no such', 1]]}), /one token/)
})

test('prompts are checked', () => {
  assert.throws(() => run(null, {n: 0}), /n must be/)
  for (const wrong of [[], [-1], [9999], Array(25).fill(1)]) {
    assert.throws(() => last(generate(lm, wrong)), RangeError)
  }
})
