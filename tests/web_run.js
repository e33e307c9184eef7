// A case of tests/web_cases.py in JavaScript: `runCase(api, case)` gives what the
// engine says. Runs in node and, as a classic script, in a page; `api` asks the engine.
{
  const revived = v => v === 'inf' ? Infinity : v === '-inf' ? -Infinity : v

  /** Logits of a formula that both languages compute to the bit */
  function logitsOf(api, {seed, vocab, power, scale, steps}) {
    const z = api.uniformNoise(api.asSeed(seed), 0, vocab, 77)
    for (let i = 0; i < vocab; i++) {
      for (let p = 1; p < power; p *= 2) z[i] *= z[i]
      z[i] *= scale
      if (steps) z[i] = Math.floor(z[i] * steps) / steps
    }
    return z
  }

  const KINDS = {
    encode: (api, c) => api.call('encode', c),
    decode: (api, c) => api.call('decode', c),
    noise: (api, {seed, position, vocab, salt}) =>
      Array.from(api.uniformNoise(api.asSeed(seed), position, vocab, salt)),
    seeds: (api, {seed, ids, n}) => api.rowSeeds(seed, ids, n).map(api.seedText),

    filter(api, {logits, ids, position, state, settings, shift}) {
      const sampler = new api.Sampler(settings), z = logitsOf(api, logits)
      const where = {ids, position, shift, ...state && {state}}
      const out = sampler.filter(z, where)
      const kept = Array.from(out.keys()).filter(i => out[i] > -Infinity)
      const values = kept.slice(0, 20).map(i => out[i])
      if (!kept.length) return {kept, values, id: null, state: null}
      const {id, state: next} = sampler.draw(z, where)
      return {kept, values, id, state: next}
    },

    async explain(api, c) {
      const {drawn, steps} = await api.call('explain', c)
      return {drawn, steps: steps.map(s => [s.kept, s.removed, s.mass, s.entropy])}
    },
    async configuration(api, {system, configuration, prompt}) {
      const {settings, call, lost} = api.readConfiguration(system, configuration)
      const told = Object.entries(lost).map(([key, why]) => `${key} (${why})`)
      const message = told.length ? `settings cannot be honoured: ${told.join('; ')}; `
        + 'accept=[...] takes the rest' : ''
      const asked = {...settings, seed: settings.seed ?? 7}
      const {rows} = await api.call('orders', {prompt, settings: asked})
      const parts = list => list.map(p => [p.step, p.count, p.mass, p.first])
      return {message, call, rows: rows.map(r => ({
        order: r.order, kept: r.kept, drawn: r.drawn, less: parts(r.less),
        more: parts(r.more),
        steps: r.steps.map(s => [s.step, s.kept, s.removed, s.mass])}))}
    },
  }
  // strategies: their rows
  for (const kind of ['generate', 'beams', 'best_of_n', 'constrained_beam_search',
                      'contrastive_decoding', 'contrastive_search',
                      'diverse_beam_search', 'dola', 'minimum_bayes_risk',
                      'stochastic_beam_search']) {
    KINDS[kind] = async (api, c) => (await api.call(kind, c)).rows
  }

  globalThis.runCase = async (api, text) => {
    const c = JSON.parse(text, (_, v) => revived(v))
    try { return await KINDS[c.kind](api, c) }
    catch (error) { return {error: error.message} }
  }
}
