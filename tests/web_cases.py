"""Is the engine of the pages equal to Python? Cases, Python's answers, and a verdict.

    python tests/web_cases.py               # all cases, in node and in Chromium
    python tests/web_cases.py --speed       # tokens and steps per second, in Chromium

A case is plain JSON. Python computes what is expected, tests/web_run.js what the engine
says. A token may differ only where its perturbed logit agrees with the expected one's
to 1e-5; such near ties are counted, and anything else is a failure."""
import argparse
import json
import random
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from functools import cache

import torch
import web_configurations
from browser import browser, serve
from scripts import ROOT, script

import llm_sampling as ls
from llm_sampling.noise import gumbel_noise, uniform_noise

NEAR = 1e-5
STEPS = [*ls.steps.STEPS, 'allowed_token_ids']
TEXTS = [
    'Once upon a time', 'The king', 'It was a dark and stormy night, and', '', ' ',
    'one', 'He said: "I\'ll', "they're we've I'm he'd don't 's",
    'A  B   C\n\n\tD  ',
    '日本語の話', 'Привет, мир', 'مرحبا بالعالم', '👩‍👩‍👧‍👦 and 🏳️‍🌈', 'naïve café é',
    '<|endoftext|>Once', 'end<|endoftext|>begin', '\u00a0\u0085\u2003\ufeff x',
    '½ ² Ⅷ ٣ 12345', '<script>alert(1)</script>', '\u202eabc\u202c', '\x00\x01\x7f',
    '\U000113c1 \ua7cf \u088f \u0c5c', 'ﬁ ffi ẞ ǅ',
    'the cat sat on the mat, the cat sat on the',
    'Long ago ' * 15]

# --- cases ---

def value_of(dice, name):
    "A value for a knob"
    some = dice.choice
    ids = lambda n: [dice.randrange(12) for _ in range(n)]
    return {
        'logit_bias': lambda: {i: some([-3., 2.5, '-inf', .1]) for i in ids(3)},
        'allowed_token_ids': lambda: ids(some([1, 6, 9])),
        'ban_tokens': lambda: [ids(n) for n in (1, 2, 2)],
        'no_repeat_ngram_size': lambda: some([1, 2, 3]),
        'repetition_penalty': lambda: some([1.1, 1.3, .8, 2, 1]),
        'frequency_penalty': lambda: some([.1, .7, -.3, 2]),
        'presence_penalty': lambda: some([.2, 1.5, -.4, 0]),
        'dry_multiplier': lambda: some([.8, 2, .1]),
        'temperature': lambda: some([.5, .7, .8, 1.3, 2, 0, 1, 1e-40]),
        'dynamic_temperature': lambda: some([[.5, 1.5], [.2, 2, 2.5], [0, 1, .5]]),
        'top_h': lambda: some([.3, .6, .9]), 'top_k': lambda: some([1, 5, 40, 10**6]),
        'top_p': lambda: some([.3, .5, .9, .95, 0]),
        'min_p': lambda: some([.02, .1, .5, 1]),
        'typical_p': lambda: some([.2, .5, .9]),
        'epsilon_cutoff': lambda: some([3e-4, .01, .5]),
        'eta_cutoff': lambda: some([3e-4, .01, .3]), 'top_a': lambda: some([.1, .5, 1]),
        'top_n_sigma': lambda: some([.5, 1, 2.5, 'inf']), 'p_less': lambda: True,
        'tail_free': lambda: some([.5, .9, .97]),
        'xtc_probability': lambda: some([.3, .5, 1]),
        'adaptive': lambda: some([
            dict(name='Mirostat2', tau=3.), dict(name='Mirostat1', tau=4, eta=.2),
            dict(name='Mirostat2', tau=2.5, eta=.3, surprise='kept'),
            dict(name='AdaptiveP', target=.3),
            dict(name='AdaptiveP', target=.1, decay=.5)]),
    }[name]()

EXTRAS = {'dry_multiplier': dict(dry_base=[1.75, 1.2, 1], dry_allowed_length=[1, 2, 3],
                                 dry_breakers=[[], [3], [0, 5]]),
          'xtc_probability': dict(xtc_threshold=[.1, .05, .3])}

def settings_of(dice, names, order):
    "A sampler's settings"
    out = {name: value_of(dice, name) for name in names}
    for name in names:
        for extra, values in EXTRAS.get(name, {}).items():
            if dice.random() < .6: out[extra] = dice.choice(values)
    if order == 'own': order = dice.sample([*ls.steps.STEPS], len(ls.steps.STEPS))
    return out | dict(order=order, seed=dice.randrange(-2**63, 2**63))

def some_settings(dice, without=()):
    names = [n for n in STEPS if n not in without]
    names = dice.sample(names, dice.choice([1, 1, 2, 3, 4, 6]))
    return settings_of(dice, names, dice.choice([*ls.steps.ORDERS, 'own']))

def filter_case(dice, settings):
    vocab = dice.choice([3, 17, 300, 4096])
    logits = dict(seed=dice.randrange(2**32), vocab=vocab, steps=dice.choice([0, 0, 4]),
                  scale=dice.choice([6, 14, 30]), power=dice.choice([1, 4, 16, 64]))
    if vocab < 12:
        for name in ('logit_bias', 'ban_tokens', 'allowed_token_ids'):
            settings.pop(name, 0)
    ids = [dice.randrange(min(vocab, dice.choice([4, 12]))) for _ in range(dice.choice(
        [1, 3, 12, 40]))]
    state = [dice.randrange(2, 60) / 8, dice.randrange(2, 40) / 8]
    if settings.get('adaptive', {}).get('name') == 'AdaptiveP':
        state = [v / 8 for v in state]
    return dict(kind='filter', logits=logits, ids=ids, settings=settings,
                position=dice.randrange(len(ids) + 1), shift=dice.random() < .8,
                state='adaptive' in settings and state)

def filter_cases(dice, n):
    "Every step in every order, then mixtures"
    orders = [*ls.steps.ORDERS, 'own']
    alone = [settings_of(dice, [name], order)
             for name in STEPS for order in orders]
    mixed = [some_settings(dice) for _ in range(max(0, n - len(alone)))]
    return [filter_case(dice, s) for s in (alone + mixed)[:n]]

def text_case(dice, kind, without, **options):
    if dice.random() < .1: settings = None
    else: settings = some_settings(dice, without) | (
        {'temperature': dice.choice([.7, 1.2])} if dice.random() < .5 else {})
    if settings and isinstance(settings['order'], list):
        settings['order'] = [n for n in settings['order'] if n not in without]
    return dict(kind=kind, prompt=dice.choice(TEXTS), settings=settings,
                options=options)

def stops(dice):
    return dice.choice([[], [], [], ['.'], [' the', ',\n'], ['\n\n', 'and']])

def generate_case(dice):
    return text_case(dice, 'generate', (), n=dice.choice([1, 1, 1, 2, 3]),
                     max_new_tokens=dice.choice([1, 6, 10, 16]), stop=stops(dice),
                     eos_token_id=dice.choice([[0], [], [0, 14]]),
                     seed=dice.randrange(2**40))

def beam_case(dice):
    k = dice.choice([1, 2, 4, 5])
    return text_case(dice, 'beams', ['adaptive'], num_beams=k, stop=stops(dice),
                     max_new_tokens=dice.choice([1, 5, 9, 14]),
                     length_penalty=dice.choice([1, 1, 0, .5, 2, -1]),
                     early_stopping=dice.choice([False, True, 'never']),
                     num_return_sequences=dice.choice([1, k]),
                     do_sample=dice.random() < .3,
                     eos_token_id=dice.choice([[0], [14]]), seed=dice.randrange(2**40))

def best_case(dice, kind='best_of_n'):
    n = dice.choice([1, 2, 4])
    return text_case(dice, kind, (), n=n, max_new_tokens=dice.choice([1, 7, 12]),
                     num_return_sequences=dice.choice([1, n]), stop=stops(dice),
                     eos_token_id=dice.choice([[0], [], [0, 14]]),
                     seed=dice.randrange(2**40))

def contrastive_case(dice):
    return text_case(dice, 'contrastive_search', (), top_k=dice.choice([1, 2, 4, 8]),
                     penalty_alpha=dice.choice([0, .3, .6, .6, 1]),
                     max_new_tokens=dice.choice([0, 1, 6, 14]), stop=stops(dice),
                     eos_token_id=dice.choice([[0], [], [0, 14]]),
                     seed=dice.randrange(2**40))

def contrasts_case(dice):
    "Against the same model with less of the text, or against its early layers"
    shared = dict(alpha=dice.choice([0, .1, .1, .5]), stop=stops(dice),
                  max_new_tokens=dice.choice([0, 1, 6, 9, 14]),
                  eos_token_id=dice.choice([[0], [], [0, 14]]),
                  seed=dice.randrange(2**40))
    if dice.random() < .4:
        layers = dice.choice(['low', 'high', [2], [0, 5, 3], [6]])
        return text_case(dice, 'dola', (), dola_layers=layers, **shared)
    context = dice.choice([{}, {}, *(dict(amateur_context=n) for n in (1, 3, 5, 0))])
    beta = dice.choice([{}, *(dict(beta=b) for b in (0, .5, 2))])
    return text_case(dice, 'contrastive_decoding', (), **shared | context | beta,
                     amateur_temperature=dice.choice([1, 1, .5, 2]))

def stochastic_case(dice):
    return text_case(dice, 'stochastic_beam_search', ['adaptive'], stop=stops(dice),
                     num_beams=dice.choice([1, 2, 4, 7]),
                     max_new_tokens=dice.choice([1, 3, 8, 12]),
                     eos_token_id=dice.choice([[0], [14], [0, 14]]),
                     seed=dice.randrange(2**40))

def diverse_case(dice):
    groups, width = dice.choice([1, 2, 3, 4]), dice.choice([1, 2])
    k = groups * width
    return text_case(dice, 'diverse_beam_search', ['adaptive'], num_beams=k,
                     num_beam_groups=groups, stop=stops(dice),
                     diversity_penalty=dice.choice([0, .5, 1, 3]),
                     max_new_tokens=dice.choice([1, 5, 9, 14]),
                     length_penalty=dice.choice([1, 0, 2]),
                     early_stopping=dice.choice([False, True, 'never']),
                     num_return_sequences=dice.choice([1, k]),
                     eos_token_id=dice.choice([[0], [14]]), seed=dice.randrange(2**40))

def constrained_case(dice):
    words = [[' gold'], [' old', ' woman'], [[' gold', ' silver'], ' king'],
             [[290, 12]], [' woodcutterish'], [[[300], [301, 302]], ' the', ','],
             [' old man', ' man'], [[300, 301, 302, 303], [301, 304]], [' a', '.'],
             [[[300, 301], [300, 302, 303]], [300, 305]], ['.', ' the'], [',', '\n'],
             [[0]], [], ['the cat sat on the mat and more']]
    k = dice.choice([1, 2, 4, 6])
    case = text_case(dice, 'constrained_beam_search', ['adaptive'], num_beams=k,
                     force_words_ids=dice.choice(words), stop=stops(dice),
                     max_new_tokens=dice.choice([3, 6, 9, 14]),
                     length_penalty=dice.choice([1, 1, 0, 2]),
                     early_stopping=dice.choice([False, True, 'never']),
                     num_return_sequences=dice.choice([1, 1, k]),
                     eos_token_id=dice.choice([[0], [14]]), seed=dice.randrange(2**40))
    # a filter drops most words that are to be forced
    return case | dict(settings=None) if dice.random() < .7 else case

def odd_text(dice):
    "Code points from everywhere, in short runs of a kind"
    ranges = [(32, 127), (0, 256), (0x300, 0x3000), (0x3000, 0xd800), (0xe000, 0x10000),
              (0x10000, 0x110000), (9, 33), (0x2000, 0x2070)]
    runs = [dice.choice(ranges) for _ in range(dice.randrange(1, 8))]
    return ''.join(chr(dice.randrange(*run)) for run in runs
                   for _ in range(dice.randrange(1, 5)))

def small_cases(dice, n):
    "Tokenizer, noise, seeds"
    words = [dict(kind='encode', text=t) for t in TEXTS]
    words += [dict(kind='encode', text=odd_text(dice)) for _ in range(n)]
    words += [dict(kind='decode', ids=[dice.randrange(dice.choice([300, 4096]))
                                       for _ in range(dice.randrange(9))])
              for _ in range(n)]
    seed = lambda: dice.choice([0, 1, -1, 2**63 - 1, -2**63, dice.randrange(2**62)])
    words += [dict(kind='noise', seed=seed(), position=dice.randrange(999), vocab=50,
                   salt=dice.choice([0, 0x787463])) for _ in range(n // 8)]
    words += [dict(kind='seeds', seed=seed(), n=3,
                   ids=[dice.randrange(4096) for _ in range(dice.randrange(1, 60))])
              for _ in range(n // 4)]
    return words

def explain_case(dice):
    case = text_case(dice, 'explain', (), row=dice.randrange(3),
                     seed=dice.randrange(2**40))
    ids = [dice.randrange(1, 4096) for _ in range(dice.choice([0, 1, 5, 12]))]
    return case | dict(ids=ids, settings=case['settings'] or dict(order='vllm', seed=1))

def window_cases():
    "Rows that grow past the window of the model"
    sampler = dict(temperature=.8, top_p=.9, seed=5, frequency_penalty=.2)
    ids = lambda n: [0, *(300 + i % 50 for i in range(n - 1))]
    drawn = [dict(kind='generate', prompt=ids(n), settings=sampler,
                  options=dict(max_new_tokens=6, n=2)) for n in (508, 511, 512)]
    kinds = dict(contrastive_search={}, dola=dict(dola_layers=[3]),
                 contrastive_decoding=dict(amateur_context=507))
    return drawn + [dict(kind=kind, prompt=ids(n), settings=None,
                         options=dict(max_new_tokens=6, **own))
                    for kind, own in kinds.items() for n in (508, 511, 512)]

def cases(scale=1, seed=5):
    "All cases; a scale below 1 takes as many of each kind"
    dice, n = random.Random(seed), lambda count: max(2, round(scale * count))
    made = small_cases(dice, n(160)) + filter_cases(dice, n(500))
    made += [generate_case(dice) for _ in range(n(330))]
    made += [beam_case(dice) for _ in range(n(90))]
    made += [best_case(dice) for _ in range(n(40))]
    made += [diverse_case(dice) for _ in range(n(40))]
    made += [explain_case(dice) for _ in range(n(80))]
    made += [web_configurations.drawn(dice) for _ in range(n(300))]
    made += [contrastive_case(dice) for _ in range(n(60))]
    made += [stochastic_case(dice) for _ in range(n(60))]
    made += [best_case(dice, 'minimum_bayes_risk') for _ in range(n(40))]
    made += [contrasts_case(dice) for _ in range(n(60))]
    made += [constrained_case(dice) for _ in range(n(60))]
    made += window_cases() if scale == 1 else []
    for c in made:             # JavaScript's numbers hold no 64-bit integers
        for part in (c, c.get('settings') or {}, c.get('options', {})):
            if 'seed' in part: part['seed'] = str(part['seed'])
    return made

# --- what Python says ---

def revived(value):
    "A setting as Python takes it"
    if isinstance(value, dict): return {k: revived(v) for k, v in value.items()}
    if isinstance(value, list): return [revived(v) for v in value]
    return float(value) if value in ('inf', '-inf') else value

def sampler_of(settings):
    s = revived(settings)
    if 'adaptive' in s:
        knobs = dict(s['adaptive'])
        s['adaptive'] = getattr(ls, knobs.pop('name'))(**knobs)
    if 'logit_bias' in s:
        s['logit_bias'] = {int(k): v for k, v in s['logit_bias'].items()}
    if 'allowed_token_ids' in s:
        only = dict(allowed_token_ids=s.pop('allowed_token_ids'))
        s['processors'] = ls.Sampler.from_vllm(only).processors
    return ls.Sampler(**s | dict(seed=int(s['seed'])))

@cache
def bundled(): return ls.load()

def logits_of(seed, vocab, power, scale, steps):
    z = uniform_noise(int(seed), 0, vocab, salt=77)
    while power > 1: z, power = z * z, power // 2
    z = z * scale
    return (z * steps).floor() / steps if steps else z

def said_filter(c):
    s, z = sampler_of(c['settings']), logits_of(**c['logits'])[None]
    *past, state = past_of(c)
    out = s.filter(z, *past, state, shift=c['shift'])[0]
    kept = (out > -torch.inf).nonzero().flatten().tolist()
    values = [out[i].item() for i in kept[:20]]
    if not kept: return dict(kept=kept, values=values, id=None, state=None)
    id = s(z, *past, state)
    new = s.update(state, z, id, *past)
    return dict(kept=kept, values=values, id=id.item(),
                state=None if new is None else new[0].tolist())

def past_of(c):
    "Ids, mask, position and state of a filter case"
    state = torch.tensor([c['state']]) if c['state'] else None
    return torch.tensor([c['ids']]), None, c['position'], state

SEARCHES = dict(generate=ls.generate, beams=ls.beam_search, best_of_n=ls.best_of_n,
                constrained_beam_search=ls.constrained_beam_search,
                contrastive_decoding=lambda lm, *args, **kw: ls.contrastive_decoding(
                    lm, lm, *args, **kw), dola=ls.dola,
                contrastive_search=ls.contrastive_search,
                diverse_beam_search=ls.diverse_beam_search,
                minimum_bayes_risk=ls.minimum_bayes_risk,
                stochastic_beam_search=ls.stochastic_beam_search)

def strategy(c):
    "Rows of a strategy as the engine gives them"
    lm, options = bundled(), dict(c['options'])
    if 'seed' in options: options['seed'] = int(options['seed'])
    options['eos_token_id'] = options.get('eos_token_id', [0])
    sampler = c['settings'] and sampler_of(c['settings'])
    out = SEARCHES[c['kind']](lm, prompt_of(c), sampler=sampler, **options)
    return [vars(r) | dict(ids=r.ids.tolist(), logprobs=r.logprobs.tolist())
            for r in out]

def prompt_of(c):
    text = isinstance(c['prompt'], str)
    return c['prompt'] if text else torch.tensor([c['prompt']])

SAYS = dict(
    explain=lambda c: said_explain(c),
    encode=lambda c: bundled().encode(c['text'])[0][0].tolist(),
    decode=lambda c: bundled().decode(c['ids']),
    noise=lambda c: uniform_noise(int(c['seed']), c['position'], c['vocab'],
                                  c['salt']).tolist(),
    seeds=lambda c: [str(s) for s in ls.row_seeds(
        int(c['seed']), torch.tensor([c['ids']]), n=c['n']).tolist()],
    configuration=lambda c: web_configurations.read(c, bundled()),
    filter=said_filter, **dict.fromkeys(SEARCHES, strategy))

def expected(c):
    "What Python says to a case"
    try: return SAYS[c['kind']](c)
    except ValueError as e: return dict(error=str(e))

# --- the verdict ---

def close(a, b, eps=2e-4):
    "Numbers or lists of them, equal but for rounding"
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(close, a, b))
    if a is None or b is None: return a is b
    return abs(a - b) <= eps * max(1, abs(a))

def place(c, row, ids):
    "Sampler, logits, history and state from which Python draws what follows some ids"
    lm, t = bundled(), len(ids)
    prompt, state = lm.encode(prompt_of(c))[0], None
    s = sampler_of(c['settings'] or dict(temperature=0, seed=0))
    seed = int(c['options'].get('seed', s.seed))
    s = s.replace(seed=ls.row_seeds(seed, prompt, n=row + 1)[row:])
    for i in range(t + 1):
        past = torch.cat([prompt, torch.tensor([ids[:i]], dtype=torch.long)], 1)
        z, where = lm.forward(past)[0][:, -1], (past, None, i)
        state = s.init(1) if i == 0 else state
        if i < t: state = s.update(state, z, torch.tensor([ids[i]]), *where)
    return s, z, where, state

def scores_at(c, row, ids, t):
    "Perturbed logits from which Python draws token `t` of a row"
    s, z, where, state = place(c, row, ids[:t])
    return perturbed(s, s.filter(z, *where, state), t)

def said_explain(c):
    s, z, where, state = place(c, c['options']['row'], c['ids'])
    reports = s.explain(z, *where, state=state).report()
    steps = [[r.kept, len(r.removed), r.mass, r.entropy if r.kept else None]
             for r in reports]
    drawn = s(z, *where, state).item() if reports[-1].kept else None
    return dict(drawn=drawn, steps=steps)

def perturbed(s, z, position):
    return (z + gumbel_noise(s.seed, position, z.shape[-1]) * s.draws)[0]

def near_tie(c, want, got):
    "Do rows part at tokens whose scores agree?"
    # equal scores are no sign that tokens nearly tied: that of a drawn text is its
    # parent's, two texts may be as much like the others, and all contrasts may be 0
    if c['kind'] in ('stochastic_beam_search', 'minimum_bayes_risk', 'dola',
                     'contrastive_decoding'): return False
    for row, (w, g) in enumerate(zip(want, got)):
        parts = [t for t, (a, b) in enumerate(zip(w['ids'], g['ids'])) if a != b]
        if w['ids'] == g['ids']: continue
        if not parts: return False
        t = parts[0]
        if c['kind'] != 'generate': gap = abs(w['score'] - g['score'])
        else:
            z = scores_at(c, row, w['ids'], t)
            gap = abs(z[w['ids'][t]] - z[g['ids'][t]]).item()
        if not gap <= NEAR: return False
    return True

def same_rows(want, got):
    exact = ('ids', 'text', 'finish_reason', 'stop')
    return len(want) == len(got) and all(
        all(w[k] == g[k] for k in exact) and close(w['logprobs'], g['logprobs'])
        and close(w['score'], g['score']) for w, g in zip(want, got))

def verdict(c, want, got):
    "'equal', 'near tie', 'both raise', or 'different'"
    failed = ['error' in x for x in (want, got) if isinstance(x, dict)]
    if any(failed): return 'both raise' if failed == [True, True] else 'different'
    if c['kind'] in SEARCHES:
        if same_rows(want, got): return 'equal'
        same_ids = [w['ids'] for w in want] == [g['ids'] for g in got]
        return 'near tie' if not same_ids and near_tie(c, want, got) else 'different'
    if c['kind'] == 'explain':
        return 'equal' if close(want['steps'], got['steps']) and (
            want['drawn'] == got['drawn']) else 'different'
    if c['kind'] == 'configuration':
        return web_configurations.verdict(c, want, got, bundled())
    if c['kind'] != 'filter': return 'equal' if want == got else 'different'
    if want['kept'] != got['kept']: return 'different'
    if not close(want['values'], got['values'], 1e-5): return 'different'
    if want['id'] == got['id']:
        return 'equal' if close(want['state'], got['state'], 1e-5) else 'different'
    s, z = sampler_of(c['settings']), logits_of(**c['logits'])[None]
    z = s.filter(z, *past_of(c))
    z = perturbed(s, z, c['position'])
    gap = abs(z[want['id']] - z[got['id']])
    return 'near tie' if gap <= NEAR else 'different'

def judged(made, wanted, said):
    "Counts of verdicts by kind, and what is different"
    found = [verdict(*x) for x in zip(made, wanted, said)]
    counts = Counter((c['kind'], v) for c, v in zip(made, found))
    all_of = zip(made, wanted, said)
    return counts, [x for x, v in zip(all_of, found) if v == 'different']

# --- where it runs ---

@cache
def built():
    "The folder with script and weights"
    out = ROOT/'build/web'
    script('tools/web.py').build(out)
    return out

def in_node(made):
    lines = ''.join(json.dumps(c) + '\n' for c in made)
    p = subprocess.run(['node', str(ROOT/'tests/web_node.mjs'), str(built())],
                       input=lines, capture_output=True, text=True)
    if p.returncode: raise RuntimeError(p.stderr)
    return [json.loads(line) for line in p.stdout.splitlines()]

PAGE = '''<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
<script src="llm_sampling.js"></script>'''
ASK = """async lines => {
  const {engine} = llmSampling, call = (method, params) => engine.call(method, params)
  const said = []
  for (const line of lines) said.push(await runCase({...llmSampling, call}, line))
  return JSON.stringify(said)
}"""

@contextmanager
def in_page(context, url=None):
    "A page with the engine, from a disk or by `url` of a server"
    path = built()/'cases.html'
    path.write_text(PAGE)
    page = context.new_page()
    page.goto(f'{url}/cases.html' if url else path.as_uri())
    page.add_script_tag(path=ROOT/'tests/web_run.js')
    yield page
    page.close()

def ask_page(page, made):
    "A few cases a call: each may take as long as the browser lets it"
    lines = [json.dumps(c) for c in made]
    return [said for i in range(0, len(lines), 20)
            for said in json.loads(page.evaluate(ASK, lines[i:i+20]))]

def in_chromium(made):
    with browser() as (context, log), in_page(context) as page:
        said = ask_page(page, made)
    assert log.all() == [], log.all()
    return said

SPEED = """async () => {
  const {engine} = llmSampling, now = () => performance.now() / 1e3, start = now()
  let there, first
  await engine.load(({loaded, total}) => { if (loaded === total) there = now() })
  const ready = now()
  const timed = async (method, options, prompt = 'Once upon a time, in a wood,') => {
    const begin = now()
    first = null
    const step = () => { first ??= now() - begin }
    await engine.call(method, {prompt, settings: {temperature: .8, top_p: .9, seed: 1},
                               options: {eos_token_id: [], ...options}}, {step})
    return now() - begin - first
  }
  const cold = await timed('generate', {max_new_tokens: 2}).then(() => first)
  const seconds = {}
  const one = await timed('generate', {max_new_tokens: 101})
  const eight = await timed('generate', {max_new_tokens: 51, n: 8})
  const beams = await timed('beams', {num_beams: 4, max_new_tokens: 51})
  return {loading: there - start, unpacking: ready - there, first_token: cold,
          after_weights: ready - there + cold, tokens_per_second: 100 / one,
          tokens_per_second_of_8_rows: 400 / eight,
          steps_per_second_of_4_beams: 50 / beams}
}"""

def speed():
    "Tokens and steps per second in Chromium"
    with browser() as (context, _), serve(built()) as url:
        with in_page(context, url) as page: found = page.evaluate(SPEED)
    for name, value in found.items(): print(f"{name.replace('_', ' ')}: {value:.3g}")

def report(name, made, wanted, said):
    "Print the counts of verdicts; gives whether something is different"
    counts, different = judged(made, wanted, said)
    near = sum(n for (_, v), n in counts.items() if v == 'near tie')
    print(f'{name}: {len(made)} cases, {near} near ties, {len(different)} different;',
          ', '.join(f'{k} {v} {n}' for (k, v), n in sorted(counts.items())), flush=True)
    for found in different[:5]:
        print(*(json.dumps(x)[:1500] for x in found), sep='\n', end='\n\n')
    return bool(different)

def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--where', nargs='+', default=['node', 'chromium'])
    parser.add_argument('--scale', type=float, default=1, help='share of the cases')
    parser.add_argument('--seed', type=int, default=5, help='draws other cases')
    parser.add_argument('--speed', action='store_true', help='measure the speed alone')
    args = parser.parse_args()
    if args.speed: return speed()
    torch.set_num_threads(1)
    made = cases(args.scale, args.seed)
    wanted = [expected(c) for c in made]
    run = dict(node=in_node, chromium=in_chromium)
    return any([report(name, made, wanted, run[name](made)) for name in args.where])

if __name__ == '__main__': sys.exit(main())
