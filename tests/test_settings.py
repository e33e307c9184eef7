"""A configuration of another system becomes a sampler that keeps what its system keeps,
or an error that names what is lost; a sampler becomes a processor of transformers"""
import random

import pytest
import torch
from scripts import printed
from transformers import GenerationConfig

import llm_sampling as ls
from llm_sampling.settings import READERS, SamplerProcessor, read_settings

FROM = dict(vllm=ls.Sampler.from_vllm, llama_cpp=ls.Sampler.from_llama_cpp,
            openai=ls.Sampler.from_openai,
            transformers=ls.Sampler.from_generation_config)


@pytest.mark.parametrize('system', FROM)
def test_each_method_is_its_reader_and_needs_no_import(system):
    assert FROM[system]({}) == read_settings(system, {}).sampler
    assert {*FROM} == {*READERS}


def test_a_fresh_process_needs_no_import():
    code = ('import llm_sampling as ls; '
            'print(ls.Sampler.from_vllm(dict(min_p=.1)).min_p, '
            'len(ls.Sampler(top_k=3).to_transformers()))')
    assert printed(code) == '0.1 1'


# --- vLLM ---

@pytest.mark.parametrize('settings, knobs', [
    ({}, {}),
    (dict(temperature=0), dict(temperature=0)),
    (dict(temperature=1e-6), dict(temperature=.01)),
    (dict(temperature=.004), dict(temperature=.01)),
    (dict(top_k=-1), {}), (dict(top_k=0), {}), (dict(top_k=7), dict(top_k=7)),
    (dict(top_p=.9, min_p=.1, repetition_penalty=1.2, presence_penalty=.5,
          frequency_penalty=-.5), None),
    (dict(seed=-1), {}), (dict(seed=3), dict(seed=3)),
    (dict(bad_words=['king']), dict(ban_tokens=['king', ' king'])),
    (dict(logit_bias={'3': 500, 4: -500}), dict(logit_bias={3: 100, 4: -100})),
    (dict(extra_args=dict(top_n_sigma=1.)), dict(top_n_sigma=1.)),
    (dict(vllm_xargs=dict(dry_multiplier=.8, dry_base=2)),
     dict(dry_multiplier=.8, dry_base=2)),
    (dict(logprobs=5, stream=True, model='x', min_tokens=0, stop_token_ids=[]), {}),
    (dict(temperature=None, top_p=None), {})])
def test_vllm(settings, knobs):
    want = dict(temperature=1) | (settings if knobs is None else knobs)
    assert ls.Sampler.from_vllm(settings) == ls.Sampler(**want, order='vllm')
    assert ls.Sampler.from_vllm(settings).order == 'vllm'


def test_allowed_ids_are_the_only_ones():
    s = ls.Sampler.from_vllm(dict(allowed_token_ids=[2, 4], top_k=1))
    z = torch.arange(10.).flip(0).expand(2, -1)
    assert s(z, torch.zeros(2, 1).long(), position=0).tolist() == [2, 2]
    far = ls.Sampler.from_vllm(dict(allowed_token_ids=[10]))
    with pytest.raises(ValueError, match='allowed_token_ids must be below 10, not 10'):
        far(z, torch.zeros(2, 1).long(), position=0)
    meta = torch.zeros(2, 10, device='meta')
    assert s.filter(meta, torch.zeros(2, 1, device='meta').long(), position=0).is_meta


# --- llama.cpp ---

DEFAULTS = dict(temperature=.8, top_k=40, top_p=.95, min_p=.05)


@pytest.mark.parametrize('settings, knobs', [
    ({}, DEFAULTS),
    (dict(temperature=-1), DEFAULTS | dict(temperature=0)),
    (dict(top_k=0, top_p=1, min_p=0, typical_p=.9),
     dict(temperature=.8, typical_p=.9)),
    (dict(temperature=1, dynatemp_range=1.5, dynatemp_exponent=2),
     dict(DEFAULTS, temperature=None, dynamic_temperature=(0, 2.5, 2))),
    (dict(top_n_sigma=2), DEFAULTS | dict(top_n_sigma=2)),
    (dict(top_n_sigma=0), DEFAULTS),
    (dict(xtc_probability=.5, xtc_threshold=.2),
     DEFAULTS | dict(xtc_probability=.5, xtc_threshold=.2)),
    (dict(xtc_probability=.5, xtc_threshold=.6), DEFAULTS),
    (dict(repeat_penalty=1.1, repeat_last_n=-1),
     DEFAULTS | dict(repetition_penalty=1.1)),
    (dict(repeat_penalty=1.1, frequency_penalty=1, repeat_last_n=0), DEFAULTS),
    (dict(dry_multiplier=.8, dry_sequence_breakers=[]),
     DEFAULTS | dict(dry_multiplier=.8, dry_breakers=[])),
    (dict(dry_multiplier=.8, dry_penalty_last_n=0), DEFAULTS),
    (dict(logit_bias=[[5, 1.5], [6, False]]),
     DEFAULTS | dict(logit_bias={5: 1.5, 6: -torch.inf})),
    (dict(seed=4294967295), DEFAULTS), (dict(seed=-1), DEFAULTS),
    (dict(adaptive_target=.3, adaptive_decay=.8),
     DEFAULTS | dict(adaptive=ls.AdaptiveP(.3, .8)))])
def test_llama_cpp(settings, knobs):
    s = ls.Sampler.from_llama_cpp(settings)
    assert s == ls.Sampler(**knobs, order='llama.cpp') and s.order == 'llama.cpp'


@pytest.mark.parametrize('kind', [1, 2])
def test_mirostat_takes_the_place_of_the_chain(kind):
    s = ls.Sampler.from_llama_cpp(dict(mirostat=kind, mirostat_tau=3, top_k=9,
                                       repeat_penalty=1.5, min_p=.2))
    made = (ls.Mirostat1 if kind == 1 else ls.Mirostat2)(3, .1, surprise='kept')
    assert s.steps == ['temperature', 'adaptive'] and s.adaptive == made


def test_samplers_are_the_order_and_what_is_missing_is_off():
    s = ls.Sampler.from_llama_cpp(dict(
        samplers=['top-k', 'temperature', 'min_p', 'dry', 'penalties'],
        dry_multiplier=.5, typical_p=.9))
    assert s.steps == ['top_k', 'temperature', 'min_p', 'dry_multiplier']
    assert s.dry_base == 1.75 and s.dry_breakers == ['\n', ':', '"', '*']


# --- what is lost ---

@pytest.mark.parametrize('system, settings, lost', [
    ('vllm', dict(min_tokens=2), 'min_tokens'), ('vllm', dict(top_q=1), 'top_q'),
    ('vllm', dict(structured_outputs={'json': {}}), 'structured_outputs'),
    ('vllm', dict(stop_token_ids=[2]), 'stop_token_ids'),
    ('vllm', dict(extra_args=dict(kv_transfer=1)), 'extra_args.kv_transfer'),
    ('llama_cpp', dict(repeat_penalty=1.1), 'repeat_last_n'),
    ('llama_cpp', dict(presence_penalty=1, repeat_last_n=-1), 'presence_penalty'),
    ('llama_cpp', dict(grammar='x'), 'grammar'), ('llama_cpp', dict(tfs_z=1), 'tfs_z'),
    ('llama_cpp', dict(min_keep=3), 'min_keep'),
    ('llama_cpp', dict(samplers=['infill']), 'samplers.infill'),
    ('llama_cpp', dict(dry_multiplier=1, dry_penalty_last_n=9), 'dry_penalty_last_n'),
    ('llama_cpp', dict(ignore_eos=True), 'ignore_eos'),
    ('openai', dict(tools=[{}]), 'tools'), ('openai', dict(top_k=3), 'top_k'),
    ('openai', dict(reasoning_effort='low'), 'reasoning_effort'),
    ('transformers', dict(num_beams=2), 'num_beams'),
    ('transformers', dict(min_new_tokens=2), 'min_new_tokens'),
    ('transformers', dict(guidance_scale=1.5), 'guidance_scale'),
    ('transformers', dict(sequence_bias=[[[1, 2], 3.]]), 'sequence_bias'),
    ('transformers', dict(penalty_alpha=.6, top_k=4), 'penalty_alpha'),
    ('transformers', dict(watermarking_config={'bias': 1}), 'watermarking_config')])
def test_what_is_lost_is_named(system, settings, lost):
    with pytest.raises(ValueError, match=f'honoured: {lost} '): FROM[system](settings)
    taken = FROM[system](settings, accept=[lost])
    assert isinstance(taken, ls.Sampler)


def test_all_that_is_lost_is_named_at_once():
    with pytest.raises(ValueError, match='min_tokens .*top_q .*accept='):
        ls.Sampler.from_vllm(dict(min_tokens=1, top_q=2))
    kept = ls.Sampler.from_llama_cpp(dict(presence_penalty=.5, repeat_last_n=-1),
                                     accept=['presence_penalty'])
    assert kept.presence_penalty == .5


@pytest.mark.parametrize('system, settings, error, said', [
    ('vllm', 5, TypeError, 'settings must be a dict, not 5'),
    ('vllm', dict(temperature='hot'), ValueError, 'temperature must be a number'),
    ('vllm', dict(temperature=-1), ValueError, 'temperature must be'),
    ('vllm', dict(top_k=True), ValueError, 'top_k must be a number, not True'),
    ('vllm', dict(top_p=2), ValueError, 'top_p must be'),
    ('vllm', dict(bad_words='king'), ValueError, 'bad_words must be a list'),
    ('vllm', dict(allowed_token_ids=[-1]), ValueError, 'allowed_token_ids must be'),
    ('vllm', dict(extra_args=3), ValueError, 'extra_args must be a dict'),
    ('vllm', dict(logit_bias=[3]), ValueError, 'logit_bias must be a dict'),
    ('vllm', dict(logit_bias={(1,): 2}), ValueError, 'logit_bias must name tokens'),
    ('llama_cpp', dict(samplers=3), ValueError, 'samplers must be a list'),
    ('llama_cpp', dict(mirostat=2, mirostat_tau='x'), ValueError, 'mirostat_tau must'),
    ('openai', dict(top_p=[2]), ValueError, 'top_p must be'),
    ('transformers', dict(suppress_tokens=['a']), ValueError, 'suppress_tokens must'),
    ('transformers', dict(bad_words_ids=[5]), ValueError, 'ban_tokens must'),
    ('transformers', dict(sequence_bias=[[5, 1.]]), ValueError, 'sequence_bias must')])
def test_bad_settings_are_named(system, settings, error, said):
    with pytest.raises(error, match=said): FROM[system](settings)


def test_bad_calls_are_named():
    with pytest.raises(ValueError, match="system must be 'vllm' or 'llama_cpp'"):
        read_settings('hf', {})
    with pytest.raises(ValueError, match="accept must be a list of keys, not 'n'"):
        ls.Sampler.from_vllm({}, accept='n')


# --- the call ---

@pytest.mark.parametrize('system, settings, call', [
    ('vllm', dict(max_tokens=5, n=2, stop='x', ignore_eos=True),
     dict(max_new_tokens=5, n=2, stop=['x'], eos_token_id=())),
    ('vllm', dict(stop=[], ignore_eos=False), {}),
    ('llama_cpp', dict(n_predict=4, n_cmpl=2, stop=['a']),
     dict(max_new_tokens=4, n=2, stop=['a'])), ('llama_cpp', dict(n_predict=-1), {}),
    ('openai', dict(max_completion_tokens=3), dict(max_new_tokens=3)),
    ('transformers', dict(max_new_tokens=3, num_return_sequences=2, stop_strings='b'),
     dict(max_new_tokens=3, n=2, stop=['b']))])
def test_what_belongs_to_the_call(system, settings, call, lm):
    read = read_settings(system, settings)
    assert read.call == call
    out = ls.generate(lm, 'The king', read.sampler, **call | dict(max_new_tokens=2))
    assert len(out.ids) == call.get('n', 1)


# --- against transformers ---

def drawn_config(dice):
    "A generation config that uses some of what we can mirror"
    every = dict(temperature=lambda: dice.uniform(.3, 2),
                 top_k=lambda: dice.choice([0, 5]),
                 top_p=lambda: dice.uniform(.3, 1), min_p=lambda: dice.uniform(0, .2),
                 typical_p=lambda: dice.uniform(.5, 1),
                 epsilon_cutoff=lambda: dice.uniform(0, .01),
                 eta_cutoff=lambda: dice.uniform(0, .01),
                 repetition_penalty=lambda: dice.uniform(1, 2),
                 no_repeat_ngram_size=lambda: dice.choice([0, 1, 2]),
                 bad_words_ids=lambda: [[3], [5, 6], [1]],
                 suppress_tokens=lambda: [7, 9],
                 sequence_bias=lambda: [[[11], -2.]])
    names = dice.sample([*every], dice.randint(1, len(every)))
    return GenerationConfig(do_sample=dice.random() < .8, eos_token_id=1,
                            **{n: every[n]() for n in names})


@pytest.mark.parametrize('seed', range(20))
def test_logits_are_those_of_transformers(seed, tiny):
    dice, g = random.Random(seed), torch.Generator().manual_seed(seed)
    model, config = tiny('llama').model, drawn_config(dice)
    z = torch.randn(2, 80, generator=g) * 3
    ids = torch.randint(0, 80, (2, 6), generator=g)
    ours = ls.Sampler.from_generation_config(config)
    full = model._prepare_generation_config(config)
    full = full[0] if isinstance(full, tuple) else full
    model._prepare_special_tokens(full, device='cpu')
    theirs = model._get_logits_processor(full, input_ids_seq_length=6)(ids, z.clone())
    got = ours.filter(z, ids)
    if not full.do_sample:
        assert ours.temperature == 0
        theirs = theirs.masked_fill(theirs < theirs.amax(-1, keepdim=True), -torch.inf)
    assert got.isfinite().equal(theirs.isfinite()), config
    torch.testing.assert_close(got.softmax(-1), theirs.softmax(-1))


# --- and back ---

KNOBS = [dict(temperature=.8, top_k=9), dict(repetition_penalty=1.4, min_p=.02),
         dict(presence_penalty=1., frequency_penalty=.5, temperature=1.3),
         dict(no_repeat_ngram_size=2), dict(xtc_probability=.6, xtc_threshold=.05),
         dict(adaptive=ls.Mirostat2(3.)), dict(temperature=0, repetition_penalty=1.3),
         dict(temperature=[.5, 1.5, 0])]


@pytest.mark.parametrize('knobs', KNOBS, ids=lambda k: '-'.join(k))
@pytest.mark.parametrize('n', [1, 2])
def test_with_a_seed_transformers_writes_our_tokens(knobs, n, tiny, rows, lists):
    model, sampler = tiny('llama').model, ls.Sampler(**knobs, seed=11)
    width = max(map(len, rows))
    ids = torch.stack([torch.cat([r.new_zeros(width - len(r)), r]) for r in rows])
    mask = torch.stack([torch.arange(width) >= width - len(r) for r in rows]).long()
    inputs = dict(input_ids=ids, attention_mask=mask)
    out = model.generate(**inputs, logits_processor=sampler.to_transformers(inputs),
                         do_sample=True, top_k=0, max_new_tokens=8, pad_token_id=0,
                         num_return_sequences=n)
    ours = ls.generate(ls.LanguageModel(model), ids, sampler, n=n, max_new_tokens=8,
                       attention_mask=mask)
    for row, want in zip(out[:, width:].tolist(), lists(ours.ids), strict=True):
        assert row[:len(want)] == want


def test_without_a_seed_only_the_steps_run(tiny):
    model = tiny('llama').model
    ids = torch.tensor([[5, 6, 7]])
    steps = ls.Sampler(top_n_sigma=.5).to_transformers()
    for seed in range(3):
        torch.manual_seed(seed)
        out = model.generate(ids, logits_processor=steps, do_sample=True, top_k=0,
                             max_new_tokens=6, pad_token_id=0)
        torch.manual_seed(seed)
        own = model.generate(ids, do_sample=True, top_k=0, max_new_tokens=6,
                             pad_token_id=0, custom_generate=ls.hf.sample,
                             logits_processor=steps)
        assert out.shape[1] == 9 and own.shape[1] == 9
        for t in range(3, 9):
            z = model(out[:, :t]).logits[:, -1]
            assert ls.top_n_sigma_filter(z, .5)[0, out[0, t]] > -torch.inf


def test_beams_take_the_steps(tiny):
    model, ids = tiny('llama').model, torch.tensor([[5, 6, 7], [8, 9, 5]])
    s = ls.Sampler(no_repeat_ngram_size=1)
    out = model.generate(ids, num_beams=3, max_new_tokens=6, pad_token_id=0,
                         logits_processor=s.to_transformers(ids))
    want = model.generate(ids, num_beams=3, max_new_tokens=6, pad_token_id=0,
                          no_repeat_ngram_size=1)
    assert out.tolist() == want.tolist()


def test_refusals_of_processors():
    for knobs, name in ((dict(seed=1), 'seed'), (dict(dry_multiplier=1.), 'dry_mult'),
                        (dict(adaptive=ls.Mirostat2(2.)), 'adaptive')):
        with pytest.raises(ValueError, match=f'inputs must be given for {name}'):
            ls.Sampler(**knobs).to_transformers()
    with pytest.raises(TypeError, match='inputs must be what model.generate is given'):
        ls.Sampler(seed=1).to_transformers('text')
    p = SamplerProcessor(ls.Sampler(seed=1), torch.tensor([[1, 2], [3, 4]]))
    with pytest.raises(ValueError, match=r'inputs must be those of this call'):
        p(torch.tensor([[1, 2, 3]]), torch.zeros(1, 5))
