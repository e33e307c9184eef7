// Draw several texts, and keep the best: Python's `best_of_n`, whose score is the mean
// log-probability of a token.

import {generate} from './generate.js'

/** The mean log-probability of a token; before the first one there is no worse score */
function scoreOf({logprobs}) {
  const sum = logprobs.reduce((a, b) => a + b, 0)
  return logprobs.length ? sum / logprobs.length : -Infinity
}

/** Samples by their scores, of equal ones the first drawn */
function ranked(samples) {
  return samples.map(s => ({...s, score: scoreOf(s)})).sort((a, b) => b.score - a.score)
}

/**
 * The best of `n` samples, as a generator.
 * @param {import('./request.js').LanguageModel} lm
 * @param {string|number[]} prompt
 * @param {Object|null} settings of a `Sampler`; null is the model as it is
 * @param {Object} options as Python's
 * @yields {{live: Object[], ended: Object[], said: string}} as `beamSearch`: here the
 *   sample that is the best so far
 * @returns {{rows: Object[], stats: Object}}
 */
export function* bestOfN(lm, prompt, settings,
                        {num_return_sequences = 1, ...options}) {
  checkCounts({...options, num_return_sequences})
  const none = () => ({ids: [], logprobs: [], said: ''})
  const samples = Array.from({length: options.n}, none)
  const steps = generate(lm, prompt, settings ?? {temperature: 1}, options)
  for (;;) {
    const {done, value} = steps.next()
    if (done) {
      return {...value, rows: ranked(value.rows).slice(0, num_return_sequences)}
    }
    const sample = samples[value.row]
    sample.ids.push(value.id)
    sample.logprobs.push(value.logprob)
    sample.said += value.text
    const [{ids, said}] = ranked(samples)
    yield {live: [{ids}], ended: [], said}
  }
}

function checkCounts({n, max_new_tokens: max = 1, num_return_sequences: count}) {
  const fail = text => { throw new RangeError(text) }
  if (!(Number.isInteger(n) && n >= 1)) fail(`n must be an integer >= 1, not ${n}`)
  if (max < 1) fail(`max_new_tokens must be >= 1, not ${max}`)
  if (!(count >= 1 && count <= n)) {
    fail(`num_return_sequences must be from 1 to n, ${n}, not ${count}`)
  }
}
