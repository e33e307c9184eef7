"The commands generate and explain: the functions behind them, and what is refused"
import json, shlex, shutil
from importlib.resources import files

import pytest
from commands import lines

import llm_sampling as ls
from llm_sampling.cli_options import STRATEGIES


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


@pytest.mark.parametrize('options', [['--n'], ['--strategy', 'beam', '--num-beams'],
                                     ['--strategy', 'best-of-n', '--n']])
def test_more_texts_than_memory_are_refused(options, here):
    p = here('generate', 'x', *options, str(10**12))
    assert p.returncode == 1 and p.stdout == '' and len(p.stderr.splitlines()) == 1
    assert '1,000,000,000,000 texts' in p.stderr and 'GiB' in p.stderr


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
