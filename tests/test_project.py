"""The project as a whole: what is generated is in step, what is declared is true, and
the wheel works on its own"""
import ast, json, os, re, shutil, subprocess, sys, tarfile, zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest
from scripts import ROOT

import llm_sampling

cfg = ConfigParser()
cfg.read(ROOT/'settings.ini', encoding='utf-8')
cfg = cfg['DEFAULT']
bin_dir = Path(sys.executable).parent


def run(*args, **kw):
    p = subprocess.run([str(a) for a in args], capture_output=True, text=True, **kw)
    assert p.returncode == 0, f'{args}\n{p.stdout[-3000:]}\n{p.stderr[-3000:]}'
    return p.stdout


def test_version():
    assert llm_sampling.__version__ == cfg['version']
    assert re.search(rf"^## {re.escape(cfg['version'])}\b",
                     (ROOT/'CHANGELOG.md').read_text(), flags=re.M)


def test_oldest_versions_are_the_bounds():
    "`make test-oldest` installs what settings.ini admits at the least"
    pins = dict(line.split('==')
                for line in (ROOT/'constraints-oldest.txt').read_text().split()
                if '==' in line)
    wanted = cfg['requirements'] + ' ' + cfg['widgets_requirements']
    for name, bound in re.findall(r'(\w+)>=([\d.]+)', wanted):
        why = f'{name}>={bound}, tested with {pins[name]}'
        assert (pins[name] + '.').startswith(bound + '.'), why


def test_public_names():
    """Every name the package offers is there, `dir` lists it, and an unknown one is an
    AttributeError"""
    for name in llm_sampling.__all__:
        assert getattr(llm_sampling, name).__name__ == name
    assert set(llm_sampling.__all__) <= set(dir(llm_sampling))
    with pytest.raises(AttributeError, match='no_such'): llm_sampling.no_such


def test_import_is_light():
    """The package itself loads nothing heavy; Part I needs no transformers, matplotlib
    or ipywidgets"""
    heavy = ("import sys; bad = {'torch', 'transformers', 'matplotlib', 'ipywidgets'} "
             "& {*sys.modules}; assert not bad, bad")
    run(sys.executable, '-c', f'import llm_sampling; {heavy}')
    light = heavy.replace("'torch', ", '')
    uses = 'ls.Sampler, ls.top_p_filter, ls.generate, ls.testing, ls.plots'
    run(sys.executable, '-c', f'import llm_sampling as ls; {uses}; {light}')


def test_modules_are_attributes():
    "Every module is reached as an attribute of the package"
    modules = {f.stem for f in (ROOT/'llm_sampling').glob('[!_]*.py')}
    assert modules <= set(dir(llm_sampling))
    for name in modules:
        assert getattr(llm_sampling, name).__name__ == f'llm_sampling.{name}'


def test_base_install():
    """Without the extras `help`, `pydoc`, `hasattr` and `inspect` work, and what lacks
    an extra names it"""
    run(sys.executable, '-c', '''
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        extra = {'ipywidgets', 'anywidget', 'traitlets', 'IPython', 'nbdev'}
        if name.split('.')[0] in extra:
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)
sys.meta_path.insert(0, Blocked())

import inspect, pydoc
import llm_sampling as ls
assert not hasattr(ls, 'widgets') and hasattr(ls, 'plots')
found = dict(inspect.getmembers(ls))
assert {*ls.__all__, 'plots'} <= {*found} and 'widgets' not in found
text = pydoc.render_doc('llm_sampling', renderer=pydoc.plaintext)
assert 'top_p_filter(' in text and 'temperature: >= 0' in text
for attempt in (lambda: ls.widgets, lambda: exec('from llm_sampling import widgets')):
    try: attempt()
    except (AttributeError, ImportError) as e:
        assert 'llm_sampling[widgets]' in str(e), e
    else: raise AssertionError('widgets came without anywidget')
''')


def test_exports_in_step(tmp_path):
    "`nbdev-export` of the notebooks gives the very modules that are stored"
    for name in ('nbs', 'llm_sampling'):
        shutil.copytree(ROOT/name, tmp_path/name,
                        ignore=shutil.ignore_patterns('data', '__pycache__'))
    for name in ('pyproject.toml', 'settings.ini', 'setup.py', 'README.md'):
        shutil.copy(ROOT/name, tmp_path)
    for f in (tmp_path/'llm_sampling').glob('*.py'):
        if f.name not in ('__init__.py', '__main__.py'): f.unlink()
    run(bin_dir/'nbdev-export', cwd=tmp_path)
    stored, fresh = ({f.name: f.read_text()
                      for f in [*(d/'llm_sampling').glob('*.py'), d/'nbs/llms.txt']}
                     for d in (ROOT, tmp_path))
    assert stored.keys() == fresh.keys()
    for name in stored:
        why = f'{name} is not what the notebooks export: run nbdev-export'
        assert stored[name] == fresh[name], why


def test_readme_in_step(): run(sys.executable, ROOT/'docs/build.py', '--check-readme')


FOLDERS = ['tests', 'tools', 'benchmarks', 'docs']

@pytest.mark.parametrize('folder', FOLDERS)
def test_lines_fit_a_page(folder):
    "88 columns: code reads without scrolling, on a page and side by side"
    found = [(f.name, i) for f in sorted((ROOT/folder).rglob('*.py'))
             for i, line in enumerate(f.read_text().splitlines(), 1) if len(line) > 88]
    assert found == []


def cells():
    "Each code cell of the notebooks: notebook, directives, the rest as lines"
    for path in sorted((ROOT/'nbs').glob('*.ipynb')):
        for cell in json.loads(path.read_text())['cells']:
            lines = ''.join(cell['source']).split('\n')
            marks = [l[2:].split(':')[0].strip() for l in lines if l.startswith('#|')]
            if cell['cell_type'] == 'code':
                yield path.stem, marks, [l for l in lines if not l.startswith('#|')]


def test_cells_fit_a_page():
    found = [(name, line) for name, _, lines in cells() for line in lines
             if len(line) > 88]
    assert found == []


def definitions(lines):
    tree = ast.parse('\n'.join(lines))
    return sum(isinstance(n, (ast.FunctionDef, ast.ClassDef)) for n in tree.body)


def test_a_cell_defines_one_thing():
    "15 % of exported cells may hold several definitions that belong together"
    several = [definitions(lines) > 1 for _, marks, lines in cells()
               if {'export', 'exports'} & {*marks}]
    assert len(several) > 300
    assert sum(several) <= .15 * len(several)


def test_few_cells_are_hidden():
    hidden = ['hide' in marks for _, marks, _ in cells()]
    assert sum(hidden) <= .06 * len(hidden)


def headings(path):
    "Anchors of a notebook's headings down to the third level, as its page will have"
    marks = [''.join(c['source']) for c in json.loads(path.read_text())['cells']
             if c['cell_type'] == 'markdown']
    names = re.findall(r'^#{1,3} (.+)$', '\n'.join(marks), flags=re.M)
    return {re.sub(r'[^\w -]', '', name.lower()).replace(' ', '-') for name in names}


def test_links_between_chapters_name_headings():
    "`[..](03_top_k.ipynb#edges)`: the built site checks pages, this needs no build"
    nbs = {f.name: f for f in (ROOT/'nbs').glob('*.ipynb')}
    links = [(f.name, *found) for f in nbs.values()
             for found in re.findall(r'\]\((\w+\.ipynb)#([^)]+)\)', f.read_text())]
    assert len(links) > 100
    anchors = {name: headings(nbs[name]) for name in {to for _, to, _ in links}}
    assert [link for link in links if link[2] not in anchors[link[1]]] == []


def test_each_module_has_its_tests():
    modules = {f.stem for f in (ROOT/'llm_sampling').glob('[!_]*.py')}
    assert modules <= {f.stem.removeprefix('test_')
                       for f in (ROOT/'tests').glob('test_*.py')}


def test_imports_point_down():
    "Exported code imports only modules of chapters above its own"
    order = {}
    for i, f in enumerate(sorted((ROOT/'nbs').glob('*.ipynb'))):
        if m := re.search(r'#\| default_exp (\w+)', f.read_text()): order[m[1]] = i
    for module, place in order.items():
        for node in ast.walk(ast.parse((ROOT/f'llm_sampling/{module}.py').read_text())):
            if isinstance(node, ast.ImportFrom) and node.level and node.col_offset == 0:
                assert order[node.module] < place, f'{module} imports {node.module}'


def test_no_pickles_no_remote_code():
    files = [p for p in (ROOT/'llm_sampling').rglob('*') if p.is_file()]
    assert not [p for p in files
                if p.suffix in {'.pt', '.pth', '.bin', '.pkl', '.pickle'}]
    for p in files:
        if p.suffix == '.py':
            assert not re.search(r'trust_remote_code\s*=\s*True|torch\.load\(',
                                 p.read_text()), p
    assert sum(p.stat().st_size
               for p in (ROOT/'llm_sampling/data').rglob('*')) < 13_000_000


@pytest.mark.long
def test_wheel(tmp_path):
    """The sdist builds a wheel; installed elsewhere, it loads the bundled model and
    generates"""
    src = tmp_path/'src'
    shutil.copytree(ROOT, src, ignore=shutil.ignore_patterns(
        '.*', '_*', 'build', 'dist', '*.egg-info', '__pycache__', 'nbs'))
    shutil.copytree(ROOT/'llm_sampling', src/'llm_sampling', dirs_exist_ok=True,
                    ignore=shutil.ignore_patterns('__pycache__'))
    run(sys.executable, '-m', 'build', '--no-isolation', '--outdir', tmp_path/'dist',
        src)
    wheel, = (tmp_path/'dist').glob('*.whl')
    sdist, = (tmp_path/'dist').glob('*.tar.gz')
    assert wheel.stat().st_size < 14_000_000
    inside = zipfile.ZipFile(wheel).namelist()
    for name in ('py.typed', '__init__.pyi', 'sampler.pyi', 'data/docs.json',
                 'data/model.safetensors', 'data/held_out.jsonl.gz',
                 'data/benchmark_speed.json', 'data/benchmark_compute.json',
                 'data/sums/model.safetensors', 'multinomial.py'):
        assert f'llm_sampling/{name}' in inside
    assert not [n for n in inside if n.startswith(('tests', 'nbs', 'docs', 'tools'))]
    with tarfile.open(sdist) as t:
        assert any(n.endswith('/settings.ini') for n in t.getnames())
    home = tmp_path/'site'
    run(sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', '--no-index',
        '--target', home, wheel)
    code = ("import llm_sampling as ls; "
            "assert ls.__file__.startswith({home!r}), ls.__file__; "
            "s = ls.Sampler(temperature=.8, seed=1); "
            "out = ls.generate(ls.load(), 'Once upon a time', s, max_new_tokens=8); "
            "print(out.texts[0])")
    env = {**os.environ, 'PYTHONPATH': str(home), 'HF_HUB_OFFLINE': '1'}
    text = run(sys.executable, '-c', code.format(home=str(home)), cwd=tmp_path, env=env)
    assert len(text.split()) >= 2
    code = ("from importlib.metadata import distribution as d; "
            "m = d('llm_sampling').metadata; "
            "print(m['Version'], m['Requires-Python'], *m.get_all('Provides-Extra'))")
    meta = run(sys.executable, '-c', code, cwd=tmp_path, env=env).split()
    extras = ['widgets', 'measure', 'ray', 'lm-eval', 'docs', 'dev']
    assert meta == [cfg['version'], '>=' + cfg['min_python'], *extras]


def parsed():
    "The syntax tree of each exported module"
    files = sorted((ROOT/'llm_sampling').glob('[!_]*.py'))
    return {f.stem: ast.parse(f.read_text()) for f in files}


def private(name): return name.startswith('_') and not name.startswith('__')


def test_no_private_name_leaves_its_module():
    "Neither imported, nor reached as an attribute of another module or of its objects"
    trees, found = parsed(), []
    own = {m: {n.name for n in ast.walk(t)
               if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
              | {n.attr for n in ast.walk(t)
                 if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)}
              | {n.id for n in ast.walk(t)
                 if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
           for m, t in trees.items()}
    ours = {name for names in own.values() for name in names if private(name)}
    for module, tree in trees.items():
        for n in ast.walk(tree):
            if isinstance(n, ast.ImportFrom) and n.level:
                found += [(module, a.name) for a in n.names if private(a.name)]
            if isinstance(n, ast.Attribute) and n.attr in ours - own[module]:
                if n.attr != '_repr_html_': found.append((module, n.attr))
    assert found == []


# How long the longest are; none may grow, and a new module has 350 lines at most
LONG = dict(default_model=500, harness=510, hf=400, replay=480, settings=430,
            widgets=440)


def test_modules_are_short():
    lengths = {m: len((ROOT/f'llm_sampling/{m}.py').read_text().splitlines())
               for m in parsed()}
    assert {m: n for m, n in lengths.items() if n > LONG.get(m, 350)} == {}


# Words of the primer, as prose has them
PRIMER = dict(token='tokens?', vocabulary='vocabular(y|ies)', logit='logits?',
              distribution='distributions?', entropy='entrop(y|ies)',
              row='(?<!in a )rows?', batch='batch(es)?', pad='pads?', mask='masks?',
              key='keys and values', value='keys and values', cache='caches?',
              window='windows?', seed='seeds?')

def prose(path):
    """The sentences of a chapter: no title, headings, code, formulas, references. Links
    to the primer stand in ⟦ ⟧, other links are left out"""
    cells = [''.join(c['source']) for c in json.loads(path.read_text())['cells']
             if c['cell_type'] == 'markdown']
    text = '\n\n'.join(c for c in cells if not re.match(r'# |#\| export', c))
    text = text.split('\n## References')[0]
    text = re.sub(r'```.*?```|\$\$.*?\$\$|`[^`]*`|\$[^$]*\$|^#+ .*?$', '', text,
                  flags=re.S | re.M)
    text = re.sub(r'\[([^\]]*)\]\(00_primer\.ipynb#[\w-]+\)', r'⟦\1⟧', text)
    return re.sub(r'\[[^\]]*\]\([^)]*\)', '', text)


def linked(word, text):
    "Whether each use of a word in a text is a link"
    uses = re.finditer(rf'(?<![\w-]){PRIMER[word]}(?![\w-])', text, flags=re.I)
    places = [m.start() for m in uses]
    return [text.rfind('⟦', 0, i) > text.rfind('⟧', 0, i) for i in places]


def test_the_primer_defines_its_words():
    "Each in bold, once, and in the glossary"
    text = prose(ROOT/'nbs/00_primer.ipynb')
    bold = ', '.join(re.findall(r'\*\*(.*?)\*\*', text))
    listed = ', '.join(re.findall(r'^\| ([\w, -]+) \|', text, flags=re.M))
    for word in PRIMER:
        use = rf'\b{word}s?\b'
        assert len(re.findall(use, bold, flags=re.I)) == 1, word
        assert re.search(use, listed), word


CHAPTERS = [f.stem for f in sorted((ROOT/'nbs').glob('*.ipynb'))
            if re.match(r'0[1-9]|1|2', f.name)]

@pytest.mark.parametrize('chapter', CHAPTERS)
def test_words_of_the_primer_are_linked(chapter):
    "Where a chapter uses one first, and there only"
    text = prose(ROOT/f'nbs/{chapter}.ipynb')
    wrong = [w for w in PRIMER if (uses := linked(w, text))
             and (not uses[0] or sum(uses) > 1)]
    assert wrong == []


@pytest.mark.parametrize('path', sorted((ROOT/'nbs').glob('*.ipynb')),
                         ids=lambda p: p.stem)
def test_no_output_is_the_name_of_an_object(path):
    "`<Axes: …>` beside a figure, or an address that no two runs share"
    outputs = [o.get('data', {}) for c in json.loads(path.read_text())['cells']
               for o in c.get('outputs', ())]
    said = [''.join(o.get('text/plain', '')) for o in outputs if 'image/png' not in o]
    assert [t for t in said if re.search(r'<(Axes|Figure)|at 0x[0-9a-f]{6}', t)] == []
