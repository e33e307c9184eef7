"""Run notebooks. Plain: in place, storing outputs that need no kernel. `--check`:
compare with the stored outputs, write nothing.

    python tools/run_nbs.py nbs/03_top_k.ipynb   # run one and save its outputs
    python tools/run_nbs.py --check              # run all, two at a time; exit 1 where
                                                 # outputs moved"""
import argparse, copy, os, re, struct, sys, tempfile, time
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Notebooks run side by side, so each takes one core.
os.environ.update(OMP_NUM_THREADS='1', PYDEVD_DISABLE_FILE_VALIDATION='1',
                  HF_HUB_OFFLINE='1')
sys.path.insert(0, str(Path(__file__).resolve().parent))
import kernels
import nbformat
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parent.parent
VIEW = 'application/vnd.jupyter.widget-view+json'
LIVE = '_This control runs in Jupyter: run the notebook to move it._'


def flags():
    """Directives that keep a cell from running unless asked for: `tst_flags` of
    pyproject.toml"""
    import tomllib
    project = tomllib.loads((ROOT/'pyproject.toml').read_text())
    return set(project['tool']['nbdev']['tst_flags'].split())

def directives(cell):
    "Names after `#|` at the top of a cell"
    return set(re.findall(r'^#\|\s*(\w+)', cell.source, flags=re.M))

def kernel_free(outputs):
    """A dead widget id is of no use to a reader: keep the widget's own HTML, or say
    that it is live only"""
    for o in outputs:
        data = o.get('data', {})
        if data.pop(VIEW, None) is None: continue
        if 'text/html' in data: data.pop('text/plain', None)
        else: o['data'] = {'text/markdown': LIVE}
        o['metadata'] = {}
    return outputs

def drawn(outputs):
    """A figure has two forms. The sharp one gets the size of the other, and what a
    program has written for programs goes: comments, long fractions, breaks of lines"""
    for o in outputs:
        data = o.get('data', {})
        if not {'image/png', 'image/svg+xml'} <= {*data}: continue
        width, height = struct.unpack('>2I', b64decode(data['image/png'])[16:24])
        svg = re.sub(r'<!--.*?-->|<metadata>.*?</metadata>|\n *', '',
                     data['image/svg+xml'].partition('<svg')[2], flags=re.S)
        svg = re.sub(r'<[^>]*>', lambda tag: re.sub(
            r'\d+\.\d{3,}', lambda m: f'{float(m[0]):.2f}', tag[0]), svg)
        view = re.search(' viewBox=".*?"', svg)[0]
        data['image/svg+xml'] = (
            f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink='
            f'"http://www.w3.org/1999/xlink" width="{width}" height="{height}"{view}>'
            + svg.partition('>')[2])
    return outputs

def merged(outputs):
    "Streams of one name joined: how often a kernel flushes is chance"
    out = []
    for o in outputs:
        stream = o.output_type == 'stream' and out and out[-1].output_type == 'stream'
        if stream and out[-1].name == o.name: out[-1].text += o.text
        else: out.append(o)
    return out

def execute(path, skip, edit=None):
    """The notebook run from the top in an empty folder, cells with a directive in
    `skip` left as stored. `edit` may change the cells that are run, and add some"""
    nb = nbformat.read(path, 4)
    run = copy.deepcopy(nb)
    for cell in run.cells:
        if cell.cell_type == 'code' and directives(cell) & skip: cell.source = ''
    if edit: edit(run.cells)
    with tempfile.TemporaryDirectory() as folder:
        kernels.client(run, timeout=900, kernel_name='python3',
                       store_widget_state=False,
                       resources={'metadata': {'path': folder}}).execute()
    for old, new in zip(nb.cells, run.cells):
        if old.cell_type != 'code' or directives(old) & skip: continue
        old.outputs, old.execution_count = drawn(merged(kernel_free(new.outputs))), None
        for o in old.outputs:   # counts would move in every diff
            if 'execution_count' in o: o.execution_count = None
    return nb

def shown(cell):
    "What a reader sees of a cell's outputs, as text; a figure counts as present"
    rows = []
    for o in cell.outputs:
        data = o.get('data', {})
        if o.output_type == 'stream': rows.append((o.name, o.text))
        elif 'image/png' in data or 'image/svg+xml' in data: rows.append(('figure', ''))
        else: rows += [(k, data[k]) for k in sorted(data)]
    return rows

def differences(old, new):
    "One line per cell whose stored output is not what the run gave"
    rows = []
    for i, (a, b) in enumerate(zip(old.cells, new.cells)):
        if a.cell_type != 'code' or 'varies' in directives(a): continue
        was, now = shown(a), shown(b)
        if was != now:
            rows.append(f'cell {i}: {a.source.strip()[:60]!r}\n'
                        f'    stored {str(was)[:400]}\n    now    {str(now)[:400]}')
    return rows

def one(path, check, skip, edit=None):
    "Run one notebook; returns (name, seconds, problems)"
    start = time.time()
    try: new = execute(path, skip, edit)
    except CellExecutionError as e:
        return path.name, time.time()-start, [str(e)[-3000:]]
    old = nbformat.read(path, 4)
    stored = [f'cell {i} holds an error output' for i, c in enumerate(old.cells)
              if any(o.output_type == 'error' for o in c.get('outputs', []))]
    if check: return path.name, time.time()-start, stored + differences(old, new)
    new.metadata.pop('widgets', None)
    for c in new.cells: c.metadata.pop('execution', None)
    nbformat.write(new, path)
    return path.name, time.time()-start, []

def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('paths', nargs='*', type=Path,
                    help='notebooks; default: all in nbs/')
    ap.add_argument('--check', action='store_true', help='compare instead of writing')
    ap.add_argument('--flags', nargs='*', default=[], metavar='FLAG', choices=flags(),
                    help='run cells marked so too, e.g. cuda slow; after the notebooks')
    a = ap.parse_args()
    paths = a.paths or sorted((ROOT/'nbs').glob('[!_.]*.ipynb'))
    failed = 0
    with ThreadPoolExecutor(2) as pool:
        run = lambda p: one(p.resolve(), a.check, flags()-set(a.flags))
        for name, seconds, problems in pool.map(run, paths):
            failed += bool(problems)
            print(f"{name} {seconds:.1f}s {'FAILED' if problems else 'ok'}", *problems,
                  sep='\n  ', flush=True)
    print(f'Notebooks: {len(paths)-failed} passed, {failed} failed')
    return failed > 0

if __name__ == '__main__': sys.exit(main())
