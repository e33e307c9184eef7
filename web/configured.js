// A configuration of another system at one token: the sampler that it is here, what is
// not honoured, and what its steps do in the orders of four systems.

import {readConfiguration} from './configuration.js'
import {ORDERS, STEPS} from './generated.js'
import {inOrders} from './orders.js'
import {knobText, pythonValue} from './python_text.js'

const SEED = 1                       // where a configuration has none
const FEW = 4                        // tokens that are removed, or at which orders part

/**
 * @param {import('./request.js').LanguageModel} lm
 * @param {{system: string, given: Object, prompt: string}} asked `given`: the
 *   configuration, as `readConfiguration` takes it
 */
export function configured(lm, {system, given, prompt}) {
  const {settings, call, lost} = readConfiguration(system, given)
  const asked = {...settings, seed: settings.seed ?? SEED}
  const {rows, tokens} = inOrders(lm, prompt, asked)
  const named = list => list.map(({first, ...rest}) => (
    {...rest, names: first.slice(0, FEW).map(id => lm.tokenizer.name(id))}))
  const plain = step => ({...step, value: typeof step.value === 'object' ? null
    : step.value})
  return {sampler: samplerText(settings), seed: String(asked.seed), call, lost, tokens,
          rows: rows.map(row => ({...row, less: named(row.less), more: named(row.more),
                                  steps: named(row.steps).map(plain)}))}
}

/** A sampler as Python shows it: the steps in their order, then what they need */
function samplerText(settings) {
  const {order = 'transformers', seed, ...knobs} = settings
  const steps = (Array.isArray(order) ? order : ORDERS[order]).filter(n => n in knobs)
  const names = [...steps, ...steps.flatMap(n => STEPS[n].extra)]
  const words = names.filter(n => n in knobs).map(n => [n, knobs[n]])
    .map(([name, value]) => `${name}=${knobText(name, value)}`)
  if (knobs.allowed_token_ids) words.push("processors={'allowed_token_ids': allowed}")
  if (order !== 'transformers') words.push(`order=${pythonValue(order)}`)
  if (seed !== undefined) words.push(`seed=${seed}`)
  return `ls.Sampler(${words.join(', ')})`
}
