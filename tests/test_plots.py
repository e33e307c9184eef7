"Figures of hostile tokens"
import io

import matplotlib.pyplot as plt
import pytest
from matplotlib.colors import to_rgba

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


def small_tree():
    return plot_tree([-1, -1, 0, 1], 'abcd', [False, False, True, False],
                     notes=['1', '2', '3', '4'])


def test_live_branches_are_strong():
    ax = small_tree()
    strong = {t.get_text(): t.get_bbox_patch().get_facecolor() for t in ax.texts}
    assert len({strong[x] for x in ('prompt', 'a\n1', 'c\n3')}) == 1
    assert strong['b\n2'] == strong['d\n4'] != strong['a\n1']
    colours = [line.get_edgecolor() for line in ax.patches]
    assert colours == [to_rgba(c) for c in (KEPT, GONE, KEPT, GONE)]


def light(rgb):
    "Relative luminance of a colour with parts from 0 to 1"
    parts = [v / 12.92 if v <= .04045 else ((v + .055) / 1.055)**2.4 for v in rgb]
    return sum(v * w for v, w in zip(parts, (.2126, .7152, .0722)))


def contrast(colour, ground):
    "Of a colour that may be half transparent, on a ground"
    *rgb, alpha = to_rgba(colour)
    seen = [alpha * v + (1 - alpha) * g for v, g in zip(rgb, to_rgba(ground))]
    low, high = sorted([light(seen), light(to_rgba(ground)[:3])])
    return (high + .05) / (low + .05)


GROUNDS = 'white', '#16181c'      # of a light and of a dark page


@pytest.mark.parametrize('ground', GROUNDS)
def test_pale_is_pale_and_strong_is_strong_on_any_page(ground):
    bars = plot_probs([.5, .3, .2], highlight=[True, False, False]).patches
    strong, pale, _ = [contrast(bar.get_facecolor(), ground) for bar in bars]
    assert 1.5 < pale < 2.5 < 3.5 < strong


@pytest.mark.parametrize('ground', GROUNDS)
def test_words_of_a_tree_are_read_on_any_page(ground):
    "A pale node is no brighter than a strong one, nor a word on it lost"
    for text in small_tree().texts:
        node = text.get_bbox_patch()
        filled = node.get_facecolor()[3] == 1
        behind = node.get_facecolor() if filled else ground
        assert filled or node.get_facecolor()[3] == 0
        assert contrast(text.get_color(), behind) > 3.5
        assert (contrast(node.get_edgecolor(), ground) > 3.5) == filled


def test_lines_of_a_tree_end_at_its_nodes():
    "A pale node has no ground that would hide them"
    ax = small_tree()
    ax.figure.canvas.draw()
    at = {t.get_text()[0]: t.get_bbox_patch().get_window_extent() for t in ax.texts}
    for line, (start, end) in zip(ax.patches, ('pa', 'pb', 'ac', 'bd'), strict=True):
        path = line.get_transform().transform_path(line.get_path()).vertices
        assert abs(path[0][0] - at[start].x1) < 6 and abs(path[-1][0] - at[end].x0) < 6


@pytest.mark.parametrize('lists,message', [
    (([-1, -1], ['a'], [True, True]), 'texts must hold one entry per parent .2., not'),
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


@pytest.mark.parametrize('cols', [1, 2, 3])
def test_small_multiples_fit_a_page(cols):
    "A wider figure would be shrunk on the page, and its letters with it"
    figure = small_multiples({i: [.1] * 10 for i in range(3)}, cols=cols)
    assert figure.get_size_inches()[0] <= 7.2 + 1e-6
