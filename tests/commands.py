"What tests of the command share"
import json, os, subprocess, sys

ENV = os.environ | dict(OMP_NUM_THREADS='1', HF_HUB_OFFLINE='1')
COMMAND = [sys.executable, '-m', 'llm_sampling']


def run(*args, env={}):
    return subprocess.run([*COMMAND, *args], capture_output=True, encoding='utf-8',
                          env=ENV | env, timeout=120)


def lines(p):
    "The objects that a command printed"
    assert p.returncode == 0, p.stderr
    return [json.loads(line) for line in p.stdout.splitlines()]
