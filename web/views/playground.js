// One text, token by token: the chances of the next one before and after the steps of a
// sampler, what each step removed and why, and the way to another text.

import {visible} from '../python_text.js'
import {PAGE, Status, button, copied, element, percent, slider,
        tokenLabel} from './dom.js'
import {pythonOf, settingsOf} from './python.js'
import {MAIN, OTHERS, ORDER_NAMES, SLIDERS, fieldsOf, readPlay, seedOf,
        writePlay} from './state.js'
import {FIRST} from './strategies.js'

const PACE = 110                   // milliseconds between tokens

const wait = ms => new Promise(done => setTimeout(done, ms))

/** In nats */
function surprisal(p) { return p ? -Math.log(p) : Infinity }

/** A bar that can be pressed: the chance before, the chance after */
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

export class Playground {
  get bars() { return 10 }         // tokens shown

  /**
   * @param {HTMLElement} root
   * @param {?Object} first what `explain` says at first
   * @param {Object} source as `PAGE`
   * @param {Object} state what of the first state is not as ever
   */
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

  /** Somebody pasted the address of another state */
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

  /** The bars, and beside them some knobs, and what else stands there */
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

  /** Sliders of these names, and the knobs that are none; not all need be shown */
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

  // --- what is asked of the engine ---

  get ended() {
    const {written} = this.state
    return this.source.ends.includes(written[written.length - 1]?.id)
  }

  /** What `explain` says of a place, some tokens among those that it lists */
  async explain(api, place, also = []) {
    const {prompt, written} = this.state
    const ids = written.slice(0, place).map(w => w.id)
    return api.engine.call('explain', {
      prompt, ids, settings: settingsOf(this.state), options: {top: this.bars, also}})
  }

  /** Look at the place again, and at written tokens that nothing is known of */
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

  /** Write the token that is drawn; was there one? */
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

  /** Say what was written after so many tokens, for who does not see the text */
  announce(before) {
    const fresh = this.entries.slice(before), [{text, p} = {}] = fresh
    if (!fresh.length || this.ended) return
    this.status.say(fresh.length > 1 ? `${fresh.length} tokens written.`
      : `Written: ${tokenLabel(text)}, ${percent(p)}.`)
  }

  // --- what a reader does ---

  write(token) {
    this.state.written = [...this.state.written, token]
    this.entries.push(entryOf(this.shown, token))
    this.stale = true
    this.showText()
  }

  /** Force a token at the place looked at: a branch grows from there */
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

  /** What was written stays, as a given beginning, when a knob moves */
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

  // --- what is shown ---

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

  /** Arrow keys among the tokens; Enter or the space bar looks at one */
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

/** What is kept of a place about the token that was written there */
function entryOf(said, {id}) {
  const token = said.tokens.find(t => t.id === id) ?? {text: '?', probs: [0]}
  const others = said.tokens.filter(t => t.id !== id).slice(0, 5)
    .map(t => ({text: t.text, p: t.probs[0]}))
  return {text: token.text, p: token.probs[0] ?? 0, others}
}

/** A line for a step: how much went, the likeliest of it, and why */
export function stepLine({step, value, kept, removed, mass, names, why}) {
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
