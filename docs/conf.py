"Sphinx configuration; docs/build.py writes the pages it reads"
import re
import sys
import tomllib
from functools import cache
from configparser import ConfigParser
from html import escape
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive
from latex2mathml.converter import convert
from sphinx import addnodes
from sphinx.search.en import SearchEnglish

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT/'docs')]
import first_screen  # noqa: E402

from llm_sampling._modidx import d as modidx  # noqa: E402

urls = tomllib.loads(
    (ROOT/'pyproject.toml').read_text(encoding='utf-8'))['project']['urls']
cfg = ConfigParser()
cfg.read(ROOT/'settings.ini', encoding='utf-8')
project = html_title = cfg['DEFAULT']['name']
author = cfg['DEFAULT']['author']
version = release = cfg['DEFAULT']['version']
copyright = f'2026, {author}'

extensions = ['myst_nb', 'sphinx_copybutton', 'sphinx_design', 'sphinx.ext.viewcode']
exclude_patterns = ['_nb']
# a reference that leads nowhere is a warning, and build.py makes those errors
nitpicky = True
add_module_names = False               # signatures read `top_k_filter(logits, k)`
toc_object_entries_show_parents = 'hide'
python_display_short_literal_types = True

# a list of all chapters takes half of the time of a page of source, which needs none
html_sidebars = {'_modules/**': []}

nb_execution_mode = 'off'              # outputs are those stored in the notebooks
nb_merge_streams = True
nb_ipywidgets_js = {}                  # no CDN: a widget brings its static HTML
nb_mime_priority_overrides = [('html', 'text/html', 5)]
myst_enable_extensions = ['dollarmath', 'amsmath', 'colon_fence', 'attrs_inline',
                          'attrs_block', 'deflist']
myst_heading_anchors = 3
# a display formula may stand in a paragraph, as in Jupyter and on GitHub
myst_dmath_double_inline = True
# an API block may stand where a heading level is skipped
suppress_warnings = ['myst.header']

html_math_renderer = 'mathml'          # written by the build: a page fetches nothing
copybutton_exclude = '.linenos, .gp, .go'

html_theme = 'sphinx_book_theme'
html_static_path = ['_static']
templates_path = ['_templates']
html_favicon = '_static/favicon.svg'
html_css_files = ['custom.css']
# At a first visit the theme finds no stored mode, and reports an error; without scripts
# the page is light
first_visit = '''{ const d = document.documentElement.dataset; d.mode ||= "auto";
  d.theme ||= matchMedia("(prefers-color-scheme: dark)").matches
    ? "dark" : "light"; }'''
html_js_files = [(None, {'body': first_visit}), ('search.js', {'defer': 'defer'})]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    'show_navbar_depth': 1, 'show_toc_level': 2, 'navbar_persistent': [],
    'use_download_button': False, 'use_fullscreen_button': False,
    'pygments_light_style': 'a11y-high-contrast-light',
    'pygments_dark_style': 'github-dark',
    'logo': {'text': project},
    'article_header_end': ['lang-switch.html', 'article-header-buttons.html'],
    'repository_url': urls['Repository'], 'use_repository_button': True,
}

# the stem of a word is worked out once, and not on every page
SearchEnglish.stem = cache(SearchEnglish.stem)

# Public symbols by the short name that prose puts in backticks.
symbols = {}
for module, entries in modidx['syms'].items():
    for full in entries:
        short = full.removeprefix(f'{module}.')
        if not any(p.startswith('_') for p in short.split('.')):
            symbols.setdefault(short, full)


def anchors(app, doctree):
    "Give API blocks the anchors that nbdev's links use: `page.html#top_k_filter`"
    for sig in doctree.findall(addnodes.desc_signature):
        anchor = sig.get('fullname', '').lower()
        if anchor and anchor not in doctree.ids:  # a heading may bear the same name
            sig['ids'].append(anchor)
            doctree.ids[anchor] = sig


def link(app, doctree):
    "Make a reference of each backticked symbol that has an API block"
    for literal in list(doctree.findall(nodes.literal)):
        text = literal.astext().removesuffix('()').removeprefix('ls.')
        if text not in symbols or inside(literal, (nodes.reference, nodes.title,
                                                   addnodes.pending_xref)):
            continue
        if isinstance(literal.parent, nodes.term) and literal.parent[0] is literal:
            continue                       # an argument that bears a function's name
        ref = addnodes.pending_xref('', refdomain='py', reftype='obj',
                                    reftarget=symbols[text], refexplicit=True,
                                    refwarn=True, refdoc=app.env.docname)
        literal.replace_self(ref)
        ref += literal


THIN = '<mspace width="0.17em"/>'
SIGN, PRIME = '<m[in]>[^<]*</m[in]>', '<m[io]>&#x02032;</m[io]>'
RAISED = '<mo lspace="0" rspace="0">&#x02032;</mo>'
FUNCTION = '<mi>(?:log|ln|exp|cos|max|min)</mi>'

def mathml(latex, display):
    "A formula as browsers draw it by themselves"
    latex = re.sub(r'\\arg(?![a-z])', r'\\operatorname{arg}', latex)
    formula = convert(latex, display=display)
    # a prime is raised by its own form: as an index it would float
    formula = re.sub(rf'<msup>({SIGN}){PRIME}</msup>', rf'\1{RAISED}', formula)
    formula = re.sub(rf'<msubsup>({SIGN})({SIGN}){PRIME}</msubsup>',
                     rf'<msub><mrow>\1{RAISED}</mrow>\2</msub>', formula)
    unknown = re.search(r'<mi>\\[a-z]+', formula)
    if unknown: raise ValueError(f'no MathML for {unknown[0]!r} in {latex!r}')
    # a little space around the name of a function, but none before its base: that would
    # be a third part of two
    formula = re.sub(rf'(</m[in]>)(?={FUNCTION})', rf'\1{THIN}', formula)
    return re.sub(rf'(?<!<msub>)(?<!<msup>)({FUNCTION})(?=<m(?!o))', rf'\1{THIN}',
                  formula)


def inline_math(self, node):
    self.body.append(mathml(node.astext(), 'inline'))
    raise nodes.SkipNode


def display_math(self, node):
    self.body.append(f'<div class="math">{mathml(node.astext(), "block")}</div>')
    raise nodes.SkipNode


def inventory(section):
    "What a folded section holds, in words"
    cells = [c for c in section.findall(nodes.container) if 'cell' in c['classes']]
    def count(pattern, *tags):
        return sum(len(re.findall(pattern, c.astext(), re.M)[:1]) for c in cells
                   if {*tags} <= {*c['classes']})
    source = count(r'^(def|class) ', 'tag_exported')
    checks = count(r'\bassert |\btest_')
    passed = {0: '', 1: '1 check, passed'}.get(checks, f'{checks} checks, all passed')
    said = [f'the source ({source})' if source else '', passed]
    return 'Open: ' + (', '.join(filter(None, said)) or 'the details')


def fold(app, doctree):
    "A section `Prove` is closed; its line opens it, as does a link to a place in it"
    raw = lambda html: nodes.raw('', html, format='html')
    for section in list(doctree.findall(nodes.section)):
        title, *body = section.children
        if not re.match(r'Prove\b', title.astext()): continue
        summary = f'<summary>{inventory(section)}</summary>'
        section[1:] = [raw(f'<details class="prove">{summary}'), *body,
                       raw('</details>')]


def settle(app, doctree, name):
    """Code of `See` stands below its figure; figures are numbered, chapter by chapter;
    one that is wider than a phone scrolls in a box of its own"""
    for cell in doctree.findall(nodes.container):
        if 'tag_below' in cell['classes']: cell[:] = cell.children[::-1]
    for n, figure in enumerate(doctree.findall(nodes.figure), 1):
        word = '图' if name.endswith('_zh') else 'Figure'
        number = nodes.inline('', f'{word} {n}. ', classes=['caption-number'])
        figure.next_node(nodes.caption).insert(0, number)
    for image in list(doctree.findall(nodes.image)):
        box = nodes.container('', classes=['wide'])
        image.replace_self(box)
        box += image


def sidebar(app, name, template, context, doctree):
    "Parts and the titles of their pages, read once: the theme does it for each page"
    env = app.env
    if not hasattr(env, 'parts'):
        trees = env.tocs[app.config.root_doc].findall(addnodes.toctree)
        env.parts = [(tree['caption'], [(page, title or env.titles[page].astext())
                                        for title, page in tree['entries']])
                     for tree in trees]
    context['parts'] = env.parts


def describe(app, name, template, context, doctree):
    "What search engines, and people to whom a page is sent, see of it"
    lead = [p.astext() for p in doctree.findall(nodes.paragraph)
            if 'lead' in p['classes']] if doctree else []
    if not lead: return
    site = urls['Documentation']
    said = {'name="description"': lead[0], 'property="og:description"': lead[0],
            'property="og:title"': context['title'],
            'property="og:site_name"': project,
            'property="og:type"': 'article', 'property="og:url"': f'{site}/{name}.html',
            'property="og:image"': f'{site}/_images/index-md-1.png'}
    context['metatags'] += ''.join(
        f'<meta {key} content="{escape(re.sub(r"<[^>]+>", "", text))}">\n'
        for key, text in said.items())


def enliven(app, name, template, context, doctree):
    "Views that are outputs of cells get their script, which brings its style"
    body = context.get('body', '')
    if '<div data-llms=' in body and '/views.js' not in body:
        context['body'] += first_screen.scripts()


def languages(app, name, template, context, doctree):
    """The language of a page, and where a reader finds the other one: the same page, or
    the front page"""
    chinese = name.endswith('_zh')
    english, other = name.removesuffix('_zh'), f'{name.removesuffix("_zh")}_zh'
    both = other in app.env.found_docs
    if chinese: context['language'] = 'zh-CN'
    target = english if chinese else other if both else 'index_zh'
    if target in app.env.found_docs:
        context['switch'] = (dict(page=target, lang='en', text='English') if chinese
                             else dict(page=target, lang='zh-CN', text='中文'))
    if both: context['metatags'] += ''.join(
        f'<link rel="alternate" hreflang="{lang}" '
        f'href="{urls["Documentation"]}/{page}.html">\n'
        for lang, page in (('en', english), ('zh-CN', other)))


def inside(node, kinds):
    while node := node.parent:
        if isinstance(node, kinds): return True
    return False


class View(Directive):
    "A place for a view of web/views: ```{view} playground"
    required_arguments = 1

    def run(self):
        html = first_screen.html(self.arguments[0])
        return [nodes.raw('', html, format='html')]


def setup(app):
    app.add_directive('view', View)
    app.add_html_math_renderer('mathml', (inline_math, None), (display_math, None))
    app.connect('doctree-read', anchors)
    app.connect('doctree-read', link)
    app.connect('doctree-read', fold)
    app.connect('doctree-resolved', settle, priority=900)
    app.connect('html-page-context', sidebar)
    app.connect('html-page-context', describe)
    app.connect('html-page-context', languages)
    app.connect('html-page-context', enliven)
