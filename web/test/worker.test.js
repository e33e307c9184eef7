import assert from 'node:assert/strict'
import {test} from 'node:test'
import {METHODS, serve} from '../worker.js'

/** A worker whose model is replaced, and what it says */
function worker(methods) {
  const said = [], scope = {postMessage: message => said.push(message)}
  Object.assign(METHODS, methods)
  serve(scope)
  return {said, tell: data => scope.onmessage({data})}
}

/** Wait until something holds, for 20 seconds at most */
async function until(holds) {
  for (let i = 0; i < 2000 && !holds(); i++) {
    await new Promise(resolve => setTimeout(resolve, 10))
  }
  assert.ok(holds())
}

test('a value, steps and a result, an error', async () => {
  const {said, tell} = worker({
    double: (_, n) => 2 * n,
    count: function* () { yield 1; yield 2; return 'end' },
    fail: () => { throw new Error('why') },
  })
  tell({type: 'call', id: 1, method: 'double', params: 4})
  tell({type: 'call', id: 2, method: 'count'})
  tell({type: 'call', id: 3, method: 'fail'})
  const of = id => said.filter(m => m.id === id).map(m => [m.type, m.value])
  await until(() => of(2).length === 3)
  assert.deepEqual(of(1), [['result', 8]])
  assert.deepEqual(of(2), [['step', 1], ['step', 2], ['result', 'end']])
  assert.deepEqual(of(3), [['error', 'why']])
})

test('jobs take turns, and one can be stopped', async () => {
  const {said, tell} = worker({forever: function* () { for (;;) yield 0 },
                               three: function* () { yield 1; yield 2; yield 3 }})
  tell({type: 'call', id: 1, method: 'forever'})
  tell({type: 'call', id: 2, method: 'three'})
  const of = id => said.filter(m => m.id === id)
  await until(() => of(2).length === 4)
  assert.ok(of(1).length >= 3)
  tell({type: 'stop', id: 1})
  await until(() => of(1).at(-1).type === 'result')
  const n = said.length
  assert.equal(of(1).at(-1).value, null)
  await new Promise(resolve => setTimeout(resolve, 30))
  assert.equal(said.length, n)
})

test('weights that are none are an error', async () => {
  const {said, tell} = worker({})
  tell({type: 'weights', id: 7, value: 'AAAA'})
  await until(() => said.length)
  assert.equal(said[0].type, 'error')
})
