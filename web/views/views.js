// Puts a view into each element that asks for one: `<div data-llms="playground">`.

import {Arena} from './arena.js'
import {LikelyMap} from './map.js'
import {Playground} from './playground.js'
import {SettingsView} from './settings.js'

const VIEWS = {playground: Playground, arena: Arena, map: LikelyMap,
               settings: SettingsView}

// a page with two views names this script twice
const places = [...document.querySelectorAll('[data-llms]')].filter(e => !e.view)
for (const root of places) {
  const stored = root.querySelector('script[type="application/json"]')
  const View = VIEWS[root.dataset.llms]
  root.view = new View(root, stored && JSON.parse(stored.textContent))
}
