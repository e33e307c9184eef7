// Draw several texts, and keep the best: Python's `best_of_n`, whose score is the mean
// log-probability of a token, and `minimum_bayes_risk`, which keeps the text most like
// the others.

import {generate} from './generate.js'

const LONGEST_GRAM = 4

/** The mean log-probability of a token; before the first one there is no worse score */
function likelihoods(samples) {
  return samples.map(({logprobs}) => {
    const sum = logprobs.reduce((a, b) => a + b, 0)
    return logprobs.length ? sum / logprobs.length : -Infinity
  })
}

/** How often a text has each of its n-grams */
function gramsOf({ids}) {
  const counts = new Map()
  for (let size = 1; size <= LONGEST_GRAM; size++) {
    for (let i = 0; i + size <= ids.length; i++) {
      const gram = ids.slice(i, i + size).join()
      counts.set(gram, (counts.get(gram) ?? 0) + 1)
    }
  }
  let total = 0
  for (const times of counts.values()) total += times
  return {counts, total}
}

/** F1 of the n-grams of two texts; two empty ones are equal */
function alike(a, b) {
  let both = 0
  for (const [gram, times] of a.counts) both += Math.min(times, b.counts.get(gram) ?? 0)
  return a.total + b.total ? 2 * both / (a.total + b.total) : 1
}

/** The mean likeness to all samples, itself too */
function likenesses(samples) {
  const grams = samples.map(gramsOf)
  return grams.map(a => grams.reduce((sum, b) => sum + alike(a, b), 0) / grams.length)
}

/** Samples by their scores, of equal ones the first drawn */
function ranked(samples, scores) {
  const all = scores(samples)
  return samples.map((s, i) => ({...s, score: all[i]}))
    .sort((a, b) => b.score - a.score)
}

/** The best of n by the mean log-probability of a token */
export function bestOfN(...asked) { return keepBest(likelihoods, ...asked) }

/** The best of n by the likeness to the other samples */
export function minimumBayesRisk(...asked) { return keepBest(likenesses, ...asked) }

/**
 * The best of `n` samples, as a generator.
 * @param {function(Object[]): number[]} scores of samples
 * @param {import('./request.js').LanguageModel} lm
 * @param {string|number[]} prompt
 * @param {Object|null} settings of a `Sampler`; null is the model as it is
 * @param {Object} options as Python's
 * @yields {{live: Object[], ended: Object[], said: string}} as `beamSearch`: here the
 *   sample that is the best so far
 * @returns {{rows: Object[], stats: Object}}
 */
function* keepBest(scores, lm, prompt, settings,
                   {num_return_sequences = 1, ...options}) {
  checkCounts({...options, num_return_sequences})
  const none = () => ({ids: [], logprobs: [], said: ''})
  const samples = Array.from({length: options.n}, none)
  const steps = generate(lm, prompt, settings ?? {temperature: 1}, options)
  for (;;) {
    const {done, value} = steps.next()
    if (done) {
      const rows = ranked(value.rows, scores)
      return {...value, rows: rows.slice(0, num_return_sequences)}
    }
    const sample = samples[value.row]
    sample.ids.push(value.id)
    sample.logprobs.push(value.logprob)
    sample.said += value.text
    const [{ids, said}] = ranked(samples, scores)
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
