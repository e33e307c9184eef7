// A search is a walk on one tree of tokens: each is evaluated once, and sees only the
// tokens above it. A prompt is a chain; branches that grow from it share its keys and
// values. A node's number is the slot of the cache where its keys and values lie.

const BLOCK = 64     // tokens of a prompt that are evaluated at a time

/** A number for a parent and a token */
function placeOf(parent, token) { return (parent + 1) * 2 ** 20 + token }

export class TokenTree {
  /** @param {import('./model.js').Model} model
   *  @param {{slots?: number, hidden?: boolean, layers?: number[]}} options `hidden`:
   *   nodes keep their last hidden state, too; `layers`: before which nodes with logits
   *   have `exits`, the logits of a model that ends there */
  constructor(model, {slots = 64, hidden = false, layers = []} = {}) {
    Object.assign(this, {model, slots, hidden, layers, cache: model.cache(slots)})
    // {token, parent, path, logits, state, exits}, by number; null is free
    this.nodes = []
    this.free = []
    this.places = new Map()    // of a parent and a token, its node
    this.evaluated = 0         // tokens
  }

  /**
   * Read a chain of tokens.
   * @param {number[]} ids at least one
   * @param {number} parent -1: they begin a text
   * @returns {number} the node of the last one, which has logits
   */
  read(ids, parent = -1) {
    for (let i = 0; i < ids.length; i += BLOCK) {
      const block = ids.slice(i, i + BLOCK), nodes = []
      for (const id of block) nodes.push(parent = this.add(id, parent))
      this.evaluate(nodes, block.map((_, j) => i + j === ids.length - 1))
    }
    return parent
  }

  /**
   * Grow branches, all evaluated together.
   * @param {number[]} parents nodes `(n,)`; may repeat
   * @param {number[]} tokens ids `(n,)`
   * @returns {number[]} the new nodes `(n,)`
   */
  extend(parents, tokens) {
    const nodes = tokens.map((id, i) => this.add(id, parents[i]))
    if (nodes.length) this.evaluate(nodes, nodes.map(() => true))
    return nodes
  }

  /**
   * The nodes of a text from its beginning, those evaluated that are not there yet.
   * @param {number[]} ids @returns {number[]} a node each, with logits
   */
  reach(ids) {
    const nodes = [-1], deepest = () => nodes[nodes.length - 1]
    for (const id of ids) {
      const node = this.places.get(placeOf(deepest(), id))
      if (node === undefined || !this.nodes[node].logits) break
      nodes.push(node)
    }
    for (let i = nodes.length - 1; i < ids.length; i += BLOCK) {
      const block = ids.slice(i, i + BLOCK)
      for (const id of block) nodes.push(this.add(id, deepest()))
      this.evaluate(nodes.slice(-block.length), block.map(() => true))
    }
    return nodes.slice(1)
  }

  /** Logits after a node `(vocab,)`; not to be written to */
  logits(node) { return this.nodes[node].logits }

  /** How many tokens a text has that ends at a node */
  depth(node) { return node < 0 ? 0 : this.nodes[node].path.length }

  /** Ids from below `root` down to a node */
  ids(node, root = -1) {
    const path = this.nodes[node].path
    return Array.from(path.subarray(this.depth(root)), n => this.nodes[n].token)
  }

  /** Forget all but some nodes and those above them */
  keep(nodes) {
    const kept = new Set()
    for (const node of nodes.filter(n => n >= 0)) {
      this.nodes[node].path.forEach(n => kept.add(n))
    }
    this.nodes.forEach((node, n) => {
      if (!node || kept.has(n)) return
      this.places.delete(placeOf(node.parent, node.token))
      this.nodes[n] = null
      this.free.push(n)
    })
  }

  add(token, parent) {
    const above = parent < 0 ? [] : this.nodes[parent].path
    if (above.length >= this.model.config.window) throw new Error('the window is full')
    const node = this.free.pop() ?? this.nodes.length
    const path = new Int32Array(above.length + 1)
    path.set(above)
    path[above.length] = node
    this.nodes[node] = {token, parent, path, logits: null}
    this.places.set(placeOf(parent, token), node)
    return node
  }

  evaluate(nodes, wanted) {
    if (this.nodes.length > this.slots) this.grow()
    const at = nodes.map(n => this.nodes[n])
    const {layers} = this, states = this.hidden ? [] : undefined, exits = []
    const logits = this.model.forward(at.map(n => n.token), at.map(n => n.path),
                                      this.cache, wanted, {states, layers, exits})
    at.forEach((node, i) => {
      Object.assign(node, {logits: logits[i], state: states?.[i], exits: exits[i]})
    })
    this.evaluated += nodes.length
  }

  grow() {
    while (this.slots < this.nodes.length) this.slots *= 2
    const cache = this.model.cache(this.slots)
    cache.forEach((layer, l) => {
      layer.keys.set(this.cache[l].keys)
      layer.values.set(this.cache[l].values)
    })
    this.cache = cache
  }
}
