// The same tokens in Python: a call to copy.

import {pythonText} from './dom.js'
import {SLIDERS} from './state.js'
import {FIRST} from './strategies.js'

/** Keywords of a sampler */
export function keywords(settings) {
  const value = (k, v) => /^-?\d+$/.test(v) ? v : knobText(k, v)
  return Object.entries(settings).map(([k, v]) => `${k}=${value(k, v)}`).join(', ')
}

/** What the engine, and Python's `Sampler`, are told */
export function settingsOf({knobs, order, seed}) {
  const named = Object.entries(knobs).map(([k, v]) => SLIDERS[k].as?.(v) ?? {[k]: v})
  return {...Object.assign({}, ...named), ...order !== FIRST.order && {order}, seed}
}

/** Tokens that the settings did not draw are given; a loop by hand has room for them */
export function pythonOf(state, load) {
  const {prompt, written, seed} = state, text = pythonText(prompt)
  const given = written.flatMap(({id, why}, i) => why ? [`${i}: ${id}`] : [])
  const n = written.length || 40, settings = settingsOf(state)
  if (!given.length) {
    return `${load}sampler = ls.Sampler(${keywords(settings)})
out = ls.generate(lm, ${text}, sampler,
                  max_new_tokens=${n})
print(out.texts[0])
`
  }
  const {seed: _, ...rest} = settings, comma = Object.keys(rest).length ? ', ' : ''
  return `import torch
${load}ids, _ = lm.encode(${text})
start = ids.shape[1]
given = {${given.join(', ')}}    # forced, or drawn under other settings
seed = ls.row_seeds(${seed}, ids)[0].item()    # as \`generate\` makes it
sampler = ls.Sampler(${keywords(rest)}${comma}seed=seed)
for i in range(${n}):
    token = sampler(lm.next_logits(ids), ids, position=i)
    if i in given: token = torch.tensor([given[i]])
    ids = torch.cat([ids, token[:, None]], 1)
print(lm.decode(ids[0, start:].tolist()))
`
}

/** A value of plain JSON as Python writes it */
export function pythonValue(value) {
  if (value === null || value === undefined) return 'None'
  if (typeof value === 'boolean') return value ? 'True' : 'False'
  if (typeof value === 'string') return pythonText(value)
  if (typeof value === 'number') {
    if (Number.isFinite(value)) return String(value)
    return `float('${value < 0 ? '-' : ''}inf')`
  }
  if (Array.isArray(value)) return `[${value.map(pythonValue).join(', ')}]`
  const pairs = Object.entries(value).map(([k, v]) => `${pythonText(k)}: ${
    pythonValue(v)}`)
  return `{${pairs.join(', ')}}`
}

/** How a knob is written: what is an object or a tuple in Python is no JSON */
function knobText(name, value) {
  if (name === 'adaptive') {
    const {name: kind, ...knobs} = value
    const words = Object.entries(knobs).map(([k, v]) => `${k}=${pythonValue(v)}`)
    return `ls.${kind}(${words.join(', ')})`
  }
  if (name === 'dynamic_temperature') return `(${value.map(pythonValue).join(', ')})`
  if (name !== 'logit_bias') return pythonValue(value)
  const entries = value.map(([id, b]) => `${pythonValue(id)}: ${pythonValue(b)}`)
  return `{${entries.join(', ')}}`
}

/** A sampler as Python shows it: the steps in their order, then what they need */
export function samplerText(settings, {ORDERS, STEPS}) {
  const {order = 'transformers', seed, ...knobs} = settings
  const steps = (Array.isArray(order) ? order : ORDERS[order]).filter(n => n in knobs)
  const names = [...steps, ...steps.flatMap(n => STEPS[n].extra)]
  const words = names.filter(n => n in knobs).map(n => [n, knobs[n]])
    .map(([name, value]) => `${name}=${knobText(name, value)}`)
  if (knobs.allowed_token_ids) words.push("processors={'allowed_token_ids': allowed}")
  if (order !== 'transformers') words.push(`order=${pythonValue(order)}`)
  if (seed !== undefined) words.push(`seed=${seed}`)
  return `Sampler(${words.join(', ')})`
}
