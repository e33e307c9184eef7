"""A model of fifteen texts with their probabilities, and choices among them by brute
force"""
import math

import torch

from llm_sampling.models import LanguageModel
from llm_sampling.table_model import TableModel

AFTER = {(): [.2, .5, .3], (1,): [.5, .1, .4], (2,): [.1, .7, .2]}

def small(): return LanguageModel(TableModel(AFTER, eos_token_id=0))

def texts_of(text=(), p=1.):
    if text[-1:] == (0,) or len(text) == 3: return {text: p}
    return {t: q for w in range(3)
            for t, q in texts_of((*text, w), p * AFTER[text[-1:]][w]).items()}

TEXTS = texts_of()

def falls(n, k):
    if k == 1: yield (n,)
    else: yield from ((c, *rest) for c in range(n + 1) for rest in falls(n - c, k - 1))

def exact(probs, n, value):
    """Chances of a choice: over all counts of n draws; of tied ones each with a chance
    in proportion to its count"""
    chances = torch.zeros(len(probs), dtype=torch.float64)
    for counts in falls(n, len(probs)):
        chance = math.factorial(n) * math.prod(p**c / math.factorial(c)
                                               for p, c in zip(probs, counts))
        values = value(counts)
        top = max(v for v, c in zip(values, counts) if c)
        tied = [i for i, c in enumerate(counts) if c and values[i] == top]
        for i in tied: chances[i] += chance * counts[i] / sum(counts[j] for j in tied)
    return chances

def numbers(out):
    order = {t: i for i, t in enumerate(TEXTS)}
    return torch.tensor([order[tuple(i.tolist())] for i in out.ids])

def ids_of(out): return [i.tolist() for i in out.ids]

def overlap(a, b, longest=4):
    "F1 of n-grams by removing matches one at a time"
    grams = [[tuple(x[i:i + k]) for k in range(1, longest + 1)
              for i in range(len(x) - k + 1)] for x in (a, b)]
    size, rest, common = len(grams[0]) + len(grams[1]), list(grams[1]), 0
    for g in grams[0]:
        if g in rest: rest.remove(g); common += 1
    return 2 * common / size if size else 1.
