// Puts a view into each element that asks for one: `<div data-llms="playground">`.

import {Arena} from './arena.js'
import {PAGE, dress} from './dom.js'
import {Lens} from './lens.js'
import {LikelyMap} from './map.js'
import {Playground} from './playground.js'
import {SettingsView} from './settings.js'

const VIEWS = {playground: Playground, arena: Arena, map: LikelyMap, lens: Lens,
               settings: SettingsView}

// a page with two views names this script twice
const places = [...document.querySelectorAll('[data-llms]')].filter(e => !e.view)
dress()
for (const root of places) {
  const stored = root.querySelector('script[type="application/json"]')
  const {state, first} = JSON.parse(stored?.textContent ?? '{}')
  root.view = new VIEWS[root.dataset.llms](root, first, PAGE, state)
}
