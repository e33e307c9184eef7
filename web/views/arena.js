// One beginning and one seed, several strategies side by side.

import {pythonText, visible} from '../python_text.js'
import {PAGE, Status, button, copied, element, percent} from './dom.js'
import {keywords} from './python.js'
import {fieldsOf, readArena, seedOf, writeArena} from './state.js'
import {AT_FIRST, FIRST, STRATEGIES} from './strategies.js'

const TOKENS = 40
const METHODS = {beam_search: 'beams'}      // whose names differ from Python's

/** rep-n as Python's: the share of n-grams that came before; NaN without any */
export function repOf(ids, n = 4) {
  const seen = new Set(), count = ids.length - n + 1
  for (let i = 0; i < count; i++) seen.add(ids.slice(i, i + n).join())
  return count > 0 ? 1 - seen.size / count : NaN
}

export function mean(values) {
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

/** The text of a strategy as it grows, and what is measured of it */
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

  /** What Python wrote before the page was opened */
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

export class Arena {
  /** As `LikelyMap` */
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
