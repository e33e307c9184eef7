"""Sweeps: nothing lost, nothing double, nothing computed again, whatever happens"""
import json
import math
import re
import sys
from io import StringIO

import crash
import pytest
import torch
from crash import ASK, GRID, PROMPTS, plain

import llm_sampling as ls
from llm_sampling import cells, sweeps
from llm_sampling.metrics import METRICS

BEGINS = ['Once upon a time', 'The king had three', 'The wolf']
DRAWN = {'strategy': 'generate', 'temperature': .8, 'max_new_tokens': 6}


def test_again_is_no_work_and_a_larger_grid_adds(lm, tmp_path):
    path, passes = tmp_path/'x.jsonl', []
    ls.sweep(lm, BEGINS[:2], DRAWN, path, seeds=1)
    before = path.read_bytes()
    first = lm.model.get_input_embeddings()
    hook = first.register_forward_hook(lambda *a: passes.append(a))
    try: told = ls.sweep(lm, BEGINS[:2], [DRAWN, dict(DRAWN)], path, seeds=[1, 1])
    finally: hook.remove()
    assert told == (str(path), 2, 0, 0) and path.read_bytes() == before and not passes
    grid = [DRAWN, DRAWN | {'top_p': 1}]
    assert ls.sweep(lm, BEGINS, grid, path, seeds=[1, 2]).computed == 10
    assert path.read_bytes().startswith(before)
    # 1. and 1 are one number; another order and fewer prompts ask for nothing new
    grid = [DRAWN | {'top_p': 1.}, DRAWN]
    assert ls.sweep(lm, BEGINS[::-1], grid, path, seeds=[2, 1]) == (str(path), 12, 0, 0)
    assert ls.sweep(lm, BEGINS[2], grid, path, seeds=2) == (str(path), 2, 0, 0)
    table = ls.read_sweep(path)
    assert len(table) == 12 and {*table.prompt} == {*BEGINS} and {*table.seed} == {1, 2}


def test_prompts_of_every_kind(small, lm, tmp_path):
    ids = [torch.tensor([5, 6]), [7]]
    assert ls.sweep(small, ids, DRAWN, tmp_path/'a.jsonl').computed == 2
    assert ls.sweep(small, torch.tensor([[5, 6]]), DRAWN, tmp_path/'a.jsonl')[2] == 0
    assert ls.sweep(lm, 'Once', DRAWN, tmp_path/'b.jsonl').cells == 1
    for wrong in (None, 3, [], [[]], ['a', [1]], [1, 2], [len], [[999_999]]):
        with pytest.raises((TypeError, ValueError), match='prompt'):
            ls.sweep(small, wrong, DRAWN, tmp_path/'c.jsonl')
    assert not (tmp_path/'c.jsonl').exists()


# What raises

def test_what_raises_is_recorded_and_the_rest_goes_on(lm, tmp_path):
    path, calls = tmp_path/'x.jsonl', []
    def moody(texts, ids):
        calls.append(texts)
        if len(calls) in (1, 3): raise RuntimeError('a bad\nday')
        return [0.] * len(texts)
    def odd(out):
        if out.texts[0] == texts[1]: raise KeyError('odd')
        return [math.nan] * len(out)
    first = {'strategy': 'best_of_n', 'n': 2, 'score': 'moody', 'max_new_tokens': 3}
    texts = ls.generate(lm, BEGINS, ls.Sampler(temperature=.8), seed=0,
                        max_new_tokens=6).texts
    ask = dict(functions={'moody': moody},
               metrics={'odd': odd, 'short': lambda out: []})
    told = ls.sweep(lm, BEGINS, [first, DRAWN], path, **ask)
    # the batch of three raised, then of its cells alone the second
    assert told == (str(path), 6, 6, 1)
    table = ls.read_sweep(path)
    errors = table.error.fillna('').tolist()
    assert errors == ['', 'RuntimeError: a bad day', '', '', '', '']
    assert table.text[3:].tolist() == texts and table.odd.isna().all()
    errors = [json.loads(line).get('metric_errors')
              for line in path.read_text().splitlines()]
    assert errors[-2] == {'odd': "KeyError: 'odd'",
                          'short': 'ValueError: 0 numbers for 1 rows'}
    assert ls.sweep(lm, BEGINS, [first, DRAWN], path, **ask) == (str(path), 6, 0, 1)
    calls.append(None)
    again = ls.sweep(lm, BEGINS, [first, DRAWN], path, retry_failed=True, **ask)
    assert again == (str(path), 6, 1, 0)
    assert ls.read_sweep(path).error.isna().all() and len(ls.read_sweep(path)) == 6


def test_a_key_stops_it_and_it_goes_on(small, tmp_path, monkeypatch):
    path, own, left = tmp_path/'x.jsonl', sweeps.compute, [1, 1]
    def interrupted(work, batch):
        if not left: raise KeyboardInterrupt
        left.pop()
        return own(work, batch)
    monkeypatch.setattr(sweeps, 'compute', interrupted)
    with pytest.raises(KeyboardInterrupt): ls.sweep(small, PROMPTS, GRID, path, **ASK)
    assert len(plain(path)) == 4                     # batches of 3 and 1
    monkeypatch.setattr(sweeps, 'compute', own)
    assert ls.sweep(small, PROMPTS, GRID, path, **ASK).computed == 48


def test_metrics_by_name(lm, tmp_path):
    path, names = tmp_path/'x.jsonl', ['rep_4', 'length']
    ls.sweep(lm, BEGINS, DRAWN, path, metrics=names)
    out = ls.generate(lm, BEGINS, ls.Sampler(temperature=.8), seed=0,
                      max_new_tokens=6)
    table = ls.read_sweep(path)
    for name in names:
        assert table[name].tolist() == METRICS[name].of(out)[1].tolist()


WRONG = [
    ('grid\\[1\\]: strategy must', dict(grid=[DRAWN, {'strategy': 'x'}])),
    ('grid\\[0\\], generate.*top_p must', dict(grid=[{'strategy': 'generate',
                                                   'top_p': 3}])),
    ('grid\\[0\\].*penalty_alpha', dict(grid={'strategy': 'contrastive_search',
                                           'penalty_alpha': [.1, .2, .3]})),
    ('grid must be', dict(grid=[])), ('grid must be', dict(grid='generate')),
    ('path must be', dict(path='results.txt')), ('path must be', dict(path=3)),
    ('backend must be', dict(backend='dask')), ('seeds must be', dict(seeds=[])),
    ('seeds must be', dict(seeds=None)), ('seeds must be', dict(seeds=[2**63])),
    ('batch_size must', dict(batch_size=0)), ('lm must be', dict(lm='gpt2')),
    ('max_new_tokens must', dict(max_new_tokens=-1)),
    ('metrics must be', dict(metrics=[len])), ('metrics must', dict(metrics='mauve')),
    ('metrics must be', dict(metrics=['rep_4', 'self_bleu'])),
    ('metrics must be', dict(metrics={1: len})),
    ('names of their own', dict(metrics={'top_p': len})),
    ('functions must be', dict(functions={'f': 3})),
    ('models must be', dict(models={'small': 'gpt2'})),
    ('retry_failed must', dict(retry_failed=1)), ('workers', dict(workers=2)),
    ('workers must', dict(workers=0)), ('address', dict(address='auto')),
]

@pytest.mark.parametrize('why, wrong', WRONG)
def test_wrong_questions_are_refused_before_any_work(lm, tmp_path, why, wrong):
    asked = dict(lm=lm, prompts=BEGINS, grid=DRAWN, path=tmp_path/'x.jsonl') | wrong
    with pytest.raises((TypeError, ValueError), match=why): ls.sweep(**asked)
    assert [*tmp_path.iterdir()] == []


# Killed

def test_killed_at_random_moments(small, tmp_path):
    told = crash.kill_often(small, tmp_path, 5, prompts=PROMPTS[:2], grid=GRID[3:])
    assert told['kills'] == 5 and told['complete'] >= 1


def test_another_model_or_version_is_refused(small, tiny, complete, tmp_path,
                                             monkeypatch):
    path = tmp_path/'x.jsonl'
    path.write_bytes(data := complete.read_bytes())
    def refused(why, lm=small, **asked):
        with pytest.raises(ValueError, match=why):
            ls.sweep(lm, PROMPTS, GRID, path, **(ASK | asked))
        assert path.read_bytes() == data
    other = tiny('llama')
    assert cells.fingerprint(other) == cells.fingerprint(small)
    with torch.no_grad(): next(other.model.parameters())[0, 0] += 1e-6
    refused('another model than lm', lm=other)
    refused("with metrics \\[\\], not \\['m'\\]", metrics={'m': len})
    refused("models", models={'m': small})
    refused("functions", functions={'m': len})
    for name, version in sweeps.versions().items():
        new = sweeps.versions() | {name: '99'}
        monkeypatch.setattr(sweeps, 'versions', lambda: new)
        refused(re.escape(f'with {name} {version}, and this is 99: take another'))
        monkeypatch.undo()
    assert ls.sweep(small, PROMPTS, GRID, path, **ASK).computed == 0


def test_progress_on_a_terminal_only(small, recorded, tmp_path, monkeypatch, capsys):
    ls.sweep(small, PROMPTS, GRID, tmp_path/'a.jsonl', **ASK)
    assert capsys.readouterr() == ('', '')
    screen = StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr(sys, 'stderr', screen)
    ls.sweep(small, PROMPTS, GRID, tmp_path/'b.jsonl', **ASK)
    assert 'b.jsonl' in screen.getvalue() and '/52' in screen.getvalue()
