"Editors, type checkers and `help` know names, types and what each parameter means"
import inspect, json, os, re, subprocess, sys
from pathlib import Path

import pytest
from scripts import ROOT, script

import llm_sampling as ls

GOOD, BAD = (ROOT/'tests'/'typed'/f'{name}.py' for name in ('good', 'bad'))
MARKED = {i for i, line in enumerate(BAD.read_text().splitlines(), 1)
          if line.endswith('# wrong')}
bin_dir = Path(sys.executable).parent


@pytest.fixture(scope='module')
def stubs(): return script('tools/stubs.py')


def test_stubs_in_step():
    cmd = [sys.executable, ROOT/'tools'/'stubs.py', '--check']
    p = subprocess.run(cmd, capture_output=True, text=True)
    assert p.returncode == 0, p.stderr


def mypy():
    """Lines of errors by file; a stub's own errors count too. The cache saves half a
    minute on torch"""
    cmd = [sys.executable, '-m', 'mypy', '--strict', '--disable-error-code=override',
           '--no-error-summary', '--output=json', f'--cache-dir={ROOT}/.mypy_cache',
           GOOD, BAD]
    env = {**os.environ, 'MYPYPATH': str(ROOT)}
    p = subprocess.run(cmd, capture_output=True, text=True, env=env, cwd=GOOD.parent)
    assert p.returncode == 1, p.stdout + p.stderr
    found = [json.loads(line) for line in p.stdout.splitlines()]
    return [(f['file'], f['line'], f['message'])
            for f in found if f['severity'] == 'error']


def basedpyright(tmp_path):
    """The same; warnings of its default mode count in good code, but for `Any` (a
    tokenizer)"""
    config = dict(include=[str(GOOD), str(BAD)], extraPaths=[str(ROOT)],
                  reportAny=False)
    (tmp_path/'pyrightconfig.json').write_text(json.dumps(config))
    cmd = [bin_dir/'basedpyright', '-p', tmp_path, '--pythonpath', sys.executable,
           '--outputjson']
    p = subprocess.run(cmd, capture_output=True, text=True)
    assert p.returncode == 1, p.stdout + p.stderr
    found = json.loads(p.stdout)['generalDiagnostics']
    return [(f['file'], f['range']['start']['line'] + 1, f['message'])
            for f in found if f['severity'] == 'error' or f['file'].endswith('good.py')]


@pytest.mark.parametrize(
    'checker', [pytest.param('mypy', marks=pytest.mark.long), 'basedpyright'])
def test_checkers(checker, tmp_path):
    "No false alarm on code like the README's, and every mistake is found"
    found = mypy() if checker == 'mypy' else basedpyright(tmp_path)
    alarms = [f for f in found if not f[0].endswith('bad.py')]
    assert not alarms
    assert {line for _, line, _ in found} == MARKED


def test_help():
    "`help` of every public name says what each of its parameters means"
    for name in ls.__all__:
        public = getattr(ls, name)
        heads = re.findall(r'^    (\w[\w, *]*): ', public.__doc__, flags=re.M)
        silent = ({*inspect.signature(public).parameters}
                  - {*re.findall(r'\w+', ' '.join(heads))})
        assert not silent or 'As in `' in public.__doc__, (name, silent)
    assert 'In [0, 1]; 1 is off' in ls.Sampler.__doc__
    assert '    ids: The tokens so far' in ls.Sampler.filter.__doc__       # `@patch`ed


def test_help_of_submodules():
    "Also a name that is imported from its module"
    code = ('from llm_sampling.softmax import apply_temperature as f; '
            'assert "Args:" in f.__doc__')
    subprocess.run([sys.executable, '-c', code], check=True)


SOURCES = dict(
    a='''
__all__ = ['Box', 'make', 'loose']
class Box:
    "A box"
    def __init__(self,
        size:int,  # Its width
    ):
        self.size = size
    def __getattr__(self, name): return 1
def make(
    size:int=3,   # Its width
    *,
    seed=None,    # Of noise
)->Box:           # A new one
    "Make a box"
    return Box(size)
def loose(strange): return strange
''',
    b='''
from fastcore.basics import patch
from .a import Box
__all__ = []
@patch
def fill(self:Box,
    what,  # "Anything"
)->Box:
    "Fill it"
    return self
@patch(as_prop=True)
def full(self:Box): return True
''')


def test_patched_methods_join(stubs):
    "Methods stand with their class wherever they are written, with types and words"
    made = stubs.Stubs(SOURCES, {'a': ['make']})
    text = made.files['a.pyi']
    assert ('    def fill(self, what: Any) -> Box:\n        """Fill it\n\n'
            '        Args:\n            what: \\"Anything') in text
    assert 'seed: int | Sequence[int] | Tensor | None = None' in text
    assert 'from torch import Tensor' in text
    assert '__getattr__' not in text and '    size: int\n' in text
    assert made.docs['b']['Box.fill'].endswith('what: "Anything"')
    for stub in made.files.values(): compile(stub, 'stub', 'exec')


def test_unknown_types_are_loud(stubs):
    """What a user meets needs a type: public names, and methods of the classes that
    they mention"""
    assert (stubs.Stubs(SOURCES, {'a': ['make']}).untyped()
            == ['Box.fill(what)', 'Box.full(return)'])
    assert 'loose(strange)' in stubs.Stubs(SOURCES, {'a': ['loose']}).untyped()
    told = stubs.TYPES | {'Box.fill.what': 'object', 'Box.full.return': 'bool'}
    assert stubs.Stubs(SOURCES, {'a': ['make']}, told).untyped() == []


def test_two_classes_of_one_name_are_refused(stubs):
    "A stub would give each the methods of both"
    twins = dict(a='__all__ = []\nclass Twin: pass', b='__all__ = []\nclass Twin: pass')
    with pytest.raises(ValueError, match='a and b must not both have a class Twin'):
        stubs.Stubs(twins, {})
