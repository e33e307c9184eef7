"""What a reader of each chapter meets, as a table: the size of its parts, from the
notebooks, and with a browser what the built pages look like

    python tools/chapters.py                # all chapters, without a browser
    python tools/chapters.py --pages top_k  # one, and its page in _docs"""
import argparse, re, sys
from math import inf
from pathlib import Path
from statistics import median, quantiles

import nbformat
from nbdev.config import nbpath2html
from run_nbs import ROOT, directives

DEPTHS = 'See', 'Learn', 'Use'
# as a reader finds it, then with all folds open: what is folded has no width
LOOK = '''() => {
  const top = selector => Math.min(...[...document.querySelectorAll(selector)]
    .map(e => e.getBoundingClientRect().top + scrollY));
  const live = ".llms-bars, .llms-player, .bd-article textarea";  // a view's field
  const [figure, widget] = [`.bd-article .cell_output img, ${live}`, live].map(top);
  document.querySelectorAll("details").forEach(e => { e.open = true });
  const code = [...document.querySelectorAll(".bd-article .cell_input pre")];
  const wide = code.filter(e => e.scrollWidth > e.clientWidth + 1);
  return {figure, widget,
          wide: code.length ? wide.length / code.length : 0};
}'''


def name_of(path): return nbpath2html(Path(path.name)).stem

def code_of(cell):
    "Lines of a code cell without directives and blank ones"
    return [line for line in cell.source.splitlines()
            if line.strip() and not line.startswith('#|')]

def depths(cells):
    "The cells of See, Learn and Use"
    inside = False
    for cell in cells:
        if cell.cell_type == 'markdown':
            for line in re.findall(r'^## (\w+)', cell.source, flags=re.M):
                inside = line in DEPTHS
        if inside: yield cell

def silent(cell):
    "Whether a cell asserts, and shows nothing"
    checks = re.search(r'^\s*(assert |test_\w+\()', cell.source, flags=re.M)
    return bool(checks) and not cell.outputs

def sizes(path):
    "The parts of a notebook, in numbers"
    cells = nbformat.read(path, 4).cells
    code = [c for c in cells if c.cell_type == 'code']
    shown = [c for c in code if not directives(c) & {'hide', 'export', 'exports'}]
    lengths = sorted(len(code_of(c)) for c in code
                     if directives(c) & {'export', 'exports'}) or [0]
    front = [*depths(cells)]
    words = sum(len(c.source.split()) for c in front if c.cell_type == 'markdown')
    return dict(cells=sum(c.cell_type == 'code' for c in front), words=words,
                exported=round(median(lengths)),
                p90=round(quantiles(lengths * 2, n=10)[-1]),
                silent=sum(map(silent, shown)))

def looks(names, folder):
    "Pixels to the first figure and widget at 1400 x 900, and shares of wide code"
    from playwright.sync_api import sync_playwright
    sys.path.insert(0, str(ROOT/'tests'))
    from browser import ARGS, chromium, serve
    with sync_playwright() as p, serve(folder) as url:
        app = p.chromium.launch(executable_path=chromium(), args=ARGS)
        for name in names:
            found = {}
            for width in (1400, 390):
                page = app.new_page(viewport=dict(width=width, height=900))
                page.goto(f'{url}/{name}.html', wait_until='networkidle')
                found[width] = page.evaluate(LOOK)
                page.close()
            desk = found[1400]
            yield dict(figure=desk['figure'], widget=desk['widget'],
                       wide=f'{desk["wide"]:.0%}', narrow=f'{found[390]["wide"]:.0%}')
        app.close()

def row(name, values):
    cell = lambda v: '-' if v == inf else f'{v:.0f}' if isinstance(v, float) else v
    return f'{name:18}' + ''.join(f'{cell(v):>9}' for v in values)

def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('names', nargs='*', help='of pages, as top_k; default: all')
    ap.add_argument('--pages', action='store_true', help='open the pages of _docs, too')
    a = ap.parse_args()
    paths = [p for p in sorted((ROOT/'nbs').glob('*.ipynb'))
             if not a.names or name_of(p) in a.names]
    rows = [sizes(p) for p in paths]
    if a.pages:
        seen = [*looks([name_of(p) for p in paths], ROOT/'_docs')]   # to its end
        rows = [r | s for r, s in zip(rows, seen)]
    print(row('chapter', rows[0]))
    for path, r in zip(paths, rows): print(row(name_of(path), r.values()))

if __name__ == '__main__': main()
