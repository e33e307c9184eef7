// What a strategy is asked, checked before the first forward pass.

import {freshSeed, rowSeeds} from './noise.js'
import {Sampler} from './sampler.js'

/** A model and its tokenizer; token 0 begins and ends a text */
export class LanguageModel {
  /** @param {import('./model.js').Model} model
   *  @param {import('./tokenizer.js').Tokenizer} tokenizer */
  constructor(model, tokenizer) { Object.assign(this, {model, tokenizer, eos: [0]}) }

  get window() { return this.model.config.window }
}

function counted(name, value, low) {
  if (Number.isInteger(value) && value >= low) return value
  throw new RangeError(`${name} must be an integer >= ${low}, not ${value}`)
}

/** Ids of a prompt: a text, or ids */
function promptIds(lm, prompt) {
  const ids = typeof prompt === 'string' ? lm.tokenizer.encode(prompt) : [...prompt]
  const known = id => Number.isInteger(id) && id >= 0 && id < lm.model.config.vocab
  const wrong = ids.find(id => !known(id))
  if (wrong !== undefined) {
    throw new RangeError(`prompt id ${wrong} is not in the vocabulary`)
  }
  if (!ids.length) throw new RangeError('prompt must hold at least one id')
  return ids
}

/** Ids of the tokens that contain a text */
function containing(tokenizer, text) {
  const all = Array.from({length: tokenizer.size}, (_, id) => id)
  const found = all.filter(id => tokenizer.name(id).includes(text))
  if (!found.length) throw new Error(`dry_breakers: no token contains ${text}`)
  return found
}

/** The id of a text that is one token */
function oneToken(tokenizer, text) {
  const ids = tokenizer.idsOf(text)
  if (ids.length === 1) return ids[0]
  throw new Error(`logit_bias: ${text} must be one token, and is ${ids.length}`)
}

/**
 * Settings whose texts that name tokens are ids.
 * @param {Object} settings `ban_tokens` and `dry_breakers` may hold texts; in a
 *   `logit_bias` that is a list of pairs the first of a pair may be one
 */
export function withIds(tokenizer, settings) {
  const {logit_bias: bias, ban_tokens: bans, dry_breakers: breakers} = settings
  const out = {...settings}, isText = v => typeof v === 'string'
  if (Array.isArray(bias)) {
    out.logit_bias = Object.fromEntries(
      bias.map(([t, b]) => [isText(t) ? oneToken(tokenizer, t) : t, b]))
  }
  if (bans) out.ban_tokens = bans.map(s => isText(s) ? tokenizer.idsOf(s) : s)
  if (breakers) {
    const found = breakers.flatMap(b => isText(b) ? containing(tokenizer, b) : b)
    out.dry_breakers = [...new Set(found)].sort((a, b) => a - b)
  }
  return out
}

/**
 * Read and check what a strategy was given.
 * @param {LanguageModel} lm
 * @param {string|number[]} prompt
 * @param {Object|null} settings of a `Sampler`; null is greedy
 * @param {{max_new_tokens?: number, n?: number, stop?: string|string[], seed?: any,
 *   eos_token_id?: number[]}} options as Python's
 */
export function ask(lm, prompt, settings, {max_new_tokens = 60, n = 1, stop = [], seed,
                                           eos_token_id: eos = lm.eos} = {}) {
  const ids = promptIds(lm, prompt)
  const sampler = settings && new Sampler(withIds(lm.tokenizer, settings))
  const stops = typeof stop === 'string' ? [stop] : [...stop ?? []]
  if (stops.includes('')) throw new RangeError('stop must hold no empty string')
  if (ids.length > lm.window) {
    throw new RangeError(`the prompt has ${ids.length} tokens, and the model's window `
                         + `${lm.window}`)
  }
  return {
    lm, ids, sampler, eos, stops, context: ids.slice(-6),
    n: counted('n', n, 1), max: counted('max_new_tokens', max_new_tokens, 0),
    seeds: rowSeeds(seed ?? sampler?.seed ?? freshSeed(), ids, n),
  }
}
