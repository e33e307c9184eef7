"""Votes and risks: exact chances, ties, abstentions, and functions that return
nonsense"""
import math
from collections import Counter

import pytest, torch
from checks import frequencies
from small_texts import TEXTS, exact, ids_of, numbers, overlap, small

from llm_sampling.generation import generate
from llm_sampling.models import LanguageModel
from llm_sampling.table_model import TableModel
from llm_sampling.rerank import best_of_n
from llm_sampling.sampler import Sampler
from llm_sampling.vote import majority_vote, minimum_bayes_risk, ngram_similarity


@pytest.mark.some(1)
@pytest.mark.parametrize('n', [1, 2, 5])
def test_vote_has_its_exact_chances(n):
    "The answer is the last token; ties go to the answer drawn first"
    answers = [sum(p for t, p in TEXTS.items() if t[-1] == w) for w in range(3)]
    out = majority_vote(small(), [[0]] * 1500, n, lambda text, ids: ids[-1].item(),
                        max_new_tokens=3, seed=torch.arange(1500))
    frequencies(torch.stack([i[-1] for i in out.ids]),
                exact(answers, n, lambda counts: counts))


@pytest.mark.some(1)
@pytest.mark.parametrize('n', [1, 2, 3])
def test_risk_has_its_exact_chances(n):
    "A similarity that is not symmetric, so that rows and columns cannot be exchanged"
    S = torch.rand(len(TEXTS), len(TEXTS),
                   generator=torch.Generator().manual_seed(0)).double()
    order = {t: i for i, t in enumerate(TEXTS)}
    def similarity(texts, ids):
        at = torch.tensor([order[tuple(i.tolist())] for i in ids])
        return S[at][:, at]
    chances = exact([*TEXTS.values()], n,
                lambda counts: (S @ torch.tensor(counts).double() / n).tolist())
    out = minimum_bayes_risk(small(), [[0]] * 1500, n, similarity, max_new_tokens=3,
                             seed=torch.arange(1500))
    frequencies(numbers(out), chances)


def test_default_answer_is_the_stripped_text(lm):
    word, spaced = (lm.tokenizer(t, add_special_tokens=False)['input_ids']
                    for t in ('a', ' a'))
    assert len(word) == len(spaced) == 1 and word != spaced
    probs = torch.zeros(lm.vocab_size)
    probs[[word[0], spaced[0], lm.tokenizer('b')['input_ids'][-1]]] = torch.tensor(
        [.3, .3, .4])
    out = majority_vote(LanguageModel(TableModel({(): probs}), lm.tokenizer),
                        torch.tensor([[0]]), 300, max_new_tokens=1, seed=0)
    assert out.texts[0].strip() == 'a' and .5 < out.scores[0] < .7
    ids = majority_vote(LanguageModel(TableModel({(): probs})), torch.tensor([[0]]),
                        300, max_new_tokens=1, seed=0)
    assert .3 < ids.scores[0] < .5


def test_abstentions_and_nobody_votes():
    drawn = generate(small(), [[0]], Sampler(temperature=1.), max_new_tokens=3, n=40,
                     seed=2)
    last = [i[-1] for i in ids_of(drawn)]
    out = majority_vote(small(), [[0]], 40, lambda text, ids: ids[-1].item() or None,
                        max_new_tokens=3, num_return_sequences=40, seed=2)
    top, k = Counter(w for w in last if w).most_common(1)[0]
    # a share of all, abstentions among them
    assert out.ids[0][-1].item() == top and out.scores[0] == k / 40
    assert last.count(0) > k
    assert [i[-1] for i in ids_of(out)][-last.count(0):] == [0] * last.count(0)
    none = majority_vote(small(), [[0]], 40, lambda text, ids: None, max_new_tokens=3,
                         seed=2)
    assert none.scores == [0]
    assert (ids_of(none)[0]
            == ids_of(best_of_n(small(), [[0]], 40, max_new_tokens=3, seed=2))[0])


def test_weights_are_geometric_means_of_probabilities():
    drawn = generate(small(), [[0]], Sampler(temperature=1.), max_new_tokens=3, n=30,
                     seed=6)
    total = Counter()
    for i, l in zip(ids_of(drawn), drawn.logprobs):
        total[i[-1]] += math.prod(l.double().exp().tolist()) ** (1 / len(i))
    out = majority_vote(small(), [[0]], 30, lambda text, ids: ids[-1].item(),
                        weighted=True, max_new_tokens=3, num_return_sequences=30,
                        seed=6)
    assert (out.scores
            == pytest.approx([total[i[-1]] / sum(total.values()) for i in ids_of(out)]))
    assert out.ids[0][-1].item() == max(total, key=total.get)
    counted = majority_vote(small(), [[0]], 30, lambda text, ids: ids[-1].item(),
                            max_new_tokens=3, num_return_sequences=30, seed=6)
    assert counted.scores != pytest.approx(out.scores)


def test_ngram_similarity():
    g = torch.Generator().manual_seed(0)
    ids = [torch.randint(0, 4, (n,), generator=g)
           for n in (0, 1, 2, 5, 9, 9, 20)] + [torch.tensor([1, 2, 3])] * 2
    for longest in (1, 2, 4):
        table = ngram_similarity(None, ids, longest)
        for a, row in zip(ids, table):
            assert row == [overlap(a.tolist(), b.tolist(), longest) for b in ids]
    assert table[0][0] == 1 and table[0][1] == 0 and table[-1][-2] == 1
    # by hand
    assert ngram_similarity(None, [[1, 2, 3, 4], [1, 2, 5, 4]],
                            2)[0][1] == pytest.approx((2 * (3 + 1)) / 14)


@pytest.mark.parametrize('bad',
                         [[1, 2, 3], torch.zeros(3), torch.zeros(2, 3),
                          torch.zeros(3, 3, 1), None, [[1, 2, 3], [1, 2, 3], [1, 2]],
                                 torch.full((3, 3), math.nan),
                          torch.full((3, 3), math.inf)])
def test_bad_similarities(lm, bad):
    with pytest.raises(ValueError,
                       match='similarity must return 3 x 3 numbers for prompt 0'):
        minimum_bayes_risk(lm, 'Once', 3, lambda texts, ids: bad, max_new_tokens=2,
                           seed=0)


@pytest.mark.parametrize('bad', [[1], {1}, {}, math.nan, torch.tensor(1),
                                 torch.tensor([1, 2])])
def test_bad_answers(lm, bad):
    with pytest.raises(ValueError,
                       match=r'answer must return .* \(sample 0 of prompt 0\)'):
        majority_vote(lm, 'Once', 2, lambda text, ids: bad, max_new_tokens=2, seed=0)
