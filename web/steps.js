// Every step of a sampler: its function here; what its knob may be, its reason and its
// place in the orders of four systems come from Python's table (`generated.js`).

import {AdaptiveP, Mirostat1, Mirostat2} from './adaptive.js'
import {applyTemperature, dynamicTemperature, epsilonCutoff, etaCutoff, minP, pLess,
        tailFree, topA, topH, topK, topNSigma, topP, typical, xtc} from './filters.js'
import {KNOBS, ORDERS, STEPS} from './generated.js'
import {allowedTokens, banTokens, dryPenalty, frequencyPenalty, logitBias,
        noRepeatNgram, presencePenalty, repetitionPenalty} from './penalties.js'

/** All steps: those of the table, and one that Python has among `processors` */
const OWN = {allowed_token_ids: {
  why: "a step of one's own", extra: [], knob: {allowed: 'a list of token ids'}}}
export const ALL_STEPS = {...STEPS, ...OWN}
const HEAT = ['temperature', 'dynamic_temperature']

const ADAPTIVE = {Mirostat1, Mirostat2, AdaptiveP}

/**
 * What a step may look at beside the logits.
 * @typedef {{ids: number[], position: number, seed: number[], state: number[],
 *   knobs: Object, shift: boolean}} Context `ids`: the tokens so far; `position`: how
 *   many of them were generated
 */

/** Ids of the output alone */
function output({ids, position}) { return position ? ids.slice(-position) : [] }

/** `(logits, value, context) -> logits` by the name of the step */
const APPLY = {
  logit_bias: logitBias,
  allowed_token_ids: allowedTokens,
  ban_tokens: (z, v, c) => banTokens(z, v, c.ids),
  no_repeat_ngram_size: (z, v, c) => noRepeatNgram(z, v, c.ids),
  repetition_penalty: (z, v, c) => repetitionPenalty(z, v, c.ids),
  frequency_penalty: (z, v, c) => frequencyPenalty(z, v, output(c)),
  presence_penalty: (z, v, c) => presencePenalty(z, v, output(c)),
  dry_multiplier: (z, v, c) => dryPenalty(z, v, c.ids, c.knobs.dry_base,
                                          c.knobs.dry_allowed_length,
                                          c.knobs.dry_breakers),
  temperature: (z, v, c) => applyTemperature(z, v, c.shift),
  dynamic_temperature: (z, v, c) => dynamicTemperature(z, v, c.shift),
  top_h: topH, top_k: topK, top_p: topP, min_p: minP, typical_p: typical,
  epsilon_cutoff: epsilonCutoff, eta_cutoff: etaCutoff, top_a: topA,
  top_n_sigma: topNSigma, p_less: pLess, tail_free: tailFree,
  xtc_probability: (z, v, c) => c.knobs.xtc_threshold === KNOBS.xtc_threshold.neutral
    ? z : xtc(z, v, c.knobs.xtc_threshold, c.seed, c.position),
  adaptive: (z, v, c) => v.filter(z, c.state),
}

/** One step; a knob at its neutral value, and a row without a token, change nothing */
export function applyStep(name, z, context) {
  const value = context.knobs[name]
  if (value === ALL_STEPS[name].knob.neutral || !z.some(v => v > -Infinity)) return z
  return APPLY[name](z, value, context)
}

/** One's own steps come last before the temperature, if not in the list */
function withOwn(order) {
  const heat = order.findIndex(name => HEAT.includes(name))
  const place = heat < 0 ? order.length : heat
  const own = Object.keys(OWN).filter(name => !order.includes(name))
  return [...order.slice(0, place), ...own, ...order.slice(place)]
}

/** The steps in the order of their application; `Error` for what is no order */
export function readOrder(order) {
  if (typeof order === 'string') {
    if (!Object.hasOwn(ORDERS, order)) {
      throw new Error(`order must be one of ${Object.keys(ORDERS).join(', ')} or a `
                      + `list of step names, not ${JSON.stringify(order)}`)
    }
    return withOwn(ORDERS[order])
  }
  const known = (name, i) => Object.hasOwn(ALL_STEPS, name) && order.indexOf(name) === i
  const wrong = [...order].find((name, i) => !known(name, i))
  if (wrong === undefined) return withOwn([...order])
  throw new Error(`order must hold step names, each once, not ${JSON.stringify(wrong)}`)
}

const number = v => typeof v === 'number' && !Number.isNaN(v)
const ids = v => Array.isArray(v) && v.every(id => Number.isInteger(id) && id >= 0)
const filled = v => v.length > 0

/** Is a number in the range of a knob, as `generated.js` has it? */
function inRange({low, high, lowOpen, highOpen, integer, also = []}, v) {
  if (!number(v) || integer && !Number.isInteger(v)) return false
  const within = low <= v && v <= high && !(lowOpen && v === low)
  return also.includes(v) || within && !(highOpen && v === high)
}

/** What a knob that is no number may be */
const WHOLE = {
  p_less: v => v === true,
  dynamic_temperature: v => Array.isArray(v) && [2, 3].includes(v.length)
    && v.every(number) && 0 <= v[0] && v[0] <= v[1] && v[1] < Infinity
    && (v[2] ?? 1) >= 0,
  logit_bias: v => typeof v === 'object'
    && Object.values(v).every(b => inRange(KNOBS.logit_bias_value, b)),
  ban_tokens: v => Array.isArray(v) && v.every(s => ids(s) && filled(s)),
  dry_breakers: ids,
  allowed_token_ids: ids,
  adaptive: v => Object.hasOwn(ADAPTIVE, v?.name),
}

function isOff(v) {
  const empty = typeof v === 'object' && v !== null && !Object.keys(v).length
  return v === null || v === undefined || v === false || empty
}

function checked(name, knob, value) {
  const fine = WHOLE[name] ? WHOLE[name](value) : inRange(knob, value)
  if (fine) return name === 'adaptive' ? adaptiveOf(value) : value
  throw new RangeError(`${name} must be ${knob.allowed}, not ${JSON.stringify(value)}; `
                       + 'null is off')
}

/** `{name: 'Mirostat2', tau: 5}` as an object with `init`, `filter` and `update` */
function adaptiveOf({name, ...knobs}) {
  for (const [knob, value] of Object.entries(knobs)) {
    const range = KNOBS[`${name}.${knob}`]
    const fine = knob === 'surprise' ? ['original', 'kept'].includes(value)
      : range && (value === null || inRange(range, value))
    if (!fine) throw new RangeError(`${knob} of ${name} must be ${range?.allowed}`)
  }
  return new ADAPTIVE[name](knobs)
}

/**
 * Names of the steps in use, in order, and the knobs that they read.
 * @param {Object} settings keywords of Python's `Sampler`
 */
export function readSettings(settings) {
  const {order = 'transformers', seed, ...given} = settings, knobs = {}
  const names = readOrder(order)
  for (const [name, value] of Object.entries(given)) {
    const isStep = Object.hasOwn(ALL_STEPS, name)
    const knob = isStep ? ALL_STEPS[name].knob : KNOBS[name]
    if (!isStep && !(knob && 'default' in knob)) {
      throw new Error(`there is no knob ${name}`)
    }
    if (isOff(value)) continue
    knobs[name] = checked(name, knob, value)
    if (isStep && !names.includes(name)) {
      throw new Error(`order must hold every step in use, and lacks ${name}`)
    }
  }
  const steps = names.filter(name => name in knobs)
  const extra = steps.flatMap(n => ALL_STEPS[n].extra)
  const defaults = extra.map(e => [e, KNOBS[e].default])
  return {steps, knobs: {...Object.fromEntries(defaults), ...knobs}}
}
