// What a view shows, as the part of an address after its #, and back. An address may
// come from anybody: names are looked up, numbers are numbers, texts stay texts.

import {FIRST, FIRST_MAP} from './strategies.js'

export const SLIDERS = {
  temperature: {label: 'temperature', off: 1, help: 'Below 1 the likely get likelier',
                values: [0, .1, .2, .3, .4, .5, .6, .7, .8, .9, 1, 1.1, 1.2, 1.3, 1.5,
                         1.7, 2]},
  top_k: {label: 'top-k', off: 4096, help: 'Keep the k likeliest tokens',
          values: [1, 2, 3, 5, 10, 20, 40, 100, 200, 500, 1000, 4096]},
  top_p: {label: 'top-p', off: 1, help: 'Keep the likeliest that hold this mass',
          values: [.1, .2, .3, .4, .5, .6, .7, .8, .85, .9, .95, .98, 1]},
  min_p: {label: 'min-p', off: 0, help: 'Drop what has less than this of the largest',
          values: [0, .01, .02, .05, .1, .15, .2, .3, .5, .7]},
  repetition_penalty: {label: 'repetition', off: 1,
                       help: 'Divide the scores of tokens that were there',
                       values: [1, 1.05, 1.1, 1.2, 1.3, 1.5, 2]},
  frequency_penalty: {label: 'frequency', off: 0,
                      help: 'Subtract this for each time a token was written',
                      values: [0, .1, .2, .5, 1, 1.5, 2]},
  presence_penalty: {label: 'presence', off: 0,
                     help: 'Subtract this if a token was written',
                     values: [0, .1, .2, .5, 1, 1.5, 2]},
  dry_multiplier: {label: 'DRY', off: 0, help: 'Against what goes on with a repetition',
                   values: [0, .2, .4, .8, 1.2, 2]},
  xtc_probability: {label: 'XTC chance', off: 0,
                    help: 'How often the likeliest are excluded',
                    values: [0, .1, .25, .5, .75, 1]},
  xtc_threshold: {label: 'XTC above', off: .1, always: true,
                  help: 'Those above it are excluded, but for the least likely',
                  values: [.02, .05, .1, .15, .2, .3]},
  typical_p: {label: 'typical-p', off: 1,
              help: 'Keep tokens of usual surprisal that hold this mass',
              values: [.1, .2, .3, .5, .7, .8, .9, .95, 1]},
  epsilon_cutoff: {label: 'epsilon', off: 0, help: 'Drop what is less likely than this',
                   values: [0, .0003, .001, .003, .01, .02, .05]},
  eta_cutoff: {label: 'eta', off: 0,
               help: 'Epsilon, lower where the model is unsure',
               values: [0, .0003, .001, .003, .01, .02, .05]},
  top_a: {label: 'top-a', off: 0,
          help: 'Drop what has less than this times the square of the largest',
          values: [0, .05, .1, .2, .3, .5, .7, 1]},
  top_h: {label: 'top-h', off: 1, help: 'Keep as many as this share of the entropy',
          values: [.1, .2, .3, .4, .5, .7, .9, 1]},
  top_n_sigma: {label: 'top-nσ', off: Infinity,
                help: 'Keep logits within n deviations of the largest',
                values: [.3, .5, .7, 1, 1.3, 1.6, 2, 3, Infinity]},
  p_less: {label: 'p-less', off: false, help: 'A threshold that the model sets itself',
           values: [false, true]},
  tail_free: {label: 'tail-free', off: 1, help: 'Cut where the curve has become flat',
              values: [.5, .7, .8, .9, .95, .98, 1]},
  no_repeat_ngram_size: {label: 'no n-gram of', off: 0,
                         help: 'No n tokens in a row come twice',
                         values: [0, 1, 2, 3, 4, 5]},
  spread: {label: 'dynamic ±', off: 0, help: 'Hotter where the model is unsure',
           values: [0, .1, .2, .3, .4, .5, .7, .9],
           as: v => ({dynamic_temperature: [1 - v, 1 + v]})},
  tau: {label: 'Mirostat τ', off: 0, help: 'Aim at this surprisal, in nats',
        values: [0, .5, 1, 1.5, 2, 2.5, 3, 4, 5],
        as: v => ({adaptive: {name: 'Mirostat2', tau: v, eta: .1}})},
}
export const MAIN = ['temperature', 'top_k', 'top_p', 'min_p']
export const OTHERS = ['repetition_penalty', 'frequency_penalty', 'presence_penalty',
                     'dry_multiplier', 'xtc_probability', 'xtc_threshold']
export const SYSTEMS_READ = ['vllm', 'llama_cpp', 'transformers', 'openai']
export const ORDER_NAMES = ['transformers', 'vllm', 'llama.cpp', 'mlx']
const LONGEST = 4000       // letters of a prompt; tokens of a text

/** Fields of an address that is for a view of this name, else null */
export function fieldsOf(name, hash) {
  const [head, ...rest] = hash.replace(/^#/, '').split('?')
  return head === name ? new URLSearchParams(rest.join('?')) : null
}

export function seedOf(text, otherwise = '1') {
  return /^-?\d{1,18}$/.test(text ?? '') ? String(BigInt(text)) : otherwise
}

function promptOf(fields) {
  return (fields.get('prompt') ?? FIRST.prompt).slice(0, LONGEST)
}

/** `12.7f.9k`: drawn; forced; kept from other settings */
function writtenOf(text) {
  return (text ?? '').split('.').slice(0, LONGEST)
    .map(s => s.match(/^(\d{1,4})([fk]?)$/)).filter(m => m && Number(m[1]) < 4096)
    .map(([, id, why]) => ({id: Number(id), why}))
}

export function readPlay(fields) {
  const knobs = {}
  for (const name of [...MAIN, ...OTHERS]) {
    const {off} = SLIDERS[name], text = fields.get(name), value = Number(text)
    if (text !== null && text.trim() && Number.isFinite(value) && value !== off) {
      knobs[name] = value
    }
  }
  const order = fields.get('order')
  return {prompt: promptOf(fields), knobs, seed: seedOf(fields.get('seed')),
          order: ORDER_NAMES.includes(order) ? order : FIRST.order,
          written: writtenOf(fields.get('written'))}
}

export function writePlay({prompt, knobs, order, seed, written}) {
  const fields = new URLSearchParams({prompt, ...knobs})
  if (order !== FIRST.order) fields.set('order', order)
  fields.set('seed', seed)
  if (written.length) {
    fields.set('written', written.map(({id, why}) => id + why).join('.'))
  }
  return `#play?${fields}`
}

export function readArena(fields, known) {
  const tokens = Number(fields.get('tokens')), asked = (fields.get('with') ?? '')
  const names = asked.split('.').filter((n, i, all) => Object.hasOwn(known, n)
                                                       && all.indexOf(n) === i)
  return {prompt: promptOf(fields), seed: seedOf(fields.get('seed')), names,
          tokens: Number.isInteger(tokens) && tokens > 0 ? Math.min(tokens, 400) : 40}
}

export function writeArena({prompt, seed, tokens, names}) {
  return `#arena?${new URLSearchParams({prompt, seed, tokens, with: names.join('.')})}`
}

export function readMap(fields, searches) {
  const counted = (name, most) => {
    const n = Number(fields.get(name))
    return Number.isInteger(n) && n > 0 ? Math.min(n, most) : FIRST_MAP[name]
  }
  const search = fields.get('search'), depth = counted('depth', 8)
  return {prompt: promptOf(fields), depth, nodes: counted('nodes', 1500),
          search: Object.hasOwn(searches, search ?? '') ? search : FIRST_MAP.search,
          step: counted('step', 999),
          at: writtenOf(fields.get('at')).map(w => w.id).slice(0, depth - 1)}
}

export function writeMap({prompt, depth, nodes, search, step, at}) {
  const fields = new URLSearchParams({prompt, depth, nodes})
  if (search !== FIRST_MAP.search) {
    fields.set('search', search)
    fields.set('step', step)
  }
  if (at.length) fields.set('at', at.join('.'))
  return `#map?${fields}`
}

/** The system is looked up by who shows it; what is absent is as before */
export function readSettingsState(fields, before) {
  const of = name => (fields.get(name) ?? before[name]).slice(0, LONGEST)
  const system = fields.get('system')
  return {system: SYSTEMS_READ.includes(system) ? system : before.system,
          text: of('text'), prompt: of('prompt')}
}

export function writeSettingsState({system, text, prompt}) {
  return `#settings?${new URLSearchParams({system, prompt, text})}`
}
