// Texts and values as Python writes them, and what would not be seen of a text.

const HIDDEN = /(?![\n\t\u200c\u200d])[\p{Cc}\p{Cf}\p{Co}\p{Cs}\u2028\u2029]/gu

function escaped(char) {
  const code = char.codePointAt(0), hex = n => code.toString(16).padStart(n, '0')
  return code < 256 ? `\\x${hex(2)}` : code < 65536 ? `\\u${hex(4)}` : `\\U${hex(8)}`
}

/** Text whose control and direction marks are seen: Python's `printable` */
export function visible(text) { return text.replace(HIDDEN, escaped) }

/** A text as Python writes it */
export function pythonText(text) {
  const quoted = text.replace(/[\\']/g, '\\$&').replace(/\n/g, '\\n')
    .replace(/[\t\u200c\u200d]/g, escaped)
  return `'${visible(quoted)}'`
}

/** A value of plain JSON as Python writes it */
export function pythonValue(value) {
  if (value === null || value === undefined) return 'None'
  if (typeof value === 'boolean') return value ? 'True' : 'False'
  if (typeof value === 'string') return pythonText(value)
  if (typeof value === 'number') {
    if (Number.isFinite(value)) return String(value)
    return `float('${value < 0 ? '-' : ''}inf')`
  }
  if (Array.isArray(value)) return `[${value.map(pythonValue).join(', ')}]`
  const pairs = Object.entries(value).map(([k, v]) => `${pythonText(k)}: ${
    pythonValue(v)}`)
  return `{${pairs.join(', ')}}`
}

/** How a knob is written: what is an object or a tuple in Python is no JSON */
export function knobText(name, value) {
  if (name === 'adaptive') {
    const {name: kind, ...knobs} = value
    const words = Object.entries(knobs).map(([k, v]) => `${k}=${pythonValue(v)}`)
    return `ls.${kind}(${words.join(', ')})`
  }
  if (name === 'amateur') return 'lm'            // the model itself
  if (name === 'dynamic_temperature') return `(${value.map(pythonValue).join(', ')})`
  if (name !== 'logit_bias') return pythonValue(value)
  const entries = value.map(([id, b]) => `${pythonValue(id)}: ${pythonValue(b)}`)
  return `{${entries.join(', ')}}`
}
