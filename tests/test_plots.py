"Figures of hostile tokens"
import io

import matplotlib.pyplot as plt
import pytest

import llm_sampling as ls
from llm_sampling.plots import (GONE, KEPT, highlight_text, plot_lines, plot_probs,
                                plot_tree, small_multiples)

HOSTILE = ['$', '$5', '$x$', r'$\frac{', r'\$', '_^{}', '\ud83d', '\x1b[31m', '\u202e',
           '<b>', '']


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close('all')


def drawn(ax):
    "Everything is rendered, as a figure on a page would be"
    figure = ax if hasattr(ax, 'savefig') else ax.figure
    figure.savefig(io.BytesIO(), format='svg')
    return figure


@pytest.mark.some(3)
@pytest.mark.filterwarnings('ignore:Glyph')
@pytest.mark.parametrize('token', HOSTILE)
def test_any_token_is_a_label(token):
    pair = token + token                       # two dollars make mathematics
    ax = plot_probs([.5, .3, .2], [token, pair, 'x'], title=pair)
    drawn(ax)
    for text, shown in zip(ax.get_xticklabels(), (token, pair)):
        assert text.get_text().replace(r'\$',
                                       '$') == shown.encode('utf-8', 'replace').decode()
    drawn(plot_lines([1, 2], {pair: [1, 2], 'other': [2, 1]}, xlabel='k', ylabel='p'))
    drawn(small_multiples({pair: [.5, .5]}, [token, pair]))
    assert '<b>' not in highlight_text([token, pair], [1., 2.]).data.encode().decode()


@pytest.mark.filterwarnings('ignore:Glyph')
def test_explanations_of_hostile_tokens():
    import torch
    z = torch.randn(2, len(HOSTILE))
    s = ls.Sampler(ban_tokens=[[1, 2], [3]], dynamic_temperature=(.5, 1.5),
                   top_k=[3, None], logit_bias={1: -1.})
    e = s.explain(z, torch.tensor([[1, 1], [0, 2]]), tokenizer=HOSTILE)
    for row in range(2):
        drawn(e.plot(row))
        assert len(e.report(row)) == 5
    assert 'top_k off' in str(e)
    assert '<b>' not in e._repr_html_()
    assert '\x1b' not in str(e)


def places(*args, **kw):
    "Texts of a tree and where they stand"
    return {(t.get_text(), t.get_position()) for t in plot_tree(*args, **kw).texts}


def test_a_tree_is_drawn_in_its_final_places():
    parents, live = [-1, -1, 0, 1], [False, False, True, False]
    whole = places(parents, 'abcd', live)
    assert whole == {('prompt', (0, .5)), ('a', (1, 0)), ('b', (1, 1)), ('c', (2, 0)),
                     ('d', (2, 1))}
    assert places(parents, ['a', None, 'c', None], live) == {
        p for p in whole if p[0] not in 'bd'}
    assert places([], [], []) == {('prompt', (0, 0))}


def test_live_branches_are_strong():
    ax = plot_tree([-1, -1, 0, 1], 'abcd', [False, False, True, False],
                   notes=['1', '2', '3', '4'])
    strong = {t.get_text(): t.get_bbox_patch().get_facecolor() for t in ax.texts}
    assert len({strong[x] for x in ('prompt', 'a\n1', 'c\n3')}) == 1
    assert strong['b\n2'] == strong['d\n4'] != strong['a\n1']
    colours = {tuple(line.get_xydata()[1]): line.get_color() for line in ax.lines}
    assert colours == {(1, 0): KEPT, (1, 1): GONE, (2, 0): KEPT, (2, 1): GONE}


@pytest.mark.parametrize('lists,message', [
    (([-1, -1], ['a'], [True, True]), 'texts must hold one entry .* 2 parents, not 1'),
    (([-1], ['a'], []), 'live must hold'),
    (([-1], ['a'], [True], []), 'notes must hold'),
    (([1, -1], ['a', 'b'], [True, True]), 'node 0 must come after its parent'),
    (([-2], ['a'], [True]), 'not -2')])
def test_lists_that_are_no_tree(lists, message):
    with pytest.raises(ValueError, match=message): plot_tree(*lists)


@pytest.mark.filterwarnings('ignore:Glyph')
@pytest.mark.parametrize('token', HOSTILE)
def test_any_token_is_a_node(token):
    drawn(plot_tree([-1], [token + token], [True], notes=[token + token]))
