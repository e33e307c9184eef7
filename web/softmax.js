// From scores to probabilities, rounded where Python rounds: logits and exponentials
// are float32, masses are summed in float64.

export const f32 = Math.fround

/** @param {Float32Array} z @returns {number} the largest */
export function largest(z) {
  let most = -Infinity
  for (let i = 0; i < z.length; i++) if (z[i] > most) most = z[i]
  return most
}

/** The lowest id of the maximum, as Python's `greedy` */
export function argmax(z) {
  let best = 0
  for (let i = 1; i < z.length; i++) if (z[i] > z[best]) best = i
  return best
}

/** z less its maximum; a row of nothing but -Infinity stays */
export function shifted(z) {
  const most = largest(z)
  return most === -Infinity ? z : z.map(v => v - most)
}

/** Logits in descending order */
export function descending(z) { return Float32Array.from(z).sort().reverse() }

/** exp(z - max) in float32, and their float64 sum */
export function weigh(z) {
  const most = largest(z), w = z.map(v => Math.exp(f32(v - most)))
  return {w, total: sumOf(w)}
}

/** @param {Float32Array|Float64Array} values */
export function sumOf(values) {
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += values[i]
  return sum
}

/** `f` of each number, in float64; `Float64Array.from(z, f)` takes ten times as long */
export function wide(z, f) {
  const out = new Float64Array(z.length)
  for (let i = 0; i < z.length; i++) out[i] = f(z[i], i)
  return out
}

/** Probabilities `(vocab,)`, in float64 */
export function softmax(z) {
  const most = largest(z), p = wide(z, v => Math.exp(v - most)), total = sumOf(p)
  return p.map(v => v / total)
}

/** Logarithms of the probabilities `(vocab,)`, in float64 */
export function logSoftmaxWide(z) {
  const most = largest(z), log = Math.log(sumOf(wide(z, v => Math.exp(v - most))))
  return wide(z, v => v - most - log)
}

/** The same in float32, as torch */
export function logSoftmax(z) {
  const most = largest(z), log = f32(Math.log(f32(weigh(z).total)))
  return z.map(v => f32(v - most) - log)
}

/** Nats */
export function entropy(z) {
  let sum = 0
  for (const l of logSoftmaxWide(z)) if (l > -Infinity) sum -= Math.exp(l) * l
  return Math.max(0, sum)
}

/** Where the `n` largest are, best first, of equal ones the first, as `best_first` */
export function bestFirst(values, n) {
  const at = []
  for (let i = 0; i < values.length; i++) {
    if (at.length === n && !(values[i] > values[at[n - 1]])) continue
    let j = at.length < n ? at.length : n - 1
    for (; j > 0 && values[at[j - 1]] < values[i]; j--) at[j] = at[j - 1]
    at[j] = i
  }
  return at
}
