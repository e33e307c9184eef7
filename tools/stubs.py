"""Write what editors, type checkers and `help` show: `*.pyi` and `data/docs.json`.

    python tools/stubs.py           # write them
    python tools/stubs.py --check   # exit 1 if the stored ones differ

Both are made from the exported modules. What a parameter means is the comment beside
it. Its type is its annotation, else the entry of `TYPES`, else the type of its default.
What a user meets must have a type: a parameter or result without one is an error."""
import argparse, ast, builtins, io, json, re, sys, textwrap, tokenize
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent/'llm_sampling'
DOCS = PACKAGE/'data'/'docs.json'

# --- types that the source does not say ---

KNOB = 'float | Sequence[float | None] | Tensor | None'
COUNT_KNOB = 'int | Sequence[int | None] | Tensor | None'
KNOBS = '''temperature top_p min_p top_a top_n_sigma typical_p epsilon_cutoff
    eta_cutoff top_h tail_free repetition_penalty frequency_penalty presence_penalty
    dry_multiplier xtc_probability xtc_threshold alpha beta amateur_temperature
    penalty_alpha guidance_scale penalty multiplier threshold probability target tau p
    epsilon top_n_sigma_filter.n tail_free_filter.z'''
PROMPT = ('str | Sequence[str] | Tensor | Sequence[Sequence[int] | Tensor]'
          ' | Mapping[str, Any] | Sequence[Mapping[str, Any]]'
          ' | Sequence[Sequence[Mapping[str, Any]]]')
BIAS = 'Mapping[int, float] | Mapping[str, float] | Mapping[int | str, float] | None'
PRESETS = "'transformers', 'vllm', 'llama.cpp', 'mlx'"
STREAM = 'Generator[Piece, None, Generation]'
# a string, or a function of the ids of prompt and text
ENDING = 'str | Callable[[list[int], list[int]], object]'
JUDGE = 'Callable[[list[str], list[Tensor]], {} | Tensor] | None'

# By the name of a parameter. `function.parameter`, `Class.method.parameter` and
# `function.return` go before the annotation; `Class.attribute` may be a field, too.
# A default of `None` adds `| None`.
TYPES = dict.fromkeys(KNOBS.split(), KNOB) | {
    'accept': 'Sequence[str]',
    'adaptive': 'Mirostat1 | Mirostat2 | AdaptiveP | None',
    'amateur_context': 'int | None',
    'answer': 'Callable[[str, Tensor], object] | None',
    'attention_mask': 'Tensor | None',
    'attn_implementation': 'str | None',
    'backend': "Literal['tree', 'rows'] | None",
    'ban_tokens': 'Sequence[str | Sequence[int]] | None',
    'bias': BIAS,
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
    'k': COUNT_KNOB,
    'leaves': 'int',
    'logit_bias': BIAS,
    'lookahead': 'int | None',
    'low': 'float',
    'mask': 'Tensor',
    'max_new_tokens': 'int',
    'n': 'int',
    'negative_prompt': f'{PROMPT} | None',
    'no_repeat_ngram_size': 'int | None',
    'num_beams': 'int',
    'order': f'Literal[{PRESETS}] | list[str] | tuple[str, ...]',
    'position': 'int | Sequence[int] | Tensor',
    'probs': 'Tensor | Sequence[Any]',
    'processors': 'Mapping[str, Callable[[Tensor, Tensor], Tensor]] | None',
    'prompt': PROMPT,
    'record': "Literal['logprobs', 'support'] | None",
    'rollout_tokens': 'int | None',
    'rule': "Literal['paper', 'transformers']",
    'sampler': 'Sampler | None',
    'score': JUDGE.format('Sequence[float]'),
    'seed': 'int | Sequence[int] | Tensor | None',
    'sequences': 'Sequence[str | Sequence[int]] | None',
    'settings': 'Mapping[str, Any]',
    'similarity': JUDGE.format('Sequence[Sequence[float]]'),
    'size': 'int | None',
    'state': 'Tensor | None',
    'stop': f'{ENDING} | Sequence[{ENDING}] | None',
    'streamer': 'Callable[[Piece], object] | None',
    'surprise': "Literal['original', 'kept']",
    'tokenizer': 'Any',
    'top_k': COUNT_KNOB,
    'total': 'Tensor | None',
    'u': 'float | Sequence[Any] | Tensor',

    'sweep.prompts': PROMPT,
    'sweep.grid': 'Mapping[str, Any] | Sequence[Mapping[str, Any]]',
    'sweep.path': 'str | PathLike[str]',
    'sweep.backend': "Literal['local', 'ray']",
    'sweep.seeds': 'int | Sequence[int]',
    'sweep.metrics': 'Mapping[str, Callable[[Generation], Any]] | None',
    'sweep.models': 'Mapping[str, LanguageModel] | None',
    'sweep.functions': 'Mapping[str, Callable[..., Any]] | None',
    'sweep.workers': 'int | None',
    'sweep.address': 'str | None',
    'sweep.gpus': 'float',
    'read_sweep.paths': 'str | PathLike[str] | Sequence[str | PathLike[str]]',
    'read_sweep.return': 'Any',            # of pandas, which bears no types

    'Explanation.plot.return': 'Figure',
    'Explanation.report.return': 'list[StepReport]',
    'Explanation.__init__.stages': 'list[tuple[tuple[str, Any], Tensor]]',
    'Explanation.tables.return': 'list[list[list[str]]]',
    'Explanation.title.i': 'int',
    'Explanation.title.return': 'str',
    'Explanation.title.row': 'int',
    'Explanation.token.id': 'int',
    'Explanation.token.return': 'str',
    'Comparison.about': 'dict[str, Any]',
    'Comparison.differences.metrics': 'Sequence[str] | None',
    'Comparison.errors': 'dict[str, str]',
    'Comparison.from_dict.told': 'Mapping[str, Any]',
    'Comparison.frontier.return': 'list[str]',
    'Comparison.intervals': 'dict[str, dict[str, Interval]]',
    'Comparison.pivot.metrics': 'Sequence[str] | None',
    'Comparison.plot.size': 'tuple[float, float]',
    'Comparison.plot.ylim': 'tuple[float, float] | None',
    'Comparison.prompts': 'list[str]',
    'Comparison.save.path': 'str | PathLike[str]',
    'Comparison.specs': 'dict[str, dict[str, Any]]',
    'Comparison.texts': 'dict[str, list[list[tuple[str, float]]]]',
    'Comparison.values': 'dict[str, dict[str, list[float]]]',
    'Comparison.pivot.return': 'Any',      # of pandas, which bears no types
    'Comparison.plot.return': 'Axes',
    'Comparison.table.return': 'Any',
    'Comparison.differences.return': 'Any',
    'Comparison.to_dict.return': 'dict[str, Any]',
    'compare.alone': 'bool',
    'compare.budget': 'int | None',
    'compare.functions': 'Mapping[str, Callable[..., Any]] | None',
    'compare.judge': 'LanguageModel | None',
    'compare.metrics': 'Sequence[str] | Mapping[str, Any] | None',
    'compare.models': 'Mapping[str, LanguageModel] | None',
    'compare.prompts': PROMPT,
    'compare.references': 'Sequence[str] | None',
    'compare.seed': 'int',
    'compare.strategies': 'Mapping[str, Any] | Sequence[Mapping[str, Any]] | None',
    'Interval.__format__.return': 'str',
    'Interval.__format__.spec': 'str',
    'Generation.finish_reasons': 'list[str]',
    'Generation.ids': 'list[Tensor]',
    'Generation.logprobs': 'list[Tensor]',
    'Generation.scores': 'list[float]',
    'Generation.show.return': 'Any',
    'Generation.show.value': "Literal['surprisal', 'entropy']",
    'Generation.stats': 'dict[str, Any]',
    'Generation.stops': 'list[str | int | None] | Any',
    'Generation.texts': 'list[str] | Any',     # None without a tokenizer
    'Generation.to_dict.return': 'dict[str, Any]',
    'Generation.trace': 'Sequence[list[TokenStep]] | Any',
    'LanguageModel.body.return': 'nn.Module | None',
    'LanguageModel.cached': 'bool',
    'LanguageModel.decode.ids': 'Sequence[int] | Tensor',
    'LanguageModel.device.return': 'torch.device',
    'LanguageModel.eos_token_ids': 'tuple[int, ...]',
    'LanguageModel.forward.cache': 'Any',
    'LanguageModel.forward.return': 'tuple[Tensor, Any]',
    'LanguageModel.ignores_padding.return': 'bool',
    'LanguageModel.vocab_size': 'int',
    'LanguageModel.window': 'int | None',
    'Piece.finish_reason': 'str | None',
    'Piece.ids': 'list[int]',
    'ThinkingBudget.__init__.budget': 'int | Sequence[int] | Tensor',
    'ThinkingBudget.__init__.end': 'int',
    'ThinkingBudget.__init__.soft': 'int | None',
    'ThinkingBudget.__init__.start': 'int',
    'ThinkingBudget.rows.index': 'Tensor',
    'ThinkingBudget.rows.return': 'ThinkingBudget',
    'LoopStop.__call__.prompt': 'Sequence[int]',
    'LoopStop.__call__.ids': 'Sequence[int]',
    'Sampler.explain.return': 'Explanation',
    'Sampler.from_generation_config.settings': 'Any',
    'Sampler.init.return': 'Tensor | None',
    'Sampler.knobs': 'dict[str, Any]',
    'Sampler.seed': 'Tensor | None',
    'Sampler.stack.samplers': 'Sequence[Sampler]',
    'Sampler.steps': 'list[str]',
    'Sampler.to_transformers.inputs': 'Tensor | Mapping[str, Any] | None',
    'Sampler.to_transformers.return': 'Any',
    'Sampler.update.return': 'Tensor | None',
    'Generation.sampled_logprobs': 'list[Tensor] | Any',  # None: not asked for
    'Generation.supports': 'list[Support] | Any',
    'Completion.sampled_logprobs': 'Tensor | Any',
    'Completion.support': 'Support | Any',
    'Sampler.support.return': 'Support',
    'StepReport.removed': 'list[int]',
    'Support.__getitem__.row': 'int',
    'Support.__init__.factors': 'float | Sequence[float] | Tensor | None',
    'Support.__init__.ids': 'Sequence[int] | Tensor',
    'Support.__init__.offsets': 'Sequence[int] | Tensor',
    'Support.__init__.shifts': 'float | Sequence[float] | Tensor | None',
    'Support.__init__.temperature': 'float | Sequence[float] | Tensor | None',
    'Support.factors': 'Tensor | None',
    'Support.ids': 'Tensor',
    'Support.join.supports': 'Sequence[Support]',
    'Support.offsets': 'Tensor',
    'Support.shifts': 'Tensor | None',
    'Support.take.index': 'Sequence[int] | Tensor',
    'Support.temperature': 'Tensor | None',
    'Support.to.device': 'torch.device | str',
    'Support.vocab': 'int',
    'replay_logprobs.mask': 'Tensor | None',
    'replay_logprobs.temperature': 'float | Sequence[float] | Tensor | None',
    'TableModel.forward.input_ids': 'Tensor',
    'TableModel.forward.return': 'Any',
    'TableModel.__init__.table': 'Mapping[tuple[int, ...], Tensor | Sequence[float]]',
    'TokenStep.alternatives': 'list[tuple[int, str, float]]',
    'TokenTree.cache.return': 'Any',
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
# Methods as they are written; Python iterates by `__getitem__`, mypy wants `__iter__`
WRITTEN = {'Generation.__getitem__': '''@overload
def __getitem__(self, row: int) -> Completion: ...
@overload
def __getitem__(self, row: slice) -> list[Completion]: ...
def __iter__(self) -> Iterator[Completion]: ...'''}
RESULTS = dict(__len__='int', __repr__='str', __str__='str', __eq__='bool',
               __hash__='int', __bool__='bool', __contains__='bool')
BARE = dict(list='list[Any]', dict='dict[Any, Any]', tuple='tuple[Any, ...]',
            set='set[Any]', type='type[Any]', Sequence='Sequence[Any]',
            Mapping='Mapping[Any, Any]', Callable='Callable[..., Any]',
            Iterator='Iterator[Any]', Iterable='Iterable[Any]')
ABC = 'Callable Generator Iterable Iterator Mapping Sequence'
ORIGINS = {name: 'from collections.abc import ' for name in ABC.split()} | {
    'Any': 'from typing import ', 'Literal': 'from typing import ',
    'overload': 'from typing import ',
    'AbstractContextManager': 'from contextlib import ', 'PathLike': 'from os import ',
    'Axes': 'from matplotlib.axes import ',
    'Figure': 'from matplotlib.figure import ',
    'torch': 'import ', 'Tensor': 'from torch import ', 'nn': 'from torch import '}
DECORATORS = ('property', 'staticmethod', 'classmethod', 'dataclass')
FLAGS = {'as_prop=True': 'property', 'cls_method=True': 'classmethod'}     # of `patch`

HEADER = '# Generated by tools/stubs.py from the module of this name: do not edit.'
IMPORTS = (ast.Import, ast.ImportFrom)
PLAIN = (bool, int, float, str)

# --- reading a module ---

class Module:
    "A module's code, its comments by line, and the names that it offers and imports"
    def __init__(self, name, source):
        self.name, self.tree = name, ast.parse(source)
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        self.comments = {t.start[0]: t.string[1:].strip()
                         for t in tokens if t.type == tokenize.COMMENT}
        self.names = assigned(self.tree, '__all__')
        imports = [n for n in ast.walk(self.tree) if isinstance(n, IMPORTS)]
        pairs = [(n, alias) for n in imports for alias in n.names]
        self.origins = {a.asname or a.name: origin(n, a) for n, a in pairs}

def assigned(tree, name):
    "The literal that a module assigns to a name"
    return next(ast.literal_eval(n.value) for n in tree.body
                if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == name)

def origin(node, alias):
    "The statement that imports one name"
    where = ''
    if isinstance(node, ast.ImportFrom):
        where = f"from {'.' * node.level}{node.module or ''} "
    return f'{where}import {ast.unparse(alias)}'

def decorators(node):
    "Decorators as source, by name"
    found = map(ast.unparse, node.decorator_list)
    return {text.partition('(')[0]: text for text in found}

def owners(node):
    "Classes that a `@patch`ed function becomes a method of"
    patched = isinstance(node, ast.FunctionDef) and 'patch' in decorators(node)
    return names_in(node.args.args[0].annotation) if patched else []

def names_in(node): return [n.id for n in ast.walk(node) if isinstance(n, ast.Name)]

def source(annotation):
    "An annotation as source, a bare generic within it with its arguments"
    if is_kind(annotation, str): return annotation.value
    if not isinstance(annotation, ast.Subscript): return ast.unparse(annotation)
    inner = annotation.slice
    parts = map(source, inner.elts if isinstance(inner, ast.Tuple) else [inner])
    arguments = ', '.join(BARE.get(text, text) for text in parts)
    return f'{ast.unparse(annotation.value)}[{arguments}]'

def is_public(name): return not name.startswith('_') or name.startswith('__')

def parameters(fn):
    "Each parameter as node, default or None, and stars; a `*` alone has no node"
    a = fn.args
    plain = a.posonlyargs + a.args
    defaults = [None] * (len(plain) - len(a.defaults)) + a.defaults
    found = [(p, d, '') for p, d in zip(plain, defaults)]
    if a.posonlyargs: found.insert(len(a.posonlyargs), (None, None, '/'))
    if a.vararg or a.kwonlyargs: found.append((a.vararg, None, '*'))
    found += [(p, d, '') for p, d in zip(a.kwonlyargs, a.kw_defaults)]
    return found + ([(a.kwarg, None, '**')] if a.kwarg else [])

def is_kind(value, *kinds):
    "Whether a node is a literal of one of these types"
    return isinstance(value, ast.Constant) and type(value.value) in kinds

def in_short(default):
    "A default as source, `...` where it is no literal"
    try: ast.literal_eval(default)
    except ValueError: return '...'
    return ast.unparse(default)

def targets(nodes):
    "What assignments set, with its value; that of an unpacked one is None"
    for node in nodes:
        for target in node.targets if isinstance(node, ast.Assign) else ():
            value = node.value
            if not isinstance(target, ast.Tuple): yield target, value
            elif isinstance(value, ast.Tuple): yield from zip(target.elts, value.elts)
            else: yield from ((t, None) for t in target.elts)

def names_set(nodes):
    "Names that assignments set, with the values"
    return [(t.id, value) for t, value in targets(nodes) if isinstance(t, ast.Name)]

def attributes_set(fn):
    "Attributes of `self` that a method sets, with the values"
    return [(t.attr, value) for t, value in targets(ast.walk(fn))
            if isinstance(t, ast.Attribute) and ast.unparse(t.value) == 'self']

# --- help texts ---

def comments(module, fn):
    "Pairs of names and text: for the parameters of each line; and for the result"
    lines, last, body = {}, fn.lineno, fn.body[0].lineno
    for node, default, star in parameters(fn):
        if node is None: continue
        last = (default or node.annotation or node).end_lineno
        text = module.comments.get(last) if last < body else None
        text = text or WORDS.get(node.arg)
        if text: lines.setdefault((last, text), []).append(star + node.arg)
    args = [(', '.join(names), text) for (_, text), names in lines.items()]
    after = [module.comments[i] for i in range(last + 1, body) if i in module.comments]
    return args, [('', text) for text in after[:1]]

def paragraph(name, text):
    "What a parameter or a result is, as lines of a docstring"
    head, deeper = (f'{name}: ', 8) if name else ('', 4)
    return textwrap.fill(head + text, 88, initial_indent=' ' * 4,
                         subsequent_indent=' ' * deeper, break_long_words=False,
                         break_on_hyphens=False)

def help_text(node, **sections):
    "A docstring: its line, then a title and paragraphs for each section with pairs"
    parts = [ast.get_docstring(node) or '']
    for title, pairs in sections.items():
        lines = [f'{title}:', *(paragraph(*pair) for pair in pairs)]
        if pairs: parts.append('\n'.join(lines))
    return '\n\n'.join(parts)

def quoted(text, indent):
    "A docstring as source"
    first, *rest = text.replace('\\', '\\\\').replace('"', r'\"').split('\n')
    lines = [f'{indent}"""{first}', *(line and indent + line for line in rest)]
    return '\n'.join([*lines, indent] if rest else lines) + '"""'

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
        classes = [(m, n) for m, n in nodes if isinstance(n, ast.ClassDef)]
        self.classes = {n.name: (m, n) for m, n in classes}
        for m, n in classes:
            other = self.classes[n.name][0]
            if other is not m:   # each would get the methods of both
                raise ValueError(f'{m.name} and {other.name} must not both have a '
                                 f'class {n.name}')
        self.patches = {}
        for m, n in nodes:
            for owner in owners(n): self.patches.setdefault(owner, {})[n.name] = (m, n)
        self.open = {}     # by top name: parameters and results without a type
        self.docs = {}     # by module and name: help texts
        self.files = {f'{m.name}.pyi': self.module(m) for m in self.modules.values()}
        self.files['__init__.pyi'] = self.package()

    # types

    def type_of(self, qual, name, annotation, default=None):
        "The type of a parameter, result (`return`) or field; noted if nothing tells"
        text = annotation and source(annotation)
        if f'{qual}.{name}' in self.types: found = self.types[f'{qual}.{name}']
        elif text and text not in BARE: found = text
        elif name in self.types: found = self.types[name]
        elif is_kind(default, *PLAIN): found = type(default.value).__name__
        else:
            self.open.setdefault(qual.partition('.')[0], []).append(f'{qual}({name})')
            found = BARE.get(text, 'Any')
        return with_none(found) if is_kind(default, type(None)) else found

    def value_type(self, value):
        "The type of what a name is set to, as far as it can be seen"
        kind = type(value).__name__.lower()
        if is_kind(value, *PLAIN): return type(value.value).__name__
        if kind == 'compare': return 'bool'
        if kind in ('dict', 'list', 'tuple'): return BARE[kind]
        made = ast.unparse(value.func) if kind == 'call' else None
        return made if made in self.classes else 'Any'

    def result(self, qual, fn):
        "The type of a result"
        if fn.name in RESULTS: return RESULTS[fn.name]
        told = fn.returns or f'{qual}.return' in self.types
        if not told and not any(map(gives, ast.walk(fn))): return 'None'
        found = self.type_of(qual, 'return', fn.returns)
        manages = 'contextmanager' in decorators(fn)
        return f'AbstractContextManager[{found}]' if manages else found

    # functions

    def parameter(self, qual, node, default, star):
        "One parameter as source"
        if node is None: return star
        if node.arg in ('self', 'cls'): return node.arg
        if qual.endswith('.__eq__'): kind = 'object'
        elif star: kind = source(node.annotation) if node.annotation else 'Any'
        else: kind = self.type_of(qual, node.arg, node.annotation, default)
        given = f' = {in_short(default)}' if default else ''
        return f'{star}{node.arg}: {kind}{given}'

    def parameters(self, qual, fn):
        "All parameters as source"
        found = [self.parameter(qual, *p) for p in parameters(fn)]
        if qual not in EXPAND: return found
        name, (_, fn) = f'{EXPAND[qual]}.__init__', self.init(EXPAND[qual])
        made = [self.parameter(name, *p) for p in parameters(fn)]
        return found[:-1] + [re.sub(' = .*', ' = ...', text) for text in made[1:]]

    def function(self, module, fn, owner=None):
        "A function or method as source"
        qual, indent = (f'{owner}.{fn.name}', ' ' * 4) if owner else (fn.name, '')
        if qual in WRITTEN: return textwrap.indent(WRITTEN[qual], indent)
        params, tail = self.parameters(qual, fn), f') -> {self.result(qual, fn)}:'
        signature = f"{indent}def {fn.name}({', '.join(params)}{tail}"
        if len(signature) > 88:
            inner = ''.join(f'{indent}    {p},\n' for p in params)
            signature = f'{indent}def {fn.name}(\n{inner}{indent}{tail}'
        used = decorators(fn)
        patch = used.get('patch', '')
        lines = [f'{indent}@{used[name]}' for name in DECORATORS if name in used]
        lines += [f'{indent}@{name}' for flag, name in FLAGS.items() if flag in patch]
        if 'cached_property' in used: lines.append(f'{indent}@property')
        args, results = comments(module, fn)
        text = help_text(fn, Args=args, Returns=results)
        if not text or fn.name == '__init__': lines.append(f'{signature} ...')
        else:
            self.note(module, qual, text)
            lines += [signature, quoted(text, indent + ' ' * 4)]
        return '\n'.join(lines)

    def note(self, module, qual, text):
        "Keep a help text that says more than the docstring of the source"
        if '\n' in text: self.docs.setdefault(module.name, {})[qual] = text

    # classes

    def methods(self, name):
        "Methods of a class by name, its own and `@patch`ed ones, with their modules"
        module, node = self.classes[name]
        own = [fn for fn in node.body if isinstance(fn, ast.FunctionDef)]
        return {fn.name: (module, fn) for fn in own} | self.patches.get(name, {})

    def init(self, name):
        "The `__init__` of a class or of its bases, with its module; or None"
        if '__init__' in self.methods(name): return self.methods(name)['__init__']
        bases = map(ast.unparse, self.classes[name][1].bases)
        inits = (self.init(base) for base in bases if base in self.classes)
        return next(filter(None, inits), None)

    def attributes(self, name):
        "Types of attributes that a class has besides its fields, by name"
        methods, given, found = self.methods(name), {}, {}
        if '__init__' in methods:
            made = parameters(methods['__init__'][1])[1:]
            given = {p.arg: self.type_of(f'{name}.__init__', p.arg, p.annotation, d)
                     for p, d, star in made if p and not star}
        if '__getattr__' in methods: found = dict(given)      # what it was made with
        pairs = names_set(self.classes[name][1].body)
        for _, fn in methods.values(): pairs += attributes_set(fn)
        for attribute, value in pairs:
            kind = given.get(getattr(value, 'id', None)) or self.value_type(value)
            if found.get(attribute, 'Any') == 'Any': found[attribute] = kind
        for attribute, value in pairs:
            empty = is_kind(value, type(None))
            if empty: found[attribute] = with_none(found[attribute])
        return {n: self.types.get(f'{name}.{n}', kind) for n, kind in found.items()
                if is_public(n) and n not in methods}

    def klass(self, module, node):
        "A class as source"
        name, used, init = node.name, decorators(node), self.init(node.name)
        fields = [n for n in node.body if isinstance(n, ast.AnnAssign)]
        words = [(n.target.id, module.comments.get(n.end_lineno)) for n in fields]
        text = help_text(node, Args=comments(*init)[0] if init else [],
                         Attributes=[pair for pair in words if pair[1]])
        self.note(module, name, text)
        bases = ', '.join(BARE.get(b, b) for b in map(ast.unparse, node.bases))
        lines = [f"@{used['dataclass']}"] if 'dataclass' in used else []
        lines.append(f'class {name}({bases}):' if bases else f'class {name}:')
        if text: lines.append(quoted(text, ' ' * 4))
        for n in fields:
            kind = self.type_of(name, n.target.id, n.annotation, n.value)
            lines.append(f'    {n.target.id}: {kind}' + (' = ...' if n.value else ''))
        others = self.attributes(name).items()
        lines += [f'    {n}: {kind}' for n, kind in others if n not in dict(words)]
        lines += [self.function(m, fn, name) for m, fn in self.methods(name).values()
                  if is_public(fn.name) and fn.name != '__getattr__']
        return '\n'.join(lines if len(lines) > 1 else [f'{lines[0]} ...'])

    # files

    def module(self, module):
        "A stub: the public names of a module, and private bases of its classes"
        wanted, blocks = {*module.names}, []
        for n in reversed(module.tree.body):
            bases = map(ast.unparse, getattr(n, 'bases', ()))
            if getattr(n, 'name', None) in wanted: wanted.update(bases)
        for n in module.tree.body:
            pairs = [(name, value) for name, value in names_set([n]) if name in wanted]
            blocks += [f'{name}: {self.value_type(value)}' for name, value in pairs]
            if getattr(n, 'name', None) in wanted and not owners(n):
                write = self.klass if isinstance(n, ast.ClassDef) else self.function
                blocks.append(write(module, n))
        body = '\n\n'.join(blocks)
        head = [HEADER, *self.imports(module, body), '', all_names(module.names)]
        return '\n'.join([*head, '', body, ''])

    def imports(self, module, body):
        "Import statements for all names that a stub takes from elsewhere"
        tree = ast.parse(body)
        names = [n for n in ast.walk(tree) if isinstance(n, ast.Name)]
        used = {n.id for n in names if isinstance(n.ctx, ast.Load)}
        own = {*dir(builtins), *(n.name for n in tree.body if hasattr(n, 'name'))}
        return sorted(self.origin(module, name) for name in used - own)

    def origin(self, module, name):
        "The statement that imports a name into the stub of a module"
        if name in ORIGINS: return ORIGINS[name] + name
        if name not in self.classes: return module.origins[name]
        return f'from .{self.classes[name][0].name} import {name}'

    def package(self):
        "The stub of the package: the modules, and each public name from its module"
        pairs = [(m, name) for m, names in self.public.items() for name in names]
        lines = [HEADER, *(f'from . import {name} as {name}' for name in self.modules)]
        lines += [f'from .{module} import {name} as {name}' for module, name in pairs]
        lines += ['', '__version__: str', all_names([name for _, name in pairs]), '']
        return '\n'.join(lines)

    def untyped(self):
        """What users meet without a type: of public names, and classes that these
        mention"""
        tops = [n for text in self.files.values() for n in ast.parse(text).body]
        tops = {n.name: n for n in tops if hasattr(n, 'name')}
        mentions = {name: {*names_in(n)} & {*self.classes} for name, n in tops.items()}
        met, new = set(), {name for names in self.public.values() for name in names}
        while new:
            met |= new
            new = {n for name in new for n in mentions.get(name, ())} - met
        lacking = [text for top in self.open if top in met for text in self.open[top]]
        return list(dict.fromkeys(lacking))

def gives(node):
    "Does this node of a function make it return or yield something?"
    if isinstance(node, ast.Return): return node.value is not None
    return isinstance(node, (ast.Yield, ast.YieldFrom))

def with_none(kind):
    "A type that allows None, too; `Any` does"
    return kind if 'None' in kind or kind.endswith('Any') else f'{kind} | None'

def all_names(names):
    return textwrap.fill(f'__all__ = {names!r}', 88, subsequent_indent=' ' * 11)

# --- the whole ---

def build():
    "Every generated file of the package by its path, and what lacks a type"
    paths = [p for p in sorted(PACKAGE.glob('*.py')) if p.stem[0] != '_']
    sources = {p.stem: p.read_text(encoding='utf-8') for p in paths}
    package = ast.parse((PACKAGE/'__init__.py').read_text(encoding='utf-8'))
    names = assigned(package, '_names')
    stubs = Stubs(sources, {module: text.split() for module, text in names.items()})
    files = {PACKAGE/name: text for name, text in stubs.files.items()}
    files[DOCS] = json.dumps(stubs.docs, ensure_ascii=False, indent=1) + '\n'
    return files, stubs.untyped()

def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--check', action='store_true', help='compare, write nothing')
    check = ap.parse_args().check
    files, untyped = build()
    if untyped: return f"no type for {', '.join(untyped)}: see TYPES in tools/stubs.py"
    stored = [p for p in [*PACKAGE.glob('*.pyi'), DOCS] if p.exists()]
    old = {p: p.read_text(encoding='utf-8') for p in stored}
    stale = [p for p in {**old, **files} if old.get(p) != files.get(p)]
    if check and stale:
        names = ', '.join(p.name for p in stale)
        return f'{names}: not what the modules give, run make export'
    for p in stale:
        if p in files: p.write_text(files[p], encoding='utf-8')
        else: p.unlink()
    return 0

if __name__ == '__main__': sys.exit(main())
