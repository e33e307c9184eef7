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

/** The question for a strategy: a prompt, settings of a sampler, options */
const asked = strategy => (lm, {prompt, settings, options}) =>
  strategy(lm, prompt, settings, options)

/** What may be asked: a value, or a generator of steps whose last word is the result */
export const METHODS = {
  encode: (lm, {text}) => lm.tokenizer.encode(text),
  decode: (lm, {ids}) => lm.tokenizer.decode(ids),
  generate: asked(generate),
  beams: asked(beamSearch),
  best_of_n: asked(bestOfN),
  constrained_beam_search: asked(constrainedBeamSearch),
  contrastive_decoding: asked(contrastiveDecoding),
  contrastive_search: asked(contrastiveSearch),
  diverse_beam_search: asked(diverseBeamSearch),
  dola: asked(dola),
  minimum_bayes_risk: asked(minimumBayesRisk),
  stochastic_beam_search: asked(stochasticBeamSearch),
  explain: (lm, {prompt, ids, settings, options}) =>
    explain(lm, prompt, ids, settings, options),
  likeliest: (lm, {prompt, options}) => likeliest(lm, prompt, options),
  locate: (lm, {prompt, texts}) => locate(lm, prompt, texts),
  tree: (lm, {prompt, options}) => searchTree(lm, prompt, options),
  configured,
  orders: asked(inOrders),
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
