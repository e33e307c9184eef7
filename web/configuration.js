// A configuration of vLLM, llama.cpp, OpenAI or transformers becomes settings of a
// `Sampler`: Python's `read_settings`. What it refuses, and why, is Python's table.

import {KNOBS, READS, STEPS} from './generated.js'

const isList = Array.isArray
const isDict = v => typeof v === 'object' && v !== null && !isList(v)
const isNumber = v => typeof v === 'number'
const isId = v => Number.isInteger(v) && v >= 0
const isOn = v => typeof v === 'object' && v !== null ? Object.keys(v).length > 0
  : Boolean(v)

function wrong(name, allowed, value) {
  return new Error(`${name} must be ${allowed}, not ${JSON.stringify(value)}`)
}

/** A configuration, ticked off as it is read */
class Keys {
  constructor(settings) {
    if (!isDict(settings)) throw wrong('settings', 'a dict', settings)
    this.left = new Map(Object.entries(settings).filter(([, v]) => v != null))
    this.call = {}
    this.lost = new Map()
  }

  has(name) { return this.left.has(name) }

  take(name, otherwise) {
    const value = this.left.has(name) ? this.left.get(name) : otherwise
    this.left.delete(name)
    return value
  }

  number(name, otherwise) {
    const value = this.take(name, otherwise)
    if (isNumber(value)) return value
    throw wrong(name, 'a number', value)
  }

  items(name) {
    const value = this.take(name, [])
    if (isList(value)) return value
    throw wrong(name, 'a list', value)
  }

  ids(name) {
    const ids = this.items(name)
    if (ids.every(isId)) return ids
    throw wrong(name, 'a list of token ids', ids)
  }

  pairs(name) {
    const given = this.take(name, []), pairs = isDict(given) ? Object.entries(given)
      : given
    if (isList(pairs) && pairs.every(p => isList(p) && p.length === 2)) return pairs
    throw wrong(name, 'a dict, or a list of pairs of a token and a number', given)
  }

  /** Knobs that are called alike and mean the same */
  same(...names) {
    const here = names.filter(name => this.has(name))
    return Object.fromEntries(here.map(name => [name, this.take(name)]))
  }

  /** Arguments of `generate` under the names of another system */
  forCall(names) {
    for (const [theirs, ours] of Object.entries(names)) {
      if (this.has(theirs)) this.call[ours] = this.take(theirs)
    }
    const {stop} = this.call
    if (typeof stop === 'string') this.call.stop = [stop]
    else if (stop !== undefined && !isOn(stop)) delete this.call.stop
  }
}

/** A `logit_bias` as pairs of an id or a text, and a number */
function biases(keys, limit) {
  const read = keys.pairs('logit_bias').map(([token, bias]) => {
    if (!isNumber(token) && typeof token !== 'string') {
      throw wrong('logit_bias', 'named by ids or texts', token)
    }
    const id = /^\d+$/.test(token) ? Number(token) : token
    if (bias === false) return [id, -Infinity]
    return [id, isNumber(bias) ? Math.min(limit, Math.max(-limit, bias)) : bias]
  })
  return read.length ? {logit_bias: read} : {}
}

/** Steps of ours in a field for what an engine does not know */
function ourSteps(keys, name) {
  const given = keys.take(name, {})
  if (!isDict(given)) throw wrong(name, 'a dict', given)
  const known = step => Object.hasOwn(STEPS, step) || isExtra(step)
  for (const step of Object.keys(given).filter(s => !known(s))) {
    keys.lost.set(`${name}.${step}`, 'it is no step of this package')
  }
  return Object.fromEntries(Object.entries(given).filter(([step]) => known(step)))
}

/** Is it a knob beside a step, as `xtc_threshold`? */
function isExtra(name) { return Object.hasOwn(KNOBS, name) && 'default' in KNOBS[name] }

function vllm(keys) {
  const same = keys.same('presence_penalty', 'frequency_penalty', 'repetition_penalty',
                         'top_p', 'min_p')
  const t = keys.number('temperature', 1), k = keys.number('top_k', 0)
  const seed = keys.number('seed', -1)
  const bans = keys.items('bad_words').flatMap(w => [w, ` ${String(w).trimStart()}`])
  const knobs = {...same, temperature: t > 0 && t < .01 ? .01 : t, order: 'vllm',
                 top_k: k > 0 ? k : null, seed: seed === -1 ? null : seed,
                 ban_tokens: bans, ...biases(keys, 100),
                 allowed_token_ids: keys.ids('allowed_token_ids')}
  Object.assign(knobs, ourSteps(keys, 'extra_args'), ourSteps(keys, 'vllm_xargs'))
  if (isOn(keys.take('ignore_eos'))) keys.call.eos_token_id = []
  keys.forCall({max_tokens: 'max_new_tokens', n: 'n', stop: 'stop'})
  return knobs
}

/** The steps of a list of `samplers`; llama.cpp's own order without one */
function llamaOrder(keys) {
  if (!keys.has('samplers')) return 'llama.cpp'
  const order = new Set(['logit_bias'])
  for (const given of keys.items('samplers')) {
    const name = String(given).replaceAll('-', '_')
    const known = Object.hasOwn(READS.samplers, name)
    if (!known) keys.lost.set(`samplers.${name}`, 'it is unknown here')
    for (const step of known ? READS.samplers[name] : []) order.add(step)
  }
  return [...order]
}

/** The three penalties: they see a window of the prompt and the output there */
function llamaPenalties(keys) {
  const repeat = keys.number('repeat_penalty', 1)
  const last = keys.number('repeat_last_n', 64), output = {}
  for (const name of ['frequency_penalty', 'presence_penalty']) {
    const value = keys.number(name, 0)
    if (value) output[name] = value
  }
  const knobs = {...output, ...repeat !== 1 && {repetition_penalty: repeat}}
  if (last === 0 || !isOn(knobs)) return {}
  for (const name of Object.keys(output)) {
    keys.lost.set(name, 'it counts the prompt there, and only the output here')
  }
  if (last > 0) {
    keys.lost.set('repeat_last_n', `penalties see the last ${last} tokens there, and `
                                   + 'all of them here (-1)')
  }
  return knobs
}

/** DRY, whose window is the whole context by default */
function llamaDry(keys) {
  const knobs = {dry_multiplier: keys.number('dry_multiplier', 0),
                 dry_base: keys.number('dry_base', 1.75),
                 dry_allowed_length: keys.number('dry_allowed_length', 2)}
  const breakers = keys.take('dry_sequence_breakers', ['\n', ':', '"', '*'])
  const last = keys.number('dry_penalty_last_n', -1)
  if (!knobs.dry_multiplier || last === 0) return {}
  if (last > 0) {
    keys.lost.set('dry_penalty_last_n', `DRY sees the last ${last} tokens there, and `
                                        + 'all of them here (-1)')
  }
  return {...knobs, dry_breakers: breakers}
}

/** A fixed temperature, or a range of them */
function llamaHeat(keys) {
  const t = Math.max(0, keys.number('temperature', .8))
  const width = keys.number('dynatemp_range', 0)
  const exponent = keys.number('dynatemp_exponent', 1)
  if (width <= 0) return {temperature: t}
  return {dynamic_temperature: [Math.max(0, t - width), t + width, exponent]}
}

/** Mirostat takes the place of the chain; adaptive-p ends it */
function llamaMemory(keys) {
  const kind = keys.number('mirostat', 0), tau = keys.number('mirostat_tau', 5)
  const eta = keys.number('mirostat_eta', .1)
  const target = keys.number('adaptive_target', -1)
  const decay = keys.number('adaptive_decay', .9)
  const name = kind === 1 ? 'Mirostat1' : 'Mirostat2'
  if (kind) return {adaptive: {name, tau, eta, surprise: 'kept'}}
  return target >= 0 ? {adaptive: {name: 'AdaptiveP', target, decay}} : {}
}

/** The cuts; what is not written has llama.cpp's defaults */
function llamaCuts(keys) {
  const on = (name, otherwise, off) => {
    const value = keys.number(name, otherwise)
    return off(value) ? null : value
  }
  const low = v => v <= 0, high = v => v >= 1
  const cuts = {top_k: on('top_k', 40, low), top_p: on('top_p', .95, high),
                min_p: on('min_p', .05, low), typical_p: on('typical_p', 1, high),
                top_n_sigma: on('top_n_sigma', -1, low),
                xtc_probability: on('xtc_probability', 0, low),
                xtc_threshold: on('xtc_threshold', .1, v => v > .5)}
  if (cuts.xtc_threshold !== null) return cuts
  return {...cuts, xtc_probability: null, xtc_threshold: .1}    // it never drops
}

function llamaCpp(keys) {
  const cuts = llamaCuts(keys)
  const penalties = {...llamaPenalties(keys), ...llamaDry(keys)}
  let order = llamaOrder(keys)
  const seed = keys.number('seed', -1), heat = llamaHeat(keys)
  const memory = llamaMemory(keys)
  if (memory.adaptive?.name.startsWith('Mirostat')) {
    order = ['logit_bias', ...READS.samplers.temperature, 'adaptive']
    for (const name of ['repeat_last_n', 'dry_penalty_last_n', 'frequency_penalty',
                        'presence_penalty']) keys.lost.delete(name)
  }
  let knobs = {...cuts, ...penalties, ...heat, ...memory}
  if (isList(order)) {                  // what is not in the list does not run
    knobs = Object.fromEntries(Object.entries(knobs).filter(
      ([name]) => order.includes(name) || isExtra(name)))
  }
  const n = keys.number('n_predict', -1)
  if (n >= 0) keys.call.max_new_tokens = n
  keys.forCall({n_cmpl: 'n', stop: 'stop'})
  return {...knobs, ...biases(keys, Infinity), order,
          seed: seed === -1 || seed === 2 ** 32 - 1 ? null : seed}
}

function openai(keys) {
  const knobs = keys.same('temperature', 'top_p', 'frequency_penalty',
                          'presence_penalty', 'seed')
  keys.forCall({max_tokens: 'max_new_tokens', max_completion_tokens: 'max_new_tokens',
                n: 'n', stop: 'stop'})
  return {...knobs, ...biases(keys, 100)}
}

/** A `sequence_bias`: of single tokens a bias; none of longer sequences here */
function sequenceBiases(keys) {
  const pairs = keys.pairs('sequence_bias')
  for (const [ids] of pairs) {
    if (!isList(ids) || !ids.every(Number.isInteger)) {
      throw wrong('sequence_bias', 'named by lists of ids', ids)
    }
  }
  if (pairs.some(([ids]) => ids.length > 1)) {
    keys.lost.set('sequence_bias', 'only single tokens have a bias here')
  }
  return pairs.filter(([ids]) => ids.length === 1).map(([[id], bias]) => [id, bias])
}

/** A generation config; its sampling knobs count under `do_sample` alone */
function transformers(keys) {
  const draws = isOn(keys.take('do_sample'))
  const knobs = draws ? keys.same(...READS.drawn) : {temperature: 0}
  if (draws) knobs.top_k = (knobs.top_k ?? 50) || null
  Object.assign(knobs, keys.same('repetition_penalty'))
  knobs.no_repeat_ngram_size = keys.take('no_repeat_ngram_size') || null
  const eos = keys.take('eos_token_id', [])
  const ends = (isList(eos) ? eos : [eos]).map(id => JSON.stringify([id]))
  knobs.ban_tokens = keys.items('bad_words_ids')
    .filter(ids => !ends.includes(JSON.stringify(ids)))      // never banned there
  const banned = keys.ids('suppress_tokens').map(id => [id, -Infinity])
  knobs.logit_bias = [...sequenceBiases(keys), ...banned]
  keys.forCall({max_new_tokens: 'max_new_tokens', num_return_sequences: 'n',
                stop_strings: 'stop'})
  for (const name of ['encoder_repetition_penalty', 'guidance_scale', 'num_beams',
                      'num_beam_groups']) {
    if (keys.left.get(name) === 1) keys.take(name)           // off
  }
  return knobs
}

const READERS = {vllm, llama_cpp: llamaCpp, openai, transformers}
export const SYSTEMS = Object.keys(READERS)

/**
 * @param {'vllm'|'llama_cpp'|'openai'|'transformers'} system
 * @param {Object} configuration what is absent has the defaults of its system
 * @returns {{settings: Object, call: Object, lost: Object}} settings of a `Sampler`,
 *   arguments of `generate`, and by key why it cannot be honoured: Python raises an
 *   error unless each of those is accepted
 */
export function readConfiguration(system, configuration) {
  if (!Object.hasOwn(READERS, system)) {
    throw wrong('system', `one of ${SYSTEMS.join(', ')}`, system)
  }
  const keys = new Keys(configuration), knobs = READERS[system](keys)
  for (const [name, why] of Object.entries(READS.refused[system])) {
    if (isOn(keys.take(name))) keys.lost.set(name, why)
  }
  if (system === 'transformers') keys.left.clear()   // it lets pass what it knows not
  for (const name of keys.left.keys()) {
    if (!READS.silent[system].includes(name)) keys.lost.set(name, 'it is not known')
  }
  const on = Object.entries(knobs).filter(([, v]) => v !== null && v !== undefined
                                                     && !(isList(v) && !v.length))
  return {settings: Object.fromEntries(on), call: keys.call,
          lost: Object.fromEntries(keys.lost)}
}
