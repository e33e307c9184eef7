// On the main thread: starts the worker, loads the weights when they are needed, asks.

import {readConfiguration} from './configuration.js'
import {KNOBS, ORDERS, STEPS, TOKENIZER} from './generated.js'
import {asSeed, gumbelNoise, rowSeeds, seedText, uniformNoise} from './noise.js'
import {Sampler} from './sampler.js'
import {Tokenizer} from './tokenizer.js'
import {serve} from './worker.js'

/** A worker of a program, from a blob: works on a page from a disk, too */
function start(program) {
  const blob = new Blob([`(${program})(self)`], {type: 'text/javascript'})
  return new Worker(URL.createObjectURL(blob))
}

/** Add a classic script to the page, which works from a disk, too */
function addScript(url) {
  return new Promise((resolve, reject) => {
    const script = document.createElement('script')
    script.onload = resolve
    script.onerror = () => reject(new Error(`${url} could not be loaded`))
    script.src = url
    document.head.append(script)
    script.remove()
  })
}

export class Engine {
  /** @param {{program: function, sizes: number[], base: string}} parts `sizes` of the
   *   scripts with weights, in bytes; `base`: the address before their names */
  constructor({program, sizes, base}) {
    Object.assign(this, {sizes, base, parts: [], loading: null})
    Object.assign(this, {jobs: new Map(), next: 0})
    this.size = sizes.reduce((a, b) => a + b, 0)
    this.worker = start(program)
    this.worker.onmessage = ({data}) => this.hear(data)
  }

  /** Called by a script with weights */
  weights(i, text) { this.parts[i] = text }

  /**
   * Load the weights, once.
   * @param {function({loaded: number, total: number})} progress bytes, after each part
   * @returns {Promise} fulfilled when the model can be asked
   */
  load(progress = () => {}) {
    this.loading ??= this.fetchAll(progress).catch(error => {
      this.loading = null                     // a later call may try again
      throw error
    })
    return this.loading
  }

  async fetchAll(progress) {
    let loaded = 0
    for (const [i, size] of this.sizes.entries()) {
      if (this.parts[i] === undefined) await addScript(`${this.base}weights-${i}.js`)
      progress({loaded: loaded += size, total: this.size})
    }
    const text = this.parts.join('')
    this.parts = []
    await this.post({type: 'weights', value: text})
  }

  /**
   * Ask for the result of a method (`METHODS` of worker.js); loads the weights first.
   * @param {string} method
   * @param {Object} params
   * @param {{step?: function, signal?: AbortSignal}} how `step` is called with each
   *   step; a stopped job has the result null
   */
  async call(method, params, {step, signal} = {}) {
    await this.load()
    return this.post({type: 'call', method, params}, step, signal)
  }

  post(message, step, signal) {
    const id = this.next++
    return new Promise((resolve, reject) => {
      const stop = () => this.worker.postMessage({type: 'stop', id})
      this.jobs.set(id, {resolve, reject, step, signal, stop})
      signal?.addEventListener('abort', stop)
      this.worker.postMessage({...message, id})
      if (signal?.aborted) stop()
    })
  }

  hear({id, type, value}) {
    const job = this.jobs.get(id)
    if (type === 'step') return job.step?.(value)
    this.jobs.delete(id)
    job.signal?.removeEventListener('abort', job.stop)
    if (type === 'error') job.reject(new Error(value))
    else job.resolve(value)
  }
}

/** What a page sees as `llmSampling` */
export function page({program, sizes}) {
  const base = new URL('.', document.currentScript.src).href
  const engine = new Engine({program, sizes, base})
  let tokenizer
  return {engine, weights: (i, text) => engine.weights(i, text),
          get tokenizer() { return tokenizer ??= new Tokenizer(TOKENIZER) },
          Sampler, readConfiguration, STEPS, KNOBS, ORDERS, asSeed, gumbelNoise,
          rowSeeds, seedText, uniformNoise}
}
