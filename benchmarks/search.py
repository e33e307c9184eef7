"""Beams on one tree against transformers' `generate`, in time and peak memory, each side in a process of its own.

    python benchmarks/search.py                 # DESIGN's rows; writes benchmarks/search.json
    python benchmarks/search.py --sweep         # also how time grows with beams, prompt and new tokens

The model is of GPT-2's size, random, with 4,096 positions, in float32. Memory is the peak of the whole process, model and torch included."""
import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

ROWS = [   # beams, prompt, new tokens, and DESIGN's ratios: time at least, memory at most
    (4, 64, 32, None, None), (4, 1024, 32, 3, .7), (8, 1024, 32, 5, .5)]
SWEEP = [(b, 512, 32, None, None) for b in (1, 2, 4, 8, 16)] + [(4, p, 32, None, None) for p in (64, 256, 1024, 2048)] + [(4, 256, n, None, None) for n in (64, 128, 256)]


def one(side, beams, prompt, new):
    "Time and memory of one side, in this process; the tokens, to compare"
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel
    from transformers.utils import logging
    logging.set_verbosity_error()
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(n_positions=4096, bos_token_id=None, eos_token_id=None, pad_token_id=0)).eval()
    ids = torch.randint(0, 50257, (1, prompt), generator=torch.Generator().manual_seed(1))
    if side == 'ours':
        from llm_sampling import LanguageModel, beam_search
        lm = LanguageModel(model)
        run = lambda n: beam_search(lm, ids, num_beams=beams, max_new_tokens=n, eos_token_id=()).ids[0].tolist()
    else:
        kw = dict(attention_mask=torch.ones_like(ids), num_beams=beams, do_sample=False)
        run = lambda n: model.generate(ids, max_new_tokens=n, **kw)[0, prompt:].tolist()
    run(1)                                                        # first calls build what is built once
    start = time.perf_counter()
    tokens = run(new)
    return dict(seconds=time.perf_counter() - start, mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, tokens=tokens)

def child(*args):
    out = subprocess.run([sys.executable, __file__, '--one', *map(str, args)], capture_output=True, text=True)
    if out.returncode: raise RuntimeError(out.stderr[-2000:])
    return json.loads(out.stdout.splitlines()[-1])

def measure(beams, prompt, new, rounds):
    "Medians of both sides, in turn"
    pairs = [(child('ours', beams, prompt, new), child('theirs', beams, prompt, new)) for _ in range(rounds)]
    a, b = ({k: median(p[side][k] for p in pairs) for k in ('seconds', 'mb')} for side in (0, 1))
    return a, b, all(p[0]['tokens'] == p[1]['tokens'] for p in pairs)

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--rounds', type=int, default=3)
    ap.add_argument('--sweep', action='store_true')
    ap.add_argument('--one', nargs=4, help=argparse.SUPPRESS)
    a = ap.parse_args()
    if a.one: print(json.dumps(one(a.one[0], *map(int, a.one[1:])))); return
    print(f'{"":34} {"ours":>16} {"transformers":>18} {"time":>6} {"memory":>7}')
    rows = []
    for beams, prompt, new, time_target, memory_target in ROWS + (SWEEP if a.sweep else []):
        ours, theirs, same = measure(beams, prompt, new, a.rounds)
        rows.append(dict(beams=beams, prompt=prompt, new=new, ours_s=round(ours['seconds'], 3), theirs_s=round(theirs['seconds'], 3),
                         ours_mb=round(ours['mb']), theirs_mb=round(theirs['mb']), same_tokens=same, time_target=time_target, memory_target=memory_target))
        print(f'{beams:2} beams, prompt {prompt:4}, {new:3} tokens   {ours["seconds"]:7.2f} s {ours["mb"]:5.0f} MB {theirs["seconds"]:8.2f} s {theirs["mb"]:5.0f} MB '
              f'{theirs["seconds"]/ours["seconds"]:6.2f} {ours["mb"]/theirs["mb"]:7.2f} {"" if same else "OTHER TOKENS"}', flush=True)
    Path(__file__).with_suffix('.json').write_text(json.dumps(rows, indent=1) + '\n')

if __name__ == '__main__': main()
