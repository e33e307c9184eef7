"""Write what editors, type checkers and `help` show: the stubs `*.pyi` and `data/docs.json`.

    python tools/stubs.py           # write them
    python tools/stubs.py --check   # exit 1 if the stored ones differ

Both are made from the exported modules. What a parameter means is the comment beside it.
Its type is its annotation, else the entry of `TYPES`, else the type of its default. What a
user meets must have a type: a parameter or result without one is an error here."""
import argparse, ast, builtins, io, json, sys, textwrap, tokenize
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent/'llm_sampling'

# --- types that the source does not say ---

KNOB = 'float | Sequence[float | None] | Tensor | None'
COUNT_KNOB = 'int | Sequence[int | None] | Tensor | None'
KNOBS = '''temperature top_p min_p top_a top_n_sigma typical_p epsilon_cutoff eta_cutoff top_h
    tail_free repetition_penalty frequency_penalty presence_penalty dry_multiplier
    xtc_probability xtc_threshold alpha beta amateur_temperature penalty_alpha guidance_scale
    penalty multiplier threshold probability target tau p epsilon top_n_sigma_filter.n
    tail_free_filter.z'''
PROMPT = ('str | Sequence[str] | Tensor | Sequence[Sequence[int] | Tensor] | Mapping[str, Any]'
          ' | Sequence[Mapping[str, Any]] | Sequence[Sequence[Mapping[str, Any]]]')
STREAM = 'Generator[Piece, None, Generation]'
JUDGE = 'Callable[[list[str], list[Tensor]], {} | Tensor] | None'

# By the name of a parameter; `function.parameter`, `Class.method.parameter` and
# `function.return` go before the annotation, `Class.attribute` is an attribute or a field.
# A default of `None` adds `| None`.
TYPES = dict.fromkeys(KNOBS.split(), KNOB) | dict.fromkeys(('k', 'top_k'), COUNT_KNOB) | {
    'adaptive': 'Mirostat1 | Mirostat2 | AdaptiveP | None',
    'amateur_context': 'int | None',
    'answer': 'Callable[[str, Tensor], object] | None',
    'attention_mask': 'Tensor | None',
    'attn_implementation': 'str | None',
    'backend': "Literal['tree', 'rows'] | None",
    'ban_tokens': 'Sequence[str | Sequence[int]] | None',
    'bias': 'Mapping[int, float] | Mapping[str, float] | Mapping[int | str, float] | None',
    'breakers': 'Sequence[int | str] | None',
    'device': 'str | int | torch.device | None',
    'dola_layers': "Literal['low', 'high'] | Sequence[int]",
    'dry_breakers': 'Sequence[int | str] | None',
    'dtype': 'str | torch.dtype | None',
    'dynamic_temperature': 'Sequence[float] | None',
    'early_stopping': "bool | Literal['never']",
    'eos_token_id': 'int | Sequence[int] | None',
    'force_words_ids': 'Sequence[str | Sequence[int | str | Sequence[int]]]',
    'high': 'float',
    'history': 'Tensor',
    'ids': 'Tensor',
    'leaves': 'int',
    'logit_bias': 'Mapping[int, float] | Mapping[str, float] | Mapping[int | str, float] | None',
    'lookahead': 'int | None',
    'low': 'float',
    'mask': 'Tensor',
    'max_new_tokens': 'int',
    'n': 'int',
    'negative_prompt': f'{PROMPT} | None',
    'no_repeat_ngram_size': 'int | None',
    'num_beams': 'int',
    'order': "Literal['transformers', 'vllm', 'llama.cpp', 'mlx'] | list[str] | tuple[str, ...]",
    'position': 'int | Sequence[int] | Tensor',
    'processors': 'Mapping[str, Callable[[Tensor, Tensor], Tensor]] | None',
    'prompt': PROMPT,
    'rollout_tokens': 'int | None',
    'rule': "Literal['paper', 'transformers']",
    'sampler': 'Sampler | None',
    'score': JUDGE.format('Sequence[float]'),
    'seed': 'int | Sequence[int] | Tensor | None',
    'sequences': 'Sequence[str | Sequence[int]] | None',
    'similarity': JUDGE.format('Sequence[Sequence[float]]'),
    'size': 'int | None',
    'state': 'Tensor | None',
    'stop': 'str | Sequence[str] | None',
    'streamer': 'Callable[[Piece], object] | None',
    'surprise': "Literal['original', 'kept']",
    'tokenizer': 'Any',
    'total': 'Tensor | None',

    'Explanation.plot.return': 'Figure',
    'Explanation.report.return': 'list[StepReport]',
    'Explanation.__init__.stages': 'list[tuple[tuple[str, Any], Tensor]]',
    'Explanation.tables.return': 'list[list[list[str]]]',
    'Explanation.title.i': 'int',
    'Explanation.title.return': 'str',
    'Explanation.title.row': 'int',
    'Explanation.token.id': 'int',
    'Explanation.token.return': 'str',
    'Generation.finish_reasons': 'list[str]',
    'Generation.ids': 'list[Tensor]',
    'Generation.logprobs': 'list[Tensor]',
    'Generation.scores': 'list[float]',
    'Generation.show.return': 'Any',
    'Generation.show.value': "Literal['surprisal', 'entropy']",
    'Generation.stats': 'dict[str, Any]',
    'Generation.texts': 'list[str] | Any',     # None without a tokenizer: no need to ask each time
    'Generation.trace': 'Sequence[list[TokenStep]] | Any',
    'LanguageModel.body.return': 'nn.Module | None',
    'LanguageModel.cached': 'bool',
    'LanguageModel.decode.ids': 'Sequence[int] | Tensor',
    'LanguageModel.device.return': 'torch.device',
    'LanguageModel.eos_token_ids': 'tuple[int, ...]',
    'LanguageModel.forward.cache': 'Any',
    'LanguageModel.forward.return': 'tuple[Tensor, Any]',
    'LanguageModel.vocab_size': 'int',
    'LanguageModel.window': 'int | None',
    'Piece.finish_reason': 'str | None',
    'Piece.ids': 'list[int]',
    'Sampler.init.return': 'Tensor | None',
    'Sampler.knobs': 'dict[str, Any]',
    'Sampler.seed': 'Tensor | None',
    'Sampler.steps': 'list[str]',
    'Sampler.update.return': 'Tensor | None',
    'StepReport.removed': 'list[int]',
    'TableModel.forward.input_ids': 'Tensor',
    'TableModel.forward.return': 'Any',
    'TableModel.__init__.table': 'Mapping[tuple[int, ...], Tensor | Sequence[float]]',
    'TokenStep.alternatives': 'list[tuple[int, str, float]]',
    'TokenTree.backend.return': 'str',
    'TokenTree.nbytes.return': 'int',
    'TokenTree.path.return': 'list[int]',
    'TokenTree.rows.return': 'tuple[Any, Tensor]',
    'TokenTree.stats.return': 'dict[str, int]',
    'contrastive_search.top_k': 'int',
    'load.name': 'str | PathLike[str] | None',
    'mcts_decode.temperature': 'float',
    'mcts_decode.top_k': 'int',
    'mcts_decode.value': JUDGE.format('Sequence[float]'),
    'plot_lines.return': 'Axes',
    'plot_probs.return': 'Axes',
    'small_multiples.return': 'Figure',
    'stream.return': STREAM,
    'stream_beam_search.return': STREAM,
}
# What needs no comment each time
WORDS = {'lm': 'The model, a `LanguageModel`'}
# Methods whose `**` takes what a class is made with
EXPAND = {'Sampler.replace': 'Sampler'}
RESULTS = dict(__len__='int', __repr__='str', __str__='str', __eq__='bool', __hash__='int',
               __bool__='bool', __contains__='bool')
BARE = dict(list='list[Any]', dict='dict[Any, Any]', tuple='tuple[Any, ...]', set='set[Any]',
            type='type[Any]', Sequence='Sequence[Any]', Mapping='Mapping[Any, Any]',
            Callable='Callable[..., Any]', Iterator='Iterator[Any]', Iterable='Iterable[Any]')
ABC = 'Callable Generator Iterable Iterator Mapping Sequence'
ORIGINS = {name: 'from collections.abc import ' for name in ABC.split()} | {
    'Any': 'from typing import ', 'Literal': 'from typing import ',
    'AbstractContextManager': 'from contextlib import ', 'PathLike': 'from os import ',
    'Axes': 'from matplotlib.axes import ', 'Figure': 'from matplotlib.figure import ',
    'torch': 'import ', 'Tensor': 'from torch import ', 'nn': 'from torch import '}
DECORATORS = ('property', 'staticmethod', 'classmethod', 'dataclass')
FLAGS = {'as_prop=True': 'property', 'cls_method=True': 'classmethod'}     # of `patch`

HEADER = '# Generated by tools/stubs.py from the module of this name: do not edit.'

# --- reading a module ---

class Module:
    "A module's code, its comments by line, the names that it offers, and those that it imports"
    def __init__(self, name, source):
        self.name, self.tree = name, ast.parse(source)
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        self.comments = {t.start[0]: t.string[1:].strip() for t in tokens if t.type == tokenize.COMMENT}
        self.names = assigned(self.tree, '__all__')
        imports = [n for n in ast.walk(self.tree) if isinstance(n, (ast.Import, ast.ImportFrom))]
        self.origins = {a.asname or a.name: origin(n, a) for n in imports for a in n.names}

def assigned(tree, name):
    "The literal that a module assigns to a name"
    return next(ast.literal_eval(n.value) for n in tree.body
                if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == name)

def origin(node, alias):
    "The statement that imports one name"
    head = f"from {'.' * node.level}{node.module or ''} " if isinstance(node, ast.ImportFrom) else ''
    return head + 'import ' + ast.unparse(alias)

def decorators(node):
    "Decorators as source, by name"
    found = map(ast.unparse, node.decorator_list)
    return {text.partition('(')[0]: text for text in found}

def owners(node):
    "Classes that a `@patch`ed function becomes a method of"
    if not isinstance(node, ast.FunctionDef) or 'patch' not in decorators(node): return []
    return [n.id for n in ast.walk(node.args.args[0].annotation) if isinstance(n, ast.Name)]

def source(annotation):
    "An annotation as source, a bare generic within it with its arguments"
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str): return annotation.value
    if not isinstance(annotation, ast.Subscript): return ast.unparse(annotation)
    inner = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
    return f"{ast.unparse(annotation.value)}[{', '.join(BARE.get(t, t) for t in map(source, inner))}]"

def is_public(name): return not name.startswith('_') or name.startswith('__')

def parameters(fn):
    "Parameters as triples: the node, its default or None, and the stars before it; a lone star has no node"
    a = fn.args
    plain = a.posonlyargs + a.args
    found = [(p, d, '') for p, d in zip(plain, [None] * (len(plain) - len(a.defaults)) + a.defaults)]
    if a.posonlyargs: found.insert(len(a.posonlyargs), (None, None, '/'))
    if a.vararg or a.kwonlyargs: found.append((a.vararg, None, '*'))
    found += [(p, d, '') for p, d in zip(a.kwonlyargs, a.kw_defaults)]
    return found + ([(a.kwarg, None, '**')] if a.kwarg else [])

def is_kind(value, *kinds):
    "Whether a node is a literal of one of these types"
    return isinstance(value, ast.Constant) and type(value.value) in kinds

def shown(default):
    "A default as source, `...` where it is no literal"
    try: ast.literal_eval(default)
    except ValueError: return '...'
    return ast.unparse(default)

def targets(node):
    "Pairs of what an assignment sets and what it is set to; an unpacked value is not known"
    for target in node.targets:
        if not isinstance(target, ast.Tuple): yield target, node.value
        elif isinstance(node.value, ast.Tuple): yield from zip(target.elts, node.value.elts)
        else: yield from ((t, None) for t in target.elts)

def assignments(fn):
    "What a method sets attributes of `self` to, as pairs of a name and a node"
    pairs = [pair for n in ast.walk(fn) if isinstance(n, ast.Assign) for pair in targets(n)]
    return [(t.attr, value) for t, value in pairs
            if isinstance(t, ast.Attribute) and ast.unparse(t.value) == 'self']

# --- help texts ---

def comments(module, fn):
    "Comments of a signature: pairs of names and text, one for each line, and those of the result"
    lines, last, body = {}, fn.lineno, fn.body[0].lineno
    for node, default, star in parameters(fn):
        if node is None: continue
        last = (default or node.annotation or node).end_lineno
        text = module.comments.get(last) if last < body else None
        if text or node.arg in WORDS: lines.setdefault((last, text or WORDS[node.arg]), []).append(star + node.arg)
    results = [('', module.comments[i]) for i in range(last + 1, body) if i in module.comments]
    return [(', '.join(names), text) for (_, text), names in lines.items()], results[:1]

def help_text(node, **sections):
    "A docstring: one line, then for each section its title and a paragraph for each pair of names and text"
    parts = [ast.get_docstring(node) or '']
    for title, pairs in sections.items():
        rows = [textwrap.fill(f'{name}: {text}' if name else text, 88, initial_indent=' ' * 4,
                              subsequent_indent=' ' * (8 if name else 4),
                              break_long_words=False, break_on_hyphens=False) for name, text in pairs]
        if rows: parts.append('\n'.join([f'{title}:', *rows]))
    return '\n\n'.join(parts)

def quoted(text, indent):
    "A docstring as source"
    text = text.replace('\\', '\\\\').replace('"', r'\"') + ('\n' if '\n' in text else '')
    return f'{indent}"""' + text.replace('\n', '\n' + indent).replace(f'\n{indent}\n', '\n\n') + '"""'

# --- stubs ---

class Stubs:
    "The stubs of a package and its help texts, from the sources of its modules"
    def __init__(self,
        sources,      # Module name: source
        public,       # Module name: public names of the package
        types=TYPES,  # Of what the sources leave open
    ):
        self.types, self.public = types, public
        self.modules = {name: Module(name, source) for name, source in sources.items()}
        nodes = [(m, n) for m in self.modules.values() for n in m.tree.body]
        self.classes = {n.name: (m, n) for m, n in nodes if isinstance(n, ast.ClassDef)}
        self.patches = {}
        for m, n in nodes:
            for owner in owners(n): self.patches.setdefault(owner, {})[n.name] = (m, n)
        self.open, self.docs = {}, {}              # what lacks a type, by its top name; help texts by module and name
        self.files = {f'{m.name}.pyi': self.module(m) for m in self.modules.values()}
        self.files['__init__.pyi'] = self.package()

    # types

    def type_of(self, qual, name, annotation, default=None):
        "The type of a parameter, result (`return`) or field; noted down if nothing tells"
        text = annotation and source(annotation)
        if f'{qual}.{name}' in self.types: found = self.types[f'{qual}.{name}']
        elif text and text not in BARE: found = text
        elif name in self.types: found = self.types[name]
        elif is_kind(default, bool, int, float, str): found = type(default.value).__name__
        else:
            self.open.setdefault(qual.partition('.')[0], []).append(f'{qual}({name})')
            found = BARE.get(text, 'Any')
        optional = is_kind(default, type(None)) and 'None' not in found and not found.endswith('Any')
        return f'{found} | None' if optional else found

    def value_type(self, value):
        "The type of what a constant or an attribute is given, as far as it can be seen"
        made = value.func.id if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) else None
        if is_kind(value, bool, int, float, str): return type(value.value).__name__
        if isinstance(value, ast.Compare): return 'bool'
        if isinstance(value, (ast.Dict, ast.List, ast.Tuple)): return BARE[type(value).__name__.lower()]
        return made if made in self.classes else 'Any'

    def result(self, qual, fn):
        "The type of a result"
        gives = any(isinstance(n, (ast.Yield, ast.YieldFrom)) or isinstance(n, ast.Return) and n.value
                    for n in ast.walk(fn))
        if fn.name in RESULTS: return RESULTS[fn.name]
        if not (gives or fn.returns or f'{qual}.return' in self.types): return 'None'
        found = self.type_of(qual, 'return', fn.returns)
        return f'AbstractContextManager[{found}]' if 'contextmanager' in decorators(fn) else found

    # functions

    def parameter(self, qual, node, default, star):
        "One parameter as source"
        if node is None: return star
        if node.arg in ('self', 'cls'): return node.arg
        if qual.endswith('.__eq__'): kind = 'object'
        elif star: kind = source(node.annotation) if node.annotation else 'Any'
        else: kind = self.type_of(qual, node.arg, node.annotation, default)
        return f'{star}{node.arg}: {kind}' + (f' = {shown(default)}' if default else '')

    def parameters(self, qual, fn):
        "All parameters as source"
        found = [self.parameter(qual, *p) for p in parameters(fn)]
        if qual not in EXPAND: return found
        init = f'{EXPAND[qual]}.__init__'
        made = [self.parameter(init, *p).partition(' = ') for p in parameters(self.methods(EXPAND[qual])['__init__'][1])]
        return found[:-1] + [text + (' = ...' if value else '') for text, _, value in made[1:]]

    def function(self, module, fn, owner=None):
        "A function or method as source"
        qual, indent = (f'{owner}.{fn.name}', ' ' * 4) if owner else (fn.name, '')
        params, tail, used = self.parameters(qual, fn), f') -> {self.result(qual, fn)}:', decorators(fn)
        signature = f"{indent}def {fn.name}({', '.join(params)}{tail}"
        if len(signature) > 88:
            inner = ''.join(f'{indent}    {p},\n' for p in params)
            signature = f'{indent}def {fn.name}(\n{inner}{indent}{tail}'
        lines = [f'{indent}@{used[name]}' for name in DECORATORS if name in used]
        lines += [f'{indent}@{name}' for flag, name in FLAGS.items() if flag in used.get('patch', '')]
        args, results = comments(module, fn)
        text = '' if fn.name == '__init__' else help_text(fn, Args=args, Returns=results)
        self.note(module, qual, text)
        return '\n'.join([*lines, f"{signature}\n{quoted(text, indent + ' ' * 4)}" if text else f'{signature} ...'])

    def note(self, module, qual, text):
        "Keep a help text that says more than the docstring of the source"
        if '\n' in text: self.docs.setdefault(module.name, {})[qual] = text

    # classes

    def methods(self, name):
        "Methods of a class by name, with their modules; those that are `@patch`ed in last"
        module, node = self.classes[name]
        own = {fn.name: (module, fn) for fn in node.body if isinstance(fn, ast.FunctionDef)}
        return own | self.patches.get(name, {})

    def init(self, name):
        "The `__init__` of a class or of its bases, with its module; or None"
        if '__init__' in self.methods(name): return self.methods(name)['__init__']
        bases = [ast.unparse(b) for b in self.classes[name][1].bases]
        return next((found for b in bases if b in self.classes and (found := self.init(b))), None)

    def attributes(self, name):
        "Types of attributes that a class has besides its fields, by name"
        _, node = self.classes[name]
        given, found = {}, {}
        if init := self.methods(name).get('__init__'):
            given = {p.arg: self.type_of(f'{name}.__init__', p.arg, p.annotation, d)
                     for p, d, star in parameters(init[1])[1:] if p and not star}
            if '__getattr__' in self.methods(name): found = dict(given)
        pairs = [(t.id, value) for n in node.body if isinstance(n, ast.Assign)
                 for t, value in targets(n) if isinstance(t, ast.Name)]
        for _, fn in self.methods(name).values(): pairs += assignments(fn)
        for attribute, value in pairs:
            kind = given.get(getattr(value, 'id', None)) or self.value_type(value)
            if found.get(attribute, 'Any') == 'Any': found[attribute] = kind
        empty = {attribute for attribute, value in pairs if is_kind(value, type(None))}
        found |= {n: f'{found[n]} | None' for n in empty if not found[n].endswith(('Any', 'None'))}
        found |= {n: self.types[f'{name}.{n}'] for n in found if f'{name}.{n}' in self.types}
        return {n: kind for n, kind in found.items() if is_public(n) and n not in self.methods(name)}

    def klass(self, module, node):
        "A class as source"
        name, used = node.name, decorators(node)
        fields = [n for n in node.body if isinstance(n, ast.AnnAssign) and is_public(n.target.id)]
        init = self.init(name)
        text = help_text(node, Args=comments(*init)[0] if init else [], Attributes=[
            (n.target.id, module.comments[n.end_lineno]) for n in fields if n.end_lineno in module.comments])
        self.note(module, name, text)
        bases = ', '.join(BARE.get(b, b) for b in map(ast.unparse, node.bases))
        lines = [f"@{used['dataclass']}"] if 'dataclass' in used else []
        lines.append(f'class {name}({bases}):' if bases else f'class {name}:')
        if text: lines.append(quoted(text, ' ' * 4))
        for n in fields:
            kind = self.type_of(name, n.target.id, n.annotation, n.value)
            lines.append(f'    {n.target.id}: {kind}' + (' = ...' if n.value else ''))
        names = [n.target.id for n in fields]
        lines += [f'    {n}: {kind}' for n, kind in self.attributes(name).items() if n not in names]
        lines += [self.function(m, fn, name) for m, fn in self.methods(name).values()
                  if is_public(fn.name) and fn.name != '__getattr__']
        return '\n'.join(lines if len(lines) > 1 else [f'{lines[0]} ...'])

    # files

    def module(self, module):
        "A stub"
        blocks, public = [], {*module.names}
        for n in reversed(module.tree.body):      # and private bases
            if getattr(n, 'name', None) in public: public |= {ast.unparse(b) for b in getattr(n, 'bases', ())}
        for n in module.tree.body:
            if isinstance(n, ast.Assign):
                blocks += [f'{t.id}: {self.value_type(value)}' for t, value in targets(n) if getattr(t, 'id', None) in public]
            elif getattr(n, 'name', None) in public and not owners(n):
                blocks.append(self.klass(module, n) if isinstance(n, ast.ClassDef) else self.function(module, n))
        body = '\n\n'.join(blocks)
        names = textwrap.fill(f'__all__ = {module.names!r}', 88, subsequent_indent=' ' * 11)
        return '\n'.join([HEADER, *self.imports(module, body), '', names, '', body, ''])

    def imports(self, module, body):
        "Import statements for all names that a stub takes from elsewhere"
        tree = ast.parse(body)
        known = {*dir(builtins), *(n.name for n in tree.body if hasattr(n, 'name'))}
        used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)} - known
        return sorted(self.source_of(module, name) for name in used)

    def source_of(self, module, name):
        if name in self.classes: return f'from .{self.classes[name][0].name} import {name}'
        if name in ORIGINS: return ORIGINS[name] + name
        return module.origins[name]

    def package(self):
        "The stub of the package: each public name from its module, and the modules"
        lines = [HEADER, *(f'from . import {name} as {name}' for name in self.modules)]
        lines += [f'from .{module} import {name} as {name}' for module, names in self.public.items() for name in names]
        names = [name for names in self.public.values() for name in names]
        return '\n'.join([*lines, '', '__version__: str', textwrap.fill(f'__all__ = {names!r}', 88, subsequent_indent=' ' * 11), ''])

    def untyped(self):
        "Parameters and results without a type that a user meets: of public names, and of the classes that these mention"
        mentions = {}
        for text in self.files.values():
            for n in ast.parse(text).body:
                if hasattr(n, 'name'): mentions[n.name] = {x.id for x in ast.walk(n) if isinstance(x, ast.Name)} & {*self.classes}
        met, new = set(), {name for names in self.public.values() for name in names}
        while new: met, new = met | new, {x for name in new for x in mentions.get(name, ())} - met - new
        return [name for top in self.open if top in met for name in dict.fromkeys(self.open[top])]

# --- the whole ---

def build():
    "Every generated file of the package by its path, and what lacks a type"
    sources = {p.stem: p.read_text(encoding='utf-8') for p in sorted(PACKAGE.glob('*.py')) if p.stem[0] != '_'}
    names = assigned(ast.parse((PACKAGE/'__init__.py').read_text(encoding='utf-8')), '_names')
    stubs = Stubs(sources, {module: text.split() for module, text in names.items()})
    files = {PACKAGE/name: text for name, text in stubs.files.items()}
    files[PACKAGE/'data'/'docs.json'] = json.dumps(stubs.docs, ensure_ascii=False, indent=1) + '\n'
    return files, stubs.untyped()

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--check', action='store_true', help='compare with the stored files, write nothing')
    check = ap.parse_args().check
    files, untyped = build()
    if untyped: return f"no type for {', '.join(untyped)}: annotate them, or add them to TYPES in tools/stubs.py"
    old = {p: p.read_text(encoding='utf-8') for p in [*PACKAGE.glob('*.pyi'), PACKAGE/'data'/'docs.json'] if p.exists()}
    stale = [p for p in {**old, **files} if old.get(p) != files.get(p)]
    if check: return f"not what the modules give: {', '.join(p.name for p in stale)}; run make export" if stale else 0
    for p in stale:
        if p in files: p.write_text(files[p], encoding='utf-8')
        else: p.unlink()
    return 0

if __name__ == '__main__': sys.exit(main())
