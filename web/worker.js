// Off the main thread: what a page may ask of the engine, and the queue of its
// questions. Jobs take turns, a step each, so that several write at once and one can be
// stopped.

import {beamSearch} from './beams.js'
import {bestOfN, minimumBayesRisk} from './best.js'
import {configured} from './configured.js'
import {constrainedBeamSearch} from './constrained.js'
import {contrastiveDecoding, dola} from './contrast.js'
import {contrastiveSearch} from './contrastive.js'
import {diverseBeamSearch} from './diverse.js'
import {explain} from './explain.js'
import {generate} from './generate.js'
import {MODEL, TOKENIZER} from './generated.js'
import {likeliest, locate} from './likely.js'
import {searchTree} from './mcts.js'
import {Model, fromPlanes} from './model.js'
import {inOrders} from './orders.js'
import {LanguageModel} from './request.js'
import {stochasticBeamSearch} from './stochastic.js'
import {Tokenizer, bytesOf} from './tokenizer.js'

/** What may be asked: a value, or a generator of steps whose last word is the result */
export const METHODS = {
  encode: (lm, {text}) => lm.tokenizer.encode(text),
  decode: (lm, {ids}) => lm.tokenizer.decode(ids),
  generate: (lm, {prompt, settings, options}) =>
    generate(lm, prompt, settings, options),
  beams: (lm, {prompt, settings, options}) =>
    beamSearch(lm, prompt, settings, options),
  best_of_n: (lm, {prompt, settings, options}) =>
    bestOfN(lm, prompt, settings, options),
  constrained_beam_search: (lm, {prompt, settings, options}) =>
    constrainedBeamSearch(lm, prompt, settings, options),
  contrastive_decoding: (lm, {prompt, settings, options}) =>
    contrastiveDecoding(lm, prompt, settings, options),
  contrastive_search: (lm, {prompt, settings, options}) =>
    contrastiveSearch(lm, prompt, settings, options),
  diverse_beam_search: (lm, {prompt, settings, options}) =>
    diverseBeamSearch(lm, prompt, settings, options),
  minimum_bayes_risk: (lm, {prompt, settings, options}) =>
    minimumBayesRisk(lm, prompt, settings, options),
  stochastic_beam_search: (lm, {prompt, settings, options}) =>
    stochasticBeamSearch(lm, prompt, settings, options),
  dola: (lm, {prompt, settings, options}) => dola(lm, prompt, settings, options),
  explain: (lm, {prompt, ids, settings, options}) =>
    explain(lm, prompt, ids, settings, options),
  likeliest: (lm, {prompt, options}) => likeliest(lm, prompt, options),
  locate: (lm, {prompt, texts}) => locate(lm, prompt, texts),
  tree: (lm, {prompt, options}) => searchTree(lm, prompt, options),
  configured: (lm, asked) => configured(lm, asked),
  orders: (lm, {prompt, settings, options}) =>
    inOrders(lm, prompt, settings, options),
}

/** Bytes of base64 of gzip */
async function unpacked(text) {
  const zipped = new Blob([bytesOf(text)]).stream()
  const stream = zipped.pipeThrough(new DecompressionStream('gzip'))
  return new Uint8Array(await new Response(stream).arrayBuffer())
}

/** @param {string} text the weights, as `tools/web.py` writes them */
export async function languageModel(text) {
  const model = new Model(MODEL, fromPlanes(await unpacked(text)))
  return new LanguageModel(model, new Tokenizer(TOKENIZER))
}

/** Let messages come in */
function pause() {
  return new Promise(resolve => {
    const {port1, port2} = new MessageChannel()
    port1.onmessage = () => { port1.close(); resolve() }
    port2.postMessage(null)
  })
}

/** Answer the messages of a page */
export function serve(scope) {
  const stopped = new Set()
  let lm

  async function answer(id, method, params) {
    const tell = (type, value) => scope.postMessage({id, type, value})
    try {
      let out = METHODS[method](lm, params)
      if (typeof out?.next === 'function') {
        const steps = out
        for (out = steps.next(); !out.done; out = steps.next()) {
          tell('step', out.value)
          await pause()
          if (stopped.delete(id)) return tell('result', null)
        }
        out = out.value
      }
      tell('result', out)
    } catch (error) { tell('error', error.message) }
  }

  scope.onmessage = async ({data: {type, id, value, method, params}}) => {
    if (type === 'stop') stopped.add(id)
    else if (type === 'call') answer(id, method, params)
    else {
      try {
        lm = await languageModel(value)
        scope.postMessage({id, type: 'result'})
      } catch (error) { scope.postMessage({id, type: 'error', value: error.message}) }
    }
  }
}
