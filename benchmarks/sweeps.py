"""What a sweep costs beside the model: constants for the chapter "Many machines".

    python benchmarks/sweeps.py [--address HOST:PORT]   # writes benchmark_sweeps.json

into llm_sampling/data. Ray starts on this machine, or is joined by address."""
import argparse
import json
import os
import statistics
import tempfile
import time
from importlib.resources import files
from pathlib import Path

import llm_sampling as ls
from llm_sampling import cells, cluster, results


def timed(f, times):
    "Median seconds of a call"
    found = []
    for _ in range(times):
        start = time.perf_counter()
        f()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def of_the_file(work, batch, folder):
    "Seconds to append a record, bytes of one, seconds per record to go on"
    record, = cells.compute(work, batch)
    path = Path(folder)/'x.jsonl'
    with results.ResultsFile(path) as file:
        file.append([{results.FORMAT: 1}])
        alone = timed(lambda: file.append([record]), 100)
        many = timed(lambda: file.append([record] * 100), 20)
        start = time.perf_counter()
        count = len(file.load())
    size = len(json.dumps(record)) + 1
    return dict(append=alone, append_of_100=many / 100, bytes=size,
                load=(time.perf_counter() - start) / count)


def of_ray(work, batch, address, tasks=300):
    "Seconds of a task beside its work, to store the model, to unpack it in a worker"
    with cluster.joined(2, address) as ray:
        stored = timed(lambda: ray.put(work), 5)
        nothing = ray.remote(lambda: [])
        ray.get([nothing.remote() for _ in range(20)])
        start = time.perf_counter()
        ray.get([nothing.remote() for _ in range(tasks)])
        task = (time.perf_counter() - start) / tasks
        ref = ray.put(work)
        unpack = ray.remote(lambda refs: timed(lambda: ray.get(refs[0]), 5))
        return dict(put=stored, task=task, unpack=ray.get(unpack.remote([ref])))


if __name__ == '__main__':
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument('--address')
    ap.add_argument('--out', default=str(
        files('llm_sampling')/'data'/'benchmark_sweeps.json'))
    a = ap.parse_args()
    lm = ls.load()
    spec = {'strategy': 'generate', 'temperature': .8, 'max_new_tokens': 60}
    batch = cells.Batch(spec, 1, [('0' * 24, 0, 'The king had three')])
    work = cells.Work(lm, {}, {}, {})
    size = sum(p.numel() * p.element_size() for p in lm.model.parameters())
    with tempfile.TemporaryDirectory(dir='.') as folder:
        told = of_the_file(work, batch, folder)
    told |= dict(cell=timed(lambda: cells.compute(work, batch), 5), model_bytes=size,
                 cores=os.cpu_count()) | of_ray(work, batch, a.address)
    Path(a.out).write_text(json.dumps(told, indent=1) + '\n')
    print(json.dumps(told, indent=1))
