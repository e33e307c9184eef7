// node tests/web_node.mjs weights-folder < cases
// A case a line; prints what the engine says, a line each.
import fs from 'node:fs'
import path from 'node:path'
import {createInterface} from 'node:readline'
import * as noise from '../web/noise.js'
import {last} from '../web/generate.js'
import {Sampler} from '../web/sampler.js'
import {readConfiguration} from '../web/configuration.js'
import {METHODS, languageModel} from '../web/worker.js'
import './web_run.js'

const folder = process.argv[2], parts = []
globalThis.llmSampling = {weights: (i, text) => { parts[i] = text }}
for (const name of fs.readdirSync(folder).filter(n => n.startsWith('weights-'))) {
  new Function(fs.readFileSync(path.join(folder, name), 'utf8'))()
}
const lm = await languageModel(parts.join(''))
const call = (method, params) => {
  const out = METHODS[method](lm, params)
  return typeof out?.next === 'function' ? last(out) : out
}
for await (const line of createInterface({input: process.stdin})) {
  const api = {...noise, Sampler, readConfiguration, call}
  console.log(JSON.stringify(await runCase(api, line)))
}
