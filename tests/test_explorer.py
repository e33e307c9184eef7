"""The playground, the arena and the view of configurations, from a disk: they say what
Python says, their address brings a state back, and texts stay texts"""
import contextlib
import re

import pytest
import torch
import web_cases
from scripts import ROOT, script

import llm_sampling as ls
from llm_sampling.explorer import STRATEGIES, arena, in_orders, parted
from llm_sampling.specs import check_run

screen = script('docs/first_screen.py')
VIEW = 'document.querySelector("[data-llms]").view'


@pytest.fixture(scope='module')
def built():
    out = web_cases.built()/'explorer'
    out.mkdir(exist_ok=True)
    for view in ('playground', 'arena', 'settings'):
        (out/f'{view}.html').write_text(
            '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">'
            + screen.html(view, '..'), encoding='utf-8')
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


def until(page, words):
    page.wait_for_function("""words => document.querySelector('.llms-status span')
                              .textContent.startsWith(words)""", arg=words)


def test_arena_writes_what_python_wrote(chrome, built):
    "Texts and numbers of the first screen are Python's; Run writes them anew"
    with opened(chrome, built, 'arena') as p:
        assert p.locator('script[src*="llm_sampling"]').count() == 0
        before = p.locator('.llms-arena').inner_text()
        assert before.count('tokens evaluated') == 4 and 'NaN' not in before
        p.evaluate('document.querySelector(".llms-arena").dataset.old = 1')
        p.get_by_role('button', name='Run').focus()
        p.keyboard.press('Enter')
        until(p, 'All have written')
        assert p.locator('.llms-arena').inner_text() == before
        assert 'with=greedy.draw.top_p.beams' in p.url and 'seed=1' in p.url


def test_arena_from_an_address(chrome, built):
    "Any strategy, any seed; what is unknown is left out; Stop ends all"
    state = ('#arena?prompt=The+king&seed=9&tokens=7'
             '&with=min_p.none.mirostat.best.dry.min_p')
    with opened(chrome, built, 'arena', state) as p:
        until(p, 'All have written')
        want = arena(ls.load(), 'The king', ['dry', 'min_p', 'mirostat', 'best'],
                     seed=9, max_new_tokens=7)
        here = p.locator('.llms-panel').evaluate_all(
            "l => l.map(e => [e.ariaLabel, e.querySelectorAll('bdi')[1].textContent])")
        assert sorted(here) == sorted([e.label, e.text] for e in want)
        p.get_by_label('tokens at most').fill('400')
        p.get_by_label('greedy', exact=True).check()
        p.get_by_role('button', name='Run').click()
        p.get_by_role('button', name='Stop').click()
        p.get_by_role('button', name='Run').wait_for()
        until(p, 'Stopped')


def test_settings_say_what_python_says(chrome, built):
    "The first screen is Python's; read anew, it is the same; an address brings it back"
    with opened(chrome, built, 'settings') as p:
        assert p.locator('script[src*="llm_sampling"]').count() == 0
        out = p.locator('.llms-read')
        before = out.inner_text()
        assert "order='vllm', seed=5" in before and 'min_p' in before
        p.get_by_role('button', name='Read', exact=True).click()
        until(p, 'Read, and')
        assert out.inner_text() == before
        p.get_by_label('Written for').select_option('llama_cpp')
        p.get_by_label('Configuration').fill('{"top_k": 9, "mirostat_tau": 3, '
                                             '"repeat_penalty": 1.1}')
        p.wait_for_function("document.querySelector('.llms-read pre').textContent"
                            ".includes('repetition_penalty')")
        text, address = out.inner_text(), p.url
        assert 'repeat_last_n: penalties see the last 64 tokens there' in text
    with opened(chrome, built, 'settings', '#' + address.split('#')[1]) as p:
        until(p, 'Read, and')
        assert p.locator('.llms-read').inner_text() == text


def test_hostile_configurations_stay_text(chrome, built):
    bad = ('#settings?system=none&prompt=%3Cimg%20src=x%3E%E2%80%AE&text='
           '{"<img src=x onerror=alert(1)>":1,"__proto__":2,"stop":["<b>\\u202e"]}')
    with opened(chrome, built, 'settings', bad) as p:
        until(p, 'Read, and')
        assert p.locator('[data-llms] :is(img, .llms-read b b, code b)').count() == 0
        text = p.locator('.llms-read').text_content()
        assert '<img src=x onerror=alert(1)>: it is not known' in text
        assert '__proto__: it is not known' in text and '\\u202e' in text
        assert '\u202e' not in text
        p.get_by_label('Configuration').fill('alert(1)')
        until(p, 'That does not work: line 1')


def test_two_views_on_a_page(chrome, built):
    "As on the page of the chapter: each is built once, and has its first screen"
    both = [(built/f'{view}.html').read_text() for view in ('arena', 'settings')]
    (built/'both.html').write_text(''.join(both), encoding='utf-8')
    with opened(chrome, built, 'both') as p:
        assert p.locator('.llms-panel').count() == 4
        assert p.locator('.llms-read table').count() == 1


@pytest.mark.parametrize('view', ['arena', 'settings'])
def test_views_fit_a_phone(chrome, built, view):
    "Nothing is wider than 390 px; what can be pressed is large and has a name"
    with opened(chrome, built, view) as p:
        p.set_viewport_size(dict(width=390, height=800))
        assert p.evaluate('document.documentElement.scrollWidth') <= 390
        small = p.locator('[data-llms] :is(button, select, summary, .llms-choice, '
                          'textarea, .llms-field input)').evaluate_all(
            "l => l.filter(e => e.getBoundingClientRect().height < 39.5)"
            ".map(e => e.outerHTML)")
        assert small == []
        nameless = p.locator('[data-llms] :is(button, select, input, textarea)'
                             ).evaluate_all(
            "l => l.filter(e => !(e.labels?.length || e.ariaLabel || e.textContent))"
            ".map(e => e.outerHTML)")
        assert nameless == []


def test_every_strategy_runs(lm):
    for label, spec in STRATEGIES.values():
        check_run(lm, 'The king', spec)
        assert label == label.strip()
    with pytest.raises(ValueError, match='names must be'): arena(lm, 'x', ['Greedy'])
    assert arena(lm, 'x', []) == []


def test_orders_and_parts():
    "In a chain without a cut nothing parts; where one keeps nothing, all is parted"
    z = torch.tensor([[3., 2, 1, 0]])
    same = in_orders(ls.Sampler(temperature=.7, order='mlx'), z)
    assert [*same] == ['mlx', 'transformers', 'vllm', 'llama.cpp']
    assert all(parted(a, b) == [] for a in same.values() for b in same.values())
    ban = ls.Sampler(logit_bias=dict.fromkeys(range(4), -torch.inf)).explain(z)
    whole = ls.Sampler(temperature=1.).explain(z)
    (part,), none = parted(whole, ban), parted(ban, whole)
    assert part.ids == [0, 1, 2, 3] and abs(part.mass - 1) < 1e-12 and none == []


def test_lines_fit_a_page():
    files = [*(ROOT/'web/views').glob('*.js')]
    assert len(files) > 4
    assert [f.name for f in files if re.search('.{89}', f.read_text())] == []
