import json
import math
from itertools import product

import numpy as np
import pytest

import llm_sampling as ls
from llm_sampling import comparison, specs
from llm_sampling.comparison import (Comparison, compare, every_strategy, fit_budget,
                                     holm, measure, named_specs, pseudo_values,
                                     read_comparison, shared_groups, sign_flip_p,
                                     widest, write_shared)
from llm_sampling.intervals import Interval, corpus_interval, interval
from llm_sampling.metrics import METRICS, distinct_n, rep

PROMPTS = ['The king had three', 'Once upon a time there', 'The wolf said to']
FEW = dict(max_new_tokens=7)


@pytest.fixture(scope='module')
def made(lm):
    "Two strategies, and one that fails"
    return compare(lm, PROMPTS, {
        'greedy': {'strategy': 'generate'},
        'top-k': {'strategy': 'generate', 'top_k': 9, 'temperature': 1.2},
        'wrong': {'strategy': 'generate', 'top_p': 7}},
        ['rep_4', 'distinct_2', 'length'], seed=4, **FEW)


def test_every_strategy_is_compared():
    assert {s['strategy'] for s in every_strategy().values()} == {*specs.PATHS}
    for spec in every_strategy().values(): specs.read_spec(spec)


def test_names():
    spec = {'strategy': 'generate', 'top_k': 5}
    for some in (spec, [spec], {'generate top_k=5': spec}):
        assert named_specs(some) == {'generate top_k=5': spec}
    for wrong in (5, [], {}, [5], {'a': 5}):
        with pytest.raises(TypeError): named_specs(wrong)


def test_samplers_that_read_together_write_what_they_write_alone(lm):
    "Greedy, a cut, penalties, a bias; several samples; prompts of different lengths"
    samplers = [ls.Sampler(temperature=0), ls.Sampler(top_p=.8),
                ls.Sampler(repetition_penalty=1.3, temperature=1.4, top_k=20)]
    for n in (1, 2):
        outs = write_shared(lm, PROMPTS, samplers, 9, n, **FEW)
        for s, out in zip(samplers, outs):
            alone = ls.generate(lm, PROMPTS, s, seed=9, n=n, **FEW)
            assert out.texts == alone.texts
            assert [x.tolist() for x in out.ids] == [x.tolist() for x in alone.ids]
            assert out.stats['tokens_evaluated'] == alone.stats['tokens_evaluated']


def test_a_prefill_is_shared(lm):
    "The prompts are read once, however many samplers"
    seen = []
    hook = lm.model.register_forward_pre_hook(
        lambda m, a, kw: seen.append((a[0] if a else kw['input_ids']).shape),
        with_kwargs=True)
    body = lm.body.register_forward_pre_hook(
        lambda m, a, kw: seen.append((a[0] if a else kw['input_ids']).shape),
        with_kwargs=True)
    try: write_shared(lm, PROMPTS, [ls.Sampler(top_k=k) for k in (2, 5, 9)], **FEW)
    finally: hook.remove(), body.remove()
    assert [s[0] for s in seen if s[1] > 1] and all(
        s[0] == len(PROMPTS) for s in seen if s[1] > 1)


def test_groups():
    named = {'a': {'strategy': 'generate'}, 'b': {'strategy': 'beam_search'},
             'c': {'strategy': 'generate', 'top_k': 3},
             'd': {'strategy': 'generate', 'top_k': 3, 'n': 2},
             'e': {'strategy': 'generate', 'order': 'vllm', 'top_k': 3},
             'wrong': {'strategy': 'generate', 'top_k': -3}}
    assert shared_groups(named) == [['a', 'c'], ['b'], ['d'], ['e'], ['wrong']]


def test_widest_against_trying_all():
    for a, b, budget in product((0, 5), (1, 3, 10), (1, 4, 9, 50)):
        cost = lambda w: a + b * w
        assert widest(cost, budget, 20) == max([w for w in range(1, 21)
                                                if cost(w) <= budget], default=0)


def test_budgets(lm):
    for name in ('beams', 'diverse beams', 'best of n', 'contrastive search'):
        spec = every_strategy()[name] | FEW
        fitted = fit_budget(lm, PROMPTS[:1], spec, 45)
        knob = comparison.WIDTHS[spec['strategy']]
        cost = lambda s: specs.run(lm, PROMPTS[:1], s, seed=0).stats['tokens_evaluated']
        step = 2 if name == 'diverse beams' else 1
        assert cost(fitted) <= 45 < cost(fitted | {knob: fitted[knob] + step}), name
    greedy = {'strategy': 'generate', **FEW}
    assert fit_budget(lm, PROMPTS[:1], greedy, 45) == greedy
    with pytest.raises(ValueError, match='budget'):
        fit_budget(lm, PROMPTS[:1], {'strategy': 'beam_search', **FEW}, 3)
    found = compare(lm, PROMPTS[:1], {'b': {'strategy': 'beam_search'}}, (), budget=3)
    assert 'budget' in found.errors['b'] and not found.intervals


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


def test_sign_flips():
    "Against all signs in a loop; with draws near that; against scipy's permutations"
    from scipy import stats
    g = np.random.default_rng(0)
    d = g.normal(.4, 1, 9)
    far = sum(abs(np.dot(s, d)) >= abs(d.sum()) - 1e-12
              for s in product((1, -1), repeat=9)) / 2**9
    assert sign_flip_p(d) == far
    assert abs(sign_flip_p(d, draws=400) - far) < 5 * (far * (1 - far) / 400)**.5
    theirs = stats.permutation_test((d, 0 * d), lambda a, b: np.mean(a - b),
                                    permutation_type='samples', n_resamples=2**9)
    assert math.isclose(theirs.pvalue, far, abs_tol=1e-9)
    assert sign_flip_p([0., 0.]) == 1 and math.isnan(sign_flip_p([np.nan]))
    assert sign_flip_p([1., 2., np.nan, 3.]) == .25


def test_sign_flips_find_nothing_where_there_is_nothing():
    "p at most .1 in a tenth of 400 sets: within four standard errors"
    g = np.random.default_rng(1)
    found = np.mean([sign_flip_p(g.normal(size=8)) <= .1 for _ in range(400)])
    assert abs(found - .1) < 4 * (.1 * .9 / 400)**.5


def test_holm():
    "Against rejecting step by step, at every level"
    g = np.random.default_rng(2)
    for _ in range(20):
        p = (g.random(7)**3).tolist()
        corrected = holm(p)
        for level in (.01, .05, .2, .6):
            order, rejected = sorted(range(7), key=p.__getitem__), set()
            for rank, i in enumerate(order):
                if p[i] * (7 - rank) > level: break
                rejected.add(i)
            assert {i for i in range(7) if corrected[i] <= level} == rejected
    assert holm([]) == [] and holm([.5, math.nan])[0] == .5


def test_a_comparison(lm, made):
    table = made.table()
    assert [*table] == 'strategy metric value low high n error'.split()
    failed, = table[table.metric == 'failed'].itertuples()
    assert failed.strategy == 'wrong' and 'top_p' in failed.error
    spec = {'strategy': 'generate', 'top_k': 9, 'temperature': 1.2}
    out = specs.run(lm, PROMPTS, spec, seed=4, **FEW)
    assert made.values['top-k']['rep_4'] == rep(out).tolist()
    assert made.intervals['top-k']['distinct_2'].value == distinct_n(out)
    assert ''.join(p for p, _ in made.texts['top-k'][1]) == out.texts[1]
    assert sum(made.values['top-k']['tokens']) == out.stats['tokens_evaluated']
    assert 'failed' in made.pivot().loc['wrong'].iloc[0]


def test_differences(made):
    found = made.differences('greedy', ['rep_4', 'length'])
    assert len(found) == 2 and (found.holm >= found.p).all()
    row = found.iloc[0]
    d = np.subtract(made.values['top-k']['rep_4'], made.values['greedy']['rep_4'])
    assert row.difference == pytest.approx(d.mean())
    with pytest.raises(ValueError, match='base'): made.differences('wrong')


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


def test_what_fails_together_runs_apart(lm, monkeypatch):
    def broken(*args, **kw): raise RuntimeError('no memory')
    monkeypatch.setattr(comparison, 'write_shared', broken)
    named = {k: every_strategy()[k] for k in ('greedy', 'sampling')}
    found = compare(lm, PROMPTS, named, (), **FEW)
    assert {*found.intervals} == {*named} and not found.errors


def frontier_by_hand(points):
    return {n for n, (x, y) in points.items()
            if not any(a >= x and b >= y and (a > x or b > y)
                       for a, b in points.values())}


def test_frontier():
    g = np.random.default_rng(3)
    points = {str(i): (float(x), float(y)) for i, (x, y) in
              enumerate(g.integers(0, 6, (12, 2)))}
    one = lambda v: Interval(v, v, v, 3)
    told = {n: dict(d=one(x), q=one(y)) for n, (x, y) in points.items()}
    found = Comparison({}, told, {}, {}, {}, [], {})
    assert {*found.frontier('q', 'd')} == frontier_by_hand(points)
    assert found.frontier('q', 'other') == []


def test_files(made, tmp_path):
    path = tmp_path/'c.json'
    made.save(path)
    again = read_comparison(path)
    assert json.dumps(again.to_dict()) == json.dumps(made.to_dict())
    assert again.table().equals(made.table())
    assert [*tmp_path.iterdir()] == [path]
    ours = json.dumps({"kind": "llm_sampling comparison"})
    for wrong in ("{", "[]", json.dumps({"kind": "other"}), ours):
        path.write_text(wrong)
        with pytest.raises(ValueError, match='no comparison'): read_comparison(path)


def test_a_full_disk_leaves_the_old_file(made, tmp_path, monkeypatch):
    path = tmp_path/'c.json'
    made.save(path)
    before = path.read_text()
    def full(self, text): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(type(path), 'write_text', full)
    with pytest.raises(OSError): made.save(path)
    monkeypatch.undo()
    assert path.read_text() == before and [*tmp_path.iterdir()] == [path]


def test_a_page_is_whole_and_escaped(made):
    from dataclasses import replace
    evil = '<script>alert(1)</script>'
    changed = replace(
        made, prompts=[evil] * 3, errors={evil: evil},
        intervals={evil: made.intervals['greedy'], 'top-k': made.intervals['top-k']},
        texts={evil: [[(evil, 1.)]] * 3})
    page = changed.to_html(evil, 'rep_4', 'distinct_2')
    assert '<script' not in page and page.count('&lt;script') >= 5
    assert page.count('<svg') == page.count('</svg>') == 1
    import re
    table = page[page.index('<table'):page.index('</table>')]
    assert '[0' in table and ', ' not in table          # no line ends in an interval
    links = re.findall(r'(?:src|href)="([^"]*)"', page) + re.findall(r'url\(([^)]*)\)',
                                                                     page)
    assert all(link.startswith('#') for link in links)


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
