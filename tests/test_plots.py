"Figures of hostile tokens"
import io

import matplotlib.pyplot as plt
import pytest

import llm_sampling as ls
from llm_sampling.plots import highlight_text, plot_lines, plot_probs, small_multiples

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
