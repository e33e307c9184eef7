"""Edges of arithmetic and of types: each is right, or refused by its name before
anything is computed"""
import math

import numpy as np
import pytest, torch

import llm_sampling as ls

z = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
past = torch.tensor([[1, 2, 1], [1, 2, 1]])
lm = ls.LanguageModel(ls.TableModel({(): [.5, .25, .25]}, eos_token_id=0))


@pytest.mark.parametrize('call,what', [
    (lambda: ls.top_n_sigma_filter(z, 1e39), '^n must be'),
    (lambda: ls.top_k_filter(z, 2**64), '^k must be'),
    (lambda: ls.Sampler(top_k=2**64), '^top_k must be'),
    (lambda: ls.Sampler(top_k=[2**64, 1]), '^top_k must be'),
    (lambda: ls.top_k_filter(z.to(torch.complex64), 2), '^logits must be'),
    (lambda: ls.top_k_filter(z.to(torch.float8_e4m3fn), 2), '^logits must be'),
    (lambda: ls.dry_penalty(z, past, 1., base=None), '^base must be'),
    (lambda: ls.Sampler(dry_multiplier=1., dry_base=None), '^dry_base must be'),
    (lambda: ls.Sampler(dry_multiplier=1., dry_allowed_length=None),
     '^dry_allowed_length must be'),
    (lambda: ls.Sampler(seed=torch.tensor([2**63 + 5], dtype=torch.uint64)),
     '^seed must be'), (lambda: ls.sample(z, seed=np.uint64(2**63)), '^seed must be'),
    (lambda: ls.sample(z, seed=1j), '^seed must be'),
    (lambda: ls.sample(z, seed=torch.tensor([1j, 2j])), '^seed must be'),
    (lambda: ls.sample(z, seed=1, position=math.nan), '^position must be'),
    (lambda: ls.sample(z, seed=1, position=[1, 2, 3]), '^position must be'),
    (lambda: ls.Sampler(adaptive=ls.Mirostat2(3.),
                        seed=1)(z, state=torch.full((2, 2), math.nan)), '^state must'),
    (lambda: ls.logit_bias(z, {3: True}), '^bias of token 3'),
    (lambda: ls.logit_bias(z, {3: -1e39}), '^bias of token 3'),
    (lambda: ls.Sampler(logit_bias={3: -1e39}), '^logit_bias must be'),
    (lambda: ls.Sampler(logit_bias={3: True}), '^logit_bias must be'),
    (lambda: ls.generate(lm, [[1]], eos_token_id=np.int64(7)), '^eos_token_id 7'),
    (lambda: ls.load().encode('half \ud800'), '^prompt 0 is no valid text')])
def test_refused_by_name(call, what):
    with pytest.raises((TypeError, ValueError), match=what): call()


def test_large_and_small_that_are_fine(lists):
    assert ls.apply_temperature(z, 2**64).abs().max() < 1e-18
    assert torch.equal(ls.top_n_sigma_filter(z, math.inf), z)
    assert ls.sample(z, seed=np.uint64(7)).tolist() == ls.sample(z, seed=7).tolist()
    assert ls.generate(lm, [[1]], ls.Sampler(seed=3),
                       eos_token_id=np.int64(2)).ids[0][-1] == 2
    assert lists(lm.encode(np.array([[1, 2]]))) == [[[1, 2]], [[True, True]]]


@pytest.mark.parametrize('knobs', [dict(top_k=2), dict(top_p=.5), dict(min_p=.1),
                                   dict(typical_p=.5, top_h=.5, tail_free=.5),
                                   dict(eta_cutoff=.1, top_a=.1, xtc_probability=.5)])
def test_no_rows_and_gradients(knobs):
    s = ls.Sampler(seed=1, **knobs)
    assert s(torch.zeros(0, 8)).shape == (0,)
    assert s.filter(torch.zeros(0, 8)).shape == (0, 8)
    assert s(z.clone().requires_grad_()).tolist() == s(z).tolist()


def test_no_rows_are_chosen():
    s = ls.Sampler(temperature=[1., 2.], seed=[1, 2]).rows([])
    assert s(torch.zeros(0, 8)).shape == (0,)


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16, torch.int64])
@pytest.mark.parametrize('of', [torch.float32, torch.float64, torch.bfloat16])
def test_the_dtype_of_a_knob_decides_nothing(dtype, of):
    logits, ids = z.to(of), past
    for name in ('repetition_penalty', 'frequency_penalty', 'presence_penalty',
                 'dry_penalty'):
        f = getattr(ls, name)
        got = f(logits, ids, torch.tensor([1, 2], dtype=dtype))
        want = f(logits, ids, [1., 2.])
        assert got.dtype == of and torch.equal(got, want)
    for name in ('min_p_filter', 'top_p_filter', 'top_a_filter', 'typical_filter',
                 'top_n_sigma_filter', 'top_h_filter', 'tail_free_filter',
                 'apply_temperature'):
        f, values = getattr(ls, name), [1, 1] if dtype == torch.int64 else [.5, .25]
        got, want = f(logits, torch.tensor(values, dtype=dtype)), f(logits, values)
        assert got.dtype == of and torch.equal(got, want), name
