"""The playground as a reader meets it: by keyboard alone, on a phone, in both themes, with
hostile texts; and the numbers of the arena against Python's. One page does for most"""
import os
import re
from pathlib import Path
from urllib.parse import urlencode

import pytest
from browser import serve
from scripts import ROOT, script
from web_cases import built

import llm_sampling as ls
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
    for view in ('playground', 'arena'):
        (out/f'{view}.html').write_text(HEAD + screen.html(view, '.'), encoding='utf-8')
    with serve(out) as url: yield url


@pytest.fixture(scope='module')
def desk(chrome, url):
    "The playground, opened once; it asked nobody but its own server"
    context, log = chrome
    page, asked = context.new_page(), []
    page.on('request', lambda r: asked.append(r.url))
    page.goto(f'{url}/playground.html')
    yield page
    page.close()
    assert log.all() == []
    assert [u for u in asked if not u.startswith((url, 'blob:', 'data:'))] == []
    assert any('weights-0.js' in u for u in asked)


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
    for name in ('More knobs', 'The same tokens in Python'): desk.get_by_text(name).click()
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
    .filter(e => e.getBoundingClientRect().right > 391 && !e.closest("pre"))
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
    "Each control has a name, each slider says its value, tokens say how likely they were"
    seen = desk.locator('[data-llms]').aria_snapshot()
    controls = re.findall(r'^\s*- (button|textbox|slider|combobox|checkbox)(.*)', seen,
                          flags=re.M)
    assert len(controls) > 25
    assert [c for c in controls if not c[1].startswith(' "')] == []
    assert desk.get_by_role('textbox', name='Type a beginning').count() == 1
    slider = desk.get_by_role('slider', name='top-p')
    assert slider.get_attribute('aria-valuetext') == '0.9'
    assert re.search(r'\d %', desk.locator('.llms-token').last.get_attribute('aria-label'))
    rows = desk.get_by_role('group', name='chances of the next token')
    assert rows.get_by_role('button').count() >= 10


HOSTILE = ('<img src=x onerror="window.hacked=1"><script>window.hacked=2</script>'
           '\u202eabc\u2066\x1b[31m\x07</textarea>{{7*7}}')


def test_hostile_texts_stay_texts(desk, opened):
    "As a prompt that is typed; as tokens and state of an address"
    desk.locator('textarea').fill(HOSTILE)
    desk.wait_for_function(f'{VIEW}.state.prompt.length > 40 && {VIEW}.shown'
                           f' && !{VIEW}.stale')
    tokens = ls.load().tokenizer.encode(HOSTILE)
    fields = urlencode(dict(
        prompt='</script>' + HOSTILE, seed='1<b>', order='__proto__', top_k='1e999',
        temperature='<i>', constructor='1', written='.'.join(
            [*(f'{i}f' for i in tokens[:8]), '99999', '<b>', '-1', '7x'])))
    other = opened('playground', f'play?{fields}')
    settled(other, 8)
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
    """Rep-4, mean log-probability and tokens evaluated, of each second strategy (of all
    in a long run); what Python shall do is read from the page"""
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
        assert abs(float(rep.rstrip(' %').replace('<', '')) - shares[-1]) < .51
        assert abs(float(logprob) - out.logprobs[0].mean().item()) < .0051
        assert int(read.replace(',', '')) == out.stats['tokens_evaluated']
    assert max(shares) > 5 > min(shares)
