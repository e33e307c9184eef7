// "Same settings, another answer": a configuration of vLLM, llama.cpp, transformers or
// OpenAI, read as its system reads it; what its order keeps of a real distribution, and
// where the orders of other systems part from it.

import {pythonValue, visible} from '../python_text.js'
import {PAGE, Status, button, copied, element, percent, tokenLabel} from './dom.js'
import {parseLiteral} from './literal.js'
import {stepLine} from './playground.js'
import {fieldsOf, readSettingsState, writeSettingsState} from './state.js'

const SYSTEM_NAMES = {vllm: 'vLLM', llama_cpp: 'llama.cpp',
                      transformers: 'transformers', openai: 'OpenAI'}
const ORDER_TITLES = {vllm: 'vLLM', 'llama.cpp': 'llama.cpp', mlx: 'mlx-lm',
                      transformers: 'transformers', own: 'its own list'}
const READERS = {vllm: 'from_vllm', llama_cpp: 'from_llama_cpp', openai: 'from_openai',
                 transformers: 'from_generation_config'}
const EXAMPLES = {
  'vLLM, with a seed': ['vllm', 'SamplingParams(temperature=1.5, top_p=0.9, '
                        + 'min_p=0.05, seed=5)'],
  'the same words for llama.cpp': ['llama_cpp', '{"temperature": 1.5, "top_p": 0.9, '
                                   + '"min_p": 0.05, "seed": 5}'],
  'a model’s own, with top-k': ['transformers', 'GenerationConfig(do_sample=True, '
                                + 'temperature=0.6, top_k=20, top_p=0.95)'],
  'llama.cpp with XTC and DRY': ['llama_cpp', '{"xtc_probability": 1, "temperature": '
                                 + '1.2, "dry_multiplier": 0.8}'],
}
const PAUSE = 400                    // milliseconds after the last letter

const many = n => n.toLocaleString('en')
const tokens = n => `${many(n)} token${n === 1 ? '' : 's'}`

/** What the view shows of a configuration */
async function read({engine}, {system, text, prompt}) {
  return engine.call('configured', {system, given: parseLiteral(text), prompt})
}

/** A sentence on what one order drops and another keeps */
function partText({step, count, mass, names}, drops, keeps) {
  const gone = names.map(tokenLabel).join('  ')
  const more = count > names.length ? ' …' : ''
  return element('li', {}, element('b', {}, step), ` of ${drops} drops `
    + `${tokens(count)} that ${keeps} keeps, ${percent(mass)} of its probability: `
    + `${gone}${more}`)
}

/** The first order against another */
function against(own, row) {
  const [a, b] = [own, row].map(r => ORDER_TITLES[r.order])
  const parts = [...row.less.map(p => partText(p, b, a)),
                 ...row.more.map(p => partText(p, a, b))]
  if (!parts.length) return element('li', {}, `${b} keeps the same tokens.`)
  return element('li', {}, `${b} keeps ${many(row.kept)}.`,
                 element('ul', {}, ...parts))
}

function cell(p, by) {
  if (p === null) return element('td', {class: 'llms-gone'}, `– ${by ?? ''}`)
  return element('td', {}, percent(p))
}

/** The tokens, side by side: probability in each order, or the step that dropped it */
function tableOf({rows, tokens}) {
  const head = rows.map(r => element('th', {scope: 'col'}, ORDER_TITLES[r.order]))
  const kept = rows.map(r => element('td', {}, many(r.kept)))
  const label = id => tokens.find(t => t.id === id)
  const drawn = rows.map(r => element('td', {}, r.drawn === null ? '–'
    : tokenLabel(label(r.drawn).text)))
  const line = (name, cells, props = {}) =>
    element('tr', props, element('th', {scope: 'row'}, name), ...cells)
  return element('table', {class: 'llms-orders'},
    element('thead', {}, element('tr', {}, element('th', {scope: 'col'}, 'order of'),
                                 element('th', {scope: 'col'}, 'the model'), ...head)),
    element('tbody', {}, line('tokens kept', [element('td'), ...kept]),
            line('drawn', [element('td'), ...drawn]),
            ...tokens.map(t => line(tokenLabel(t.text), [
              element('td', {}, percent(t.before)),
              ...t.probs.map((p, i) => cell(p, t.by[i]))]))))
}

export class SettingsView {
  /** As `LikelyMap` */
  constructor(root, first, source = PAGE, state = {}) {
    this.source = source
    const fields = fieldsOf('settings', source.hash())
    this.state = fields ? readSettingsState(fields, state) : {...state}
    this.asked = 0
    this.build(root)
    this.write()
    if (fields) {
      root.scrollIntoView()
      this.refresh()
    } else this.show(first)
    addEventListener('hashchange', () => this.follow())
  }

  /** Somebody pasted the address of another state */
  follow() {
    const fields = fieldsOf('settings', this.source.hash())
    if (!fields) return
    this.state = readSettingsState(fields, this.state)
    this.write()
    this.refresh()
  }

  build(root) {
    const typed = name => ({input: e => this.change({[name]: e.target.value})})
    this.status = new Status(this.source)
    this.system = element('select', {on: {change: e => this.change({
      system: e.target.value})}}, ...Object.entries(SYSTEM_NAMES).map(
      ([value, name]) => element('option', {value}, name)))
    this.text = element('textarea', {rows: 3, spellcheck: false, maxLength: 4000,
                                     class: 'llms-code', on: typed('text')})
    this.prompt = element('input', {type: 'text', spellcheck: false, maxLength: 4000,
                                    on: typed('prompt')})
    const link = button('Copy link', () => {
      this.source.keep(writeSettingsState(this.state))
      copied(location.href, this.status.text)
    })
    const examples = Object.entries(EXAMPLES).map(([name, [system, text]]) =>
      button(name, () => this.choose({system, text})))
    this.out = element('div', {class: 'llms-read'})
    const field = (name, input) =>
      element('label', {class: 'llms-field'}, element('span', {}, name), input)
    root.replaceChildren(
      element('div', {class: 'llms-fields'}, field('Written for', this.system)),
      field('Configuration: JSON, a dict, or a call', this.text),
      field('Look at the token after', this.prompt),
      element('div', {class: 'llms-row-of-buttons'},
              button('Read', () => this.choose({}), {class: 'llms-strong'}),
              ...this.source.linked ? [link] : []),
      element('div', {class: 'llms-row-of-buttons', role: 'group',
                      'aria-label': 'examples'}, ...examples),
      this.status.row, this.out)
  }

  /** The state in the fields */
  write() {
    for (const name of ['system', 'text', 'prompt']) this[name].value = this.state[name]
  }

  /** Something was typed: it is read when the model is there, and the reader pauses */
  async change(part) {
    Object.assign(this.state, part)
    this.out.classList.add('llms-old')
    const asked = ++this.asked
    await new Promise(done => setTimeout(done, PAUSE))
    if (asked === this.asked && this.source.ready()) this.refresh()
    else if (asked === this.asked) this.status.say('Press Read.')
  }

  choose(part) {
    Object.assign(this.state, part)
    this.write()
    return this.refresh()
  }

  async refresh() {
    const asked = ++this.asked
    try {
      const api = await this.status.engine()
      const said = await read(api, this.state)
      if (asked !== this.asked) return
      this.source.keep(writeSettingsState(this.state))
      this.show(said)
      this.status.say(`Read, and computed ${this.source.where}.`)
    } catch (error) {
      if (asked !== this.asked) return
      this.out.classList.add('llms-old')
      this.status.say(`That does not work: ${visible(error.message)}`)
    }
  }

  show(said) {
    this.shown = said
    const {sampler, call, lost, rows, seed} = said, [own, ...others] = rows
    const lines = Object.entries(lost).map(([key, why]) =>
      element('li', {}, element('b', {}, visible(key)), `: ${visible(why)}`))
    const calls = Object.entries(call).map(([k, v]) => `${k}=${pythonValue(v)}`)
    const open = own.order
    const list = row => element(
      'details', {open: row.order === open},
      element('summary', {}, `What each step does, in the order of `
                             + ORDER_TITLES[row.order]),
      element('ol', {class: 'llms-steps-list'}, ...row.steps.slice(1).map(stepLine)))
    this.out.classList.remove('llms-old')
    this.out.replaceChildren(
      element('p', {class: 'llms-head'}, 'Read as'),
      element('pre', {tabIndex: 0, 'aria-label': 'the sampler in Python'},
              visible(sampler)),
      ...calls.length ? [element('p', {}, 'For the call: ', element(
        'code', {}, visible(calls.join(', '))))] : [],
      ...lines.length ? [element('p', {class: 'llms-head'}, 'Not honoured: another '
        + 'answer than there'), element('ul', {}, ...lines)] : [],
      element('p', {class: 'llms-head'}, `The same knobs in four orders: `
        + `${ORDER_TITLES[own.order]} keeps ${tokens(own.kept)}`),
      element('ul', {class: 'llms-steps-list'}, ...others.map(r => against(own, r))),
      element('div', {class: 'llms-wide', tabIndex: 0, role: 'region',
                      'aria-label': 'tokens in each order'}, tableOf(said)),
      element('p', {class: 'llms-note'}, `A dash names the step that dropped the `
        + `token. Drawn: by seed ${seed}, with the same noise in each order.`),
      ...rows.map(list),
      element('details', {}, element('summary', {}, 'The same in Python'),
              element('pre', {tabIndex: 0, 'aria-label': 'the same in Python'},
                      this.python(said))))
  }

  python({lost}) {
    const {system, text, prompt} = this.state, names = Object.keys(lost)
    let given = text
    try { given = pythonValue(parseLiteral(text)) } catch { /* an old text is shown */ }
    const accept = names.length ? `, accept=${pythonValue(names)}` : ''
    return `from llm_sampling.explorer import in_orders, parted
${this.source.python}
given = ${visible(given)}
sampler = ls.Sampler.${READERS[system]}(given${accept})
logits, (ids, _) = lm.next_logits(${pythonValue(prompt)}), lm.encode(${
  pythonValue(prompt)})
chains = in_orders(sampler.lend(lm.tokenizer), logits, ids, position=0)
own, *others = chains
for name in others:
    print(name, parted(chains[own], chains[name]), parted(chains[name], chains[own]))
`
  }
}
