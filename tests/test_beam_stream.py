"Streams of beams are beam search, and never take back what was shown"
import random

import pytest
from beam_cases import streamed

from llm_sampling.beam import Beams, beam_search
from llm_sampling.beam_stream import agreed, commit, leader, stream_beam_search
from llm_sampling.generation import generate
from llm_sampling.models import LanguageModel
from llm_sampling.table_model import TableModel
from llm_sampling.token_tree import TokenTree


@pytest.fixture(scope='module')
def tinies(tiny): return {f: tiny(f, layers=1) for f in ('llama', 'gpt2')}


@pytest.mark.long
@pytest.mark.parametrize('seed', range(4))
def test_safe_stream_is_beam_search(seed, tinies, lists, prompts):
    "What was shown is never taken back, whatever ends and wins"
    dice = random.Random(seed)
    for _ in range(8):
        lm = dice.choice(list(tinies.values()))
        rows = prompts(dice, [dice.randint(1, 9) for _ in range(3)])
        steps = dice.randint(1, 16)
        said = beam_search(lm, rows, max_new_tokens=steps,
                           eos_token_id=()).ids[-1].tolist()
        kw = dict(num_beams=dice.randint(1, 6), max_new_tokens=steps,
                  length_penalty=dice.choice([-1., 0., 1., 2.]),
                  early_stopping=dice.choice([True, False, 'never']),
                  eos_token_id=dice.choice([(), said[-1], said[steps // 2],
                                            [7, *said[:2]]]))
        whole, out = beam_search(lm, rows, **kw), streamed(lm, rows, **kw)
        assert lists(out.ids) == lists(whole.ids) and out.scores == whole.scores
        for k in (1, 2, 3):  # whatever the haste, the pieces are the result
            hasty = streamed(lm, rows, lookahead=k, **kw)
            if k == 1:
                greedy = generate(lm, rows, max_new_tokens=steps,
                                  eos_token_id=kw['eos_token_id'])
                if kw['early_stopping'] != 'never' and kw['length_penalty'] >= 0:
                    assert lists(hasty.ids) == lists(greedy.ids)


@pytest.mark.some(1)
@pytest.mark.parametrize('lookahead', [None, 1, 3])
def test_stream_of_texts(lm, lookahead):
    "Texts, stop strings and a stop that comes at once"
    texts = ['Once upon a time', 'The king', 'A poor man had']
    word = beam_search(lm, texts, max_new_tokens=25).texts[0].split()[4]
    for stop in (None, [word], [' the', 'e', word]):
        out = streamed(lm, texts, max_new_tokens=25, stop=stop, lookahead=lookahead)
        if lookahead is None:
            assert out.texts == beam_search(lm, texts, max_new_tokens=25,
                                            stop=stop).texts
    with pytest.raises(ValueError, match='lookahead must be an integer >= 1'):
        stream_beam_search(lm, texts, lookahead=0)


def two_beams():
    "Beams on the four-word tree, where the leader changes at the third step"
    dists = {(): [.1, .5, .2, .2], (1,): [.2, .1, .4, .3], (1, 2): [.2, .2, .2, .4],
            (1, 2, 3): [.6, .1, .1, .2], (1, 3): [.1, .2, .6, .1],
            (1, 3, 2): [.6, .2, .1, .1]}
    lm = LanguageModel(TableModel(dists, eos_token_id=0))
    return Beams(TokenTree(lm, [[0]]), num_beams=2, max_new_tokens=6, eos=(0,))


def test_what_is_agreed_on_and_who_leads():
    seen = [(agreed(b, 0), leader(b, 0)) for b in two_beams().run()]
    assert seen[:3] == [([], [1]), ([1], [1, 2]), ([1], [1, 3, 2])]
    assert seen[-1][1] == [1, 3, 2, 0]


def test_rivals_of_what_was_shown_are_dropped():
    for b in two_beams().run():
        if b.length == 2: commit(b, 0, [1, 2])
        live = [p for p in b.paths(0, b.parents[0], b.tokens[0]) if p]
        done = [p for p in b.paths(0, b.ends[0], b.lasts[0]) if p]
        if b.length >= 2: assert all(p[:2] == [1, 2] for p in live + done)
    assert done
