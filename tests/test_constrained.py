"Beams with words that must appear, against numbers of transformers 4.55"
import pytest
from beam_cases import FORCED, agree, search, tiny_models

from llm_sampling.beam import beam_search
from llm_sampling.constrained import Words, begun, constrained_beam_search


@pytest.fixture(scope='module')
def tinies(): return tiny_models()


@pytest.mark.some(12)
@pytest.mark.parametrize('n', range(70))
def test_constraints_are_transformers(n, tinies):
    c, words = FORCED[n], FORCED[n]['force_words_ids']
    lm = tinies[c['family'], c['seed']]
    if c['expected'] is None:  # fewer texts have all words than were asked for
        with pytest.raises(ValueError, match='num_return_sequences is'):
            search(constrained_beam_search, c, lm)
        return
    out = search(constrained_beam_search, c, lm)
    agree(out, c, c['expected'])
    for i in out.ids:
        text = ' '.join(map(str, [-1, *i.tolist(), -1]))
        for w in words:
            assert any(' ' + ' '.join(map(str, p)) + ' ' in text
                       for p in (w if isinstance(w[0], list) else [w]))


def test_scores_are_sums(tinies):
    out = constrained_beam_search(tinies['llama', 0], [[5, 6]],
                                  force_words_ids=[[30], [21, 22]], max_new_tokens=8,
                                  length_penalty=.5, eos_token_id=())
    assert out.scores[0] == pytest.approx(out.logprobs[0].sum().item() / 8**.5,
                                          abs=1e-4)


def test_words_are_substrings():
    "The state of a text is what a search of the whole text finds, whatever overlaps"
    import random
    dice = random.Random(0)
    for _ in range(300):
        sets = [[tuple(dice.randrange(3) for _ in range(dice.randint(1, 4)))
                 for _ in range(dice.randint(1, 2))] for _ in range(dice.randint(1, 3))]
        words, text, state = Words(sets), [], Words.start
        for _ in range(10):
            text.append(dice.randrange(3)); state = words.add(state, text[-1])
            seen = {i for i, s in enumerate(sets) if any(
                tuple(text[j:j+len(p)]) == p for p in s for j in range(len(text)))}
            assert state[0] == seen
            if not words.complete(state):
                for t in words.needed(state):
                    assert words.bank(words.add(state, t)) > words.bank(state)


def test_progress_is_no_counter():
    "A A A ends with A A, and A A A B has the phrase A A B"
    words = Words([[(1, 1, 2)]])
    assert begun((1, 1, 1), (1, 1, 2)) == 2
    assert words.needed((frozenset(), (1, 1, 1))) == [2]
    assert words.add((frozenset(), (1, 1, 1)), 2)[0] == {0}


def test_words_cost(lm):
    "They appear, and a search without them finds likelier texts"
    once = 'Once upon a time there was a poor woodcutter who'
    out = constrained_beam_search(lm, once,
                                  force_words_ids=[' castle', [' gold', ' silver']],
                                  num_beams=4, max_new_tokens=12, eos_token_id=())
    assert ' castle' in out.texts[0]
    assert ' gold' in out.texts[0] or ' silver' in out.texts[0]
    free = beam_search(lm, once, max_new_tokens=12, eos_token_id=())
    assert free.scores[0] > out.scores[0]


def test_overlaps_and_repeats(tinies):
    for lm in tinies.values():
        for words, steps in (([[30, 30, 31]], 3), ([[30, 31], [31, 32]], 3),
                             ([[30], [30, 31, 30]], 3), ([[[30], [30, 31]]], 1),
                             ([[33], [33]], 1)):
            out = constrained_beam_search(lm, [[5, 33, 30]], force_words_ids=words,
                                          num_beams=5, max_new_tokens=steps,
                                          eos_token_id=())
            state = Words.start
            w = Words([[tuple(p) for p in (x if isinstance(x[0], list) else [x])]
                       for x in words])
            for t in out.ids[0].tolist(): state = w.add(state, t)
            assert w.complete(state)


def test_forced_words_and_stops(lm):
    """A stop string ends a text also if a forced token completes it, but not before all
    words are there"""
    for words, stop in (([' castle', ' gold'], ' castle'), ([' gold'], ' gold'),
                        ([' castle', [' gold', ' silver']], ' the')):
        try:
            out = constrained_beam_search(
                lm, 'Once upon a time there', force_words_ids=words, num_beams=6,
                max_new_tokens=12, stop=stop, num_return_sequences=1)
        except ValueError: continue
        said = lm.decode(out.ids[0])
        assert all(any(w in said for w in ([x] if isinstance(x, str) else x))
                   for x in words)
        assert stop not in out.texts[0] and stop not in lm.decode(out.ids[0][:-1])


@pytest.mark.parametrize('call,message', [
    (lambda lm: constrained_beam_search(lm, [[3]], force_words_ids=[]),
     'force_words_ids'),
    (lambda lm: constrained_beam_search(lm, [[3]], force_words_ids=[[]]),
     'force_words_ids'),
    (lambda lm: constrained_beam_search(lm, [[3]], force_words_ids=[[[]]]),
     'force_words_ids'),
    (lambda lm: constrained_beam_search(lm, [[3]], force_words_ids=[[40]]),
     'force_words_ids'),
    (lambda lm: constrained_beam_search(lm, [[3]], force_words_ids=[3]),
     'force_words_ids'),
    (lambda lm: constrained_beam_search(lm, [[3]], force_words_ids=['king']),
     'tokenizer'),
    (lambda lm: constrained_beam_search(lm, [[3]], force_words_ids=[[7, 8]],
                                        eos_token_id=7), 'force_words_ids'),
    (lambda lm: constrained_beam_search(lm, [[3]], force_words_ids=[
        [7, 8, 9]], max_new_tokens=2), 'more than max_new_tokens = 2'),
])
def test_bad_input(call, message, tinies):
    with pytest.raises(ValueError, match=message): call(tinies['llama', 0])
