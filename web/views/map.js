// All that could be written after a beginning, as a map: a column for each token, and
// heights are probabilities. It grows, the most probable first; searches walk on it.

import {visible} from '../python_text.js'
import {PAGE, Status, button, copied, element, percent, tokenLabel} from './dom.js'
import {fieldsOf, readMap, writeMap} from './state.js'
import {FIRST_MAP} from './strategies.js'

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

/** A place on the map: its part of all that could be written, from `top` down */
function placed(above, ids, {text, logprob, before, share, ended = false}) {
  return {ids, text, share, ended, mass: Math.exp(logprob),
          top: above.top + above.mass * before}
}

const ROOT = {ids: [], text: '', share: 1, mass: 1, top: 0, ended: false}
const keyOf = ids => ids.join('.')

export class LikelyMap {
  /**
   * @param {HTMLElement} root
   * @param {?Object} first the nodes of the first screen
   * @param {Object} source as `PAGE`
   * @param {Object} state what of the first state is not as ever
   */
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

  /** Bring back what an address tells: the tree, the place, the search */
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

  // --- what is asked of the engine ---

  /** Do something with the engine; one thing at a time */
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

  /** Beginnings in all, until there are so many; those that are known come again */
  async grow(api, signal, nodes) {
    let number = 0
    await api.engine.call('likeliest', {prompt: this.prompt, options: {
      num_nodes: nodes, max_new_tokens: this.state.depth}}, {signal, step: node => {
      if (!signal.aborted) this.enter(node, number++)
    }})
    this.state.nodes = this.order.length
    if (!signal.aborted) this.status.say(this.holds())
  }

  /** The same below the place that the map begins with */
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

  /** Beams or a tree search: its steps, and where its texts lie */
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

  /** Put texts on the map that may not be there */
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

  /** The beginning of a number, in the order of their probability */
  enter(node, number) {
    if (number < this.order.length) return
    const above = node.parent < 0 ? ROOT : this.order[node.parent]
    this.order.push(this.put(above.ids, node))
  }

  // --- what a reader does ---

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

  /** Look at what follows a place; the map begins there */
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

  // --- what is shown ---

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

  /** Buttons for the places that lead to where the map begins */
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

  /** How much of all texts the map has, by their length */
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

  /** What the search has done at this step */
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
    // beams of two groups may hold one beginning
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

  /** Hypotheses of a step; those that ended are kept */
  beams({live, ended}) {
    const all = [...live, ...ended].map(b => b.ids)
    return live.length ? all.slice(0, live.length) : all
  }

  /** What the search says of places: `now`, `seen`, and visits */
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

  /** Tiles that are there already stay: who presses one while the map grows hits it */
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

  /** A pointer or the keyboard is on a tile: say what it is; pressed, look closer */
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

  /** Arrow keys walk on the map, Enter looks closer, Escape steps back */
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
