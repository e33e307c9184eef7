// Beams whose texts contain given words: Python's `constrained_beam_search`.

import {Beams, GIVEN, NONE, check, searchBeams} from './beams.js'
import {ask} from './request.js'
import {TokenTree} from './tree.js'

const endsWith = (tail, phrase, n = phrase.length) => n <= tail.length
  && phrase.slice(0, n).every((id, i) => id === tail[tail.length - n + i])

/** Sets of phrases, of each of which one must occur, and the states of texts */
class Words {
  constructor(sets) {
    Object.assign(this, {sets, longest: Math.max(...sets.flat().map(p => p.length))})
    this.start = {met: new Set(), tail: []}
  }

  /** The state after one more token */
  add({met, tail: before}, token) {
    const tail = [...before, token].slice(-this.longest), all = this.sets.keys()
    const fresh = [...all].filter(i => this.sets[i].some(p => endsWith(tail, p)))
    return {met: new Set([...met, ...fresh]), tail}
  }

  complete({met}) { return met.size === this.sets.length }

  /** Of each phrase of the sets not met: tokens that the longest one of its set still
   *  needs, the next token, has it begun? */
  missing({met, tail}) {
    return this.sets.flatMap((phrases, i) => met.has(i) ? [] : phrases.map(p => {
      let n = p.length - 1
      while (!endsWith(tail, p, n)) n--
      const longest = Math.max(...phrases.map(q => q.length))
      return {left: longest - n, token: p[n], begun: n > 0}
    }))
  }

  /** Tokens that bring a text further: of the begun phrases that need least, or any */
  needed(state) {
    const found = this.missing(state), begun = found.filter(f => f.begun)
    const least = Math.min(...begun.map(f => f.left))
    const next = begun.length ? begun.filter(f => f.left === least) : found
    return [...new Set(next.map(f => f.token))]
  }

  /** How much is done; of phrases that have begun the one that needs least counts */
  bank(state) {
    const left = this.missing(state).filter(f => f.begun).map(f => f.left)
    const begun = left.length ? this.longest - Math.min(...left) : 0
    return state.met.size * this.longest + begun
  }
}

/** Live and finished hypotheses that must contain words */
class Forced extends Beams {
  constructor(request, tree, root, options, words) {
    super(request, tree, root, options)
    this.words = words
    this.live[0].state = words.start
  }

  step() {
    const sums = this.totals(), found = this.candidates(sums)
    const over = found.map(c => this.ends(c)), {words} = this
    this.length++
    this.finish(found.slice(0, this.width).filter((c, i) => over[i]
      && c.sum > -Infinity && words.complete(this.after(c))))
    this.end(this.dealt(this.options(found.filter((_, i) => !over[i]), sums)))
  }

  slot(node) { return this.live.findIndex(beam => beam.node === node) }

  /** The state of a candidate's text */
  after({node, token}) {
    return this.words.add(this.live[this.slot(node)].state, token)
  }

  /** The best candidates and those that bring a hypothesis further, best first */
  options(found, sums) {
    const all = found.filter(c => c.sum > -Infinity).slice(0, this.width)
    const vocab = sums.length / this.width, {words} = this
    const known = new Set(all.map(c => `${c.node} ${c.token}`))
    this.live.forEach(({node, state}, k) => {
      if (node === -2 || words.complete(state)) return
      for (const token of words.needed(state)) {
        const sum = sums[k * vocab + token]
        if (!known.has(`${node} ${token}`) && sum > -Infinity) {
          all.push({node, token, sum})
        }
      }
    })
    // of equal ones the better beam, then the lowest id
    const order = (a, b) => b.sum - a.sum || this.slot(a.node) - this.slot(b.node)
      || a.token - b.token
    return all.sort(order).map(c => ({...c, state: this.after(c)}))
  }

  /** Those that get a place: the banks take turns, the highest first */
  dealt(choices) {
    const turns = new Map(), all = choices.map((c, place) => {
      const bank = this.words.bank(c.state), turn = turns.get(bank) ?? 0
      turns.set(bank, turn + 1)
      return {turn, bank, place}
    })
    return all.sort((a, b) => a.turn - b.turn || b.bank - a.bank)
      .slice(0, this.width).map(t => t.place).sort((a, b) => a - b)
      .map(place => choices[place])
  }

  /** Live ones end that a forced token has ended, and at the greatest length all */
  end(dealt) {
    const last = this.length === this.request.max, {words} = this
    const over = dealt.map(c => last || this.ends(c))
    this.finish(dealt.filter((c, i) => over[i] && words.complete(c.state)))
    const on = dealt.filter((_, i) => !over[i])
    this.live = [...on, ...Array.from({length: this.width - on.length}, () => NONE)]
    this.close()
  }
}

/** Phrases of ids from texts or ids, in sets of which one must occur */
function setsOf({tokenizer, model}, words, max, eos) {
  const fail = text => { throw new RangeError(`force_words_ids: ${text}`) }
  const isPhrase = x => typeof x === 'string' || Number.isInteger(x?.[0])
  const known = id => Number.isInteger(id) && id >= 0 && id < model.config.vocab
    && !eos.includes(id)
  const phrase = word => {
    const ids = typeof word === 'string' ? tokenizer.idsOf(word) : word
    if (Array.isArray(ids) && ids.length && ids.every(known)) return ids
    return fail(`a word must hold ids that do not end a text, not ${word}`)
  }
  if (!Array.isArray(words) || !words.length) fail('it must be a list of words')
  const sets = words.map(x => (isPhrase(x) || !x?.length ? [x] : x).map(phrase))
  const long = sets.find(phrases => Math.min(...phrases.map(p => p.length)) > max)
  if (long) fail(`${long[0]} has more tokens than max_new_tokens = ${max}`)
  return sets
}

/**
 * Beams whose texts contain given words (Post and Vilar, 2018), as a generator.
 * @param {import('./request.js').LanguageModel} lm
 * @param {string|number[]} prompt
 * @param {Object|null} settings of a `Sampler`: what its filters drop is not forced
 * @param {Object} options as Python's
 * @yields {Object} after each step as `beamSearch`
 * @returns {{rows: Object[], stats: Object}}
 */
export function* constrainedBeamSearch(lm, prompt, settings = null, options = {}) {
  const start = performance.now(), given = {...GIVEN, ...options, do_sample: false}
  const request = ask(lm, prompt, settings, {...options, n: given.num_beams})
  check(given, request)
  const words = new Words(setsOf(lm, given.force_words_ids, request.max, request.eos))
  const tree = new TokenTree(lm.model)
  const beams = new Forced(request, tree, tree.read(request.ids), given, words)
  yield* searchBeams([beams])
  return {rows: beams.rows(given.num_return_sequences),
          stats: {tokens_evaluated: tree.evaluated,
                  seconds: (performance.now() - start) / 1e3}}
}
