// The same tokens in Python: a call to copy.

import {knobText, pythonText} from '../python_text.js'
import {SLIDERS} from './state.js'
import {FIRST} from './strategies.js'

/** Keywords of a sampler */
export function keywords(settings) {
  const isSeed = v => typeof v === 'string' && /^-?\d+$/.test(v)    // too long a number
  const value = (k, v) => isSeed(v) ? v : knobText(k, v)
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
