"""Build the engine that runs the bundled model in a page, from `web/`.

    python tools/web.py             # the tables, and build/web/ with all of it
    python tools/web.py --tables    # web/generated.js, web/views/strategies.js, and the
                                    # views in llm_sampling/data/, alone
    python tools/web.py --check     # 1 if they are not what Python gives

`build/web/llm_sampling.js` is one classic script that defines `llmSampling`; the
weights are `weights-0.js`, `weights-1.js`, ..., which it loads when they are needed.
`views.js` and `views.css` are the playground and the arena of the site.
Classic scripts, since a page from a disk (`file://`) may load no modules and fetch
nothing."""
import argparse
import base64
import gzip
import json
import math
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WEB, DATA = ROOT/'web', ROOT/'llm_sampling/data'
PARTS = 8              # of the weights: so many steps of progress

# --- tables ---

def literal(value, indent=0):
    "JavaScript for lists, dicts, numbers, strings and None; what is long on many lines"
    if isinstance(value, float) and not math.isfinite(value):
        return 'Infinity' if value > 0 else '-Infinity'
    if not isinstance(value, (dict, list, tuple)):
        return json.dumps(value, ensure_ascii=False)
    named = isinstance(value, dict)
    keys = [f'{key_of(k)}: ' for k in value] if named else [''] * len(value)
    parts = [key + literal(v, indent + 2)
             for key, v in zip(keys, value.values() if named else value)]
    first, last = '{}' if named else '[]'
    line = first + ', '.join(parts) + last
    if len(line) + indent < 80 and '\n' not in line: return line
    pad = ' ' * (indent + 2)
    return f'{first}\n' + ''.join(f'{pad}{p},\n' for p in parts) + pad[2:] + last

def key_of(name): return name if name.isidentifier() else json.dumps(name)

def inside(knob, value):
    "Is a number in the range of a knob?"
    try: return bool(knob.inside(value))
    except (TypeError, ValueError): return False

def span(knob):
    "The range of a knob, found by asking it about numbers where ranges begin and end"
    most, tiny = 2. ** 128 * (1 - 2**-24), 2. ** -126
    if getattr(knob, 'integer', not inside(knob, 1.5)):
        return dict(allowed=knob.allowed, integer=True, high=math.inf,
                    low=next(e for e in (0, 1, 2) if inside(knob, e))) | neutral(knob)
    edges = [-math.inf, -most, -1, 0, tiny, 1, most, math.inf]
    low = next(e for e in edges if inside(knob, math.nextafter(e, math.inf)))
    high = next((e for e in reversed(edges)
                 if inside(knob, math.nextafter(e, -math.inf))))
    out = dict(allowed=knob.allowed, low=low, high=high)
    if not inside(knob, low): out['lowOpen'] = True
    if not inside(knob, high): out['highOpen'] = True
    also = [e for e in edges if inside(knob, e) and not low <= e <= high]
    return out | (dict(also=also) if also else {}) | neutral(knob)

def neutral(knob):
    value = getattr(knob, 'neutral', None)
    return {} if value is None or value != value else dict(neutral=value)

def is_number(knob): return inside(knob, .5) or inside(knob, 2)

def described(knob):
    return span(knob) if is_number(knob) else dict(allowed=knob.allowed)

def tables():
    "What `web/generated.js` holds: steps, knobs, orders, model, tokenizer"
    import inspect
    from llm_sampling import Sampler, mirostat, repeats, steps
    defaults = inspect.signature(Sampler).parameters
    default = lambda name: (lambda v: [] if v == () else v)(defaults[name].default)
    adaptive = {'Mirostat1.tau': mirostat.MIROSTAT_TAU,
                'Mirostat1.eta': mirostat.MIROSTAT_ETA,
                'Mirostat2.tau': mirostat.MIROSTAT_TAU,
                'Mirostat2.eta': mirostat.MIROSTAT_ETA,
                'AdaptiveP.target': mirostat.ADAPTIVE_TARGET,
                'AdaptiveP.decay': mirostat.ADAPTIVE_DECAY,
                'logit_bias_value': repeats.LOGIT_BIAS}
    return dict(
        STEPS={name: dict(why=step.why, extra=list(step.extra),
                          knob=described(step.knob))
               for name, step in steps.STEPS.items()},
        KNOBS={name: described(knob) | dict(default=default(name))
               for name, knob in steps.EXTRA.items()}
              | {name: span(knob) for name, knob in adaptive.items()},
        ORDERS=steps.ORDERS, READS=reads(), MODEL=model_config(),
        TOKENIZER=tokenizer())

def reads():
    "Tables by which a configuration of another system is read"
    from llm_sampling import settings as s
    silent = {system: [*names.split(), *s._REQUEST.split()]
              for system, names in s._SILENT.items()}
    return dict(samplers=s._SAMPLERS, drawn=list(s._DRAWN), refused=s._REFUSED,
                silent=silent)

def model_config():
    c = json.loads((DATA/'config.json').read_text())
    assert c['num_key_value_heads'] == c['num_attention_heads']
    assert c['tie_word_embeddings'] and c['hidden_act'] == 'silu'
    return dict(vocab=c['vocab_size'], hidden=c['hidden_size'],
                inner=c['intermediate_size'], layers=c['num_hidden_layers'],
                heads=c['num_attention_heads'], window=c['max_position_embeddings'],
                eps=c['rms_norm_eps'], theta=c['rope_parameters']['rope_theta'])

# --- the tokenizer ---

def tokenizer():
    "Merges as ids, and which code points are letters, numbers and spaces"
    stored = json.loads((DATA/'tokenizer.json').read_text())
    vocab, merges = stored['model']['vocab'], stored['model']['merges']
    special, = stored['added_tokens']
    assert special['id'] == 0 and not special['lstrip'] and not special['rstrip']
    first = 257            # of the merged tokens: they have the order of the merges
    assert all(vocab[a + b] == first + i for i, (a, b) in enumerate(merges))
    pairs = b''.join(vocab[x].to_bytes(2, 'little') for pair in merges for x in pair)
    letters, numbers, spaces = classes()
    return dict(special=special['content'], letters=letters, numbers=numbers,
                spaces=spaces, merges=base64.b64encode(pairs).decode())

def classes():
    "Letters, numbers and spaces, as the pieces of the tokenizer tell them apart"
    from tokenizers.pre_tokenizers import ByteLevel
    split = ByteLevel(add_prefix_space=False, use_regex=True).pre_tokenize_str
    rest = [c for c in range(0x110000) if not 0xd800 <= c < 0xe000]
    for mark in 'a1!':
        found = [c for block in blocks(rest) for c in joined(split, mark, block)]
        if mark != '!': yield packed(found)
        rest = sorted({*rest} - {*found})
    yield packed(rest)

def blocks(values, n=2**14):
    return (values[i:i+n] for i in range(0, len(values), n))

def joined(split, mark, codes):
    "Code points that stand in one piece with a mark on both sides"
    text = '\n'.join(f'{mark}{chr(c)}{mark}' for c in codes)
    whole = {start for _, (start, end) in split(text) if end - start == 3}
    return [c for i, c in enumerate(codes) if 4*i in whole]

def packed(codes):
    "Code points as gaps and lengths of their ranges, to base 36"
    ends, out = 0, []
    codes, i = [*codes, -1], 0
    while codes[i] >= 0:
        n = 1
        while codes[i + n] == codes[i] + n: n += 1
        out.append(f'{base36(codes[i] - ends)},{base36(n)}')
        ends, i = codes[i] + n, i + n
    return ' '.join(out)

def base36(n):
    digits = '0123456789abcdefghijklmnopqrstuvwxyz'
    return digits[n] if n < 36 else base36(n // 36) + digits[n % 36]

def generated():
    "The text of `web/generated.js`"
    names = [f'export const {name} = {literal(table)}\n'
             for name, table in tables().items()]
    return '\n'.join(['// Written by tools/web.py from the tables of llm_sampling.\n',
                      *names])

def strategies():
    "The text of `web/views/strategies.js`: what the arena offers, and first states"
    from llm_sampling.explorer import AT_FIRST, STRATEGIES
    from llm_sampling.live import FIRST, FIRST_MAP
    table = {name: dict(name=s.label, **told(s.spec)) for name, s in STRATEGIES.items()}
    return ('// Written by tools/web.py from tables of llm_sampling.\n\n'
            f'export const STRATEGIES = {literal(table)}\n\n'
            f'export const AT_FIRST = {literal(AT_FIRST)}\n\n'
            f'export const FIRST = {literal(FIRST)}\n\n'
            f'export const FIRST_MAP = {literal(FIRST_MAP)}\n')

def told(spec):
    "A spec as the engine is told it: settings of a sampler; which search, its options"
    from llm_sampling.specs import PATHS, split_knobs
    knobs = {k: v for k, v in spec.items() if k != 'strategy'}
    if spec['strategy'] == 'generate': return dict(settings=knobs)
    options, settings = split_knobs(PATHS[spec['strategy']], knobs)
    search = dict(search=spec['strategy'], options=options)
    return search | (dict(settings=settings) if settings else {})

# --- weights ---

def planes():
    "The weights in the order of web/model.js: upper bytes of bfloat16, then lower ones"
    import numpy as np
    raw = (DATA/'model.safetensors').read_bytes()
    n = int.from_bytes(raw[:8], 'little')
    head = json.loads(raw[8:8+n])
    def tensor(name):
        assert head[name]['dtype'] == 'BF16'
        a, b = head[name]['data_offsets']
        return np.frombuffer(raw[8+n+a:8+n+b], np.uint16)
    parts = ['input_layernorm', *(f'self_attn.{x}_proj' for x in 'qkvo'),
             'post_attention_layernorm', *(f'mlp.{x}_proj' for x in
                                           ('gate', 'up', 'down'))]
    names = ['model.embed_tokens',
             *(f'model.layers.{i}.{p}' for i in range(model_config()['layers'])
               for p in parts), 'model.norm']
    assert len(names) == len([k for k in head if k != '__metadata__'])
    bits = np.concatenate([tensor(f'{name}.weight') for name in names])
    return (bits >> 8).astype(np.uint8).tobytes() + bits.astype(np.uint8).tobytes()

def write_weights(out):
    "Classic scripts that hand over the weights, gzip in base64; gives their sizes"
    text = base64.b64encode(gzip.compress(planes(), 6, mtime=0)).decode()
    size = -(-len(text) // PARTS)
    sizes = []
    for i in range(PARTS):
        part = f"llmSampling.weights({i}, '{text[i*size:(i+1)*size]}')\n"
        (out/f'weights-{i}.js').write_text(part)
        sizes.append(len(part))
    return sizes

# --- one script ---

IMPORT = re.compile(r"^import[^']*'(\.\.?/\w+\.js)'\n", flags=re.M)
EXPORT = re.compile(r'^export (?=async |class |const |function)', flags=re.M)
NAME = re.compile(r'^(?:export )?(?:async )?(?:class|const|let|function\*?) (\w+)',
                  flags=re.M)

def in_order(path, seen):
    "A module after all those that it imports"
    if path in seen: return
    source = path.read_text()
    for name in IMPORT.findall(source): in_order((path.parent/name).resolve(), seen)
    seen[path] = source

def joined_modules(first):
    "A module and all that it imports, as the inside of one function"
    modules = {}
    in_order(first, modules)
    names = [n for source in modules.values() for n in NAME.findall(source)]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice: raise SystemExit(f'web/: names used in two modules: {", ".join(twice)}')
    return '\n'.join(f'// {path.name}\n{EXPORT.sub("", IMPORT.sub("", source))}'
                     for path, source in modules.items())

def bundle(sizes):
    "The engine as one function, which a page calls and a worker calls again"
    return f'''(function program(scope) {{
'use strict'
{joined_modules(WEB/'engine.js')}
if (typeof document === 'undefined') serve(scope)
else scope.llmSampling = page({{program, sizes: {sizes}}})
}})(globalThis)
'''

def views(size):
    "The views as one script, which says what the weights will weigh, in bytes"
    inside = slim(joined_modules(WEB/'views/views.js'))
    return f"(function () {{\n'use strict'\nconst SIZE = {size}\n{inside}\n}})()\n"

def slim(source):
    "A script without the lines that are comments"
    return re.sub(r'^ *(?:/\*\*.*?\*/|//[^\n]*)\n', '', source, flags=re.M | re.S)

def live():
    "What a notebook needs of the views, in the package: their script, their style"
    inside = slim(joined_modules(WEB/'views/live.js'))
    return {'views.js': f'const SIZE = 0\n{inside}',
            'views.css': (WEB/'views/views.css').read_text()}

def build(out):
    "Everything a page needs, into a folder"
    out.mkdir(parents=True, exist_ok=True)
    sizes = write_weights(out)
    (out/'llm_sampling.js').write_text(bundle(sizes))
    (out/'views.js').write_text(views(sum(sizes)))
    (out/'views.css').write_text((WEB/'views/views.css').read_text())
    return sum(sizes), (out/'llm_sampling.js').stat().st_size

def write(texts):
    for path, text in texts.items(): path.write_text(text)

def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--tables', action='store_true')
    parser.add_argument('--check', action='store_true')
    parser.add_argument('--out', type=Path, default=ROOT/'build/web')
    args = parser.parse_args()
    texts = {WEB/'generated.js': generated(), WEB/'views/strategies.js': strategies()}
    # the table of strategies is a part of the views
    if not args.check: write(texts)
    texts |= {DATA/name: text for name, text in live().items()}
    if args.check:
        old = [path for path, text in texts.items() if path.read_text() != text]
        if not old: return
        raise SystemExit(f'{old[0].relative_to(ROOT)} is old: run python tools/web.py '
                         '--tables')
    write(texts)
    if args.tables: return
    weights, code = build(args.out)
    print(f'{args.out}: code {code/1e3:.0f} kB, weights {weights/1e6:.1f} MB')

if __name__ == '__main__': sys.exit(main())
