"""What many tests need: the bundled model, tiny ones, prompts, lists, a browser

And the order of the tests: `make test` shares them between two workers, a file at a
time. What needs a browser goes first, the pages of the site in one worker (it is built
once), all else in the other; then what takes long: short files fill the end of both."""
import gc
import os
import sys
from itertools import groupby

# Two workers, a thread each: threads that fight for cores make a busy machine ten times
# slower.
os.environ['OMP_NUM_THREADS'] = '1'
# a grammar of web addresses that jsonschema reads for a second, if there is one
sys.modules['rfc3987_syntax'] = None
import pytest
from scripts import script

pytest.register_assert_rewrite('checks')


def pytest_addoption(parser):
    parser.addoption('--long', action='store_true', help='all cases of every test, '
                     'those marked long, and three times the drawn examples')


def pytest_configure(config):
    for marker in ('some(n): n cases of this test, evenly spread; all with --long',
                   'long: with --long only'):
        config.addinivalue_line('markers', marker)
    if config.getoption('long'): os.environ['LLM_SAMPLING_LONG'] = '1'
    # the workers share what kernels are copied from
    if config.getoption('numprocesses', None): script('tools/kernels.py').start()


def pytest_sessionstart(session):
    "Modules and tests are no garbage: not searched for any, neither now nor later"
    gc.disable()


def pytest_collection_finish(session):
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope='session')
def lm():
    "The bundled model; a test that changes it changes it back"
    import llm_sampling as ls
    return ls.load()


@pytest.fixture(scope='session')
def tiny():
    "`tiny(family, layers=2)` is a fresh small model of random weights"
    from tiny_models import tiny
    return tiny


@pytest.fixture(scope='session')
def rows():
    "Ids of three prompts for tiny models, of different lengths"
    import torch
    g = torch.Generator().manual_seed(1)
    return [torch.randint(1, 60, (n,), generator=g) for n in (3, 11, 7)]


@pytest.fixture(scope='session')
def prompts():
    "`prompts(dice, lengths)` are ids for tiny models"
    import torch
    def drawn(dice, lengths):
        return [torch.tensor([dice.randrange(1, 60) for _ in range(n)])
                for n in lengths]
    return drawn


@pytest.fixture(scope='session')
def lists():
    "`lists(out.ids)` compares with `==`, as tensors do not"
    return lambda tensors: [t.tolist() for t in tensors]


@pytest.fixture(scope='session')
def small(tiny):
    "The model of tests of sweeps, which none of them changes"
    return tiny('llama')


@pytest.fixture(scope='session')
def complete(small, tmp_path_factory):
    "The file of a sweep that nobody disturbed"
    import llm_sampling as ls
    from crash import ASK, GRID, PROMPTS
    path = tmp_path_factory.mktemp('complete')/'x.jsonl'
    assert ls.sweep(small, PROMPTS, GRID, path, **ASK) == (str(path), 52, 52, 8)
    return path


@pytest.fixture
def recorded(monkeypatch, complete):
    "Cells are looked up in the complete file instead of computed; their keys"
    from crash import plain
    from llm_sampling import sweeps
    known, asked = plain(complete), []
    def look_up(work, batch):
        asked.extend(cell[0] for cell in batch.cells)
        return [known[cell[0]] for cell in batch.cells]
    monkeypatch.setattr(sweeps, 'compute', look_up)
    return asked


@pytest.fixture
def load(lm):
    "One bundled model for all tests, but not on another device or in another dtype"
    import llm_sampling as ls
    plain = ls.load
    return lambda name=None, **kw: plain(name, **kw) if name or any(kw.values()) else lm



@pytest.fixture
def here(capsys, monkeypatch, load):
    """Run in this process, with one model: importing torch and transformers takes
    seconds"""
    monkeypatch.setattr('llm_sampling.models.load', load)
    import subprocess
    from llm_sampling.cli import main
    def run_here(*args):
        code = main(list(args))
        out = capsys.readouterr()
        return subprocess.CompletedProcess(args, code, out.out, out.err)
    return run_here


@pytest.fixture(scope='module')
def chrome():
    "A browser context, and the log of what its pages did"
    pytest.importorskip('playwright', reason='the oldest versions are tested without')
    from browser import browser
    with browser() as (context, log): yield context, log


BROWSER = ['test_site', 'test_widgets', 'test_lab', 'test_web', 'test_explorer',
           'test_views', 'test_live']
LONG = [*BROWSER, 'test_notebooks', 'test_types', 'test_project']


def left_for_long(items):
    "What a short run leaves to a long one"
    tests = groupby(items, lambda item: (item.path, item.originalname))
    for _, cases in tests:
        cases = [*cases]
        yield from (case for case in cases if case.get_closest_marker('long'))
        if some := cases[0].get_closest_marker('some'):
            n, = some.args
            yield from {*cases} - {cases[i * len(cases) // n] for i in range(n)}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    "Long ones first; all that is asked of one page of the site in a row"
    named = any('::' in arg for arg in config.args)
    if not (config.getoption('long') or named):
        left = {*left_for_long(sorted(items, key=lambda item: item.path))}
        items[:] = [item for item in items if item not in left]
        config.hook.pytest_deselected(items=[*left])
    turns = {stem: i for i, stem in enumerate(LONG)}
    page = lambda item: (item.callspec.params.get('visited', '')
                         if hasattr(item, 'callspec') else '')
    items.sort(key=lambda item: (turns.get(item.path.stem, len(LONG)), page(item)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        "A file at a time; all pages but the site's in one worker; a chapter is a file"
        def _split_scope(self, nodeid):
            stem = nodeid.split('::')[0].split('/')[-1].removesuffix('.py')
            if stem in BROWSER: return 'site' if stem == 'test_site' else 'browser'
            return nodeid if stem == 'test_notebooks' else stem

    return Scheduling(config, log)
