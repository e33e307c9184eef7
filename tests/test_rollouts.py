"""Rollouts against `generate`: the same texts, each prefix read once"""
import pytest, torch

import llm_sampling as ls
from llm_sampling.generation import generate
from llm_sampling.models import LanguageModel
from llm_sampling.table_model import TableModel
from llm_sampling.rollouts import Rollout, Rollouts
from llm_sampling.sampler import Sampler
from llm_sampling.token_tree import TokenTree


def started(lm, rows, **kw):
    "Rollouts of these prompts, and one from each root under the seeds of `generate`"
    ids, mask = lm.encode(rows)
    made = Rollouts(TokenTree(lm, ids, mask), **kw)
    seeds = ls.row_seeds(5, ids, mask).tolist()
    return made, [Rollout(i, root, seed, root)
                  for i, (root, seed) in enumerate(zip(made.roots, seeds))]


@pytest.mark.parametrize('sampler', [None, Sampler(temperature=1.2, top_k=9),
                                     Sampler(repetition_penalty=1.5, xtc_threshold=.1,
                                             xtc_probability=.5)])
@pytest.mark.parametrize('family', ['llama', 'gpt2', 'bloom'])
def test_a_rollout_is_what_generate_writes(family, sampler, rows, lists, tiny):
    lm = tiny(family, layers=1)
    made, under_way = started(lm, rows, max_new_tokens=7, sampler=sampler)
    made.roll(under_way)
    want = generate(lm, rows, sampler, seed=5, max_new_tokens=7, eos_token_id=())
    assert [r.node.ids for r in under_way] == lists(want.ids)
    assert [r.node.logprob for r in under_way] == pytest.approx(
        [l.sum().item() for l in want.logprobs], abs=1e-3)
    # one pass for the prompts, and one for each token but the last
    assert made.tree.stats['forward_passes'] == 7
    made.roll([Rollout(r.row, r.leaf, r.seed, r.leaf) for r in under_way])
    assert made.tree.stats['forward_passes'] == 7  # the same again is known


def test_a_rollout_ends_where_it_is_told(rows, tiny):
    lm = tiny('llama', layers=1)
    for kw, depths in ((dict(rollout_tokens=2), [2] * 3),
                       (dict(max_new_tokens=4), [4] * 3),
                       (dict(ended=lambda row, ids: len(ids) > row), [1, 2, 3])):
        made, under_way = started(lm, rows, **kw)
        made.roll(under_way)
        assert [r.node.depth for r in under_way] == depths


def test_what_is_kept_still_says_the_same(rows, tiny):
    lm = tiny('llama', layers=1)
    made, under_way = started(lm, rows, max_new_tokens=6)
    made.roll(under_way)
    first = under_way[0].node.path
    kept = [(0, n) for n in first[:3]]
    before = made.logits(kept)
    made.keep(kept + kept)  # twice is once
    assert made.tree.counts.tolist() == [3, 0, 0]
    torch.testing.assert_close(made.logits(kept), before, rtol=0, atol=0)
    assert [made.tree.path(0, n.number) for _, n in kept] == [n.ids for _, n in kept]
    made.keep([(0, first[-1])])  # it was never read: nothing to keep, nothing forgotten
    assert made.tree.counts.tolist() == [3, 0, 0]


def test_priors_are_those_of_the_filters():
    lm = LanguageModel(TableModel({(): [.4, .3, .2, .1]}))
    ban = Sampler(temperature=.5, ban_tokens=[[1]])
    made = Rollouts(TokenTree(lm, [[0]]), top_k=2, sampler=ban)
    made.expand([(0, made.roots[0])])
    moves = made.roots[0].moves
    assert [t for t, *_ in moves] == [0, 2]
    assert [p for _, p, _ in moves] == pytest.approx([.16 / .2, .04 / .2])
    # of the model as it is
    assert [l for *_, l in moves] == pytest.approx([-.9163, -1.6094], abs=1e-4)


def test_ties_are_the_lowest_ids():
    lm = LanguageModel(TableModel({(): [1/60] * 60}))
    made = Rollouts(TokenTree(lm, [[0]]), top_k=4)
    made.expand([(0, made.roots[0])])
    assert [t for t, *_ in made.roots[0].moves] == [0, 1, 2, 3]
    assert [p for _, p, _ in made.roots[0].moves] == [.25] * 4
