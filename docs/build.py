"""Build the site, README.md and README.zh.md from the notebooks.

    python docs/build.py                 # site -> _docs/, and readmes; 1 on a warning
    python docs/build.py --readme-only   # the readmes alone
    python docs/build.py --site-only     # the site alone
    python docs/build.py --check-readme  # 1 if one is not what its notebook gives
    python docs/build.py --colab         # dist/colab/: the notebooks, with a first cell
                                         # that installs the package in Colab

Notebooks hold MyST markdown and stored outputs. nbdev's processors drop what its
directives hide; here the rest becomes pages for Sphinx, each exported symbol gets an
API block, and each page a markdown twin. Nothing is executed and nothing is fetched."""
import argparse
import ast
import base64
import gc
import inspect
import re
import shutil
import sys
import tomllib
from collections import Counter
from configparser import ConfigParser
from functools import cached_property
from html import escape
from importlib import import_module
from operator import attrgetter
from pathlib import Path

from fastcore.basics import listify
from fastcore.docments import DocmentText, docments
from fastcore.nbio import mk_cell, new_nb, read_nb, write_nb
from nbdev.config import get_config, nbpath2html
from nbdev.doclinks import patch_name
from nbdev.process import NBProcessor
from nbdev.processors import (filter_stream_, hide_, hide_line, rm_export,
                              rm_header_dash, strip_ansi)

ROOT = Path(__file__).resolve().parent.parent
# The sidebar: each part and the number of its first notebook
PARTS = {'Start': None, 'I. One token': '01', 'II. A text': '09c',
         'III. A search': '12b', 'IV. In use': '21', '中文': None,
         'Reference': None, 'Helpers': '00'}
REFERENCE = ['api', 'changelog']
# The API page: which modules serve a task
TASKS = {
    'Temperature and probabilities': 'softmax',
    'Filters': 'top_k top_p min_p typical gallery',
    'Filters that move with the text or a roll': 'adaptive mirostat budgets',
    'History': 'penalties repeats',
    'Draws': 'multinomial noise',
    'The sampler': 'sampler call batches steps own_steps shortlist token_texts '
                   'explain',
    'What a strategy is asked, and tells': 'request text_stream record path_record',
    'Models': 'models prompts architectures folders table_model caches',
    'Generation': 'rows generation',
    'The token tree': 'token_tree tree_books backends',
    'Beams': 'beam beam_stream diverse constrained stochastic',
    'Contrast': 'contrastive logit_contrast exits',
    'Tree search': 'mcts selection rollouts likely',
    'Best of several texts': 'rerank vote', 'In other libraries': 'hf settings',
    'What is measured of texts': 'comparison equal_terms findings metrics judge mauve '
                                 'intervals',
    'Sweeps': 'sweeps results cells cluster', 'Speed': 'speed',
    'The command line': 'cli cli_options cli_console cli_generate cli_measure cli_demo',
    'Strategies as JSON': 'specs',
    'In engines, and in training': 'serving engines replay',
    'In the evaluation harness': 'harness',
    'Side by side': 'explorer',
    'Views of a model': 'live answers',
    'A task with checkable answers': 'sums',
    'The bundled model': 'default_model',
    'Checks of arguments': 'knobs',
    'Figures, widgets, tests': 'plots widgets testing'}
META = tomllib.loads((ROOT/'pyproject.toml').read_text(encoding='utf-8'))
URLS = META['project']['urls']
CFG = ConfigParser()
CFG.read(ROOT/'settings.ini', encoding='utf-8')
CFG = CFG['DEFAULT']
NBDEV = ('default_exp export exports exporti exportd hide hide_line filter_stream '
         'notest cuda slow net')
OURS = 'varies echo output code-fold code-summary fig-cap fig-alt'
KNOWN = {*NBDEV.split(), *OURS.split()}
ALERTS = {'note', 'tip', 'important', 'warning', 'caution'}
# Pages that have moved: what stands at an old address leads to the new page
MOVED = {'beam_variants': 'diverse'}
# What people look for by other words than titles, and the page that teaches it
SEARCHED = {'softmax': 'temperature', 'top_p': 'nucleus; nucleus sampling',
            'multinomial': 'sampling; greedy', 'noise': 'seed; gumbel-max',
            'penalties': 'repetition penalty; frequency penalty; presence penalty',
            'repeats': 'dry; n-gram; ban', 'mirostat': 'perplexity', 'adaptive': 'xtc',
            'generation': 'generate; streaming; stop', 'beam': 'beam; beams; num_beams',
            'mcts': 'mcts; tree search', 'rerank': 'best-of-n; reranking',
            'vote': 'self-consistency; mbr', 'exits': 'dola', 'token_tree': 'kv cache',
            'logit_contrast': 'cfg; guidance', 'primer': 'token; logits; entropy',
            'min_p': 'min_p', 'top_k': 'top_k', 'typical': 'typical_p'}
WIDGET = 'application/vnd.jupyter.widget-view+json'

# --- which pages there are ---

def part(path):
    "Caption of the part that a notebook belongs to, by the number it begins with"
    if is_chinese(path): return '中文'
    number = re.match(r'\d+[a-z]?', path.name)
    if not number or path.stem == '00_primer': return 'Start'
    return max((first, c) for c, first in PARTS.items() if first is not None
               and first <= number[0])[1]

def is_chinese(path): return path.stem.endswith('_zh')

def page_name(path): return nbpath2html(Path(path.name)).stem

def notebooks(nbs):
    "Notebooks in reading order: index, then part by part"
    paths = [p for p in nbs.glob('*.ipynb') if p.name[0] not in '._']
    return sorted(paths,
                  key=lambda p: (p.stem != 'index', list(PARTS).index(part(p)), p.stem))

def toctrees(paths):
    "The sidebar: one hidden toctree per part that has pages"
    parts = {c: [page_name(p) for p in paths if p.stem != 'index' and part(p) == c]
             for c in PARTS}
    parts['Reference'] = REFERENCE
    parts['中文'] = ['首页 <index_zh>' if n == 'index_zh' else n for n in parts['中文']]
    return '\n\n'.join(f'```{{toctree}}\n:hidden:\n:caption: {c}\n\n' + '\n'.join(names)
                       + '\n```'
                       for c, names in parts.items() if names)

# --- what is left of a notebook ---

def read(path):
    "A notebook as nbdev would show it, directives parsed into `cell.directives_`"
    procs = [strip_ansi, hide_line, filter_stream_, rm_header_dash, rm_export_quietly,
             hide_]
    proc = NBProcessor(path, procs=procs, rm_directives=True)
    for cell in proc.nb.cells: check(cell, path)
    proc.process()
    return proc.nb

def rm_export_quietly(cell):
    """Like nbdev's `rm_export`, but the cell stays, empty: its symbols get their API
    blocks there"""
    shown = cell.cell_type == 'code' and 'hide' not in cell.directives_
    if shown and 'export' in cell.directives_:
        cell.api_, cell.source, cell.outputs = api_names(cell), '', []
    else:
        if 'exports' in cell.directives_: cell.api_ = api_names(cell)
        rm_export(cell)

def check(cell, path):
    "Refuse what would leak into the page"
    where = f'{path.name}, cell {cell.source.strip()[:60]!r}'
    unknown = set(cell.directives_) - KNOWN
    if unknown: raise ValueError(f'{where}: unknown directive {sorted(unknown)}')
    quarto = re.search(r'^:{3,} *\{?\.|\{\{<|(?<![\w@`])@(fig|tbl)-', cell.source,
                       flags=re.M)
    if cell.cell_type == 'markdown' and quarto:
        raise ValueError(f'{where}: Quarto syntax {quarto[0]!r}; write MyST')
    for output in cell.get('outputs', []):
        if WIDGET in output.get('data', {}):
            raise ValueError(f'{where}: live widget stored; use tools/run_nbs.py')
        if output.output_type == 'error':
            raise ValueError(f'{where}: stored error output')
        if 'image/png' in output.get('data', {}) and not {
            'fig-alt', 'fig-cap', 'hide'} & set(cell.directives_):
            raise ValueError(
                f'{where}: say what the figure shows, in a line #| fig-alt: ...')
        html = ''.join(output.get('data', {}).get('text/html', ''))
        if 'llms-player' in html and '<svg' in html and 'alt=' not in cell.source:
            raise ValueError(f'{where}: say what the pictures show, frames(alt=...)')

def title(source):
    "`# Title` and `> subtitle` of a notebook's first cell, and what follows them"
    m = re.match(r'# (.+)\n+(?:> (.+)\n?)?', source)
    if not m:
        raise ValueError(
            f'a notebook begins with "# Title" and "> subtitle", not {source[:60]!r}')
    return m[1].strip(), (m[2] or '').strip(), source[m.end():].strip()

def module_of(path):
    "Module that a notebook exports, or None"
    name = re.search(r'#\| default_exp (\w+)', path.read_text(encoding='utf-8'))
    return import_module(f'{get_config(ROOT).lib_name}.{name[1]}') if name else None

# --- API blocks ---

def is_public(name): return not name.startswith('_') or name == '__call__'

def members(node):
    "Names of a class's documented methods"
    if not isinstance(node, ast.ClassDef): return []
    return [f.name for f in node.body if isinstance(f, ast.FunctionDef)
            and is_public(f.name) and ast.get_docstring(f)]

def api_names(cell):
    """Public symbols that an exported cell defines (`Class.method` if patched), each
    with its members"""
    defs = [n for n in cell.parsed_() or []
            if isinstance(n, (ast.FunctionDef, ast.ClassDef))]
    pairs = [(name, members(node)) for node in defs
             for name in listify(patch_name(node))]
    return [(name, inner) for name, inner in pairs if is_public(name.split('.')[-1])]

PROPERTY = property, cached_property

def kind(name, obj, owner):
    "Directive of Sphinx's Python domain that describes `obj`"
    if isinstance(obj, PROPERTY): return 'property'
    if inspect.isclass(obj): return 'class'
    return 'method' if owner or '.' in name else 'function'

def signature(obj):
    "Arguments and defaults; types stand in the list below"
    if isinstance(obj, PROPERTY): return ''
    if inspect.isclass(obj) and not {'__init__', '__new__'} & set(vars(obj)):
        return ''  # it inherits them
    sig = inspect.signature(obj)
    params = [p.replace(annotation=p.empty) for p in sig.parameters.values()
              if p.name != 'self']
    return str(sig.replace(parameters=params, return_annotation=sig.empty))

def type_text(annotation):
    "A type as one writes it: `Tensor`, not `torch.Tensor`"
    text = inspect.formatannotation(annotation).replace("'", '')
    return re.sub(r'\b(?:\w+\.)+(\w+)', r'\1', text)

def inline(text):
    """Text whose lines begin no block: a leading `>`, `#`, `-` or `1.` is a sign, not a
    quotation, heading or list"""
    return re.sub(r'^( *(?:\d+(?=[.)] )|(?=[>#+*|_%~:=<{-])))', r'\1\\', text,
                  flags=re.M)

def parameters(obj):
    "A definition list of the documented parameters and the result"
    docs = docments(obj, full=True, args_kwargs=True)
    docs.pop('self', None)
    rows = []
    for name, d in docs.items():
        if not d.docment: continue
        typed = '' if d.anno in (inspect.Parameter.empty,
                                 type(None)) else f' `{type_text(d.anno)}`{{.api-type}}'
        head = '[returns]{.api-returns}' if name == 'return' else f'`{name}`'
        text = inline(d.docment).replace('\n', '\n  ')
        rows.append(f'{head}{typed}\n: {text}\n')
    return '\n'.join(rows)

def summary(obj):
    """First paragraph of a docstring, as one line: the package adds the parameters
    below it, which a page lists by itself"""
    return ' '.join((inspect.getdoc(obj) or '').partition('\n\n')[0].split('\n'))

def api_text(obj):
    "A signature with its comments, and the docstring's first paragraph"
    words = f'\n    "{summary(obj)}"' if summary(obj) else ''
    return str(DocmentText(obj, docstring=False)) + words

def api_block(module, name, inner=(), owner=None):
    "MyST for one symbol: signature, docstring, parameters, and for a class its members"
    obj = attrgetter(f'{owner}.{name}' if owner else name)(module)
    target = getattr(obj, 'fget', getattr(obj, 'func', obj))
    body = [inline(summary(target)), parameters(target) if signature(obj) else '']
    body += [api_block(module, member, owner=name) for member in inner]
    fence, place = ((':::::', '') if owner
                    else ('::::::', f':module: {module.__name__}\n'))
    return (f'{fence}{{py:{kind(name, obj, owner)}}} {name}{signature(obj)}\n{place}\n'
            + '\n\n'.join(part for part in body if part) + f'\n{fence}')

# --- the API page ---

def public():
    """Dotted name -> object, for each public function and class, the modules in the
    order of `TASKS`"""
    lib = get_config(ROOT).lib_name
    order = ' '.join(TASKS.values()).split()
    missing = {name.split('.')[-1]
               for name in import_module(f'{lib}._modidx').d['syms']} - {*order}
    if missing:
        raise ValueError('say which task these modules serve, in TASKS of '
                         f'docs/build.py: {sorted(missing)}')
    modules = [import_module(f'{lib}.{name}') for name in order]
    return {f'{m.__name__}.{name}': getattr(m, name) for m in modules
            for name in getattr(m, '__all__', ())
            if defines(m, getattr(m, name))}

def defines(module, obj):
    "Is it a function or a class of this module?"
    made = inspect.isroutine(obj) or inspect.isclass(obj)
    return made and obj.__module__ == module.__name__

def call(name):
    "What one types to get the object of this dotted name"
    lib, module, name = name.split('.')
    return f'ls.{name}' if name in import_module(lib).__all__ else f'ls.{module}.{name}'

def api_page():
    """Markdown that lists every public name once, by task, the names at the top of the
    package first"""
    lines = ['# API by task', '', '{.lead}',
             'Every public name once; each leads to its place in the chapter that '
             'derives it.', '',
             '`import llm_sampling as ls`. The same names from a to z: '
             '{ref}`genindex`.', '']
    for task, modules in TASKS.items():
        rows = [(call(name), name, obj) for name, obj in public().items()
                if name.split('.')[1] in modules.split()]
        lines += [f'## {task}', '', '| name | what it does |', '|---|---|']
        for called, name, obj in sorted(rows, key=lambda r: r[0].count('.')):
            says = summary(obj).replace('|', r'\|')
            lines.append(f'| {{py:obj}}`{called} <{name}>` | {inline(says)} |')
        lines.append('')
    return '\n'.join(lines)

# --- MyST pages ---

VERBATIM = re.compile('(```.*?```|`[^`]*`)', flags=re.S)

def joined_percents(source):
    "A percent sign stays with its number; code is left alone"
    return ''.join(part if i % 2 else re.sub(r'(?<=\d) %', '\u00a0%', part)
                   for i, part in enumerate(VERBATIM.split(source)))

def relink(source):
    """Links between notebooks lose the number, as pages do; those to our own site stay
    in it"""
    source = source.replace(f"]({URLS['Changelog']})", '](changelog.md)')
    source = re.sub(rf"\]\({re.escape(URLS['Documentation'])}/(\w+)\.html", r'](\1.md',
                    source)
    return re.sub(r'\]\((\d+[a-z]*_)?([\w-]+)\.ipynb', r'](\2.ipynb', source)

FRONT = {'index': 'README.md', 'index_zh': 'README.zh.md'}
OFFERED = [('Download this notebook', 'open in Colab', 'edit this page'),
           ('下载这个笔记本', '在 Colab 中打开', '编辑这一页')]

def opening(path, source, module):
    "Title, subtitle and the line below them"
    head, lead, rest = title(source)
    lead = f'{{.lead}}\n{lead}\n\n' if lead else ''
    named = f' · module `{module.__name__}`' if module else ''
    download, in_colab, change = OFFERED[is_chinese(path)]
    link = f'{{download}}`{download} </_nb/{path.name}>`'
    edit = f"[{change}]({URLS['Repository']}/edit/main/nbs/{path.name})"
    opened = f'[{in_colab}]({colab_url(path)})'
    line = f'{{.nb-link}}\n{link} · {opened} · {edit}{named}\n\n'
    if path.stem in FRONT: line = ''
    words = filter(None, SEARCHED.get(page_name(path), '').split('; '))
    index = ''.join(f'```{{index}} ! {w}\n```\n\n' for w in words)
    return f'# {head}\n\n{lead}{line}{index}{relink(rest)}'

def tags(cell):
    "MyST-NB's names for what the directives ask"
    d, found = cell.directives_, []
    if d.get('echo') == 'false': found.append('remove-input')
    if d.get('output') == 'false': found.append('remove-output')
    if d.get('code-fold', 'false') != 'false':
        solution = d.get('code-summary', '').strip('"\'').startswith(('Solution', '答案'))
        found.append('hide-cell' if cell.outputs and solution else 'hide-input')
    if 'below' in d: found.append('below')
    if 'exports' in d: found.append('exported')
    if any(map(is_prose, texts(cell.outputs))): found.append('prose')
    return found

def is_prose(text):
    "Is the longest line running text, which may wrap, and not a row of a table?"
    if is_aligned(text): return False
    longest = max(text.splitlines(), key=len, default='')
    run = max(longest.split('  '), key=len)
    words = len(run) > 88 or sum(map(str.isalpha, run)) > len(run) / 4
    return len(run) > 48 and words

def is_aligned(text):
    "Do most lines have two columns or more that begin at the same places?"
    lines = text.splitlines()
    begins = Counter(m.end() for line in lines for m in re.finditer(r'\S {2,}', line))
    shared = sum(n > max(1, len(lines) / 2) for n in begins.values())
    return shared > 1 and max(map(len, lines)) <= 92      # so much fits a wide page

def figure(cell):
    """Caption, alternative text and fold title, as MyST-NB reads them from a cell's
    metadata"""
    d, meta = cell.directives_, {}
    if 'code-summary' in d:
        meta['code_prompt_show'] = meta['code_prompt_hide'] = d['code-summary'].strip(
            '"\'')
    caption, alt = (d.get(key, '').strip('"\'') for key in ('fig-cap', 'fig-alt'))
    drawn = any('image/png' in o.get('data', {}) for o in cell.outputs)
    if drawn: meta['image'] = {'alt': alt or caption}
    if caption or drawn: meta['figure'] = {'caption': caption or as_is(alt)}
    return meta

def as_is(text):
    "Text for MyST in which no sign has a meaning"
    return inline(re.sub(r'[\\`*_{}\[\]<>$|~^]', r'\\\g<0>', text))

def texts(outputs, kind='text/plain'):
    "What a cell printed, or displayed as text of this kind"
    return [''.join(o.get('text') or o.get('data', {}).get(kind, '')) for o in outputs]

def only_imports(cell):
    "Is that plumbing, which a reader may skip?"
    body = ast.parse(cell.source).body
    return bool(body) and all(isinstance(n, (ast.Import, ast.ImportFrom)) for n in body)

def fold(cell, title):
    "Fold the code of a cell, unless a directive says how, or the source matters"
    if not {'code-fold', 'exports', 'echo'} & {*cell.directives_}:
        cell.directives_ |= {'code-fold': 'true', 'code-summary': title}

PLUMBING = IMPORTS, SETUP, CODE = 'Imports', 'Imports and set-up', 'The code'
CHINESE = dict(zip(PLUMBING, ('导入', '导入与准备', '代码')))

def fold_plumbing(cells):
    """Imports are folded, what is set up before `See`, and all code of `See`, where the
    figure comes first and its code below"""
    section = ''
    see = any(re.search('^## See$', c.source, flags=re.M) for c in cells)
    for cell in cells:
        if cell.cell_type == 'markdown':
            heads = re.findall(r'^## (.+)', cell.source, flags=re.M)
            section = heads[-1] if heads else section
        elif only_imports(cell): fold(cell, IMPORTS)
        elif see and not section and not cell.outputs: fold(cell, SETUP)
        elif section == 'See':
            fold(cell, CODE)
            if cell.outputs: cell.directives_['below'] = ''

def join_folds(cells):
    "Folded code that shows nothing moves into the fold that follows at once"
    def plumbing(cell):
        title = cell.cell_type == 'code' and cell.directives_.get('code-summary')
        return title in PLUMBING and title
    before = None
    for cell in cells:
        if not cell.source.strip() and not cell.get('api_'): continue
        if before and plumbing(before) and plumbing(cell) and not before.outputs:
            title = max(plumbing(before), plumbing(cell), key=PLUMBING.index)
            cell.directives_['code-summary'] = title
            cell.source, before.source = f'{before.source}\n\n{cell.source}', ''
        before = cell

def name_folds(cells):
    "Titles of folded plumbing in Chinese"
    for cell in cells:
        said = cell.get('directives_', {}).get('code-summary')
        if said in PLUMBING: cell.directives_['code-summary'] = CHINESE[said]

def borrowed(module):
    "Where the names come from that the source of a chapter takes from other chapters"
    nodes = ast.parse(inspect.getsource(module)).body if module else ()
    froms = [n for n in nodes if isinstance(n, ast.ImportFrom) and n.level and n.module]
    said = [', '.join(f'`{a.name}`' for a in n.names)
            + f' ([{n.module}]({n.module}.ipynb))' for n in froms]
    return f"Names of other chapters: {'; '.join(said)}." if said else ''

def tell_borrowed(cells, module):
    "Say so below the first paragraph of `Prove`, where the source begins"
    line = borrowed(module)
    for cell in cells:
        if not line or cell.cell_type != 'markdown': continue
        cell.source = re.sub(r'^## Prove.*\n+(?:[^#\n].*\n)*[^#\n].*$',
                             lambda m: f'{m[0]}\n\n{line}', cell.source, flags=re.M)

def code_cell(cell):
    "A code cell for MyST-NB"
    if cell.directives_.get('output') == 'asis':
        return mk_cell(relink('\n\n'.join(texts(cell.outputs, 'text/markdown'))),
                       'markdown')
    meta = {'tags': tags(cell)}
    if figure(cell): meta['mystnb'] = figure(cell)
    return mk_cell(cell.source, metadata=meta, outputs=cell.outputs,
                   execution_count=cell.get('execution_count'))

def page(path, nb):
    "The notebook that Sphinx reads"
    module = module_of(path)
    fold_plumbing(nb.cells)
    join_folds(nb.cells)
    if is_chinese(path): name_folds(nb.cells)
    tell_borrowed(nb.cells, module)
    cells = [mk_cell(opening(path, nb.cells[0].source, module), 'markdown')]
    for cell in nb.cells[1:]:
        cells += [mk_cell(api_block(module, *symbol), 'markdown')
                  for symbol in cell.get('api_', [])]
        if not cell.source.strip(): continue
        cells.append(code_cell(cell) if cell.cell_type == 'code'
                     else mk_cell(relink(joined_percents(cell.source)), 'markdown'))
    for i, cell in enumerate(cells): cell['id'] = f'c{i}'
    return new_nb(cells, {'kernelspec': {'name': 'python3', 'display_name': 'python3',
                                         'language': 'python'},
                          'language_info': {'name': 'python',
                                            'pygments_lexer': 'python3'}})

# --- Colab ---

# Colab opens notebooks of a repository: those of a branch that the workflow `site`
# makes of dist/colab. The notebooks of nbs/ stay as they are
INSTALL = f'''try: import google.colab
except ImportError: pass    # only Colab lacks the package
else:
    %pip install -q "llm_sampling[widgets,measure] @ git+{URLS['Repository']}"'''

def colab_url(path):
    "The address at which Colab opens a notebook"
    repo = URLS['Repository'].replace('https://github.com/', 'github/')
    return f'https://colab.research.google.com/{repo}/blob/colab/{path.name}'

def colab(nbs, out):
    "Copies of the notebooks, which begin with a cell that installs the package"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for path in notebooks(nbs):
        nb = read_nb(path)
        nb.cells.insert(0, mk_cell(INSTALL, id='install'))
        write_nb(nb, out/path.name)

# --- plain markdown: README.md and the twins ---

def plain(source):
    "MyST's notes as GitHub's alerts"
    def alert(m):
        if m[2] not in ALERTS: return f'**{m[3].strip()}**\n\n{m[4].strip()}'
        lines = [f'[!{m[2].upper()}]', *m[4].strip().splitlines()]
        return '\n'.join(f'> {line}'.rstrip() for line in lines)
    source = re.sub(r'^(:{3,})\{([\w:-]+)\}([^\n]*)\n(.*?)\n\1[ \t]*$', alert, source,
                    flags=re.M | re.S)
    return re.sub(r'^```\{.*?^```\n?', '', source, flags=re.M | re.S)

def plain_output(output, save, alt):
    """One output as markdown; `save(png)` gives the path of an image, which reads `alt`
    aloud"""
    data = output.get('data', {})
    if output.output_type == 'stream':
        return f"```\n{''.join(output.text).rstrip()}\n```"
    if 'text/markdown' in data: return ''.join(data['text/markdown'])
    if 'image/png' in data:
        return f"![{alt}]({save(base64.b64decode(''.join(data['image/png'])))})"
    if 'text/html' in data: return '*(interactive, or coloured: see the page)*'
    return f"```\n{''.join(data.get('text/plain', ''))}\n```"

def markdown(path, nb, save):
    "A notebook as GitHub markdown"
    head, lead, rest = title(nb.cells[0].source)
    blocks = [f'# {head}', f'> {lead}' if lead else '', plain(rest)]
    for cell in nb.cells[1:]:
        d = cell.directives_
        if cell.cell_type == 'markdown': blocks.append(plain(cell.source))
        elif 'export' in d:
            blocks += [f'```python\n{api_text(attrgetter(n)(module_of(path)))}\n```'
                       for n, _ in cell.api_]
        else:
            if d.get('echo') != 'false' and cell.source:
                blocks.append(f'```python\n{cell.source}\n```')
            if d.get('output') != 'false':
                blocks += [
                    plain_output(o, save, figure(cell).get('image', {}).get('alt', ''))
                    for o in cell.outputs]
    return '\n\n'.join(b.strip() for b in blocks if b.strip()) + '\n'

def saver(folder, stem, prefix, write=True):
    """Function that numbers and writes images (or only compares them), and returns
    their links"""
    count = 0
    def save(png):
        nonlocal count
        count += 1
        path = folder/f'{stem}-{count}.png'
        if write:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png)
        elif not path.exists() or path.read_bytes() != png:
            return f'{path.name} is stale'
        return f'{prefix}{stem}-{count}.png'
    return save

# What README.md shows in the place of a view: a film, and a still for those who asked
# for less motion. Its links are absolute: a package index shows it, too
FILM = """<picture>
<source media="(prefers-reduced-motion: reduce)" srcset="{0}/playground.png">
<img src="{0}/playground.webp" alt="{1}" width="600">
</picture>"""
FILMED = [('The playground of the site: bars of the chances of the next token before '
           'and after the steps of a sampler. A less likely token is forced, and the '
           'text goes on from it.'),
          ('网站上的游乐场：柱条是采样器各步骤前后下一个词元的概率。'
           '强制选一个不那么可能的词元，文本从它继续。')]
IMAGES = (f"{URLS['Repository']}/main/docs/images"
          .replace('github.com', 'raw.githubusercontent.com'))

def badges():
    "What a reader may need to know at once, as name -> (label, value)"
    need = dict(re.findall(r'(\w+)(>=[\d.]+)', CFG['requirements']))
    return {'python': ('Python', f">={CFG['min_python']}"),
            'torch': ('PyTorch', need['torch']), 'license': ('license', CFG['license'])}

def badge(label, value):
    "A badge as SVG"
    a, b = (round(6.6 * len(text)) + 12 for text in (label, value))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{a + b}" height="20" '
            f'role="img" aria-label="{escape(label)} {escape(value)}">\n'
            f'<rect width="{a + b}" height="20" rx="4" fill="#33415c"/>\n'
            f'<path d="M{a} 0h{b - 4}a4 4 0 0 1 4 4v12a4 4 0 0 1-4 4h-{b - 4}z" '
            'fill="#2463b4"/>\n'
            '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" '
            'font-size="11" text-anchor="middle">\n'
            f'<text x="{a / 2}" y="14">{escape(label)}</text>\n'
            f'<text x="{a + b / 2}" y="14">{escape(value)}</text>\n</g>\n</svg>\n')

def readme(path, write=True):
    "README.md or README.zh.md as text; its figures and badges go to docs/images"
    nb, images = read(path), ROOT/'docs/images'
    for cell in nb.cells:
        if cell.source == '```{view} playground\n```':
            cell.source = FILM.format(IMAGES, FILMED[is_chinese(path)])
    text = markdown(path, nb, saver(images, 'readme', f'{IMAGES}/', write))
    links = []
    for name, said in badges().items():
        file = images/f'badge-{name}.svg'
        if write: file.write_text(badge(*said), encoding='utf-8')
        elif file.read_text(encoding='utf-8') != badge(*said): links.append('stale')
        links.append(f'![{said[0]} {said[1]}]({IMAGES}/{file.name})')
    head, lead, rest = text.split('\n\n', 2)
    return absolute('\n\n'.join([head, lead, ' '.join(links), rest]), FRONT[path.stem])

def absolute(text, name):
    """Links of a readme of this name to its own headings, to the other readme, and to
    notebooks, which have pages"""
    file = f"{URLS['Repository']}/blob/main"
    text = text.replace('](#', f']({file}/{name}#')
    for stem, other in FRONT.items():
        text = text.replace(f']({stem}.ipynb', f']({file}/{other}')
    return re.sub(r'\]\((?:\d+[a-z]*_)?([\w-]+)\.ipynb',
                  rf"]({URLS['Documentation']}/\1.html", text)

def twin(path, nb, out):
    "`page.html.md`: what a language model reads instead of the page"
    name = page_name(path)
    text = markdown(path, nb, saver(out/'_images', f'{name}-md', '_images/'))
    text = re.sub(r'\]\(([\w-]+)\.ipynb', r'](\1.html.md', relink(text))
    (out/f'{name}.html.md').write_text(text, encoding='utf-8')

def engine(out):
    "The engine, its weights and the views, where pages that show a view find them"
    sys.path.insert(0, str(ROOT/'tools'))
    import web
    web.build(out/'_static/engine')

def redirect(old, new, out):
    "A page at an old address that leads to the new one, with and without scripts"
    link = f'{new}.html'
    (out/f'{old}.html').write_text(
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<title>Moved to {link}</title>\n'
        f'<meta http-equiv="refresh" content="0; url={link}">\n'
        f'<link rel="canonical" href="{link}">\n</head>\n'
        f'<body><p>This page has moved to <a href="{link}">{link}</a>.</p></body>\n'
        '</html>\n', encoding='utf-8')
    (out/f'{old}.html.md').write_text(
        f'This page has moved to [{new}.html.md]({new}.html.md).\n', encoding='utf-8')

def redirects(pages, out):
    "A page for each old address; its target must exist, and no page may stand there"
    for old, new in MOVED.items():
        if old in pages or new not in pages:
            raise ValueError(f'MOVED: {old} must be no page, and {new} must be one')
        redirect(old, new, out)

# --- the whole ---

def sources(pages, src):
    "Write Sphinx's source folder, of notebooks by their paths"
    shutil.rmtree(src, ignore_errors=True)
    (src/'_nb').mkdir(parents=True)
    for path, nb in pages.items():
        shutil.copy2(path, src/'_nb')
        nb = page(path, nb)
        if path.stem == 'index':
            nb.cells.append(mk_cell(toctrees([*pages]), 'markdown', id='toc'))
        write_nb(nb, src/f'{page_name(path)}.ipynb')
    (src/'api.md').write_text(api_page(), encoding='utf-8')
    shutil.copy2(ROOT/'CHANGELOG.md', src/'changelog.md')

def site(nbs, out):
    "Build the pages; returns Sphinx's exit code, which is 1 after a warning"
    from sphinx.cmd.build import build_main
    src, trees = ROOT/'_sphinx', ROOT/'_doctrees'
    if out.exists() and any(out.iterdir()) and not (out/'objects.inv').exists():
        raise SystemExit(f'{out} holds something that is no site of ours: it will not '
                         'be overwritten')
    pages = {path: read(path) for path in notebooks(nbs)}
    sources(pages, src)
    for folder in (out, trees): shutil.rmtree(folder, ignore_errors=True)
    out.mkdir(parents=True)
    (out/'objects.inv').touch()          # a build cut short is ours to build again
    gc.disable()          # trees of pages live to the end: a search finds nothing
    code = build_main(['-q', '-b', 'html', '-c', str(ROOT/'docs'), '-W', '--keep-going',
                       '-d', str(trees), str(src), str(out)])
    engine(out)
    for path, nb in pages.items(): twin(path, nb, out)
    if nbs == ROOT/'nbs': redirects([page_name(path) for path in pages], out)
    if (nbs/'llms.txt').exists(): shutil.copy2(nbs/'llms.txt', out)
    return code

def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--readme-only', action='store_true',
                    help='write the readmes and stop')
    ap.add_argument('--site-only', action='store_true',
                    help='build the site and leave the readmes alone')
    ap.add_argument('--check-readme', action='store_true',
                    help='compare the readmes and stop')
    ap.add_argument('--colab', action='store_true',
                    help='write dist/colab and stop')
    ap.add_argument('--nbs', type=Path, default=ROOT/'nbs', help='folder of notebooks')
    ap.add_argument('--out', type=Path, default=ROOT/'_docs', help='folder of the site')
    a = ap.parse_args()
    if a.colab: return colab(a.nbs, ROOT/'dist/colab')
    readmes = {ROOT/name: a.nbs/f'{stem}.ipynb' for stem, name in FRONT.items()}
    if a.check_readme:
        stale = [target.name for target, path in readmes.items() if not target.exists()
                 or target.read_text(encoding='utf-8') != readme(path, write=False)]
        if stale:
            print(f'{", ".join(stale)}: not in step with the notebooks: run '
                  'python docs/build.py --readme-only')
        return int(bool(stale))
    if not a.site_only:
        for target, path in readmes.items():
            target.write_text(readme(path), encoding='utf-8')
    return 0 if a.readme_only else site(a.nbs.resolve(), a.out.resolve())

if __name__ == '__main__':
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
