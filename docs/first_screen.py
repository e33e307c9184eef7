"""The views in a page of the site: what they show until the weights are there, and the
script. The first screens are those of `view`; that of configurations is here."""
from functools import cache
from html import escape

import torch

import llm_sampling as ls
from llm_sampling.answers import told_step
from llm_sampling.explorer import in_orders, parted
from llm_sampling.live import as_table, mounted
from llm_sampling.settings import read_settings
from llm_sampling.softmax import softmax

NAMED = 4               # tokens
LISTED, APART = 8, 3    # tokens, as in web/orders.js
# Where the view of configurations begins
CONFIGURATION = dict(
    system='vllm', prompt='The king looked at his',
    text='SamplingParams(temperature=1.5, top_p=0.9, min_p=0.05, seed=5)')

@cache
def model(): return ls.load()

def plain_name(step): return step.partition(' ')[0]

def first_orders():
    "What the view of configurations says at first, as `inOrders` of the engine does"
    lm, given = model(), eval(CONFIGURATION['text'], {'SamplingParams': dict})
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

def texts(ids): return [model().tokenizer.decode([id]) for id in ids[:NAMED]]

def told(here, there):
    "Where two orders part"
    return [dict(step=plain_name(p.step), count=len(p.ids), mass=round(p.mass, 6),
                 names=texts(p.ids)) for p in parted(here, there)]

def step_of(r, sampler):
    return told_step(model(), r, sampler.knobs) | dict(mass=round(r.mass, 6))

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

def still_orders(said):
    "How many tokens each order keeps as a table"
    return f"<p>{escape(said['sampler'])}</p>" + as_table(
        [(r['order'], r['kept']) for r in said['rows']], ('order of', 'tokens kept'))

def first(view):
    "The place of a view, with its first screen"
    if view != 'settings': return ls.live.view(view).to_html()
    with torch.inference_mode(): said = first_orders()
    return mounted(view, dict(first=said), still_orders(said))

def scripts(files='_static/engine'):
    "What brings the views of a page to life"
    return f'<script src="{files}/views.js" defer></script>'

def html(view, files='_static/engine'):
    "A view for a page: its style, its place with its first screen, its script"
    return (f'<link rel="stylesheet" href="{files}/views.css">{first(view)}'
            f'{scripts(files)}')
