import assert from 'node:assert/strict'
import {test} from 'node:test'
import {TextStream} from '../text_stream.js'
import {tokenizer} from './tiny.js'

test('a text comes back', () => {
  const family = '👩\u200d👩\u200d👧'
  for (const text of ['Once', `日本語 ${family} \u0000\ufeff`, "it's  2 \n\n", '']) {
    const ids = tokenizer.encode(text)
    assert.equal(ids[0], 0)
    assert.equal(tokenizer.decode(ids), text)
  }
})

test('the special token stands at the beginning, once', () => {
  assert.deepEqual(tokenizer.encode('<|endoftext|>!'), [0, 1])
  assert.deepEqual(tokenizer.encode('!<|endoftext|>!'), [0, 1, 0, 1])
  assert.equal(tokenizer.name(0), '<|endoftext|>')
})

test('pieces are those of the regular expression of GPT-2', () => {
  const pieces = text => text.match(tokenizer.pieces)
  assert.deepEqual(pieces("I'll say 42  x!?"),
                   ['I', "'ll", ' say', ' 42', ' ', ' x', '!?'])
  assert.deepEqual(pieces('\u0085\ufeff'), ['\u0085', '\ufeff'])   // a space, and none
})

test('half of a surrogate pair is an error', () => {
  assert.throws(() => tokenizer.encode('a\ud83d'), /no valid text/)
})

test('a stream shows whole characters and takes nothing back', () => {
  const text = 'a 👩 b', ids = tokenizer.idsOf(text), stream = new TextStream(tokenizer)
  const shown = ids.map(id => stream.add([id]))
  assert.equal(shown.join('') + stream.finish(), text)
  assert.ok(shown.every(piece => !piece.includes('\ufffd')))
  assert.ok(shown.includes(''))
})

test('a stop string ends a text, and what may begin one is held back', () => {
  const ids = tokenizer.idsOf('one. Two')
  const stream = new TextStream(tokenizer, [], ['. T'])
  const shown = ids.map(id => stream.add([id])).join('')
  assert.equal(shown, 'one')
  assert.equal(stream.stopped, '. T')
  const other = new TextStream(tokenizer, [], ['.x'])
  assert.equal(ids.map(id => other.add([id])).join('') + other.finish(), 'one. Two')
})
