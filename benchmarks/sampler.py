"""One step of sampling against transformers' processors and torch.multinomial, each
pair side by side in one run.

    python benchmarks/sampler.py                 # CPU; writes benchmark_sampler.json
                                                 # into llm_sampling/data
    python benchmarks/sampler.py --device cuda   # prints only

The floor is the time that reading the logits once takes at the bandwidth of this
machine's memory."""
import argparse
import json

import torch
from transformers import (LogitsProcessorList, MinPLogitsWarper,
                          NoRepeatNGramLogitsProcessor, TemperatureLogitsWarper,
                          TopKLogitsWarper, TopPLogitsWarper)

from llm_sampling import Sampler, load
from llm_sampling.default_model import encode_stories, held_out
from llm_sampling.repeats import dry_penalty, no_repeat_ngram
from timing import results, seconds, side_by_side, where

VOCAB = 128_256
DRAWS = {   # knobs, and DESIGN's ratios at batch 1, 8, 64
    'temperature .8, top-k 50, top-p .9': (dict(temperature=.8, top_k=50, top_p=.9),
                                           (15, 50, 50)),
    'temperature .8, top-p .9': (dict(temperature=.8, top_p=.9), (8, 10, 10)),
    'temperature .8, min-p .05': (dict(temperature=.8, min_p=.05), (None, None, None)),
    'temperature .8': (dict(temperature=.8), (2, 2, 2)),
}
WARPERS = dict(temperature=TemperatureLogitsWarper, top_k=TopKLogitsWarper,
               top_p=TopPLogitsWarper, min_p=MinPLogitsWarper)


def bandwidth(device):
    "Bytes per second that one pass over a large tensor reads"
    big = torch.ones(2**26, device=device)
    return big.nbytes / min(seconds(lambda: big.sum(), device) for _ in range(5))

def draws(device, rounds):
    "Rows of the table: filter and draw"
    rate = bandwidth(device)
    for name, (knobs, targets) in DRAWS.items():
        for batch, target in zip((1, 8, 64), targets):
            logits = (3 * torch.randn(
                batch, VOCAB, generator=torch.Generator().manual_seed(0))).to(device)
            ours = Sampler(**knobs, seed=torch.arange(batch, device=device))
            theirs = LogitsProcessorList([WARPERS[n](v) for n, v in knobs.items()])
            times = side_by_side(lambda: ours(logits), lambda: torch.multinomial(
                theirs(None, logits).softmax(-1), 1), device,
                                 rounds if batch < 64 else max(3, rounds // 3))
            yield name, batch, times, target, logits.nbytes / rate

def penalties(device, rounds):
    """Rows of the table: what reads a history of 2,048 tokens, of real text and of one
    that says everything twice"""
    stories = torch.cat(encode_stories(
        load().tokenizer, [s['text'] for s in held_out()]))[:8 * 2048].view(8, 2048)
    twice = stories.clone()
    twice[:, 1024:] = twice[:, :1024]
    logits = torch.randn(8, VOCAB,
                         generator=torch.Generator().manual_seed(0)).to(device)
    floor = logits.nbytes / bandwidth(device)
    theirs = NoRepeatNGramLogitsProcessor(3)
    for kind, ids in (('stories', stories.to(device)),
                      ('all said twice', twice.to(device))):
        for name, ours in (
            (f'no-repeat 3-gram, {kind}', lambda: no_repeat_ngram(logits, ids, 3)),
            (f'DRY (to no-repeat), {kind}', lambda: dry_penalty(logits, ids, .8))):
            yield name, 8, side_by_side(ours, lambda: theirs(ids, logits), device,
                                        rounds), 1, floor

def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--device', default='cpu', choices=('cpu', 'cuda'))
    ap.add_argument('--rounds', type=int, default=15)
    a = ap.parse_args()
    print(f'one step, vocabulary {VOCAB:,}, float32 normal logits of sigma 3, '
          f'a seed per row ({where(a.device)})')
    print(f'{"":36} {"batch":>5} {"ours":>9} {"transformers":>13} '
          f'{"ratio":>7} {"target":>7} {"floor":>8}   ms')
    rows = []
    for make in (draws, penalties):
        for name, batch, (ours, theirs, ratio), target, floor in make(a.device,
                                                                      a.rounds):
            rows.append(dict(name=name, batch=batch, ours_ms=round(ours*1e3, 3),
                             theirs_ms=round(theirs*1e3, 2), ratio=round(ratio, 1),
                             target=target, floor_ms=round(floor*1e3, 3)))
            print(f'{name:36} {batch:5} {ours*1e3:9.2f} {theirs*1e3:13.2f} '
                  f'{ratio:7.1f} {target or "":>7} {floor*1e3:8.2f}', flush=True)
    if a.device == 'cpu':
        results('sampler').write_text(json.dumps(
            dict(machine=where(a.device), vocab=VOCAB, rows=rows), indent=1) + '\n')

if __name__ == '__main__': main()
