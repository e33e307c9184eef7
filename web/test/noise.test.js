import assert from 'node:assert/strict'
import {test} from 'node:test'
import {asSeed, freshSeed, gumbelNoise, mix, rowSeeds, sample, seedText, uniformNoise}
  from '../noise.js'

test('a seed is two halves, exact', () => {
  assert.deepEqual(asSeed(-1), [-1, -1])
  assert.deepEqual(asSeed('9223372036854775807'), [-1, 0x7fffffff])
  for (const text of ['0', '-9223372036854775808', '1234567890123456789']) {
    assert.equal(seedText(asSeed(text)), text)
  }
  for (const wrong of [1.5, 'x', 2n ** 63n]) {
    assert.throws(() => asSeed(wrong), RangeError)
  }
  assert.notDeepEqual(freshSeed(), freshSeed())
})

test('noise lies in (0, 1], with the mean of a uniform', () => {
  const v = uniformNoise([7, 0], 3, 1e5)
  assert.ok(v.every(x => x > 0 && x <= 1))
  const mean = v.reduce((a, b) => a + b, 0) / 1e5
  assert.ok(Math.abs(mean - .5) < 5 * Math.sqrt(1 / 12 / 1e5))
})

test('seed, position and salt change it', () => {
  const all = [[[1, 0], 0, 0], [[2, 0], 0, 0], [[1, 1], 0, 0], [[1, 0], 1, 0],
               [[1, 0], 0, 9]]
  const first = all.map(([s, p, salt]) => uniformNoise(s, p, 1, salt)[0])
  assert.equal(new Set(first).size, all.length)
})

test('draws have the probabilities', () => {
  const logits = Float32Array.from([0, Math.log(3)])
  let hits = 0
  for (let p = 0; p < 4000; p++) hits += sample(logits, [5, 6], p)
  assert.ok(Math.abs(hits / 4000 - .75) < 5 * Math.sqrt(.75 * .25 / 4000))
})

test('noise is finite at the ends', () => {
  assert.ok(gumbelNoise([0, 0], 0, 1e5).every(Number.isFinite))
})

test('seeds of rows: the first sample has that of its prompt', () => {
  const [one] = rowSeeds(3, [0, 5]), [a, b] = rowSeeds(3, [0, 5], 2)
  assert.deepEqual(a, one)
  assert.notDeepEqual(a, b)
  assert.notDeepEqual(rowSeeds(3, [5, 0])[0], one)
  assert.deepEqual(mix([4, 5], [0, 0]), [4, 5])
})
