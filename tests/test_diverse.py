"Groups of beams against numbers of transformers 4.55, and beam search"
import math

import pytest, torch
from beam_cases import GROUPS, agree, group_sampler, search, tiny_models

from llm_sampling.beam import Beams, beam_search, search_beams
from llm_sampling.diverse import Group, diverse_beam_search, joined_groups
from llm_sampling.models import LanguageModel
from llm_sampling.table_model import TableModel
from llm_sampling.token_tree import TokenTree


@pytest.fixture(scope='module')
def tinies(): return tiny_models()


@pytest.mark.some(24)
@pytest.mark.parametrize('n', range(70))
def test_groups_are_transformers(n, tinies):
    c = GROUPS[n]
    agree(search(diverse_beam_search, c, tinies[c['family'], c['seed']],
                 sampler=group_sampler(c)), c, c['expected'])


@pytest.mark.long
@pytest.mark.parametrize('groups', [1, 3])
def test_one_group_or_no_penalty_is_beam_search(groups, tinies, lists):
    rows = [torch.tensor(p) for p in ([3, 4, 5, 6], [9])]
    for lm in tinies.values():
        for early in (True, False, 'never'):
            kw = dict(max_new_tokens=8, eos_token_id=(2, 3, 4, 5), early_stopping=early)
            beam = beam_search(lm, rows, num_beams=4, num_return_sequences=4, **kw)
            ours = diverse_beam_search(lm, rows, num_beams=4 * groups,
                                       num_beam_groups=groups, diversity_penalty=0.,
                                       num_return_sequences=4 * groups, **kw)
            want = [i.tolist() for i in beam.ids for _ in range(groups)]
            assert lists(ours.ids) == want
            # equal nodes once
            assert ours.stats['tokens_evaluated'] == beam.stats['tokens_evaluated']


def test_scores_are_penalised_sums(tinies):
    out = diverse_beam_search(tinies['llama', 0], [[5, 6]], diversity_penalty=.7,
                              max_new_tokens=8, num_return_sequences=2,
                              length_penalty=0., eos_token_id=())
    paid = [(l.sum().item() - s) / .7 for l, s in zip(out.logprobs, out.scores)]
    assert paid == pytest.approx([round(p) for p in paid], abs=1e-3)
    assert min(paid) > -1e-3


@pytest.mark.parametrize('penalty,words', [(.3, [1, 1]), (.5, [1, 2])])
def test_by_hand(penalty, words):
    "One step, two groups of one beam: the border is at log(.5 / .35) = .357"
    p = torch.tensor([0, .5, .35, .15])
    out = diverse_beam_search(LanguageModel(TableModel({(): p})), [[0]], num_beams=2,
                              diversity_penalty=penalty, max_new_tokens=1,
                              num_return_sequences=2, eos_token_id=())
    assert torch.cat(out.ids).tolist() == words
    paid = penalty if words == [1, 1] else 0
    assert out.scores == pytest.approx([math.log(.5), p[words[1]].log().item() - paid])


def test_a_penalty_parts_texts(lm):
    "Without one all groups are one greedy search, with a large one they hardly agree"
    def run(penalty):
        return diverse_beam_search(lm,
                                   'Once upon a time there was a poor woodcutter who',
                                   num_beams=6, num_beam_groups=6, max_new_tokens=16,
                                   diversity_penalty=penalty, num_return_sequences=6,
                                   eos_token_id=())
    def shared(out):
        ids = torch.stack(out.ids)
        same = (ids[:, None] == ids).float().mean(-1)
        return ((same.sum() - 6) / 30).item()
    none, much = run(0.), run(4.)
    assert shared(none) == 1 and shared(much) < .3
    read = lm.encode('Once upon a time there was a poor woodcutter who')[0].shape[1]
    assert none.stats['tokens_evaluated'] == read + 15
    assert read + 60 < much.stats['tokens_evaluated'] <= read + 90


def test_groups_are_joined_best_first():
    tree = TokenTree(LanguageModel(TableModel({(): [.1, .5, .4]}, eos_token_id=0)),
                     [[1]])
    groups = []
    for _ in range(2):
        groups.append(Group(tree, 2, max_new_tokens=3, eos=(0,), earlier=groups[:],
                            diversity=.05))
    for _ in search_beams(groups): pass
    out = joined_groups(groups)
    assert isinstance(out, Beams)
    assert out.scores[0].tolist() == sorted(torch.cat([g.scores for g in groups],
                                                   1).tolist()[0], reverse=True)
    found = {(n, t) for g in groups for n, t in zip(g.ends[0].tolist(),
                                                    g.lasts[0].tolist())}
    assert {*zip(out.ends[0].tolist(), out.lasts[0].tolist())} == found


@pytest.mark.parametrize('call,message', [
    (lambda lm: diverse_beam_search(lm, [[3]], num_beam_groups=3),
     'num_beam_groups must be a divisor of num_beams, 4, not 3'),
    (lambda lm: diverse_beam_search(lm, [[3]], num_beam_groups=0), 'num_beam_groups'),
    (lambda lm: diverse_beam_search(lm, [[3]], num_beams=2, num_beam_groups=4),
     'num_beam_groups'),
    (lambda lm: diverse_beam_search(lm, [[3]], diversity_penalty=-.1),
     'diversity_penalty must be'),
    (lambda lm: diverse_beam_search(lm, [[3]], diversity_penalty=math.nan),
     'diversity_penalty must be'),
    (lambda lm: diverse_beam_search(lm, [[3]], diversity_penalty=10**400),
     'diversity_penalty must be a number from 0 to 1e.30'),
    (lambda lm: diverse_beam_search(lm, [[3]], num_beams=2**64, num_beam_groups=2**64),
     'num_beams must be at most'),
    (lambda lm: diverse_beam_search(lm, [[3]], num_beams=0, num_beam_groups=1),
     'num_beams'),
    (lambda lm: diverse_beam_search(lm, [[3]], num_return_sequences=5),
     'num_return_sequences'),
    (lambda lm: diverse_beam_search(lm, [[3]], max_new_tokens=200), 'window'),
])
def test_bad_input(call, message, tinies):
    with pytest.raises(ValueError, match=message): call(tinies['llama', 0])
