"What strangers ran into: prompts, seeds, positions, windows, and what a generation is"
import copy, inspect, json, pickle

import pytest, torch

import llm_sampling as ls
from llm_sampling.models import LanguageModel

PROMPTS = [f'The {a} {b}' for a in ('king', 'fox', 'old woman', 'wind', 'sea') for b in
           ('said', 'went', 'was', 'and', 'had', 'of the', 'in a', 'would', 'came',
            'looked')]


# One seed, many prompts

@pytest.mark.long
def test_one_seed_serves_many_prompts(lm):
    """Rows of a batch draw as independently as with a seed each: expected distinct
    first tokens by the exact probabilities"""
    s = ls.Sampler(temperature=1.)
    one = ls.generate(lm, PROMPTS, s, seed=0, max_new_tokens=1)
    distinct = len({i[0].item() for i in one.ids})
    p = torch.cat([lm.next_logits(x) for x in PROMPTS]).double().softmax(-1)
    missed = (1 - p).prod(0)  # chance that no row draws a token
    expected = (1 - missed).sum().item()
    # an upper bound: occupancies are negatively correlated
    spread = (missed * (1 - missed)).sum().item()**.5
    assert abs(distinct - expected) < 3 * spread
    same_noise = ls.sample(torch.cat([lm.next_logits(x) for x in PROMPTS]), seed=0)
    # what it was: the check can fail
    assert len(same_noise.unique()) < expected - 3 * spread


@pytest.mark.some(1)
@pytest.mark.parametrize('n', [1, 3])
def test_a_prompt_and_a_seed_are_a_text(lm, n):
    "Alone, in a batch, in any order, padded or not"
    s, kw = ls.Sampler(temperature=1., seed=9), dict(max_new_tokens=12, n=n)
    batch = ls.generate(lm, PROMPTS[:6], s, **kw)
    turned = ls.generate(lm, PROMPTS[5::-1], s, **kw)
    for i, prompt in enumerate(PROMPTS[:6]):
        alone = ls.generate(lm, prompt, s, **kw)
        rows = slice(n * i, n * i + n)
        assert alone.texts == batch.texts[rows] == turned.texts[n * (5 - i):n * (6 - i)]
        assert len(set(alone.texts)) == n
    ids, mask = lm.encode(PROMPTS[0])
    padded = torch.nn.functional.pad(ids, (7, 0)), torch.nn.functional.pad(mask, (7, 0))
    assert ls.generate(lm, padded[0], s, attention_mask=padded[1],
                       **kw).texts == batch.texts[:n]


def test_a_continuation_does_not_repeat_the_noise():
    g = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 4000, (200, 9), generator=g)
    seeds = [ls.row_seeds(7, ids[:, :k]) for k in range(2, 10)]
    assert len(torch.cat(seeds).unique()) == 1600
    first = ls.sample(torch.zeros(200, 4096), seed=seeds[0])
    again = ls.sample(torch.zeros(200, 4096), seed=seeds[1])
    assert (first == again).sum() <= 3  # 1/4096 each: P(more) < 1e-6


def test_row_seeds_are_those_of_every_strategy(lm):
    "A loop written by hand equals `generate`, with penalties too"
    s = ls.Sampler(temperature=.9, top_p=.95, presence_penalty=.5,
                   repetition_penalty=1.1)
    prompts = lm.encode(PROMPTS[:3])
    out = ls.generate(lm, prompts[0], s, attention_mask=prompts[1], seed=4, n=2,
                      max_new_tokens=10)
    seeds = ls.row_seeds(4, *prompts, n=2)
    for row in range(6):
        ids = prompts[0][row // 2][prompts[1][row // 2]][None]
        start = ids.shape[1]
        for position in range(10):
            token = s.replace(seed=seeds[row].item())(lm.next_logits(ids), ids,
                                                      position=position)
            ids = torch.cat([ids, token[:, None]], -1)
        assert ids[0, start:start + len(out.ids[row])].tolist() == out.ids[row].tolist()


def test_mix_uses_all_bits():
    from llm_sampling.noise import mix
    for bit in range(64):
        flip = torch.tensor(1) << bit
        assert mix(1, 5) != mix(1, 5 ^ flip.item())
        assert mix(1, 5) != mix(1 ^ flip.item(), 5)


# Position

@pytest.mark.parametrize('knobs', [dict(frequency_penalty=.5),
                                   dict(presence_penalty=.5), dict(seed=1)])
def test_position_is_not_guessed(knobs):
    z, ids = torch.randn(1, 8), torch.tensor([[1, 2]])
    s = ls.Sampler(**knobs)
    with pytest.raises(ValueError, match='position must be given'): s(z, ids)
    s(z, ids, position=1)
    s(z, *([ids, None, 1] if 'seed' not in knobs else []))
    if 'seed' in knobs: s.filter(z, ids)                       # nothing rolls there
    else:
        for call in (s.filter, s.explain):
            with pytest.raises(ValueError, match='position must be given'): call(z, ids)


def test_position_where_it_cannot_be_wrong():
    z, ids = torch.randn(1, 8), torch.tensor([[1, 2]])
    ls.Sampler(repetition_penalty=1.2)(z, ids)
    ls.Sampler(temperature=0, seed=1)(z, ids)                  # draws nothing
    with pytest.raises(ValueError, match='position must be given'):
        ls.Sampler(temperature=0, seed=1, xtc_probability=.5).filter(z, ids)


@pytest.mark.parametrize('bad', [-1, [0, 1], 1.5, float('nan'), True])
def test_bad_positions(bad):
    with pytest.raises((TypeError, ValueError), match='position'):
        ls.Sampler(seed=1)(torch.randn(3, 8), position=bad)


# Draws do not depend on a constant

@pytest.mark.parametrize('dtype,shift', [
    (torch.float32, 2.**20), (torch.float32, -2.**21), (torch.float64, 1e12)])
@pytest.mark.parametrize('knobs', [{}, dict(temperature=.7), dict(top_k=3),
                                   dict(top_p=.9, min_p=.01)])
def test_draws_are_shift_invariant(dtype, shift, knobs):
    # exact when shifted
    z = torch.randint(-16, 16, (64, 500),
                      generator=torch.Generator().manual_seed(0)).to(dtype) / 4
    s = ls.Sampler(seed=5, **knobs)
    assert s(z).tolist() == s(z + shift).tolist()
    assert ls.sample(z, seed=5).tolist() == ls.sample(z + shift, seed=5).tolist()


@pytest.mark.parametrize('t', [1e-50, 1e-40, 1e-39])
def test_a_temperature_too_small_for_float32_is_greedy(t):
    z = torch.tensor([[1., 3., 3., 0.]])
    for value in (t, [t], torch.tensor([t])):
        assert ls.Sampler(temperature=value, seed=3)(z).tolist() == [1]
        assert ls.apply_temperature(z,
                                    value).tolist() == [[-torch.inf, 0, 0, -torch.inf]]


# Prompts


def test_a_text_has_one_beginning(lm):
    bos = lm.tokenizer.bos_token
    assert lm.encode(bos + 'Once')[0].tolist() == lm.encode('Once')[0].tolist()
    assert lm.encode('')[0].tolist() == [[0]] == lm.encode(bos)[0].tolist()


def test_texts_name_tokens(lm):
    """Bans, biases and breakers as texts are what they are as ids; the strategy lends
    its tokenizer"""
    ids = lambda t: lm.tokenizer.encode(t, add_special_tokens=False)
    said = ls.Sampler(ban_tokens=[' the king', [5, 6]], logit_bias={',': -3., 9: 1.},
                      dry_multiplier=1., dry_breakers=['.'])
    plain = ls.Sampler(ban_tokens=[ids(' the king'), [5, 6]],
                       logit_bias={ids(',')[0]: -3., 9: 1.}, dry_multiplier=1.,
                       dry_breakers=[i for i in range(lm.vocab_size)
                                     if '.' in lm.tokenizer.decode([i])])
    assert said.lend(lm.tokenizer) == plain != said
    kw = dict(seed=2, max_new_tokens=20)
    assert ls.generate(lm, PROMPTS[:2], said,
                       **kw).texts == ls.generate(lm, PROMPTS[:2], plain, **kw).texts
    with pytest.raises(ValueError, match='one token'):
        ls.Sampler(logit_bias={' the king': 1.}, tokenizer=lm.tokenizer)
    with pytest.raises(ValueError, match='needs a tokenizer'):
        said(torch.zeros(1, lm.vocab_size), torch.tensor([[1]]), position=0)
    with pytest.raises(ValueError, match='needs a tokenizer'):
        ls.generate(LanguageModel(lm.model), [[1, 2]], said)


# Windows

def test_a_prompt_longer_than_the_window_is_refused(tiny):
    """By every strategy, with both lengths, before any forward pass; one as long as the
    window is read whole"""
    lm = tiny('gpt2')
    lm.window = 12
    calls = []
    hook = lm.model.register_forward_pre_hook(lambda *a: calls.append(1))
    prompt = torch.arange(1, 14)[None]
    others = dict(contrastive_decoding=dict(amateur=lm), dola=dict(dola_layers='low'),
                  best_of_n=dict(n=2, score=lambda t, i: [1] * len(i)),
                  guided=dict(negative_prompt=None, guidance_scale=1.5),
                  constrained_beam_search=dict(force_words_ids=[[3]]),
                  majority_vote=dict(n=2, answer=lambda t, i: '1'),
                  minimum_bayes_risk=dict(n=2, similarity=lambda a, b: 1.))
    strategies = [name for name in ls.__all__ if callable(f := getattr(ls, name))
                  and not inspect.isclass(f)
                  and {'lm', 'prompt'} <= {*inspect.signature(f).parameters}]
    assert len(strategies) >= 15
    for name in strategies:
        with pytest.raises(ValueError, match='13.*12|12.*13|window'):
            getattr(ls, name)(lm=lm, prompt=prompt, max_new_tokens=1,
                              **others.get(name, {}))
    assert not calls
    hook.remove()


@pytest.mark.some(3)
@pytest.mark.parametrize('family', ['gpt2', 'llama', 'mamba'])
@pytest.mark.parametrize('n', [1, 3])
def test_a_prompt_as_long_as_the_window_is_read_whole(family, n, tiny):
    lm = tiny(family)
    lm.window = 12
    whole, short = torch.arange(1, 13), torch.arange(5, 9)
    out = ls.generate(lm, [whole, short], ls.Sampler(temperature=1e-3, seed=1), n=n,
                      max_new_tokens=15, eos_token_id=())
    for row, prompt in ((0, whole), (n, short)):
        context = prompt.tolist()
        for token in out.ids[row].tolist():
            assert lm.next_logits([context]).argmax().item() == token
            context.append(token)
            if len(context) >= 12: context = context[-6:]
    assert out.stats['window_restarts'] == [3] * n + [2] * n


# Generations

def test_a_generation_is_data(lm):
    out = ls.generate(lm, PROMPTS[:2], ls.Sampler(seed=1), n=2, max_new_tokens=12,
                      stop=[' the', ' a'])
    stored = pickle.dumps(out)
    assert len(stored) < 60_000
    again = pickle.loads(stored)
    assert again.to_dict(trace=True) == out.to_dict(trace=True)
    assert len(out.to_dict(trace=True)['trace']) == 4
    assert json.loads(json.dumps(out.to_dict())) == out.to_dict()
    assert json.dumps(again.to_dict(trace=True)) == json.dumps(out.to_dict(trace=True))
    assert (pickle.loads(pickle.dumps(again)).to_dict(trace=True)
            == out.to_dict(trace=True))
    assert repr(again) == repr(out) and again.show(1).data == out.show(1).data
    assert [r.text for r in out] == out.texts
    assert out[-1].ids is out.ids[-1]
    assert len(out[1:3]) == 2
    for text, reason, stop in zip(out.texts, out.finish_reasons, out.stops):
        assert (reason == 'stop') == (stop is not None)
        assert stop in (None, ' the', ' a', 0)
        assert stop not in text if isinstance(stop, str) else True
    assert ({type(s) for s in out.stops} > {type(None)}
            or set(out.finish_reasons) == {'stop'})


def test_a_generation_keeps_no_model_alive(tiny):
    import gc, weakref
    lm = tiny('gpt2')
    model = weakref.ref(lm.model)
    out = ls.generate(lm, [[1, 2, 3]], n=2, max_new_tokens=3)
    del lm
    gc.collect()
    assert model() is None and len(out) == 2


def test_the_end_of_text_token_is_told():
    lm = LanguageModel(ls.TableModel({(): [0., 1, 0], (1, 1): [1., 0, 0]},
                                     eos_token_id=0))
    out = ls.generate(lm, [[1]])
    assert (out.finish_reasons, out.stops, out[0].text) == (['stop'], [0], None)


def test_wrong_kinds_of_arguments(lm):
    for bad, what in ((.8, 'Sampler'), ({'temperature': 1}, 'Sampler')):
        with pytest.raises(TypeError, match=f'sampler must be a {what}'):
            ls.generate(lm, 'a', bad)
    for bad, advice in (('gpt2', r"ls.load\('gpt2'\)"),
                        (lm.model, r'LanguageModel\(lm'), (None, r'ls.load\(\)')):
        with pytest.raises(TypeError, match=f'lm must be a LanguageModel.*{advice}'):
            ls.generate(bad, 'a')
    with pytest.raises(TypeError, match='positional'): ls.generate(lm, 'a', None, 5)


def test_a_stream_is_checked_when_it_is_called(lm):
    for bad in (dict(max_new_tokens=-1), dict(stop=['']), dict(sampler=3),
                dict(seed=[1, 2])):
        with pytest.raises((TypeError, ValueError)): ls.stream(lm, 'a', **bad)


def test_what_draws_nothing_leaves_the_generator_alone(lm):
    for s in (None, ls.Sampler(temperature=0), ls.Sampler(seed=1),
              ls.Sampler(temperature=0, top_p=.9)):
        before = torch.get_rng_state()
        ls.generate(lm, 'a', s, max_new_tokens=2)
        assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(1); a = ls.generate(lm, 'a', ls.Sampler(), max_new_tokens=8)
    torch.manual_seed(1); b = ls.generate(lm, 'a', ls.Sampler(), max_new_tokens=8)
    assert a.texts == b.texts != ls.generate(lm, 'a', ls.Sampler(),
                                             max_new_tokens=8).texts


# Samplers as values

def test_samplers_compare_and_vary():
    s = ls.Sampler(temperature=[.5, 1.], top_k=5, dry_multiplier=.8,
                   adaptive=ls.Mirostat2(3.), seed=[1, 2])
    assert s == s.replace()
    assert copy.deepcopy(s) == s
    assert pickle.loads(pickle.dumps(s)) == s
    for change in (dict(top_k=6), dict(temperature=None), dict(seed=1),
                   dict(adaptive=ls.Mirostat2(4.)), dict(dry_base=2.)):
        assert s.replace(**change) != s
        assert s.replace(**change).replace(**{k: getattr(s, k) for k in change}) == s
    assert ls.Sampler(dry_base=3.).replace(dry_multiplier=1.).dry_base == 3.
    assert (s.top_k, s.top_p, s.p_less, s.xtc_threshold,
            s.dry_allowed_length) == (5, None, False, .1, 2)
    with pytest.raises(AttributeError): s.topk
    with pytest.raises(TypeError): s.replace(topk=3)


@pytest.mark.parametrize('name,value', [('top_k', 0), ('top_k', -1), ('top_p', 2),
                                        ('temperature', -1), ('typical_p', 0)])
def test_off_is_none(name, value):
    with pytest.raises(ValueError, match=f'{name}.*None is off'):
        ls.Sampler(**{name: value})
