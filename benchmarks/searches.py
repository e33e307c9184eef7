"""Searches on one tree against transformers, in time and peak memory, each side in a
process of its own.

The model is of GPT-2's size, random, with 4,096 positions, in float32. Memory is the
peak of the whole process, model and torch included. Contrastive search runs against
transformers 4.55, the last to have it, in an environment of its own (`--peer`)."""
import json
import resource
import subprocess
import sys

from timing import seconds

# work, width (beams, samples or candidates), rows of the batch, prompt, new tokens, and
# the aims: time at least, memory at most
AIMS = [('beams', 4, 1, 64, 32, 1, 1), ('beams', 4, 1, 1024, 32, 3, .7),
        ('beams', 8, 1, 1024, 32, 5, .5), ('beams', 8, 8, 64, 32, 1, 1),
        ('samples', 16, 1, 64, 32, 1, 1), ('samples', 16, 1, 1024, 32, 10, .4),
        ('contrastive', 5, 1, 1024, 32, 1.5, .7)]
# how both grow; what stands above is not measured twice
GROWTH = [('beams', *x, None, None) for x in
          [(k, 1, 512, 32) for k in (1, 2, 4, 8, 16)]
          + [(4, 1, p, 32) for p in (256, 2048)]
          + [(4, 1, 256, n) for n in (64, 128)]]
UNITS = dict(beams='beams', samples='samples', contrastive='candidates')


def rows():
    "What is measured: a round takes minutes, so fewer, and least for growth"
    found = []
    for work, width, batch, prompt, new, goal, memory in AIMS + GROWTH:
        name = (f'{work}, {width} {UNITS[work]}' if work == 'contrastive'
                else f'{width} {work}')
        found.append(dict(
            name=f'{name}; batch {batch}, prompt {prompt}, {new} tokens',
            goal=goal, memory_goal=memory, quick=(work, width, prompt) == (
                'beams', 4, 64), rounds=3 if goal is None else 7,
            peer=work == 'contrastive',
            about=dict(work=work, width=width, batch=batch, prompt=prompt, new=new)))
    return found

def ours(work, model, ids, width):
    "A function from a number of tokens to the rows of ids that come out"
    import llm_sampling as ls
    lm, kw = ls.LanguageModel(model), dict(eos_token_id=())
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
    import transformers
    transformers.utils.logging.set_verbosity_error()
    torch.manual_seed(0)
    config = transformers.GPT2Config(n_positions=4096, bos_token_id=None,
                                     eos_token_id=None, pad_token_id=0)
    model = transformers.GPT2LMHeadModel(config).eval()
    ids = torch.randint(0, 50257, (batch, prompt),
                        generator=torch.Generator().manual_seed(1))
    run = dict(ours=ours, theirs=theirs)[side](work, model, ids, width)
    run(2)  # first calls build what is built once
    tokens = []
    took = seconds(lambda: tokens.extend(run(new)))
    return dict(seconds=took, tokens=tokens,
                mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                version=transformers.__version__)

def child(python, side, about):
    "`one` in a process of its own"
    out = subprocess.run([python, __file__, side, json.dumps(about)],
                         capture_output=True, text=True)
    if out.returncode: raise RuntimeError(out.stderr[-2000:])
    return json.loads(out.stdout.splitlines()[-1])

def measure(row, turn, device, peer):
    "One round of a row: seconds and memory of both; did they give the same tokens?"
    about = row['about']
    python = dict(ours=sys.executable, theirs=peer if row['peer'] else sys.executable)
    sides = ['ours', 'theirs'][::-1 if turn % 2 else 1]
    told = {side: child(python[side], side, about) for side in sides}
    found = {side: told[side]['seconds'] for side in sides}
    found |= {f'{side}_mb': round(told[side]['mb']) for side in sides}
    if about['work'] != 'samples':      # samples have other noise
        found['same_tokens'] = told['ours']['tokens'] == told['theirs']['tokens']
    return found | dict(theirs_is=f"transformers {told['theirs']['version']}")

if __name__ == '__main__':
    print(json.dumps(one(sys.argv[1], **json.loads(sys.argv[2]))))
