"""Beginnings in the order of their probability, against all of them one by one"""
import itertools
import math

import pytest
import torch

import llm_sampling as ls
from llm_sampling.likely import covered, likeliest, plot_map

PROMPT = torch.tensor([[1, 5, 9]])


def every(lm, longest, ends=()):
    "All beginnings and their log-probabilities, by whole forward passes"
    found, texts = {}, [()]
    for _ in range(longest):
        texts = [t for t in texts if not t or t[-1] not in ends]
        rows = torch.tensor([[*PROMPT[0].tolist(), *t] for t in texts])
        logprobs = lm.forward(rows)[0][:, -1].double().log_softmax(-1)
        fresh = {(*t, i): found.get(t, 0.) + l for t, row in zip(texts, logprobs)
                 for i, l in enumerate(row.tolist())}
        found, texts = found | fresh, [*fresh]
    return found


@pytest.mark.parametrize('ends', [(), (3, 7)])
@pytest.mark.parametrize('ahead', [1, 5, 64])
def test_all_of_them_in_order(small, ends, ahead):
    lm = ls.LanguageModel(small.model)
    want = every(lm, 2, ends)
    got = likeliest(lm, PROMPT, num_nodes=10**5, max_new_tokens=2, ahead=ahead,
                    eos_token_id=ends)
    assert {tuple(b.ids) for b in got} == {*want} and len(got) == len(want)
    for b, l in zip(got, sorted(want.values(), reverse=True)):
        assert abs(b.logprob - want[tuple(b.ids)]) < 1e-4 and abs(b.logprob - l) < 1e-4
        assert b.ended == (b.depth == 2 or b.token in ends)
    assert all(abs(covered(got, d) - 1) < 1e-4 for d in (1, 2))
    for depth in (1, 2):                    # places fill a column without overlaps
        whole = [b for b in got if b.depth == depth or b.ended and b.depth < depth]
        edge = 0.
        for b in sorted(whole, key=lambda b: b.top):
            assert abs(b.top - edge) < 1e-4
            edge = b.top + b.mass


def test_the_first_whole_text_is_the_mode(small):
    lm = ls.LanguageModel(small.model)
    want = every(lm, 2)
    texts = sorted((l for ids, l in want.items() if len(ids) == 2), reverse=True)
    for n in (1, 3):
        got = likeliest(lm, PROMPT, num_nodes=10**5, ends=n, max_new_tokens=2,
                        eos_token_id=())
        ended = [b for b in got if b.ended]
        assert len(ended) == n and got[-1] is ended[-1]
        assert all(abs(b.logprob - l) < 1e-4 for b, l in zip(ended, texts))
        assert len(got) <= 2 / ended[-1].mass + 1e-3        # of each length 1 / p


def test_what_cannot_be_is_no_beginning():
    rows = {(): [0., 1., 0.], (1,): [.5, 0., .5]}
    lm = ls.LanguageModel(ls.TableModel(rows))
    got = likeliest(lm, [[1]], max_new_tokens=2, eos_token_id=())
    assert {tuple(b.ids) for b in got} == {(0,), (2,), (0, 1), (2, 1)}
    assert [round(b.mass, 6) for b in got] == [.5] * 4


def test_a_text_or_its_ids(lm):
    ids = lm.encode('The king')[0]
    a, b = (likeliest(lm, p, num_nodes=20) for p in ('The king', ids))
    assert [x.ids for x in a] == [x.ids for x in b]
    assert 'probability' in repr(a[0]) and len(a) == 20


def test_refusals(small):
    lm = ls.LanguageModel(small.model)
    for name, value in itertools.product(('num_nodes', 'ends', 'ahead',
                                          'max_new_tokens'), (0, -1, 1.5, True, 'x')):
        with pytest.raises((ValueError, TypeError), match=name):
            likeliest(lm, PROMPT, **{name: value})
    with pytest.raises(ValueError, match='one prompt, not 2'):
        likeliest(lm, PROMPT.repeat(2, 1))
    with pytest.raises(ValueError): likeliest(lm, PROMPT, max_new_tokens=10**4)


def test_a_figure_of_it(lm):
    import matplotlib.pyplot as plt
    got = likeliest(lm, 'The king', num_nodes=30, max_new_tokens=3)
    ax = plot_map(got, lambda i: '$x$', {tuple(got[4].ids)}, depth=2)
    assert ax.get_xlim() == (0, 2) and len(ax.patches) >= 20
    framed = [p for p in ax.patches if p.get_linewidth() > 1]
    assert len(framed) == 1 and math.isclose(framed[0].get_height(), got[4].mass)
    plt.close('all')
