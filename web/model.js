// The bundled model's forward pass: a Llama in float32, whose keys and values stay.
//
// Sums run in float64 and in one order, so that a token's numbers are the same whether
// it is evaluated alone or with others. What torch rounds and one can see is rounded
// here, too: the angles of the rotary embedding.

/** @typedef {{vocab: number, hidden: number, inner: number, layers: number,
 *   heads: number, window: number, eps: number, theta: number}} Config */

/**
 * The tensors of a model, as views of one array.
 * @param {Config} config
 * @param {Float32Array} numbers embedding, layers, last norm, one after the other
 */
export function tensors(config, numbers) {
  const {vocab, hidden: D, inner: F, layers} = config
  let at = 0
  const take = n => numbers.subarray(at, at += n)
  const embed = take(vocab * D)
  const layer = () => ({
    norm: take(D), qkv: take(3 * D * D), out: take(D * D),
    norm2: take(D), gateUp: take(2 * F * D), down: take(D * F),
  })
  const all = {embed, layers: Array.from({length: layers}, layer), norm: take(D)}
  if (at !== numbers.length) throw new Error(`weights: ${numbers.length}, not ${at}`)
  return all
}

/**
 * bfloat16 numbers as float32.
 * @param {Uint8Array} bytes the upper byte of every number, then the lower ones
 * @returns {Float32Array}
 */
export function fromPlanes(bytes) {
  const n = bytes.length >> 1, bits = new Uint32Array(n)
  for (let i = 0; i < n; i++) bits[i] = bytes[i] << 24 | bytes[n + i] << 16
  return new Float32Array(bits.buffer)
}

/** y[t, i] = Σ_j w[i, j] x[t, j] for `n` rows of x; `rows` is a multiple of 4 */
function multiply(w, x, y, rows, cols, n) {
  let t = 0
  for (; t + 4 <= n; t += 4) four(w, x, y, rows, cols, t)
  for (; t < n; t++) one(w, x, y, rows, cols, t)
}

/** One row of x with four of w at a time */
function one(w, x, y, rows, cols, t) {
  const start = t * cols, end = start + cols
  for (let i = 0; i < rows; i += 4) {
    const a = i * cols - start, b = a + cols, c = b + cols, d = c + cols
    let p = 0, q = 0, r = 0, s = 0
    for (let j = start; j < end; j++) {
      const v = x[j]
      p += w[a + j] * v; q += w[b + j] * v; r += w[c + j] * v; s += w[d + j] * v
    }
    const o = t * rows + i
    y[o] = p; y[o + 1] = q; y[o + 2] = r; y[o + 3] = s
  }
}

/** Four rows of x with two of w at a time: the same sums in the same order */
function four(w, x, y, rows, cols, t) {
  const a = t * cols, b = a + cols, c = b + cols, d = c + cols
  for (let i = 0; i < rows; i += 2) {
    const v = i * cols, u = v + cols
    let p = 0, q = 0, r = 0, s = 0, P = 0, Q = 0, R = 0, S = 0
    for (let j = 0; j < cols; j++) {
      const m = w[v + j], n = w[u + j]
      const e = x[a + j], f = x[b + j], g = x[c + j], h = x[d + j]
      p += m * e; q += m * f; r += m * g; s += m * h
      P += n * e; Q += n * f; R += n * g; S += n * h
    }
    let o = t * rows + i
    y[o] = p; y[o + 1] = P
    y[o += rows] = q; y[o + 1] = Q
    y[o += rows] = r; y[o + 1] = R
    y[o += rows] = s; y[o + 1] = S
  }
}

/** Rows of x by their root mean square, times a weight each */
function normalise(x, weight, y, D, n, eps) {
  for (let t = 0; t < n; t++) {
    let sum = 0
    for (let i = t * D; i < (t + 1) * D; i++) sum += x[i] * x[i]
    const scale = 1 / Math.sqrt(sum / D + eps)
    for (let i = 0; i < D; i++) y[t * D + i] = x[t * D + i] * scale * weight[i]
  }
}

function add(x, y, n) { for (let i = 0; i < n; i++) x[i] += y[i] }

/** Cosines and sines of the rotary embedding, `(window, size / 2)`, as torch rounds */
function rotations({window, hidden, heads, theta}) {
  const half = hidden / heads / 2
  const cos = new Float32Array(window * half), sin = new Float32Array(window * half)
  for (let i = 0; i < half; i++) {
    const speed = Math.fround(1 / Math.fround(theta ** (i / half)))
    for (let t = 0; t < window; t++) {
      const angle = Math.fround(t * speed)
      cos[t * half + i] = Math.cos(angle)
      sin[t * half + i] = Math.sin(angle)
    }
  }
  return {cos, sin}
}

/** A Llama: tokens and what each may look at in, logits out. */
export class Model {
  /** @param {Config} config @param {Float32Array} numbers as of `tensors` */
  constructor(config, numbers) {
    this.config = config
    this.weights = tensors(config, numbers)
    this.rotations = rotations(config)
    this.room = 0                    // tokens that the scratch arrays have room for
  }

  reserve(n) {
    if (n <= this.room) return
    const {hidden: D, inner: F} = this.config
    const array = width => new Float32Array(n * width)
    Object.assign(this, {room: n, x: array(D), z: array(D), y: array(D),
                         qkv: array(3 * D), seen: array(D), gateUp: array(2 * F),
                         act: array(F)})
  }

  /** An empty cache: keys and values of every layer, `(slots, hidden)` each */
  cache(slots) {
    const {layers, hidden} = this.config
    const array = () => new Float32Array(slots * hidden)
    return Array.from({length: layers}, () => ({keys: array(), values: array()}))
  }

  /**
   * Evaluate new tokens.
   * @param {number[]} tokens ids, `(n,)`
   * @param {Int32Array[]} paths slots of all that each token sees, itself last
   * @param {{keys: Float32Array, values: Float32Array}[]} cache of `cache`; written to
   * @param {boolean[]} wanted of which tokens
   * @param {{states?: Array, layers?: number[], exits?: Array}} more `states`
   *   gets the last hidden state `(hidden,)` of each; `exits`, of each that is wanted,
   *   the logits if the model ended before each of some `layers`
   * @returns {(Float32Array|null)[]} the logits `(vocab,)` after each token, if wanted
   */
  forward(tokens, paths, cache, wanted, {states, layers: early = [], exits} = {}) {
    const {hidden: D, inner: F, eps} = this.config
    const {embed, layers, norm} = this.weights, n = tokens.length
    this.reserve(n)
    const {x, z, y, qkv, seen, gateUp, act} = this
    tokens.forEach((id, t) => x.set(embed.subarray(id * D, (id + 1) * D), t * D))
    const last = tokens.map((_, t) => t).filter(t => wanted[t]), read = []
    layers.forEach((w, l) => {
      if (early.includes(l)) read.push(this.read(last))
      normalise(x, w.norm, z, D, n, eps)
      multiply(w.qkv, z, qkv, 3 * D, D, n)
      paths.forEach((path, t) => this.remember(t, path, cache[l]))
      paths.forEach((path, t) => this.attend(t, path, cache[l]))
      multiply(w.out, seen, y, D, D, n)
      add(x, y, n * D)
      normalise(x, w.norm2, z, D, n, eps)
      multiply(w.gateUp, z, gateUp, 2 * F, D, n)
      for (let t = 0; t < n; t++) {
        for (let i = 0, g = 2 * t * F; i < F; i++, g++) {
          act[t * F + i] = gateUp[g] / (1 + Math.exp(-gateUp[g])) * gateUp[g + F]
        }
      }
      multiply(w.down, act, y, D, F, n)
      add(x, y, n * D)
    })
    if (states) {
      normalise(x, norm, z, D, n, eps)
      tokens.forEach((_, t) => { states[t] = z.slice(t * D, (t + 1) * D) })
    }
    const logits = this.read(last), out = tokens.map(() => null)
    last.forEach((t, i) => {
      out[t] = logits[i]
      if (exits) exits[t] = read.map(all => all[i])
    })
    return out
  }

  /** What the hidden states of some tokens say: logits `(vocab,)` each */
  read(tokens) {
    const {hidden: D, vocab, eps} = this.config, n = tokens.length
    const states = new Float32Array(n * D), logits = new Float32Array(n * vocab)
    tokens.forEach((t, i) => states.set(this.x.subarray(t * D, (t + 1) * D), i * D))
    normalise(states, this.weights.norm, states, D, n, eps)
    multiply(this.weights.embed, states, logits, vocab, D, n)
    return tokens.map((_, i) => logits.slice(i * vocab, (i + 1) * vocab))
  }

  /** Turn query and key of token `t` to its position; store key and value */
  remember(t, path, {keys, values}) {
    const {hidden: D, heads} = this.config, {cos, sin} = this.rotations, {qkv} = this
    const slot = path[path.length - 1], half = D / heads / 2
    const turn = (path.length - 1) * half, start = 3 * t * D
    for (let pair = start; pair < start + 2 * D; pair += 2 * half) {
      for (let i = 0; i < half; i++) {
        const a = qkv[pair + i], b = qkv[pair + i + half]
        const c = cos[turn + i], s = sin[turn + i]
        qkv[pair + i] = a * c - b * s
        qkv[pair + i + half] = b * c + a * s
      }
    }
    keys.set(qkv.subarray(start + D, start + 2 * D), slot * D)
    values.set(qkv.subarray(start + 2 * D, start + 3 * D), slot * D)
  }

  /** What token `t` takes from the values on its path, into `seen` */
  attend(t, path, {keys, values}) {
    const {hidden: D, heads} = this.config, {qkv, seen} = this
    const size = D / heads, scale = 1 / Math.sqrt(size), n = path.length
    const weights = new Float64Array(n), sum = new Float64Array(size)
    for (let head = 0; head < D; head += size) {
      const query = 3 * t * D + head
      let most = -Infinity
      for (let i = 0; i < n; i++) {
        let dot = 0
        const at = path[i] * D + head
        for (let j = 0; j < size; j++) dot += qkv[query + j] * keys[at + j]
        weights[i] = dot *= scale
        if (dot > most) most = dot
      }
      let total = 0
      for (let i = 0; i < n; i++) total += weights[i] = Math.exp(weights[i] - most)
      sum.fill(0)
      for (let i = 0; i < n; i++) {
        const share = weights[i] / total, at = path[i] * D + head
        for (let j = 0; j < size; j++) sum[j] += share * values[at + j]
      }
      seen.set(sum, t * D + head)
    }
  }
}
