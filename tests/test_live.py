"""Views in a notebook: the kernel answers as the engine of a page does, with any model,
and what is hostile or wrong stays text; views that are stored with chapters are true"""
import asyncio
import json
import re
import threading

import nbformat
import pytest
from browser import serve
from scripts import ROOT, script
from test_answers import QUESTIONS
from test_views import FINGERS, HEAD, LEGIBLE, WIDE, theme
from web_cases import built, close

import llm_sampling as ls
from llm_sampling.answers import answers
from llm_sampling.default_model import new_model
from llm_sampling.live import SHOWN, LiveView, view

screen = script('docs/first_screen.py')
ASK = '''async ([method, params]) => {
  const steps = [], step = said => steps.push(said)
  const last = await llmSampling.engine.call(method, params, {step})
  return [...steps, last]
}'''


@pytest.fixture(scope='module')
def url():
    out = built()
    (out/'theme.css').write_bytes(theme().read_bytes())
    (out/'custom.css').write_bytes((ROOT/'docs/_static/custom.css').read_bytes())
    for name in ('views.js', 'views.css'):
        (out/f'live-{name}').write_bytes((ROOT/'llm_sampling/data'/name).read_bytes())
    (out/'stored.html').write_text(HEAD + ''.join(html for _, html in stored())
                                   + screen.scripts('.'), encoding='utf-8')
    (out/'live.html').write_text(HEAD + '<link rel=stylesheet href=live-views.css>'
                                 '<div id=el></div>')
    with serve(out) as url: yield url


@pytest.fixture
def opened(chrome, url):
    pages = []
    def open_page(name):
        pages.append(page := chrome[0].new_page())
        page.goto(f'{url}/{name}.html')
        return page
    yield open_page
    for page in pages: page.close()
    assert chrome[1].all() == []


@pytest.fixture(scope='module')
def page_of_all(chrome, url):
    "A page with all views that are stored, and the engine"
    page = chrome[0].new_page()
    page.goto(f'{url}/stored.html')
    page.add_script_tag(url='llm_sampling.js')
    page.add_style_tag(content='[data-llms] * { transition: none !important }')
    page.wait_for_function('document.styleSheets.length > 3')
    yield page
    page.close()
    assert chrome[1].all() == []


def stored():
    "Views that are stored with notebooks: chapter and HTML"
    paths = sorted(ROOT.glob('nbs/*.ipynb'))
    return [(path.stem, o.data['text/html']) for path in paths
            for cell in nbformat.read(path, 4).cells for o in cell.get('outputs', [])
            if '<div data-llms=' in o.get('data', {}).get('text/html', '')]


def same(python, page):
    "What Python says, and the page; the page may say more"
    if isinstance(python, dict):
        assert {*python} <= {*page}
        for key in python: same(python[key], page[key])
    elif isinstance(python, list):
        assert len(python) == len(page)
        for a, b in zip(python, page): same(a, b)
    elif isinstance(python, float): assert close(python, page), (python, page)
    else: assert python == page


def test_the_kernel_says_what_the_engine_says(page_of_all):
    for method, params in QUESTIONS:
        told = [*answers(ls.load(), method, params)]
        assert [kind for kind, _ in told] == ['step'] * (len(told) - 1) + ['result']
        here, there = [s for _, s in told], page_of_all.evaluate(
            ASK, [method, params])
        if method == 'generate':               # a text may wait for a whole character
            for said in (here, there):
                said[:-1] = [[s['id'] for s in said[:-1]],
                             ''.join(s['text'] for s in said[:-1])]
        if len(told) == 1: there = there[-1:]            # the kernel tells no steps
        json.dumps(here, allow_nan=False)
        same(here, there)


LIVE = '''async state => {
  const {default: widget} = await import("./live-views.js")
  const heard = [], model = {
    get: name => state[name], on: (_, f) => heard.push(f), off() {},
    async send(message) {
      for (const said of await kernel(message)) heard.forEach(f => f(said))
    }}
  const el = document.querySelector("#el")
  widget.render({model, el})
}'''
VIEW = 'document.querySelector("[data-llms]").view'


def aside(f):
    "Call in a thread of its own: this one has the loop of the browser"
    thread = threading.Thread(target=f)
    thread.start()
    thread.join()


def live(page, box):
    "A view in a page, where `kernel` is Python"
    def kernel(message):
        said = []
        box.send = said.append
        aside(lambda: box._hear(box, message, []))
        return said
    page.expose_function('kernel', kernel)
    page.evaluate(LIVE, {k: getattr(box, k) for k in box.keys if k in (
        'view', 'screen', 'offer', 'python', 'ends')})


def test_a_lens_asks_python(opened):
    "Steps are those of `generate`; hostile texts and errors are shown as text"
    page, box = opened('live'), view('lens', prompt='The king said', top_p=.9)
    live(page, box)
    for n in range(1, 5):
        page.get_by_role('button', name='Step', exact=True).click()
        page.wait_for_function(f'{VIEW}.entries.length === {n} && !{VIEW}.stale')
    want = ls.generate(ls.load(), 'The king said', ls.Sampler(top_p=.9, seed=1),
                       max_new_tokens=4).ids[0].tolist()
    assert page.evaluate(f'{VIEW}.state.written.map(w => w.id)') == want
    page.locator('textarea').fill('<img src=x onerror="window.hacked=1">\u202e\x07')
    page.wait_for_function(f'{VIEW}.state.prompt.length > 30 && !{VIEW}.stale')
    assert page.evaluate('window.hacked') is None
    assert page.locator('[data-llms] img').count() == 0
    assert '\\u202e\\x07' in page.locator('.llms-text').text_content()
    box.lm = ls.LanguageModel(box.lm.model)              # no tokenizer: it cannot read
    page.locator('textarea').fill('The')
    page.wait_for_function('document.querySelector("[role=status]").textContent'
                           '.startsWith("That does not work")')
    assert page.url.endswith('live.html')                # its address is another's


@pytest.mark.long
def test_arena_and_map_ask_python(opened):
    page = opened('live')
    live(page, view('arena', names=['top_p', 'beams', 'best'], max_new_tokens=8))
    before = page.locator('.llms-arena').inner_text()
    page.get_by_role('button', name='Run').click()
    page.wait_for_function('document.querySelector("[role=status]").textContent'
                           ' === "All have written."')
    assert page.locator('.llms-arena').inner_text() == before
    page = opened('live')
    live(page, view('map', search='tree', num_nodes=20, max_new_tokens=3))
    page.get_by_role('button', name='Grow').click()
    page.wait_for_function(f'{VIEW}.steps.length === 30 && !{VIEW}.running')
    assert page.evaluate(f'{VIEW}.order.length') == 170


def test_configurations_ask_python(opened):
    "Of any model: what is read, what is not honoured, what is wrong"
    page, own = opened('live'), ls.LanguageModel(new_model(4096, 32, 1, 2),
                                                 ls.load().tokenizer)
    box = view('settings', own, 'The king', system='llama_cpp', given=dict(top_k=9))
    live(page, box)
    out, told = page.locator('.llms-read'), page.locator('[role=status]')
    before = out.inner_text()
    assert 'top_k=9' in before and 'lm = ls.load()' not in out.text_content()
    page.get_by_role('button', name='Read', exact=True).click()
    page.wait_for_function('document.querySelector("[role=status]").textContent'
                           ' === "Read, and computed by the kernel."')
    assert out.inner_text() == before
    page.get_by_label('Configuration').fill('{"top_k": 3, "<img src=x>\u202e": 1}')
    page.wait_for_function('document.querySelector(".llms-read").textContent'
                           '.includes("it is not known")')
    assert 'top_k=3' in out.inner_text() and '<img src=x>\\u202e' in out.inner_text()
    assert page.locator('[data-llms] img').count() == 0
    page.get_by_label('Configuration').fill('{"top_k": "many"}')
    page.wait_for_function('document.querySelector("[role=status]").textContent'
                           '.startsWith("That does not work")')
    assert 'many' in told.text_content() and page.url.endswith('live.html')


def test_stored_views_are_true(page_of_all):
    "On one page: each shows the knobs it names, and the engine says what is stored"
    views, roots = stored(), page_of_all.locator('[data-llms]')
    assert roots.count() == len(views) > 15
    for i, (chapter, html) in enumerate(views):
        kept = json.loads(re.search(r'<script[^>]*>(.*?)</script>', html, re.S)[1])
        if 'system' in kept['state']:
            roots.nth(i).evaluate('e => e.view.refresh()')
            same(kept['first'], roots.nth(i).evaluate('e => e.view.shown'))
        if 'show' not in kept['state']: continue
        assert {*kept['state']['show']} <= {*SHOWN}, chapter
        knobs = roots.nth(i).locator('.llms-knobs > *')
        assert knobs.count() == len(kept['state']['show']) > 0, chapter
        roots.nth(i).evaluate('e => e.view.refresh()')
        now = roots.nth(i).evaluate('e => e.view.shown')
        same(kept['first'], now)
        assert kept['first']['steps'][1:] or not kept['state']['knobs'], chapter


def test_a_lens_is_whole_legible_and_named(page_of_all):
    page = page_of_all
    page.set_viewport_size({'width': 390, 'height': 844})
    assert page.evaluate(WIDE) == [390] and page.evaluate(FINGERS) == []
    for mode in ('light', 'dark'):
        page.evaluate('t => { document.documentElement.dataset.theme = t }', mode)
        assert [r for r in page.evaluate(LEGIBLE) if r[0] < 4.5] == [], mode
    names = re.findall(r'^\s*- (button|textbox|slider|combobox|checkbox)(.*)', page
                       .locator('[data-llms=lens]').first.aria_snapshot(), re.M)
    assert len(names) > 9 and [n for n in names if not n[1].startswith(' "')] == []


def test_sliders_have_the_names_that_python_knows():
    table = (ROOT/'web/views/state.js').read_text().split('SLIDERS = {')[1]
    table = table.split('\n}\n')[0]
    sliders = re.findall(r'^  (\w+): \{label', table, re.M)
    assert [*sliders, 'seed', 'dice', 'order'] == [*SHOWN] and len(sliders) > 15


def test_wrong_views_are_refused(lm):
    for given, words in ((dict(name='len'), 'name must be'),
                         (dict(name='lens', show='top_x'), "'top_x'"),
                         (dict(name='lens', top_p=2), 'top_p must be'),
                         (dict(name='arena', names=['gredy']), 'names must be'),
                         (dict(name='map', search='bfs'), 'search must be'),
                         (dict(name='map', top_k=3), 'name of a knob must be'),
                         (dict(name='settings', top_k=3), 'name of a knob must be'),
                         (dict(name='settings', system='x'), 'system must be'),
                         (dict(name='settings', given=dict(top_p='a')), 'top_p')):
        with pytest.raises(ValueError, match=words): view(**given)
    with pytest.raises(ValueError, match='tokenizer'):
        view('lens', ls.LanguageModel(lm.model))


def test_a_model_of_ones_own_is_stored_as_a_table(lm):
    own = ls.LanguageModel(new_model(4096, 32, 1, 2), lm.tokenizer)
    html = view('lens', own, '<script>x').to_html()
    assert '<script' not in html and 'data-llms' not in html and '&lt;script' in html
    html = view('lens', prompt='</script><b>').to_html()
    assert html.count('</script>') == 1 and '<b>' not in html


def test_a_stopped_question_ends():
    "And others go on meanwhile"
    box, said = view('lens', top_k=9), []
    box.send = said.append
    async def two():
        for id in 'ab':
            box._hear(box, dict(type='call', id=id, method='generate', params=dict(
                prompt='The king', options=dict(max_new_tokens=8))), [])
        while len(said) < 4: await asyncio.sleep(0)
        box._hear(box, dict(type='stop', id='b'), [])
        await asyncio.gather(*box.tasks)
    aside(lambda: asyncio.run(two()))
    assert {m['id'] for m in said[:4]} == {'a', 'b'}
    ends = {m['id']: m['value'] for m in said if m['type'] == 'result'}
    assert ends['b'] is None and len(ends['a']['rows'][0]['ids']) == 8
    assert not box.stopped and isinstance(box, LiveView)
