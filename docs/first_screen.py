"""The first screens of the views, computed before any page is opened: what a page shows
until the weights are there."""
import json
import math
import re
from html import escape
from pathlib import Path

import torch

import llm_sampling as ls
from llm_sampling.explorer import arena, in_orders, parted
from llm_sampling.settings import read_settings
from llm_sampling.softmax import softmax

ROOT = Path(__file__).resolve().parent.parent
TOP, NAMED = 10, 4      # tokens, as in web/views/playground.js
LISTED, APART = 8, 3    # tokens, as in web/orders.js
# Where the view of configurations begins
CONFIGURATION = dict(
    system='vllm', prompt='The king looked at his',
    text='SamplingParams(temperature=1.5, top_p=0.9, min_p=0.05, seed=5)')

def settings():
    "Prompt and settings of the first screen, as web/views/state.js has them"
    text = (ROOT/'web/views/state.js').read_text(encoding='utf-8')
    prompt = re.search(r"FIRST = \{prompt: '([^']+)', seed: '(\d+)'", text)
    inside = re.search(r'knobs: \{(.+?)\}', text)[1]
    knobs = dict(re.findall(r'(\w+): ([\d.]+)', inside))
    return prompt[1], {k: float(v) for k, v in knobs.items()}, int(prompt[2])

def first_screen():
    "What `explain` of the engine says at first, from Python"
    prompt, knobs, seed = settings()
    lm, sampler = ls.load(), ls.Sampler(**knobs)
    logits, ids = lm.next_logits(prompt), lm.encode(prompt)[0]
    seen = sampler.explain(logits, ids, position=0)
    probs = [softmax(z[0]) for z in seen.logits]
    row = ls.Sampler(**knobs, seed=ls.row_seeds(seed, ids)[0].item())
    drawn = row(logits, ids, position=0).item()
    top = probs[0].argsort(descending=True, stable=True)[:TOP].tolist()
    names = [re.match(r'\w+', name)[0] for name, _ in seen.names]
    steps = [dict(step=name, value=knobs.get(name), why=r.why, kept=r.kept,
                  removed=len(r.removed), mass=round(r.mass, 6),
                  names=[lm.tokenizer.decode([id]) for id in r.removed[:NAMED]])
             for name, r in zip(names, seen.report())]
    of = lambda id: [round(p[id].item(), 6) if p[id] > 0 else None for p in probs]
    tokens = [dict(id=id, text=lm.tokenizer.decode([id]), probs=of(id))
              for id in dict.fromkeys([*top, drawn])]
    return dict(drawn=drawn, steps=steps, tokens=tokens)

def still(said):
    "The chances as a table, where scripts do not run"
    rows = ''.join(f'<tr><td>{escape(t["text"])}</td><td>{t["probs"][0]:.3f}</td></tr>'
                   for t in said['tokens'])
    prompt = escape(settings()[0])
    return f'<p>“{prompt}”: chances of the next token.</p><table>{rows}</table>'

def first_map():
    "The first beginnings of the map, as `likeliest` of the engine tells them"
    text = (ROOT/'web/views/state.js').read_text(encoding='utf-8')
    prompt, depth, nodes = re.search(
        r"FIRST_MAP = \{prompt: '([^']+)', depth: (\d+), nodes: (\d+)", text).groups()
    lm = ls.load()
    found = ls.likeliest(lm, prompt, num_nodes=int(nodes), max_new_tokens=int(depth))
    number = {id(b): i for i, b in enumerate(found)}
    return [dict(parent=number.get(id(b.parent), -1), id=b.token,
                 text=lm.tokenizer.decode([b.token]), depth=b.depth,
                 logprob=round(b.logprob, 6), before=round(b.before, 6),
                 share=round(b.share, 6), ended=b.ended) for b in found]

def still_map(said):
    "The first places of the map as a table"
    texts = {-1: ''}
    for i, b in enumerate(said): texts[i] = texts[b['parent']] + b['text']
    rows = ''.join(f'<tr><td>{escape(texts[i])}</td>'
                   f'<td>{math.exp(b["logprob"]):.3f}</td></tr>'
                   for i, b in enumerate(said[:12]))
    return f'<p>The most probable beginnings.</p><table>{rows}</table>'

def first_texts():
    "What the arena shows at first, from the prompt and seed of the playground"
    prompt, _, seed = settings()
    none = lambda v: None if math.isnan(v) else v           # JSON has no nan
    return [entry._replace(rep_4=none(entry.rep_4))._asdict()
            for entry in arena(ls.load(), prompt, seed=seed)]

def plain_name(step): return step.partition(' ')[0]

def first_orders():
    "What the view of configurations says at first, as `inOrders` of the engine does"
    lm, given = ls.load(), eval(CONFIGURATION['text'], {'SamplingParams': dict})
    sampler, call = read_settings(CONFIGURATION['system'], given)
    ids = lm.encode(CONFIGURATION['prompt'])[0]
    seeded = sampler.replace(seed=ls.row_seeds(sampler.seed, ids))
    logits = lm.next_logits(ids)
    chains = in_orders(seeded, logits, ids, position=0)
    drawn = {order: seeded.replace(order=order)(logits, ids, position=0).item()
             for order in chains}
    own, *_ = chains.values()
    rows = [dict(order=order, drawn=drawn[order], kept=chain.report()[-1].kept,
                 less=told(own, chain), more=told(chain, own),
                 steps=[step_of(r, seeded) for r in chain.report()])
            for order, chain in chains.items()]
    return dict(state=CONFIGURATION, sampler=repr(sampler), call=call, lost={},
                seed=sampler.seed.item(), rows=rows,
                tokens=side_by_side(list(chains.values()), {*drawn.values()}))

def texts(ids): return [ls.load().tokenizer.decode([id]) for id in ids[:NAMED]]

def told(here, there):
    "Where two orders part"
    return [dict(step=plain_name(p.step), count=len(p.ids), mass=round(p.mass, 6),
                 names=texts(p.ids)) for p in parted(here, there)]

def step_of(r, sampler):
    name = plain_name(r.step)
    return dict(step=name, value=sampler.knobs.get(name), why=r.why, kept=r.kept,
                removed=len(r.removed), mass=round(r.mass, 6), names=texts(r.removed))

def side_by_side(chains, drawn):
    "Tokens in each order: the likeliest, those at which orders part, those drawn"
    probs = [softmax(chain.logits[-1][0]) for chain in chains]
    model = softmax(chains[0].logits[0][0])
    best = model.argsort(descending=True, stable=True).tolist()
    kept = [id for id in best if any(p[id] > 0 for p in probs)][:LISTED]
    parts = [p for c in chains for p in (*parted(chains[0], c), *parted(c, chains[0]))]
    shown = {*kept, *drawn, *(id for part in parts for id in part.ids[:APART])}
    by = lambda c, id: next((plain_name(r.step) for r in c.report() if id in r.removed),
                            None)
    chance = lambda p, id: round(p[id].item(), 6) if p[id] > 0 else None
    return [dict(id=id, text=texts([id])[0], before=round(model[id].item(), 6),
                 probs=[chance(p, id) for p in probs], by=[by(c, id) for c in chains])
            for id in best if id in shown]

def table(head, rows):
    line = lambda tag, row: ''.join(f'<{tag}>{escape(str(c))}</{tag}>' for c in row)
    body = ''.join(f'<tr>{line("td", row)}</tr>' for row in rows)
    return f'<table><tr>{line("th", head)}</tr>{body}</table>'

def still_texts(said):
    "The texts of the arena as a table"
    return f'<p>“{escape(settings()[0])}” goes on:</p>' + table(
        ('strategy', 'text'), [(e['label'], e['text']) for e in said])

def still_orders(said):
    "How many tokens each order keeps as a table"
    return f"<p>{escape(said['sampler'])}</p>" + table(
        ('order of', 'tokens kept'), [(r['order'], r['kept']) for r in said['rows']])

# What a view shows at first, and without scripts
FIRST = {'playground': (first_screen, still), 'arena': (first_texts, still_texts),
         'settings': (first_orders, still_orders), 'map': (first_map, still_map)}

def html(view, files='_static/engine'):
    "A view for a page: its place, its first screen, its style and its script"
    data = inside = ''
    if view in FIRST:
        screen, as_table = FIRST[view]
        with torch.inference_mode(): said = screen()
        text = json.dumps(said, separators=(',', ':')).replace('<', '\\u003c')
        inside = as_table(said)
        data = f'<script type="application/json">{text}</script>'
    return (f'<link rel="stylesheet" href="{files}/views.css">'
            f'<div data-llms="{view}">{data}{inside}</div>'
            f'<script src="{files}/views.js" defer></script>')
