// The bundled model's tokenizer: byte-level byte pairs, as `tokenizers` reads them.
// What is a letter, a digit or a space is a table: a browser may have a newer Unicode.

/** Code points from gaps and lengths, as the inside of a character class */
function ranges(packed) {
  let at = 0
  const code = c => `\\u{${c.toString(16)}}`
  return packed.split(' ').map(pair => {
    const [gap, length] = pair.split(',').map(n => parseInt(n, 36))
    const first = at + gap
    at = first + length
    return `${code(first)}-${code(at - 1)}`
  }).join('')
}

/** Bytes in the order of their tokens: those that print come first */
function alphabet() {
  const prints = b => b > 32 && b < 127 || b > 160 && b !== 173
  const all = Array.from({length: 256}, (_, b) => b)
  return [...all.filter(prints), ...all.filter(b => !prints(b))]
}

/** @param {string} text base64 @returns {Uint8Array} */
export function bytesOf(text) {
  const chars = atob(text), bytes = new Uint8Array(chars.length)
  for (let i = 0; i < bytes.length; i++) bytes[i] = chars.charCodeAt(i)
  return bytes
}

export class Tokenizer {
  /**
   * @param {{letters: string, numbers: string, spaces: string, merges: string,
   *   special: string}} tables `merges`: two ids of 16 bits each, base64; `special`:
   *   the name of token 0, which begins and ends a text
   */
  constructor({letters, numbers, spaces, merges, special}) {
    const [L, N, S] = [letters, numbers, spaces].map(ranges)
    this.special = special
    const runs = [L, N, `^${S}${L}${N}`].map(kind => ` ?[${kind}]+`).join('|')
    this.pieces = new RegExp(`'(?:[stmd]|re|ve|ll)|${runs}|[${S}]+(?![^${S}])|[${S}]+`,
                             'gu')
    this.bytes = [[], ...alphabet().map(b => [b])]           // of each token
    this.idOf = new Map(this.bytes.map(([b], id) => [b, id]))
    this.merged = new Map()                                  // two ids to their token
    const pairs = new Uint16Array(bytesOf(merges).buffer)
    for (let i = 0; i < pairs.length; i += 2) {
      const a = pairs[i], b = pairs[i + 1]
      this.merged.set(a << 16 | b, this.bytes.length)
      this.bytes.push([...this.bytes[a], ...this.bytes[b]])
    }
    this.known = new Map()                                   // pieces to their ids
  }

  get size() { return this.bytes.length }

  /** Ids of a text as a prompt: the special token, once, then the text's own */
  encode(text) {
    const ids = this.idsOf(text)
    return text.startsWith(this.special) ? ids : [0, ...ids]
  }

  /** Ids of a text alone; `Error` where it is none */
  idsOf(text) {
    if (/\p{Surrogate}/u.test(text)) {
      throw new Error('prompt is no valid text: it has half of a surrogate pair')
    }
    return text.split(this.special).flatMap((part, i) => {
      const ids = (part.match(this.pieces) ?? []).flatMap(piece => this.merge(piece))
      return i ? [0, ...ids] : ids
    })
  }

  /** Ids of a piece: the earliest merge first, of equal ones the leftmost */
  merge(piece) {
    if (this.known.has(piece)) return this.known.get(piece)
    const ids = Array.from(new TextEncoder().encode(piece), b => this.idOf.get(b))
    for (;;) {
      let least = Infinity, place
      for (let i = 0; i + 1 < ids.length; i++) {
        const id = this.merged.get(ids[i] << 16 | ids[i + 1]) ?? Infinity
        if (id < least) [least, place] = [id, i]
      }
      if (least === Infinity) break
      ids.splice(place, 2, least)
    }
    if (this.known.size < 1e4) this.known.set(piece, ids)
    return ids
  }

  /** Text of ids without the special token; � where bytes are no character */
  decode(ids) {
    const bytes = ids.flatMap(id => this.bytes[id])
    return new TextDecoder('utf-8', {ignoreBOM: true}).decode(new Uint8Array(bytes))
  }

  /** A token by itself, the special one by its name */
  name(id) { return id ? this.decode([id]) : this.special }
}
