"""Every chapter runs from its top, and shows what is stored in it; sliders show what
their functions compute"""
import json
import re
import struct
from base64 import b64decode
from xml.etree import ElementTree

import nbformat
import pytest
from scripts import ROOT, script

tools = script('tools/run_nbs.py')
# translations have the code and the outputs of the originals: tests/test_front.py
NOTEBOOKS = sorted((p for p in (ROOT/'nbs').glob('[!_.]*.ipynb')
                    if not p.stem.endswith('_zh')), key=lambda p: -p.stat().st_size)
CALL = re.compile(r'^(?:\w+ = )?slider_bars\(', flags=re.M)
RECORD = '''
import itertools as _itertools
_made = globals().get('_made', [])
def _recorded(make):
    def slider_bars(f, *args, **kw):
        w = make(f, *args, **kw)
        names = [k['name'] for k in w.knobs]
        places = _itertools.product(*(k['values'] for k in w.knobs))
        distributions = [[float(x) for x in f(**dict(zip(names, vs)))] for vs in places]
        _made.append(dict(table=w.table, distributions=distributions))
        return w
    slider_bars.records = True
    return slider_bars
if not hasattr(slider_bars, 'records'): slider_bars = _recorded(slider_bars)
'''
TELL = '''
import json, pathlib
pathlib.Path(FILE).write_text(json.dumps(_made))
'''


def sliders(cells):
    return [c for c in cells if c.cell_type == 'code' and CALL.search(c.source)]


def same(table, dists):
    """A table of four digits against exact distributions; what is kept in one is kept
    in the other"""
    return all(abs(a - b) <= 5.01e-5 and (a > 0) == (b > 0)
               for x, y in zip(table, dists, strict=True)
               for a, b in zip(x, y, strict=True))


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_shows_what_is_stored(path, tmp_path, pytestconfig):
    skip = tools.flags() - ({'slow'} if pytestconfig.getoption('long') else set())
    file, calls = tmp_path/'distributions.json', []
    def record(cells):
        calls.extend(sliders(cells))
        if not calls: return
        # before each: a chapter may define it anew
        for call in calls: call.source = RECORD + call.source
        cells.append(nbformat.v4.new_code_cell(TELL.replace('FILE', repr(str(file)))))
    _, _, problems = tools.one(path, check=True, skip=skip, edit=record)
    assert problems == []
    assert not any('varies' in tools.directives(c) for c in calls), 'compared with none'
    made = json.loads(file.read_text()) if calls else []
    assert len(made) >= len(calls)
    for i, w in enumerate(made):
        computed = same(w['table'], w['distributions'])
        assert computed, f'slider {i}: no function computes that'


FONT = r'<text [^>]*font(?:-size)?: (?:bold )?([\d.]+)px'


def test_figures_are_sharp():
    """Each figure has pixels, for README, and lines of the same size, for the page: no
    letters below 12 pixels but exponents, nothing that runs, not heavy"""
    seen = 0
    for path in NOTEBOOKS:
        cells = nbformat.read(path, 4).cells
        for data in (o.get('data', {}) for c in cells for o in c.get('outputs', [])):
            if 'image/png' not in data: continue
            svg, png = data['image/svg+xml'], b64decode(data['image/png'])
            root = ElementTree.fromstring(svg)
            size = int(root.get('width')), int(root.get('height'))
            assert size == struct.unpack('>2I', png[16:24]), path.stem
            scale = size[0] / float(root.get('viewBox').split()[2])
            letters = re.findall(FONT, svg)
            least = min(map(float, letters), default=12) * scale
            assert least > 11.9, (path.stem, least)
            assert 'script' not in svg and len(svg) < 100_000, path.stem
            seen += 1
    assert seen > 100
