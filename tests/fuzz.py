"""Hostile values, and valid calls of every public function to put them into: made from
the signatures, so that a new function joins by itself"""
import functools, inspect, math, tempfile, types

import numpy as np
import torch
import transformers as tf

import llm_sampling as ls
from llm_sampling.plots import printable

V = 16
g = torch.Generator().manual_seed(0)


def model():
    "A small real model with the bundled tokenizer: texts, states and branches all work"
    torch.manual_seed(0)
    tokenizer = ls.load().tokenizer
    config = tf.LlamaConfig(vocab_size=len(tokenizer), hidden_size=16,
                            intermediate_size=16, num_hidden_layers=2,
                            num_attention_heads=2, num_key_value_heads=1,
                            max_position_embeddings=64, bos_token_id=0, eos_token_id=0,
                            pad_token_id=0, initializer_range=.2)
    return ls.LanguageModel(tf.LlamaForCausalLM(config), tokenizer)


LM = model()
ROWS = torch.tensor([[1, 2, 1], [3, 4, 3]])
KEPT = tempfile.TemporaryDirectory()             # goes with the process
FOLDER = KEPT.name
OWN = dict(  # valid values of parameters, by their names
    logits=torch.randn(2, V, generator=g), ids=ROWS,
    mask=torch.ones(2, 3, dtype=torch.bool), history=ROWS, probs=[[.5, .5], [.1, .9]],
    u=.3, temperature=.7, k=3, p=.8, min_p=.1, z=.8, top_a=.2, n=2, epsilon=.01,
    alpha=.5, typical_p=.8, sequences=[[1, 2]], multiplier=1., penalty=1.5,
    bias={1: -1.}, size=2, threshold=.1, probability=.5, low=.5, high=1.5, target=.3,
    tau=3., state=torch.full((2, 2), 3.), batch=2,
    samplers=[ls.Sampler(temperature=.8, seed=1), ls.Sampler(top_k=3, seed=2)],
    seed=1, position=1, lm=LM, amateur=LM, prompt=ROWS, negative_prompt=[[5]],
    max_new_tokens=2, force_words_ids=[[7]], dola_layers='low',
    score=lambda texts, ids: [0.] * len(ids), answer=lambda text, ids: text,
    similarity=lambda texts, ids: torch.ones(len(ids), len(ids)).tolist(),
    value=lambda texts, ids: [.5] * len(ids),
    num_simulations=3, num_beams=2, model=LM.model, tokenizer=LM.tokenizer,
    table={(): [.5, .5], (1,): [.25, .75]}, nodes=torch.tensor([[-1], [-1]]),
    parents=torch.tensor([[-1], [-1]]), tokens=torch.tensor([[5], [6]]), row=0, node=-1,
    texts=['a'], index=[0, 1], hidden=True, settings={'temperature': .7},
    inputs=ROWS, start=3, end=4, budget=2, device='cpu', prompts=[[1, 2, 1], [3, 4]],
    supports=[ls.Sampler(top_k=2).support(torch.randn(1, V, generator=g))],
    grid=[{'strategy': 'generate', 'temperature': .8}], path=f'{FOLDER}/fuzz.jsonl',
    paths=f'{FOLDER}/read.jsonl',
    strategies=[{'strategy': 'generate'}], metrics=['rep_4'])
ls.sweep(LM, [[1, 2]], {'strategy': 'generate'}, OWN['paths'], max_new_tokens=2)
HERE = {                                        # where a name means something else
    ('likeliest', 'prompt'): ROWS[:1],
    ('Generation', 'ids'): [ROWS[0]], ('Generation', 'logprobs'): [torch.zeros(3)],
    ('Generation', 'scores'): [0.],
    ('Generation', 'finish_reasons'): ['length'], ('Generation', 'stats'): {},
    ('update', 'ids'): torch.tensor([1, 2]),
    ('sample', 'ids'): None, ('LoopStop.__call__', 'ids'): [5, 6],
    ('LanguageModel.decode', 'ids'): [5, 6],
    ('Generation.show', 'value'): 'surprisal', ('Sampler', 'temperature'): .8,
    ('mcts_decode', 'temperature'): 0,
    ('Support', 'ids'): torch.tensor([1, 2, 3]), ('Support', 'offsets'): [0, 2, 3],
    ('Support', 'vocab'): V, ('Support', 'temperature'): None,
    ('replay_logprobs', 'ids'): torch.tensor([0, 1]), ('replay_logprobs', 'mask'): None,
    ('replay_logprobs', 'temperature'): None,
    ('replay_logprobs', 'support'): ls.Support([], [0, 0, 0], V),
    ('Support.logprobs', 'ids'): torch.tensor([1, 3]),
    ('Support.take', 'index'): [0, 1], ('compare', 'budget'): None,
    ('sweep', 'metrics'): None}


def parameters(f):
    return {n: p for n, p in inspect.signature(f).parameters.items() if n != 'self'
            and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}


def valid(f, name):
    """Arguments of a call that works: by name, else the default; a parameter with
    neither is an error"""
    found = {}
    for n, p in parameters(f).items():
        if here := {(name, n), (name.rpartition('.')[2], n)} & {*HERE}:
            found[n] = HERE[here.pop()]
        elif n in OWN: found[n] = OWN[n]
        elif p.default is not p.empty: found[n] = p.default
        else:
            raise LookupError(f'{name} has a parameter {n!r} without a valid value: '
                              'add one to tests/fuzz.py')
    return found


def methods(cls):
    return [n for n, f in inspect.getmembers(cls, callable)
            if (n == '__call__' or not n.startswith('_'))
            and f.__module__.startswith('llm_sampling')]


@functools.cache
def instance(name):
    """One of each class: what it is asked for a second time must be answered as the
    first time"""
    cls = getattr(ls, name)
    if name == 'Sampler':
        return ls.Sampler(temperature=.8, top_k=5, top_p=.95, repetition_penalty=1.2,
                          frequency_penalty=.1, xtc_probability=.5,
                          adaptive=ls.Mirostat2(3.), seed=1)
    if name == 'Generation': return ls.generate(LM, ROWS, max_new_tokens=2)
    return cls(**valid(cls, name))


class Odd:
    "Nothing that it claims to be"
    def __len__(self): return 3
    def __getitem__(self, i): return 'x'


HOSTILE = [
    None, True, False, object(), Odd(), object, len, ..., NotImplemented,
    0, 1, -1, 2, 7, 2**31, -2**31, 2**63, -2**63 - 1, 2**64, 10**30, 10**400,
    0., -.5, .5, 1., 1.5, math.nan, math.inf, -math.inf, 1e-50, 1e39, 1e308, 1j,
    '', 'a', ' the', '\ud800', '\x1b[31m\u202e', 'x\ny', '0', b'', b'\xff', 'low',
    'tree', 'a' * 300,
    [], (), {}, set(), [[]], [[], []], [None], [None, None], [1], [1, 2], [1., 2.],
    [-1, -1], [2**64, 1], [math.nan, 1.], ['a'], ['a', 1], ['\ud800'], [''], [[1], 'a'],
    [[1.5]],
    [[-1]], [[10**30]], [[1, 2], [3]], [1, 2, 3], [object()], [[[1]]], [True, False],
    {1: 2}, {'a': 1.}, {-1: 1.}, {10**30: 1.}, {1: math.nan}, {(): [1.]}, {(): []},
    {(): 3}, {'input_ids': [[1]]}, {'input_ids': 5},
    {'role': 'x'}, [{'role': 'x'}], range(3), np.int64(3), np.float32(.5), np.nan,
    np.array([1, 2]), np.array([[1.5]]), np.array(['a']), np.array([object()]),
    np.uint64(2**63), torch.tensor(1), torch.tensor(.5), torch.tensor(True),
    torch.tensor([]), torch.tensor([1, 2]), torch.tensor([.5, 1.]),
    torch.tensor([math.nan, 1.]), torch.tensor([-1, -5]),
    torch.tensor([[1, 2, 1], [3, 4, 99_999]]),
    torch.tensor([[1, 2, 1], [3, 4, -2]]), torch.tensor([[.1, .2, .3], [.1, .2, .3]]),
    torch.tensor([[True, False, True], [True, True, True]]),
    torch.tensor([[0, 0, 0], [0, 0, 0]]), torch.tensor([1j, 2j]),
    torch.tensor([.5, 1.]).to(torch.float8_e4m3fn),
    torch.tensor([1, 2**62]), torch.zeros(2, 0), torch.zeros(0, 3, dtype=torch.long),
    torch.zeros(2, 3, 4), torch.zeros(2, 3, 4, dtype=torch.long),
    torch.tensor([2**63 + 5], dtype=torch.uint64),
    torch.tensor([3, 4], dtype=torch.int8), torch.full((2, V), math.nan),
    torch.full((2, V), math.inf), torch.full((2, V), -math.inf),
    torch.zeros(2, V, dtype=torch.complex64), torch.zeros(2, V).to(torch.float8_e4m3fn),
    torch.zeros(2, V, dtype=torch.long), torch.zeros(3, V), torch.zeros(V),
    torch.zeros(2, V, dtype=torch.half),
    torch.randn(2, V, generator=g, dtype=torch.float64), torch.zeros(2, 2 * V)[:, ::2],
    torch.zeros(2, V, requires_grad=True), torch.zeros(2, 2),
    torch.zeros(2, 2, dtype=torch.bool), torch.zeros(3, 2),
    torch.zeros(2, 1, dtype=torch.long), torch.full((2, 1), -1), torch.full((2, 1), -3),
    torch.full((2, 1), 10**12), torch.ones(2, V).to_sparse(),
    LM, LM.model, LM.tokenizer, ls.Sampler(), ls.Sampler(top_k=[1, 2, 3]),
    ls.Mirostat2(3.), ls.Mirostat2, lambda *a: None, lambda *a: 1,
    lambda *a: [math.nan] * 9, lambda *a: 'x',
]
COUNTS = ('n', 'batch', 'max_new_tokens', 'num_simulations', 'num_beams',
          'num_beam_groups', 'num_return_sequences', 'leaves', 'rollout_tokens',
          'lookahead')


FUNCTIONS = 'answer', 'score', 'similarity', 'value', 'streamer', 'stop'


def unfair(f, name, value):
    "Legal, and years of work; or a function of the user's that fails by itself"
    many = name in COUNTS or (name == 'top_k' and 'lm' in f)
    return many and type(
        value) is int and value > 100 or name in FUNCTIONS and callable(
            value) and not isinstance(value, types.LambdaType)


MEANS = dict(  # what a message may call an argument, where not by its name alone
    logits=('logit', 'state must be', 'ids must be below', 'sequences must hold'),
    ids=('ids', 'mask must have shape'), history=('ids', 'history', 'mask'),
    prompt=('prompt', 'row', 'attention_mask'), negative_prompt=('prompt',),
    mask=('mask', 'tokens, more than the window'), sampler=('sampler', 'top_k must'),
    eos_token_id=('eos_token_id', 'do not end a text'), name=('name', 'no model'),
    force_words_ids=('force_words_ids', 'hypotheses'), table=('table', 'key'),
    n=('n must', ' n '), p=('p must',), u=('u must',), z=('z must',))
ENDS = dict(load=(OSError, ValueError, TypeError))


def short(v):
    try: return repr(v).replace('\n', ' ')[:60]
    except Exception: return type(v).__name__


def names():
    """Public functions, classes and methods; what torch asks of a module, and the inner
    forward of a model, are for those who know"""
    for name in ls.__all__:
        yield name
        f = getattr(ls, name)
        if inspect.isclass(f) and not issubclass(f, torch.nn.Module):
            yield from (f'{name}.{m}' for m in methods(f)
                        if (name, m) != ('LanguageModel', 'forward'))


def target(name):
    "A function, and valid arguments for it"
    owner, _, method = name.partition('.')
    f = getattr(ls, owner)
    if not method: return f, valid(f, name)
    return getattr(instance(owner), method), valid(getattr(f, method), name)


def used_up(out): return [*out] if isinstance(out, types.GeneratorType) else out


def healthy(z):
    return not isinstance(z, torch.Tensor) or not (z.isnan().any()
                                                   or (z == math.inf).any())


def fault(out, args):
    "What is wrong with a result; None: nothing"
    if isinstance(out, ls.Generation) and 'lm' in args:
        for ids, logprobs, reason in zip(out.ids, out.logprobs, out.finish_reasons):
            if len(ids) != len(logprobs) or logprobs.isnan().any() or (
                logprobs > 0).any():
                return 'wrong logprobs'
            if len(ids) and not 0 <= ids.min() <= ids.max() < args['lm'].vocab_size:
                return 'ids outside of the vocabulary'
            if len(ids) > args['max_new_tokens'] or reason not in ('stop', 'length',
                                                                   'loop'):
                return 'wrong end'
    z = args.get('logits')
    if not isinstance(out, torch.Tensor) or not isinstance(
        z, torch.Tensor) or not healthy(z):
        return
    if not out.is_floating_point() and out.shape == z.shape[:-1]:
        least = -1 if args.get('check') is False else 0
        if not ((out >= least) & (out < 4096 if args.get('ids') is not None
                                  else out < z.shape[-1])).all():
            return 'ids outside of the vocabulary'
    if out.is_floating_point() and out.shape == z.shape and not healthy(out):
        return 'nan or inf from good logits'


def attack(name, replaced):
    """What is wrong with the answer to a valid call with some arguments replaced; None:
    nothing"""
    call, args = target(name)
    args |= replaced
    try: return fault(used_up(call(**args)), args)
    except ENDS.get(name, (ValueError, TypeError)) as e:
        text = str(e)
        if '\n' in text or text != printable(text):
            return f'the message is no printable line: {text!r}'
        if len(text) > 700: return f'the message has {len(text)} characters'
        known = [word for n in replaced for word in MEANS.get(n, (n,))]
        if not any(word in text for word in known):
            return f'the message does not name it: {type(e).__name__}: {text}'
    except Exception as e: return f'{type(e).__name__}: {e}'
