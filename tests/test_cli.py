"The command: its options are those of the functions; codes, pipes, signals, encodings"
import importlib, inspect, io, json, math, os, shlex, shutil, signal, subprocess, sys
from importlib.resources import files

import pytest

import llm_sampling as ls
from llm_sampling.cli import STRATEGIES, main

ENV = os.environ | dict(OMP_NUM_THREADS='1', HF_HUB_OFFLINE='1')
COMMAND = [sys.executable, '-m', 'llm_sampling']


def run(*args, env={}):
    return subprocess.run([*COMMAND, *args], capture_output=True, encoding='utf-8',
                          env=ENV | env, timeout=120)


@pytest.fixture
def load(lm):
    "One bundled model for all tests, but not on another device or in another dtype"
    plain = ls.load
    return lambda name=None, **kw: plain(name, **kw) if name or any(kw.values()) else lm


@pytest.fixture
def here(capsys, monkeypatch, load):
    """Run in this process, with one model: importing torch and transformers takes
    seconds"""
    monkeypatch.setattr('llm_sampling.models.load', load)
    def run_here(*args):
        code = main(list(args))
        out = capsys.readouterr()
        return subprocess.CompletedProcess(args, code, out.out, out.err)
    return run_here


def lines(p):
    "The objects that a command printed"
    assert p.returncode == 0, p.stderr
    return [json.loads(line) for line in p.stdout.splitlines()]


def function(path):
    module, name = path.split('.')
    return getattr(importlib.import_module(f'llm_sampling.{module}'), name)


# help and options

def test_help_needs_no_torch():
    code = ('import sys; from llm_sampling.cli import main; c = main(sys.argv[1:]); '
            'sys.exit(c or ("torch" in sys.modules))')
    for args in (['--help'], ['--version'], ['generate', '--help'],
                 ['explain', '--help'], ['demo', '--help']):
        p = subprocess.run([sys.executable, '-c', code, *args], capture_output=True,
                           text=True, env=ENV)
        assert p.returncode == 0, p.stderr
        assert args == ['--version'] or 'examples:' in p.stdout


def test_version():
    assert run('--version').stdout == f'llm-sampling {ls.__version__}\n'


def test_every_strategy_of_the_package_is_here():
    offered = {name for name in ls.__all__
               if inspect.isfunction(f := getattr(ls, name))
               and inspect.signature(f).return_annotation is ls.Generation}
    assert offered == {s.function.split('.')[1] for s in STRATEGIES.values()}


HAS_ANOTHER_OPTION = {'self', 'lm', 'prompt', 'sampler'}
FOR_PYTHON_ONLY = {'record', 'attention_mask', 'streamer', 'value', 'score', 'answer',
                   'similarity', 'tokenizer', 'processors'}

def test_every_parameter_is_an_option(here):
    "As Python sees the functions, not as the command reads their source"
    help = ' '.join(here('generate', '--help').stdout.split())
    paths = {'sampler.Sampler', *(path for s in STRATEGIES.values()
                                  for path in (s.function, s.stream) if path)}
    for path in paths:
        for name, p in inspect.signature(function(path)).parameters.items():
            if name in HAS_ANOTHER_OPTION | FOR_PYTHON_ONLY: continue
            assert f' --{name.replace("_", "-")}' in help, (path, name)
            if isinstance(p.default, (int, float)) and p.default and not isinstance(
                p.default, bool) and math.isfinite(p.default):
                assert f'default: {p.default})' in help, (path, name)


KNOBS = [
    ('--temperature .8 --top-p .9', dict(temperature=.8, top_p=.9)),
    ('--dynamic-temperature .5 1.5', dict(dynamic_temperature=(.5, 1.5))),
    ('--dynamic-temperature .5 1.5 2', dict(dynamic_temperature=(.5, 1.5, 2.))),
    ('--top-k 40 --min-p .1 --top-a .2 --top-n-sigma 1 --typical-p .9',
     dict(top_k=40, min_p=.1, top_a=.2, top_n_sigma=1, typical_p=.9)),
    ('--p-less', dict(p_less=True)),
    ('--epsilon-cutoff .001 --eta-cutoff .001 --top-h .4 --tail-free .95',
     dict(epsilon_cutoff=.001, eta_cutoff=.001, top_h=.4, tail_free=.95)),
    ('--repetition-penalty 1.2 --frequency-penalty -.5 --presence-penalty .5 '
     '--no-repeat-ngram-size 3',
     dict(repetition_penalty=1.2, frequency_penalty=-.5, presence_penalty=.5,
          no_repeat_ngram_size=3)),
    ('--dry-multiplier .8 --dry-base 2 --dry-allowed-length 3 --dry-breakers 13 14',
     dict(dry_multiplier=.8, dry_base=2, dry_allowed_length=3, dry_breakers=[13, 14])),
    ('--logit-bias 5=-inf 6=2.5 --logit-bias 7=1',
     dict(logit_bias={5: -math.inf, 6: 2.5, 7: 1})),
    ('--ban-tokens 1,2 3 --ban-tokens 4', dict(ban_tokens=[[1, 2], [3], [4]])),
    ('--ban-tokens 1,2 " wolf" --logit-bias " had=-inf" --dry-multiplier 1 '
     '--dry-breakers "\\n"',
     dict(ban_tokens=[[1, 2], ' wolf'], logit_bias={' had': -math.inf},
          dry_multiplier=1, dry_breakers=['\n'])),
    ('--xtc-probability .5 --xtc-threshold .2',
     dict(xtc_probability=.5, xtc_threshold=.2)),
    ('--adaptive mirostat2:tau=3,eta=.2', dict(adaptive=ls.Mirostat2(3, .2))),
    ('--adaptive mirostat1:tau=3,surprise=kept',
     dict(adaptive=ls.Mirostat1(3, surprise='kept'))),
    ('--adaptive adaptive-p:target=.5', dict(adaptive=ls.AdaptiveP(.5))),
    ('--top-k 4 --order vllm', dict(top_k=4, order='vllm')),
    ('--top-k 4 --temperature 2 --order top-k,temperature',
     dict(top_k=4, temperature=2, order=['top_k', 'temperature'])),
]

@pytest.mark.parametrize('options,knobs', KNOBS)
def test_the_sampler_gets_its_knobs(options, knobs, here):
    answer, = lines(here('generate', 'Once', *shlex.split(options), '--max-new-tokens',
                         '0', '--json'))
    assert answer['sampler'] == repr(ls.Sampler(**knobs))
    assert answer['strategy'] == 'sample'


def test_every_knob_of_the_sampler_is_tried():
    tried = set().union(*(knobs for _, knobs in KNOBS))
    assert tried >= set(inspect.signature(ls.Sampler).parameters) - FOR_PYTHON_ONLY - {
        'seed'}


def ask(f, *after, **knobs):
    "What a command asks of a function, but for model, prompt and length"
    return lambda lm, prompt, **kw: f(lm, prompt, *after, **knobs, **kw)

def beside_itself(lm, prompt, **kw):
    return ls.contrastive_decoding(lm, lm, prompt, **kw)

CALLS = {
    'greedy': ('', ask(ls.generate)),
    'sample': ('--top-k 9 --n 2 --seed 3',
               ask(ls.generate, ls.Sampler(top_k=9), n=2, seed=3)),
    'beam': ('--num-beams 3 --num-return-sequences 2 --early-stopping never',
             ask(ls.beam_search, num_beams=3, num_return_sequences=2,
                 early_stopping='never')),
    'diverse-beam': ('--num-beam-groups 4 --diversity-penalty .5 --length-penalty 0',
                     ask(ls.diverse_beam_search, num_beam_groups=4,
                         diversity_penalty=.5, length_penalty=0.)),
    'constrained-beam': ('--force-words-ids " wolf| king" 13',
                         ask(ls.constrained_beam_search,
                             force_words_ids=[[' wolf', ' king'], [13]])),
    'stochastic-beam': ('--num-beams 2 --seed 1',
                        ask(ls.stochastic_beam_search, num_beams=2, seed=1)),
    'contrastive': ('--top-k 6 --penalty-alpha .7 --min-p .01',
                    ask(ls.contrastive_search, top_k=6, penalty_alpha=.7,
                        sampler=ls.Sampler(min_p=.01))),
    'contrastive-decoding': ('--amateur self --amateur-context 1 --alpha .2 --beta .5',
                             ask(beside_itself, amateur_context=1, alpha=.2, beta=.5)),
    'dola': ('--dola-layers 2,4 --alpha .3',
             ask(ls.dola, dola_layers=[2, 4], alpha=.3)),
    'guided': ('--negative-prompt 12 --guidance-scale 2',
               ask(ls.guided, '12', guidance_scale=2.)),
    'mcts': ('--num-simulations 3 --top-k 4 --temperature 1 --seed 2',
             ask(ls.mcts_decode, num_simulations=3, top_k=4, temperature=1, seed=2)),
    'best-of-n': ('--n 3 --seed 1', ask(ls.best_of_n, n=3, seed=1)),
    'majority-vote': ('--n 3 --seed 1 --weighted',
                      ask(ls.majority_vote, n=3, seed=1, weighted=True)),
    'mbr': ('--n 3 --seed 1 --temperature .5',
            ask(ls.minimum_bayes_risk, n=3, seed=1,
                sampler=ls.Sampler(temperature=.5))),
}

@pytest.mark.parametrize('name', STRATEGIES)
def test_a_strategy_is_the_function_behind_it(name, here, lm, lists):
    options, call = CALLS[name]
    answer, = lines(here('generate', 'The wolf said', '--strategy', name,
                         '--max-new-tokens', '4', '--json', *shlex.split(options)))
    out = call(lm, 'The wolf said', max_new_tokens=4)
    assert answer['strategy'] == name
    assert [row['ids'] for row in answer['rows']] == lists(out.ids)
    assert [row['text'] for row in answer['rows']] == out.texts
    assert [row['score'] for row in answer['rows']] == pytest.approx(out.scores)
    assert ([row['logprob'] for row in answer['rows']]
            == pytest.approx([l.sum().item() for l in out.logprobs]))


# which strategy, and what goes with it

@pytest.mark.parametrize('options,name', [('', 'greedy'), (
    '--temperature 0 --dry-multiplier 1', 'greedy'), ('--n 1', 'greedy'),
                                          ('--stop x', 'greedy'), ('--n 2', 'sample'),
                                          ('--seed 1', 'sample'),
                                          ('--top-p .5', 'sample')])
def test_what_is_meant_without_a_strategy(options, name, here):
    answer, = lines(here('generate', 'Once', *options.split(), '--max-new-tokens', '1',
                         '--json'))
    assert answer['strategy'] == name


def test_several_texts_without_a_knob_differ(here):
    answer, = lines(here('generate', 'Once', '--n', '3', '--json', '--max-new-tokens',
                         '12'))
    assert len({row['text'] for row in answer['rows']}) == 3


@pytest.mark.parametrize('options,names', [
    ('--num-beams 4', ['--num-beams', 'greedy',
                       'beam, diverse-beam, constrained-beam, stochastic-beam']),
    ('--strategy mcts --penalty-alpha .5',
     ['--penalty-alpha', 'mcts', 'goes with contrastive']),
    ('--strategy beam --lookahead 2', ['--lookahead', 'beam with --stream']),
    ('--strategy contrastive --n 2', ['--n', 'sample, contrastive-decoding']),
    ('--strategy greedy --n 3', ['--n 1, not 3', 'sample']),
    ('--temperature 0 --n 3', ['--n 1, not 3', 'sample']),
    ('--strategy greedy --temperature .5', ['--temperature 0', 'sample']),
    ('--strategy dola', ['needs --dola-layers']),
    ('--strategy best-of-n', ['needs --n']),
    ('--strategy mcts --stream', ['--stream', 'greedy, sample, beam, contrastive']),
])
def test_a_knob_out_of_place_names_those_that_take_it(options, names, here,
                                                      monkeypatch):
    monkeypatch.setattr('llm_sampling.models.load', lambda *a,
                        **kw: pytest.fail('a model was loaded'))
    p = here('generate', 'x', *options.split())
    assert p.returncode == 2 and p.stdout == ''
    for name in names: assert name in p.stderr.splitlines()[-1]


# wrong use

@pytest.mark.parametrize('args',
                         [[], ['nonsense'], ['generate'], ['generate', 'x', '--n', '0'],
                          ['generate', 'x', '--n', '1.5'],
                                  ['generate', 'x', '--max-new-tokens', '-1'],
                          ['generate', 'x', '--stream', '--n', '2'],
                                  ['generate', 'x', '--prompts', 'y'],
                          ['generate', 'x', '--strategy', 'none'],
                                  ['generate', 'x', '--temp', '1'],
                          ['generate', 'x', '--logit-bias', '5'],
                                  ['generate', 'x', '--adaptive', 'mirostat3'],
                          ['generate', 'x', '--eos-token-id', 'x']])
def test_wrong_use_is_2(args, here):
    p = here(*args)
    assert p.returncode == 2 and p.stdout == '' and 'Traceback' not in p.stderr


@pytest.mark.parametrize('option,value,says', [
    ('--top-p', '1.5', 'top_p'), ('--temperature', 'hot', 'temperature'),
    ('--num-beams', 'four', '--num-beams'),
    ('--stop', '', '--stop'), ('--seed', str(2**63), '--seed'),
    ('--adaptive', 'mirostat2:tau=-1', 'tau'),
    ('--order', 'top-x', 'top_x'),
    ('--dynamic-temperature', '2', 'dynamic_temperature')])
def test_wrong_use_is_found_before_the_model(option, value, says, here, monkeypatch):
    monkeypatch.setattr('llm_sampling.models.load', lambda *a,
                        **kw: pytest.fail('a model was loaded'))
    p = here('generate', 'x', option, value)
    assert p.returncode == 2 and p.stdout == '' and says in p.stderr.splitlines()[-1]


@pytest.mark.parametrize('option,says',
                         [('--device', "device 'foo'"), ('--dtype', "not 'foo'")])
def test_unusable_place_is_1_and_one_line(option, says, here):
    p = here('generate', 'x', option, 'foo')
    assert p.returncode == 1
    assert p.stdout == ''
    assert len(p.stderr.splitlines()) == 1
    assert says in p.stderr


def test_missing_model_is_1_and_one_line(tmp_path, here):
    p = here('explain', 'x', '--model', str(tmp_path/'none'))
    assert p.returncode == 1
    assert p.stdout == ''
    assert len(p.stderr.splitlines()) == 1
    assert 'no model' in p.stderr


@pytest.mark.parametrize('options', [['--n'], ['--strategy', 'beam', '--num-beams'],
                                     ['--strategy', 'best-of-n', '--n']])
def test_more_texts_than_memory_are_refused(options, here):
    p = here('generate', 'x', *options, str(10**12))
    assert p.returncode == 1 and p.stdout == '' and len(p.stderr.splitlines()) == 1
    assert '1,000,000,000,000 texts' in p.stderr and 'GiB' in p.stderr


# what is printed

def test_generate_json_and_seed(here):
    args = ['generate', 'Once upon a time', '--temperature', '.8', '--top-p', '.9',
            '--seed', '1', '--n', '2', '--max-new-tokens', '12', '--json']
    (a,), (b,) = (lines(here(*args)) for _ in range(2))
    assert a['rows'] == b['rows']
    assert len(a['rows']) == 2
    assert a['prompt'] == 'Once upon a time'
    assert a['rows'][0]['text'] != a['rows'][1]['text']
    assert len(a['rows'][0]['ids']) <= 12
    assert a['rows'][0]['finish_reason'] in ('stop', 'length')
    assert a['stats']['forward_passes'] > 0


@pytest.mark.some(2)
@pytest.mark.parametrize('options', [[], ['--seed', '3'],
                                     ['--strategy', 'beam', '--num-beams', '3'],
                                     ['--strategy', 'contrastive'],
                                     ['--strategy', 'dola', '--dola-layers', 'low']])
def test_stream_is_generate(options, here):
    args = ['generate', 'Once upon a time', '--max-new-tokens', '15', *options]
    whole, streamed = here(*args), here(*args, '--stream')
    assert whole.returncode == 0
    assert whole.stdout == streamed.stdout
    assert whole.stdout.startswith('Once upon a time')
    pieces = lines(here(*args, '--stream', '--json'))
    assert 'Once upon a time' + ''.join(p['text']
                                        for p in pieces) + '\n' == whole.stdout
    assert pieces[-1]['finish_reason']


def test_explain(here):
    p = here('explain', 'Once upon a time', '--top-k', '7')
    assert p.returncode == 0 and 'top_k 7' in p.stdout
    (model,
     last), = lines(here('explain', 'Once upon a time', '--top-k', '7', '--json'))
    assert last['kept'] == 7 == len(last['tokens']) and len(model['tokens']) == 10
    assert [t['id'] for t in last['tokens']] == [t['id'] for t in model['tokens'][:7]]
    assert abs(sum(t['prob'] for t in last['tokens']) - 1) < 1e-5
    assert all(set(t) == {'id', 'text', 'prob'} for t in last['tokens'])
    assert repr(last['tokens'][0]['text']) in p.stdout


def test_explain_takes_what_generate_takes(here):
    (_, adaptive), = lines(here('explain', 'Once', '--adaptive', 'mirostat2:tau=1',
                                '--json'))
    assert adaptive['step'] == 'adaptive' and adaptive['removed'] > 0
    (model,
     banned), = lines(here('explain', 'Once upon a time there was a poor man who',
                           '--logit-bias', ' had=-inf', '--json'))
    assert banned['removed'] == 1
    assert model['tokens'][0]['text'] == ' had' != banned['tokens'][0]['text']
    assert here('explain', 'x', '--top-k', '0').returncode == 2


def test_explain_escapes_a_prompt_once(here):
    assert here('explain', 'a\x1bb').stdout.startswith("After 'a\\x1bb':")


# prompts

@pytest.mark.long
def test_a_file_of_prompts(tmp_path, here):
    file = tmp_path/'prompts'
    file.write_bytes(
        'Once upon\r\n\nThe wölf\u2028said\n{"prompt": "One\\nTwo"}\n'.encode())
    options = ['--seed', '1', '--n', '2', '--max-new-tokens', '6']
    answers = lines(here('generate', '--prompts', str(file), '--json', *options))
    assert [a['prompt'] for a in answers] == ['Once upon', 'The wölf\u2028said',
                                              'One\nTwo']
    for a in answers:
        alone, = lines(here('generate', a['prompt'], '--json', *options))
        assert [row['ids'] for row in a['rows']] == [row['ids']
                                                     for row in alone['rows']]
    one_by_one = lines(here('generate', '--prompts', str(file), '--json',
                            '--batch-size', '1', *options))
    assert [[r['ids'] for r in a['rows']]
            for a in answers] == [[r['ids'] for r in a['rows']] for a in one_by_one]
    pieces = lines(here('generate', '--prompts', str(file), '--json', '--stream',
                        '--batch-size', '2', *options))
    texts = [''.join(p['text'] for p in pieces if p['row'] == i) for i in range(6)]
    assert texts == [row['text'] for a in answers for row in a['rows']]
    printed = here('generate', '--prompts', str(file), *options).stdout
    assert printed.startswith('--- prompt 1 of 3, 1 of 2\nOnce upon')
    assert '\n--- prompt 3 of 3, 2 of 2\nOne\nTwo' in printed


@pytest.mark.parametrize('content,says', [
    (b'\n \n', 'no prompt'), (b'ab\n\xff', 'byte 0xff at offset 3'),
    (b'x\n{"prompt": ', 'line 2'), (b'{"prompt": 3}', 'line 1'),
    (b'{"messages": "x"}', 'line 1'), (b'{"a":' * 100000, 'line 1')])
def test_a_bad_file_of_prompts_is_1_and_one_line(content, says, tmp_path, here):
    (tmp_path/'prompts').write_bytes(content)
    p = here('generate', '--prompts', str(tmp_path/'prompts'))
    assert p.returncode == 1
    assert p.stdout == ''
    assert len(p.stderr.splitlines()) == 1
    assert says in p.stderr


TEMPLATE = ("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
            "{% if add_generation_prompt %}<assistant>{% endif %}")

def test_chat_goes_through_the_template(tmp_path, here, lm):
    folder = shutil.copytree(files('llm_sampling')/'data', tmp_path/'chat')
    (folder/'chat_template.jinja').write_text(TEMPLATE)
    asked = [{'role': 'user', 'content': 'Who are you?'}]
    options = ['--model', str(folder), '--max-new-tokens', '8']
    expected = ls.generate(ls.load(folder), asked, max_new_tokens=8).texts[0]
    assert expected != ls.generate(lm, 'Who are you?', max_new_tokens=8).texts[0]
    p = here('generate', 'Who are you?', '--chat', *options)
    assert p.returncode == 0, p.stderr
    assert p.stdout == expected + '\n' == here('generate', 'Who are you?', '--chat',
                                               '--stream', *options).stdout
    (tmp_path/'prompts').write_text(json.dumps(dict(messages=asked)))
    answer, = lines(here('generate', '--prompts', str(tmp_path/'prompts'), '--json',
                         *options))
    assert answer['prompt'] == asked and answer['rows'][0]['text'] == expected
    (model, *_), = lines(here('explain', 'Who are you?', '--chat', '--json', '--model',
                              str(folder)))
    assert model['tokens'][0]['id'] == answer['rows'][0]['ids'][0]


class Bytes(io.StringIO):
    def __init__(self, data): super().__init__(); self.buffer = io.BytesIO(data)

def test_prompt_from_stdin_and_stop(here, monkeypatch):
    monkeypatch.setattr('sys.stdin', Bytes(b'Once upon a\n'))
    p = here('generate', '-', '--max-new-tokens', '30', '--stop', ' ')
    assert p.returncode == 0 and p.stdout == 'Once upon a\n'


def test_what_is_not_utf8_is_told_with_its_place(here, monkeypatch):
    monkeypatch.setattr('sys.stdin', Bytes(b'caf\xc3\xa9 \xff'))
    p = here('generate', '-')
    assert p.returncode == 1
    assert p.stdout == ''
    assert p.stderr == 'llm-sampling: stdin is not UTF-8: byte 0xff at offset 6\n'
    # how Python hands on a byte of the line that it cannot decode
    p = here('generate', 'ab\udcff')
    assert p.returncode == 1
    assert p.stdout == ''
    assert p.stderr.endswith('byte 0xff at offset 2\n')


def test_closed_stdin_and_stdout(here, monkeypatch, capsys):
    "Python sets what is closed to None"
    with monkeypatch.context() as m:
        m.setattr('sys.stdin', None)
        p = here('generate', '-')
        assert p.returncode == 1
        assert p.stderr == 'llm-sampling: stdin is closed: there is no prompt in it\n'
    with monkeypatch.context() as m:
        m.setattr('sys.stdout', None)
        assert main(['generate', 'x']) == 1
    assert 'stdout is closed' in capsys.readouterr().err
    with monkeypatch.context() as m:
        m.setattr('sys.stderr', None)
        m.setattr('sys.stdin', None)
        assert main(['generate', 'x', '--n', '0']) == 2 and main(['generate', '-']) == 1
    assert capsys.readouterr().out == ''


# demo

def test_demo_shows_every_strategy_and_a_figure(tmp_path, here, monkeypatch):
    panels = []
    from llm_sampling import plots
    small_multiples = plots.small_multiples
    monkeypatch.setattr(plots, 'small_multiples', lambda rows, *a,
                        **kw: panels.append(rows) or small_multiples(rows, *a, **kw))
    p = here('demo', 'Once upon a time', '--max-new-tokens', '6', '--figure',
             str(tmp_path/'demo.png'))
    assert p.returncode == 0 and p.stderr == f'\nwrote {tmp_path/"demo.png"}\n'
    assert (tmp_path/'demo.png').read_bytes()[:4] == b'\x89PNG'
    rows = [l[4:] for l in p.stdout.splitlines() if l.startswith('--- ')]
    assert {row.split()[0] for row in rows} == {*STRATEGIES}
    table = p.stdout[p.stdout.index('\nstrategy '):]
    for title in ('tokens/s', 'evaluated', 'rep-4', 'log-probability'):
        assert title in table
    for row in rows:
        numbers = next(l for l in table.splitlines()
                       if l.startswith(row + ' ')).removeprefix(row).split()
        assert len(numbers) == 4 and int(numbers[1]) >= 6 and float(numbers[3]) < 0
    drawn, = panels
    assert len(drawn) >= 4
    assert len({tuple(p.tolist()) for p in drawn.values()}) == len(drawn)


def test_demo_prints_what_generate_prints(here):
    p = here('demo', 'Once', '--max-new-tokens', '5', '--seed', '4')
    shown = {title: text for title, _, text in (part.partition('\n')
                                                for part in p.stdout.split('--- ')[1:])}
    text = here('generate', 'Once', '--strategy', 'mbr', '--n', '8', '--seed', '4',
                '--max-new-tokens', '5').stdout
    assert shown['mbr --n 8'].startswith(text + '\n')


@pytest.mark.parametrize('path,says', [('', 'folder'), ('none/demo.png', 'no folder'),
                                       ('demo.doc', '.png'), ('demo', '.png')])
def test_a_bad_figure_is_found_before_the_demo(path, says, tmp_path, here, monkeypatch):
    monkeypatch.setattr('llm_sampling.models.load', lambda *a,
                        **kw: pytest.fail('a model was loaded'))
    p = here('demo', '--figure', str(tmp_path/path))
    assert p.returncode == 2
    assert p.stdout == ''
    assert says in p.stderr.splitlines()[-1]
    assert not [*tmp_path.iterdir()]


# the terminal

HOSTILE = 'a\x1b]0;title\x07b\u202ec\u2066d\x9be\rf'
SHOWN = 'a\\x1b]0;title\\x07b\\u202ec\\u2066d\\x9be\\rf'

def test_control_characters_are_shown(here):
    assert here('generate', HOSTILE, '--max-new-tokens', '0').stdout == SHOWN + '\n'
    assert here('generate', HOSTILE, '--max-new-tokens', '0',
                '--stream').stdout == SHOWN + '\n'


def test_control_characters_in_errors_are_shown(tmp_path, here):
    (tmp_path/'config.json').write_text(json.dumps(dict(model_type=HOSTILE)))
    for args in (['generate', 'x', '--model', str(tmp_path)],
                 ['generate', 'x', '--model', HOSTILE],
                 ['generate', 'x', '--device', HOSTILE],
                 ['generate', 'x', f'--{HOSTILE}'],
                 ['generate', 'x', '--strategy', HOSTILE],
                 ['generate', '--prompts', HOSTILE]):
        p = here(*args)
        assert p.returncode in (1, 2) and p.stdout == ''
        assert '\\x1b]0;title\\x07' in p.stderr and not set(p.stderr) & set(
            '\x1b\x07\u202e\u2066\x9b\r'), p.stderr


def test_control_characters_of_others_are_shown(here, lm, monkeypatch):
    "A warning of a library while the command runs"
    import logging
    def noisy(*args, **kw):
        logging.StreamHandler().emit(logging.LogRecord('x', 30, 'x', 1, HOSTILE, (),
                                                       None))
        print(HOSTILE)
        return lm
    monkeypatch.setattr('llm_sampling.models.load', noisy)
    p = here('generate', 'x', '--max-new-tokens', '0')
    assert p.returncode == 0
    assert p.stdout == f'{SHOWN}\nx\n'
    assert p.stderr.startswith('a\\x1b]0;title\\x07b\\u202ec')


class Terminal(io.StringIO):
    def isatty(self): return True

def test_progress_on_a_terminal_only(here, lm, load, monkeypatch):
    args = ['generate', 'Once', '--strategy', 'contrastive', '--max-new-tokens', '5']
    assert here(*args).stderr == ''
    err = Terminal()
    with monkeypatch.context() as m:
        m.setattr('sys.stderr', err)
        m.setattr('llm_sampling.models.load', load)
        assert main(args) == 0
    assert 'prompt 1 of 1' in err.getvalue()
    assert 'passes' in err.getvalue()
    assert '\x1b' not in err.getvalue()
    assert not [m for m in lm.model.modules() if m._forward_hooks]


def output(monkeypatch, encoding, *args):
    "What a stdout of this encoding gets"
    monkeypatch.setattr('sys.stdout', io.TextIOWrapper(out := io.BytesIO(), encoding))
    assert main([*args]) == 0
    return out.getvalue()

def test_letters_that_stdout_lacks(here, monkeypatch):
    assert output(monkeypatch, 'ascii', 'generate', 'café 🙂', '--max-new-tokens',
                  '0') == b'caf\\xe9 \\U0001f642\n'
    assert output(monkeypatch, 'latin-1', 'generate', 'café 🙂', '--max-new-tokens',
                  '0') == b'caf\xe9 \\U0001f642\n'


def test_json_is_ascii_under_any_encoding(here, monkeypatch):
    for args in (['generate', 'é 🙂 \x7f\x85', '--max-new-tokens', '2', '--json'],
                 ['explain', 'é', '--json']):
        out = output(monkeypatch, 'utf-16', *args).decode('utf-16')
        assert all(c == '\n' or 32 <= ord(c) < 127 for c in out)
        answer = json.loads(out)
        if args[0] == 'generate': assert answer['prompt'] == args[1]


# the process

def test_help_that_nobody_reads():
    "The reader is gone before anything is written"
    read, write = os.pipe()
    os.close(read)
    p = subprocess.run([*COMMAND, '--help'], stdout=write, stderr=subprocess.PIPE,
                       env=ENV | dict(PYTHONUNBUFFERED=''))
    os.close(write)
    assert p.returncode == 141 and p.stderr == b''


def generating(*args, **kw):
    "The command in a process of its own"
    return subprocess.Popen([*COMMAND, 'generate', *args, '--stream'],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kw)


@pytest.mark.long
def test_letters_under_a_poor_locale_and_a_broken_pipe():
    p = generating('café 🙂', '--max-new-tokens', '100',
                   env=ENV | dict(LANG='C', LC_ALL='C'))
    assert p.stdout.read(8).startswith(('café'.encode(), b'caf\\xe9'))
    p.stdout.close()
    assert p.wait(120) == 141 and p.stderr.read() == b''


@pytest.mark.long
def test_interrupt_ends_cleanly():
    # a job in the background would inherit deafness to the signal
    hearing = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    p = generating('Once', '--max-new-tokens', '100000', env=ENV, preexec_fn=hearing)
    p.stdout.read(8)                                  # it is generating
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=120)
    assert p.returncode == 130
    assert b'Traceback' not in err
    assert err.endswith(b'interrupted\n')
