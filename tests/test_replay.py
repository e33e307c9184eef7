"""What was drawn from is what is replayed: kept sets, temperatures and shifts against
the sampler itself, gradients against dense autograd and finite differences, files"""
from functools import partial

import pytest
import torch
from scripts import printed
from torch.testing import assert_close

import llm_sampling as ls
from llm_sampling import replay
from llm_sampling.generation import run_whole
from llm_sampling.replay import (load_support, pieces, replay_logprobs, save_support,
                                 support_of_lists)

V = 40
g = torch.Generator().manual_seed(0)
Z = (torch.randn(4, V, generator=g) * 3).round(decimals=1)       # with ties
PAST = dict(ids=torch.randint(0, V, (4, 9), generator=g), position=5)
double = lambda ids, logits: logits + torch.arange(logits.shape[-1]) % 3
STEPS = {
    'nothing': {}, 'temperature': dict(temperature=.7), 'top_k': dict(top_k=5),
    'top_p': dict(temperature=.8, top_p=.9), 'min_p': dict(min_p=.05, top_p=.99),
    'typical': dict(typical_p=.7), 'epsilon': dict(epsilon_cutoff=.02),
    'eta': dict(eta_cutoff=.02), 'top_a': dict(top_a=.2), 'p_less': dict(p_less=True),
    'n_sigma': dict(top_n_sigma=1.), 'top_h': dict(top_h=.5),
    'tail_free': dict(tail_free=.9), 'greedy': dict(temperature=0, top_k=4),
    'xtc': dict(xtc_probability=[0, 1., .5, .5], xtc_threshold=.05),
    'bias': dict(logit_bias={3: 2., 4: -torch.inf}, temperature=.6),
    'repetition': dict(repetition_penalty=1.4, temperature=.9, top_p=.95),
    'frequency': dict(frequency_penalty=.5, presence_penalty=.3, top_k=9),
    'dry': dict(dry_multiplier=.8, top_p=.9),
    'n-grams': dict(no_repeat_ngram_size=1, ban_tokens=[[7]]),
    'dynamic': dict(dynamic_temperature=(.2, 1.8), min_p=.02),
    'dynamic to 0': dict(dynamic_temperature=(0, 1e-9)),
    'own': dict(processors={'double': double}, temperature=.5),
    'late penalty': dict(temperature=.5, repetition_penalty=1.3, logit_bias={1: 1.},
                         order=['temperature', 'repetition_penalty', 'logit_bias']),
    'llama.cpp': dict(temperature=1.5, top_k=7, min_p=.1, presence_penalty=.4,
                      order='llama.cpp'),
    'per row': dict(temperature=[.5, 1, 0, 2.], top_k=[3, None, 2, 9],
                    repetition_penalty=[1., 1.2, 1.5, .8]),
    'mirostat': dict(adaptive=ls.Mirostat2(3.)),
    'mirostat 1': dict(adaptive=ls.Mirostat1(3.)),
    'adaptive-p': dict(adaptive=ls.AdaptiveP(.2), min_p=.01)}


def sampler(name, **more): return ls.Sampler(**STEPS[name], **(dict(seed=3) | more))

def call(s, z, rows=slice(None)):
    "Logits, and what else a call with them needs"
    return dict(logits=z, ids=PAST['ids'][rows], position=5, state=s.init(len(z)))

def dense(s, z, chosen):
    "The logprob of what was chosen, by the filters themselves"
    f = s.filter(**call(s, z))
    logprobs = f.double().log_softmax(-1).gather(-1, chosen[:, None])[:, 0]
    t = torch.as_tensor(s.temperature if s.temperature is not None else 1.)
    return torch.where(t == 0, 0., logprobs).float()


@pytest.mark.parametrize('name', STEPS)
def test_the_support_is_what_the_filters_leave(name):
    s = sampler(name)
    support, kept = s.support(**call(s, Z)), s.filter(**call(s, Z)) > -torch.inf
    chosen = s(**call(s, Z))
    t = torch.as_tensor(s.temperature if s.temperature is not None else 1.)
    cold = (t == 0).expand(4)
    assert torch.equal(support.mask()[~cold], kept[~cold])
    assert support.mask()[cold].sum(-1).tolist() == [1] * int(cold.sum())
    assert support.mask().gather(1, chosen[:, None]).all()
    assert_close(support.logprobs(Z, chosen), dense(s, Z, chosen), rtol=0, atol=3e-6)


@pytest.mark.parametrize('name', STEPS)
def test_a_row_of_a_batch_is_the_row_alone(name):
    s = sampler(name, seed=[1, 2, 3, 4])
    whole, chosen = s.support(**call(s, Z)), s(**call(s, Z))
    together = whole.logprobs(Z, chosen)
    for i in range(4):
        own = s.rows(torch.tensor([i]))
        alone = own.support(**call(own, Z[i:i+1], slice(i, i + 1)))
        assert torch.equal(alone[0], whole[i])
        assert torch.equal(alone.logprobs(Z[i:i+1], chosen[i:i+1]), together[i:i+1])


@pytest.mark.parametrize('knobs', [
    dict(top_p=.9, temperature=.7), dict(top_k=20, min_p=.3),
    dict(temperature=[1., .2]),
    dict(typical_p=.5, top_k=30, temperature=[0, .5]),
    dict(logit_bias={5: 3.}, top_p=.8)])
def test_a_large_vocabulary_by_the_short_list(knobs):
    z = torch.randn(2, 6000, generator=torch.Generator().manual_seed(1)) * 3
    s = ls.Sampler(**knobs, seed=1)
    args = dict(ids=torch.zeros(2, 1).long(), position=0)
    support, chosen = s.support(z, **args), s(z, **args)
    for i, t in enumerate(torch.as_tensor(knobs.get('temperature', 1.)).expand(2)):
        kept = (s.filter(z, **args)[i] > -torch.inf).nonzero()[:, 0]
        if t: assert torch.equal(support[i], kept)
        else: assert support[i].tolist() == [chosen[i]]
    want = s.filter(z, **args).log_softmax(-1).gather(-1, chosen[:, None])[:, 0]
    assert_close(support.logprobs(z, chosen), want.where(torch.as_tensor(
        knobs.get('temperature', 1.)) > 0, 0.), rtol=0, atol=1e-5)


@pytest.mark.parametrize('name', ['bias', 'frequency', 'dry', 'repetition',
                                  'llama.cpp'])
def test_later_weights_go_through_the_same_steps(name):
    "Of other logits: the sampler's own chain, over the tokens of the first draw"
    s = ls.Sampler(**STEPS[name], seed=3)
    support, chosen = s.support(**call(s, Z)), s(**call(s, Z))
    new = Z * 1.07               # no logit changes its sign
    steps = s.replace(top_k=None, top_p=None, min_p=None)
    z = steps.filter(**call(s, new)).masked_fill(~support.mask(), -torch.inf)
    want = z.log_softmax(-1).gather(-1, chosen[:, None])[:, 0]
    assert_close(support.logprobs(new, chosen), want, rtol=0, atol=5e-6)


@pytest.mark.parametrize('order', ['transformers', 'mlx',
                                   ['temperature', 'logit_bias']])
def test_shifts_are_the_numbers_that_were_given(order):
    s = ls.Sampler(logit_bias={3: 2., 5: -1.}, temperature=.5, order=order)
    want = torch.zeros(4, V)
    want[:, 3], want[:, 5] = 2., -1.
    if isinstance(order, list): want *= .5        # added to what was divided before
    support = s.support(Z, PAST['ids'], position=5)
    assert_close(support.shifts.view(4, V), want, rtol=0, atol=1e-5)


# --- gradients ---

def by_hand(z, ids, support, temperature):
    "Dense, by autograd: what a trainer would write with two copies of the logits"
    z = z.double()
    f, b = torch.ones_like(z), torch.zeros_like(z)
    at = support.owners, support.ids.long()
    if support.factors is not None: f[at] = support.factors.double()
    if support.shifts is not None: b[at] = support.shifts.double()
    u = (f * z + b) / temperature
    u = u.masked_fill(~support.mask(), -torch.inf)
    return u.log_softmax(-1).gather(-1, ids[:, None])[:, 0]


@pytest.mark.parametrize('limit', [1, 7, 100, 2**20])
@pytest.mark.parametrize('name', ['nothing', 'temperature', 'top_p', 'repetition',
                                  'bias', 'per row', 'xtc'])
def test_values_and_gradients_are_those_of_dense_autograd(name, limit, monkeypatch):
    monkeypatch.setattr(replay, 'pieces', partial(pieces, limit=limit))
    s = sampler(name)
    support, chosen = s.support(**call(s, Z)), s(**call(s, Z))
    t = torch.ones(4) if support.temperature is None else support.temperature
    a, b = Z.clone().requires_grad_(), Z.clone().requires_grad_()
    weights = torch.tensor([1., -2., .5, 3.])
    ours, theirs = replay_logprobs(a, chosen, support), by_hand(b, chosen, support,
                                                               t.double()[:, None])
    (ours * weights).sum().backward(), (theirs * weights).sum().backward()
    assert_close(ours, theirs.float(), rtol=0, atol=5e-6)
    assert_close(a.grad, b.grad, rtol=0, atol=5e-6)


@pytest.mark.parametrize('name', ['nothing', 'top_p', 'repetition'])
def test_finite_differences(name):
    s = sampler(name)
    support, chosen = s.support(**call(s, Z)), s(**call(s, Z))
    z = Z.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: replay_logprobs(z, chosen, support), z)


def test_rows_with_and_without_ids_in_one_batch():
    s = ls.Sampler(top_k=[3, None, None, 2], temperature=.5, seed=1)
    support, chosen = s.support(Z), s(Z)
    assert support.counts.tolist()[1:3] == [0, 0] and len(pieces(support)) == 3
    assert support[1].tolist() == [*range(V)]
    z = Z.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: replay_logprobs(z, chosen, support), z)


def test_a_padded_batch_and_a_view_of_logits():
    full = torch.randn(2, 4, V, generator=g, dtype=torch.float64, requires_grad=True)
    view = full[:, :-1]                       # as a trainer shifts them
    mask = torch.tensor([[True, True, False], [True, True, True]])
    s = ls.Sampler(temperature=.7, top_p=.8, seed=1)
    rows = view.detach()[mask]
    chosen, support = s(rows), s.support(rows)
    ids = torch.full((2, 3), -100)
    ids[mask] = chosen
    out = replay_logprobs(view, ids, support, mask)
    assert out[~mask].tolist() == [0] and torch.equal(out[mask],
                                                      support.logprobs(rows, chosen))
    out.sum().backward()
    assert full.grad[:, -1].eq(0).all() and full.grad[0, 2].eq(0).all()
    assert (full.grad[:, :-1][mask] != 0).sum(-1).tolist() == [
        n if n > 1 else 0 for n in support.counts.tolist()]


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_is_read_as_it_is_and_summed_in_float32(dtype):
    half = Z.to(dtype)
    s = ls.Sampler(temperature=.7, top_p=.9, seed=1)
    support, chosen = s.support(half), s(half)
    a, b = half.clone().requires_grad_(), half.float().requires_grad_()
    x, y = replay_logprobs(a, chosen, support), replay_logprobs(b, chosen, support)
    assert x.dtype == torch.float32 and torch.equal(x, y)
    x.sum().backward(), y.sum().backward()
    assert a.grad.dtype == dtype and torch.equal(a.grad, b.grad.to(dtype))


def test_ties_one_token_and_a_single_position():
    tie = torch.tensor([[2., 1., 2., 2.]])
    assert ls.Sampler(top_k=1).support(tie)[0].tolist() == [0, 2, 3]
    assert ls.Sampler(temperature=0).support(tie)[0].tolist() == [0]
    one = ls.Sampler(temperature=.5, top_p=.5).support(torch.zeros(3, 1))
    assert one.logprobs(torch.randn(3, 1), torch.zeros(3).long()).tolist() == [0, 0, 0]
    z = torch.tensor([0., 1., 2.])
    s = ls.Sampler(top_k=2, seed=1)
    assert_close(replay_logprobs(z, torch.tensor(1), s.support(z)),
                 torch.tensor(-1.3132617), rtol=0, atol=1e-6)
    none = ls.Sampler().support(torch.zeros(0, 5))
    assert len(none) == 0 and none.logprobs(torch.zeros(0, 5),
                                            torch.zeros(0).long()).shape == (0,)


def test_a_temperature_that_the_engine_did_not_send():
    s = ls.Sampler(temperature=.5, top_k=4, seed=1)
    chosen, own = s(Z), s.support(Z)
    bare = support_of_lists([own[i].tolist() for i in range(4)], V)
    want = own.logprobs(Z, chosen)
    assert_close(replay_logprobs(Z, chosen, bare, temperature=.5), want)
    each = torch.full((4,), .5)
    assert_close(replay_logprobs(Z, chosen, bare, temperature=each), want)
    assert not torch.allclose(replay_logprobs(Z, chosen, bare), want)


# --- other systems ---

def test_engines_send_ids_in_any_order():
    rows = [[5, 2, 9], [], [1]]
    a = support_of_lists(rows, 10)
    b = ls.Support([5, 2, 9, 1], [0, 3, 3, 4], 10)          # token_ids, offsets
    for s in (a, b):
        assert [s[i].tolist() for i in range(3)] == [[2, 5, 9], [*range(10)], [1]]
    c = ls.Support([5, 2], [0, 2], 10, shifts=[1., 7.])
    assert c.ids.tolist() == [2, 5] and c.shifts.tolist() == [7, 1]


# --- rows, files ---

def test_take_and_join():
    s = ls.Sampler(temperature=[.5, 1., .7, 2.], top_k=[2, None, 3, 1], seed=1,
                   logit_bias={3: 1.})
    whole = s.support(Z, PAST['ids'], position=5)
    back = ls.Support.join([whole.take([0]), whole.take([1, 2]), whole.take([3, 0])])
    again = back.take(torch.tensor([0, 1, 2, 3]))
    for name in ('ids', 'offsets', 'temperature', 'shifts'):
        assert torch.equal(getattr(again, name), getattr(whole, name))
    chosen = s(Z, PAST['ids'], position=5)
    some = torch.tensor([2, 0, 2])
    assert torch.equal(whole.take(some).logprobs(Z[some], chosen[some]),
                       whole.logprobs(Z, chosen)[some])
    plain = ls.Sampler(top_k=2).support(Z)
    mixed = ls.Support.join([plain, whole])
    assert mixed.temperature.tolist()[:4] == [1] * 4 and len(mixed) == 8
    assert mixed.shifts[:len(plain.ids)].eq(0).all()


@pytest.mark.parametrize('name', ['nothing', 'top_p', 'repetition', 'per row'])
def test_a_file_gives_it_back(name, tmp_path):
    s = sampler(name)
    support, path = s.support(**call(s, Z)), tmp_path/'a.safetensors'
    save_support(path, support)
    got = load_support(path)
    assert got.vocab == V
    for key in ('ids', 'offsets', 'temperature', 'factors', 'shifts'):
        a, b = getattr(got, key), getattr(support, key)
        assert a is None and b is None or torch.equal(a, b)


def test_files_that_are_none(tmp_path):
    from safetensors.torch import save_file
    path = tmp_path/'a.safetensors'
    path.write_bytes(b'no file of tensors')
    with pytest.raises(ValueError, match='path must name a safetensors file'):
        load_support(path)
    save_file(dict(weight=torch.zeros(3)), path)
    with pytest.raises(ValueError, match=r"path must name a support, .*\['weight'\]"):
        load_support(path)
    save_file(dict(ids=torch.tensor([3, 99]), offsets=torch.tensor([0, 2])), path,
              metadata=dict(vocab='10'))
    with pytest.raises(ValueError, match='ids must be from 0 to 9'): load_support(path)


# --- generation ---

@pytest.mark.parametrize('s', [
    ls.Sampler(temperature=.8, top_p=.9), ls.Sampler(temperature=[.5, 0, 1.5]), None,
    ls.Sampler(adaptive=ls.Mirostat2(3.), repetition_penalty=1.2),
    ls.Sampler(xtc_probability=.5, min_p=.02, frequency_penalty=.3)])
def test_recorded_while_drawing(lm, s):
    prompts = ['Once upon a time', 'The', '"No," said the king']
    args = dict(max_new_tokens=12, stop=['.', ','], seed=4)
    plain = ls.generate(lm, prompts, s, **args)
    assert plain.sampled_logprobs is None and plain.supports is None
    out = ls.generate(lm, prompts, s, record='support', **args)
    assert out.texts == plain.texts
    some = ls.generate(lm, prompts, s, record='logprobs', **args)
    assert some.supports is None
    for row in range(3):
        c = out[row]
        assert torch.equal(some.sampled_logprobs[row], c.sampled_logprobs)
        assert len(c.support) == len(c.ids) == len(c.sampled_logprobs)
        ids, mask = lm.encode(prompts[row])
        whole = torch.cat([ids[mask], c.ids])[None]
        logits = lm.forward(whole, None, None)[0][0, -len(c.ids) - 1:-1]
        again = replay_logprobs(logits, c.ids, c.support)
        assert_close(again, c.sampled_logprobs, rtol=0, atol=2e-5)
        if s is None: assert c.sampled_logprobs.eq(0).all()


def test_samples_of_a_prompt_rows_alone_and_streams(lm):
    s = ls.Sampler(temperature=.9, top_k=20, presence_penalty=.5)
    args = dict(max_new_tokens=8, seed=2, record='support')
    out = ls.generate(lm, ['The king', 'A fox'], s, n=3, **args)
    for row in (0, 4):
        prompt = ['The king', 'A fox'][row // 3]
        alone = ls.generate(lm, prompt, s, n=3, **args)
        assert_close(alone.sampled_logprobs[row % 3], out.sampled_logprobs[row],
                     rtol=0, atol=1e-5)
    streamed = run_whole(ls.stream(lm, 'The king', s, n=3, **args))
    assert_close(streamed.sampled_logprobs[0], out.sampled_logprobs[0], rtol=0,
                 atol=1e-5)
    assert torch.equal(streamed.supports[0].ids, out.supports[0].ids)
    assert [len(l) for l in out.to_dict()['sampled_logprobs']] == [8] * 6


def test_a_table_model_on_paper():
    tm = ls.LanguageModel(ls.TableModel({(): [.5, .25, .125, .125]}))
    out = ls.generate(tm, torch.tensor([[0]]), ls.Sampler(top_k=2), max_new_tokens=50,
                      record='logprobs', seed=1)
    [ids], [said] = out.ids, out.sampled_logprobs
    want = torch.tensor([2 / 3, 1 / 3]).log()[ids]
    assert ids.unique().tolist() == [0, 1]
    assert_close(said, want, rtol=0, atol=1e-6)


def test_no_token_at_all(lm):
    out = ls.generate(lm, 'The', ls.Sampler(top_k=2), max_new_tokens=0,
                      record='support')
    assert out.sampled_logprobs[0].shape == (0,) and out.supports is None


# --- errors ---

def test_errors():
    s = ls.Sampler(top_k=3, temperature=.5, seed=1)
    support, chosen = s.support(Z), s(Z)
    far = chosen.clone()
    far[2] = Z[2].argmin()
    cases = [
        (dict(ids=far), f'support must hold every .* row 2 has not {far[2]}'),
        (dict(logits=Z[:, :-1]), 'support has a vocabulary of 40 tokens, and logits one'
                                 ' of 39'),
        (dict(support=support.take([0])), 'a row for each of the 4 tokens, not 1'),
        (dict(temperature=.5), 'temperature must be None'),
        (dict(ids=chosen - 100), 'ids must be from 0 to 39'),
        (dict(ids=chosen[:2]), 'ids must have shape'),
        (dict(mask=torch.ones(3).bool()), 'mask must have shape')]
    for change, text in cases:
        with pytest.raises(ValueError, match=text):
            replay_logprobs(**(dict(logits=Z, ids=chosen, support=support) | change))
    for change in (dict(support=[[1]]), dict(logits=Z.long()), dict(ids=Z)):
        with pytest.raises(TypeError):
            replay_logprobs(**(dict(logits=Z, ids=chosen, support=support) | change))
    with pytest.raises(ValueError, match='seed must be given for xtc_probability'):
        ls.Sampler(xtc_probability=.5).support(Z)
    with pytest.raises(ValueError, match='no token can be drawn'):
        s.support(torch.full((1, 5), -torch.inf))
    with pytest.raises(ValueError, match='ids must be given for presence_penalty'):
        ls.Sampler(presence_penalty=.5).support(Z)


@pytest.mark.parametrize('args, text', [
    (([1, 1], [0, 2], 5), 'each token of a row once'),
    (([1], [0, 2], 5), 'offsets must rise from 0 to 1'),
    (([1, 2], [0, 2, 1, 2], 5), 'offsets must rise'),
    (([1, 2], [], 5), 'offsets must rise'),
    (([5], [0, 1], 5), 'ids must be from 0 to 4'),
    (([-1], [0, 1], 5), 'ids must be from 0'), (([1], [0, 1], 0), 'vocab must be'),
    (([1], [0, 1], 5, 0.), 'temperature must be finite numbers > 0'),
    (([1], [0, 1], 5, [1., 2.]), 'temperature must have one entry per row'),
    (([1], [0, 1], 5, 1., torch.nan), 'factors must be finite'),
    (([1], [0, 1], 5, 1., 1., [1., 2.]), 'shifts must have one entry')])
def test_supports_that_cannot_be(args, text):
    with pytest.raises(ValueError, match=text): ls.Support(*args)


def test_rows_that_are_not_there():
    support = ls.Sampler(top_k=2).support(Z)
    with pytest.raises(ValueError, match='index must be a list of numbers of the 4'):
        support.take([4])
    with pytest.raises(IndexError, match='row must be a number of the 4'): support[4]
    with pytest.raises(ValueError, match='one vocabulary'):
        ls.Support.join([support, ls.Support([], [0], 3)])
    with pytest.raises(TypeError, match='supports must be a list'): ls.Support.join([])


def test_the_keyword_is_checked(lm):
    with pytest.raises(ValueError, match="record must be 'logprobs' or 'support'"):
        ls.generate(lm, 'a', record='all')


def test_a_fresh_process_needs_no_import():
    code = ('import torch, llm_sampling as ls; '
            'print(ls.Sampler(top_k=2).support(torch.arange(4.)[None])[0].tolist())')
    assert printed(code) == '[2, 3]'


def test_contrasts_record_what_they_drew_from(lm):
    s = ls.Sampler(temperature=.8, top_k=5)
    args = dict(max_new_tokens=6, seed=3, record='support')
    plain = ls.generate(lm, 'The king', s, **args)
    same = ls.guided(lm, 'The king', None, guidance_scale=1, sampler=s, **args)
    assert same.texts == plain.texts
    assert_close(same.sampled_logprobs[0], plain.sampled_logprobs[0], rtol=0, atol=1e-5)
    far = ls.guided(lm, 'The king', 'A wolf', guidance_scale=3., sampler=s, **args)
    own = ls.dola(lm, 'The king', dola_layers='low', sampler=s, **args)
    for out in (far, own):
        assert (out.supports[0].counts <= 5).all() and len(out.supports[0]) == 6
        assert (out.sampled_logprobs[0] > out.logprobs[0]).any()
