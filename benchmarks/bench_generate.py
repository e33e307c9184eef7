"""Whole loops on the bundled model against transformers' generate.

    python benchmarks/bench_generate.py"""
import argparse

import torch

import llm_sampling as ls
from timing import header, report


def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--device', default='cpu', choices=('cpu', 'cuda'))
    ap.add_argument('--tokens', type=int, default=100)
    ap.add_argument('--rounds', type=int, default=9)
    a = ap.parse_args()
    lm = ls.load(device=a.device)
    header(f'{a.tokens} tokens, bundled model', a.device)
    for batch, greedy_target, sampling_target in ((1, 1.15, 1.15), (8, 1.0, 1.2)):
        ids, mask = lm.encode(['Once upon a time there was a king who had three sons']
                              * batch)
        common = dict(input_ids=ids, attention_mask=mask.long(),
                      max_new_tokens=a.tokens, min_new_tokens=a.tokens, pad_token_id=0)
        sampler = ls.Sampler(temperature=.8, top_k=50, top_p=.9,
                             seed=torch.arange(batch))
        def ours(s):
            return ls.generate(lm, ids, s, max_new_tokens=a.tokens, eos_token_id=())
        report(f'greedy, batch {batch}', lambda: ours(None),
               lambda: lm.model.generate(**common, do_sample=False), greedy_target,
               a.device, a.rounds)
        report(f'T .8, top-k 50, top-p .9, batch {batch}', lambda: ours(sampler),
               lambda: lm.model.generate(**common, do_sample=True, temperature=.8,
                                         top_k=50, top_p=.9), sampling_target, a.device,
               a.rounds)

if __name__ == '__main__': main()
