// What the views are made of: elements, texts that are shown and never obeyed, and the
// engine, which comes when it is first asked.

import {visible} from '../python_text.js'

/** An element; what it has no property for is an attribute; `on` are listeners */
export function element(name, {on = {}, ...props} = {}, ...children) {
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

/** A token by itself: its spaces and line ends are seen, too */
export function tokenLabel(text) {
  return visible(text).replace(/ /g, '␣').replace(/\n/g, '⏎').replace(/\t/g, '⇥')
}

export function percent(p) {
  if (!p) return '0\u00a0%'
  const x = 100 * p
  return x < .1 ? '<0.1\u00a0%' : `${x.toFixed(x < 10 ? 1 : 0)}\u00a0%`
}

/** A labelled slider over a list of values; `show(value)` moves it */
export function slider({label, values, off, help, always = false}, moved) {
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

export function button(text, pressed, props = {}) {
  return element('button', {type: 'button', ...props, on: {click: pressed}}, text)
}

/** Put a text on the clipboard; where that is forbidden, show it to be copied */
export async function copied(text, note) {
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

/** The style sheet beside this script, where a page does not have it yet */
export function dress() {
  if (document.querySelector('link[href$="views.css"]')) return
  const href = new URL('views.css', HERE).href
  document.head.append(element('link', {rel: 'stylesheet', href}))
}

let coming

/** The script of the engine, once; it stands beside this one */
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

/** The engine with its weights: at the first question they are loaded */
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

/** Where answers come from and a state is kept: the engine of this page, its address.
 *  `live.js` has another one: the kernel of a notebook */
export const PAGE = {
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

/** What a page shows where its address is that of something else */
export const UNLINKED = {linked: false, hash: () => '', keep: () => {}}

/** A line that says what happens, and how far the weights have come */
export class Status {
  constructor(source = PAGE) {
    this.source = source
    this.text = element('span', {role: 'status'})
    this.bar = element('progress', {max: 1, value: 0, hidden: true,
                                    'aria-label': 'model loaded'})
    this.row = element('div', {class: 'llms-status'}, this.text, this.bar)
  }

  say(...parts) { this.text.replaceChildren(...parts) }

  /** Before anything is loaded: what the first press will bring */
  offer() { this.say(this.source.offer) }

  /** Who answers; the first question may have to wait for it */
  engine() { return this.source.api(this) }
}
