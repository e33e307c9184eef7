"Stochastic beams against enumeration"
import math

import pytest, torch
from beam_cases import TINY, tiny_models
from checks import frequencies, same

from llm_sampling.models import LanguageModel
from llm_sampling.table_model import TableModel
from llm_sampling.stochastic import stochastic_beam_search, truncated_gumbels


@pytest.fixture(scope='module')
def tinies(): return tiny_models()


@pytest.mark.some(1)
@pytest.mark.parametrize('eos', [(), tuple(range(2, 6))])
@pytest.mark.parametrize('family', TINY)
def test_stochastic_rows_alone_and_nested(tinies, family, eos):
    """A row draws the same alone, and fewer beams are the beginning of more; over 20
    tokens nodes are pruned twice"""
    rows = [torch.tensor(p) for p in ([3, 4, 5, 6], [9], [11, 12])]
    lm = tinies[family]
    out = stochastic_beam_search(lm, rows, num_beams=5, max_new_tokens=20,
                                 seed=torch.tensor([1, 2, 3]), eos_token_id=eos)
    texts = [tuple(i.tolist()) for i in out.ids]
    for r in range(3):
        assert len(set(texts[5*r:5*r+5])) == 5
        assert out.scores[5*r:5*r+5] == sorted(out.scores[5*r:5*r+5], reverse=True)
        for K in (1, 3):
            alone = stochastic_beam_search(lm, rows[r:r+1], num_beams=K,
                                           max_new_tokens=20, seed=r + 1,
                                           eos_token_id=eos)
            assert [tuple(i.tolist()) for i in alone.ids] == texts[5*r:5*r+K]
    assert all(t not in eos for i in texts for t in i[:-1])


def test_the_first_is_a_draw_and_the_second_from_the_rest():
    p, n = torch.tensor([.5, .3, .15, .05]), 3000
    lm = LanguageModel(TableModel({(): p}))
    out = stochastic_beam_search(lm, [[0]] * n, num_beams=2, max_new_tokens=1,
                                 seed=torch.arange(n))
    pairs = torch.stack(out.ids).view(n, 2)
    frequencies(pairs[:, 0], p)
    for first in (0, 1):
        rest = p.clone(); rest[first] = 0
        frequencies(pairs[pairs[:, 0] == first, 1], rest / rest.sum())


@pytest.mark.some(1)
@pytest.mark.parametrize('K', [1, 3, 5])
def test_inclusion_probabilities(K):
    "All draws without replacement from the nine texts of two steps, enumerated"
    dists = {(): [.25, .45, .3], (1,): [.5, .2, .3], (2,): [.05, .9, .05]}
    probs = {(0,): .25} | {(a, b): dists[()][a] * dists[a,][b] for a in (1, 2)
                           for b in range(3)}
    def include(left, k, chance, out):
        for y, p in left.items():
            c = chance * p / sum(left.values())
            out[y] = out.get(y, 0) + c
            if k > 1: include({x: q for x, q in left.items() if x != y}, k - 1, c, out)
        return out
    want, n = include(probs, K, 1., {}), 3000
    assert sum(want.values()) == pytest.approx(K)
    out = stochastic_beam_search(LanguageModel(TableModel(dists, eos_token_id=0)),
                                 [[0]] * n, num_beams=K, max_new_tokens=2,
                                 seed=torch.arange(5000, 5000 + n))
    drawn = [tuple(i.tolist()) for i in out.ids]
    for y, q in want.items():
        assert abs(drawn.count(y) / n - q) < 4.5 * math.sqrt(q * (1 - q) / n) + 1e-9
    assert all(len(set(drawn[i*K:i*K+K])) == K for i in range(n))


@pytest.mark.long
def test_weighted_means_are_unbiased():
    """Texts weighted by their chance to get in give the mean length of the model's
    texts, and their plain mean is another"""
    tables = {(): [.2, .5, .3], (1,): [.5, .1, .4], (2,): [.1, .7, .2]}
    lm, n, K = LanguageModel(TableModel(tables, eos_token_id=0)), 600, 6
    two = sum(tables[()][w] * tables[w,][0] for w in (1, 2))  # texts of two tokens
    true = .2 + 2 * two + 3 * (.8 - two)
    out = stochastic_beam_search(lm, [[0]] * n, num_beams=K, max_new_tokens=3,
                                 seed=torch.arange(n))
    phi = torch.stack([l.sum() for l in out.logprobs]).view(n, K)
    kappa = torch.tensor(out.scores).view(n, K)[:, -1:]
    weights = phi.exp() / -torch.expm1(-torch.exp(phi - kappa))
    lengths = torch.tensor([float(len(i)) for i in out.ids]).view(n, K)
    got = (weights * lengths)[:, :-1].sum(-1)
    assert abs(got.mean() - true) < 4.5 * got.std() / n**.5
    assert lengths.mean() > true + .1


def test_truncated_gumbels():
    g = torch.Generator().manual_seed(0)
    free = torch.randn(50, 9, generator=g).double() * 5
    top = torch.randn(50, generator=g).double()
    got = truncated_gumbels(free, top)
    same(got.amax(-1), top)
    assert (got.argsort(-1) == free.argsort(-1)).all()
    same(torch.exp(-got), torch.exp(-top)[:, None]
         - torch.exp(-free.amax(-1, keepdim=True)) + torch.exp(-free))
    got = truncated_gumbels(torch.tensor([1., -1e4, -torch.inf]), torch.tensor(3.))
    assert got[0] == 3 and got[1].isfinite() and got[2] == -torch.inf


@pytest.mark.parametrize('call,message', [
    (lambda lm: stochastic_beam_search(lm, [[3]], num_beams=2**64),
     'num_beams must be at most'),
    (lambda lm: stochastic_beam_search(lm, [[3]], num_beams=0), 'num_beams'),
    (lambda lm: stochastic_beam_search(lm, [[3]], num_beams=41, max_new_tokens=1,
                                       seed=0), 'only 40 texts'),
])
def test_bad_input(call, message, tinies):
    with pytest.raises(ValueError, match=message): call(tinies['llama', 0])
