"""A sweep that is killed with SIGKILL at random moments, again and again

    python tests/crash.py --kills 50

After each kill: what was stored is still there, byte for byte; every whole line can be
read; no cell is there twice; none that was stored has been computed again. When a sweep
is complete, it holds what one that nobody disturbed holds, and a new one begins."""
import argparse
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import llm_sampling as ls
from llm_sampling import specs, sweeps

PROMPTS = [[5, 6, 7], [8], [9, 10], [11, 12, 13, 14]]
GRID = [*specs.grid_of('generate', temperature=[.7, 1.5], top_k=[4, 20]),
        {'strategy': 'beam_search', 'num_beams': 3},
        {'strategy': 'stochastic_beam_search', 'num_beams': 9, 'top_k': 1},   # raises
        {'strategy': 'best_of_n', 'n': 3}]
ASK = dict(seeds=[1, 2], max_new_tokens=4, batch_size=3)


def plain(path):
    "Records of cells by their keys, without what depends on the clock or the batch"
    found = {}
    for line in Path(path).read_text().splitlines():
        record = json.loads(line)
        if 'cell' not in record: continue
        assert record['cell'] not in found, 'a cell is recorded twice'
        record.pop('stats', None)
        record['logprobs'] = [round(p, 3) for p in record.get('logprobs', [])]
        record['scores'] = [round(p, 3) for p in record.get('scores', [])]
        found[record['cell']] = record
    return found


def child(path, log, go_on):
    "Go on with a sweep in a process of its own that notes what it computes"
    pid = os.fork()
    if pid: return pid
    code = 1
    try:
        own, notes = sweeps.compute, os.open(log, os.O_APPEND | os.O_WRONLY)
        def noted(work, batch):
            os.write(notes, ''.join(c[0] + '\n' for c in batch.cells).encode())
            return own(work, batch)
        sweeps.compute = noted
        go_on(path)
        code = 0
    finally: os._exit(code)


def whole(path):
    "The bytes of a file up to its last whole line"
    data = path.read_bytes() if path.exists() else b''
    return data[:data.rfind(b'\n') + 1], len(data)


def kill_often(lm, folder, kills, seed=0, prompts=PROMPTS, grid=GRID):
    "What happened; raises `AssertionError` for anything lost, double or broken"
    folder, dice = Path(folder), random.Random(seed)
    path, log = folder/'killed.jsonl', folder/'log'
    go_on = lambda path: ls.sweep(lm, prompts, grid, path, **ASK)
    for name in ('first', 'calm'):           # the first one warms up
        start = time.perf_counter()
        go_on(folder/f'{name}.jsonl')
        lasts, want = time.perf_counter() - start, plain(folder/f'{name}.jsonl')
    told = dict(kills=0, halves=0, complete=0, computed=0, lost=0)
    while told['kills'] < kills or path.exists():
        before, _ = whole(path)
        done = {json.loads(l).get('cell') for l in before.splitlines()}
        log.write_text('')
        pid = child(path, log, go_on)
        if told['kills'] < kills:
            time.sleep(dice.uniform(0, lasts))
            os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        ended = os.WIFEXITED(status)
        assert not ended or os.WEXITSTATUS(status) == 0, 'the sweep raised'
        now, size = whole(path)
        assert now.startswith(before), 'what was stored has changed'
        computed = [*filter(None, log.read_text().splitlines())]
        assert not {*computed} & done, 'a stored cell was computed again'
        stored = {json.loads(l).get('cell') for l in now.splitlines()} - done - {None}
        told['kills'] += not ended
        told['halves'] += size > len(now)
        told['computed'] += len({*computed})
        told['lost'] += len({*computed} - stored)     # that were being computed
        if ended:
            assert size == len(now) and plain(path) == want, 'other results'
            told['complete'] += 1
            path.unlink()
    return told


if __name__ == '__main__':
    import tempfile
    sys.path.insert(0, str(Path(__file__).parent))
    from tiny_models import tiny
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument('--kills', type=int, default=50)
    ap.add_argument('--seed', type=int, default=0)
    a = ap.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        told = kill_often(tiny('llama'), folder, a.kills, a.seed)
    print(', '.join(f'{k} {v}' for k, v in told.items()))
