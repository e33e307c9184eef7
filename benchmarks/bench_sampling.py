"""One step of sampling against transformers' processors and torch.multinomial.

    python benchmarks/bench_sampling.py                 # CPU
    python benchmarks/bench_sampling.py --device cuda"""
import argparse

import torch
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from llm_sampling import Sampler
from timing import header, report

VOCAB = 128_256
KNOBS = {   # knobs, and DESIGN's ratios at batch 1, 8, 64
    'temperature, top-k 50, top-p .9': (dict(temperature=.8, top_k=50, top_p=.9), (15, 50, 50)),
    'temperature, top-p .9': (dict(temperature=.8, top_p=.9), (8, 10, 10)),
    'temperature': (dict(temperature=.8), (2, 2, 2)),
}


def processors(temperature, top_k=None, top_p=None):
    steps = [TemperatureLogitsWarper(temperature)]
    if top_k: steps.append(TopKLogitsWarper(top_k))
    if top_p: steps.append(TopPLogitsWarper(top_p))
    def draw(logits):
        for s in steps: logits = s(None, logits)
        return torch.multinomial(logits.softmax(-1), 1)
    return draw

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--device', default='cpu', choices=('cpu', 'cuda'))
    ap.add_argument('--rounds', type=int, default=15)
    a = ap.parse_args()
    header(f'one draw, vocabulary {VOCAB:,}, float32 normal logits (sigma 3), a seed per row', a.device)
    for name, (knobs, targets) in KNOBS.items():
        for batch, target in zip((1, 8, 64), targets):
            g = torch.Generator().manual_seed(0)
            logits = (3 * torch.randn(batch, VOCAB, generator=g)).to(a.device)
            ours = Sampler(**knobs, seed=torch.arange(batch, device=a.device))
            theirs = processors(**knobs)
            report(f'{name}, batch {batch}', lambda: ours(logits), lambda: theirs(logits), target, a.device, a.rounds if batch < 64 else max(3, a.rounds // 3))

if __name__ == '__main__': main()
