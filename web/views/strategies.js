// Written by tools/web.py from tables of llm_sampling.

export const STRATEGIES = {
  greedy: {name: "greedy", settings: {temperature: 0}},
  draw: {name: "plain draw", settings: {temperature: 1}},
  hot: {name: "temperature 1.5", settings: {temperature: 1.5}},
  cool: {name: "temperature .7", settings: {temperature: 0.7}},
  top_k: {name: "top-k 40", settings: {top_k: 40}},
  top_p: {name: "top-p .9", settings: {top_p: 0.9}},
  min_p: {name: "min-p .1", settings: {min_p: 0.1}},
  typical: {name: "typical .9", settings: {typical_p: 0.9}},
  dry: {name: "greedy with DRY .8", settings: {temperature: 0, dry_multiplier: 0.8}},
  mirostat: {
    name: "Mirostat 2",
    settings: {adaptive: {name: "Mirostat2", tau: 3, eta: 0.1}},
  },
  beams: {name: "4 beams", search: "beam_search", options: {num_beams: 4}},
  forced: {
    name: "4 beams that say “gold”",
    search: "constrained_beam_search",
    options: {num_beams: 4, force_words_ids: [" gold"]},
  },
  best: {
    name: "best of 4",
    search: "best_of_n",
    options: {n: 4},
    settings: {temperature: 1},
  },
  mbr: {
    name: "most alike of 4",
    search: "minimum_bayes_risk",
    options: {n: 4},
    settings: {temperature: 1},
  },
  contrastive: {
    name: "contrastive search",
    search: "contrastive_search",
    options: {top_k: 4, penalty_alpha: 0.6},
  },
  difference: {
    name: "less its last 3 tokens",
    search: "contrastive_decoding",
    options: {amateur: "self", amateur_context: 3},
  },
  dola: {name: "DoLa, exit 2", search: "dola", options: {dola_layers: [2]}},
}

export const AT_FIRST = ["greedy", "draw", "top_p", "beams"]

export const FIRST = {
  prompt: "Once upon a time there was a",
  seed: "1",
  written: [],
  order: "transformers",
  knobs: {temperature: 0.8, top_p: 0.9},
}

export const FIRST_MAP = {
  prompt: "In the forest there lived",
  depth: 5,
  nodes: 150,
  search: "none",
  step: 1,
  at: [],
}
