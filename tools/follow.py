"""Give the notebooks in another language the code and the outputs of the English ones

    python tools/follow.py            # index -> index_zh, tour -> tour_zh
    python tools/follow.py --check    # 1 if one is behind

Prose, captions and the titles of folded cells are their own: a cell of English prose
that has changed is to be translated by hand."""
import copy, re, sys
from pathlib import Path

import nbformat

NBS = Path(__file__).resolve().parent.parent/'nbs'
OWN = r'^#\| (?:fig-cap|fig-alt|code-summary):.*$'    # directives that are prose

def pairs(nbs=NBS):
    "(English, translated) for each translated notebook"
    return [(path.with_stem(path.stem.removesuffix('_zh')), path)
            for path in sorted(nbs.glob('*_zh.ipynb'))]

def followed(english, other):
    "The other notebook with the code and the outputs of the English one"
    kinds = [[c.cell_type for c in nb.cells] for nb in (english, other)]
    if kinds[0] != kinds[1]:
        raise ValueError(f'{len(kinds[0])} cells in English, {len(kinds[1])} in the '
                         'other language, or their kinds differ: cell by cell, please')
    new = copy.deepcopy(other)
    for ours, theirs in zip(new.cells, english.cells):
        if ours.cell_type != 'code': continue
        own = iter(re.findall(OWN, ours.source, flags=re.M))
        ours.source = re.sub(OWN, lambda m: next(own, m[0]), theirs.source, flags=re.M)
        ours.outputs = copy.deepcopy(theirs.outputs)
    return new

def main():
    behind = []
    for english, path in pairs():
        old = nbformat.read(path, 4)
        new = followed(nbformat.read(english, 4), old)
        if new == old: continue
        behind.append(path.name)
        if '--check' not in sys.argv: nbformat.write(new, path)
    print(*(f'{name} was behind' for name in behind), sep='\n')
    return bool(behind) and '--check' in sys.argv

if __name__ == '__main__': sys.exit(main())
