"Samplers of rows and of requests against each alone"
import pytest
import torch

from llm_sampling import Mirostat2, Sampler, row_seeds


def own(ids, logits): return logits + 1


@pytest.mark.parametrize('n', [1, 3])
def test_spread_is_a_loop_over_prompts(n):
    ids = torch.tensor([[0, 0, 5], [7, 8, 9]])
    mask = torch.tensor([[False, False, True], [True] * 3])
    each = [.5, 2.]
    s = Sampler(temperature=each, top_k=5, seed=[3, 4]).spread(ids, mask, n)
    seeds = torch.cat([row_seeds(seed, real[None], n=n) for seed, real in
                       ((3, torch.tensor([5])), (4, torch.tensor([7, 8, 9])))])
    assert s.seed.tolist() == seeds.tolist()
    assert s.temperature.tolist() == [t for t in each for _ in range(n)]
    assert s.top_k == 5
    own = Sampler(temperature=[1., 2, 3, 4, 5, 6][:2*n]).spread(ids, mask, n, seed=1)
    assert own.temperature.tolist() == [1., 2, 3, 4, 5, 6][:2*n]
    with pytest.raises(ValueError, match='^temperature must have one entry per prompt'):
        Sampler(temperature=[1.] * 5).spread(ids, mask, n)
    torch.manual_seed(5); before = torch.get_rng_state()
    assert Sampler(temperature=0).spread(ids, mask, n).seed is None
    assert torch.equal(before, torch.get_rng_state())
    assert Sampler().spread(ids, mask, n).seed.shape == (2 * n,)


def test_stack_is_each_alone():
    z = torch.randn(4, 3000, generator=torch.Generator().manual_seed(6)) * 3
    each = [Sampler(temperature=.5, top_k=5, seed=1), Sampler(top_p=.3, seed=2),
            Sampler(temperature=0, seed=3),
            Sampler(min_p=.2, seed=4, xtc_probability=.5, xtc_threshold=.05)]
    s = Sampler.stack(each)
    for position in range(3):
        want = [one(row, position=position).item() for one, row in zip(each, z)]
        assert s(z, position=position).tolist() == want
        for i, one in enumerate(each):
            # a row with XTC drops what its own sampler drops
            a = s.filter(z, position=position)[i] > -torch.inf
            assert torch.equal(a, one.filter(z[i], position=position) > -torch.inf)
    assert Sampler.stack([each[0]] * 2).top_k == 5
    dry = Sampler(dry_multiplier=1., dry_base=2)
    assert Sampler.stack([dry, Sampler()]).dry_base == 2


@pytest.mark.parametrize('name, other', [
    ('order', dict(order='mlx')),
    ('no_repeat_ngram_size', dict(no_repeat_ngram_size=2)),
    ('p_less', dict(p_less=True)), ('logit_bias', dict(logit_bias={1: 1.})),
    ('processors', dict(processors={'a': own})),
    ('dynamic_temperature', dict(dynamic_temperature=(.5, 2))),
    ('dry_base', dict(dry_multiplier=1., dry_base=2.)),
    ('adaptive', dict(adaptive=Mirostat2(3.))), ('top_k', dict(top_k=[1, 2])),
    ('seed', dict(seed=[1, 2]))])
def test_stack_names_what_differs(name, other):
    with pytest.raises(ValueError, match=f'^{name} must be'):
        Sampler.stack([Sampler(dry_multiplier=.5), Sampler(**other)])


@pytest.mark.parametrize('bad', [[], [None], [.8]])
def test_stack_takes_samplers(bad):
    with pytest.raises((TypeError, ValueError), match='^sampler'): Sampler.stack(bad)


def test_stacked_seeds():
    some = [Sampler(seed=1), Sampler()]
    torch.manual_seed(0); a = Sampler.stack(some).seed.tolist()
    torch.manual_seed(0); assert Sampler.stack(some).seed.tolist() == a
    assert a[0] == 1 and Sampler.stack(some[1:] * 2).seed is None
