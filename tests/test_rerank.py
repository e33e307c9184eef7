"""Exact chances of best of n, a plain second path for each of the three choices,
batches, ends, and functions that return nonsense"""
import math
from collections import Counter

import pytest, torch
from checks import frequencies
from small_texts import TEXTS, exact, ids_of, numbers, overlap, small

import llm_sampling as ls
from llm_sampling.generation import Policy, generate, run_whole, write_rows
from llm_sampling.models import LanguageModel
from llm_sampling.table_model import TableModel
from llm_sampling.rerank import best_of_n
from llm_sampling.request import ask
from llm_sampling.rows import Rows
from llm_sampling.sampler import Sampler
from llm_sampling.vote import majority_vote, minimum_bayes_risk

ALL = [best_of_n, majority_vote, minimum_bayes_risk]


def plain_samples(lm, prompt, n, seed, max_new_tokens, eos_token_id):
    "The n samples of one prompt, each a generation of its own"
    asked = ask(lm, prompt, max_new_tokens=max_new_tokens, eos_token_id=eos_token_id)
    drawn = [Sampler(temperature=1., seed=s)
             for s in ls.row_seeds(seed, asked.ids, asked.mask, n).tolist()]
    return [run_whole(write_rows(asked, Rows(lm, asked.ids, asked.mask), Policy(s)))
            for s in drawn]



@pytest.mark.some(2)
@pytest.mark.parametrize('n', [1, 2, 3, 6])
def test_best_of_n_has_its_exact_chances(n):
    "By brute force over all counts, and by F(x)^n - F(x-)^n, for a score with ties"
    probs, scores = [*TEXTS.values()], [t.count(2) for t in TEXTS]
    chances = torch.zeros(len(probs), dtype=torch.float64)
    for i, s in enumerate(scores):
        upto, below = (sum(p for p, x in zip(probs, scores) if f(x))
                       for f in (lambda x: x <= s, lambda x: x < s))
        chances[i] = (upto**n - below**n) * probs[i] / (upto - below)
    if n <= 3:
        torch.testing.assert_close(chances, exact(probs, n, lambda counts: scores))
    out = best_of_n(small(), [[0]] * 1500, n,
                    lambda texts, ids: [(i == 2).sum() for i in ids], max_new_tokens=3,
                    seed=torch.arange(1500))
    frequencies(numbers(out), chances)
    assert out.scores == [i.count(2) for i in ids_of(out)]
    kl = torch.xlogy(chances,
                     chances / torch.tensor(probs, dtype=torch.float64)).sum().item()
    assert -1e-9 < kl <= math.log(n) - (n - 1) / n + 1e-12


def test_kl_bound_is_reached_by_many_small_texts():
    N, n = 20000, 5
    grid = torch.arange(N + 1, dtype=torch.float64) / N
    chances = grid[1:]**n - grid[:-1]**n
    kl = torch.xlogy(chances, chances * N).sum().item()
    assert 0 < math.log(n) - (n - 1) / n - kl < 1e-3


# ---- second paths: separate samples, and choices written with loops


def plain_choice(f, samples):
    "Index of the chosen sample and its score"
    ids = [s.ids[0].tolist() for s in samples]
    mean = [s.logprobs[0].double().mean().item() for s in samples]
    if f is best_of_n: scores = mean
    elif f is minimum_bayes_risk:
        scores = [sum(overlap(a, b) for b in ids) / len(ids) for a in ids]
    else:
        votes = [i[-1] % 3 or None for i in ids]
        counts = Counter(v for v in votes if v)
        # dicts keep the order of the draw, max the first
        winner = max(counts, key=counts.get)
        return max((j for j, v in enumerate(votes) if v == winner),
                   key=mean.__getitem__), counts[winner] / len(ids)
    return max(range(len(ids)), key=scores.__getitem__), max(scores)

def run(f, lm, prompt, n, **kw):
    how = dict(answer=lambda text, ids: ids[-1].item() % 3
               or None) if f is majority_vote else {}
    return f(lm, prompt, n, **how, **kw)


@pytest.mark.some(2)
@pytest.mark.parametrize('family', ['llama', 'gpt2', 'bloom', 'mamba'])
@pytest.mark.parametrize('f', ALL)
def test_choice_among_separate_samples(f, family, rows, tiny):
    """Uncached, one sample at a time: the same text, score and end; and a batch of
    three is three alone"""
    lm, plain = tiny(family), tiny(family)
    plain.cached = False
    kw = dict(max_new_tokens=8, eos_token_id=[0, 7, 9])
    batch = run(f, lm, rows, 7, seed=[5, 6, 7], **kw)
    assert len(batch) == 3
    for i, row in enumerate(rows):
        samples = plain_samples(plain, [row], 7, 5 + i, **kw)
        j, score = plain_choice(f, samples)
        assert batch.ids[i].tolist() == samples[j].ids[0].tolist()
        assert batch.scores[i] == pytest.approx(score, abs=1e-5)
        assert batch.finish_reasons[i] == samples[j].finish_reasons[0]
        torch.testing.assert_close(batch.logprobs[i], samples[j].logprobs[0], rtol=1e-3,
                                   atol=1e-4)
        alone = run(f, lm, [row], 7, seed=5 + i, **kw)
        assert ids_of(alone) == [batch.ids[i].tolist()]
        assert alone.scores == pytest.approx(batch.scores[i:i + 1], abs=1e-5)
    ids, mask = lm.encode(rows)
    # left padding
    assert (ids_of(run(f, lm, ids, 7, seed=[5, 6, 7], attention_mask=mask, **kw))
            == ids_of(batch))


@pytest.mark.some(1)
@pytest.mark.parametrize('f', ALL)
def test_all_rows_are_the_samples_best_first(f, lm):
    prompts, n = ['The king', 'Once upon a time there was'], 6
    kw = dict(max_new_tokens=10, seed=4, stop=[',', ' and'])
    out = f(lm, prompts, n, num_return_sequences=n, **kw)
    drawn = generate(lm, prompts, Sampler(temperature=1.), n=n, **kw)
    for p in (0, n):
        a, b = (sorted([*zip(o.texts, ids_of(o), o.finish_reasons)][p:p+n])
                for o in (out, drawn))
        assert a == b
        assert out.scores[p:p+n] == sorted(out.scores[p:p+n], reverse=True)
        few = f(lm, prompts, n, num_return_sequences=2, **kw)
        assert few.texts[p // 3:p // 3 + 2] == out.texts[p:p+2]
    # the parts of a row stay together
    for text, ids, logprobs, steps in zip(out.texts, out.ids, out.logprobs, out.trace):
        assert [s.id for s in steps] == ids.tolist()
        assert [s.logprob for s in steps] == pytest.approx(logprobs.tolist())
        assert ''.join(s.text for s in steps).startswith(text)
        assert ',' not in text
        assert ' and' not in text
    assert ({k: out.stats[k] for k in ('forward_passes', 'tokens_evaluated')}
            == {k: drawn.stats[k] for k in ('forward_passes', 'tokens_evaluated')})


def test_prompt_is_read_once(lm):
    P = lm.encode('The king had three sons')[0].shape[1]
    for n in (1, 5):
        out = best_of_n(lm, 'The king had three sons', n, max_new_tokens=9,
                        eos_token_id=(), seed=0)
        assert (out.stats['forward_passes'],
                out.stats['tokens_evaluated']) == (9, P + n * 8)


# ---- seeds and samplers

def test_more_samples_of_a_seed_are_added(lm):
    seen = {}
    def keep(texts, ids): seen[len(texts)] = texts; return [len(t) for t in texts]
    best = [best_of_n(lm, 'The king', n, keep, max_new_tokens=6, seed=9).scores[0]
            for n in (1, 2, 4, 8)]
    assert best == sorted(best) and best[0] < best[-1]
    for n in (1, 2, 4): assert seen[n] == seen[8][:n]


@pytest.mark.parametrize('f', ALL)
def test_one_sample_is_generate(f, lm):
    s = Sampler(temperature=.8, top_k=20, seed=3)
    a = f(lm, ['The king', 'Once'], 1, sampler=s, max_new_tokens=8)
    b = generate(lm, ['The king', 'Once'], s, max_new_tokens=8)
    assert (a.texts, ids_of(a), a.finish_reasons) == (b.texts, ids_of(b),
                                                      b.finish_reasons)


def test_fresh_seeds_come_from_torch(lm):
    def once():
        torch.manual_seed(3)
        return best_of_n(lm, ['Once', 'Once'], 2, max_new_tokens=8).texts
    a = once()
    assert a == once() and a[0] != a[1]


def test_sampler_seed_and_rows(lm):
    kw = dict(max_new_tokens=6, num_return_sequences=3)
    prompts = ['The king', 'Once']
    # an entry per sample
    out = best_of_n(lm, prompts, 3,
                    sampler=Sampler(temperature=[0., 1., 1., 1., 1., 0.], seed=2), **kw)
    greedy = generate(lm, prompts, max_new_tokens=6)
    assert greedy.texts[0] in out.texts[:3] and greedy.texts[1] in out.texts[3:]
    assert out.texts == best_of_n(lm, prompts, 3,
                                  sampler=Sampler(temperature=[0., 1., 1., 1., 1., 0.]),
                                  seed=2, **kw).texts
    assert len(
        {*best_of_n(lm, 'Once', 3, sampler=Sampler(temperature=0.), **kw).texts}) == 1


@pytest.mark.parametrize('f', ALL)
def test_bfloat16_and_a_vocabulary_of_one(f, rows, tiny):
    lm = LanguageModel(tiny('llama').model.to(torch.bfloat16))
    out = f(lm, rows, 3, max_new_tokens=4, seed=0)
    assert len(out) == 3
    assert all(l.dtype == torch.float32 and l.isfinite().all() for l in out.logprobs)
    one = f(LanguageModel(TableModel({(): [1.]})), [[0]], 3, max_new_tokens=2)
    assert ids_of(one) == [[0, 0]] and one.texts is None


# ---- what the functions are asked, and what they answer

def test_functions_get_whole_continuations_of_one_prompt(lm, lists):
    seen = []
    def score(texts, ids): seen.append((list(texts), ids)); return [0] * len(texts)
    def similarity(texts, ids):
        seen.append((list(texts), ids)); return torch.zeros(len(texts), len(texts))
    kw = dict(max_new_tokens=30, seed=1, stop='.')
    best_of_n(lm, ['The king', 'Once'], 3, score, **kw)
    minimum_bayes_risk(lm, ['The king', 'Once'], 3, similarity, **kw)
    drawn = generate(lm, ['The king', 'Once'], Sampler(temperature=1.), n=3, **kw)
    for i, (texts, ids) in enumerate(seen):
        at = slice(3 * (i % 2), 3 * (i % 2) + 3)
        assert texts == drawn.texts[at]
        assert lists(ids) == ids_of(drawn)[at]
        assert not any('.' in t for t in texts)
    assert len(seen) == 4
    asked = []
    majority_vote(lm, ['The king', 'Once'], 3,
                  lambda text, ids: asked.append((text, ids.tolist())), **kw)
    assert asked == list(zip(drawn.texts, ids_of(drawn)))


def test_no_tokenizer():
    seen = []
    def score(texts, ids): seen.append(texts); return [0] * len(ids)
    def answer(text, ids): seen.append(text)
    def similarity(texts, ids): seen.append(texts); return torch.eye(len(ids))
    for f, how in zip(ALL, (score, answer, similarity)):
        assert f(small(), [[0]], 2, how, max_new_tokens=3).texts is None
    assert seen == [None] * 4
    with pytest.raises(ValueError, match='stop strings need a tokenizer'):
        best_of_n(small(), [[0]], 2, stop='x')


def test_ties_go_to_the_first_drawn(lm):
    kw = dict(max_new_tokens=5, seed=11, num_return_sequences=5)
    drawn = generate(lm, 'The king', Sampler(temperature=1.), max_new_tokens=5, n=5,
                     seed=11)
    assert best_of_n(lm, 'The king', 5, lambda t, ids: [1] * 5,
                     **kw).texts == drawn.texts
    assert minimum_bayes_risk(lm, 'The king', 5, lambda t, ids: torch.ones(5, 5),
                              **kw).texts == drawn.texts
    # five answers, a vote each
    assert majority_vote(lm, 'The king', 5, lambda t, ids: t, **kw).texts == drawn.texts
    two = majority_vote(lm, 'The king', 5,
                        lambda t, ids: [None, 'b', 'a', 'a', 'b'][drawn.texts.index(t)],
                        **kw)
    best = lambda js: sorted(js, key=lambda j: -drawn.logprobs[j].mean().item())
    # b was drawn before a
    assert two.texts == [drawn.texts[j] for j in [*best([1, 4]), *best([2, 3]), 0]]
    assert two.scores == [.4] * 4 + [0]


def test_infinite_scores_have_their_place(lm):
    out = best_of_n(lm, 'The king', 3, lambda t, ids: [-math.inf, 2, math.inf],
                    max_new_tokens=4, num_return_sequences=3, seed=0)
    assert out.scores == [math.inf, 2, -math.inf]


@pytest.mark.parametrize('scores', [torch.tensor([1, 3, 2]), torch.tensor(
    [1., 3., 2.], dtype=torch.bfloat16, requires_grad=True),
                                    [False, True, False], [torch.tensor(1.), 3, 2.5],
                                    (1, 3, 2)])
def test_scores_come_in_many_kinds(lm, scores):
    out = best_of_n(lm, 'The king', 3, lambda t, ids: scores, max_new_tokens=4, seed=0)
    assert out.texts == generate(lm, 'The king', Sampler(temperature=1.),
                                 max_new_tokens=4, n=3, seed=0).texts[1:2]
    assert type(out.scores[0]) is float


def test_scores_leave_their_device_first(lm, monkeypatch):
    "It may know no float64, as MPS: the conversion comes after the move"
    class Elsewhere(torch.Tensor):
        def cpu(self): return self.as_subclass(torch.Tensor)
    as_tensor = torch.as_tensor
    def no_float64(x, **kw):
        if isinstance(x, Elsewhere): raise TypeError('no float64 on this device')
        return as_tensor(x, **kw)
    monkeypatch.setattr(torch, 'as_tensor', no_float64)
    scores = torch.tensor([1., 3., 2.]).as_subclass(Elsewhere)
    assert best_of_n(lm, 'The king', 3, lambda t, ids: scores, max_new_tokens=4,
                     seed=0).scores == [3]


BAD = [1, [1, 2], [1, 2, 3, 4], [[1], [2], [3]], torch.zeros(1, 3), ['a', 'b', 'c'],
       [1, None, 2], None, {}, [1, math.nan, 2], 'abc', [[1, 2], [3], []]]

@pytest.mark.parametrize('bad', BAD)
def test_bad_scores(lm, bad):
    returns = iter([[1, 2, 3], bad])
    with pytest.raises(ValueError, match='score must return 3 numbers for prompt 1'):
        best_of_n(lm, ['A', 'Once'], 3, lambda texts, ids: next(returns),
                  max_new_tokens=2, seed=0)


@pytest.mark.parametrize('f', ALL)
def test_bad_arguments_before_any_pass(f, lm, monkeypatch):
    def no(*args, **kw): raise AssertionError('a forward pass')
    monkeypatch.setattr(LanguageModel, 'forward', no)
    for kw, error in [(dict(n=0), 'n must be an integer >= 1, not 0'),
                      (dict(n=2.), 'n must be an integer'),
                      (dict(n=True), 'n must be an integer'),
                      (dict(n=10**12), 'n must be at most 1048576, not 1000000000000'),
                      (dict(max_new_tokens=0),
                       'max_new_tokens must be an integer >= 1'),
                      (dict(num_return_sequences=0),
                       'num_return_sequences must be an integer >= 1'),
                      (dict(num_return_sequences=4),
                       'num_return_sequences must be at most n, 3, not 4'),
                      (dict(stop=['']), 'stop must be'),
                      (dict(eos_token_id=10**9), 'eos_token_id 1000000000'),
                      (dict(seed=[1, 2, 3]), 'seed must be'),
                      (dict(sampler=Sampler(temperature=[1.] * 4)),
                       'temperature must have one entry')]:
        with pytest.raises(ValueError, match=error): f(lm, 'Once', **dict(n=3) | kw)
    name = dict(best_of_n='score', majority_vote='answer',
                minimum_bayes_risk='similarity')[f.__name__]
    with pytest.raises(TypeError, match=f"{name} must be a function or None, not 'x'"):
        f(lm, 'Once', 3, 'x')
    if f is majority_vote:
        with pytest.raises(ValueError,
                           match="weighted must be True or False, not 'sum'"):
            f(lm, 'Once', 3, weighted='sum')
