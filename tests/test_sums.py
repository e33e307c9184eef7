"""Sums: problems and their working, judges of known error, beams of lines, the shipped
model, and the file of the experiment"""
import json
import re
from importlib.resources import files

import pytest, torch

import llm_sampling as ls
from llm_sampling import sums
from llm_sampling.sums import (answer, draw_problems, is_held_out, is_on_track,
                               is_right, step_beams, verifier, working)

BENCH = json.loads((files('llm_sampling')/'data'/'benchmark_compute.json').read_text())


@pytest.fixture(scope='module')
def adder(): return sums.load_sums()


def test_working_ends_in_the_sum():
    for p in draw_problems(200, seed=9):
        text = working(p)
        assert answer(text) == eval(p) and is_right(p, text) and is_on_track(p, text)
        steps = [p.strip(), *re.findall(r'=(.*)\n', text)]
        assert len(steps) == sums.TERMS and len({eval(s) for s in steps}) == 1
        assert len(text) <= sums.LONGEST


def test_problems_are_seeded_and_held_out():
    a, b = draw_problems(300, seed=4), draw_problems(300, seed=4, held_out=False)
    assert a[:20] == draw_problems(20, seed=4) != draw_problems(20, seed=5)
    assert all(map(is_held_out, a)) and not any(map(is_held_out, b))
    assert len({*a}) > 295 and draw_problems(0) == []
    with pytest.raises(ValueError, match='n must'): draw_problems(-1)


@pytest.mark.parametrize('text, number', [
    ('=12\n', 12), ('=1+2\n=3', 3), ('=1+2\n', None), ('12', None), ('', None),
    ('=12\n\n', 12), ('=1\n=', None), ('=3=4', None)])
def test_answer(text, number): assert answer(text) == number


def test_tracks():
    p = '10+20+30+40\n'
    assert is_on_track(p, '') and is_on_track(p, '=30+3') and is_on_track(p, '=30+30')
    assert not is_on_track(p, '=30+31') and not is_on_track(p, working(p) + '=100\n')
    assert is_right(p, '=1\n=100\n') and not is_right(p, '=101\n')


@pytest.mark.some(2)
@pytest.mark.parametrize('error', [0., .1, .3, 1.])
def test_a_verifier_is_wrong_as_often_as_it_says(error):
    "On right and on wrong texts; the same verdict each time; other seeds, other errors"
    problems, judge = draw_problems(3000, seed=6), verifier(error, seed=1)
    for texts, want in (([working(p) for p in problems], 1.), (['=1\n'] * 3000, 0.)):
        verdicts = [judge(p, t) for p, t in zip(problems, texts)]
        assert verdicts == [judge(p, t) for p, t in zip(problems, texts)]
        wrong = sum(v != want for v in verdicts) / 3000
        assert abs(wrong - error) <= 4 * (error * (1 - error) / 3000)**.5
        if 0 < error < 1:
            other = verifier(error, seed=2)
            assert verdicts != [other(p, t) for p, t in zip(problems, texts)]
    with pytest.raises(ValueError, match='error'): verifier(1.1)


def test_a_verifier_of_lines():
    p = '10+20+30+40\n'
    judge = verifier(check=is_on_track)
    assert judge(p, '=30+30+40\n') == 1 and judge(p, '=30+30+41\n') == 0


def test_step_beams_follow_the_judge(adder):
    "With a perfect judge of lines, more lines solve more problems"
    problems = draw_problems(20, seed=7)
    right = []
    for samples in (1, 16):
        texts, tokens = step_beams(adder, problems, verifier(check=is_on_track), 1,
                                   samples, seed=3)
        right.append(sum(map(is_right, problems, texts)))
        assert all(t.count('\n') == sums.TERMS - 1 for t in texts)
        assert tokens > 20 * (samples + 1) * sums.TERMS
    assert right[0] < right[1] and right[1] >= 16


def test_step_beams_keep_the_best(adder):
    "A judge who likes ones at the ends of lines gets more of them, and wider gets most"
    problems = draw_problems(10, seed=8)
    judge = lambda p, t: t.count('9')
    def nines(*size): return sum(judge(p, t) for p, t in zip(
        problems, step_beams(adder, problems, judge, *size, seed=1)[0]))
    assert nines(1, 1) < nines(1, 16) <= nines(4, 16)


def test_the_shipped_model(adder):
    "Right on about half of the problems, greedily; small; and a tokenizer that inverts"
    folder = files('llm_sampling')/'data'/'sums'
    assert sum(f.stat().st_size for f in folder.iterdir()) < 2_000_000
    p = draw_problems(1, seed=1)[0]
    ids = adder.tokenizer(p + working(p))['input_ids']
    assert ids[0] == 0 and len(ids) == 1 + len(p + working(p))
    assert adder.decode(ids[1:]) == p + working(p)
    assert .4 <= sums.accuracy(adder, draw_problems(300, seed=11)) <= .7


def test_training_learns_and_repeats():
    "A few steps: the loss falls, twice the same; no target before the working"
    if not hasattr(torch.optim, 'Muon'):                 # an old torch: it is told
        with pytest.raises(ImportError, match='torch >= 2.9'): sums.train_sums(steps=1)
        return
    (a, first), (b, again) = (sums.train_sums(steps=12, batch=8) for _ in range(2))
    assert first == again and sum(first[-3:]) < sum(first[:3])
    assert all(torch.equal(x, y) for x, y in zip(a.model.state_dict().values(),
                                                 b.model.state_dict().values()))
    x, y = sums.training_batch(a.tokenizer, 5, seed=3)
    learnt = [a.decode(t[t >= 0]) for t in y]
    asked = [a.decode(r[m < 0]) for r, m in zip(x, y)]
    for p, text in zip(draw_problems(5, 3, held_out=False), learnt):
        assert text.removesuffix('<|endoftext|>') == working(p)
    assert all(not is_held_out(p) for p in draw_problems(5, 3, held_out=False))
    assert len(asked) == 5


@pytest.mark.long
def test_the_command_writes_a_model_that_loads(tmp_path):
    assert sums.main(['--out', str(tmp_path), '--steps', '2']) == 0
    lm = ls.load(tmp_path)
    assert ls.generate(lm, '10+20+30+40\n', max_new_tokens=3).ids
    assert 'Sums' in (tmp_path/'MODEL_CARD.md').read_text()


def test_the_file_of_the_experiment(adder):
    "Its rows add up, and greedy's are those of the shipped model"
    problems = draw_problems(BENCH['problems'], BENCH['seed'])
    for r in BENCH['rows']:
        assert len(r['right']) == len(problems)
        assert r['accuracy'] == pytest.approx(r['right'].count('1') / len(problems))
    greedy, = (r for r in BENCH['rows'] if r['method'] == 'greedy')
    out = ls.generate(adder, problems, max_new_tokens=sums.LONGEST)
    assert greedy['right'] == ''.join(str(int(is_right(p, t)))
                                      for p, t in zip(problems, out.texts))
    assert greedy['tokens'] * len(problems) == pytest.approx(
        out.stats['tokens_evaluated'], abs=len(problems) * .01)
