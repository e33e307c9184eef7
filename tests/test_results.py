"""Results files: nothing lost, nothing double, whatever happens to the writer"""
import errno
import json
import os
import resource
import signal
import time

import pytest
from crash import ASK, GRID, PROMPTS, plain

import llm_sampling as ls
from llm_sampling import results


def test_cut_off_at_any_byte(small, complete, recorded, tmp_path):
    "As if the machine had stopped in the middle of a line, wherever"
    path, data = tmp_path/'x.jsonl', complete.read_bytes()
    ends = [i + 1 for i, b in enumerate(data) if b == 10]
    cuts = {0, 1, 20, len(data) - 1, *range(30, len(data), len(data) // 9)}
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
    assert {r['cell'] for r in results.sweep_rows(tmp_path/'x.jsonl')} == {
        json.loads(l)['cell'] for l in lines[1:9]}


def test_two_processes_on_one_file(small, complete, recorded, tmp_path):
    path, (r, w) = tmp_path/'x.jsonl', os.pipe()
    pid = os.fork()
    if not pid:                                    # holds the file until it is killed
        with results.ResultsFile(path): os.write(w, b'.'); time.sleep(60)
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
    monkeypatch.setattr(results.os, 'write', full)
    with pytest.raises(OSError, match='No space left.*is whole, call again') as e:
        ls.sweep(small, PROMPTS, GRID, path, **ASK)
    assert e.value.errno == errno.ENOSPC and room == [0]
    stored = plain(path)
    assert 5 < len(stored) < 52 and path.read_bytes()[-1:] == b'\n'
    monkeypatch.setattr(results.os, 'write', own)
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
    asked = results.query_sweep(str(complete), '''
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
    assert len(results.query_sweep(again, 'SELECT * FROM cells')) == 52
    with pytest.raises(TypeError, match='sql'): results.query_sweep(again, 3)


def test_a_figure_from_a_path(complete):
    ax = results.plot_sweep(complete, 'temperature', 'logprob', by='top_k')
    table = ls.read_sweep(complete)
    first = ax.get_lines()[0]
    want = table[table.top_k == 4].groupby('temperature').logprob.mean()
    assert first.get_ydata() == pytest.approx(want.to_numpy())
    assert len(ax.collections) == len(ax.get_lines())        # a band for each
    with pytest.raises(ValueError, match='y must be a column'):
        results.plot_sweep(complete, 'temperature', 'quality')
