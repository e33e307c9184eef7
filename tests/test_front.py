"""What a visitor meets first: README.md, the table of who has what, the way into Colab,
and the files that GitHub reads"""
import copy
import json
import re
import sys
from collections import Counter
from configparser import ConfigParser
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import nbformat
import pytest
import transformers
import yaml
from PIL import Image
from scripts import ROOT, script

import llm_sampling as ls

docs, field = script('docs/build.py'), script('tools/field.py')
cfg = ConfigParser()
cfg.read(ROOT/'settings.ini', encoding='utf-8')
cfg = cfg['DEFAULT']
READMES = {name: (ROOT/name).read_text(encoding='utf-8')
           for name in docs.FRONT.values()}
README = READMES['README.md']
REPO, SITE = docs.URLS['Repository'], docs.URLS['Documentation']
WORKFLOWS = sorted((ROOT/'.github/workflows').glob('*.yml'))
FORMS = sorted((ROOT/'.github/ISSUE_TEMPLATE').glob('[!c]*.yml'))
TARGETS = {*re.findall(r'^([\w-]+):', (ROOT/'Makefile').read_text(), flags=re.M)}


# --- README.md ---

def targets(text):
    "What the links, images and sources of a text lead to"
    return re.findall(r'\]\(([^)\s]+)\)|(?:src|srcset)="([^"]+)"', text)


def anchors(text):
    "Of the headings of a text, as GitHub makes them"
    heads = re.findall(r'^#+ (.+)$', text, flags=re.M)
    return {re.sub(r'[^\w -]', '', h.lower()).strip().replace(' ', '-') for h in heads}


def there(url):
    "Does an address of this project lead to something in this tree?"
    url, _, anchor = url.partition('#')
    if url.startswith(docs.IMAGES):
        return (ROOT/'docs/images'/url[len(docs.IMAGES) + 1:]).is_file()
    if url.startswith(f'{REPO}/blob/main/'):
        file = ROOT/url.removeprefix(f'{REPO}/blob/main/')
        return file.is_file() and (not anchor or anchor in anchors(file.read_text()))
    if url == REPO: return not anchor
    page = url.removeprefix(SITE).strip('/').removesuffix('.html')
    pages = {docs.page_name(p) for p in docs.notebooks(ROOT/'nbs')}
    return url.startswith(SITE) and page in {'', *pages, *docs.REFERENCE}


@pytest.mark.parametrize('name', READMES)
def test_links_of_the_readme_survive_elsewhere(name):
    "All are absolute, and those to this project lead to what is there"
    links = [a or b for a, b in targets(READMES[name])]
    assert len(links) > 80
    assert [u for u in links if not u.startswith('https://')] == []
    ours = [u for u in links if u.startswith((REPO, SITE, docs.IMAGES))]
    assert [u for u in ours if not there(u)] == []


def test_links_that_lead_nowhere_are_found():
    for bad in (f'{SITE}/no_such.html', f'{REPO}/blob/main/NO.md', f'{REPO}#none',
                f'{REPO}/blob/main/README.md#none', f'{docs.IMAGES}/none.png'):
        assert not there(bad)


def test_the_first_screen_says_what_and_how():
    "Install line, film, what it is and where to start stand before the first heading"
    first = README.split('\n## ')[0]
    for said in ('pip install', 'playground.webp', 'Where to start', 'tour.html'):
        assert said in first
    assert len(re.sub(r'\(https[^)]*\)|<[^>]*>', '', first).split()) < 320


@pytest.mark.parametrize('name', READMES)
def test_the_install_line_is_true(name):
    "Before the release, pip takes the repository; afterwards, the name"
    top = re.search(r'^## (.+)$', (ROOT/'CHANGELOG.md').read_text(), flags=re.M)[1]
    block = re.search(r'```sh\n(.*?)```', READMES[name], flags=re.S)[1]
    assert ('git+' in block) == ('unreleased' in top)


def test_the_film_is_short_and_goes_on():
    film = ROOT/'docs/images/playground.webp'
    assert film.stat().st_size < 1_000_000
    with Image.open(film) as moving, Image.open(film.with_suffix('.png')) as still:
        assert moving.n_frames > 15 and moving.info['loop'] == 0
        assert moving.size == still.size


@pytest.mark.parametrize('name', docs.badges())
def test_badges_say_what_is_declared(name):
    label, value = docs.badges()[name]
    svg = ElementTree.parse(ROOT/f'docs/images/badge-{name}.svg').getroot()
    assert [t.text for t in svg.iter() if t.tag.endswith('text')] == [label, value]
    assert value.removeprefix('>=') in (ROOT/'settings.ini').read_text()


# --- who has what ---

def test_what_the_table_has_here_is_here():
    for row in field.FIELD['rows']:
        assert bool(row['here']) == bool(row['file']), row['what']
        if row['here']:
            assert callable(attrgetter(row['here'])(ls))
            assert (ROOT/'nbs'/row['file']).is_file()


def test_the_table_holds_in_transformers():
    version = field.FIELD['systems']['transformers']['version']
    if transformers.__version__ != version: pytest.skip(f'the table has {version}')
    assert [*field.wrong('transformers', Path(transformers.__file__).parent)] == []


def test_a_wrong_mark_is_found(tmp_path):
    "One that is not in the sources, and one that they have and the table does not"
    (tmp_path/'sample_utils.py').write_text('    temp: float = 0\n    # mirostat\n')
    found = [*field.wrong('mlx-lm', tmp_path)]
    assert "mirostat: 'mirostat' is in sample_utils.py" in found
    assert any(f.startswith('top-k: no ') for f in found)
    assert not any(f.startswith(('temperature', 'DoLa')) for f in found)
    with pytest.raises(ValueError, match='no folder'):
        next(field.wrong('mlx-lm', tmp_path/'none'))


def test_the_readme_shows_the_table():
    "A line for each row, a mark for each system"
    table = README.split('## Who has what')[1].split('\n## ')[0]
    for row in field.FIELD['rows']:
        line, = re.findall(rf'^\| (?:\[{row["what"]}\]|{row["what"]} ).*$', table,
                           flags=re.M)
        marks = [cell.strip() for cell in line.split('|')[3:-1]]
        assert marks == [([*row['cells'].get(s, ['', '', '–']), '✔'])[2]
                         for s in field.FIELD['systems']]


# --- Colab ---

def ran(cell, monkeypatch, there):
    "What pip is asked when a cell of IPython runs, with Colab or without"
    from IPython.core.inputtransformer2 import TransformerManager
    asked = []
    class Shell:
        def run_line_magic(self, name, line): asked.append((name, line))
    for name in ('google', 'google.colab'):
        monkeypatch.setitem(sys.modules, name, ModuleType(name) if there else None)
    code = TransformerManager().transform_cell(cell)
    exec(code, {'get_ipython': Shell})
    return asked


def test_the_first_cell_installs_in_colab_only(monkeypatch, tmp_path):
    docs.colab(ROOT/'nbs', tmp_path/'colab')
    made = sorted((tmp_path/'colab').glob('*.ipynb'))
    assert {p.name for p in made} == {p.name for p in docs.notebooks(ROOT/'nbs')}
    for path in made:
        first, *rest = json.loads(path.read_text(encoding='utf-8'))['cells']
        assert ''.join(first['source']) == docs.INSTALL and len(rest) > 3
    assert ran(docs.INSTALL, monkeypatch, there=False) == []
    assert ran(docs.INSTALL, monkeypatch, there=True) == [
        ('pip', f'install -q "llm_sampling[widgets,measure] @ git+{REPO}"')]


def test_each_page_links_to_its_notebook_in_colab():
    path = ROOT/'nbs/03_top_k.ipynb'
    line = docs.opening(path, '# Top-k\n> Keep k', None)
    assert f'](https://colab.research.google.com/{REPO[8:].replace(".com", "")}' in line
    assert 'blob/colab/03_top_k.ipynb)' in line


# --- what GitHub reads ---

def steps(path):
    jobs = yaml.safe_load(path.read_text(encoding='utf-8'))['jobs'].values()
    return [step for job in jobs for step in job['steps']]


@pytest.mark.parametrize('path', WORKFLOWS, ids=lambda p: p.stem)
def test_workflows_are_pinned_and_name_what_there_is(path):
    """Actions by commit, with their version beside; targets of the Makefile; no right
    that is not asked for; an end"""
    text = path.read_text(encoding='utf-8')
    flow = yaml.safe_load(text)
    uses = [s['uses'] for s in steps(path) if 'uses' in s]
    assert [u for u in uses if not re.fullmatch(r'[\w./-]+@[0-9a-f]{40}', u)] == []
    assert len(re.findall(r'@[0-9a-f]{40}  # v\d', text)) == len(uses)
    asked = [t for s in steps(path)
             for t in re.findall(r'\bmake ([\w-]+)', s.get('run', ''))]
    assert asked or not any('run' in s for s in steps(path))
    assert {*asked} <= TARGETS
    assert flow['permissions'] == {'contents': 'read'}
    assert all(job['timeout-minutes'] <= 180 for job in flow['jobs'].values())


def test_workflows_do_what_is_promised():
    "Tests of each Python, oldest and newest; the site; a release without a password"
    assert {p.stem for p in WORKFLOWS} == {'tests', 'notebooks', 'site', 'release'}
    said = {p.stem: [s.get('run', s.get('uses', '')) for s in steps(p)]
            for p in WORKFLOWS}
    assert {'make test', 'make test-oldest', 'make test-newest'} <= {*said['tests']}
    assert 'make docs' in said['site'] and 'make test-long' in said['notebooks']
    release = yaml.safe_load((ROOT/'.github/workflows/release.yml').read_text())
    publish = release['jobs']['publish']
    assert publish['permissions'] == {'id-token': 'write'}
    assert publish['needs'] == 'build' and 'secrets' not in json.dumps(release['jobs'])


@pytest.mark.parametrize('path', FORMS, ids=lambda p: p.stem)
def test_issue_forms_are_whole(path):
    form = yaml.safe_load(path.read_text(encoding='utf-8'))
    assert form['name'] and form['description']
    asked = [b for b in form['body'] if b['type'] != 'markdown']
    ids = [b['id'] for b in asked]
    assert len({*ids}) == len(ids) and all(b['attributes']['label'] for b in asked)
    assert {b['type'] for b in asked} <= {'input', 'textarea', 'dropdown', 'checkboxes'}
    if path.stem == 'divergence':
        assert {'engine', 'version', 'logits', 'kept'} <= {
            b['id'] for b in asked if b.get('validations', {}).get('required')}


def test_the_citation_is_of_this_version():
    cite = yaml.safe_load((ROOT/'CITATION.cff').read_text(encoding='utf-8'))
    bibtex = dict(re.findall(r'^  (\w+) += \{(.*?)\},?$', README, flags=re.M))
    assert cite['version'] == bibtex['version'] == cfg['version']
    assert cite['repository-code'] == bibtex['url'] == REPO
    assert cite['license'] == bibtex['license'] == cfg['license']
    assert [{'name': cfg['author']}] == cite['authors']
    assert bibtex['author'] == f"{{{cfg['author']}}}"


# --- the archives ---

def tree(tmp_path, version='1.2.0', when='(2026-12-01)', line='pip install x'):
    (tmp_path/'settings.ini').write_text(f'[DEFAULT]\nversion = {version}\n')
    (tmp_path/'CHANGELOG.md').write_text(f'# Changelog\n\n## {version} {when}\n')
    (tmp_path/'README.md').write_text(line)
    return tmp_path


@pytest.mark.parametrize('change, said', [
    ({}, None), (dict(version='1.3.0'), 'the version v1.3.0'),
    (dict(when='(unreleased)'), 'CHANGELOG.md has no line'),
    (dict(line='pip install git+https://x'), 'README.md installs from')])
def test_what_stands_in_the_way_of_a_release(tmp_path, change, said):
    found = [*script('tools/release.py').missing('v1.2.0', tree(tmp_path, **change))]
    assert [said in f for f in found] == ([True] if said else [])


# --- in Chinese ---

follow = script('tools/follow.py')
PAIRS = {english.stem: (nbformat.read(english, 4), nbformat.read(other, 4))
         for english, other in follow.pairs()}


@pytest.mark.parametrize('name', ['index', 'tour'])
def test_translations_have_the_code_and_the_outputs(name):
    english, other = PAIRS[name]
    why = f'{name}_zh is behind {name}: run tools/follow.py'
    assert follow.followed(english, other) == other, why
    code = [[re.sub(follow.OWN, '', c.source, flags=re.M) for c in nb.cells
             if c.cell_type == 'code'] for nb in (english, other)]
    assert code[0] == code[1] and len(code[0]) > 6


def test_a_translation_that_is_behind_is_found():
    english, other = (copy.deepcopy(nb) for nb in PAIRS['tour'])
    cell = next(c for c in english.cells if 'topk(8)' in c.source)
    cell.source = cell.source.replace('topk(8)', 'topk(9)')
    new = follow.followed(english, other)
    changed, = [c for c, old in zip(new.cells, other.cells) if c != old]
    assert 'topk(9)' in changed.source and '最可能的八个' in changed.source
    del english.cells[-1]
    with pytest.raises(ValueError, match='cell by cell'):
        follow.followed(english, other)


def test_the_names_in_a_table_are_translated():
    english, other = (next(c.outputs[0]['data']['text/markdown'] for c in nb.cells
                           if 'field.json' in c.source and c.outputs)
                      for nb in PAIRS['index'])
    for a, b in zip(english.splitlines(), other.splitlines(), strict=True):
        assert a.split(' | ')[2:] == b.split(' | ')[2:], b        # the marks stand
    for row in ('| [温度](01_softmax.ipynb) | ✔', '| 水印 | –', '| [top-k](03_top_k',
                '|  | 这里 | transformers |'):
        assert row in other


def links(nb):
    "Where the prose leads, in order; a translation and its original are one place"
    prose = '\n'.join(c.source for c in nb.cells if c.cell_type == 'markdown')
    found = re.findall(r'\]\((?!#)([^)]+)\)', prose)
    return Counter(u.replace('_zh.ipynb', '.ipynb') for u in found)


@pytest.mark.parametrize('name', ['index', 'tour'])
def test_translations_lead_where_the_originals_lead(name):
    english, other = map(links, PAIRS[name])
    assert english - other == Counter()
    assert {*other} - {*english} <= {'index.ipynb', 'tour.ipynb'}


@pytest.mark.parametrize('name', ['index', 'tour'])
def test_prose_is_translated(name):
    """Each cell of prose has Chinese letters and no English sentence; headings and rows
    of tables are as many"""
    pairs = [(a.source, b.source) for a, b in zip(*(nb.cells for nb in PAIRS[name]))
             if a.cell_type == 'markdown']
    for english, other in pairs:
        if '{view}' in english: continue
        assert re.search('[\u4e00-\u9fff]', other), english[:60]
        for mark in (r'^#+ ', r'^\| ', r'^- ', r'\*\*'):
            count = [len(re.findall(mark, t, flags=re.M)) for t in (english, other)]
            assert count[0] == count[1], (mark, english[:60])
        plain = re.sub(r'`[^`]*`|\([^)]*\)|```.*?```', '', other, flags=re.S)
        assert not re.search(r'(\b[a-z]+ ){5}', plain), plain[:80]
