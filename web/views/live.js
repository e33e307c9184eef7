// The views in a notebook: the kernel answers, with the model that is there.

import {Arena} from './arena.js'
import {UNLINKED, element} from './dom.js'
import {Lens} from './lens.js'
import {LikelyMap} from './map.js'
import {Playground} from './playground.js'
import {SettingsView} from './settings.js'

const VIEWS = {playground: Playground, arena: Arena, map: LikelyMap, lens: Lens,
               settings: SettingsView}

/** Asks the kernel as `Engine` asks its worker, by messages of a widget */
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
