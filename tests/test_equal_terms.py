from itertools import product

import pytest
import torch

import llm_sampling as ls
from llm_sampling import equal_terms, specs
from llm_sampling.comparison import compare
from llm_sampling.equal_terms import (every_strategy, fit_budget, joined, named_specs,
                                      shared_groups, widest, write_each, write_shared)

PROMPTS = ['The king had three', 'Once upon a time there', 'The wolf said to']
FEW = dict(max_new_tokens=7)


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
        outs = write_shared(lm, PROMPTS, samplers, 9, n, record='support', **FEW)
        for s, out in zip(samplers, outs):
            alone = ls.generate(lm, PROMPTS, s, seed=9, n=n, record='support',
                                **FEW)
            assert out.texts == alone.texts
            torch.testing.assert_close(out.sampled_logprobs, alone.sampled_logprobs)
            assert ([x.ids.tolist() for x in out.supports]
                    == [x.ids.tolist() for x in alone.supports])
            assert [x.tolist() for x in out.ids] == [x.tolist() for x in alone.ids]
            assert out.stats['tokens_evaluated'] == alone.stats['tokens_evaluated']


def test_samplers_with_a_memory_or_a_roll_of_their_own(lm):
    "State and finished rows follow the rows of each sampler"
    for samplers in ([ls.Sampler(adaptive=ls.Mirostat2(2., eta=1.), top_k=k)
                      for k in (9, 400)],
                     [ls.Sampler(xtc_probability=.5, xtc_threshold=.05),
                      ls.Sampler(frequency_penalty=.8, top_p=.9)]):
        outs = write_shared(lm, PROMPTS, samplers, 3, 2, stop=[' the'],
                            max_new_tokens=12)
        for s, out in zip(samplers, outs):
            alone = ls.generate(lm, PROMPTS, s, seed=3, n=2, stop=[' the'],
                                max_new_tokens=12)
            assert out.texts == alone.texts


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
        knob = equal_terms.WIDTHS[spec['strategy']]
        cost = lambda s: specs.run(lm, PROMPTS[:1], s, seed=0).stats['tokens_evaluated']
        step = 2 if name == 'diverse beams' else 1
        assert cost(fitted) <= 45 < cost(fitted | {knob: fitted[knob] + step}), name
    greedy = {'strategy': 'generate', **FEW}
    assert fit_budget(lm, PROMPTS[:1], greedy, 45) == greedy
    with pytest.raises(ValueError, match='budget'):
        fit_budget(lm, PROMPTS[:1], {'strategy': 'beam_search', **FEW}, 3)
    found = compare(lm, PROMPTS[:1], {'b': {'strategy': 'beam_search'}}, (), budget=3)
    assert 'budget' in found.errors['b'] and not found.intervals


def test_what_fails_together_runs_apart(lm, monkeypatch):
    def broken(*args, **kw): raise RuntimeError('no memory')
    monkeypatch.setattr(equal_terms, 'write_shared', broken)
    named = {k: every_strategy()[k] for k in ('greedy', 'sampling')}
    found = compare(lm, PROMPTS, named, (), **FEW)
    assert {*found.intervals} == {*named} and not found.errors


def test_each_spec_alone_and_its_costs(lm):
    "Costs of a batch by prompt, where `generate` counts them; an error keeps its place"
    rows = [row[real] for row, real in zip(*lm.encode(PROMPTS))]
    named = {'greedy': {'strategy': 'generate', **FEW}}
    (out, costs), = write_each(lm, rows, named).values()
    for i, p in enumerate(PROMPTS):
        own = ls.generate(lm, p, **FEW)
        assert costs['tokens'][i] == own.stats['tokens_evaluated']
        assert out.texts[i] == own.texts[0]
    wrong = write_each(lm, rows, {'a': {'strategy': 'generate', 'top_p': 7}})
    assert isinstance(wrong['a'], ValueError)


def test_texts_of_several_calls_as_one(lm):
    parts = [ls.generate(lm, p, ls.Sampler(top_k=5), seed=2, **FEW) for p in PROMPTS]
    whole = ls.generate(lm, PROMPTS, ls.Sampler(top_k=5), seed=2, **FEW)
    out = joined(parts)
    assert out.texts == whole.texts and out.finish_reasons == whole.finish_reasons
    assert [s.rank for row in out.trace for s in row] == [
        s.rank for row in whole.trace for s in row]
    sizes = [p.stats['peak_cache_bytes'] for p in parts]
    assert out.stats['peak_cache_bytes'] == max(sizes)
