"""The first screens of the views, computed before any page is opened: what a page shows
until the weights are there."""
import json
import math
import re
from html import escape
from pathlib import Path

import torch

import llm_sampling as ls
from llm_sampling.softmax import softmax

ROOT = Path(__file__).resolve().parent.parent
TOP, NAMED = 10, 4      # tokens, as in web/views/playground.js

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

# What a view shows at first, and without scripts
FIRST = {'playground': (first_screen, still), 'map': (first_map, still_map)}

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
