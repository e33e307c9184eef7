"""One step of sampling against transformers' processors and torch.multinomial.

Normal logits of sigma 3, a seed per row. The floor is the time that reading the logits
once takes at the bandwidth of this machine's memory."""
import torch
from timing import bandwidth, in_turns

VOCAB, HISTORY = 128_256, 2048
CUTS = {   # knobs, and the ratios aimed at, at batch 1, 8, 64
    'temperature .8, top-k 50, top-p .9': (dict(temperature=.8, top_k=50, top_p=.9),
                                           (15, 50, 50)),
    'temperature .8, top-p .9': (dict(temperature=.8, top_p=.9), (8, 10, 10)),
    'temperature .8, min-p .05': (dict(temperature=.8, min_p=.05), (None, None, None)),
    'temperature .8': (dict(temperature=.8), (2, 2, 2)),
}
KINDS = 'stories', 'all said twice'     # the histories of the penalties
PENALTIES = 'no-repeat 3-gram', 'DRY (to no-repeat)'


def rows():
    "What is measured"
    cut = [dict(name=f'{name}; batch {batch}', goal=goal, quick=batch == 1,
                about=dict(work=name, batch=batch, knobs=knobs, vocab=VOCAB))
           for name, (knobs, goals) in CUTS.items()
           for batch, goal in zip((1, 8, 64), goals)]
    return cut + [dict(name=f'{name}, {kind}; batch 8', goal=1,
                       about=dict(work=name, history=kind, batch=8, vocab=VOCAB))
                  for kind in KINDS for name in PENALTIES]

def logits_of(batch, device):
    g = torch.Generator().manual_seed(0)
    return (3 * torch.randn(batch, VOCAB, generator=g)).to(device)

def cut(batch, knobs, device):
    "Both sides of a filtered draw"
    from transformers import (LogitsProcessorList, MinPLogitsWarper,
                              TemperatureLogitsWarper, TopKLogitsWarper,
                              TopPLogitsWarper)

    from llm_sampling import Sampler
    warpers = dict(temperature=TemperatureLogitsWarper, top_k=TopKLogitsWarper,
                   top_p=TopPLogitsWarper, min_p=MinPLogitsWarper)
    logits = logits_of(batch, device)
    ours = Sampler(**knobs, seed=torch.arange(batch, device=device))
    theirs = LogitsProcessorList([warpers[n](v) for n, v in knobs.items()])
    return (lambda: ours(logits),
            lambda: torch.multinomial(theirs(None, logits).softmax(-1), 1))

def histories(kind, device):
    "Eight rows of real text, or of one that says everything twice"
    from llm_sampling import load
    from llm_sampling.default_model import encode_stories, held_out
    texts = [s['text'] for s in held_out()]
    ids = torch.cat(encode_stories(load().tokenizer, texts))[:8 * HISTORY]
    ids = ids.view(8, HISTORY)
    if kind != 'stories': ids[:, HISTORY//2:] = ids[:, :HISTORY//2].clone()
    return ids.to(device)

def penalty(work, history, device):
    "Both sides of what reads a history; transformers has no DRY"
    from transformers import NoRepeatNGramLogitsProcessor

    from llm_sampling.repeats import dry_penalty, no_repeat_ngram
    logits, ids = logits_of(8, device), histories(history, device)
    theirs = NoRepeatNGramLogitsProcessor(3)
    ours = ((lambda: no_repeat_ngram(logits, ids, 3)) if work == PENALTIES[0]
            else lambda: dry_penalty(logits, ids, .8))
    return ours, lambda: theirs(ids, logits)

def measure(row, turn, device, peer):
    "One round of a row"
    a = row['about']
    pair = (cut(a['batch'], a['knobs'], device) if 'knobs' in a
            else penalty(a['work'], a['history'], device))
    return in_turns(*pair, turn, device) | dict(
        floor=4 * VOCAB * a['batch'] / bandwidth(device))
