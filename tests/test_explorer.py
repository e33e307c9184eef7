"""The playground and the arena, from a disk: they write Python's tokens, their address
brings a state back, and texts stay texts"""
import contextlib
import re

import pytest
from scripts import ROOT, script

import llm_sampling as ls

web, screen = script('tools/web.py'), script('docs/first_screen.py')
VIEW = 'document.querySelector("[data-llms]").view'


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    out = tmp_path_factory.mktemp('engine')
    web.build(out)
    for view in ('playground', 'arena'):
        (out/f'{view}.html').write_text(
            '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">'
            + screen.html(view, '.'), encoding='utf-8')
    return out


@contextlib.contextmanager
def opened(chrome, built, view, fragment=''):
    context, log = chrome
    page = context.new_page()
    page.goto((built/f'{view}.html').as_uri() + fragment)
    try: yield page
    finally: page.close()
    assert log.all() == []


def ids(page): return page.evaluate(f'{VIEW}.state.written.map(w => w.id)')


def wait(page, n):
    page.wait_for_function(f'{VIEW}.entries.length === {n} && !{VIEW}.stale')


@pytest.mark.parametrize('knobs', [dict(temperature=.8, top_p=.9),
                                   dict(top_k=20, min_p=.05, repetition_penalty=1.2)])
def test_playground_writes_what_python_writes(chrome, built, knobs):
    said = '&'.join(f'{k}={v}' for k, v in knobs.items())
    state = f'#play?prompt=The+king&seed=3&{said}'
    with opened(chrome, built, 'playground', state) as p:
        p.wait_for_function(f'{VIEW}.shown && !{VIEW}.stale')
        for n in range(1, 6):
            p.get_by_role('button', name='Step', exact=True).click()
            wait(p, n)
        want = ls.generate(ls.load(), 'The king', ls.Sampler(**knobs, seed=3),
                           max_new_tokens=5)
        assert ids(p) == want.ids[0].tolist()


def test_a_forced_token_and_the_address(chrome, built):
    with opened(chrome, built, 'playground') as p:
        assert p.locator('script[src*="llm_sampling"]').count() == 0    # first screen
        p.locator('.llms-token-row').nth(3).click()
        wait(p, 1)
        assert p.evaluate(f'{VIEW}.state.written[0].why') == 'f'
        address, text = p.url, p.locator('.llms-text').text_content()
    with opened(chrome, built, 'playground', '#' + address.split('#')[1]) as p:
        wait(p, 1)
        assert p.locator('.llms-text').text_content() == text


def test_hostile_text_stays_text(chrome, built):
    bad = '#play?prompt=%3Cimg%20src=x%20onerror=alert(1)%3E%E2%80%AE%1B&top_p=x&seed=a'
    with opened(chrome, built, 'playground', bad) as p:
        p.wait_for_function(f'{VIEW}.shown && !{VIEW}.stale')
        assert p.locator('[data-llms] img').count() == 0
        assert '\\u202e\\x1b' in p.locator('.llms-text').text_content()


def test_lines_fit_a_page():
    files = [*(ROOT/'web/views').glob('*.js')]
    assert len(files) > 4
    assert [f.name for f in files if re.search('.{89}', f.read_text())] == []
