"""Steps of one's own: a memory that shows, rows that leave, what cannot be followed"""
from functools import partial

import pytest
import torch
from transformers import LogitsProcessor, SequenceBiasLogitsProcessor

import llm_sampling as ls
from llm_sampling.own_steps import Batched, called, remembers


WORDS, AND = (355, 702, 1186), 270       # ids, none of them the end of a text

class Grammar(LogitsProcessor):
    """Words with one between them, none twice, as outlines and xgrammar keep theirs: a
    place in each text, which goes on at every call and says nothing of it"""
    said = None

    def __call__(self, ids, scores):
        if self.said is None: self.said = [[] for _ in ids]
        else:
            for said, row in zip(self.said, ids.tolist()):
                if row[-1] not in self.allowed(said):
                    raise RuntimeError(f'rejected token {row[-1]}')
                said.append(row[-1])
        out = torch.full_like(scores, -torch.inf)
        for new, z, said in zip(out, scores, self.said, strict=True):
            new[self.allowed(said)] = z[self.allowed(said)]
        return out

    @staticmethod
    def allowed(said):
        left = [w for w in WORDS if w not in said]
        if not said or said[-1] == AND: return left
        return [AND, 0] if left and said[-1] in WORDS else [0]


BEGINS = ['The', 'I saw a', 'He had a dog and a']

def listed(step, **kw):
    return ls.Sampler(temperature=3, seed=2, processors={'list': step}, **kw)


def test_a_grammar_follows_its_rows(lm, lists):
    "Also behind texts that a stop ended, which it would have let go on"
    ask = dict(max_new_tokens=6, stop=lambda prompt, ids: ids[-1] == WORDS[1])
    out = ls.generate(lm, BEGINS, listed(Batched(Grammar())), **ask)
    alone = [ls.generate(lm, p, listed(Grammar()), **ask) for p in BEGINS]
    assert lists(out.ids) == [i for a in alone for i in lists(a.ids)]
    assert len({len(i) for i in out.ids}) > 1, 'rows must leave at different steps'


def test_a_step_that_changes_itself_has_a_memory(lm):
    "Unless it says that it has none; what transformers only prepares is none"
    with pytest.raises(ValueError, match=r"rows\(index\).*'list' does not"):
        ls.generate(lm, BEGINS, listed(Grammar()), max_new_tokens=6)
    for search in (ls.beam_search, partial(ls.mcts_decode, num_simulations=3),
                   partial(ls.generate, record='support')):
        for step in (Grammar(), Batched(Grammar())):
            with pytest.raises(ValueError, match='no list step: it follows one text'):
                search(lm, 'The', sampler=listed(step), max_new_tokens=4)
    bias = SequenceBiasLogitsProcessor([[[AND, 5], 2.]])
    ls.generate(lm, BEGINS, listed(bias), max_new_tokens=3, n=2)
    counts = lambda ids, z: setattr(counts, 'calls', len(ids)) or z
    counts.memory = False
    ls.generate(lm, BEGINS, listed(counts), max_new_tokens=3)
    assert counts.calls == 3 and not remembers(counts)
    forgets = lambda ids, z: delattr(forgets, 'first') or z
    forgets.first = True
    assert called(forgets, None, z := torch.zeros(1)) is z and remembers(forgets)


def test_a_used_grammar_begins_anew_or_is_refused(lm):
    step = Grammar()
    s = listed(Batched(step))
    first = ls.generate(lm, BEGINS, s, max_new_tokens=6).texts
    with pytest.raises(ValueError, match='new in each call .* Grammar has been used'):
        ls.generate(lm, BEGINS, s, max_new_tokens=6)
    step.reset = lambda: setattr(step, 'said', None)
    assert ls.generate(lm, BEGINS, s, max_new_tokens=6).texts == first
