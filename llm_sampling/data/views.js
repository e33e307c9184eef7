const SIZE = 0

const HIDDEN = /(?![\n\t\u200c\u200d])[\p{Cc}\p{Cf}\p{Co}\p{Cs}\u2028\u2029]/gu

function escaped(char) {
  const code = char.codePointAt(0), hex = n => code.toString(16).padStart(n, '0')
  return code < 256 ? `\\x${hex(2)}` : code < 65536 ? `\\u${hex(4)}` : `\\U${hex(8)}`
}

function visible(text) { return text.replace(HIDDEN, escaped) }

function pythonText(text) {
  const quoted = text.replace(/[\\']/g, '\\$&').replace(/\n/g, '\\n')
    .replace(/[\t\u200c\u200d]/g, escaped)
  return `'${visible(quoted)}'`
}

function pythonValue(value) {
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

function knobText(name, value) {
  if (name === 'adaptive') {
    const {name: kind, ...knobs} = value
    const words = Object.entries(knobs).map(([k, v]) => `${k}=${pythonValue(v)}`)
    return `ls.${kind}(${words.join(', ')})`
  }
  if (name === 'amateur') return 'lm'            // the model itself
  if (name === 'dynamic_temperature') return `(${value.map(pythonValue).join(', ')})`
  if (name !== 'logit_bias') return pythonValue(value)
  const entries = value.map(([id, b]) => `${pythonValue(id)}: ${pythonValue(b)}`)
  return `{${entries.join(', ')}}`
}



function element(name, {on = {}, ...props} = {}, ...children) {
  const made = document.createElement(name)
  for (const [key, value] of Object.entries(props)) {
    if (key === 'class') made.className = value
    else if (key in made) made[key] = value
    else made.setAttribute(key, value)
  }
  for (const [event, f] of Object.entries(on)) made.addEventListener(event, f)
  made.append(...children)
  return made
}

function tokenLabel(text) {
  return visible(text).replace(/ /g, '␣').replace(/\n/g, '⏎').replace(/\t/g, '⇥')
}

function percent(p) {
  if (!p) return '0\u00a0%'
  const x = 100 * p
  return x < .1 ? '<0.1\u00a0%' : `${x.toFixed(x < 10 ? 1 : 0)}\u00a0%`
}

function slider({label, values, off, help, always = false}, moved) {
  let list = [...values]
  const said = v => v === off && !always ? 'off' : v === true ? 'on' : String(v)
  const text = element('output')
  const input = element('input', {
    type: 'range', min: 0, step: 1, title: help, 'aria-label': label,
    on: {input: () => moved(list[Number(input.value)])}})
  const show = value => {
    const v = value ?? off
    if (!list.includes(v)) list = [...list, v].sort((a, b) => a - b)
    Object.assign(input, {max: list.length - 1, value: list.indexOf(v)})
    text.textContent = said(v)
    input.setAttribute('aria-valuetext', said(v))
  }
  const row = element('label', {class: 'llms-knob', title: help},
                      element('span', {}, label), input, text)
  return {row, show}
}

function button(text, pressed, props = {}) {
  return element('button', {type: 'button', ...props, on: {click: pressed}}, text)
}

async function copied(text, note) {
  try {
    await navigator.clipboard.writeText(text)
    note.replaceChildren('Copied.')
  } catch {
    const field = element('input', {readOnly: true, value: text, class: 'llms-copy',
                                    'aria-label': 'to be copied'})
    note.replaceChildren('Copy this: ', field)
    field.select()
  }
}

const HERE = document.currentScript?.src ?? ''

function dress() {
  if (document.querySelector('link[href$="views.css"]')) return
  const href = new URL('views.css', HERE).href
  document.head.append(element('link', {rel: 'stylesheet', href}))
}

let coming

function engineScript() {
  coming ??= new Promise((resolve, reject) => {
    const failed = () => { coming = null; reject(new Error('the engine did not load')) }
    document.head.append(element('script', {
      src: new URL('llm_sampling.js', HERE).href,
      on: {load: () => resolve(globalThis.llmSampling), error: failed}}))
  })
  return coming
}

/* global SIZE -- of the weights in bytes, set by tools/web.py */
const MEGABYTES = (SIZE / 1e6).toFixed(0)

async function readyEngine(status) {
  const api = await engineScript(), {engine} = api
  if (engine.ready) return api
  status.bar.hidden = false
  status.say(`Loading the model, once: ${MEGABYTES} MB …`)
  try {
    await engine.load(({loaded, total}) => {
      status.bar.value = loaded / total
      const here = (loaded / 1e6).toFixed(0)
      status.say(`Loading the model, once: ${here} of ${MEGABYTES} MB`)
    })
    engine.ready = true
    status.say('The model is here: all runs on this page.')
  } finally { status.bar.hidden = true }
  return api
}

const PAGE = {
  offer: `The model (${MEGABYTES} MB) comes with the first press, once, and runs on `
    + 'this page.',
  python: 'import llm_sampling as ls\n\nlm = ls.load()\n',
  ends: [0],                       // ids that end a text
  linked: true,                    // has a state an address?
  api: readyEngine,
  ready: () => globalThis.llmSampling?.engine.ready,     // to be asked in passing
  where: 'on this page',
  hash: () => location.hash,
  keep: fragment => history.replaceState(history.state, '', fragment),
}

const UNLINKED = {linked: false, hash: () => '', keep: () => {}}

class Status {
  constructor(source = PAGE) {
    this.source = source
    this.text = element('span', {role: 'status'})
    this.bar = element('progress', {max: 1, value: 0, hidden: true,
                                    'aria-label': 'model loaded'})
    this.row = element('div', {class: 'llms-status'}, this.text, this.bar)
  }

  say(...parts) { this.text.replaceChildren(...parts) }

  offer() { this.say(this.source.offer) }

  engine() { return this.source.api(this) }
}


const STRATEGIES = {
  greedy: {name: "greedy", settings: {temperature: 0}},
  draw: {name: "plain draw", settings: {temperature: 1}},
  hot: {name: "temperature 1.5", settings: {temperature: 1.5}},
  cool: {name: "temperature .7", settings: {temperature: 0.7}},
  top_k: {name: "top-k 40", settings: {top_k: 40}},
  top_p: {name: "top-p .9", settings: {top_p: 0.9}},
  min_p: {name: "min-p .1", settings: {min_p: 0.1}},
  typical: {name: "typical .9", settings: {typical_p: 0.9}},
  dry: {name: "greedy with DRY .8", settings: {temperature: 0, dry_multiplier: 0.8}},
  mirostat: {
    name: "Mirostat 2",
    settings: {adaptive: {name: "Mirostat2", tau: 3, eta: 0.1}},
  },
  beams: {name: "4 beams", search: "beam_search", options: {num_beams: 4}},
  forced: {
    name: "4 beams that say “gold”",
    search: "constrained_beam_search",
    options: {num_beams: 4, force_words_ids: [" gold"]},
  },
  best: {
    name: "best of 4",
    search: "best_of_n",
    options: {n: 4},
    settings: {temperature: 1},
  },
  mbr: {
    name: "most alike of 4",
    search: "minimum_bayes_risk",
    options: {n: 4},
    settings: {temperature: 1},
  },
  contrastive: {
    name: "contrastive search",
    search: "contrastive_search",
    options: {top_k: 4, penalty_alpha: 0.6},
  },
  difference: {
    name: "less its last 3 tokens",
    search: "contrastive_decoding",
    options: {amateur: "self", amateur_context: 3},
  },
  dola: {name: "DoLa, exit 2", search: "dola", options: {dola_layers: [2]}},
}

const AT_FIRST = ["greedy", "draw", "top_p", "beams"]

const FIRST = {
  prompt: "Once upon a time there was a",
  seed: "1",
  written: [],
  order: "transformers",
  knobs: {temperature: 0.8, top_p: 0.9},
}

const FIRST_MAP = {
  prompt: "In the forest there lived",
  depth: 5,
  nodes: 150,
  search: "none",
  step: 1,
  at: [],
}



const SLIDERS = {
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
const MAIN = ['temperature', 'top_k', 'top_p', 'min_p']
const OTHERS = ['repetition_penalty', 'frequency_penalty', 'presence_penalty',
                     'dry_multiplier', 'xtc_probability', 'xtc_threshold']
const SYSTEMS_READ = ['vllm', 'llama_cpp', 'transformers', 'openai']
const ORDER_NAMES = ['transformers', 'vllm', 'llama.cpp', 'mlx']
const LONGEST = 4000       // letters of a prompt; tokens of a text

function fieldsOf(name, hash) {
  const [head, ...rest] = hash.replace(/^#/, '').split('?')
  return head === name ? new URLSearchParams(rest.join('?')) : null
}

function seedOf(text, otherwise = '1') {
  return /^-?\d{1,18}$/.test(text ?? '') ? String(BigInt(text)) : otherwise
}

function promptOf(fields) {
  return (fields.get('prompt') ?? FIRST.prompt).slice(0, LONGEST)
}

function writtenOf(text) {
  return (text ?? '').split('.').slice(0, LONGEST)
    .map(s => s.match(/^(\d{1,4})([fk]?)$/)).filter(m => m && Number(m[1]) < 4096)
    .map(([, id, why]) => ({id: Number(id), why}))
}

function readPlay(fields) {
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

function writePlay({prompt, knobs, order, seed, written}) {
  const fields = new URLSearchParams({prompt, ...knobs})
  if (order !== FIRST.order) fields.set('order', order)
  fields.set('seed', seed)
  if (written.length) {
    fields.set('written', written.map(({id, why}) => id + why).join('.'))
  }
  return `#play?${fields}`
}

function readArena(fields, known) {
  const tokens = Number(fields.get('tokens')), asked = (fields.get('with') ?? '')
  const names = asked.split('.').filter((n, i, all) => Object.hasOwn(known, n)
                                                       && all.indexOf(n) === i)
  return {prompt: promptOf(fields), seed: seedOf(fields.get('seed')), names,
          tokens: Number.isInteger(tokens) && tokens > 0 ? Math.min(tokens, 400) : 40}
}

function writeArena({prompt, seed, tokens, names}) {
  return `#arena?${new URLSearchParams({prompt, seed, tokens, with: names.join('.')})}`
}

function readMap(fields, searches) {
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

function writeMap({prompt, depth, nodes, search, step, at}) {
  const fields = new URLSearchParams({prompt, depth, nodes})
  if (search !== FIRST_MAP.search) {
    fields.set('search', search)
    fields.set('step', step)
  }
  if (at.length) fields.set('at', at.join('.'))
  return `#map?${fields}`
}

function readSettingsState(fields, before) {
  const of = name => (fields.get(name) ?? before[name]).slice(0, LONGEST)
  const system = fields.get('system')
  return {system: SYSTEMS_READ.includes(system) ? system : before.system,
          text: of('text'), prompt: of('prompt')}
}

function writeSettingsState({system, text, prompt}) {
  return `#settings?${new URLSearchParams({system, prompt, text})}`
}



function keywords(settings) {
  const isSeed = v => typeof v === 'string' && /^-?\d+$/.test(v)    // too long a number
  const value = (k, v) => isSeed(v) ? v : knobText(k, v)
  return Object.entries(settings).map(([k, v]) => `${k}=${value(k, v)}`).join(', ')
}

function settingsOf({knobs, order, seed}) {
  const named = Object.entries(knobs).map(([k, v]) => SLIDERS[k].as?.(v) ?? {[k]: v})
  return {...Object.assign({}, ...named), ...order !== FIRST.order && {order}, seed}
}

function pythonOf(state, load) {
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



const TOKENS = 40
const METHODS = {beam_search: 'beams'}      // whose names differ from Python's

function repOf(ids, n = 4) {
  const seen = new Set(), count = ids.length - n + 1
  for (let i = 0; i < count; i++) seen.add(ids.slice(i, i + n).join())
  return count > 0 ? 1 - seen.size / count : NaN
}

function mean(values) {
  return values.reduce((a, b) => a + b, 0) / values.length
}

function pythonCall(state, key) {
  const {prompt, seed, tokens} = state, {search, options, settings} = STRATEGIES[key]
  const text = pythonText(prompt)
  const sampler = settings && `ls.Sampler(${keywords({...settings, seed})})`
  if (!search) {
    return `ls.generate(lm, ${text}, ${sampler}, max_new_tokens=${tokens})`
  }
  const words = keywords({...options, max_new_tokens: tokens})
  return `ls.${search}(lm, ${text}, ${words}${sampler ? `, sampler=${sampler}` : ''})`
}

class Panel {
  constructor(key) {
    this.text = element('p', {class: 'llms-arena-text'})
    const cell = name => {
      const value = element('dd', {}, '–')
      return [value, element('div', {}, element('dt', {}, name), value)]
    }
    const [rep, repRow] = cell('rep-4'), [logp, logpRow] = cell('mean log-prob.')
    const [read, readRow] = cell('tokens evaluated')
    Object.assign(this, {key, rep, logp, read})
    this.root = element('section', {class: 'llms-panel',
                                    'aria-label': STRATEGIES[key].name},
                        element('p', {class: 'llms-head'}, STRATEGIES[key].name),
                        this.text, element('dl', {}, repRow, logpRow, readRow))
  }

  show(prompt, said, ids, logprobs) {
    this.text.replaceChildren(element('bdi', {class: 'llms-prompt'}, visible(prompt)),
                              element('bdi', {}, visible(said)))
    const rep = repOf(ids)
    this.rep.textContent = Number.isFinite(rep) ? percent(rep) : '–'
    if (logprobs.length) this.logp.textContent = mean(logprobs).toFixed(2)
  }

  fill(prompt, {text, rep_4: rep, logprob, evaluated}) {
    this.show(prompt, text, [], [logprob])
    this.measured(rep, evaluated)
  }

  measured(rep, evaluated) {
    this.rep.textContent = Number.isFinite(rep) ? percent(rep) : '–'
    this.read.textContent = evaluated.toLocaleString('en')
  }

  async run(api, {prompt, seed, tokens}, signal) {
    const {search, options, settings} = STRATEGIES[this.key], ids = [], logprobs = []
    let written = ''
    const step = search ? ({said, live, ended}) => {
      this.show(prompt, said, (live[0] ?? ended[0]).ids, [])
    } : ({id, text, logprob}) => {
      ids.push(id)
      logprobs.push(logprob)
      this.show(prompt, written += text, ids, logprobs)
    }
    const params = {prompt, options: {max_new_tokens: tokens, ...options},
                    settings: settings ? {...settings, seed} : null}
    const method = METHODS[search] ?? search ?? 'generate'
    const said = await api.engine.call(method, params, {step, signal})
    if (!said) return
    const [row] = said.rows
    this.show(prompt, row.text, row.ids, row.logprobs)
    this.measured(repOf(row.ids), said.stats.tokens_evaluated)
  }
}

class Arena {
  constructor(root, first, source = PAGE, state = {}) {
    this.source = source
    const fields = fieldsOf('arena', source.hash())
    this.state = fields ? readArena(fields, STRATEGIES)
      : {prompt: FIRST.prompt, seed: FIRST.seed, tokens: TOKENS, names: AT_FIRST,
         ...state}
    this.build(root)
    this.show()
    if (fields) this.run()
    else if (first) {
      this.panels.forEach((panel, i) => panel.fill(this.state.prompt, first[i]))
      this.status.say('Python wrote these texts. Press Run: the page writes them, too.')
    }
    addEventListener('hashchange', () => this.follow())
  }

  follow() {
    const now = fieldsOf('arena', this.source.hash())
    if (!now) return
    this.stop()
    this.state = readArena(now, STRATEGIES)
    this.run()
  }

  build(root) {
    this.status = new Status(this.source)
    const set = (name, read) => ({change: e => {
      this.stop()
      this.state[name] = read(e.target.value)
      this.show()
    }})
    this.prompt = element('textarea', {rows: 2, spellcheck: false, maxLength: 4000,
                                       on: set('prompt', v => v)})
    this.seed = element('input', {type: 'text', inputMode: 'numeric', maxLength: 19,
                                  on: set('seed', v => seedOf(v.trim(),
                                                              this.state.seed))})
    this.tokens = element('input', {
      type: 'number', min: 1, max: 400,
      on: set('tokens', v => Math.max(1, Math.min(400, Math.round(v) || TOKENS)))})
    this.boxes = Object.fromEntries(Object.keys(STRATEGIES).map(key => [
      key, element('input', {type: 'checkbox', on: {change: () => this.choose()}})]))
    this.runButton = button('▶ Run', () => this.running ? this.stop() : this.run(),
                            {class: 'llms-strong'})
    const link = button('Copy link', () => {
      this.source.keep(writeArena(this.state))
      copied(location.href, this.status.text)
    })
    this.grid = element('div', {class: 'llms-arena', role: 'group',
                                'aria-label': 'the texts'})
    this.code = element('pre', {tabIndex: 0, 'aria-label': 'the same in Python'})
    const field = (name, input) =>
      element('label', {class: 'llms-field'}, element('span', {}, name), input)
    root.replaceChildren(
      field('Beginning', this.prompt),
      element('div', {class: 'llms-fields'}, field('seed', this.seed),
              field('tokens at most', this.tokens)),
      element('div', {class: 'llms-choices', role: 'group', 'aria-label': 'strategies'},
              ...Object.entries(this.boxes).map(([key, box]) =>
                element('label', {class: 'llms-choice'}, box, STRATEGIES[key].name))),
      element('div', {class: 'llms-row-of-buttons'}, this.runButton,
              ...this.source.linked ? [link] : []),
      this.status.row, this.grid,
      element('details', {}, element('summary', {}, 'The same texts in Python'),
              this.code))
  }

  choose() {
    this.stop()
    this.state.names = Object.keys(this.boxes).filter(k => this.boxes[k].checked)
    this.show()
  }

  show() {
    const {prompt, seed, tokens, names} = this.state
    Object.assign(this.prompt, {value: prompt})
    Object.assign(this.seed, {value: seed})
    Object.assign(this.tokens, {value: tokens})
    for (const [key, box] of Object.entries(this.boxes)) {
      box.checked = names.includes(key)
    }
    this.panels = names.map(key => new Panel(key))
    for (const panel of this.panels) panel.show(prompt, '', [], [])
    this.grid.replaceChildren(...this.panels.map(p => p.root))
    this.runButton.disabled = !names.length
    this.code.textContent = [this.source.python.trimEnd(),
                             ...names.map(k => pythonCall(this.state, k))].join('\n')
  }

  stop() { this.running?.abort() }

  async run() {
    this.show()
    this.source.keep(writeArena(this.state))
    const stop = this.running = new AbortController()
    this.runButton.textContent = '■ Stop'
    try {
      const api = await this.status.engine(), {signal} = stop
      this.status.say('Writing …')
      await Promise.all(this.panels.map(p => p.run(api, this.state, signal)))
      const word = signal.aborted ? 'Stopped.' : 'All have written.'
      if (this.running === stop) this.status.say(word)
    } catch (error) {
      stop.abort()
      this.status.say(`That does not work: ${visible(error.message)}`)
    } finally {
      if (this.running === stop) {
        this.running = null
        this.runButton.textContent = '▶ Run'
      }
    }
  }
}



const PACE = 110                   // milliseconds between tokens

const wait = ms => new Promise(done => setTimeout(done, ms))

function surprisal(p) { return p ? -Math.log(p) : Infinity }

function barRow(pressed) {
  const name = element('span', {class: 'llms-label'}), next = element('span')
  const before = element('span', {class: 'llms-before'})
  const after = element('span', {class: 'llms-after'})
  const value = element('span', {class: 'llms-value'})
  const row = element('button', {type: 'button', class: 'llms-token-row',
                                 on: {click: () => pressed(row.token)}},
                      name, element('span', {class: 'llms-track'}, before, after),
                      value, next)
  const show = (token, most, marks) => {
    row.token = token
    row.hidden = !token
    if (!token) return
    const was = token.probs[0] ?? 0, is = token.probs[token.probs.length - 1] ?? 0
    name.textContent = tokenLabel(token.text)
    before.style.width = `${100 * was / most}%`
    after.style.width = `${100 * is / most}%`
    const left = is ? percent(is) : 'removed', stepped = token.probs.length > 1
    value.textContent = percent(was) + (stepped ? ` → ${left}` : '')
    row.classList.toggle('llms-gone', !is)
    next.className = marks.length ? 'llms-mark' : ''
    next.textContent = marks.join(', ')
    row.setAttribute('aria-label', [
      `write ${tokenLabel(token.text)}`, percent(was) + (stepped ? ' before' : ''),
      ...stepped ? [is ? `${left} after` : left] : [], ...marks].join(', '))
  }
  return {row, show}
}

class Playground {
  get bars() { return 10 }         // tokens shown

  constructor(root, first, source = PAGE, state = {}) {
    this.source = source
    const fields = fieldsOf('play', source.hash())
    this.state = fields ? readPlay(fields)
      : {...FIRST, knobs: {...FIRST.knobs}, ...state, written: []}
    this.entries = []              // of each written token: text, chance, others
    this.past = []                 // written tokens before each change
    this.at = null                 // the place looked at; null is the end
    this.shown = null              // what `explain` says of it
    this.asked = 0
    this.playing = false
    this.stale = true              // `shown` is not of this state
    this.build(root)
    this.showState()
    if (fields) this.refresh()
    else if (first) {
      this.status.offer()
      this.showPlace(first)
    }
    addEventListener('hashchange', () => this.follow())
  }

  follow() {
    const fields = fieldsOf('play', this.source.hash())
    if (!fields) return
    Object.assign(this, {state: readPlay(fields), entries: [], past: [], at: null,
                         playing: false, stale: true})
    this.showState()
    this.refresh()
  }

  build(root) {
    const id = `llms-${Math.random().toString(36).slice(2)}`
    this.status = new Status(this.source)
    this.prompt = element('textarea', {id, rows: 2, spellcheck: false, maxLength: 4000,
                                       on: {input: () => this.newPrompt()}})
    this.playButton = button('▶ Play', () => this.play(), {class: 'llms-strong'})
    this.stepButton = button('Step', () => this.once())
    this.undoButton = button('Undo', () => this.undo())
    this.clearButton = button('Start again', () => this.clear())
    this.linkButton = button('Copy link', () => this.copyLink())
    this.text = element('div', {class: 'llms-text', role: 'group',
                                'aria-label': 'the text; arrow keys go from token to '
                                  + 'token',
                                on: {keydown: e => this.walk(e)}})
    this.note = element('p', {class: 'llms-note'})
    this.head = element('p', {class: 'llms-head'})
    this.endButton = button('to the end', () => this.look(null))
    this.rows = Array.from({length: this.bars + 2}, () => barRow(t => this.force(t)))
    this.steps = element('ol', {class: 'llms-steps-list'})
    this.code = element('pre', {tabIndex: 0, 'aria-label': 'the same in Python'})
    this.title = element('label', {class: 'llms-head', htmlFor: id}, 'Type a beginning')
    this.buildKnobs([...MAIN, ...OTHERS])
    this.layOut(root)
  }

  get goOn() { return 'Play' }

  layOut(root) {
    const said = element('span', {role: 'status'})
    root.replaceChildren(
      this.title, this.prompt,
      element('div', {class: 'llms-row-of-buttons'}, this.playButton, this.stepButton,
              this.undoButton, this.clearButton,
              ...this.source.linked ? [this.linkButton] : []),
      this.status.row, this.text, this.note,
      this.columns([...MAIN, 'seed', 'dice', 'more']),
      element('details', {open: true},
              element('summary', {}, 'What each step removed, and why'), this.steps),
      element('details', {},
              element('summary', {}, 'The same tokens in Python'), this.code,
              button('Copy the code', () => copied(this.code.textContent, said)), ' ',
              said))
  }

  columns(names, ...others) {
    return element(
      'div', {class: 'llms-columns'},
      element('div', {}, this.head,
              element('div', {class: 'llms-tokens', role: 'group',
                              'aria-label': 'chances of the next token; press one to '
                                + 'write it'},
                      ...this.rows.map(r => r.row))),
      element('div', {},
              element('div', {class: 'llms-knobs', role: 'group',
                              'aria-label': 'knobs'},
                      ...names.map(n => this.knobs[n])),
              ...others))
  }

  buildKnobs(names) {
    this.sliders = Object.fromEntries(names.map(name => [
      name, slider(SLIDERS[name], v => this.turn(() => this.setKnob(name, v)))]))
    this.seed = element('input', {
      type: 'text', inputMode: 'numeric', maxLength: 19,
      on: {change: () => this.turn(() => {
        this.state.seed = seedOf(this.seed.value.trim(), this.state.seed)
      })}})
    this.order = element('select', {on: {change: () => this.turn(() => {
      this.state.order = this.order.value
    })}}, ...ORDER_NAMES.map(n => element('option', {value: n}, n)))
    const field = (name, input) =>
      element('label', {class: 'llms-knob'}, element('span', {}, name), input)
    const dice = button('Another seed', () => this.turn(() => {
      this.state.seed = String(1 + Math.floor(Math.random() * 9999))
    }))
    this.knobs = Object.fromEntries(names.map(n => [n, this.sliders[n].row]))
    Object.assign(this.knobs, {seed: field('seed', this.seed), dice,
                               order: field('order of', this.order)})
    this.buildMore()
  }

  buildMore() {
    const rows = [...OTHERS, 'order'].map(n => this.knobs[n])
    this.more = this.knobs.more = element(
      'details', {}, element('summary', {}, 'More knobs'), ...rows)
  }


  get ended() {
    const {written} = this.state
    return this.source.ends.includes(written[written.length - 1]?.id)
  }

  async explain(api, place, also = []) {
    const {prompt, written} = this.state
    const ids = written.slice(0, place).map(w => w.id)
    return api.engine.call('explain', {
      prompt, ids, settings: settingsOf(this.state), options: {top: this.bars, also}})
  }

  async refresh() {
    const asked = ++this.asked, stale = () => asked !== this.asked
    try {
      const api = await this.status.engine()
      const {written} = this.state
      for (let i = this.entries.length; i < written.length; i++) {
        if (stale()) return
        const said = await this.explain(api, i, [written[i].id])
        if (stale()) return
        this.entries.push(entryOf(said, written[i]))
        if (i % 8 === 7) this.showText()
      }
      const last = this.ended ? written.length - 1 : written.length
      const place = this.at ?? last, at = written[place]
      const said = await this.explain(api, place, at ? [at.id] : [])
      if (stale()) return
      this.showPlace(said)
      if (this.ended) {
        this.status.say('The text has ended: the model says that nothing follows. '
                        + 'Press a bar, Undo or Start again.')
      }
    } catch (error) {
      this.playing = false
      if (!stale()) this.status.say(`That does not work: ${visible(error.message)}`)
    } finally { if (!stale()) this.showState() }
  }

  async step() {
    if (this.at !== null || !this.shown || this.stale) {
      this.at = null
      await this.refresh()
    }
    const {shown} = this
    if (this.ended || !shown || this.stale || shown.drawn === null) return false
    this.write({id: shown.drawn, why: ''})
    await this.refresh()
    return !this.ended
  }

  async once() {
    this.playing = false
    this.past.push(this.saved())
    const {length} = this.entries
    await this.step()
    this.announce(length)
    this.save()
  }

  async play() {
    if (this.playing) { this.playing = false; return }
    this.playing = true
    this.past.push(this.saved())
    this.status.say('Writing …')
    this.showState()
    const {length} = this.entries
    while (this.playing && await this.step()) await wait(PACE)
    this.playing = false
    this.showState()
    this.announce(length)
    this.save()
  }

  announce(before) {
    const fresh = this.entries.slice(before), [{text, p} = {}] = fresh
    if (!fresh.length || this.ended) return
    this.status.say(fresh.length > 1 ? `${fresh.length} tokens written.`
      : `Written: ${tokenLabel(text)}, ${percent(p)}.`)
  }


  write(token) {
    this.state.written = [...this.state.written, token]
    this.entries.push(entryOf(this.shown, token))
    this.stale = true
    this.showText()
  }

  async force(token) {
    this.playing = false
    if (this.stale) return
    this.past.push(this.saved())
    const place = this.place
    this.state.written = this.state.written.slice(0, place)
    this.entries = this.entries.slice(0, place)
    this.at = null
    this.write({id: token.id, why: token.id === this.shown.drawn ? '' : 'f'})
    await this.refresh()
    this.announce(place)
    this.save()
  }

  get place() {
    const {length} = this.state.written
    return this.at ?? (this.ended ? length - 1 : length)
  }

  saved() { return {written: this.state.written, entries: [...this.entries]} }

  async undo() {
    this.playing = false
    const before = this.past.pop()
    if (!before) return
    this.state.written = before.written
    this.entries = before.entries
    await this.look(null)
    this.save()
  }

  async clear() {
    this.playing = false
    this.past.push(this.saved())
    this.state.written = []
    this.entries = []
    await this.look(null)
    this.save()
  }

  async turn(change) {
    const before = JSON.stringify(settingsOf(this.state))
    change()
    if (JSON.stringify(settingsOf(this.state)) !== before) {
      this.state.written = this.state.written.map(w => ({...w, why: w.why || 'k'}))
    }
    this.asked++                                   // what is on its way is old
    this.stale = true
    this.showState()
    this.save()
    if (!this.playing) await this.refresh()
  }

  setKnob(name, value) {
    const {[name]: _, ...rest} = this.state.knobs
    this.state.knobs = value === SLIDERS[name].off ? rest : {...rest, [name]: value}
  }

  async newPrompt() {
    this.playing = false
    Object.assign(this.state, {prompt: this.prompt.value, written: []})
    Object.assign(this, {entries: [], past: [], at: null, stale: true})
    this.asked++                                   // what is on its way is old
    this.showText()
    const typed = this.typed = {}
    await wait(350)
    if (this.typed !== typed) return
    this.save()
    await this.refresh()
  }

  async look(place) {
    this.at = place
    this.playing = false
    this.stale = true
    this.showText()
    await this.refresh()
  }

  save() { this.source.keep(writePlay(this.state)) }

  copyLink() {
    this.save()
    copied(location.href, this.status.text)
  }


  showState() {
    const {prompt, knobs, seed, order, written} = this.state
    if (this.prompt.value !== prompt) this.prompt.value = prompt
    for (const [name, {show}] of Object.entries(this.sliders)) show(knobs[name])
    this.seed.value = seed
    this.order.value = order
    this.more.open ||= order !== FIRST.order
      || Object.keys(knobs).some(n => OTHERS.includes(n))
    this.playButton.textContent = this.playing ? '❚❚ Pause' : '▶ Play'
    this.undoButton.disabled = !this.past.length
    this.clearButton.disabled = !written.length
    this.showCode()
    this.showText()
  }

  showCode() { this.code.textContent = pythonOf(this.state, this.source.python) }

  showPlace(said) {
    this.shown = said
    this.stale = false
    const {place} = this, {written} = this.state
    const most = Math.max(...said.tokens.flatMap(
      t => [t.probs[0], t.probs[t.probs.length - 1] ?? 0]))
    const marks = id => [
      ...written[place]?.id === id ? ['written here'] : [],
      ...said.drawn === id ? [`seed ${this.state.seed} draws it`] : []]
    this.rows.forEach(({show}, i) => show(said.tokens[i], most,
                                          marks(said.tokens[i]?.id)))
    const change = said.steps.length > 1 ? ', before → after' : ''
    this.head.replaceChildren(
      this.at === null ? `Chances of the next token${change}`
        : `Chances at token ${place + 1}${change} `,
      ...this.at === null ? [] : [this.endButton])
    this.steps.replaceChildren(...said.steps.slice(1).map(stepLine))
    this.showCode()
  }

  showText() {
    const focused = document.activeElement?.dataset?.place
    const inside = this.text.contains(document.activeElement)
    const spans = this.entries.map((entry, i) => this.tokenSpan(entry, i))
    if (spans.length) {
      spans[Math.min(this.tab ?? spans.length - 1, spans.length - 1)].tabIndex = 0
    }
    this.text.replaceChildren(
      element('bdi', {class: 'llms-prompt'}, visible(this.state.prompt)), ...spans)
    if (inside) spans[Math.min(Number(focused), spans.length - 1)]?.focus()
    if (!spans.length) {
      this.note.textContent = `Press ${this.goOn}, or a bar. Then the text is `
        + 'coloured: the stronger, the less the model expected the token.'
    } else this.explainToken(Math.min(this.at ?? spans.length - 1, spans.length - 1))
  }

  tokenSpan(entry, i) {
    const {why} = this.state.written[i], s = Math.min(1, surprisal(entry.p) / 7)
    const tell = () => this.explainToken(i)
    const span = element('span', {
      class: `llms-token${why === 'f' ? ' llms-forced' : ''}`
        + `${i === this.at ? ' llms-here' : ''}`,
      role: 'button', tabIndex: -1, 'data-place': i,
      'aria-label': `${tokenLabel(entry.text)}, ${percent(entry.p)}`
        + `${why === 'f' ? ', forced' : ''}`,
      on: {mouseenter: tell, focus: () => { this.tab = i; tell() },
           click: () => this.look(i)}}, visible(entry.text))
    span.style.setProperty('--surprise', `${Math.round(s * 50)}%`)
    return span
  }

  explainToken(i) {
    const {text, p, others} = this.entries[i], {why} = this.state.written[i]
    const said = others.map(o => `${tokenLabel(o.text)} ${percent(o.p)}`).join(', ')
    const how = why === 'f' ? ' You forced it.' : ''
    this.note.replaceChildren(
      element('b', {}, tokenLabel(text)),
      ` had ${percent(p)}, ${surprisal(p).toFixed(1)} nats of surprise.${how} `
      + `Others: ${said}. Press the token to branch there.`)
  }

  walk(event) {
    const place = Number(event.target.dataset?.place), all = [...this.text.children]
    if (Number.isNaN(place)) return
    const by = {ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity}[event.key]
    if (by !== undefined) {
      const to = Math.max(0, Math.min(this.entries.length - 1, place + by))
      all[to + 1].focus()
    } else if (event.key === 'Enter' || event.key === ' ') this.look(place)
    else return
    event.preventDefault()
  }
}

function entryOf(said, {id}) {
  const token = said.tokens.find(t => t.id === id) ?? {text: '?', probs: [0]}
  const others = said.tokens.filter(t => t.id !== id).slice(0, 5)
    .map(t => ({text: t.text, p: t.probs[0]}))
  return {text: token.text, p: token.probs[0] ?? 0, others}
}

function stepLine({step, value, kept, removed, mass, names, why}) {
  const knob = ['number', 'string'].includes(typeof value) ? ` ${value}` : ''
  const many = n => n.toLocaleString('en')
  const gone = names.map(tokenLabel).join('  ')
  const tokens = removed === 1 ? 'token' : 'tokens'
  const what = removed
    ? `removed ${many(removed)} ${tokens}, ${percent(mass)} of the mass, `
      + `the likeliest: ${gone}; left: ${many(kept)}. Why: ${why}.`
    : `removed none. What it does: ${why}.`
  return element('li', {}, element('b', {}, `${step}${knob}`), ` ${what}`)
}



class Lens extends Playground {
  constructor(root, first, source = PAGE, {show, ...state} = {}) {
    super(root, first, {...source, ...UNLINKED}, {show, ...state})
  }

  get bars() { return 8 }

  get goOn() { return 'Step' }

  buildKnobs() { super.buildKnobs(this.state.show.filter(n => n in SLIDERS)) }

  buildMore() { this.more = element('details') }

  layOut(root) {
    this.title.textContent = 'Your own beginning'
    this.prompt.rows = 1
    root.replaceChildren(
      this.title, this.prompt, this.columns(this.state.show, this.steps),
      element('div', {class: 'llms-row-of-buttons'}, this.stepButton, this.undoButton,
              this.clearButton),
      this.status.row, this.text, this.note,
      element('details', {}, element('summary', {}, 'The same tokens in Python'),
              this.code))
  }
}



const SEARCHES = {none: 'none', beams2: '2 beams', beams4: '4 beams',
                  diverse4: '4 diverse beams', drawn4: '4 stochastic beams',
                  tree: 'tree search'}
const CALLS = {beams: 'beams', diverse: 'diverse_beam_search',
               drawn: 'stochastic_beam_search'}
const SIMULATIONS = 30
const LABEL = 15                   // pixels that a label needs
const SHOWN = 1.3                  // pixels below which a place is not drawn
const MORE = 150                   // beginnings of a press
const FRAME = 80                   // milliseconds between pictures of a map that grows

function placed(above, ids, {text, logprob, before, share, ended = false}) {
  return {ids, text, share, ended, mass: Math.exp(logprob),
          top: above.top + above.mass * before}
}

const ROOT = {ids: [], text: '', share: 1, mass: 1, top: 0, ended: false}
const keyOf = ids => ids.join('.')

class LikelyMap {
  constructor(root, first, source = PAGE, state = {}) {
    this.source = source
    const fields = fieldsOf('map', source.hash())
    this.state = fields ? readMap(fields, SEARCHES) : {...FIRST_MAP, ...state}
    this.first = first
    this.build(root)
    this.reset()
    if (fields) this.restore()
    else if (first) {
      first.forEach((node, i) => this.enter(node, i))
      this.status.offer()
    }
    this.showState()
    addEventListener('hashchange', () => this.follow())
    new ResizeObserver(() => this.draw()).observe(this.map)
  }

  follow() {
    const fields = fieldsOf('map', this.source.hash())
    if (!fields) return
    this.state = readMap(fields, SEARCHES)
    this.reset()
    this.showState()
    this.restore()
  }

  async restore() {
    await this.work(async (api, signal) => {
      await this.grow(api, signal, this.state.nodes)
      if (this.state.at.length) await this.growHere(api, signal)
      await this.search(api, signal)
    })
  }

  reset() {
    this.running?.abort()
    this.places = new Map([['', ROOT]])
    this.order = []                // beginnings, the most probable first
    this.prompt = null             // its ids, once the engine has read it
    this.steps = []                // of the search
    this.active = ''
  }

  build(root) {
    this.status = new Status(this.source)
    this.box = element('textarea', {
      rows: 2, spellcheck: false, maxLength: 4000, on: {change: () => this.change(
        {prompt: this.box.value})}})
    this.depth = element('input', {
      type: 'number', min: 1, max: 8, on: {change: () => this.change(
        {depth: Math.max(1, Math.min(8, Math.round(Number(this.depth.value)) || 4))})}})
    this.chooser = element('select', {on: {change: () => this.choose()}},
                           ...Object.entries(SEARCHES).map(([value, text]) =>
                             element('option', {value}, text)))
    this.growButton = button('▶ Grow', () => this.running ? this.running.abort()
      : this.more(), {class: 'llms-strong'})
    this.again = button('Start again', () => this.change({}))
    const link = button('Copy link', () => {
      this.save()
      copied(location.href, this.status.text)
    })
    this.back = button('‹', () => this.step(-1), {'aria-label': 'step back'})
    this.on = button('›', () => this.step(1), {'aria-label': 'next step'})
    this.slider = element('input', {
      type: 'range', min: 1, step: 1, 'aria-label': 'step of the search',
      on: {input: () => this.goTo(Number(this.slider.value))}})
    this.walk = element('div', {class: 'llms-walk'}, this.back, this.slider, this.on)
    this.caption = element('p', {class: 'llms-note', 'aria-live': 'polite'})
    this.path = element('div', {class: 'llms-path', role: 'group',
                                'aria-label': 'where the map begins'})
    this.heads = element('div', {class: 'llms-map-heads', ariaHidden: 'true'})
    const look = e => this.look(e)
    this.map = element('div', {
      class: 'llms-map', role: 'tree', 'aria-label': 'what could be written; arrow '
        + 'keys go from token to token, Enter looks closer, Escape steps back',
      on: {keydown: e => this.keys(e), click: look, mouseover: look, focusin: look}})
    this.note = element('p', {class: 'llms-note'})
    const field = (name, input) =>
      element('label', {class: 'llms-field'}, element('span', {}, name), input)
    root.replaceChildren(
      field('Beginning', this.box),
      element('div', {class: 'llms-fields'}, field('tokens at most', this.depth),
              field('search', this.chooser)),
      element('div', {class: 'llms-row-of-buttons'}, this.growButton, this.again,
              ...this.source.linked ? [link] : []),
      this.status.row, this.walk, this.caption, this.path, this.heads, this.map,
      this.note)
  }


  async work(job) {
    this.running?.abort()
    const stop = this.running = new AbortController()
    this.showState()
    try {
      const api = await this.status.engine()
      this.prompt ??= await api.engine.call('encode', {text: this.state.prompt})
      if (!stop.signal.aborted) await job(api, stop.signal)
    } catch (error) {
      if (!stop.signal.aborted) {
        this.status.say(`That does not work: ${visible(error.message)}`)
      }
    } finally {
      if (this.running === stop) this.running = null
      this.showState()
    }
  }

  async grow(api, signal, nodes) {
    let number = 0
    await api.engine.call('likeliest', {prompt: this.prompt, options: {
      num_nodes: nodes, max_new_tokens: this.state.depth}}, {signal, step: node => {
      if (!signal.aborted) this.enter(node, number++)
    }})
    this.state.nodes = this.order.length
    if (!signal.aborted) this.status.say(this.holds())
  }

  async growHere(api, signal) {
    const {at, depth} = this.state, below = []
    if (at.length >= depth) return
    await this.find(api, [at])
    await api.engine.call('likeliest', {prompt: [...this.prompt, ...at], options: {
      num_nodes: MORE / 3, max_new_tokens: depth - at.length}}, {signal, step: node => {
      if (signal.aborted) return
      const above = node.parent < 0 ? at : below[node.parent]
      below.push([...above, node.id])
      this.put(above, {...node, logprob: Math.log(node.share)
                               + Math.log(this.places.get(keyOf(above)).mass)})
    }})
  }

  async search(api, signal) {
    const {search, depth} = this.state, {prompt} = this
    this.steps = []
    if (search === 'none') return
    const steps = [], step = said => steps.push(said), options = {max_new_tokens: depth}
    if (search === 'tree') {
      await api.engine.call('tree', {prompt, options: {
        ...options, num_simulations: SIMULATIONS}}, {signal, step})
    } else {
      const kind = search.slice(0, -1), count = Number(search.slice(-1))
      const own = kind === 'drawn' ? {seed: 1}
        : {length_penalty: 0, early_stopping: 'never',
           ...kind === 'diverse' && {num_beam_groups: count}}
      await api.engine.call(CALLS[kind], {
        prompt, settings: null, options: {...options, num_beams: count, ...own}},
                            {signal, step})
    }
    if (signal.aborted) return
    await this.find(api, steps.flatMap(s => s.text ? [s.text]
      : [...s.live, ...s.ended].map(b => b.ids)))
    this.steps = steps
    this.state.step = Math.max(1, Math.min(steps.length, this.state.step))
  }

  async find(api, texts) {
    const found = await api.engine.call('locate', {prompt: this.prompt, texts})
    found.forEach((tokens, i) => tokens.forEach((token, t) => {
      const ended = this.source.ends.includes(token.id)
        || t + 1 === this.state.depth
      this.put(texts[i].slice(0, t), {...token, ended})
    }))
  }

  put(above, node) {
    const ids = [...above, node.id], key = keyOf(ids)
    if (!this.places.has(key)) {
      this.places.set(key, placed(this.places.get(keyOf(above)), ids, node))
    }
    this.later ??= setTimeout(() => this.draw(), FRAME)
    return this.places.get(key)
  }

  enter(node, number) {
    if (number < this.order.length) return
    const above = node.parent < 0 ? ROOT : this.order[node.parent]
    this.order.push(this.put(above.ids, node))
  }


  more() { return this.work(async (api, signal) => {
    if (this.state.at.length) await this.growHere(api, signal)
    else await this.grow(api, signal, this.order.length + MORE)
    if (!this.steps.length) await this.search(api, signal)
    this.save()
  }) }

  change(what) {
    Object.assign(this.state, {at: [], nodes: MORE, step: 1}, what)
    this.reset()
    this.showState()
    this.save()
    this.restore()
  }

  choose() {
    Object.assign(this.state, {search: this.chooser.value, step: 1})
    this.save()
    return this.work((api, signal) => this.search(api, signal))
  }

  step(by) { this.goTo(this.state.step + by) }

  goTo(step) {
    this.state.step = Math.max(1, Math.min(this.steps.length, step))
    this.showState()
    this.save()
  }

  zoom(ids) {
    if (ids.length >= this.state.depth || this.places.get(keyOf(ids))?.ended) return
    const from = this.active
    this.state.at = ids
    this.active = keyOf(ids.length && from.startsWith(keyOf(ids)) ? from.split('.')
      .slice(0, ids.length + 1) : ids)
    this.showState()
    this.save()
  }

  save() { this.source.keep(writeMap(this.state)) }


  showState() {
    const {prompt, depth, search, step, at} = this.state, {steps} = this
    Object.assign(this.box, {value: prompt})
    Object.assign(this.depth, {value: depth})
    Object.assign(this.chooser, {value: search})
    this.growButton.textContent = this.running ? '■ Stop' : '▶ Grow'
    this.walk.hidden = this.caption.hidden = !steps.length
    Object.assign(this.slider, {max: steps.length || 1, value: step})
    this.slider.setAttribute('aria-valuetext', `step ${step} of ${steps.length}`)
    this.back.disabled = step <= 1
    this.on.disabled = step >= steps.length
    if (steps.length) this.caption.textContent = this.told()
    this.showPath()
    this.draw()
  }

  showPath() {
    const {at} = this.state
    const crumb = ids => {
      const name = ids.length ? tokenLabel(this.places.get(keyOf(ids))?.text ?? '?')
        : 'the beginning'
      return button(name, () => this.zoom(ids), {
        'aria-current': ids.length === at.length ? 'true' : 'false'})
    }
    this.path.replaceChildren(
      ...Array.from({length: at.length + 1}, (_, n) => crumb(at.slice(0, n))))
  }

  covered(places) {
    return Array.from({length: this.state.depth}, (_, d) => places
      .filter(p => p.ids.length === d + 1 || p.ended && p.ids.length <= d)
      .reduce((sum, p) => sum + p.mass, 0))
  }

  textOf(ids) {
    return ids.map((_, t) => this.places.get(keyOf(ids.slice(0, t + 1))).text).join('')
  }

  quoted(ids) { return `“${visible(this.textOf(ids)).replace(/\n/g, '⏎')}”` }

  holds() {
    const mode = this.order.findIndex(p => p.ended)
    const found = mode < 0 ? 'The most probable whole text is not among them yet.'
      : `The most probable whole text is number ${mode + 1}: `
        + `${this.quoted(this.order[mode].ids)}, ${percent(this.order[mode].mass)}.`
    return `${this.order.length} beginnings, the most probable first. ${found}`
  }

  told() {
    const now = this.steps[this.state.step - 1]
    const head = `Step ${this.state.step} of ${this.steps.length}: `
    const mass = ids => this.places.get(keyOf(ids)).mass
    if (now.text) {
      const seen = this.steps.slice(0, this.state.step)
      const best = seen.reduce((a, b) => b.value > a.value ? b : a)
      const from = now.leaf.length ? this.quoted(now.leaf) : 'the beginning'
      return `${head}from ${from} on it writes ${this.quoted(now.text)}, `
        + `${percent(mass(now.text))}. The best so far: ${this.quoted(best.text)}, `
        + `${percent(mass(best.text))}.`
    }
    const all = this.beams(now), sum = all => all.reduce((a, b) => a + b, 0)
    const beams = [...new Map(all.map(ids => [keyOf(ids), ids])).values()]
    const n = beams.length, {length: t} = now
    const counted = (k, what) => k === 1 ? `1 ${what}` : `${k} ${what}s`
    const fewer = n === all.length ? '' : `, ${counted(n, 'beginning')},`
    const likely = this.order.filter(p => p.ids.length === t
                                     || p.ended && p.ids.length < t).slice(0, n)
    const said = `${head}the ${all.length} beams${fewer} hold `
      + `${percent(sum(beams.map(mass)))} of what could be written with `
      + counted(t, 'token')
    const most = n === 1 ? 'most probable beginning holds'
      : `${n} most probable beginnings hold`
    return likely.length < n ? `${said}.`
      : `${said}; the ${most} ${percent(sum(likely.map(p => p.mass)))}.`
  }

  beams({live, ended}) {
    const all = [...live, ...ended].map(b => b.ids)
    return live.length ? all.slice(0, live.length) : all
  }

  marks() {
    const found = new Map(), {step} = this.state
    const mark = (ids, what) => ids.forEach((_, t) => {
      const key = keyOf(ids.slice(0, t + 1)), was = found.get(key) ?? {visits: 0}
      found.set(key, {...was, ...what, visits: was.visits + (what.visits ?? 0)})
    })
    this.steps.slice(0, step).forEach((said, i) => {
      const now = i + 1 === step
      if (said.text) {
        mark(said.text, {seen: true, ...now && {now}})
        mark(said.leaf, {visits: 1})
      } else this.beams(said).forEach(ids => mark(ids, {seen: true, ...now && {now}}))
    })
    return found
  }

  draw() {
    clearTimeout(this.later)
    this.later = null
    const {at, depth} = this.state, begin = this.places.get(keyOf(at)) ?? ROOT
    const height = this.map.clientHeight, most = this.map.clientWidth < 560 ? 3 : 5
    const columns = Math.max(1, Math.min(depth - at.length, most))
    const marks = this.marks(), head = at.length ? `${keyOf(at)}.` : ''
    const box = place => ({
      column: place.ids.length - at.length - 1, y: (place.top - begin.top) / begin.mass,
      h: place.mass / begin.mass})
    const seen = [...this.places].filter(([key]) => key && key.startsWith(head))
      .map(([key, place]) => ({key, place, mark: marks.get(key), ...box(place)}))
      .filter(({column, h, mark}) => column >= 0 && column < columns
                                    && (mark || h * height >= SHOWN))
      .sort((a, b) => a.y - b.y || a.column - b.column)
    if (!seen.some(s => s.key === this.active)) this.active = seen[0]?.key ?? ''
    const focused = this.map.contains(document.activeElement)
    this.shown = seen
    this.lay(seen.map(s => this.tile(s, columns, height)))
    if (focused) this.focus(this.active)
    const sums = this.covered([...this.places.values()])
    this.heads.replaceChildren(...Array.from({length: columns}, (_, c) => {
      const d = at.length + c
      return element('span', {}, at.length ? `token ${d + 1}`
        : `token ${d + 1}: ${percent(sums[d])} on the map`)
    }))
  }

  tile({key, place, mark, column, y, h}, columns, height) {
    const {text, mass, share, ended, ids} = place, pixels = Math.max(h * height, 3)
    const visits = mark?.visits ? `, ${mark.visits} visits` : ''
    const label = pixels < LABEL ? [] : [
      element('bdi', {}, tokenLabel(text)),
      element('span', {}, `${percent(mass)}${visits}`)]
    const how = mark?.now ? ', on the way of this step' : mark ? ', was visited' : ''
    const tile = element('div', {
      class: ['llms-tile', ended && 'llms-end', mark?.seen && 'llms-seen',
              mark?.now && 'llms-now'].filter(Boolean).join(' '),
      role: 'treeitem', 'aria-level': ids.length, 'data-key': key,
      tabIndex: key === this.active ? 0 : -1,
      'aria-label': `${tokenLabel(text)}, ${percent(share)} here, ${percent(mass)} of `
        + `all${ended ? ', a whole text' : ''}${how}${visits}`}, ...label)
    Object.assign(tile.style, {
      left: `${100 * column / columns}%`, width: `${100 / columns}%`,
      top: `${100 * y}%`, height: `${pixels}px`})
    tile.style.setProperty('--share', `${Math.round(14 + 34 * share)}%`)
    return tile
  }

  lay(tiles) {
    const there = new Map([...this.map.children].map(t => [t.dataset.key, t]))
    const stay = tiles.map(tile => {
      const old = there.get(tile.dataset.key)
      if (!old) return tile
      for (const {name, value} of tile.attributes) old.setAttribute(name, value)
      old.replaceChildren(...tile.childNodes)
      return old
    })
    const kept = new Set(stay)
    for (const tile of there.values()) if (!kept.has(tile)) tile.remove()
    stay.forEach((tile, i) => {
      const here = this.map.children[i]
      if (here !== tile) this.map.insertBefore(tile, here ?? null)
    })
  }

  look({type, target}) {
    const key = target.closest('[data-key]')?.dataset.key
    if (!key) return
    const place = this.places.get(key)
    if (type !== 'mouseover') this.active = key
    if (type === 'click') this.zoom(place.ids)
    else this.explain(place)
  }

  explain({ids, mass, share, ended}) {
    const above = ids.slice(0, -1)
    const after = above.length ? this.quoted(above) : 'the beginning'
    const one = mass > 0 ? Math.round(1 / mass).toLocaleString('en') : '∞'
    const drawn = mass < .5 ? `one of ${one} texts that are drawn: ${percent(mass)}`
      : `${percent(mass)} of the texts that are drawn`
    this.note.replaceChildren(
      element('b', {}, visible(this.textOf(ids))),
      ` begins ${drawn}. After ${after} `
      + `its last token has ${percent(share)}.${ended ? ' The text ends there.' : ''}`)
  }

  focus(key) {
    const tile = [...this.map.children].find(t => t.dataset.key === key)
    for (const other of this.map.children) other.tabIndex = other === tile ? 0 : -1
    tile?.focus()
  }

  keys(event) {
    const here = this.shown.find(s => s.key === event.target.dataset?.key)
    if (!here) return
    const {ids} = here.place, {at} = this.state
    const level = this.shown.filter(s => s.column === here.column)
    const next = level[level.indexOf(here) + 1], before = level[level.indexOf(here) - 1]
    const child = this.shown.find(s => s.column === here.column + 1
                                       && s.key.startsWith(`${here.key}.`))
    const above = keyOf(ids.slice(0, -1)), out = () => this.zoom(at.slice(0, -1))
    const to = {ArrowDown: next?.key, ArrowUp: before?.key, ArrowRight: child?.key,
                Home: level[0].key, End: level.at(-1).key,
                ArrowLeft: here.column ? above : undefined}
    if (event.key === 'Enter' || event.key === ' ') this.zoom(ids)
    else if (event.key === 'Escape' || event.key === 'Backspace') out()
    else if (event.key in to) { if (to[event.key]) this.focus(to[event.key]) }
    else return
    event.preventDefault()
  }
}


const WORDS = {True: true, true: true, False: false, false: false, None: null,
               null: null, inf: Infinity, Infinity}
const ESCAPES = {n: '\n', t: '\t', r: '\r', b: '\b', f: '\f'}
const SKIP = /(?:\s|#[^\n]*)*/y, NAME = /[A-Za-z_][\w.]*/y
const NUMBER = /[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?/y
const STRING = /"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'/y
const ASSIGNED = /[A-Za-z_]\w*\s*=\s*/y           // `params = SamplingParams(…)`
const ENDS = {'[': ']', '(': ')'}
const DEEPEST = 50

function unescaped(text) {
  return text.slice(1, -1).replace(/\\(u[\da-fA-F]{4}|x[\da-fA-F]{2}|.)/g, (_, e) =>
    e.length > 1 ? String.fromCharCode(parseInt(e.slice(1), 16)) : ESCAPES[e] ?? e)
}

class Reader {
  constructor(text) { Object.assign(this, {text, at: 0, depth: 0}) }

  take(pattern) {
    pattern.lastIndex = this.at
    const found = pattern.exec(this.text)?.[0] ?? ''
    this.at += found.length
    return found
  }

  skip() { this.take(SKIP) }

  sign(sign) {
    this.skip()
    if (!this.text.startsWith(sign, this.at)) return false
    this.at += sign.length
    return true
  }

  fail() {
    const line = this.text.slice(0, this.at).split('\n').length
    const rest = this.text.slice(this.at, this.at + 12).trim()
    throw new Error(`line ${line} is not understood at “${rest || 'its end'}”`)
  }

  all(end, entry) {
    const found = []
    if (++this.depth > DEEPEST) this.fail()
    while (!this.sign(end)) {
      if (found.length && !this.sign(',')) this.fail()
      if (found.length && this.sign(end)) break
      found.push(entry())
    }
    this.depth--
    return found
  }

  keyword() {
    this.skip()
    const name = this.take(NAME)
    if (!name || !this.sign('=')) this.fail()
    return [name, this.value()]
  }

  entry() {
    const key = this.value()
    if (!this.sign(':') || !['string', 'number'].includes(typeof key)) this.fail()
    return [String(key), this.value()]
  }

  value() {
    this.skip()
    const string = this.take(STRING)
    if (string) return unescaped(string)
    const number = this.take(NUMBER)
    if (number) return Number(number.replace(/_/g, ''))
    if (this.sign('{')) return Object.fromEntries(this.all('}', () => this.entry()))
    for (const open of '[(') {
      if (this.sign(open)) return this.all(ENDS[open], () => this.value())
    }
    if (this.sign('-inf')) return -Infinity
    return this.named()
  }

  named() {
    const name = this.take(NAME)
    if (Object.hasOwn(WORDS, name)) return WORDS[name]
    if (!name || !this.sign('(')) this.fail()
    return Object.fromEntries(this.all(')', () => this.keyword()))
  }
}

function parseLiteral(text) {
  const reader = new Reader(text)
  reader.skip()
  reader.take(ASSIGNED)
  const value = reader.value()
  reader.skip()
  if (reader.at < text.length) reader.fail()
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new Error('a configuration is a dict: {"temperature": 0.8}, or '
                    + 'SamplingParams(temperature=0.8)')
  }
  return value
}



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

async function read({engine}, {system, text, prompt}) {
  return engine.call('configured', {system, given: parseLiteral(text), prompt})
}

function partText({step, count, mass, names}, drops, keeps) {
  const gone = names.map(tokenLabel).join('  ')
  const more = count > names.length ? ' …' : ''
  return element('li', {}, element('b', {}, step), ` of ${drops} drops `
    + `${tokens(count)} that ${keeps} keeps, ${percent(mass)} of its probability: `
    + `${gone}${more}`)
}

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

class SettingsView {
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

  write() {
    for (const name of ['system', 'text', 'prompt']) this[name].value = this.state[name]
  }

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



const VIEWS = {playground: Playground, arena: Arena, map: LikelyMap, lens: Lens,
               settings: SettingsView}

class Kernel {
  constructor(model) {
    Object.assign(this, {model, jobs: new Map(), next: 0})
    this.name = Math.random().toString(36).slice(2)    // two pages may show a widget
    this.heard = message => this.hear(message)
    model.on('msg:custom', this.heard)
  }

  call(method, params, {step, signal} = {}) {
    const id = `${this.name}-${this.next++}`
    return new Promise((resolve, reject) => {
      this.jobs.set(id, {resolve, reject, step})
      signal?.addEventListener('abort', () => this.model.send({id, type: 'stop'}))
      this.model.send({id, type: 'call', method, params})
    })
  }

  hear({id, type, value}) {
    const job = this.jobs.get(id)
    if (type === 'step') return job?.step?.(value)
    this.jobs.delete(id)
    if (type === 'error') job?.reject(new Error(value))
    else job?.resolve(value)
  }
}

export default {render({model, el}) {
  const engine = new Kernel(model), name = model.get('view')
  const root = element('div', {'data-llms': name})
  const source = {...UNLINKED, offer: model.get('offer'), ends: model.get('ends'),
                  python: model.get('python'), where: 'by the kernel',
                  ready: () => true, api: async () => ({engine})}
  el.classList.add('llms-live')
  el.append(root)
  const {state, first} = model.get('screen')
  root.view = new VIEWS[name](root, first, source, state)
  return () => model.off('msg:custom', engine.heard)
}}
