"""All benchmarks of speed, each against its peer, into one file.

    python benchmarks/run.py                      # what `make bench` does
    python benchmarks/run.py --only draws beams   # rows whose name holds one of these
    python benchmarks/run.py --quick              # a minute, into build/, to try it

A round visits every row once, in a new process, and ours and theirs take turns in
going first: so what the machine does for a while falls on all rows and on both sides,
and what a process keeps (its place in memory) is drawn anew. The file is written after
every visit. A run that was stopped goes on where it was; one that was complete is
measured anew."""
import argparse
import datetime
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import timing

from llm_sampling.speed import summary

BENCHES = 'draws', 'loops', 'searches'
ROUNDS, QUICK = 15, 2
COMMAND = 'make bench'


def all_rows(device):
    "Every row by its name, as its benchmark describes it"
    rows = [row | dict(bench=bench) for bench in BENCHES
            for row in import_module(bench).rows()]
    named = {f"{row['bench']}: {row['name']}": row for row in rows}
    return {name: row for name, row in named.items()
            if device == 'cpu' or row['bench'] != 'searches'}

def chosen(rows, only, quick, peer):
    "Names of the rows to measure"
    found = [name for name, row in rows.items()
             if any(word in name for word in only or [''])
             and (not quick or row.get('quick'))]
    without = [name for name in found if rows[name].get('peer') and not peer]
    if without: print('left out, for want of --peer:', *without, flush=True)
    return [name for name in found if name not in without]

def opened(path, names, rows, machine, rounds):
    "The table to go on with: what is complete is begun anew"
    try: table = json.loads(path.read_text())
    except FileNotFoundError: table = dict(rows=[])
    kept = {f"{row['bench']}: {row['name']}": row for row in table['rows']}
    foreign = kept and table['machine'] != machine
    if foreign and {*kept} - {*names}:
        raise SystemExit(f'{path} is of another machine or of other versions, and not '
                         'all of its rows are measured now: name another file, --out')
    full = all(len(kept.get(n, {}).get('ours', ())) >= rounds(n) for n in names)
    if foreign or full: kept = {n: row for n, row in kept.items() if n not in names}
    for name in names:
        about = {k: rows[name][k] for k in ('bench', 'name', 'about', 'goal',
                                            'memory_goal') if k in rows[name]}
        kept[name] = about | kept.get(name, {}) | about
    return {name: kept[name] for name in rows if name in kept}

def visits(names, rows, turn, device, peer):
    """A round of some rows of a benchmark, in a process of its own: each row's name,
    what was measured, and what the machine did meanwhile"""
    ask = json.dumps([rows[name] for name in names])
    command = [sys.executable, __file__, '--visit', ask, str(turn), device, peer or '']
    before = timing.cpu_ticks()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        for name in names:
            line = child.stdout.readline()
            if not line: raise SystemExit(f'{name}: failed, see above')
            after = timing.cpu_ticks()
            spent, stolen = (y - x for x, y in zip(before, after))
            yield name, json.loads(line) | dict(load=round(os.getloadavg()[0], 2),
                                                steal=round(stolen / max(1, spent), 4))
            before = after

def visited(rows, turn, device, peer):
    "What the process of `visits` prints: a line for each row"
    for row in json.loads(rows):
        measure = import_module(row['bench']).measure
        print(json.dumps(measure(row, int(turn), device, peer)), flush=True)

def note(row, found):
    "Append a round to a row, and sum up"
    for key, value in found.items():
        if key == 'theirs_is': row[key] = value
        else: row.setdefault(key, []).append(
            float(f'{value:.6g}') if isinstance(value, float) else value)
    row.update(summary(row))

def save(path, rows, head):
    "Write the file at once, or not at all"
    lines = ',\n '.join(json.dumps(row) for row in rows.values())
    head = json.dumps(head | dict(date=str(datetime.date.today())))
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix('.new')
    new.write_text(f'{head[:-1]},\n"rows": [\n {lines}]}}\n')
    os.replace(new, path)

def shown(row, wanted):
    "A line of progress"
    ratio, low, high = row['ratio']
    ends = '' if low is None else f' [{low:.2f}, {high:.2f}]'
    return (f"{len(row['ours'])}/{wanted} {row['bench']}: {row['name']:56} "
            f"{row['ours'][-1]*1e3:9.2f} ms {row['theirs'][-1]*1e3:9.2f} ms "
            f'{ratio:6.2f}{ends}' + '  OTHER TOKENS' * (
                not all(row.get('same_tokens', [True]))))

def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--only', nargs='+', metavar='WORD')
    ap.add_argument('--quick', action='store_true')
    ap.add_argument('--rounds', type=int)
    ap.add_argument('--device', default='cpu', choices=('cpu', 'cuda'))
    ap.add_argument('--clock', default='wall', choices=timing.CLOCKS, help='cpu: '
                    'time of the process, for one thread on a busy machine')
    ap.add_argument('--peer', metavar='PYTHON', help='has transformers 4.55, for '
                    'contrastive search')
    ap.add_argument('--out', type=Path, help='default: in the package')
    ap.add_argument('--visit', nargs=4, help=argparse.SUPPRESS)
    a = ap.parse_args()
    if a.visit: return visited(*a.visit)
    timing.clock = os.environ['BENCH_CLOCK'] = a.clock
    rows = all_rows(a.device)
    names = chosen(rows, a.only, a.quick, a.peer)
    if not names: ap.error(f'no row of these: {a.only}')
    usual = QUICK if a.quick else ROUNDS
    def rounds(name): return a.rounds or min(usual, rows[name].get('rounds') or usual)
    out = a.out or (Path('build/speed_quick.json') if a.quick
                    else timing.results('speed'))
    machine = timing.machine(a.device)
    table = opened(out, names, rows, machine, rounds)
    head = dict(command=COMMAND, machine=machine)
    for turn in range(max(map(rounds, names))):
        left = [n for n in names if len(table[n].get('ours', ())) <= turn < rounds(n)]
        for bench in BENCHES:
            own = [n for n in left if rows[n]['bench'] == bench]
            for name, found in visits(own, rows, turn, a.device, a.peer) if own else ():
                note(table[name], found)
                save(out, table, head)
                print(shown(table[name], rounds(name)), flush=True)

if __name__ == '__main__': main()
