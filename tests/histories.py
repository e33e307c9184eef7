"""Steps that read the history, as definitions of one row and one token at a time, and
texts of few tokens for them"""
import math

import torch
from hypothesis import strategies as st
from strategies import rows

INF = math.inf


# --- the definitions, one row and one token at a time

def loop_repetition(z, said, theta):
    return [x if i not in said else x * theta if x < 0 else x / theta
            for i, x in enumerate(z)]

def loop_normalised(z, said, theta):
    if max(z) == -INF: return z
    total = max(z) + math.log(math.fsum(math.exp(x - max(z)) for x in z))
    return [(x - total) * (theta if i in said else 1) for i, x in enumerate(z)]

def loop_frequency(z, said, cost):
    return [x - cost * said.count(i) for i, x in enumerate(z)]
def loop_presence(z, said, cost):
    return [x - cost * (i in said) for i, x in enumerate(z)]

def loop_ngram(z, said, size):
    grams = {tuple(said[i:i+size]) for i in range(len(said) - size + 1)}
    ending = tuple(said[len(said)-size+1:]) if size > 1 else ()
    if len(said) < size - 1: return z
    return [-INF if ending + (i,) in grams else x for i, x in enumerate(z)]

def loop_dry(z, said, cost, base=1.75, allowed=2, breakers=()):
    """As p-e-w's: from each earlier token back while it agrees with the end, and no
    further than a breaker"""
    longest = {}
    for j, t in enumerate(said):
        n = 0
        while n < j and said[j-1-n] == said[-1-n] not in breakers: n += 1
        if t not in breakers: longest[t] = max(longest.get(t, 0), n)
    return [x - cost * base**(longest[i] - allowed) if longest.get(i, 0) >= allowed
            else x for i, x in enumerate(z)]

def loop_ban(z, said, sequences):
    out = list(z)
    for s in sequences:
        before = list(s[:-1])
        if len(said) >= len(before) and said[len(said)-len(before):] == before:
            out[s[-1]] = -INF
    return out

# --- examples: few tokens, so that sequences recur

@st.composite
def texts(draw, longest=20):
    """Logits (B, V), ids (B, L) with pads of any id and outside the vocabulary, mask
    (B, L)"""
    B = draw(st.integers(1, 3))
    L = draw(st.integers(0, longest))
    V = draw(st.integers(2, 6))
    z = torch.stack([draw(rows(vocab=V)) for _ in range(B)])
    kinds = draw(st.integers(1, V))
    ids = torch.tensor([[draw(st.integers(0, kinds - 1)) for _ in range(L)]
                        for _ in range(B)], dtype=torch.long).view(B, L)
    mask = torch.tensor([[draw(st.booleans() if draw(st.booleans()) else st.just(True))
                          for _ in range(L)]
                         for _ in range(B)], dtype=torch.bool).view(B, L)
    return z, ids.masked_fill(~mask, draw(st.sampled_from([0, 1, -100, 10**9]))), mask

def by_rows(loop, z, ids, mask, *knob):
    "The definition in float64, each row with the tokens its mask shows"
    return torch.tensor([loop(r.tolist(), i[m].tolist(), *knob)
                         for r, i, m in zip(z.double(), ids, mask)]).float()

TEXT = (torch.tensor([[2., -1, .5, -3]] * 2),
        torch.tensor([[0, 1, 2, 0, 1, 2, 0], [3, 3, 3, 1, 0, 1, 3]]),
        torch.tensor([[True] * 7, [False] * 3 + [True] * 4]))
