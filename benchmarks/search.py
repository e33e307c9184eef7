"""Searches on one tree against transformers, in time and peak memory, each side in a
process of its own.

    python benchmarks/search.py                  # beams, samples, and how both grow;
                                                 # writes benchmark_search.json into
                                                 # llm_sampling/data
    python benchmarks/search.py --only samples   # some rows; the others stay as they
                                                 # are in the file
    python benchmarks/search.py --old PYTHON     # contrastive search too: PYTHON has
                                                 # transformers 4.55, which still had it

The model is of GPT-2's size, random, with 4,096 positions, in float32. Memory is the
peak of the whole process, model and torch included."""
import argparse
import json
import resource
import subprocess
import sys
import time
from statistics import median

from timing import results, where

OUT = results('search')
# work, width (beams, samples or candidates), rows of the batch, prompt, new tokens, and
# the aims: time at least, memory at most
AIMS = [('beams', 4, 1, 64, 32, None, None), ('beams', 4, 1, 1024, 32, 3, .7),
        ('beams', 8, 1, 1024, 32, 5, .5), ('beams', 8, 8, 64, 32, None, None),
        ('samples', 16, 1, 64, 32, None, None), ('samples', 16, 1, 1024, 32, 10, .4),
        ('contrastive', 5, 1, 1024, 32, 1.5, .7)]
SWEEP = [('beams', *x, None, None) for x in [(k, 1, 512, 32) for k in (1, 2, 4, 8, 16)]
         + [(4, 1, p, 32) for p in (64, 256, 1024, 2048)]
                                          + [(4, 1, 256, n) for n in (64, 128, 256)]]


def ours(work, lm, ids, width):
    "A function from a number of tokens to the rows of ids that come out"
    import llm_sampling as ls
    kw = dict(eos_token_id=())
    if work == 'beams':
        f = lambda n: ls.beam_search(lm, ids, num_beams=width, max_new_tokens=n, **kw)
    elif work == 'samples':
        f = lambda n: ls.generate(lm, ids, ls.Sampler(seed=0), n=width,
                                  max_new_tokens=n, **kw)
    else:
        f = lambda n: ls.contrastive_search(lm, ids, top_k=width, penalty_alpha=.6,
                                            max_new_tokens=n, **kw)
    return lambda n: [i.tolist() for i in f(n).ids]

def theirs(work, model, ids, width):
    "The same by transformers' `generate`"
    import torch
    kw = dict(beams=dict(num_beams=width, do_sample=False),
              contrastive=dict(top_k=width, penalty_alpha=.6, do_sample=False),
              samples=dict(do_sample=True, top_k=0, num_return_sequences=width))[work]
    return lambda n: model.generate(ids, attention_mask=torch.ones_like(ids),
                                    max_new_tokens=n, **kw)[:, ids.shape[1]:].tolist()

def one(side, work, width, batch, prompt, new):
    "Time and memory of one side, in this process; the tokens, to compare"
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel
    from transformers.utils import logging
    logging.set_verbosity_error()
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(n_positions=4096, bos_token_id=None,
                                       eos_token_id=None, pad_token_id=0)).eval()
    ids = torch.randint(0, 50257, (batch, prompt),
                        generator=torch.Generator().manual_seed(1))
    if side == 'ours':
        from llm_sampling import LanguageModel
        run = ours(work, LanguageModel(model), ids, width)
    else: run = theirs(work, model, ids, width)
    run(2)  # first calls build what is built once
    start = time.perf_counter()
    tokens = run(new)
    return dict(seconds=time.perf_counter() - start,
                mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                tokens=tokens)

def child(python, *args):
    "`one` in a process of its own"
    out = subprocess.run([python, __file__, '--one', *map(str, args)],
                         capture_output=True, text=True)
    if out.returncode: raise RuntimeError(out.stderr[-2000:])
    return json.loads(out.stdout.splitlines()[-1])

def measure(python, work, *size, rounds):
    "Medians of both sides, in turn; did they give the same tokens?"
    pairs = [(child(sys.executable, 'ours', work, *size),
              child(python, 'theirs', work, *size)) for _ in range(rounds)]
    a, b = ({k: median(p[side][k] for p in pairs) for k in ('seconds', 'mb')}
            for side in (0, 1))
    # samples have other noise
    same = (None if work == 'samples'
            else all(x['tokens'] == y['tokens'] for x, y in pairs))
    return a, b, same

def row(python, work, width, batch, prompt, new, time_aim, memory_aim, rounds):
    "A row of the table, printed and returned"
    a, b, same = measure(python, work, width, batch, prompt, new, rounds=rounds)
    print(f'{width:2} {work:11} batch {batch}, prompt {prompt:4}, {new:3} tokens '
          f'{a["seconds"]:7.2f} s {a["mb"]:5.0f} MB '
          f'{b["seconds"]:9.2f} s {b["mb"]:5.0f} MB'
          f'{b["seconds"]/a["seconds"]:7.2f} {a["mb"]/b["mb"]:7.2f} '
          f'{"OTHER TOKENS" if same is False else ""}', flush=True)
    return dict(work=work, width=width, batch=batch, prompt=prompt, new=new,
                ours_s=round(a['seconds'], 3), theirs_s=round(b['seconds'], 3),
                ours_mb=round(a['mb']), theirs_mb=round(b['mb']), same_tokens=same,
                time_aim=time_aim, memory_aim=memory_aim)

def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--rounds', type=int, default=3)
    ap.add_argument('--only', choices=['beams', 'samples', 'contrastive', 'sweep'],
                    nargs='+', default=['beams', 'samples', 'sweep'])
    ap.add_argument(
        '--old', metavar='PYTHON',
        help='an interpreter with transformers 4.55, for contrastive search')
    ap.add_argument('--one', nargs=6, help=argparse.SUPPRESS)
    a = ap.parse_args()
    if a.one: print(json.dumps(one(*a.one[:2], *map(int, a.one[2:])))); return
    if a.old: a.only.append('contrastive')
    elif 'contrastive' in a.only:
        ap.error(
            'contrastive search needs --old: transformers 5 has none to compare with')
    print(f'{where("cpu")}\n{"":48} '
          f'{"ours":>16} {"transformers":>19} {"time":>6} {"memory":>7}')
    table = json.loads(OUT.read_text()) if OUT.exists() else {}
    for name, rows in dict(aims=AIMS, sweep=SWEEP).items():
        done = {
            json.dumps([r[k] for k in ('work', 'width', 'batch', 'prompt', 'new')]): r
            for r in table.get(name, [])}
        for r in rows:
            if (name if name == 'sweep' else r[0]) in a.only:
                done[json.dumps(r[:5])] = row(a.old if r[0] == 'contrastive'
                                              else sys.executable, *r, rounds=a.rounds)
        table[name] = [done[key] for r in rows if (key := json.dumps(r[:5])) in done]
        OUT.write_text(json.dumps(dict(machine=where('cpu'), aims=table.get('aims', []),
                                       sweep=table.get('sweep', [])), indent=1) + '\n')

if __name__ == '__main__': main()
