"""The built site in a real browser: nothing leaves the machine, every link resolves,
sliders show what Python computes"""
import gzip
import json
import math
import re
import sys
from collections import Counter
from functools import cache
from html import unescape
from itertools import product
from multiprocessing import get_context
from os.path import normpath
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import nbformat
import pytest
from browser import Log, nine, probs, serve
from fastcore.basics import AttrDict
from scripts import ROOT, script

import llm_sampling

docs, tools = script('docs/build.py'), script('tools/run_nbs.py')
CALL = re.compile(r'^(?:\w+ = )?slider_bars\(', flags=re.M)
PLAYER = re.compile(r'^(?:\w+ = )?frames\(', flags=re.M)
PAGES = {docs.page_name(p): p for p in docs.notebooks(ROOT/'nbs')}
ALL = [*PAGES, *docs.REFERENCE, 'genindex', 'search']


def calling(call):
    "Pages with a cell that shows such a widget"
    return [name for name, p in PAGES.items()
            if any(call.search(c.source) for c in nbformat.read(p, 4).cells
                   if c.cell_type == 'code')]


BARS, PLAYERS = calling(CALL), calling(PLAYER)


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """The site, built afresh; a warning fails the build. In a copy of this process,
    which has imported already what the build needs"""
    said = tmp_path_factory.mktemp('site')/'said.txt'
    def build():
        sys.stdout = sys.stderr = said.open('w')
        sys.exit(docs.site(ROOT/'nbs', ROOT/'_docs'))
    copy = get_context('fork').Process(target=build)
    copy.start()
    copy.join(600)
    assert copy.exitcode == 0, said.read_text()[-6000:]
    return ROOT/'_docs'


@pytest.fixture(scope='module')
def url(site):
    with serve(site) as url: yield url


@pytest.fixture
def page(chrome):
    """A new page; whatever a test does, no request may leave, none may fail and no
    script may raise"""
    context, log = chrome
    page = context.new_page()
    yield page
    page.close()
    assert log.all() == []


@pytest.fixture(scope='module')
def visited(request, url, chrome):
    """A page of the site at a desk, and its log; visited once for all that is asked of
    it. Colours change at once, and what is folded below `Prove` is open"""
    context, log = chrome
    page = context.new_page()
    try:
        visit(page, f'{url}/{request.param}.html')
        page.add_style_tag(content='* { transition: none !important }')
        page.evaluate('document.querySelectorAll("details.prove")'
                      '.forEach(e => { e.open = true })')
        yield AttrDict(name=request.param, page=page, log=log)
        assert log.all() == []
    finally: page.close()


@pytest.fixture
def desk(visited): return visited.page


NEAR = ALL[::6]      # a short run visits a sixth of the pages


def at_desk(names):
    pages = [pytest.param(name, marks=() if name in NEAR else pytest.mark.long)
             for name in names]
    return pytest.mark.parametrize('visited', pages, indirect=True)


# --- the build's parts ---

def cell(source, kind='code', outputs=()):
    "A notebook cell as `check` sees it"
    made = docs.mk_cell(source, kind,
                        **({'outputs': list(outputs)} if kind == 'code' else {}))
    made.directives_ = made.directives
    return made


@pytest.mark.parametrize('source, kind', [('#| cod-fold: true\n1', 'code'),
                                          ('::: {.callout-note}\nx\n:::', 'markdown'),
                                          ('see @fig-one', 'markdown'),
                                          ('{{< include x >}}', 'markdown')])
def test_what_would_leak_into_a_page_is_refused(source, kind):
    with pytest.raises(ValueError, match='directive|Quarto'):
        docs.check(cell(source, kind), Path('x.ipynb'))


def test_prove_names_what_comes_from_other_chapters():
    from llm_sampling import top_k
    cells = [cell('## See\n\nA figure.', 'markdown'),
             cell('## Prove\n\nOne check:\ntwo.\n\n### Source', 'markdown')]
    docs.tell_borrowed(cells, top_k)
    docs.tell_borrowed(cells, None)
    said = ('Names of other chapters: `Knob` ([knobs](knobs.ipynb)); `upcast` '
            '([softmax](softmax.ipynb)).')
    assert [c.source for c in cells] == [
        '## See\n\nA figure.', f'## Prove\n\nOne check:\ntwo.\n\n{said}\n\n### Source']


def test_dead_widgets_and_errors_are_refused():
    for output in ({'output_type': 'display_data', 'data': {docs.WIDGET: {}}},
                   {'output_type': 'error'}):
        with pytest.raises(ValueError, match='stored'):
            docs.check(cell('1', outputs=[AttrDict(output)]), Path('x'))
    docs.check(cell('#| varies\n#| code-fold: true\n1'), Path('x.ipynb'))


@pytest.mark.parametrize('said, hidden', [('true', ['hide-input']), ('false', [])])
def test_code_is_folded_where_a_directive_says_so(said, hidden):
    cells = [cell('## See', 'markdown'), cell(f'#| code-fold: {said}\nx = 1')]
    docs.fold_plumbing(cells)
    assert docs.tags(cells[1]) == hidden


def test_folds_in_a_row_are_one():
    """Code that shows nothing joins the fold below it; what it shows, a text or the
    source of the package in between keeps them apart"""
    see = lambda: cell('## See', 'markdown')
    shown = [AttrDict(output_type='stream', text='1')]
    source = cell('#| exports\ndef f(): pass')
    for between, joined in ((None, True), (cell('text', 'markdown'), False),
                            (source, False), (cell('y = 2', outputs=shown), False)):
        cells = [see(), cell('import math'), *filter(None, [between]), cell('x = 1')]
        docs.fold_plumbing(cells)
        docs.join_folds(cells)
        last = cells[-1]
        assert last.source == ('import math\n\nx = 1' if joined else 'x = 1')
        assert last.directives_['code-summary'] == 'The code'
        moved = joined or between.source.startswith('import')
        assert (cells[1].source == '') == moved
    cells = [cell('import math'), cell('x = 1'), see(), cell('y = 2')]
    docs.fold_plumbing(cells)
    docs.join_folds(cells)
    assert [c.directives_.get('code-summary') for c in cells
            if c.source] == ['Imports and set-up', None, 'The code']


def test_a_caption_is_shown_as_it_is():
    from docutils.core import publish_doctree
    from myst_parser.parsers.docutils_ import Parser
    for text in ('The curve -p log p, *not* <b>, `x`, a_b_c and $5 [1](2) a~b^c',
                 '1. of two | -.37'):
        doc = publish_doctree(docs.as_is(text), parser=Parser())
        assert doc.astext() == text and len(doc.children) == 1


def test_a_figure_without_a_caption_takes_its_alternative_text():
    png = AttrDict(output_type='display_data', data={'image/png': ''})
    one = cell('#| fig-alt: Two bars.\nplot()', outputs=[png])
    two = cell('#| fig-alt: Two bars.\n#| fig-cap: Falls by half\nplot()',
               outputs=[png])
    assert docs.figure(one) == dict(image=dict(alt='Two bars.'),
                                    figure=dict(caption='Two bars.'))
    assert docs.figure(two) == dict(image=dict(alt='Two bars.'),
                                    figure=dict(caption='Falls by half'))


def test_a_summary_is_a_whole_paragraph():
    def f():
        """Cut a stream into windows; each token is in
        one window at most

        k: The first of them"""
    assert docs.summary(f) == ('Cut a stream into windows; each token is in one window '
                               'at most')


@pytest.mark.parametrize('latex', ["z'", r"\theta'", "z'_i"])
def test_a_prime_is_no_index(latex):
    drawn = script('docs/conf.py').mathml(latex, 'inline')
    assert '&#x02032;</mo>' in drawn and 'sup>' not in drawn
    assert ('<msub>' in drawn) == ('_' in latex)


def test_figures_without_words_are_refused():
    png = AttrDict(output_type='display_data', data={'image/png': ''})
    with pytest.raises(ValueError, match='fig-alt'):
        docs.check(cell('plot()', outputs=[png]), Path('x.ipynb'))
    docs.check(cell('#| fig-alt: Two bars\nplot()', outputs=[png]), Path('x.ipynb'))
    svg = AttrDict(output_type='display_data',
                   data={'text/html': '<div class="llms-player"><svg></svg></div>'})
    with pytest.raises(ValueError, match='frames'):
        docs.check(cell('frames(figures)', outputs=[svg]), Path('x.ipynb'))
    docs.check(cell("frames(figures, alt='Two bars.')", outputs=[svg]), Path('x.ipynb'))


@pytest.mark.parametrize('text',
                         ['>= 0; 1 is off', '# of tokens', '- 1 is off', '+ 1 at least',
                          '1. of two', '2) of two', '| x | is one',
                                  '*all* of them', '_all_ of them', '=== as ids',
                          '% of the mass', '~~~', '<eos> too', '{id: bias}',
                                  ': a colon', 'one,\n>= 0', '-inf is masked',
                          '`k` is 1.5', '1.5 is off', '(batch, length)'])
def test_comments_of_parameters_are_shown_as_they_are(text):
    "The sign that a comment begins with makes no quotation, heading or list of it"
    from docutils import nodes
    from docutils.core import publish_doctree
    from myst_parser.parsers.docutils_ import Parser
    doc = publish_doctree(docs.inline(text), parser=Parser())
    assert [type(n) for n in doc.children] == [nodes.paragraph]
    assert doc.astext() == text.replace('`', '')


@pytest.mark.parametrize('text, prose', [
    ('Once upon a time there was a poor woodcutter who had a little cottage, and he '
     'was very fond of it', True),
    ('greedy  rep-4 0.86: "I have been a very good man, and I have been a good man, '
     'and I have"', True),
    ('step           kept  removed  mass removed  entropy  likeliest removed          '
     'why\nmodel             9        0', False),
    ('a  1\nb  2\n\nThe king had three sons, and the youngest was the best of all the '
     'three', True), ('', False),
    ('counted 0.154 0.073 0.042 0.231 0.090 0.045 0.052 0.221 0.093\n'
     'exact   0.155 0.075 0.043 0.242 0.087 0.045 0.043 0.220 0.090', False),
    ('prompt  None  A string, a list of strings, or ids of the shape (B, S)\n'
     'top_k   4     Candidates at each step; 1 is greedy, more than V are V', False)])
def test_prose_wraps_and_tables_do_not(text, prose): assert docs.is_prose(text) == prose


def test_parts_follow_the_numbers():
    parts = {'tour': 'Start', '00a_plots': 'Helpers', '01_softmax': 'I. One token',
             '09_sampler': 'I. One token',
             '10_models': 'II. A text', '12_generation': 'II. A text',
             '13_beam': 'III. A search', '24a_vllm': 'IV. In use'}
    assert {name: docs.part(Path(f'{name}.ipynb')) for name in parts} == parts


def test_moved_pages_lead_on(tmp_path):
    "An old address has a page that goes to the new one, by itself and by a link"
    docs.redirects([*PAGES], tmp_path)
    assert {p.stem for p in tmp_path.glob('*.html')} == {*docs.MOVED}
    for old, new in docs.MOVED.items():
        page = (tmp_path/f'{old}.html').read_text()
        assert f'http-equiv="refresh" content="0; url={new}.html"' in page
        assert f'<a href="{new}.html">' in page
        assert f']({new}.html.md)' in (tmp_path/f'{old}.html.md').read_text()


@pytest.mark.parametrize('pages', [['diverse', 'beam_variants'], ['beam_variants'], []])
def test_moves_to_nowhere_are_refused(pages, tmp_path, monkeypatch):
    monkeypatch.setattr(docs, 'MOVED', {'beam_variants': 'diverse'})
    with pytest.raises(ValueError, match='MOVED'): docs.redirects(pages, tmp_path)


def test_helpers_are_read_last(tmp_path):
    for name in ('00_testing', '02_multinomial', '10_models', 'index', 'tour',
                 '01_softmax', '00a_plots'):
        (tmp_path/f'{name}.ipynb').touch()
    want = 'index tour softmax multinomial models testing plots'.split()
    assert [docs.page_name(p) for p in docs.notebooks(tmp_path)] == want
    trees = docs.toctrees(docs.notebooks(tmp_path))
    assert ([line for line in trees.splitlines() if line in [*want, *docs.REFERENCE]]
            == [*want[1:5], *docs.REFERENCE, *want[5:]])


def test_a_percent_stays_with_its_number():
    told = docs.joined_percents('95 % of `7 % 2`, and\n```\n8 % 3\n```\nor 5 %')
    assert told == '95\u00a0% of `7 % 2`, and\n```\n8 % 3\n```\nor 5\u00a0%'



def test_markdown_for_github():
    assert docs.plain(':::{note}\nOne\ntwo.\n:::') == '> [!NOTE]\n> One\n> two.'
    assert (docs.relink('[a](03_top_k.ipynb#b) [c](tour.ipynb)')
            == '[a](top_k.ipynb#b) [c](tour.ipynb)')


# --- without a browser: the files ---

TAG = re.compile(r'<([a-z]\w*)\s([^<>]*)>')
ATTRIBUTE = re.compile(r'([\w-]+)="([^"]*)"')
SCRIPT = re.compile(r'(<script[^>]*>).*?</script>', flags=re.S)


class Html:
    "What a page links to, loads and names; `html.parser` takes 20 times as long"
    def __init__(self, text):
        self.links, self.loads, self.ids, self.alts = [], [], [], []
        for tag, attrs in TAG.findall(SCRIPT.sub(r'\1', text)):
            self.note(tag, {k: unescape(v) for k, v in ATTRIBUTE.findall(attrs)})

    def note(self, tag, attrs):
        if tag == 'a' and attrs.get('href'): self.links.append(attrs['href'])
        if tag in ('script', 'img', 'iframe', 'source') and attrs.get('src'):
            self.loads.append(attrs['src'])
        if tag == 'link' and attrs.get('rel') in ('stylesheet', 'icon', 'preload'):
            self.loads.append(attrs['href'])
        if tag == 'img' and '_images/' in attrs.get('src', ''):
            self.alts.append(attrs.get('alt', ''))
        if attrs.get('id'): self.ids.append(attrs['id'])


@cache
def parsed(path): return Html(path.read_text(encoding='utf-8'))

is_file = cache(Path.is_file)


def broken(path, link):
    "Why an internal link of the page at `path` leads nowhere, or None"
    parts = urlsplit(link)
    if parts.scheme or parts.netloc: return None
    target = Path(normpath(path.parent/unquote(parts.path))) if parts.path else path
    if not is_file(target): return f'{path.name}: {link}: no such file'
    anchor = unquote(parts.fragment)
    if anchor and target.suffix == '.html' and anchor not in parsed(target).ids:
        return f'{path.name}: {link}: no such anchor'


def test_every_internal_link_resolves(site):
    # the theme keeps a template there
    files = [p for p in sorted(site.rglob('*.html')) if '_static' not in p.parts]
    assert {p.stem for p in files} >= set(PAGES)
    found = [broken(p, link) for p in files
             for link in {*parsed(p).links, *parsed(p).loads}]
    assert [f for f in found if f] == []


def test_pages_load_nothing_from_elsewhere(site):
    far = [(p.name, u) for p in site.rglob('*.html') if '_static' not in p.parts
           for u in parsed(p).loads if urlsplit(u).netloc]
    assert far == []


@pytest.mark.parametrize('name', ALL)
def test_ids_are_unique(site, name):
    ids = Counter(parsed(site/f'{name}.html').ids)
    assert [i for i, n in ids.items() if n > 1] == []


# at the beginning of a line: a regular expression may hold these characters, too
DIRECTIVE = re.compile(r'^\s*#\|', re.M)

@pytest.mark.parametrize('name', PAGES)
def test_no_directive_shows(site, name):
    text = (site/f'{name}.html').read_text(encoding='utf-8')
    text = re.sub(r'<[^>]+>', '', text)
    assert not DIRECTIVE.search(text) and ':::' not in text


@pytest.mark.parametrize('name', PAGES)
def test_each_page_has_a_markdown_twin(site, name):
    text = (site/f'{name}.html.md').read_text(encoding='utf-8')
    assert text.startswith('# ') and not DIRECTIVE.search(text)
    links = re.findall(r'\]\(([\w.-]+\.html\.md)', text)
    assert [link for link in links if not (site/link).exists()] == []


def test_every_figure_says_what_it_shows(site):
    "An alternative text of its own, in words: not a default, not a file name"
    alts = [alt for name in PAGES for alt in parsed(site/f'{name}.html').alts]
    assert len(alts) > 80 and len({*alts}) == len(alts)
    words = r'[\u4e00-\u9fff]|[^\W\u4e00-\u9fff]+'    # letters of Chinese, words
    assert [alt for alt in alts if len(re.findall(words, alt)) < 8] == []


@pytest.mark.parametrize('name', PAGES)
def test_figures_are_numbered_by_chapter(site, name):
    "Each has a number and a caption"
    text = (site/f'{name}.html').read_text(encoding='utf-8')
    word = '图' if name.endswith('_zh') else 'Figure'
    numbers = re.findall(rf'<span class="caption-number">{word} (\d+)\. </span>\S',
                         text)
    assert numbers == [str(n + 1) for n in range(len(parsed(site/f'{name}.html').alts))]


@pytest.mark.parametrize('name', ALL)
def test_signatures_show_names_not_objects(site, name):
    text = (site/f'{name}.html').read_text(encoding='utf-8')
    found = re.findall(r'<dt class="sig.*?</dt>', text, flags=re.S)
    assert [f for f in found if re.search(r'&lt;(class|function|object)|object at 0x',
                                          re.sub('<[^>]+>', '', f))] == []


@pytest.mark.parametrize('name', ALL)
def test_no_dollar_is_left_of_a_formula(site, name):
    "A `$` outside code is a formula that was not read"
    text = (site/f'{name}.html').read_text(encoding='utf-8').split(
        '<article')[-1].split('</article>')[0]
    text = re.sub(r'<(pre|code|script|style|svg)\b.*?</\1>', '', text, flags=re.S)
    assert re.findall(r'.{0,40}\$.{0,40}', re.sub('<[^>]+>', '', text)) == []


PARTS = dict(msub=2, msup=2, mfrac=2, munder=2, mover=2, mroot=2, msubsup=3,
             munderover=3)


@pytest.mark.parametrize('name', PAGES)
def test_formulas_have_all_their_parts(site, name):
    "An index has a base and nothing more: browsers draw three parts side by side"
    text = (site/f'{name}.html').read_text(encoding='utf-8')
    trees = [ElementTree.fromstring(m)
             for m in re.findall(r'<math.*?</math>', text, flags=re.S)]
    parts = [e for tree in trees for e in tree.iter() if e.tag.split('}')[-1] in PARTS]
    assert [ElementTree.tostring(e)[:120] for e in parts
            if len(e) != PARTS[e.tag.split('}')[-1]]] == []


def called(link):
    "The dotted name that an anchor of an API block bears, or None"
    parts = urlsplit(link)
    return parts.fragment if parts.fragment.startswith('llm_sampling.') else None


def test_api_page_names_everything_once(site):
    """Each public name of the package and of its modules, by the text that one types,
    and once"""
    text = (site/'api.html').read_text(encoding='utf-8')
    rows = [re.sub('<[^>]+>', '', r)
            for r in re.findall(r'<tr.*?<td>(.*?)</td>', text, flags=re.S)]
    shown = [r.strip() for r in rows]
    assert len(shown) == len({*shown})
    assert {*shown} >= {f'ls.{n}' for n in llm_sampling.__all__}
    for module in llm_sampling._modules:
        names = [n for n in getattr(llm_sampling, module).__all__
                 if callable(getattr(getattr(llm_sampling, module), n))]
        for n in names:
            assert (f'ls.{n}' in shown) + (f'ls.{module}.{n}' in shown) == 1, (module,
                                                                               n)
    targets = [t for link in parsed(site/'api.html').links if (t := called(link))]
    assert len({*targets}) >= len(shown)
    assert all(re.search(r'<td><p>.*?</p></td>\s*<td><p>.+?</p></td>', r, flags=re.S)
               for r in re.findall('<tr.*?</tr>', text, flags=re.S)[1:]
               if '<th' not in r), 'a name without a line that says what it does'


def test_front_page_leads_to_the_rest(site):
    """Install line, repository, changelog and API stand before the first heading below
    the title"""
    text = (site/'index.html').read_text(encoding='utf-8').split('<article')[1]
    first = text[:text.index('<h2')]
    links = re.findall(r'href="([^"]+)"', first)
    assert 'pip install' in re.sub('<[^>]+>', '', first)
    assert {docs.URLS['Repository'], 'changelog.html', 'api.html'} <= {*links}
    assert 'genindex.html' in parsed(site/'api.html').links


def test_each_page_says_its_language(site):
    """And leads to the other: a translation to its original and back, the rest to the
    front page"""
    for name in ALL:
        text = (site/f'{name}.html').read_text(encoding='utf-8')
        chinese, twin = name.endswith('_zh'), f'{name}_zh'
        lang = re.search(r'<html lang="(.+?)"', text)[1]
        assert lang == ('zh-CN' if chinese else 'en')
        other = (name.removesuffix('_zh') if chinese else
                 twin if twin in PAGES else 'index_zh')
        href, lang = re.search(
            r'<a class="lang-switch" href="(\w+)\.html" lang="([\w-]+)"', text).groups()
        assert (href, lang) == (other, 'en' if chinese else 'zh-CN')
        assert ('rel="alternate"' in text) == (chinese or twin in PAGES)


def test_llms_txt(site): assert '# llm_sampling' in (site/'llms.txt').read_text()


# --- every page in the browser ---

def visit(page, address):
    page.goto(address, wait_until='load')


@pytest.mark.some(2)
@pytest.mark.parametrize('name', ['index', 'softmax', 'api', 'search'])
def test_first_visit_is_quiet(url, chrome, name):
    "In a browser that has never been here, and until nothing more comes"
    context = chrome[0].browser.new_context()
    try:
        log, page = Log(context), context.new_page()
        visit(page, f'{url}/{name}.html')
        page.wait_for_load_state('networkidle')
        assert log.all() == []
    finally: context.close()


@at_desk(ALL)
def test_page_is_quiet(visited):
    "No error, no warning, no failed request, none to elsewhere"
    assert visited.log.all() == []


def test_noise_is_heard(url, chrome):
    context = chrome[0].browser.new_context()
    try:
        log, page = Log(context), context.new_page()
        page.goto(f'{url}/index.html')
        assert log.all() == []
        page.set_content('<img src=https://example.com/x.png>'
                         f'<img src={url}/none.png>'
                         '<script>console.warn("hm"); throw Error("oh")</script>')
        page.wait_for_load_state('networkidle')
        assert log.outside == ['https://example.com/x.png'] and len(log.missing) == 1
        assert 'hm' in log.said and len(log.errors) == 1 and 'oh' in log.errors[0]
    finally: context.close()


@at_desk(PAGES)
def test_the_first_figure_and_view_are_on_the_first_screen(desk):
    desk.set_viewport_size({'width': 1400, 'height': 900})
    figures, alive = desk.evaluate('''() => {
        const alive = ".llms-bars, .llms-player, .bd-article textarea";
        return [`.bd-article .cell_output img, ${alive}`, alive].map(selector =>
            [...document.querySelectorAll(selector)]
            .map(e => e.getBoundingClientRect().top + scrollY)); }''')
    desk.set_viewport_size({'width': 1280, 'height': 900})
    assert min(figures) < 900
    assert min(alive, default=0) < 900   # some pages have nothing that moves


@at_desk(PAGES)
def test_tables_are_whole_on_a_desk(desk):
    desk.set_viewport_size({'width': 1400, 'height': 900})
    cut = desk.evaluate('''() => [...document.querySelectorAll(
        ".bd-article :is(.text_html, .pst-scrollable-table-container):has(table)")]
        .filter(e => e.scrollWidth > e.clientWidth + 1)
        .map(e => e.textContent.slice(0, 80))''')
    desk.set_viewport_size({'width': 1280, 'height': 900})
    assert cut == []


@at_desk(PAGES)
def test_printed_prose_is_not_cut(desk):
    "Only tables scroll sideways: where a printed line does, it has several columns"
    lines = desk.evaluate('''() =>
        [...document.querySelectorAll(".cell_output .output pre")]
        .filter(e => e.scrollWidth > e.clientWidth + 1 && !e.closest("[data-llms]"))
        .map(e => e.textContent.split("\\n"))
        .map(lines => lines.reduce((a, b) => b.length > a.length ? b : a))''')
    assert [line for line in lines if len(re.findall(r'\S {2,}\S', line)) < 2] == []


@cache
def packed(path): return len(gzip.compress(path.read_bytes()))


@pytest.mark.parametrize('name', ALL)
def test_a_page_is_light(site, name):
    "What comes before the first paint passes a slow line, 1.6 Mbit/s, in 1.1 s"
    html = (site/f'{name}.html').read_text()
    tags = [t for t in re.findall('<(?:script|link)[^>]*>', html) if ' defer' not in t]
    links = re.findall(r' (?:src|href)="(_static/[^"?]+)', ''.join(tags))
    files = [site/f'{name}.html', *(site/f for f in {*links})]
    assert sum(map(packed, files)) < 220_000


@at_desk(PAGES)
def test_page_opens_cleanly_and_shows_its_math(desk):
    drawn = desk.evaluate('[...document.querySelectorAll("math")]'
                          '.map(m => m.getBoundingClientRect().height)')
    assert 0 not in drawn and len(drawn) >= desk.locator('.math').count()
    idle = '.llms-static:not([data-on]), .llms-frames:not([data-on])'
    assert desk.locator(idle).count() == 0


PHONE = '''() => {
  const all = s => [...document.querySelectorAll(".bd-article " + s)]
    .filter(e => e.getClientRects().length);
  const box = e => e.getBoundingClientRect();
  const say = (list, bad) => list.filter(bad).map(e => e.outerHTML.slice(0, 80));
  const letters = svg => Math.min(...[...svg.querySelectorAll("text")]
    .map(e => parseFloat(getComputedStyle(e).fontSize) * box(svg).width
              / svg.viewBox.baseVal.width));
  const wider = e => e.scrollWidth > e.clientWidth + 2
    && getComputedStyle(e).overflowX == "auto";
  return {
    // the controls of sliders and players, and the words below them, are whole
    cut: say(all(".llms-bars, .llms-steps, .llms-steps *, .llms-caption"),
             e => box(e).right > 391 || box(e).left < 0),
    // what scrolls says so by a shade at its edge
    unmarked: say(all("*").filter(wider),
                  e => !getComputedStyle(e).backgroundImage.includes("gradient")),
    // letters of 8 points, at 110 dots per inch, have 11 pixels, and exponents 7.7
    small: [...say(all(".cell_output img"), e => box(e).width < .89 * e.naturalWidth),
            ...say(all(".llms-stage svg"), e => letters(e) < 7.6)],
    pinched: say(all("summary, .llms-steps button, .llms-knob input"),
                 e => box(e).height < 39.5)};
}'''


@at_desk([*PAGES, *docs.REFERENCE])
def test_phone_needs_no_sideways_scroll(desk):
    desk.set_viewport_size({'width': 390, 'height': 844})
    width = desk.evaluate('document.documentElement.scrollWidth')
    wide = desk.evaluate('''() => [...document.querySelectorAll(".bd-article *")]
        .filter(e => e.getBoundingClientRect().right > 391)
        .filter(e => !e.closest(
            "pre, .output, .wide, div.math, .highlight, table, details"))
        .map(e => e.outerHTML.slice(0, 80))''')
    seen = desk.evaluate(PHONE)
    desk.set_viewport_size({'width': 1280, 'height': 900})
    assert width <= 390 and wide == []
    assert seen == dict(cut=[], unmarked=[], small=[], pinched=[])


CONTRAST = '''selector => {
  const known = {}, paint = s => {
    const c = document.createElement("canvas").getContext("2d");
    c.fillStyle = s;
    c.fillRect(0, 0, 1, 1); return [...c.getImageData(0, 0, 1, 1).data]; };
  const rgb = s => known[s] ??= paint(s);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
  const behind = e => {
    for (; e; e = e.parentElement) {
      const c = rgb(getComputedStyle(e).backgroundColor);
      if (c[3] > 250) return c;
    }
    return [255, 255, 255]; };
  const ratio = (a, b) => {
    const [x, y] = [light(a), light(b)].sort((p, q) => q - p);
    return (x + .05) / (y + .05);
  };
  const shows = e => e.getClientRects().length
    && (e.tagName == "IMG" || e.textContent.trim());
  const ink = e =>
    rgb(/img|svg/i.test(e.tagName) ? "#7d828a" : getComputedStyle(e).color);
  // alike are elements of one name and class, in two of one name and class
  const kind = e => e.tagName + e.className + (e.getAttribute("style") || "");
  const line = e => [e, e.parentElement, e.parentElement.parentElement].map(kind);
  const first = new Map();
  for (const e of document.querySelectorAll(selector))
    if (!first.has(line(e).join()) && shows(e)) first.set(line(e).join(), e);
  return [...first.values()]
    .map(e => [ratio(ink(e), behind(e)), e.outerHTML.slice(0, 80)]);
}'''
TEXT = ('.bd-article p, .bd-article li, .bd-article h1, .bd-article h2, '
        '.bd-article code, .bd-article pre span, .bd-sidebar-primary a, .bd-toc a, '
        '.llms-bars span:not(.llms-dropped span), .llms-bars output, .cell_output pre, '
        '.llms-player span, .llms-player output, .llms-caption, .bd-article figcaption')


@pytest.mark.parametrize('theme', ['light', 'dark'])
@at_desk([*PAGES, *docs.REFERENCE])
def test_text_and_figures_are_legible(desk, theme):
    """Contrast of text at least 4.5 (WCAG AA); of a figure's grey lettering on what
    lies behind it, 3"""
    desk.evaluate('t => { document.documentElement.dataset.theme = t }', theme)
    assert [r for r in desk.evaluate(CONTRAST, TEXT) if r[0] < 4.5] == []
    assert [r for r in desk.evaluate(CONTRAST, '.cell_output img, .llms-stage svg')
            if r[0] < 3] == []


def test_dark_mode_switch(url, page):
    page.goto(f'{url}/widgets.html')
    colours = []
    for mode in ('dark', 'light'):
        page.locator('.theme-switch-button:visible').first.click()
        page.locator(f'.theme-change-button[data-mode={mode}]:visible').click()
        page.wait_for_function('m => document.documentElement.dataset.theme === m',
                               arg=mode)
        page.wait_for_timeout(300)
        colours.append(page.evaluate('getComputedStyle(document.body).backgroundColor'))
        page.reload()
        remembered = page.evaluate('document.documentElement.dataset.theme')
        assert remembered == mode, 'the choice is not remembered'
    assert len(set(colours)) == 2


def test_sidebar_lists_every_chapter_in_order(url, page):
    page.goto(f'{url}/index.html')
    links = page.locator('nav.bd-links li > a').evaluate_all(
        'l => l.map(a => a.getAttribute("href"))')
    helpers = [n for n, p in PAGES.items() if docs.part(p) == 'Helpers']
    chapters = [n for n in PAGES if n not in ('index', *helpers)]
    assert [link.removesuffix('.html')
            for link in links] == [*chapters, *docs.REFERENCE, *helpers]
    captions = [c.lower()
                for c in page.locator('nav.bd-links .caption').all_inner_texts()]
    assert captions[0] == 'start' and captions[-1] == 'helpers'
    page.goto(f'{url}/tour.html')
    assert page.locator('a.right-next').get_attribute('href') == 'softmax.html'


def test_explanation_is_a_table_with_numbers_flush_right(url, page):
    visit(page, f'{url}/explain.html')
    number = page.locator('.cell_output table td.number').first
    word = page.locator('.cell_output table td:not(.number)').first
    style = ('e => [getComputedStyle(e).textAlign, '
             'parseFloat(getComputedStyle(e).paddingRight)]')
    assert number.evaluate(style)[0] == 'right'
    assert word.evaluate(style)[0] in ('left', 'start')
    assert number.evaluate(style)[1] >= 8 and word.evaluate(style)[1] >= 8


def test_search_finds_a_symbol(url, page):
    page.goto(f'{url}/search.html?q=slider_bars')
    page.locator('#search-results li').first.wait_for()
    links = page.locator('#search-results li a').evaluate_all(
        'l => l.map(a => a.getAttribute("href"))')
    assert any(link.startswith('widgets.html#') and 'slider_bars' in link
               for link in links), links


@pytest.mark.parametrize('word, name', [('nucleus', 'top_p'), ('beam', 'beam'),
                                        ('temperature', 'softmax')])
def test_search_leads_to_the_page_that_teaches_it(url, page, word, name):
    page.goto(f'{url}/search.html?q={word}')
    first = page.locator('#search-results li > a').first
    first.wait_for()
    page.wait_for_function('document.querySelectorAll("#search-results li").length > 3')
    assert first.get_attribute('href').split('?')[0].split('#')[0] == f'{name}.html'


def test_the_plumbing_is_folded(url, page):
    visit(page, f'{url}/top_p.html')
    assert not page.get_by_text('from fastcore.test import').first.is_visible()
    top = page.locator('.llms-player, .llms-bars').first.bounding_box()['y']
    assert top < 900, 'the first figure is not on the first screen'


def test_symbols_link_to_their_api_block(url, page):
    page.goto(f'{url}/widgets.html')
    page.locator('.bd-article p a', has_text='slider_bars').first.click()
    page.wait_for_url('**/widgets.html#llm_sampling.widgets.slider_bars')
    page.goto(f'{url}/widgets.html#slider_bars')
    assert page.evaluate('!!document.getElementById("slider_bars")?.closest("dt.sig")')


def test_copy_button(url, chrome, page):
    chrome[0].grant_permissions(['clipboard-read', 'clipboard-write'], origin=url)
    page.goto(f'{url}/widgets.html')
    cell = page.locator('.cell_input:visible').first
    cell.hover()
    cell.locator('button.copybtn').click()
    copied = page.evaluate('navigator.clipboard.readText()')
    assert copied.strip() == cell.locator('pre').inner_text().strip()


def test_notebook_download(url, page):
    page.goto(f'{url}/widgets.html')
    with page.expect_download() as d: page.locator('.nb-link a.download').click()
    assert Path(d.value.path()).read_bytes() == PAGES['widgets'].read_bytes()


def test_solutions_are_folded(url, page):
    page.goto(f'{url}/widgets.html')
    fold = page.locator('details', has_text='Solution 1').first
    code = fold.locator('pre').first
    assert not code.is_visible()
    fold.locator('summary').click()
    assert code.is_visible()


def test_proofs_are_folded_and_a_link_opens_them(url, page):
    visit(page, f'{url}/gallery.html')
    fold = page.locator('details.prove')
    assert fold.count() == 1 and not fold.evaluate('e => e.open')
    assert page.locator('#prove > h2').is_visible()
    within = fold.locator('h3').first
    assert not within.is_visible()
    anchor = within.evaluate('e => e.parentElement.id')
    page.goto(f'{url}/gallery.html#{anchor}')
    assert fold.evaluate('e => e.open') and within.is_visible()
    fold.locator('summary').first.click()
    assert not within.is_visible()


# --- widgets ---

SWEEP = '''box => {  // every position of the sliders, as a reader would set them
  const inputs = [...box.querySelectorAll("input")];
  const outs = [...box.querySelectorAll("output")];
  const places = e => [...Array(+e.max + 1).keys()];
  const grid = inputs.reduce(
    (rows, e) => rows.flatMap(r => places(e).map(v => [...r, v])), [[]]);
  const states = grid.map(at => {
    inputs.forEach((e, k) => {
      e.value = at[k];
      e.dispatchEvent(new Event("input", {bubbles: true}));
    });
    const fills = [...box.querySelectorAll(".llms-fill")];
    return {texts: outs.map(o => o.textContent),
            probs: fills.map(f => +f.dataset.value),
            widths: fills.map(f => parseFloat(f.style.width) / 100),
            note: box.querySelector(".llms-note").textContent};
  });
  const labels = [...box.querySelectorAll(".llms-label")].map(e => e.textContent);
  return {states, knobs: inputs.map(e => e.ariaLabel), labels};
}'''
def stored(name, kind):
    "What the widgets of a page were made of, by their HTML in its notebook"
    cells = [c for c in nbformat.read(PAGES[name], 4).cells if c.cell_type == 'code']
    html = [o.get('data', {}).get('text/html', '') for c in cells for o in c.outputs]
    data = '<script type="application/json">(.*?)</script>'
    return [json.loads(re.search(data, h)[1]) for h in html
            if f'class="llms-{kind}"' in h]


@at_desk(BARS)
def test_sliders_show_what_is_stored(visited, desk):
    """At every position of every slider. The tests of the notebooks compare what is
    stored with what its function computes"""
    boxes = desk.locator('.llms-bars')
    wanted = stored(visited.name, 'static')
    assert boxes.count() == len(wanted) > 0, 'store the output with tools/run_nbs.py'
    for i, w in enumerate(wanted):
        seen = boxes.nth(i).evaluate(SWEEP)
        assert seen['labels'] == w['labels']
        assert seen['knobs'] == [k['label'] for k in w['knobs']]
        places = [list(texts) for texts in product(*(k['texts'] for k in w['knobs']))]
        assert [s['texts'] for s in seen['states']] == places
        assert [s['probs'] for s in seen['states']] == w['table']
        assert len({tuple(row) for row in w['table']}) > 1, 'the bars do not move'
        assert all(abs(width - p / w['ymax']) < 1e-4 for s in seen['states']
                   for width, p in zip(s['widths'], s['probs'], strict=True))


def nine_words(page):
    return page.locator('.llms-bars').filter(has=page.get_by_label('keep')).first


def try_nine(box, page):
    """Move the widget of nine words by mouse-like fills and by keyboard; compare with
    the formula"""
    temperature, keep = box.get_by_label('temperature'), box.get_by_label('keep')
    for i, j in product((0, 4, 9), (0, 2, 8)):
        temperature.fill(str(i))
        keep.fill(str(j))
        t, k = box.locator('output').all_inner_texts()
        want = nine(float(t), int(k))
        assert all(abs(a-b) <= 5.1e-5
                   for a, b in zip(probs(box), want, strict=True)), (t, k)
        entropy = sum(p*math.log(1/p) for p in want if p > 0)
        note = box.locator('.llms-note').inner_text()
        assert f'{entropy:.3f} nats' in note and f'{int(k)} of 9' in note
    temperature.focus()
    page.keyboard.press('Home')
    for _ in range(3): page.keyboard.press('ArrowRight')
    assert box.locator('output').first.inner_text() == '0.5'
    assert temperature.get_attribute('aria-valuetext') == '0.5'


def test_sliders_by_hand(url, page):
    page.goto(f'{url}/widgets.html')
    try_nine(nine_words(page), page)


@pytest.mark.parametrize('name', ['index', 'widgets'])
def test_straight_from_disk(site, page, name):
    page.goto(f'file://{site}/{name}.html', wait_until='load')
    assert (page.locator('nav.bd-links li > a').count()
            == len(PAGES) - 1 + len(docs.REFERENCE))
    if name == 'widgets': try_nine(nine_words(page), page)


def test_hostile_labels_twice_on_a_page(tmp_path, page):
    from llm_sampling.widgets import slider_bars
    labels = ['</script><b>x</b>', '<!--<script>',
              '<img src=x onerror="window.hacked=1">', ' two  spaces', '\\u003c']
    html = slider_bars(lambda k: [k, 0, 0, 0, 1-k], labels, k=[.25, .5]).to_html()
    (tmp_path/'index.html').write_text(
        f'<!doctype html><meta charset=utf-8><link rel=icon href="data:,">{html}{html}')
    with serve(tmp_path) as here:
        page.goto(here)
        boxes = page.locator('.llms-bars')
        assert boxes.count() == 2
        for i in range(2):
            assert boxes.nth(i).locator('.llms-label').evaluate_all(
                'l => l.map(e => e.textContent)') == labels
        boxes.first.locator('input').fill('1')
        assert probs(boxes.nth(0))[0] == .5 and probs(boxes.nth(1))[0] == .25
        # the readouts
        assert page.evaluate('window.hacked') is None
        assert page.locator('.llms-bars b').count() == 4


def test_without_scripts_the_start_is_a_table(url, chrome):
    context = chrome[0].browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f'{url}/widgets.html')
    rows = page.locator('.llms-static table').nth(1).locator('tr')
    assert rows.count() == 9
    assert rows.first.inner_text().split() == ['closer', f'{nine(1, 9)[0]:.3f}']
    context.close()


# --- players of frames ---

@at_desk(PLAYERS)
def test_players_step_through_what_is_stored(visited, desk):
    """Each player of a page, by its button: the stored frames and captions in order,
    the others standing still"""
    players = desk.locator('.llms-player')
    wanted = stored(visited.name, 'frames')
    assert players.count() == len(wanted) > 0, 'store the output with tools/run_nbs.py'
    captions = lambda: players.locator('.llms-caption').evaluate_all(
        'l => l.map(e => e.textContent)')
    expect = [w['captions'][w['index']] for w in wanted]
    for i, w in enumerate(wanted):
        player, seen = players.nth(i), []
        player.locator('input').fill('0')
        for caption in w['captions']:
            expect[i] = caption
            assert captions() == expect
            seen.append(player.locator('.llms-stage').evaluate('e => e.innerHTML'))
            player.get_by_label(f'next {w["label"]}').click(force=True)
        assert len(set(seen)) == len(w['frames']) > 1, 'two frames are alike'
