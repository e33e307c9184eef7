"""What many tests need: the bundled model, tiny ones, prompts, lists, a browser

And the order of the tests: `make test` shares them between two workers, a test at a time. What
needs a browser stays in one worker (a site is built once, two browsers would fight for cores)
and goes first, then what takes long, so that short tests fill the end of both workers."""
import os

# Two workers, a thread each: threads that fight for cores make a busy machine ten times slower.
os.environ['OMP_NUM_THREADS'] = '1'
import pytest
import torch

torch.set_num_threads(1)
pytest.register_assert_rewrite('checks')


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
    g = torch.Generator().manual_seed(1)
    return [torch.randint(1, 60, (n,), generator=g) for n in (3, 11, 7)]


@pytest.fixture(scope='session')
def prompts():
    "`prompts(dice, lengths)` are ids for tiny models, as lists"
    return lambda dice, lengths: [[dice.randrange(1, 60) for _ in range(n)] for n in lengths]


@pytest.fixture(scope='session')
def lists():
    "`lists(out.ids)` compares with `==`, as tensors do not"
    return lambda tensors: [t.tolist() for t in tensors]


@pytest.fixture(scope='module')
def chrome():
    "A browser context, and the log of what its pages did"
    pytest.importorskip('playwright', reason='the oldest versions are tested without')
    from browser import browser
    with browser() as (context, log): yield context, log


NEED_A_BROWSER = {'chrome', 'site'}
LONG = ['test_site', 'test_widgets', 'test_lab', 'test_notebooks', 'test_types', 'test_project']

def turn(item):
    "Place of a test in the order: by its file, the long ones first"
    name = item.path.stem
    return LONG.index(name) if name in LONG else len(LONG)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if NEED_A_BROWSER & {*item.fixturenames}:
            item.add_marker(pytest.mark.xdist_group('browser'))
    items.sort(key=turn)
