"""A sweep on Ray, and what happens to workers and drivers that die"""
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from types import SimpleNamespace

import pytest
from crash import PROMPTS, plain
from scripts import ROOT

import llm_sampling as ls
from llm_sampling import cells
from llm_sampling import cluster as package


def test_a_worker_of_another_version_refuses():
    with pytest.raises(ValueError, match='not be of one kind'):
        package.on_worker([], {'torch': '0'}, None)


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
    spec, queue = {'strategy': 'generate'}, deque()
    batch = cells.Batch(spec, 1, [('a', 0, 'x'), ('b', 1, 'y')])
    assert package._result(ray, None, batch, queue) == []
    assert [b.cells for b in queue] == [[('a', 0, 'x')], [('b', 1, 'y')]]
    record, = package._result(ray, None, queue[0], queue)
    assert record['error'] == 'Crashed: gone' and record['cell'] == 'a'


class Slow:
    "A Ray that starts at a later attempt"
    def __init__(self, attempts, why='The current node timed out during startup.'):
        self.left, self.why, self.calls = attempts, why, []
    def is_initialized(self): return False
    def shutdown(self): self.calls.append('shutdown')
    def init(self, *args, **options):
        self.calls.append('init')
        self.left -= 1
        if self.left: raise Exception(self.why)


def test_a_slow_start_is_tried_again(monkeypatch):
    ray = Slow(3)
    monkeypatch.setattr(package, '_ray', lambda: ray)
    with package.joined() as joined: assert joined is ray
    assert ray.calls == ['init', 'shutdown'] * 3               # the last one at the end
    for ray, attempts in ((Slow(4), 3), (Slow(2, 'no such thing'), 1)):
        with pytest.raises(RuntimeError, match=f'Ray did not start: {ray.why}'):
            with package.joined(): pass
        assert ray.calls.count('init') == attempts


@pytest.mark.long
def test_ray_starts_by_itself(complete, tmp_path):
    path = tmp_path/'x.jsonl'
    ends(driver(path, '', tmp_path/'log', 0), 52)
    assert other_texts(path, complete) == 0
