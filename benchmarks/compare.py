"""Every strategy of the package on the same prompts, with intervals: the numbers of the
chapter "The comparison" (`llm_sampling.comparison`), in some six minutes.

    python benchmarks/compare.py     # writes benchmark_comparison.json into
                                     # llm_sampling/data

Prompts are beginnings of held-out stories. Those that knobs were chosen on are never
those that are reported. `known`: the share of a text's words that stand in the training
stories; it does not ask the model. `surprisal`: the mean surprisal of a token, in nats,
to the model without any cut."""
import argparse
import json
import time

import numpy as np
from timing import results, where

OUT = results('comparison')
COMMAND = 'make compare'
TOKENS, SEED = 32, 1
REPORTED, CHOSEN, OTHERS = slice(0, 40), slice(40, 60), slice(60, 95)   # of the prompts
ALONE = 6                              # so many are run alone, for what they cost
HEATS = (.7, 1., 1.5, 2.)
CUTS = dict(top_k=(5, 20, 80), top_p=(.2, .4, .6, .8, .95), min_p=(.03, .1, .3),
            typical_p=(.05, .3, .6, .9), top_n_sigma=(.7, 1.2, 2.))
SUM_HEATS = (1., 1.5, 2., 3.)
SUM_CUTS = dict(top_k=(1, 2, 3, 5), top_p=(.3, .6, .8, .95), min_p=(.05, .1, .3, .6),
                typical_p=(.2, .4, .6, .9), top_n_sigma=(.3, .6, 1., 1.5))
PROBLEMS = 60, 150                     # to choose on; reported, and others


def parameters():
    "Specs of the parameter table, the others at the model's own"
    values = dict(temperature=(0., .2, .5, .8, 1., 1.2, 1.5, 2.),
                  top_k=(1, 5, 40, 100), top_p=(.1, .5, .9, 1.),
                  frequency_penalty=(.5, 1., 2.), presence_penalty=(.5, 1., 2.))
    return {f'{knob} {v:g}': {'strategy': 'generate', 'temperature': 1., knob: v}
            for knob, some in values.items() for v in some}

def cuts(heats, some):
    "Specs by name: each cut at each temperature, and none"
    specs = {}
    for heat in heats:
        plain = dict(strategy='generate', temperature=heat)
        specs[f'none {heat:g}'] = plain
        specs |= {f'{knob} {v:g} {heat:g}': plain | {knob: v}
                  for knob, values in some.items() for v in values}
    return specs

def continuations(prompts, words=25):
    "How the authors went on"
    from llm_sampling.default_model import held_out
    texts = [' '.join(s['text'].split()) for s in held_out()]
    found = []
    for p in prompts:
        text = next(t for t in texts if p in t)
        rest = text[text.index(p) + len(p):].split()[:words]
        found.append(' ' + ' '.join(rest))
    return found

def story_metrics():
    "Metrics that need no other model"
    from llm_sampling.default_model import known_share, load_words
    known = load_words()
    def share(out):
        return [known_share(t, known, why == 'stop')
                for t, why in zip(out.texts, out.finish_reasons)]
    def surprisal(out): return [-l.double().mean().item() for l in out.logprobs]
    return dict(known=share, surprisal=surprisal)

def rounded(found):
    "What a file keeps of a comparison"
    def number(v): return None if v is None or not np.isfinite(v) else float(f'{v:.5g}')
    return dict(specs=found.specs, errors=found.errors,
                intervals={n: {m: [*map(number, i)] for m, i in own.items()}
                           for n, own in found.intervals.items()},
                values={n: {m: [*map(number, v)] for m, v in own.items()}
                        for n, own in found.values.items()})

def strategies(lm, prompts):
    "All strategies: their texts measured in batches, their cost one prompt at a time"
    from llm_sampling.comparison import compare
    names = dict.fromkeys(('diversity', 'rep_4', 'distinct_2', 'coherence', 'mauve'))
    kw = dict(seed=SEED, max_new_tokens=TOKENS)
    found = compare(lm, prompts[REPORTED], None, story_metrics() | names,
                    references=continuations(prompts), **kw)
    cost = compare(lm, prompts[:ALONE], None, (), alone=True, **kw)
    for name, own in cost.intervals.items():
        found.intervals[name] |= own
        found.values[name] |= cost.values[name]
    return rounded(found)

def of_parameters(lm, prompts):
    "The table of parameters"
    from llm_sampling.comparison import compare
    metrics = story_metrics() | dict.fromkeys(('diversity', 'rep_4', 'distinct_2'))
    return rounded(compare(lm, prompts[REPORTED], parameters(), metrics, seed=SEED,
                           max_new_tokens=TOKENS))

def samplers(lm, prompts):
    """Each cut at each temperature: the value whose texts are as surprising as print,
    chosen on some prompts, measured on others"""
    from llm_sampling.comparison import compare
    from llm_sampling.metrics import logprobs_under
    kw = dict(seed=SEED, max_new_tokens=TOKENS)
    metrics = story_metrics() | {'distinct_2': None}
    tried = compare(lm, prompts[CHOSEN], cuts(HEATS, CUTS), metrics, **kw)
    print_ = logprobs_under(lm, prompts[CHOSEN], continuations(prompts[CHOSEN]))
    aim = -np.mean([l.mean().item() for l in print_])
    mean = {n: own['surprisal'].value for n, own in tried.intervals.items()}
    best = {}
    for name in mean:
        knob, *_, heat = name.split()
        place = f'{knob} {heat}'
        if place not in best or abs(mean[name] - aim) < abs(mean[best[place]] - aim):
            best[place] = name
    chosen = {place: tried.specs[name] for place, name in best.items()}
    told = compare(lm, prompts[OTHERS], chosen, metrics, **kw)
    tuned = {n: {m: i.value for m, i in own.items()}
             for n, own in tried.intervals.items()}
    return dict(aim=aim, tried=tuned, chosen=best) | rounded(told)

def right_of(lm, problems, specs):
    "Who is right, for each spec: a letter for each problem"
    from llm_sampling.equal_terms import write_shared
    from llm_sampling.specs import read_spec
    from llm_sampling.sums import LONGEST, is_right
    names, found = [*specs], {}
    for i in range(0, len(names), 7):
        some = names[i:i+7]
        outs = write_shared(lm, problems, [read_spec(specs[n]).sampler for n in some],
                            SEED, max_new_tokens=LONGEST)
        for name, out in zip(some, outs):
            right = [is_right(p, t) for p, t in zip(problems, out.texts)]
            found[name] = ''.join(str(int(r)) for r in right)
    return found

def debate():
    "Cuts at high temperatures, on sums: chosen on some problems, reported on others"
    from llm_sampling.sums import draw_problems, load_sums
    lm, specs = load_sums(), cuts(SUM_HEATS, SUM_CUTS)
    problems = draw_problems(sum(PROBLEMS), SEED)
    tried = right_of(lm, problems[:PROBLEMS[0]], specs)
    best = {}
    for name, right in tried.items():
        knob, *_, heat = name.split()
        place = f'{knob} {heat}'
        if place not in best or right.count('1') > tried[best[place]].count('1'):
            best[place] = name
    # the value that a user would take unread, beside the chosen one
    usual = {f'usual {k} {h:g}': {'strategy': 'generate', 'temperature': h, k: v}
             for h in SUM_HEATS for k, v in (('top_p', .9), ('min_p', .1))}
    right = right_of(lm, problems[PROBLEMS[0]:], {
        place: specs[name] for place, name in best.items()} | usual)
    return dict(problems=PROBLEMS, chosen=best, right=right,
                tried={n: r.count('1') / len(r) for n, r in tried.items()})

def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--out', default=OUT, help='default: in the package')
    ap.add_argument('--part', help='strategies, parameters, samplers, debate: '
                    'measure this part anew; default: all')
    a = ap.parse_args()
    import llm_sampling as ls
    from llm_sampling.default_model import held_out_prompts
    lm, prompts = ls.load(), held_out_prompts(95)
    parts = dict(strategies=lambda: strategies(lm, prompts),
                 parameters=lambda: of_parameters(lm, prompts),
                 samplers=lambda: samplers(lm, prompts), debate=debate)
    try: table = json.loads(open(a.out).read())
    except FileNotFoundError: table = {}
    table |= dict(command=COMMAND, machine=where('cpu'), tokens=TOKENS, seed=SEED)
    for name in [a.part] if a.part else parts:
        start = time.process_time()
        table[name] = parts[name]()
        print(f'{name}: {time.process_time() - start:.0f} s', flush=True)
        with open(a.out, 'w') as f: f.write(json.dumps(table) + '\n')

if __name__ == '__main__': main()
