"""What the benchmarks share: a pair timed in turns, the machine, where results are
kept"""
import os
import platform
import sys
import time
from functools import lru_cache
from pathlib import Path
from statistics import median

import torch

ENOUGH = .3     # seconds that short calls are repeated for, in a round
CLOCKS = dict(wall=time.perf_counter, cpu=time.process_time)
clock = os.environ.get('BENCH_CLOCK', 'wall')       # so that child processes have it


def seconds(f, device='cpu'):
    "Time of one call, the device's queue drained on both sides"
    sync, now = (torch.cuda.synchronize if device == 'cuda' else lambda: None,
                 CLOCKS[clock])
    sync(); start = now(); f(); sync()
    return now() - start

def in_turns(ours, theirs, turn=0, device='cpu'):
    """Medians of both in seconds, call by call in turn: in even rounds ours goes first,
    in odd ones theirs. Short calls are repeated"""
    pair = [ours, theirs][::-1 if turn % 2 else 1]
    def both(): return [seconds(f, device) for f in pair]
    first = sum(both())                 # builds what is built once
    again = sum(both()) if first < ENOUGH else first
    times = [both() for _ in range(max(1, min(25, round(ENOUGH / again))))]
    a, b = map(median, zip(*times))
    return dict(zip(('ours', 'theirs'), (b, a) if turn % 2 else (a, b)))

@lru_cache
def bandwidth(device='cpu'):
    "Bytes per second that one pass over a large tensor reads"
    big = torch.ones(2**26, device=device)
    return big.nbytes / min(seconds(lambda: big.sum(), device) for _ in range(5))

def cpu_name():
    "What the processor calls itself"
    try: lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError: lines = []
    names = [l.split(':', 1)[1].strip() for l in lines if l.startswith('model name')]
    return names[0] if names else platform.processor() or platform.machine()

def machine(device='cpu'):
    "What a time depends on"
    import transformers

    import llm_sampling
    return dict(cpu=cpu_name(), cores=os.cpu_count(), threads=torch.get_num_threads(),
                clock=clock, system=platform.system(),
                device=torch.cuda.get_device_name() if device == 'cuda' else 'CPU',
                python=platform.python_version(), torch=torch.__version__,
                transformers=transformers.__version__,
                llm_sampling=llm_sampling.__version__)

def cpu_ticks():
    "Time that the system's processors have spent: all of it, and stolen by its host"
    try: spent = [int(x) for x in Path('/proc/stat').read_text().split()[1:9]]
    except OSError: return 0, 0
    return sum(spent), spent[7]

def where(device):
    "The machine, in words"
    name = (torch.cuda.get_device_name()
            if device == 'cuda'
            else f'CPU, {torch.get_num_threads()} threads')
    return f'{name}, torch {torch.__version__}, Python {sys.version.split()[0]}'

def results(name):
    """Where the rows of a benchmark are kept: package data, so that a chapter shows
    them wherever it runs"""
    data = Path(__file__).resolve().parent.parent/'llm_sampling'/'data'
    return data/f'benchmark_{name}.json'
