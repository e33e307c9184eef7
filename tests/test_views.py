"""Playground and map as a reader meets them: by keyboard alone, on a phone, in both
themes, with hostile texts; what arena and map say against what Python says. A page of
each does for most"""
import math
import os
import re
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

import pytest
from browser import serve
from scripts import ROOT, script
from web_cases import built

import llm_sampling as ls
from llm_sampling.likely import covered
from llm_sampling.mcts import Search
from llm_sampling.metrics import rep as rep_n

screen = script('docs/first_screen.py')
VIEW = 'document.querySelector("[data-llms]").view'
HEAD = '''<!doctype html><html lang="en" data-theme="light"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>views</title>
<link rel="icon" href="data:,"><link rel="stylesheet" href="theme.css">
<link rel="stylesheet" href="custom.css"><body>'''


def theme():
    "The style sheet of the site's theme"
    import pydata_sphinx_theme
    return (Path(pydata_sphinx_theme.__file__).parent
            /'theme/pydata_sphinx_theme/static/styles/pydata-sphinx-theme.css')


@pytest.fixture(scope='module')
def url():
    "A server of pages with a view each, in the colours of the site"
    out = built()
    (out/'theme.css').write_bytes(theme().read_bytes())
    (out/'custom.css').write_bytes((ROOT/'docs/_static/custom.css').read_bytes())
    for view in ('playground', 'arena', 'map'):
        (out/f'{view}.html').write_text(HEAD + screen.html(view, '.'), encoding='utf-8')
    with serve(out) as url: yield url


def visited(view, chrome, url):
    "A page of a view, opened once; it asked nobody but its own server"
    context, log = chrome
    page, asked = context.new_page(), []
    page.on('request', lambda r: asked.append(r.url))
    page.goto(f'{url}/{view}.html')
    yield page
    page.close()
    assert log.all() == []
    assert [u for u in asked if not u.startswith((url, 'blob:', 'data:'))] == []
    assert any('weights-0.js' in u for u in asked)


@pytest.fixture(scope='module')
def desk(chrome, url): yield from visited('playground', chrome, url)


@pytest.fixture(scope='module')
def map_page(chrome, url): yield from visited('map', chrome, url)


@pytest.fixture
def opened(chrome, url):
    "`opened(view, fields)` is a page of its own with this address"
    pages = []
    def open_page(name, fields):
        pages.append(page := chrome[0].new_page())
        page.goto(f'{url}/{name}.html#{fields}')
        return page
    yield open_page
    for page in pages: page.close()
    assert chrome[1].all() == []


def settled(page, n):
    "Wait until so many tokens are there, and what may follow them"
    page.wait_for_function(
        f'{VIEW}.entries.length === {n} && !{VIEW}.stale && !{VIEW}.playing')


def written(page): return page.evaluate(f'{VIEW}.state.written.map(w => [w.id, w.why])')

def said(page): return page.locator('[role=status]').first.text_content()

def focused(page):
    return page.evaluate('document.activeElement.ariaLabel '
                         '|| document.activeElement.textContent')

def tab_to(page, text):
    "Press Tab until something of this name has the focus"
    for _ in range(40):
        page.keyboard.press('Tab')
        if re.search(text, focused(page)): return
    pytest.fail(f'Tab does not lead to {text}')


def test_size_is_said_before_the_load(desk):
    size, = re.findall(r'SIZE = (\d+)', desk.evaluate(
        'fetch("views.js").then(r => r.text())'))
    assert f'({int(size) / 1e6:.0f} MB)' in said(desk) and int(size) > 1e7
    assert desk.locator('script[src*="llm_sampling"]').count() == 0


def test_keyboard_alone(desk):
    "From the beginning typed to a forced token, and back to a branch"
    desk.keyboard.press('Tab')
    assert desk.evaluate('document.activeElement.tagName') == 'TEXTAREA'
    desk.keyboard.press('Control+A')
    desk.keyboard.type('The king said')
    desk.wait_for_function(f'{VIEW}.typed && {VIEW}.shown && !{VIEW}.stale')
    tab_to(desk, '^Step$')
    for n in (1, 2):
        desk.keyboard.press('Enter')
        settled(desk, n)
    desk.wait_for_function('document.querySelector("[role=status]").textContent'
                           '.startsWith("Written: ")')
    drawn = written(desk)
    tab_to(desk, '^write ')
    for _ in range(3): desk.keyboard.press('Tab')
    desk.keyboard.press('Enter')
    settled(desk, 3)
    assert written(desk)[:2] == drawn and written(desk)[2][1] == 'f'
    while not desk.evaluate('document.activeElement.dataset.place'):
        desk.keyboard.press('Shift+Tab')
    for key, place in (('Home', '0'), ('ArrowRight', '1'), ('End', '2'),
                       ('ArrowLeft', '1')):
        desk.keyboard.press(key)
        assert desk.evaluate('document.activeElement.dataset.place') == place
    desk.keyboard.press('Enter')
    desk.wait_for_function(f'{VIEW}.at === 1 && !{VIEW}.stale')
    tab_to(desk, '^write (?!.*written here)')
    desk.keyboard.press('Enter')
    settled(desk, 2)
    assert written(desk)[0] == drawn[0] and written(desk)[1][0] != drawn[1][0]


def test_play_writes_python_s_text(desk):
    "Play until Pause; Undo takes all of it back, and Step writes one of the tokens"
    desk.get_by_role('button', name='Start again').click()
    settled(desk, 0)
    desk.get_by_role('button', name='▶ Play').click()
    desk.wait_for_function(f'{VIEW}.entries.length > 3')
    desk.get_by_role('button', name='Pause').click()
    desk.get_by_role('button', name='▶ Play').wait_for()
    ids = [id for id, _ in written(desk)]
    settled(desk, len(ids))
    want = ls.generate(ls.load(), 'The king said',
                       ls.Sampler(temperature=.8, top_p=.9, seed=1),
                       max_new_tokens=len(ids))
    assert ids == want.ids[0].tolist()
    assert f'{len(ids)} tokens written' in said(desk)
    desk.get_by_role('button', name='Undo').click()
    settled(desk, 0)
    desk.get_by_role('button', name='Step', exact=True).click()
    settled(desk, 1)
    assert written(desk) == [[ids[0], '']]


def force_a_surprise(page):
    "Write the least likely of the bars, so that the text is strongly coloured"
    n = len(written(page))
    page.locator('.llms-token-row:visible').last.click()
    settled(page, n + 1)


# what lies behind a text, half-transparent colours laid over each other
LEGIBLE = '''() => {
  const canvas = document.createElement("canvas").getContext(
    "2d", {willReadFrequently: true});
  const paint = s => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = s; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255]; };
  const over = (top, low) => top.map((v, i) => v * top[3] + low[i] * (1 - top[3]));
  const behind = e => {
    const c = paint(getComputedStyle(e).backgroundColor);
    return c[3] > .99 || !e.parentElement ? c : over(c, behind(e.parentElement)); };
  const light = c => c.slice(0, 3).map(v => v / 255)
    .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
  const ratio = (a, b) => {
    const [x, y] = [light(a), light(b)].sort((p, q) => q - p);
    return (x + .05) / (y + .05); };
  const own = e => e.value || [...e.childNodes].some(
    n => n.nodeType === 3 && n.textContent.trim());
  return [...document.querySelectorAll("[data-llms] *")]
    .filter(e => e.getClientRects().length && own(e) && !e.disabled)
    .filter(e => !/PROGRESS|SCRIPT/.test(e.tagName) && e.type !== "range")
    .map(e => [ratio(paint(getComputedStyle(e).color), behind(e)),
               e.outerHTML.slice(0, 90)]);
}'''
QUICK = '[data-llms] * { transition: none !important }'


def test_legible_in_light_and_dark(desk):
    force_a_surprise(desk)
    desk.add_style_tag(content=QUICK)
    for name in ('More knobs', 'The same tokens in Python'):
        desk.get_by_text(name).click()
    surprise = desk.locator('.llms-token').last.evaluate(
        'e => parseFloat(e.style.getPropertyValue("--surprise"))')
    assert surprise > 20
    for mode in ('light', 'dark'):
        desk.evaluate('t => { document.documentElement.dataset.theme = t }', mode)
        seen = desk.evaluate(LEGIBLE)
        assert len(seen) > 60 and [r for r in seen if r[0] < 4.5] == [], mode
    desk.evaluate('document.documentElement.dataset.theme = "light"')


FINGERS = '''() => [...document.querySelectorAll(
    "[data-llms] :is(button, input, select, textarea, summary)")]
  .filter(e => e.getClientRects().length)
  .map(e => [e.type === "checkbox" ? e.parentElement : e, e.outerHTML.slice(0, 90)])
  .map(([e, said]) => [e.getBoundingClientRect(), said])
  .filter(([{width, height}]) => width < 39.5 || height < 39.5)
  .map(([{width, height}, said]) => [width, height, said])'''
WIDE = '''() => [document.documentElement.scrollWidth,
  ...[...document.querySelectorAll("[data-llms] *")]
    .filter(e => e.getBoundingClientRect().right > 391 && !e.closest("pre, .llms-wide"))
    .map(e => e.outerHTML.slice(0, 90))]'''


@pytest.fixture
def phone(desk):
    desk.set_viewport_size({'width': 390, 'height': 844})
    yield desk
    desk.set_viewport_size({'width': 1280, 'height': 900})


def test_whole_on_a_phone(phone):
    assert phone.evaluate(WIDE) == [390]
    assert phone.evaluate(FINGERS) == []


def test_nothing_moves_where_motion_is_reduced(opened, url):
    page = opened('playground', '')
    moving = '''() => [...document.querySelectorAll("[data-llms] *")].filter(e => {
      const {transitionDuration: t, animationName: a} = getComputedStyle(e);
      return parseFloat(t) > 0 || a !== "none"; }).length'''
    assert page.evaluate(moving) > 0
    page.emulate_media(reduced_motion='reduce')
    assert page.evaluate(moving) == 0


def test_what_a_screen_reader_says(desk):
    "Each control has a name, sliders say their values, tokens how likely they were"
    seen = desk.locator('[data-llms]').aria_snapshot()
    controls = re.findall(r'^\s*- (button|textbox|slider|combobox|checkbox)(.*)', seen,
                          flags=re.M)
    assert len(controls) > 25
    assert [c for c in controls if not c[1].startswith(' "')] == []
    assert desk.get_by_role('textbox', name='Type a beginning').count() == 1
    slider = desk.get_by_role('slider', name='top-p')
    assert slider.get_attribute('aria-valuetext') == '0.9'
    token = desk.locator('.llms-token').last
    assert re.search(r'\d\s%', token.get_attribute('aria-label'))
    rows = desk.get_by_role('group', name='chances of the next token')
    assert rows.get_by_role('button').count() >= 10


HOSTILE = ('<img src=x onerror="window.hacked=1"><script>window.hacked=2</script>'
           '\u202eabc\u2066\x1b[31m\x07</textarea>{{7*7}}')


def test_hostile_texts_stay_texts(desk, opened):
    "As a prompt that is typed; as tokens and state of an address"
    desk.locator('textarea').fill(HOSTILE)
    desk.wait_for_function(f'{VIEW}.state.prompt.length > 40 && {VIEW}.shown'
                           f' && !{VIEW}.stale')
    tokens = ls.load().tokenizer.encode('\x1b\x07<b>\x00<script>')
    fields = urlencode(dict(
        prompt='</script>' + HOSTILE, seed='1<b>', order='__proto__', top_k='1e999',
        temperature='<i>', constructor='1', written='.'.join(
            [*(f'{i}f' for i in tokens), '99999', '<b>', '-1', '7x'])))
    other = opened('playground', f'play?{fields}')
    settled(other, len(tokens))
    assert other.evaluate(f'{VIEW}.state.knobs') == {}
    for page in (desk, other):
        assert page.evaluate('window.hacked') is None
        assert page.locator('[data-llms] :is(img, script, b b, i)').count() == 0
        shown = page.locator('.llms-text').text_content()
        assert '<img src=x' in shown and '\\u202eabc\\u2066\\x1b' in shown
        assert not re.search('[\u202e\u2066\x1b\x07]', page.locator(
            '[data-llms]').evaluate('e => e.innerText'))


def test_an_address_brings_back_what_one_sees(desk, opened):
    fields = urlencode(dict(prompt='The old man', temperature=.7, top_k=20, min_p=.05,
                            dry_multiplier=.8, order='llama.cpp', seed=7,
                            written='290.265f'))
    first = opened('playground', f'play?{fields}')
    settled(first, 2)
    first.get_by_role('button', name='Step', exact=True).click()
    settled(first, 3)
    first.wait_for_function('location.hash.split(".").length > 3')
    second = opened('playground', first.url.split('#')[1])
    settled(second, 3)
    seen = [page.locator('.llms-status ~ *').all_inner_texts()
            + page.locator('[data-llms] :is(input, select, textarea)').evaluate_all(
                'l => l.map(e => e.value)') for page in (first, second)]
    assert seen[0] == seen[1] and 'The old man' in str(seen[0])
    assert 'llama.cpp' in seen[0] and '7' in seen[0]


def test_arena_measures_what_python_measures(opened):
    """Rep-4, mean log-probability and tokens evaluated, of each second strategy (of
    all in a long run); what Python shall do is read from the page"""
    page = opened('arena', '')
    prompt, n = 'the cat sat on the mat, the cat sat on the', 16
    keys = page.evaluate(f'Object.keys({VIEW}.boxes)')
    assert len(keys) == page.locator('.llms-choice').count() > 8
    if not os.environ.get('LLM_SAMPLING_LONG'): keys = keys[::2]
    page.evaluate('h => { location.hash = h }', 'arena?' + urlencode(
        {'prompt': prompt, 'seed': 5, 'tokens': n, 'with': '.'.join(keys)}))
    page.wait_for_function(
        'document.querySelector("[role=status]").textContent === "All have written."')
    code = page.locator('[data-llms] pre').text_content()
    shares = []
    for i, line in enumerate(code.splitlines()[-len(keys):]):
        out = eval(line, dict(ls=ls, lm=ls.load()))
        panel = page.locator('.llms-panel').nth(i)
        assert panel.locator('.llms-arena-text').text_content() == prompt + out.texts[0]
        rep, logprob, read = panel.locator('dd').all_inner_texts()
        shares.append(100 * rep_n(out)[0].item())
        assert abs(float(rep.rstrip('\xa0%').replace('<', '')) - shares[-1]) < .51
        assert abs(float(logprob) - out.logprobs[0].mean().item()) < .0051
        assert int(read.replace(',', '')) == out.stats['tokens_evaluated']
    assert max(shares) > 5 > min(shares)


# --- the map ---

PROMPT, DEPTH = 'In the forest there lived', 5


def ready(page):
    "Wait until the map has done what it was asked"
    page.wait_for_function(f'!{VIEW}.running')


def order(page):
    return page.evaluate(f'{VIEW}.order.map(p => [p.ids, p.mass, p.top, p.ended])')


def same_order(shown, wanted):
    "The same beginnings, but for those that change places at equal probability"
    assert len(shown) == len(wanted)
    ids = {tuple(b.ids): b for b in wanted}
    assert {tuple(i) for i, *_ in shown} == {*ids}
    for (path, mass, top, ended), at in zip(shown, wanted):
        b = ids[tuple(path)]
        assert abs(math.log(mass) - b.logprob) < 1e-4 and abs(top - b.top) < 1e-4
        assert abs(b.logprob - at.logprob) < 1e-4 and ended == b.ended


def test_the_map_is_there_before_the_model(map_page):
    assert map_page.locator('script[src*="llm_sampling"]').count() == 0
    wanted = ls.likeliest(ls.load(), PROMPT, num_nodes=150, max_new_tokens=DEPTH)
    same_order(order(map_page), wanted)
    assert map_page.locator('[role=treeitem]').count() > 60
    assert 'MB)' in said(map_page)


def test_the_map_grows_as_python_s_does(map_page):
    "And the heads of its columns tell the mass that is covered"
    map_page.get_by_role('button', name='Grow').click()
    map_page.wait_for_function(f'{VIEW}.order.length === 300', timeout=120_000)
    ready(map_page)
    wanted = ls.likeliest(ls.load(), PROMPT, num_nodes=300, max_new_tokens=DEPTH)
    same_order(order(map_page), wanted)
    heads = map_page.locator('.llms-map-heads span').all_inner_texts()
    assert len(heads) == DEPTH
    for d, head in enumerate(heads, 1):
        shown = float(re.search(r': ([\d.]+)\s%', head)[1])
        assert abs(shown - 100 * covered(wanted, d)) < .51
    first = next(i for i, b in enumerate(wanted, 1) if b.ended)
    assert f'most probable whole text is number {first}: ' in said(map_page)


def walk_to(page, step):
    page.locator('.llms-walk input').fill(str(step))
    return page.locator('.llms-note[aria-live]').text_content()


def shares(text): return [float(p) for p in re.findall(r'([\d.]+)\s%', text)]


def test_beams_on_the_map(map_page):
    map_page.locator('select').select_option('beams4')
    map_page.wait_for_function(f'{VIEW}.steps.length === {DEPTH}')
    ready(map_page)
    for t in (1, 3):
        known = ls.likeliest(ls.load(), PROMPT, num_nodes=60, max_new_tokens=t)
        out = ls.beam_search(ls.load(), PROMPT, num_beams=4, num_return_sequences=4,
                             max_new_tokens=t, eos_token_id=())
        ids = {tuple(row.tolist()) for row in out.ids}
        here = [b for b in known if b.depth == t]
        want = [100 * sum(b.mass for b in some)
                for some in ([b for b in here if tuple(b.ids) in ids], here[:4])]
        found = shares(walk_to(map_page, t))
        assert len(found) == 2
        assert all(abs(a - b) < .51 for a, b in zip(found, want)), (t, found, want)


def test_groups_and_drawn_texts_on_the_map(map_page):
    "What two groups hold is counted once; drawn texts are those that Python draws"
    known = {tuple(b.ids): b.mass for b in ls.likeliest(
        ls.load(), PROMPT, num_nodes=200, max_new_tokens=1)}
    for search, python in (
            ('diverse4', partial(ls.diverse_beam_search, num_beam_groups=4)),
            ('drawn4', partial(ls.stochastic_beam_search, seed=1))):
        map_page.locator('select').select_option(search)
        map_page.wait_for_function(f'{VIEW}.state.search === "{search}"'
                                   f' && {VIEW}.steps.length')
        ready(map_page)
        n = {} if search == 'drawn4' else dict(num_return_sequences=4)
        out = python(ls.load(), PROMPT, num_beams=4, max_new_tokens=1, **n)
        own = {tuple(row.tolist()) for row in out.ids}
        text = walk_to(map_page, 1)
        assert abs(shares(text)[0] - 100 * sum(map(known.get, own))) < .51
        assert (f'{len(own)} beginnings' in text) == (len(own) < 4)


def test_tree_search_on_the_map(map_page):
    "After each of thirty simulations: visits, and the best text, as in Python"
    map_page.locator('select').select_option('tree')
    map_page.wait_for_function(f'{VIEW}.steps.length === 30')
    ready(map_page)
    search = Search(ls.TokenTree(ls.load(), PROMPT), max_new_tokens=DEPTH, leaves=1,
                    ended=lambda row, ids: ids[-1] == 0)
    for n in range(1, 31):
        search.simulate([1])
        if n % 10: continue
        text = walk_to(map_page, n)
        assert abs(shares(text)[-1] - 100 * math.exp(search.best[0].value)) < .051
        visits, todo = {}, [search.roots[0]]
        while todo:
            node = todo.pop()
            if node.visits and node.ids:
                visits['.'.join(map(str, node.ids))] = node.visits
            todo += node.children.values()
        assert map_page.evaluate(f"""Object.fromEntries([...{VIEW}.marks()]
            .filter(([_, m]) => m.visits).map(([k, m]) => [k, m.visits]))""") == visits


def tile(page): return page.evaluate('document.activeElement.dataset.key')


def test_the_map_by_keyboard(map_page):
    "Tab comes to one place; arrows walk, Enter looks closer, Escape steps back"
    for _ in range(40):
        map_page.keyboard.press('Tab')
        if tile(map_page): break
    first = tile(map_page)
    map_page.keyboard.press('ArrowDown')
    second = tile(map_page)
    map_page.keyboard.press('ArrowUp')
    assert tile(map_page) == first != second
    map_page.keyboard.press('ArrowRight')
    inner = tile(map_page)
    assert inner.startswith(f'{first}.')
    map_page.keyboard.press('ArrowLeft')
    assert tile(map_page) == first
    map_page.keyboard.press('Enter')
    assert map_page.evaluate(f'{VIEW}.state.at.join(".")') == first
    assert tile(map_page).startswith(f'{first}.')
    mass = map_page.evaluate(f'{VIEW}.order.find(p => p.ids.join(".") === "{inner}")'
                             '.share')
    high, whole = (map_page.locator(s).first.bounding_box()['height']
                   for s in (f'[data-key="{inner}"]', '.llms-map'))
    assert abs(high - mass * whole) < 1
    map_page.keyboard.press('Tab')
    assert not tile(map_page), 'more than one place of the map is a stop of Tab'
    map_page.keyboard.press('Shift+Tab')
    map_page.keyboard.press('Escape')
    assert map_page.evaluate(f'{VIEW}.state.at') == [] and tile(map_page) == first


def test_the_map_is_legible_and_named(map_page):
    map_page.add_style_tag(content=QUICK)
    for mode in ('light', 'dark'):
        map_page.evaluate('t => { document.documentElement.dataset.theme = t }', mode)
        seen = map_page.evaluate(LEGIBLE)
        assert len(seen) > 40 and [r for r in seen if r[0] < 4.5] == [], mode
    map_page.evaluate('document.documentElement.dataset.theme = "light"')
    names = map_page.locator('[role=treeitem]').evaluate_all(
        'l => l.map(e => e.ariaLabel)')
    assert len(names) > 60
    assert all(re.search(r', \S+\s% here, \S+\s% of all', n) for n in names)
    controls = re.findall(r'^\s*- (button|textbox|slider|combobox|spinbutton)(.*)',
                          map_page.locator('[data-llms]').aria_snapshot(), flags=re.M)
    assert len(controls) >= 7
    assert [c for c in controls if not c[1].startswith(' "')] == []


def test_the_map_on_a_phone(map_page):
    map_page.set_viewport_size({'width': 390, 'height': 844})
    map_page.wait_for_function(
        'document.querySelectorAll(".llms-map-heads span").length === 3')
    wide, pinched = map_page.evaluate(WIDE), map_page.evaluate(FINGERS)
    map_page.set_viewport_size({'width': 1280, 'height': 900})
    assert wide == [390] and pinched == []


def test_a_press_while_the_map_grows(opened):
    "Tiles are made anew between finger down and finger up; the press counts"
    page = opened('map', 'map?prompt=The&nodes=40')
    page.wait_for_function(f'{VIEW}.order.length === 40')
    ready(page)
    tile = page.locator('[role=treeitem]').first
    tile.scroll_into_view_if_needed()
    box = tile.bounding_box()
    page.mouse.move(box['x'] + 5, box['y'] + 5)
    page.mouse.down()
    page.evaluate(f'{VIEW}.draw()')
    page.mouse.up()
    assert len(page.evaluate(f'{VIEW}.state.at')) == 1


def test_an_address_of_the_map(opened):
    "It brings back tree, place and search; what is hostile in it stays text"
    fields = urlencode(dict(prompt='<script>window.hacked=1</script>\u202eThe', depth=3,
                            nodes=40, search='beams2', step=2))
    page = opened('map', f'map?{fields}')
    page.wait_for_function(f'{VIEW}.steps.length === 3')
    ready(page)
    page.locator('[role=treeitem]').first.click()
    page.get_by_role('button', name='Grow').click()
    page.wait_for_function(f'{VIEW}.running')
    ready(page)
    page.wait_for_function('location.hash.includes("at=")')
    other = opened('map', page.url.split('#')[1])
    other.wait_for_function(f'{VIEW}.steps.length === 3')
    ready(other)
    seen = [[p.locator('[role=treeitem]').evaluate_all('l => l.map(e => e.ariaLabel)'),
             p.locator('.llms-note[aria-live]').text_content(),
             p.locator('.llms-path').inner_text()] for p in (page, other)]
    assert seen[0] == seen[1] and len(seen[0][0]) > 5
    assert page.evaluate('window.hacked') is None
    assert page.locator('[data-llms] script').count() == 0
    page.evaluate('h => { location.hash = h }', 'map?' + urlencode(dict(
        prompt='x', depth='1e9', nodes='-1', search='constructor', at='<b>.99999',
        step='NaN')))
    page.wait_for_function(f'{VIEW}.state.prompt === "x" && !{VIEW}.running')
    assert page.evaluate(f'{VIEW}.state') == dict(
        prompt='x', depth=8, nodes=150, search='none', step=1, at=[])
