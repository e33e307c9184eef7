"Metrics by hand, by loops, and by the libraries that define them"
import math
import random
from collections import Counter

import numpy as np
import pytest
import torch

import llm_sampling as ls
from llm_sampling.judge import logprobs_under
from llm_sampling.metrics import (METRICS, distinct, distinct_n, diversity, ended,
                                  entropy_over_time, evaluate, length, mean_entropy,
                                  ngrams, perplexity, pooled_diversity, rep, rows_of,
                                  self_bleu, zipf_exponent)
from llm_sampling.record import Generation

TEXTS = ['the cat sat on the mat and the cat sat on the hat', 'a b a b a b a b a b',
         'the dog sat on the mat', 'one two three four five six']


def generation(ids, texts=None, reasons=None):
    ids = [torch.tensor(i, dtype=torch.long) for i in ids]
    return Generation(texts, ids, [torch.full((len(i),), -1.) for i in ids],
                      [0.] * len(ids), reasons or ['length'] * len(ids), {})


@pytest.fixture(scope='module')
def written(lm):
    "Two texts for each of four prompts, and the prompts"
    starts = ['Once upon a time', 'The king', 'There was an old woman who', 'A']
    sampler = ls.Sampler(temperature=1., seed=3)
    return ls.generate(lm, starts, sampler, n=2, max_new_tokens=12), starts


# --- n-grams ---

def as_simctg(texts):
    "What their evaluation says: words, the last n-gram missed, sums over all texts"
    product = 1
    for n in (2, 3, 4):
        unique = total = 0
        for text in texts:
            words, seen, end = text.split(), set(), n
            while end < len(words):
                seen.add(' '.join(words[end - n:end]))
                total += 1
                end += 1
            unique += len(seen)
        product *= unique / total
    return product


def test_pooled_diversity_is_simctgs():
    assert pooled_diversity(TEXTS) == pytest.approx(as_simctg(TEXTS))
    # the last n-gram decides where it alone is a repeat
    fools = ['a b c d e a b c d']
    assert pooled_diversity(fools) > pooled_diversity(fools, skip_last=False)
    assert math.isnan(pooled_diversity(['one two']))


def test_rep_by_hand():
    "1 2 1 2 1: 2-grams 12 21 12 21, two of four came before; 4-grams 1212 2121"
    ids = [[1, 2, 1, 2, 1], [1, 2, 3], [5], []]
    assert rep(ids, 2).tolist()[:2] == [.5, 0]
    assert np.isnan(rep(ids, 2)[2:]).all()
    assert rep(ids, 1)[:3] == pytest.approx([.6, 0, 0])
    assert rep(ids, 2, skip_last=True)[0] == pytest.approx(1 / 3)
    assert diversity(ids)[0] == pytest.approx(.5 * (2 / 3) * 1)
    assert np.isnan(diversity(ids)[1:]).all()
    assert ngrams([1, 2, 3], 2) == [(1, 2), (2, 3)] and ngrams([1], 2) == []
    assert ngrams([1, 2], 2, skip_last=True) == [] == ngrams([], 2, skip_last=True)


def test_rep_is_rep_n_of_each_text():
    from llm_sampling.generation import rep_n
    dice = random.Random(0)
    ids = [[dice.randrange(4) for _ in range(dice.randrange(4, 40))] for _ in range(30)]
    assert rep(ids, 3).tolist() == [rep_n(row, 3) for row in ids]


def test_distinct_n_is_over_all_texts():
    "12 23 and 12 24: three different of four; each text alone has no repeat"
    ids = [[1, 2, 3], [1, 2, 4]]
    assert distinct_n(ids) == .75 and distinct(ids).tolist() == [1, 1]
    assert distinct_n([[1], []]) is np.nan and distinct_n(ids, 1) == 4 / 6
    assert distinct_n(['a b c', 'a b d'], units='words') == .75
    assert distinct_n([torch.tensor(i) for i in ids]) == .75
    assert distinct_n(generation(ids)) == .75


# --- sets of texts ---

@pytest.mark.parametrize('n', [None, 2])
def test_self_bleu_is_sacrebleus(n):
    sacrebleu = pytest.importorskip('sacrebleu')
    dice = random.Random(1)
    words = "the a cat, dog's sat. on mat? 12,3 and".split()
    texts = [' '.join(dice.choices(words, k=dice.randrange(1, 14))) for _ in range(12)]
    group = n or len(texts)
    for i, got in enumerate(self_bleu(texts, n)):
        first = i // group * group
        others = [texts[j] for j in range(first, first + group) if j != i]
        want = sacrebleu.sentence_bleu(texts[i], others, use_effective_order=True)
        assert got == pytest.approx(min(1, want.score / 100), abs=1e-12)


def test_self_bleu_of_copies_and_of_nothing():
    pytest.importorskip('sacrebleu')
    assert self_bleu(['a b c d e', 'a b c d e', 'x']).tolist()[:2] == [1, 1]
    got = self_bleu(['a b c d', '', ' ', 'a b c d'])
    assert got[[0, 3]].tolist() == [1, 1] and np.isnan(got[1:3]).all()
    assert np.isnan(self_bleu(['alone'])).all() and len(self_bleu([])) == 0
    assert np.isnan(self_bleu(['a b', '', 'c', 'd'], n=2)[:2]).all()


def test_zipf_of_a_power_law_is_its_exponent():
    pytest.importorskip('scipy')
    ids = [[rank] * round(1e6 * (rank + 1)**-1.3) for rank in range(50)]
    assert zipf_exponent(ids) == pytest.approx(1.3, abs=1e-4)
    counts = np.array(sorted(Counter(' '.join(TEXTS).split()).values())[::-1])
    slope = np.polyfit(np.log(np.arange(1, len(counts) + 1)), np.log(counts), 1)[0]
    assert zipf_exponent(TEXTS, 'words') == pytest.approx(-slope)
    assert math.isnan(zipf_exponent([[1, 1], []])) and math.isnan(zipf_exponent([]))
    assert zipf_exponent([[1, 1, 1, 2, 3]], top=2) == pytest.approx(math.log2(3))


# --- with a model ---

def test_perplexity_as_recorded_and_as_read_again(lm, written):
    out, starts = written
    want = [math.exp(-row.double().mean()) for row in out.logprobs]
    assert perplexity(out) == pytest.approx(want)
    assert perplexity(out, lm, starts) == pytest.approx(want, rel=1e-4)
    assert perplexity(out.ids, lm, starts) == pytest.approx(want, rel=1e-4)


def test_another_model_reads_the_text(lm, written):
    "One of other tokens is given the text, not the ids"
    out, starts = written
    sums = ls.sums.load_sums()
    digits = Generation(['12+3', ''], [torch.tensor([1, 2]), torch.tensor([1])],
                        [], [], [], {}, trace=out.trace)
    got = logprobs_under(sums, ['10+1', '1'], digits)
    assert [len(row) for row in got] == [4, 0]
    ids = sums.tokenizer('10+112+3')['input_ids']
    logits = sums.forward(torch.tensor([ids]))[0][0].double().log_softmax(-1)
    want = [logits[t - 1, ids[t]].item() for t in range(len(ids) - 4, len(ids))]
    assert got[0].tolist() == pytest.approx(want, abs=1e-4)
    assert np.isnan(perplexity(digits, sums, ['10+1', '1'])[1])


def test_entropy_is_that_of_the_trace(written):
    out, _ = written
    got = entropy_over_time(out)
    for row, steps in zip(got, out.trace):
        want = [step.entropy for step in steps]
        assert row[:len(want)].tolist() == pytest.approx(want)
        assert np.isnan(row[len(want):]).all()
    assert mean_entropy(out)[0] == pytest.approx(got[0].mean())


def test_length_and_ends():
    out = generation([[1, 2], [], [3]], reasons=['stop', 'length', 'loop'])
    assert length(out).tolist() == [2, 0, 1]
    assert ended(out).tolist() == [1, 0, 0] and ended(out, 'loop').tolist() == [0, 0, 1]


# --- the table ---

def test_every_metric_gives_an_interval(lm, written):
    pytest.importorskip('sklearn')
    out, starts = written
    given = dict(lm=lm, judge=lm, prompts=starts, sampler=ls.Sampler(top_p=.9),
                 references=[s * 3 for s in starts])
    found = evaluate(out, n=2, draws=50, **given)
    assert [*found] == [*METRICS]
    for name, got in found.items():
        assert math.isfinite(got.value), name
        assert got.low <= got.value <= got.high, name
        same = METRICS[name].interval(out, out, n=2, draws=50, **given)
        assert same[:3] == pytest.approx((0, 0, 0), abs=1e-12), name
    assert [*evaluate(out, n=2, draws=50)] == [m.name for m in METRICS.values()
                                               if not m.needs]
    assert found['length'].value == length(out).mean()
    for name, m in METRICS.items():
        assert (m.of(out, **given)[0] is None) == m.single, name


def test_texts_of_no_or_one_token_crash_nothing(lm):
    pytest.importorskip('sklearn')
    one = ls.generate(lm, ['The king', 'A'], max_new_tokens=1)
    none = generation([[], []], ['', ''])
    given = dict(lm=lm, judge=lm, prompts=['The king', 'A'],
                 references=['The king was', 'A man'])
    found = evaluate(one, draws=50, **given)
    assert math.isnan(found['rep_4'].value) and found['length'].value == 1
    assert found['perplexity'].value >= 1
    names = [n for n in found if n != 'entropy']     # `none` has no trace
    found = evaluate(none, names, draws=50, **given)
    assert {n for n, got in found.items() if not math.isnan(got.value)} == {
        'mauve', 'length', 'ended'}


@pytest.mark.parametrize('call, what', [
    (lambda lm: rep('a text'), 'texts must be'),
    (lambda lm: rep(['a b']), "units='words'"),
    (lambda lm: rep([1, 2]), 'rows of ids'), (lambda lm: rep([[1]], 0), 'n must be'),
    (lambda lm: rep([[1]], units='letters'), 'units must be'),
    (lambda lm: rep([[1]], skip_last=1), 'skip_last must be'),
    (lambda lm: self_bleu([[1, 2]]), 'texts must be'),
    (lambda lm: self_bleu(['a', 'b', 'c'], 2), 'texts must be 2 of each'),
    (lambda lm: self_bleu(['a'], 1), 'n must be'),
    (lambda lm: self_bleu(generation([[1]])), 'no texts'),
    (lambda lm: perplexity(['a']), 'generation must be'),
    (lambda lm: perplexity(['a'], lm), 'prompts must be'),
    (lambda lm: perplexity(['a'], 'gpt2', ['b']), 'lm must be'),
    (lambda lm: perplexity(['a', 'b', 'c'], lm, ['a', 'b']), 'as many texts'),
    (lambda lm: perplexity(['a'], lm, [[5]]), 'texts must be'),
    (lambda lm: mean_entropy(generation([[1]])), 'no trace'),
    (lambda lm: length([[1]]), 'generation must be'),
    (lambda lm: ended(generation([[1]]), 1), 'reason must be'),
    (lambda lm: zipf_exponent([[1, 2]], top=1), 'top must be'),
    (lambda lm: evaluate(generation([[1]]), ['speed']), 'metrics must be'),
    (lambda lm: evaluate(generation([[1]]), judges=lm), "no 'judges'"),
    (lambda lm: evaluate(generation([[1]]), ['mauve'], lm=lm), 'needs references'),
    (lambda lm: evaluate([[1]]), 'generation must be'),
    (lambda lm: rows_of(5), 'texts must be')])
def test_wrong_ones_are_named(lm, call, what):
    with pytest.raises((TypeError, ValueError), match=what): call(lm)
