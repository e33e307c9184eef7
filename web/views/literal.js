// Reads a configuration as people have it: JSON, a Python dict, or a call such as
// `SamplingParams(temperature=.8)`. Nothing is run: values are numbers, texts, lists
// and dicts.

const WORDS = {True: true, true: true, False: false, false: false, None: null,
               null: null, inf: Infinity, Infinity}
const ESCAPES = {n: '\n', t: '\t', r: '\r', b: '\b', f: '\f'}
const SKIP = /(?:\s|#[^\n]*)*/y, NAME = /[A-Za-z_][\w.]*/y
const NUMBER = /[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?/y
const STRING = /"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'/y
const ASSIGNED = /[A-Za-z_]\w*\s*=\s*/y           // `params = SamplingParams(…)`
const ENDS = {'[': ']', '(': ')'}
const DEEPEST = 50

function unescaped(text) {
  return text.slice(1, -1).replace(/\\(u[\da-fA-F]{4}|x[\da-fA-F]{2}|.)/g, (_, e) =>
    e.length > 1 ? String.fromCharCode(parseInt(e.slice(1), 16)) : ESCAPES[e] ?? e)
}

class Reader {
  constructor(text) { Object.assign(this, {text, at: 0, depth: 0}) }

  /** The next piece that a pattern matches; '' without one */
  take(pattern) {
    pattern.lastIndex = this.at
    const found = pattern.exec(this.text)?.[0] ?? ''
    this.at += found.length
    return found
  }

  skip() { this.take(SKIP) }

  /** Is a sign next? Then it is taken */
  sign(sign) {
    this.skip()
    if (!this.text.startsWith(sign, this.at)) return false
    this.at += sign.length
    return true
  }

  fail() {
    const line = this.text.slice(0, this.at).split('\n').length
    const rest = this.text.slice(this.at, this.at + 12).trim()
    throw new Error(`line ${line} is not understood at “${rest || 'its end'}”`)
  }

  /** What stands between brackets, commas between: lists of what `entry` reads */
  all(end, entry) {
    const found = []
    if (++this.depth > DEEPEST) this.fail()
    while (!this.sign(end)) {
      if (found.length && !this.sign(',')) this.fail()
      if (found.length && this.sign(end)) break
      found.push(entry())
    }
    this.depth--
    return found
  }

  keyword() {
    this.skip()
    const name = this.take(NAME)
    if (!name || !this.sign('=')) this.fail()
    return [name, this.value()]
  }

  entry() {
    const key = this.value()
    if (!this.sign(':') || !['string', 'number'].includes(typeof key)) this.fail()
    return [String(key), this.value()]
  }

  value() {
    this.skip()
    const string = this.take(STRING)
    if (string) return unescaped(string)
    const number = this.take(NUMBER)
    if (number) return Number(number.replace(/_/g, ''))
    if (this.sign('{')) return Object.fromEntries(this.all('}', () => this.entry()))
    for (const open of '[(') {
      if (this.sign(open)) return this.all(ENDS[open], () => this.value())
    }
    if (this.sign('-inf')) return -Infinity
    return this.named()
  }

  named() {
    const name = this.take(NAME)
    if (Object.hasOwn(WORDS, name)) return WORDS[name]
    if (!name || !this.sign('(')) this.fail()
    return Object.fromEntries(this.all(')', () => this.keyword()))
  }
}

/** The dict that a text holds; `Error` says where it is none */
export function parseLiteral(text) {
  const reader = new Reader(text)
  reader.skip()
  reader.take(ASSIGNED)
  const value = reader.value()
  reader.skip()
  if (reader.at < text.length) reader.fail()
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new Error('a configuration is a dict: {"temperature": 0.8}, or '
                    + 'SamplingParams(temperature=0.8)')
  }
  return value
}
