"Every parameter of every strategy is an option, and its values arrive"
import importlib, inspect, math, shlex

import pytest
from commands import lines

import llm_sampling as ls
from llm_sampling.cli_options import STRATEGIES


def function(path):
    module, name = path.split('.')
    return getattr(importlib.import_module(f'llm_sampling.{module}'), name)


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
