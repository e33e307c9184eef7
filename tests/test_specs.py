"""Strategies as plain JSON: each runs as its function does, and what is wrong is
refused before the model runs once"""
import inspect
import json
from threading import Thread

import pytest
from torch.nn.modules.module import register_module_forward_pre_hook

import llm_sampling as ls
from llm_sampling import cli_options, specs

PROMPTS = ['The king had three', 'Once']
FEW = dict(max_new_tokens=5)
# a spec of every strategy, and the call that it stands for
CALLS = {
    'generate': (dict(temperature=.8, top_p=.9, n=2), dict(
        sampler=ls.Sampler(temperature=.8, top_p=.9), n=2)),
    'beam_search': (dict(num_beams=2, length_penalty=0, top_k=9), dict(
        num_beams=2, length_penalty=0, sampler=ls.Sampler(top_k=9))),
    'diverse_beam_search': (dict(num_beams=2), dict(num_beams=2)),
    'constrained_beam_search': (dict(force_words_ids=[' golden'], num_beams=2), dict(
        force_words_ids=[' golden'], num_beams=2)),
    'stochastic_beam_search': (dict(num_beams=2), dict(num_beams=2)),
    'contrastive_search': (dict(top_k=3, min_p=.01), dict(
        top_k=3, sampler=ls.Sampler(min_p=.01))),
    'contrastive_decoding': (dict(amateur='self', amateur_context=1), dict(
        amateur_context=1)),
    'guided': (dict(negative_prompt='He', guidance_scale=2), dict(
        negative_prompt='He', guidance_scale=2)),
    'dola': (dict(dola_layers=[1, 2]), dict(dola_layers=[1, 2])),
    'mcts_decode': (dict(num_simulations=2, sampler=dict(temperature=.5)), dict(
        num_simulations=2, sampler=ls.Sampler(temperature=.5))),
    'best_of_n': (dict(n=2, score='few_repeats', adaptive=dict(name='Mirostat2',
                                                               tau=2.)),
                  dict(n=2, score=specs.few_repeats,
                       sampler=ls.Sampler(adaptive=ls.Mirostat2(2.)))),
    'majority_vote': (dict(n=2, logit_bias={'5': 3., ' wolf': 2}), dict(
        n=2, sampler=ls.Sampler(logit_bias={5: 3., ' wolf': 2}))),
    'minimum_bayes_risk': (dict(n=2, dynamic_temperature=[.5, 1.5]), dict(
        n=2, sampler=ls.Sampler(dynamic_temperature=(.5, 1.5)))),
}


def test_every_strategy_has_a_name():
    "All public functions that write, but for those that yield or measure"
    takes = {n for n in ls.__all__ if inspect.isfunction(f := getattr(ls, n))
             and [*inspect.signature(f).parameters][:1] == ['lm']
             and 'max_new_tokens' in inspect.signature(f).parameters}
    others = {'stream', 'stream_beam_search', 'sweep', 'compare', 'likeliest'}
    assert takes - others == {*specs.PATHS} == {*CALLS}
    offered = {s.function for s in cli_options.STRATEGIES.values()}
    assert offered == {*specs.PATHS.values()}


@pytest.mark.parametrize('name', CALLS)
def test_a_spec_is_the_call(lm, name, lists):
    knobs, call = CALLS[name]
    spec = json.loads(json.dumps({'strategy': name, **knobs}))
    out = specs.run(lm, PROMPTS, spec, seed=3, **FEW)
    models = [lm] * (1 + (name == 'contrastive_decoding'))
    want = getattr(ls, name)(*models, prompt=PROMPTS, seed=3, **FEW, **call)
    assert lists(out.ids) == lists(want.ids) and out.scores == want.scores
    if not specs.is_random(spec):
        again = specs.run(lm, PROMPTS, spec, seed=4, **FEW)
        assert lists(again.ids) == lists(want.ids)


WRONG = {
    'spec must be a dict': [None, 'generate', ['generate'], 3],
    'strategy must be one of': [{}, {'strategy': 'beam'}, {'strategy': None},
                                {'strategy': ['generate']}],
    'plain JSON': [{'strategy': 'generate', 'top_p': float('nan')},
                   {'strategy': 'generate', 'stop': len}],
    'beam_search has no knob': [{'strategy': 'beam_search', 'beams': 3}],
    'has no knob \'num_beams\'; beam_search': [{'strategy': 'generate',
                                               'num_beams': 3}],
    'seed is no part': [{'strategy': 'generate', 'seed': 3}],
    'needs force_words_ids': [{'strategy': 'constrained_beam_search'}],
    'needs amateur': [{'strategy': 'contrastive_decoding'}],
    'top_p must be': [{'strategy': 'generate', 'top_p': 1.5},
                      {'strategy': 'beam_search', 'sampler': {'top_p': 'x'}}],
    'sampler must be a dict': [{'strategy': 'generate', 'sampler': 3}],
    'sampler has no knob': [{'strategy': 'generate', 'sampler': {'seed': 3}},
                            {'strategy': 'generate', 'sampler': {'n': 3}}],
    'score must be one of': [{'strategy': 'best_of_n', 'n': 2, 'score': 'best'},
                             {'strategy': 'best_of_n', 'n': 2, 'score': [1]}],
    'adaptive must be': [{'strategy': 'generate', 'adaptive': 'Mirostat2'},
                         {'strategy': 'generate', 'adaptive': {'name': 'Miro'}}],
    'adaptive Mirostat2': [{'strategy': 'generate', 'adaptive': {
        'name': 'Mirostat2', 'theta': 1}}],
    'num_beams must be': [{'strategy': 'beam_search', 'num_beams': 0},
                          {'strategy': 'beam_search', 'num_beams': 2.5}],
    'num_beam_groups must be a divisor': [{'strategy': 'diverse_beam_search',
                                           'num_beam_groups': 3}],
    'amateur must be one of': [{'strategy': 'contrastive_decoding', 'amateur': 'x'},
                               {'strategy': 'contrastive_decoding', 'amateur': [1]}],
    'max_new_tokens must be': [{'strategy': 'generate', 'max_new_tokens': -1}],
    'need a window': [{'strategy': 'beam_search', 'max_new_tokens': 10_000}],
    'dola_layers': [{'strategy': 'dola', 'dola_layers': [90]}],
    'penalty_alpha must be': [{'strategy': 'contrastive_search', 'penalty_alpha': 2}],
    'c_puct must be': [{'strategy': 'mcts_decode', 'c_puct': -1}],
    'n must be': [{'strategy': s, 'n': 0} for s in ('generate', 'best_of_n',
                                                    'majority_vote')],
}


@pytest.mark.parametrize('why', WRONG)
def test_wrong_specs_are_refused_before_a_pass(lm, why):
    passes = []
    hook = register_module_forward_pre_hook(lambda m, a: passes.append(m))
    try:
        for spec in WRONG[why]:
            with pytest.raises((TypeError, ValueError)) as e:
                specs.check_run(lm, PROMPTS, spec, max_new_tokens=5)
            assert why in str(e.value) and '\n' not in str(e.value)
    finally: hook.remove()
    assert not passes


def test_the_check_makes_no_pass_and_disturbs_nobody(lm, tiny):
    "Also of a model about which nothing is known yet; another thread computes on"
    fresh = tiny('llama')
    ids = [[5, 6, 7]]
    want = ls.generate(fresh, ids, max_new_tokens=3).ids[0].tolist()
    found, stop = [], []
    def other():
        while not stop:
            out = ls.generate(fresh, ids, max_new_tokens=3)
            found.append(out.ids[0].tolist())
    thread = Thread(target=other)
    thread.start()
    try:
        untried = tiny('llama')
        reads, texts = [], ('force_words_ids', 'negative_prompt', 'score', 'logit_bias')
        first = untried.model.get_input_embeddings()
        hook = first.register_forward_hook(lambda *a: reads.append(a))
        for name, (knobs, _) in CALLS.items():
            if {*texts} & {*knobs}: continue         # this model has no tokenizer
            if name == 'dola': knobs = dict(dola_layers=[0])
            specs.check_run(untried, ids, {'strategy': name, **knobs})
        hook.remove()
    finally:
        stop.append(True)
        thread.join()
    assert reads == [] and found and all(f == want for f in found)
    assert ls.beam_search(untried, ids, max_new_tokens=3).stats['forward_passes']


def test_functions_and_models_by_name(lm):
    spec = {'strategy': 'best_of_n', 'n': 4, 'score': 'long'}
    with pytest.raises(ValueError, match="'few_repeats', or a name"):
        specs.read_spec(spec)
    long = lambda texts, ids: [len(t) for t in texts]
    out = specs.run(lm, PROMPTS[0], spec, seed=1, functions={'long': long}, **FEW)
    assert out.scores == ls.best_of_n(lm, PROMPTS[0], 4, long, seed=1, **FEW).scores
    spec = {'strategy': 'contrastive_decoding', 'amateur': 'small'}
    out = specs.run(lm, PROMPTS[0], spec, models={'small': lm}, **FEW)
    assert out.texts == ls.contrastive_decoding(lm, lm, PROMPTS[0], **FEW).texts


def test_chance():
    for chance, spec in [(False, dict(strategy='generate')),
                         (False, dict(strategy='generate', temperature=0)),
                         (True, dict(strategy='generate', min_p=.1)),
                         (True, dict(strategy='generate', temperature=0,
                                     xtc_probability=.5)),
                         (False, dict(strategy='beam_search', top_k=5)),
                         (True, dict(strategy='beam_search', do_sample=True)),
                         (True, dict(strategy='beam_search', xtc_probability=.5)),
                         (True, dict(strategy='mcts_decode', temperature=1)),
                         (False, dict(strategy='mcts_decode')),
                         (True, dict(strategy='mcts_decode', sampler=dict(top_k=4)))]:
        assert specs.is_random(spec) == chance, spec


def test_plain_specs_and_labels():
    a = {'top_p': .9, 'strategy': 'generate', 'stop': ('.',)}
    b = {'strategy': 'generate', 'stop': ['.'], 'top_p': .9, 'max_new_tokens': 7}
    assert specs.plain_spec(a, 7) == specs.plain_spec(b, 9) == b
    assert [*specs.plain_spec(a, 7)] == ['strategy', 'max_new_tokens', 'stop', 'top_p']
    assert specs.label(a) == 'generate stop=["."] top_p=.9'
    assert specs.grid_of('generate', top_k=[1, None], n=2) == [
        {'strategy': 'generate', 'top_k': 1, 'n': 2}, {'strategy': 'generate', 'n': 2}]
