import json
import math

import numpy as np
import pytest

import llm_sampling as ls
from llm_sampling import specs
from llm_sampling.comparison import compare, measure, pseudo_values
from llm_sampling.equal_terms import every_strategy
from llm_sampling.intervals import corpus_interval, interval
from llm_sampling.metrics import METRICS

PROMPTS = ['The king had three', 'Once upon a time there', 'The wolf said to']
FEW = dict(max_new_tokens=7)


def test_a_corpus_metric_is_measured_as_its_interval(lm):
    "Pseudo-values give the jackknife interval, also of a difference"
    outs = [ls.generate(lm, PROMPTS * 2, ls.Sampler(temperature=t), n=2, seed=1, **FEW)
            for t in (.5, 1.5)]
    for name in ('distinct_2', 'zipf'):
        own = [measure(name, out, 2) for out in outs]
        for (found, _), out in zip(own, outs):
            wanted = METRICS[name].interval(out, n=2)
            assert np.allclose(found, wanted)
        f, items = METRICS[name].of(outs[0])
        d = np.subtract(own[0][1], own[1][1])
        _, low, high, _ = corpus_interval(f, items, METRICS[name].of(outs[1])[1], 2)
        from scipy import stats
        half = d.std(ddof=1) / len(d)**.5 * stats.t.ppf(.975, len(d) - 1)
        assert np.isclose(2 * half, high - low)
    square = pseudo_values(lambda v: np.mean(v)**2, [1., 3.])
    assert square.tolist() == [2 * 4 - 9, 2 * 4 - 1]


def test_own_metrics(lm):
    out = ls.generate(lm, PROMPTS, n=2, **FEW)
    found, values = measure(lambda g: range(6), out, 2)
    assert values == [.5, 2.5, 4.5] and found == interval(range(6), n=2)
    with pytest.raises(ValueError, match='3 numbers for 6'):
        measure(lambda g: range(3), out, 2)


def test_one_prompt_at_a_time(lm):
    "The same texts; costs that are those of each call"
    named = {k: every_strategy()[k] for k in ('sampling', 'beams', 'best of n')}
    both = [compare(lm, PROMPTS, named, ['rep_4'], alone=alone, seed=2, **FEW)
            for alone in (False, True)]
    for name, spec in named.items():
        a, b = ([[p for p, _ in text] for text in found.texts[name]] for found in both)
        assert a == b
        for i, p in enumerate(PROMPTS):
            out = specs.run(lm, [p], spec, seed=2, **FEW)
            assert both[1].values[name]['tokens'][i] == out.stats['tokens_evaluated']
            assert both[1].values[name]['bytes'][i] == out.stats['peak_cache_bytes']
    assert math.isnan(both[0].intervals['beams']['tokens'].low)
    assert both[0].intervals['beams']['tokens'].value == pytest.approx(
        both[1].intervals['beams']['tokens'].value)


@pytest.mark.parametrize('wrong', [
    dict(seed=-1), dict(seed=None), dict(budget=0), dict(alone=1), dict(level=1),
    dict(judge=5), dict(references=5), dict(max_new_tokens=0), dict(metrics=5),
    dict(metrics=['speed']), dict(metrics={'tokens': len})])
def test_wrong_arguments(lm, wrong):
    with pytest.raises((TypeError, ValueError), match=[*wrong][0]):
        compare(lm, PROMPTS, {'g': {'strategy': 'generate'}}, **wrong)


def test_a_model_without_tokenizer(tiny, rows):
    named = {'g': {'strategy': 'generate'},
             'b': {'strategy': 'beam_search', 'num_beams': 2}}
    found = compare(tiny('llama'), rows, named,
                    ['rep_4', 'perplexity'], **FEW)
    assert not found.errors and not found.texts and len(found.prompts) == 3
    assert found.to_html(quality='rep_4', diversity='perplexity')


def test_the_stored_numbers_agree_with_themselves():
    "Intervals are those of the values; what was chosen is nearest to print"
    from importlib.resources import files
    bench = json.loads((files('llm_sampling')/'data'/'benchmark_comparison.json')
                       .read_text())
    for part in ('strategies', 'parameters', 'samplers'):
        for name, own in bench[part]['values'].items():
            for metric in ('known', 'surprisal'):
                value, low, high, n = bench[part]['intervals'][name][metric]
                found = interval([math.nan if v is None else v for v in own[metric]])
                assert np.allclose(found[:2], (value, low), atol=.02) and n == found[3]
    told = bench['samplers']
    for place, name in told['chosen'].items():
        knob, heat = place.split()
        far = {n: abs(v['surprisal'] - told['aim']) for n, v in told['tried'].items()
               if n.split()[0] == knob and n.split()[-1] == heat}
        assert far[name] == min(far.values())
    assert not bench['strategies']['errors']
    assert {*bench['strategies']['specs']} == {*every_strategy()}
