// A very small model of random weights, and the bundled tokenizer.
import {TOKENIZER} from '../generated.js'
import {Model} from '../model.js'
import {uniformNoise} from '../noise.js'
import {LanguageModel} from '../request.js'
import {Tokenizer} from '../tokenizer.js'

export const CONFIG = {vocab: 64, hidden: 8, inner: 12, layers: 2, heads: 2, window: 24,
                       eps: 1e-6, theta: 10000}

export const tokenizer = new Tokenizer(TOKENIZER)

/** Random numbers in place of weights */
export function tinyModel(seed = 1) {
  const {vocab, hidden: D, inner: F, layers} = CONFIG
  const size = vocab * D + layers * (4 * D * D + 3 * D * F + 2 * D) + D
  return new Model(CONFIG, uniformNoise([seed, 0], 0, size).map(v => 3 * v - 1.5))
}

export function tinyLm(seed) { return new LanguageModel(tinyModel(seed), tokenizer) }
