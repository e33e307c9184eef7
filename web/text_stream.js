// Whole characters only, no stop string, and nothing taken back.

/** `text` without an unfinished character at its end */
function wholeOf(text) { return text.replace(/\ufffd+$/, '') }

/** Length of what two texts begin with, in whole characters */
function commonLength(a, b) {
  let n = 0
  while (n < a.length && n < b.length && a[n] === b[n]) n++
  return n && /[\ud800-\udbff]/.test(a[n - 1]) ? n - 1 : n
}

/** The text of a growing row of ids, as far as nothing that follows can change it */
export class TextStream {
  /**
   * @param {import('./tokenizer.js').Tokenizer} tokenizer
   * @param {number[]} context ids before the row: the end of the prompt
   * @param {string[]} stop strings that end the text, and are no part of it
   */
  constructor(tokenizer, context = [], stop = []) {
    Object.assign(this, {tokenizer, stop, stopped: null, text: '', shown: 0})
    this.tail = [...context]       // ids that are decoded again
    this.old = context.length      // of these, those of an earlier piece
    this.known = tokenizer.decode(this.tail)
  }

  /** Take in new ids; gives the text that can be shown now */
  add(ids) {
    if (this.stopped !== null) return ''
    this.tail.push(...ids)
    const now = this.tokenizer.decode(this.tail)
    this.take(wholeOf(now))
    const fresh = this.tail.slice(this.old)
    const said = now === wholeOf(now) ? this.tokenizer.decode(fresh) : ''
    if (said) Object.assign(this, {tail: fresh, old: fresh.length, known: said})
    return this.show(this.held())
  }

  /** The rest of the text: the row has ended */
  finish() {
    if (this.stopped === null) this.take(this.tokenizer.decode(this.tail))
    return this.show(0)
  }

  /** Add what is new of the tail's text, cut at the first stop string */
  take(now) {
    const before = this.text.length, fresh = now.slice(commonLength(this.known, now))
    if (fresh) { this.text += fresh; this.known = now }
    let first = Infinity
    for (const s of this.stop) {
      const at = this.text.indexOf(s, Math.max(0, before - s.length + 1))
      if (at >= 0 && at < first) { first = at; this.stopped = s }
    }
    if (first < Infinity) this.text = this.text.slice(0, first)
  }

  /** Length of the longest end of the text that begins a stop string */
  held() {
    if (this.stopped !== null) return 0
    let most = 0
    for (const s of this.stop) {
      for (let k = s.length - 1; k > most; k--) {
        if (this.text.endsWith(s.slice(0, k))) most = k
      }
    }
    return most
  }

  /** The text not given out yet, but for its last `held` characters */
  show(held) {
    const piece = this.text.slice(this.shown, this.text.length - held)
    this.shown += piece.length
    return piece
  }
}
