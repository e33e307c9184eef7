"""The player of frames: what Python makes of figures, and what a browser makes of that,
without a kernel"""
import re
from html.parser import HTMLParser

import pytest
from browser import serve

pytest.importorskip('anywidget')
from llm_sampling.plots import plot_lines, plot_probs
from llm_sampling.widgets import Frames, frames, slider_bars
from matplotlib import pyplot as plt
from traitlets import TraitError

NAMES = ['</script><b>x</b>', '<!--<script>', ' id="axes_1" href="#a"', 'a -->b',
         'a\u2028b & c']


class Page(HTMLParser):
    "Tags, ids and references of an HTML text, those inside scripts not among them"
    def __init__(self, html):
        super().__init__()
        self.tags, self.ids, self.refs, self.text = [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for k, v in attrs:
            if k == 'id': self.ids.append(v)
            self.refs += re.findall(r'url\(#(.*?)\)',
                                    v or '') + ([v[1:]] if k.endswith('href') else [])

    def handle_data(self, data): self.text.append(data)


def tree(n): return plot_probs([1/n]*n, [f'w{i}' for i in range(n)])


# --- in Python ---

def test_figures_become_svg_equal_in_every_run():
    a, b = (frames([tree(2), tree(3).figure, '<i>x</i>'],
                   ['one', 'two', 'three']).to_html() for _ in range(2))
    assert a == b
    assert not re.search(
        r'\d{4}-\d\d-\d\d|<style type|<metadata|<!DOCTYPE|matplotlib v', a)


def test_figures_are_closed():
    before = plt.get_fignums()
    frames([tree(2), tree(3)])
    assert plt.get_fignums() == before


def test_ids_are_referred_to_and_differ_between_frames():
    pages = [Page(f) for f in frames([tree(2), tree(3), plot_lines(
        [1, 2], {'a': [1, 2]}, xlabel='x', ylabel='y')]).frames]
    for p in pages:
        assert p.ids and set(p.refs) == set(p.ids) and len(p.ids) == len(set(p.ids))
    ids = [i for p in pages for i in p.ids]
    assert len(ids) == len(set(ids))


def test_letters_stay_letters():
    page = Page(frames([plot_probs([.2]*5, NAMES)]).frames[0])
    assert all(name in page.text for name in NAMES)
    assert not {'b', 'script'} & set(page.tags)


def test_captions_are_escaped():
    html = frames(['<i>x</i>'], ['<b>"&'], label='<u>').to_html()
    assert not {'b', 'u'} & set(Page(html).tags)
    assert '<figcaption>&lt;b&gt;&quot;&amp;</figcaption>' in html
    assert 'aria-label="&lt;b&gt;&quot;"' in frames([tree(2)], ['<b>"']).frames[0]


def test_what_is_seen_is_said_before_the_caption():
    for kw, said in ((dict(captions=['Two.']), 'A &lt;tree&gt;. Two.'),
                     ({}, 'A &lt;tree&gt;. step 1')):
        svg, = frames([tree(2)], alt='A <tree>.', **kw).frames
        assert f'aria-label="{said}"' in svg


def test_one_canvas_for_all_sizes():
    small, large = plt.figure(figsize=(2, 4)), plt.figure(figsize=(3, 1))
    boxes = [re.search('viewBox="(.*?)"', f)[1] for f in frames([small, large]).frames]
    assert boxes == ['0 0 216 288'] * 2


def test_figures_have_no_ground_of_their_own():
    figure, ax = plt.subplots(facecolor='white')
    ax.set_facecolor('white')
    assert 'fill: #ffffff' not in frames([figure]).frames[0]


def test_twelve_frames_of_a_tree_are_small(monkeypatch):
    from llm_sampling.plots import plot_tree
    figures, parents, live = [], [], -1
    for _ in range(12):
        figures.append(plot_tree(parents, ['2'] * len(parents),
                                 [node == live for node in range(len(parents))]))
        parents, live = parents + [live] * 3, len(parents)
    assert len(frames(figures).to_html()) < 300_000


def test_other_representations():
    class Shown:
        def _repr_html_(self): return '<i>shown</i>'
    player = frames(iter([Shown(), '<svg></svg>']), label='move', start=1)
    assert isinstance(player, Frames)
    assert player.frames == ['<i>shown</i>', '<svg></svg>']
    assert (player.captions, player.label, player.index) == (['', ''], 'move', 1)


@pytest.mark.parametrize('error, name, bad', [
    (ValueError, 'figures', dict(figures=[])),
    (TypeError, 'figures', dict(figures='<i>')),
    (TypeError, 'figures', dict(figures=3)),
    (TypeError, 'figures', dict(figures=['<i>', None])),
    (TypeError, 'figures', dict(figures={'a': '<i>'})),
    (ValueError, 'captions', dict(captions=['a'])),
    (ValueError, 'captions', dict(captions=[])),
    (TypeError, 'captions', dict(captions='ab')),
    (TypeError, 'captions', dict(captions=3)),
    (ValueError, 'start', dict(start=2)), (ValueError, 'start', dict(start=-1)),
    (ValueError, 'start', dict(start=None)), (ValueError, 'start', dict(start=.5))])
def test_bad_input_is_named(error, name, bad):
    with pytest.raises(error, match=f'^{name}'):
        frames(**{'figures': ['<i>a</i>', '<i>b</i>'], **bad})


def test_index_stays_in_range():
    player = frames(['a', 'b'])
    for bad in (2, -1):
        with pytest.raises(TraitError, match='index'): player.index = bad
    player.index = 1
    assert '<figure>b' in player.to_html()


def test_a_picture_fits_live_as_on_a_page():
    "A live player has no .llms-frames around it, a page without scripts no .llms-stage"
    rules = [r.split('{') for r in frames(['a'])._css.split('}')]
    fit = [selectors for selectors, *_ in rules if 'svg' in selectors]
    assert fit and all({x.strip() for x in f.split(',')} == {'.llms-stage svg',
                                                           '.llms-frames svg'}
                       for f in fit)


def test_the_html_is_stored_beside_the_live_view():
    data, _ = frames(['a'])._repr_mimebundle_()
    assert 'application/vnd.jupyter.widget-view+json' in data
    assert data['text/html'] == frames(['a']).to_html()


# --- in a browser, from the HTML alone ---

@pytest.fixture
def show(chrome, tmp_path):
    """Open a page that holds these pieces of HTML; no request may leave and no script
    may raise"""
    context, log = chrome
    page = context.new_page()
    with serve(tmp_path) as url:
        def opened(*pieces, clock=False):
            if clock: page.clock.install()           # time goes where the test says
            head = ('<!doctype html><meta charset=utf-8>'
                    '<meta name=viewport content="width=device-width">'
                    '<link rel=icon href="data:,">')
            (tmp_path/'index.html').write_text(head + ''.join(pieces), encoding='utf-8')
            page.goto(url)
            return page
        yield opened
        page.close()
    assert log.outside + log.missing + log.errors == []


def film(start=0):
    return frames([tree(n) for n in (2, 3, 4, 5)], [f'{n} words' for n in (2, 3, 4, 5)],
                  start=start)


def at(player):
    """What a player shows: bars' names, caption, position by its output and by its
    slider"""
    words = [t for t in player.locator('svg text').evaluate_all(
        'l => l.map(e => e.textContent)') if t.startswith('w')]
    return (len(words), player.locator('.llms-caption').inner_text(),
            player.locator('output').inner_text(),
            player.locator('input').input_value())


def want(n): return n, f'{n} words', f'{n-1} of 4', str(n-2)


@pytest.mark.some(2)
def test_buttons_slider_and_keyboard(show):
    page = show(film(start=1).to_html())
    player = page.locator('.llms-player')
    back = player.get_by_label('previous step')
    next = player.get_by_label('next step')
    slider = player.get_by_label('step', exact=True)
    assert at(player) == want(3)
    next.click()
    assert at(player) == want(4)
    for _ in range(5): next.click(force=True)  # the last frame is the last
    assert at(player) == want(5) and next.get_attribute('aria-disabled') == 'true'
    for _ in range(2): back.click()
    assert at(player) == want(3) and next.get_attribute('aria-disabled') == 'false'
    for _ in range(5): back.click(force=True)
    assert at(player) == want(2) and back.get_attribute('aria-disabled') == 'true'
    slider.fill('2')
    assert at(player) == want(4) and slider.get_attribute('aria-valuetext') == '3 of 4'
    slider.focus()
    for key, n in (('ArrowRight', 5), ('ArrowRight', 5), ('Home', 2), ('ArrowUp', 3),
                   ('ArrowLeft', 2), ('End', 5)):
        page.keyboard.press(key)
        assert at(player) == want(n), key
    back.focus()
    for key, n in (('Enter', 4), ('Space', 3)):
        page.keyboard.press(key)
        assert at(player) == want(n), key
    assert page.locator('[role=status]').inner_text() == '3 words'
    assert player.locator('svg').get_attribute('aria-label') == '3 words'


def test_play(show):
    "A frame every 1.2 s to the last; then from the first; any other hand stops it"
    page = show(film(start=1).to_html(), clock=True)
    player, tick = page.locator('.llms-player'), lambda: page.clock.run_for(1200)
    play = player.get_by_role('button', name='play', exact=True)
    playing = lambda: play.get_attribute('aria-pressed')
    assert at(player) == want(3) and playing() == 'false'
    play.click()
    page.clock.run_for(1100)
    assert at(player) == want(3) and playing() == 'true'
    tick()
    assert at(player) == want(4) and playing() == 'true'
    tick()
    assert at(player) == want(5) and playing() == 'false'
    tick()
    assert at(player) == want(5)
    play.focus()
    page.keyboard.press('Enter')
    assert at(player) == want(2) and playing() == 'true'
    for stop in (lambda: player.get_by_label('next step').click(),
                 lambda: player.get_by_label('step', exact=True).fill('1'),
                 lambda: (tick(), play.click())):
        stop()
        tick()
        assert at(player) == want(3) and playing() == 'false'
        play.click()
        player.get_by_label('step', exact=True).fill('0')
        play.click()


@pytest.mark.some(1)
def test_players_and_sliders_on_one_page(show):
    bars = slider_bars(lambda k: [k, 1-k], ['a', 'b'], k=[.25, .5]).to_html()
    other = frames(['<i>one</i>', '<i>two</i>']).to_html()
    page = show(bars, film().to_html(), other, film(2).to_html(), bars)
    players = page.locator('.llms-player')
    assert players.count() == 3
    assert page.locator('.llms-bars').count() == 2
    assert page.locator('figure').count() == 0
    players.nth(0).get_by_label('next step').click(force=True)
    players.nth(1).get_by_label('next step').click(force=True)
    assert at(players.nth(0)) == want(3) and at(players.nth(2)) == want(4)
    assert players.nth(1).locator('.llms-stage').inner_text() == 'two'
    page.locator('.llms-bars input').nth(1).fill('1')
    assert page.locator('.llms-bars output').all_inner_texts() == ['0.25', '0.5']
    assert at(players.nth(0)) == want(3)
    ids = page.evaluate('[...document.querySelectorAll("[id]")].map(e => e.id)')
    refs = page.evaluate(
        '''[...document.querySelectorAll("svg *")].flatMap(e => [...e.attributes])
        .flatMap(a => [...a.value.matchAll(/^#(.+)|url\\(#(.+?)\\)/g)])
        .map(m => m[1] ?? m[2])''')
    assert refs and len(ids) == len(set(ids)) and set(refs) <= set(ids)


def test_frames_really_differ_to_the_eye(show):
    page = show(film().to_html())
    stage, seen = page.locator('.llms-stage'), []
    sizes = set()
    for _ in range(4):
        seen.append(stage.screenshot())
        sizes.add(tuple(stage.bounding_box().values()))
        page.get_by_label('next step').click(force=True)
    assert len(set(seen)) == 4 and len(sizes) == 1, 'the page jumps'


@pytest.mark.some(1)
def test_captions_are_never_markup(show):
    page = show(frames(['<i>x</i>'] * len(NAMES), NAMES, label='<b>').to_html())
    for name in NAMES:
        assert page.locator('.llms-caption').evaluate('e => e.textContent') == name
        page.get_by_label('next <b>').click(force=True)
    assert page.locator('.llms-player b').count() == 0


@pytest.mark.some(2)
@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_fits_a_phone_in_either_scheme(show, scheme):
    page = show(
        '<body style="background:canvas;color:canvastext;color-scheme:light dark">',
        film().to_html(),
                frames([plot_probs([.05]*20)], ['word ' * 40]).to_html())
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({'width': 390, 'height': 844})
    assert page.evaluate('document.documentElement.scrollWidth') <= 390
    buttons = page.locator('.llms-player button').all()
    assert all(b.bounding_box()['width'] >= 40 and b.bounding_box()['height'] >= 40
               for b in buttons)
    inside = """() => [...document.querySelectorAll(
        ".llms-steps, .llms-steps *, .llms-caption")]
        .every(e => e.getBoundingClientRect().right <= 390)"""
    assert page.evaluate(inside), 'a part of a player is cut'
    wide = page.locator('.llms-player').nth(1).locator('svg')
    letters = """svg => Math.min(...[...svg.querySelectorAll("text")].map(e =>
        parseFloat(getComputedStyle(e).fontSize)
        * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width))"""
    assert wide.evaluate(letters) >= 10.9, 'shrunk to where it cannot be read'
    # as in Jupyter
    page.evaluate(
        'document.querySelectorAll(".llms-frames").forEach(e => e.className = "")')
    assert wide.evaluate(letters) >= 10.9
    assert page.evaluate('document.documentElement.scrollWidth') <= 390
    page.set_viewport_size({'width': 700, 'height': 844})
    assert wide.bounding_box()['width'] <= 700
    ink, ground = (
        page.locator('.llms-caption').first.evaluate(f'e => getComputedStyle({e}).{k}')
                   for e, k in (('e', 'color'), ('document.body', 'backgroundColor')))
    assert (ink == 'rgb(255, 255, 255)') == (scheme == 'dark') and ink != ground


@pytest.mark.some(1)
def test_printed_and_without_scripts_the_start_shows(chrome, tmp_path):
    (tmp_path/'index.html').write_text('<!doctype html><meta charset=utf-8>'
                                       + film(start=2).to_html())
    context = chrome[0].browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f'file://{tmp_path}/index.html')
    for media in ('screen', 'print'):
        page.emulate_media(media=media)
        assert page.locator('figure svg').is_visible()
        assert page.locator('figcaption').inner_text() == '4 words'
        assert page.locator('svg').count() == 1
    context.close()


def test_the_number_of_bars_has_the_name_that_is_asked_for():
    f, readouts = lambda k: [k, 1 - k], []
    for kw in ({}, dict(count='moves tried'), dict(count=None)):
        readouts.append(slider_bars(f, 'ab', k=[.5, 1.], **kw).readouts)
    assert [[*r] for r in readouts] == [['entropy', 'tokens kept'],
                                        ['entropy', 'moves tried'], ['entropy']]
    assert readouts[1]['moves tried'] == ['2 of 2', '1 of 2']
