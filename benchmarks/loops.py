"""Whole loops on the bundled model: against transformers' `generate`, and against the
forward passes alone.

Against the model the ratio is its share of the time: what remains is ours. The floor is
the time that reading the weights once per token takes."""
import torch
from timing import bandwidth, in_turns

TOKENS = 100
PROMPT = 'Once upon a time there was a king who had three sons'
KNOBS = dict(temperature=.8, top_k=50, top_p=.9)
GOALS = {('greedy', 1): 1.15, ('greedy', 8): 1., ('sampled', 1): 1.15,
         ('sampled', 8): 1.2}


def rows():
    "What is measured"
    return [dict(name=f'{work}; batch {batch}' + '; model alone' * (against == 'model'),
                 goal=goal if against == 'generate' else None, quick=batch == 1,
                 about=dict(work=work, batch=batch, against=against, new=TOKENS))
            for against in ('generate', 'model')
            for (work, batch), goal in GOALS.items()]

def forwards(lm, ids):
    "The forward passes of a loop, of tokens that are given"
    from transformers import DynamicCache
    cache = DynamicCache()
    with torch.inference_mode():
        lm.model(ids, past_key_values=cache, use_cache=True)
        for _ in range(TOKENS - 1):
            lm.model(ids[:, -1:], past_key_values=cache, use_cache=True)

def measure(row, turn, device, peer):
    "One round of a row"
    import llm_sampling as ls
    a = row['about']
    lm = ls.load(device=device)
    ids, mask = lm.encode([PROMPT] * a['batch'])
    greedy = a['work'] == 'greedy'
    sampler = (None if greedy
               else ls.Sampler(**KNOBS, seed=torch.arange(a['batch'], device=device)))
    knobs = dict(do_sample=False) if greedy else dict(do_sample=True, **KNOBS)
    theirs = dict(model=lambda: forwards(lm, ids), generate=lambda: lm.model.generate(
        ids, attention_mask=mask.long(), max_new_tokens=TOKENS, min_new_tokens=TOKENS,
        pad_token_id=0, **knobs))[a['against']]
    weights = sum(p.nbytes for p in lm.model.parameters())
    return in_turns(lambda: ls.generate(lm, ids, sampler, max_new_tokens=TOKENS,
                                        eos_token_id=()), theirs, turn, device
                    ) | dict(floor=TOKENS * weights / bandwidth(device))
