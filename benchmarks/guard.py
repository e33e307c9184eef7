"""Names what became slower, or hungrier, from one table of `make bench` to another.

    python benchmarks/guard.py OLD.json NEW.json

A row is compared by its cost in units of the other side's, so a slower machine is no
regression. Named is what is worse beyond the noise of both tables and by 5 % or more;
with so many rows compared, some unchanged one is named in at most 5 of 100 runs. Nine
rounds name a tenth only on a calm machine, fifteen nearly always. Exit code: 0 nothing
is worse, 1 something is, 2 the tables cannot be compared."""
import argparse
import json
import sys
from collections import Counter
from pathlib import Path

from llm_sampling.speed import changes


def differences(old, new):
    "Lines on what is not alike about the two machines"
    a, b = (table.get('machine', {}) for table in (old, new))
    return [f'note: {key} was {a.get(key)}, is {b.get(key)}'
            for key in dict.fromkeys([*a, *b]) if a.get(key) != b.get(key)]

def line(x):
    "A change as a line of text"
    by = '{:+.0f} % [{:+.0f}, {:+.0f}]'.format(*(100 * (f - 1) for f in x[2:5]))
    return f'{x.verdict:7} {by:22} {x.what:8} {x.name}'

def main(args=None):
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('old', type=Path)
    ap.add_argument('new', type=Path)
    ap.add_argument('--least', type=float, default=.05,
                    help='what is worse by less is not named (default: .05)')
    a = ap.parse_args(args)
    try:
        old, new = (json.loads(path.read_text()) for path in (a.old, a.new))
        found = changes(old, new, a.least)
    except (OSError, ValueError) as e: ap.error(str(e))
    if not found: ap.error('the tables have no row in common')
    told = [line(x) for verdict in ('worse', 'better') for x in found
            if x.verdict == verdict]
    for text in differences(old, new) + told: print(text)
    count = Counter(x.verdict for x in found)
    print(', '.join(f'{n} {verdict}' for verdict, n in count.items()),
          f'; {len(old["rows"])} rows before, {len(new["rows"])} now', sep='')
    return int(count['worse'] > 0)

if __name__ == '__main__': sys.exit(main())
