"""Sweeps: nothing lost, nothing double, nothing computed again, whatever happens; the
same results from any order, batch and worker"""
import errno
import json
import math
import os
import re
import resource
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import crash
import pandas
import pytest
import torch
from crash import ASK, GRID, PROMPTS, plain
from scripts import ROOT

import llm_sampling as ls
from llm_sampling import specs, sweeps

BEGINS = ['Once upon a time', 'The king had three', 'The wolf']
DRAWN = {'strategy': 'generate', 'temperature': .8, 'max_new_tokens': 6}


@pytest.fixture(scope='module')
def small(tiny): return tiny('llama')


@pytest.fixture(scope='module')
def complete(small, tmp_path_factory):
    "The file of a sweep that nobody disturbed"
    path = tmp_path_factory.mktemp('complete')/'x.jsonl'
    assert ls.sweep(small, PROMPTS, GRID, path, **ASK) == (str(path), 52, 52, 8)
    return path


@pytest.fixture
def recorded(monkeypatch, complete):
    "Cells are looked up in the complete file instead of computed; their keys"
    known, asked = plain(complete), []
    def look_up(work, batch):
        asked.extend(cell[0] for cell in batch.cells)
        return [known[cell[0]] for cell in batch.cells]
    monkeypatch.setattr(sweeps, 'compute', look_up)
    return asked


# What a file holds

def test_cells_are_what_the_strategies_give(lm, tmp_path):
    path = tmp_path/'x.jsonl'
    grid = [DRAWN | {'n': 2}, {'strategy': 'beam_search', 'num_beams': 2}]
    length = lambda out: [len(i) for i in out.ids]
    told = ls.sweep(lm, BEGINS, grid, path, seeds=[7, 2**60 + 1], max_new_tokens=5,
                    metrics={'length': length})
    assert told == (str(path), 9, 9, 0)
    table = ls.read_sweep(path)
    assert len(table) == 2 * 3 * 2 + 3 and table.error.isna().all()
    for (strategy, seed, prompt), rows in table.groupby(['strategy', 'seed', 'prompt'],
                                                        dropna=False):
        seed = None if pandas.isna(seed) else int(seed)
        assert (seed is None) == (strategy == 'beam_search')      # it draws nothing
        spec = next(s for s in grid if s['strategy'] == strategy)
        out = specs.run(lm, prompt, spec, seed=seed, max_new_tokens=5)
        assert rows.text.tolist() == out.texts
        assert rows.ids.tolist() == [i.tolist() for i in out.ids]
        assert rows.finish_reason.tolist() == out.finish_reasons
        want = [l.sum().item() for l in out.logprobs]
        assert rows.logprob.tolist() == pytest.approx(want, abs=1e-4)
        assert rows.length.tolist() == rows.tokens.tolist() == length(out)
    header = json.loads(path.read_text().splitlines()[0])
    assert header['versions']['torch'] == torch.__version__
    assert header['model'] == sweeps.fingerprint(lm)
    assert header['seeds'] == [7, 2**60 + 1]
    assert table.label.unique().tolist()[1] == ('beam_search max_new_tokens=5 '
                                                 'num_beams=2')


def test_costs_add_up(lm, tmp_path):
    "A batch's cost is shared among its cells, and a cell's among its texts"
    path = tmp_path/'x.jsonl'
    ls.sweep(lm, BEGINS, DRAWN | {'n': 4}, path)
    out = ls.generate(lm, BEGINS, ls.Sampler(temperature=.8), n=4, seed=0,
                      max_new_tokens=6)
    table = ls.read_sweep(path)
    assert table.tokens_evaluated.sum() == pytest.approx(out.stats['tokens_evaluated'])
    assert (table.batch == 3).all()


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


# The same from any order, batch and worker

def near_tie(lm, prompt, a, b):
    "Do two texts part where two tokens are as likely, but for rounding?"
    at = next(i for i, (x, y) in enumerate(zip(a, b)) if x != y)
    z = lm.next_logits([lm.encode(prompt)[0][0].tolist() + a[:at]])[0]
    return abs(z[a[at]] - z[b[at]]) < 1e-4


def test_order_and_batches_do_not_matter(lm, tmp_path):
    grid = [{'strategy': 'generate'}, DRAWN | {'n': 3},
            {'strategy': 'contrastive_search'},
            {'strategy': 'stochastic_beam_search', 'num_beams': 2}]
    found = {}
    for size in (1, 2, 16):
        path, turn = tmp_path/f'{size}.jsonl', slice(None, None, 1 - 2 * (size == 2))
        ls.sweep(lm, BEGINS[turn], grid[turn], path, max_new_tokens=6, batch_size=size,
                 seeds=[3, 4][turn])
        for r in sweeps.sweep_rows(path):
            found.setdefault((r['cell'], r['row']), []).append(r)
    apart = [(r, other) for r, *others in found.values() for other in others
             if r['ids'] != other['ids']]
    print(f'{len(apart)} near-ties among {len(found)} texts')
    assert len(found) == 36 and all(len(rows) == 3 for rows in found.values())
    assert len(apart) <= 2
    for r, other in apart:
        assert near_tie(lm, r['prompt'], r['ids'], other['ids'])


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
    ('metrics must be', dict(metrics=[len])),
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
    told = crash.kill_often(small, tmp_path, kills=5)
    assert told['kills'] == 5 and told['complete'] >= 1


def test_cut_off_at_any_byte(small, complete, recorded, tmp_path):
    "As if the machine had stopped in the middle of a line, wherever"
    path, data = tmp_path/'x.jsonl', complete.read_bytes()
    ends = [i + 1 for i, b in enumerate(data) if b == 10]
    cuts = {0, 1, 20, len(data) - 1, *range(30, len(data), len(data) // 20)}
    for cut in sorted(cuts | {e + d for e in ends[::20] for d in (-1, 0, 1)}):
        path.write_bytes(data[:cut])
        recorded.clear()
        told = ls.sweep(small, PROMPTS, GRID, path, **ASK)
        kept = [json.loads(line) for line in data[:cut].split(b'\n')[:-1]]
        assert told.computed == len(recorded) == 52 - len(kept[1:]) or not kept
        assert not {r.get('cell') for r in kept} & {*recorded}
        assert plain(path) == plain(complete) and path.read_bytes()[-1:] == b'\n'


def test_a_reader_beside_a_writer(complete, tmp_path):
    "The half line of a cell that is being written is no cell yet"
    lines = complete.read_bytes().splitlines(keepends=True)
    (tmp_path/'x.jsonl').write_bytes(b''.join(lines[:9]) + lines[9][:-1])
    assert {r['cell'] for r in sweeps.sweep_rows(tmp_path/'x.jsonl')} == {
        json.loads(l)['cell'] for l in lines[1:9]}


def test_two_processes_on_one_file(small, complete, recorded, tmp_path):
    path, (r, w) = tmp_path/'x.jsonl', os.pipe()
    pid = os.fork()
    if not pid:                                    # holds the file until it is killed
        with sweeps.ResultsFile(path): os.write(w, b'.'); time.sleep(60)
        os._exit(0)
    os.read(r, 1)
    try:
        with pytest.raises(RuntimeError, match='in use: another sweep'):
            ls.sweep(small, PROMPTS, GRID, path, **ASK)
        assert path.read_bytes() == b''
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert ls.sweep(small, PROMPTS, GRID, path, **ASK).computed == 52
    assert plain(path) == plain(complete)


# A full disk

def test_a_full_disk(small, complete, recorded, tmp_path, monkeypatch):
    "A write that fails in its middle is taken back; with room, the sweep goes on"
    path, room = tmp_path/'x.jsonl', [5000]
    own = os.write
    def full(fd, data):
        if len(data) <= room[0]:
            room[0] -= len(data)
            return own(fd, data)
        if not room[0]: raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        size, room[0] = room[0], 0
        return own(fd, data[:size])
    monkeypatch.setattr(sweeps.os, 'write', full)
    with pytest.raises(OSError, match='No space left.*is whole, call again') as e:
        ls.sweep(small, PROMPTS, GRID, path, **ASK)
    assert e.value.errno == errno.ENOSPC and room == [0]
    stored = plain(path)
    assert 5 < len(stored) < 52 and path.read_bytes()[-1:] == b'\n'
    monkeypatch.setattr(sweeps.os, 'write', own)
    assert ls.sweep(small, PROMPTS, GRID, path, **ASK).computed == 52 - len(stored)
    assert plain(path) == plain(complete)


def test_a_limit_of_the_kernel(small, complete, recorded, tmp_path):
    "The same with real short writes: RLIMIT_FSIZE in a process of its own"
    for limit in (100, 4000, 9001):
        path = tmp_path/f'{limit}.jsonl'
        pid = os.fork()
        if not pid:
            code = 1
            try:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
                ls.sweep(small, PROMPTS, GRID, path, **ASK)
            except OSError as e: code = 7 if e.errno == errno.EFBIG else 8
            finally: os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        data = path.read_bytes()
        assert len(data) <= limit and data[-1:] in (b'', b'\n')
        told = ls.sweep(small, PROMPTS, GRID, path, **ASK)
        assert told.computed == 52 - max(data.count(b'\n') - 1, 0)
        assert plain(path) == plain(complete)


# Files of others, and of other versions

@pytest.mark.parametrize('data, why', [
    (b'hello\n', 'no results file'), (b'my notes', 'no results file'),
    (b'{"a": 1}\n', 'no results file'), (b'\xff\xfe\x00\n', 'no results file'),
    (b'[1]\n{"cell": "a"}\n', 'no results file'),
    (b'{"llm_sampling_sweep": 9}\n', 'format 9'),
    (b'{"llm_sampling_sweep": 1}\n{"cell": "a\n', 'damaged: line 2'),
    (b'{"llm_sampling_sweep": 1}\n\x00\x00\n', 'damaged: line 2'),
    (b'{"llm_sampling_sweep": 1}\n7\n', 'damaged: line 2')])
def test_foreign_files_stay_as_they_are(small, tmp_path, data, why):
    path = tmp_path/'x.jsonl'
    path.write_bytes(data)
    for use in (lambda: ls.sweep(small, PROMPTS, GRID, path, **ASK),
                lambda: ls.read_sweep(path)):
        with pytest.raises(ValueError, match=why) as e: use()
        assert '\n' not in str(e.value)
        assert path.read_bytes() == data


def test_another_model_or_version_is_refused(small, tiny, complete, tmp_path,
                                             monkeypatch):
    path = tmp_path/'x.jsonl'
    path.write_bytes(data := complete.read_bytes())
    def refused(why, lm=small, **asked):
        with pytest.raises(ValueError, match=why):
            ls.sweep(lm, PROMPTS, GRID, path, **(ASK | asked))
        assert path.read_bytes() == data
    other = tiny('llama')
    assert sweeps.fingerprint(other) == sweeps.fingerprint(small)
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


def test_what_a_fingerprint_sees(lm, tiny):
    own = sweeps.fingerprint(lm)
    lm.tokenizer(['a', 'b c'], padding=True)      # which leaves its mark in a tokenizer
    assert sweeps.fingerprint(lm) == own
    assert sweeps.fingerprint(ls.LanguageModel(lm.model)) != own       # no tokenizer
    table = {(): [.5, .5], (1,): [.2, .8]}
    tables = [ls.LanguageModel(ls.TableModel(t))
              for t in (table, dict(table), {(): [.5, .5], (0,): [.2, .8]})]
    a, b, c = map(sweeps.fingerprint, tables)
    assert a == b != c


# Reading

def test_many_files(small, complete, tmp_path):
    for name in 'ab': (tmp_path/f'{name}.jsonl').write_bytes(complete.read_bytes())
    one = ls.read_sweep(complete)
    for paths in (str(tmp_path/'*.jsonl'), [tmp_path/'a.jsonl', tmp_path/'b.jsonl']):
        both = ls.read_sweep(paths)
        assert len(both) == 2 * len(one) and both.file.nunique() == 2
    for wrong in (None, 3, [], [None], str(tmp_path/'c.jsonl'), ''):
        with pytest.raises((TypeError, ValueError), match='paths'): ls.read_sweep(wrong)


def test_sql_says_the_same(complete, tmp_path):
    table = ls.read_sweep(complete)
    asked = sweeps.query_sweep(str(complete), '''
        SELECT spec->>'strategy' AS strategy, count(error) AS failed,
               sum(len(ids)) AS texts, sum(list_sum(logprobs)) AS logprob
        FROM cells GROUP BY ALL ORDER BY ALL''').set_index('strategy')
    by = table.groupby('strategy')
    assert asked.failed.to_dict() == by.error.count().to_dict()
    want = by.logprob.sum().to_dict()
    assert asked.logprob.fillna(0).to_dict() == pytest.approx(want)
    again = tmp_path/"it's.jsonl"           # a failed cell that has been run again
    lines = complete.read_text().splitlines(keepends=True)
    bad = next(l for l in lines if '"error"' in l)
    again.write_text(''.join(lines) + bad.replace('"error": "', '"error": "twice '))
    assert len(sweeps.query_sweep(again, 'SELECT * FROM cells')) == 52
    with pytest.raises(TypeError, match='sql'): sweeps.query_sweep(again, 3)


def test_a_figure_from_a_path(complete):
    ax = sweeps.plot_sweep(complete, 'temperature', 'logprob', by='top_k')
    table = ls.read_sweep(complete)
    first = ax.get_lines()[0]
    want = table[table.top_k == 4].groupby('temperature').logprob.mean()
    assert first.get_ydata() == pytest.approx(want.to_numpy())
    assert len(ax.collections) == len(ax.get_lines())        # a band for each
    with pytest.raises(ValueError, match='y must be a column'):
        sweeps.plot_sweep(complete, 'temperature', 'quality')


def test_progress_on_a_terminal_only(small, recorded, tmp_path, monkeypatch, capsys):
    ls.sweep(small, PROMPTS, GRID, tmp_path/'a.jsonl', **ASK)
    assert capsys.readouterr() == ('', '')
    screen = StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr(sys, 'stderr', screen)
    ls.sweep(small, PROMPTS, GRID, tmp_path/'b.jsonl', **ASK)
    assert 'b.jsonl' in screen.getvalue() and '/52' in screen.getvalue()


# Ray

def test_a_worker_of_another_version_refuses():
    with pytest.raises(ValueError, match='not be of one kind'):
        sweeps.on_worker([], {'torch': '0'}, None)


DRIVER = '''
import sys
sys.path.insert(0, "tests")
from crash import ASK, GRID, PROMPTS
from tiny_models import tiny
import llm_sampling as ls
path, address, log, nap = sys.argv[1:]
def note(out):
    "Slow, and says which process does the work"
    import os, time
    time.sleep(float(nap))
    with open(log, "a") as f: f.write(f"{os.getpid()}\\n")
    return [0.] * len(out)
told = ls.sweep(tiny("llama"), PROMPTS, GRID, path, backend="ray", workers=2,
                address=address or None, metrics={"note": note}, **ASK)
print(told.computed, told.failed)
'''

def driver(path, address, log, nap='.05'):
    env = os.environ | {'PYTHONPATH': str(ROOT)}
    args = [str(a) for a in (path, address, log, nap)]
    return subprocess.Popen([sys.executable, '-c', DRIVER, *args], cwd=ROOT, env=env,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

def free_ports(n):
    held = [socket.create_server(('127.0.0.1', 0)) for _ in range(n)]
    ports = [s.getsockname()[1] for s in held]
    for s in held: s.close()
    return ports

NAMES = ('port', 'dashboard-agent-grpc-port', 'dashboard-agent-listen-port',
         'metrics-export-port', 'runtime-env-agent-port')

def start_ray(log):
    "A real Ray of two cores and its address; None: the machine was too busy"
    ports = free_ports(5)
    with log.open('w') as out:
        process = subprocess.Popen(
            [Path(sys.executable).with_name('ray'), 'start', '--head', '--block',
             *(f'--{name}={port}' for name, port in zip(NAMES, ports)),
             '--num-cpus=2', '--include-dashboard=false', '--disable-usage-stats'],
            cwd=ROOT, stdout=out, stderr=out,
            env=os.environ | {'PYTHONPATH': str(ROOT)})
    while 'will now block' not in log.read_text():
        if process.poll() is not None: return None
        time.sleep(.1)
    return process, f'127.0.0.1:{ports[0]}'

@pytest.fixture(scope='module')
def cluster(tmp_path_factory):
    '''Ray gives up where its own processes take more than 15 seconds to start, which on
    a busy machine they do: several attempts. Or RAY_ADDRESS names one'''
    if address := os.environ.get('RAY_ADDRESS'):
        yield address
        return
    log = tmp_path_factory.mktemp('ray')/'log'
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('RAY_AUTH_MODE', 'token')
        patch.setenv('RAY_AUTH_TOKEN', secrets.token_hex(32))
        started = next(filter(None, (start_ray(log) for _ in range(5))), None)
        assert started, log.read_text()[-2000:]
        process, address = started
        yield address
        process.terminate()
        process.wait()

def seen(log): return log.read_text().split() if log.exists() else []

def until(log, lines, process):
    while len(seen(log)) < lines:
        assert process.poll() is None, process.stderr.read()[-2000:]
        time.sleep(.02)

def ends(process, computed):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-2000:]
    assert out.split()[-2:] == [str(computed), '8']      # Ray may tell of workers

def other_texts(path, complete):
    "How many texts differ from those of one process"
    a, b = plain(path), plain(complete)
    assert a.keys() == b.keys()
    return sum(a[k].get('ids') != b[k].get('ids') for k in a)


@pytest.mark.long
def test_ray_a_worker_is_killed(cluster, complete, tmp_path):
    path, log = tmp_path/'x.jsonl', tmp_path/'log'
    process = driver(path, cluster, log)
    until(log, 12, process)
    os.kill(int(seen(log)[-1]), signal.SIGKILL)
    workers = {*seen(log)}
    ends(process, 52)
    assert other_texts(path, complete) == 0
    assert {*seen(log)} - workers                       # another one took its place


@pytest.mark.long
def test_ray_the_driver_is_killed(cluster, complete, tmp_path):
    path, log = tmp_path/'x.jsonl', tmp_path/'log'
    process = driver(path, cluster, log)
    until(log, 14, process)
    process.kill()
    process.wait()
    stored = len(plain(path))
    assert 0 < stored < 52
    ends(driver(path, cluster, log, 0), 52 - stored)
    assert other_texts(path, complete) == 0


@pytest.mark.long
def test_ray_a_cell_that_kills_every_worker(cluster, small, tmp_path):
    "It is marked as failed, and the other one is there"
    def deadly(out):
        import os, signal
        if len(out.ids[0]) == 3: os.kill(os.getpid(), signal.SIGKILL)
        return [0.]
    grid = [{'strategy': 'generate', 'max_new_tokens': m} for m in (3, 4)]
    told = ls.sweep(small, PROMPTS[:1], grid, tmp_path/'x.jsonl', backend='ray',
                    address=cluster, metrics={'deadly': deadly})
    assert told[1:] == (2, 2, 1)
    bad, = [r['error'] for r in plain(tmp_path/'x.jsonl').values() if 'error' in r]
    assert 'WorkerCrashedError' in bad


def test_a_batch_that_kills_its_workers_comes_again_cell_by_cell():
    class Crashed(Exception): pass
    def get(ref): raise Crashed('gone')
    ray = SimpleNamespace(get=get, exceptions=SimpleNamespace(
        RayTaskError=KeyError, RayError=Crashed))
    batch, queue = sweeps.Batch(DRAWN, 1, [('a', 0, 'x'), ('b', 1, 'y')]), deque()
    assert sweeps._result(ray, None, batch, queue) == []
    assert [b.cells for b in queue] == [[('a', 0, 'x')], [('b', 1, 'y')]]
    record, = sweeps._result(ray, None, queue[0], queue)
    assert record['error'] == 'Crashed: gone' and record['cell'] == 'a'


@pytest.mark.long
def test_ray_starts_by_itself(complete, tmp_path):
    path = tmp_path/'x.jsonl'
    ends(driver(path, '', tmp_path/'log', 0), 52)
    assert other_texts(path, complete) == 0
