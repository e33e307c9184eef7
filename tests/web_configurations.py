"""Configurations of other systems, drawn: what Python reads and what its four orders do

Part of tests/web_cases.py: the engine of the pages reads them too (`readConfiguration`)
and is compared, with its reasons, on the bundled model."""
import torch

import llm_sampling as ls
from llm_sampling.explorer import in_orders, parted
from llm_sampling.settings import read_settings

PROMPTS = ['The king looked at his', 'Once upon a time there was a', 'the', '']

# What each key may be drawn as; a key in two lists is more often drawn
CUTS = dict(top_p=[.5, .9, .95, 1], top_k=[3, 20, 40], min_p=[0, .02, .1],
            temperature=[0, .3, .8, 1, 1.5])
OUTPUT = dict(frequency_penalty=[0, .5], presence_penalty=[0, -.4, 1])
BIAS = dict(logit_bias=[{'11': 3}, {'300': -500.5, 'x': 2}, [[11, False]], {'1': 'x'}])
WRONG = dict(temperature=['hot', -1], top_p=[1.5, True], n=[2], unknown_key=[1, 0],
             stop=['', '.', ['.', 'x'], []], seed=[-1, 3, 2**32 - 1])
KEYS = dict(
    vllm=CUTS | OUTPUT | BIAS | dict(
        temperature=[0, .005, .8, 1.5], top_k=[-1, 0, 20], repetition_penalty=[1.2],
        bad_words=[['king'], [' a', 'the wife']],
        allowed_token_ids=[[259, 11, 300, 11], [5000], []], extra_args=[
            dict(dry_multiplier=.8), dict(top_n_sigma=1, no=2), dict(top_h=.5)],
        ignore_eos=[True, False], max_tokens=[5], min_tokens=[0, 3], logprobs=[5],
        structured_outputs=[{}, {'json': 1}], vllm_xargs=[dict(xtc_probability=1)],
        stop_token_ids=[[], [5]]),
    llama_cpp=CUTS | OUTPUT | BIAS | dict(
        repeat_penalty=[1, 1.2], repeat_last_n=[-1, 0, 64], typical_p=[.5, .9, 1],
        top_n_sigma=[-1, .8, 2], xtc_probability=[0, .6, 1], xtc_threshold=[.05, .6],
        dry_multiplier=[0, .8], dry_penalty_last_n=[-1, 0, 50], n_predict=[-1, 7],
        dry_sequence_breakers=[['\n'], ['a', '.']], dynatemp_range=[0, .3, 2],
        dynatemp_exponent=[1, 2], mirostat=[0, 0, 1, 2], mirostat_tau=[3],
        mirostat_eta=[.2], adaptive_target=[-1, .3], adaptive_decay=[.5],
        samplers=[['top_k', 'temperature'], ['temperature', 'top_p', 'min-p'],
                  ['penalties', 'dry', 'typ_p', 'infill', 'xtc'], []],
        n_cmpl=[2], grammar=['', 'root'], ignore_eos=[True], n_keep=[1],
        min_keep=[0, 2]),
    openai=OUTPUT | BIAS | dict(
        temperature=[0, .7, 2], top_p=[.5, .9], max_tokens=[4], tools=[[], [{}]],
        max_completion_tokens=[9], model=['x'], echo=[False, True], best_of=[2]),
    transformers=dict(
        do_sample=[True, True, True, False], temperature=[.6, 1.5], top_k=[0, 5, 50],
        top_p=[.5, .9], min_p=[.05], top_h=[.4], typical_p=[.5], eta_cutoff=[.01],
        epsilon_cutoff=[.01], repetition_penalty=[1.3], no_repeat_ngram_size=[0, 2],
        bad_words_ids=[[[11], [12, 13]], [[0]]], eos_token_id=[0, [0, 5]],
        suppress_tokens=[[], [20, 21]], sequence_bias=[[[[11], 2.5]], [[[1, 2], 3]]],
        num_beams=[1, 4], guidance_scale=[1, 1.5], max_new_tokens=[3], max_time=[2],
        num_return_sequences=[2], stop_strings=['.', ['a']],
        transformers_version=['5']))


class All(list):
    "A list for `accept` that holds every key"
    def __contains__(self, key): return True


def drawn(dice):
    "A case: a system, a configuration for it, a prompt"
    system = dice.choice([*KEYS])
    keys = KEYS[system]
    names = dice.sample([*keys], min(len(keys), dice.choice([0, 1, 2, 3, 4, 6, 9])))
    given = {name: dice.choice(keys[name]) for name in names}
    if dice.random() < .3:
        name = dice.choice([*WRONG])
        given[name] = dice.choice(WRONG[name])
    if system == 'transformers' and dice.random() < .8: given['do_sample'] = True
    return dict(kind='configuration', system=system, configuration=given,
                prompt=dice.choice(PROMPTS))


def row(own, chain, order, token):
    "What `inOrders` of web/orders.js says of an order"
    reports = chain.report()
    name = lambda step: step.partition(' ')[0]
    parts = lambda a, b: [[name(p.step), len(p.ids), p.mass, p.ids[:5]]
                          for p in parted(a, b)]
    return dict(order=order, kept=reports[-1].kept, drawn=token,
                steps=[[name(r.step), r.kept, len(r.removed), r.mass] for r in reports],
                less=parts(own, chain), more=parts(chain, own))


def read(c, lm, moved=None):
    """What Python says: a message about what is lost, the call, what each order does;
    `moved` are logits to be added"""
    system, given, message = c['system'], c['configuration'], ''
    try: taken = read_settings(system, given, accept=All())
    except TypeError as e: raise ValueError(str(e)) from e
    try: read_settings(system, given)
    except ValueError as e: message = str(e)
    s, ids = taken.sampler.lend(lm.tokenizer), lm.encode(c['prompt'])[0]
    seed = 7 if s.seed is None else s.seed
    s = s.replace(seed=ls.row_seeds(seed, ids))
    logits = lm.next_logits(ids) + (0 if moved is None else moved)
    where = dict(position=0, state=s.init(1))
    chains = in_orders(s, logits, ids, **where)
    own, rows = next(iter(chains.values())), []
    for order, chain in chains.items():
        alive = bool((chain.logits[-1] > -torch.inf).any())
        draw = s if order == 'own' else s.replace(order=order)
        rows.append(row(own, chain, order,
                        draw(logits, ids, **where).item() if alive else None))
    call = {k: [*v] if isinstance(v, tuple) else v for k, v in taken.call.items()}
    return dict(message=message, call=call, rows=rows)


def close(a, b):
    "Equal but for rounding"
    if isinstance(a, dict): return a.keys() == b.keys() and all(
        close(v, b[k]) for k, v in a.items())
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(close, a, b))
    if isinstance(a, float) or isinstance(b, float): return abs(a - b) <= 2e-4
    return a == b


def verdict(c, want, got, lm):
    """'equal', 'near tie' where Python says so of logits moved by less than 1e-5, as
    the engine's may be, or 'different'"""
    if close(want, got): return 'equal'
    g = torch.Generator().manual_seed(0)
    for _ in range(16):
        moved = 2e-5 * torch.rand(lm.vocab_size, generator=g) - 1e-5
        if close(read(c, lm, moved), got): return 'near tie'
    return 'different'
