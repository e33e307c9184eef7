"""Side-by-side timing: each command in turn, so that a machine that slows down slows
both"""
import sys, time
from pathlib import Path
from statistics import median

import torch


def seconds(f, device):
    "Wall time of one call, the device's queue drained on both sides"
    sync = torch.cuda.synchronize if device == 'cuda' else lambda: None
    sync(); start = time.perf_counter(); f(); sync()
    return time.perf_counter() - start

def side_by_side(ours, theirs, device='cpu', rounds=15):
    """Medians of both, in seconds, and the median of the ratios theirs / ours pair by
    pair"""
    for f in (ours, theirs): f()
    pairs = [(seconds(ours, device), seconds(theirs, device)) for _ in range(rounds)]
    ratio = median(b/a for a, b in pairs)
    return median(a for a, _ in pairs), median(b for _, b in pairs), ratio

def report(name, ours, theirs, target, device='cpu', rounds=15):
    "Measure and print one row of a table"
    a, b, ratio = side_by_side(ours, theirs, device, rounds)
    print(f'{name:44} {a*1e3:9.2f} ms {b*1e3:9.2f} ms {ratio:7.2f} {target:>7}',
          flush=True)

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

def header(title, device):
    print(f'\n{title} ({where(device)})')
    print(f'{"":44} {"ours":>12} {"transformers":>12} {"ratio":>7} {"target":>7}')
