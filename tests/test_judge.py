"What a model says of a text, against loops over its tokens"
import math
import random

import numpy as np
import pytest
import torch

import llm_sampling as ls
from llm_sampling.judge import (calibration_error, coherence, coverage, embed,
                                logprobs_under, read_rows, reliability)


@pytest.fixture(scope='module')
def written(lm):
    "Two texts for each of four prompts, and the prompts"
    starts = ['Once upon a time', 'The king', 'There was an old woman who', 'A']
    sampler = ls.Sampler(temperature=1., seed=3)
    return ls.generate(lm, starts, sampler, n=2, max_new_tokens=12), starts


@pytest.mark.parametrize('family', ['llama', 'mistral', 'opt', 'bloom', 'mamba'])
def test_logprobs_are_those_of_a_loop(tiny, rows, family):
    "Token by token, one row at a time, whatever the batch; long ones in windows"
    model, dice = tiny(family), random.Random(5)
    texts = [[dice.randrange(1, 60) for _ in range(n)] for n in (9, 0, 1, 5, 30, 2)]
    got = logprobs_under(model, rows, texts)
    for i, (found, text) in enumerate(zip(got, texts)):
        ids = rows[i // 2].tolist() + text
        logits = model.forward(torch.tensor([ids]))[0][0].double().log_softmax(-1)
        start = len(rows[i // 2])
        want = [logits[t - 1, ids[t]].item() for t in range(start, len(ids))]
        assert found.tolist() == pytest.approx(want, abs=1e-4)


def test_a_text_longer_than_the_window_is_read_with_half_of_it_before(tiny):
    model, dice = tiny('llama'), random.Random(6)   # a window of 64
    ids = [dice.randrange(1, 60) for _ in range(200)]
    got, = logprobs_under(model, [ids[:10]], [ids[10:]])
    assert len(got) == 190 and got.isfinite().all()
    alone = lambda context, token: model.forward(
        torch.tensor([context]))[0][0, -1].double().log_softmax(-1)[token].item()
    # the first 65 tokens fit with all before them; then 32 are read before the next
    for t, first in ((10, 0), (64, 0), (65, 33), (97, 33), (98, 66), (199, 165)):
        want = alone(ids[first:t], ids[t])
        assert got[t - 10].item() == pytest.approx(want, abs=1e-4)


def test_rows_are_read_in_any_number_at_once(tiny):
    model, dice = tiny('gpt2'), random.Random(7)
    texts = [[dice.randrange(60) for _ in range(n)] for n in (5, 17, 2, 9)]
    def read(size):
        return {row: z for row, _, z in read_rows(model, texts, [1] * 4, size)}
    one, all_ = read(1), read(2**22)
    assert sorted(one) == [0, 1, 2, 3]
    for row in one: torch.testing.assert_close(one[row], all_[row])


@pytest.mark.parametrize('family', ['llama', 'gpt2', 'mamba'])
def test_embed_is_the_state_of_a_row_alone(tiny, family):
    model, dice = tiny(family), random.Random(8)
    texts = [[dice.randrange(1, 60) for _ in range(n)] for n in (4, 11, 1, 7)]
    for pool in ('mean', 'last'):
        got = embed(model, texts, pool)
        for text, found in zip(texts, got):
            with torch.no_grad():
                states = model.body(torch.tensor([text])).last_hidden_state[0]
            want = states.mean(0) if pool == 'mean' else states[-1]
            assert found == pytest.approx(want.numpy(), abs=1e-4)
    alone, = embed(model, [[0]])
    assert embed(model, [[], [0]])[0] == pytest.approx(alone, abs=1e-4)


def test_coherence_is_a_cosine(lm, written):
    out, starts = written
    a, b = embed(lm, starts).astype(float), embed(lm, out).astype(float)
    want = [x @ y / np.linalg.norm(x) / np.linalg.norm(y)
            for x, y in zip(np.repeat(a, 2, 0), b)]
    assert coherence(out, lm, starts) == pytest.approx(want, abs=1e-6)
    assert coherence(['The king', ''], lm, ['The king'] * 2)[0] == pytest.approx(1)
    assert np.isnan(coherence(['The king', ''], lm, ['The king'] * 2)[1])


def test_coverage_by_a_loop(lm):
    "Each token alone, with the sampler called as in generation"
    texts = ['The king had three sons. The king was old, and the king', 'Once there']
    sampler = ls.Sampler(top_k=5, repetition_penalty=1.3, frequency_penalty=.5)
    want = []
    for text in texts:
        ids, hits = lm.tokenizer(text, return_tensors='pt')['input_ids'], []
        for t in range(1, ids.shape[1]):
            z = sampler.filter(lm.next_logits(ids[:, :t]), ids[:, :t], position=t - 1)
            hits.append(bool(z[0, ids[0, t]].isfinite()))
        want.append(np.mean(hits))
    assert coverage(lm, texts, sampler) == pytest.approx(want)
    assert coverage(lm, texts, None).tolist() == [1, 1]
    # with prompts only what follows them counts
    behind = coverage(lm, [' had three sons.'], ls.Sampler(top_k=5), ['The king'])
    assert len(behind) == 1 and 0 <= behind[0] <= 1


def test_a_model_that_draws_the_text_is_calibrated():
    "Probabilities .5, .3, .2 at every place, and texts drawn by them"
    model = ls.LanguageModel(ls.TableModel({(): [0, .5, .3, .2]}))
    g = torch.Generator().manual_seed(0)
    drawn = torch.multinomial(torch.tensor([0, .5, .3, .2]), 4000, True, generator=g)
    texts = [[1, *row] for row in drawn.view(40, 100).tolist()]
    tokens, said, came = reliability(model, texts, bins=10).T
    assert tokens.tolist() == [0] * 5 + [4000] + [0] * 4
    share = (drawn == 1).double().mean().item()
    assert [said[5], came[5]] == pytest.approx([.5, share])
    assert calibration_error(model, texts) == pytest.approx(abs(share - .5), abs=1e-6)
    assert abs(share - .5) < 4 * .5 / 4000**.5     # one fair draw in 15,000 is outside
    # of a text that is always its likeliest token, half is missed
    assert calibration_error(model, [[1] * 50]) == pytest.approx(.5)
    assert math.isnan(calibration_error(model, [[1]]))


@pytest.mark.parametrize('call, what', [
    (lambda lm: embed(lm, []), 'texts must be'),
    (lambda lm: embed(lm, ['a'], 'max'), 'pool must be'),
    (lambda lm: embed(ls.LanguageModel(ls.TableModel({(): [.5, .5]})), [[0]]),
     'hidden states'),
    (lambda lm: coverage(lm, ['a b'], .9), 'sampler'),
    (lambda lm: reliability(lm, ['a b'], bins=0), 'bins must be')])
def test_wrong_ones_are_named(lm, call, what):
    with pytest.raises((TypeError, ValueError), match=what): call(lm)
