"""Mirostat and adaptive-p against loops in float64, their published behaviour, and
versions in circulation that must fail"""
import math

import pytest
import torch
from checks import (any_filter, bad_rows_pass_through, kept, masked_tokens_do_not_count,
                    on_meta, probabilities, same, surprises,
                    what_is_no_logits_is_refused)
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import batches, rows

from llm_sampling.mirostat import AdaptiveP, Mirostat1, Mirostat2
from llm_sampling.noise import sample, uniform_noise
from llm_sampling.softmax import log_softmax

INF = math.inf


# --- Mirostat

states = st.floats(-4, 24, width=32)

@given(rows(), states)
def test_mirostat2_is_the_definition(z, mu):
    bits = surprises(z.tolist())
    assume(all(abs(b - mu) > 1e-4 for b in bits))
    limit = max(mu, min(bits) + 1e-4)
    out = Mirostat2(1.).filter(z, torch.tensor([mu, 1.]))
    assume(not any(min(bits) < b <= min(bits) + 2e-4 for b in bits))
    assert kept(out) == [b <= limit for b in bits]
    same(out[out > -INF], z[out > -INF], rtol=0, atol=0)
    # idempotent
    same(Mirostat2(1.).filter(out, torch.tensor([mu, 1.])), out, rtol=0, atol=0)

def rank_by_loop(row, mu, m=100):
    "The paper's k, in float64; None where the formula has no value"
    ranked = sorted((x for x in row if x > -INF), reverse=True)
    n, up, down = len(ranked), 0., 0.
    for i in range(min(m, n) - 1):
        t = math.log((i + 2) / (i + 1))
        up, down = up + t * (ranked[i] - ranked[i + 1]), down + t * t
    if n == 1 or up == 0: return None
    s = up / down
    eps = s - 1
    h = math.log(n) if abs(eps) < 1e-12 else (1 - n**-eps) / eps
    return math.exp(min(700, (mu * math.log(2) - math.log(h)) / s))

@given(rows(), states)
def test_mirostat1_is_the_papers_rank(z, mu):
    row = z.tolist()
    out = Mirostat1(1.).filter(z, torch.tensor([mu, 1.]))
    k = rank_by_loop(row, mu)
    if k is None: return same(out, z, rtol=0, atol=0)  # one token, or all equal
    assume(k > 1e6 or abs(k - round(k)) > 1e-5 * k)
    ranked = sorted(row, reverse=True)
    kth = ranked[min(max(int(min(k, 1e6)), 1), len(row)) - 1]
    assert kept(out) == [x > -INF and x >= kth for x in row]

def test_mirostat1_fits_a_long_row_by_its_first_hundred():
    g = torch.Generator().manual_seed(3)
    for _ in range(5):
        z = (torch.randn(3000, generator=g) * 3)
        k = rank_by_loop(z.tolist(), 9.)
        assert Mirostat1(1.).filter(z, torch.tensor([9., 1])).isfinite().sum() == int(k)

def test_mirostat1_on_uniform_and_harmonic_rows():
    flat = torch.zeros(300)
    for mu in (-5., 0, 5, 50):
        same(Mirostat1(1.).filter(flat, torch.tensor([mu, 1.])), flat)
    # s = 0 on the first hundred
    half = torch.cat([torch.zeros(150), torch.full((150,), -2.)])
    assert Mirostat1(1.).filter(half, torch.tensor([3., 1.])).isfinite().sum() == 150
    s = torch.arange(1, 1001).double().log().neg()  # s = 1: the sum becomes ln N
    k = 2**5 / math.log(1000)
    assert Mirostat1(1.).filter(s, torch.tensor([5., 1.])).isfinite().sum() == int(k)
    for row in (torch.tensor([3.]), torch.tensor([-INF, 3, -INF])):
        same(Mirostat1(1.).filter(row, torch.tensor([2., 1.])), row)

@given(rows(), st.floats(-1, 12, width=32), st.floats(-1, 12, width=32),
       st.sampled_from([Mirostat1, Mirostat2]))
def test_a_larger_mu_keeps_more(z, a, b, kind):
    few, many = (kind(1.).filter(z, torch.tensor([mu, 1.])) > -INF
                 for mu in sorted((a, b)))
    assert (many | ~few).all() and few.any()

@given(rows(), states, st.sampled_from(['original', 'kept']),
       st.sampled_from([Mirostat1, Mirostat2]), st.integers(0, 11))
def test_mirostat_update_is_the_definition(z, mu, surprise, kind, id):
    id %= len(z)
    m = kind(3., eta=.2, surprise=surprise)
    state = torch.tensor([mu, 2.5])  # its own tau counts, not the object's
    row = z.tolist()
    if surprise == 'kept': row = m.filter(z, state).tolist()
    want = mu - .2 * (surprises(row)[id] - 2.5) if row[id] > -INF else mu
    new = m.update(state, z, torch.tensor(id))
    same(new, [want, 2.5], rtol=1e-4, atol=1e-4)
    same(m.update(state, z, torch.tensor(-1)), state, rtol=0, atol=0)

def fresh_rows(t, n):
    "Fresh logits of 200 tokens, easy and hard in no order, the same for a row alone"
    # like Zipf's with this exponent, in any order
    spread = .4 + 1.2 * uniform_noise(torch.arange(n), t, 1, salt=7)
    return -spread * uniform_noise(torch.arange(n), t, 200, salt=8).log()

def steer(m, steps, n, many=fresh_rows, keep=slice(None)):
    "Ids, surprises under all tokens, states"
    state, ids, bits = m.init(n), [], []
    state, trace = state[keep], [state[keep]]
    for t in range(steps):
        z = many(t, n)[keep]
        ids.append(sample(m.filter(z, state), seed=torch.arange(n)[keep], position=t))
        bits.append(-log_softmax(z).gather(-1, ids[-1][:, None])[:, 0] / math.log(2))
        state = m.update(state, z, ids[-1])
        trace.append(state)
    return torch.stack(ids, 1), torch.stack(bits, 1), torch.stack(trace, 1)

@pytest.mark.some(1)
@pytest.mark.parametrize('kind', [Mirostat1, Mirostat2])
@pytest.mark.parametrize('surprise', ['original', 'kept'])
def test_mean_surprise_comes_to_the_target(kind, surprise):
    taus = torch.tensor([3.5, 4.25, 5.]).repeat_interleave(4)
    _, bits, trace = steer(kind(taus, .2, surprise), 300, 12)
    # no word about the logits
    fed_back = taus + (trace[:, 0, 0] - trace[:, -1, 0]) / (.2 * 300)
    assert ((fed_back.view(3, 4).mean(-1) - torch.tensor([3.5, 4.25, 5.])).abs()
            < .1).all()
    if surprise == 'original': same(bits.mean(-1), fed_back, rtol=0, atol=1e-3)
    else:
        assert (bits.mean(-1) > fed_back - 1e-3).all()
        assert (bits.mean(-1) - fed_back)[:4].min() > .2
    assert trace[:, :, 1].equal(taus[:, None].expand(-1, 301))

def test_nats_and_a_wrong_sign_are_caught():
    class Nats(Mirostat2):
        def update(self, state, z, ids):
            nats = -log_softmax(z).gather(-1, ids[:, None])[:, 0]
            return torch.stack([state[:, 0] - self.eta * (nats - state[:, 1]),
                                state[:, 1]], -1)
    class Away(Mirostat2):
        def update(self, state, z, ids):
            return 2 * state - super().update(state, z, ids)
    for kind in (Nats, Away):
        _, bits, _ = steer(kind(4.), 200, 8)
        assert abs(bits.mean() - 4) > .4
    _, bits, _ = steer(Mirostat2(4.), 200, 8)
    assert abs(bits.mean() - 4) < .15

METHODS = {'v1': Mirostat1([3, 4., 5], .3), 'v2': Mirostat2([3, 4., 5], .3),
           'kept': Mirostat2([3, 4., 5], .3, 'kept'),
           'adaptive': AdaptiveP([.05, .2, .01], .8)}

@pytest.mark.some(2)
@pytest.mark.parametrize('name', METHODS)
def test_rows_alone_and_reordered(name):
    "A row's tokens and states depend on its own logits, seed and target only"
    m = METHODS[name]
    ids, _, trace = steer(m, 25, 3)
    for keep in ([0], [1], [2, 0], [2, 2, 1]):
        one, _, states_ = steer(m, 25, 3, keep=torch.tensor(keep))
        assert one.equal(ids[keep])
        same(states_, trace[keep], rtol=0, atol=0)

@pytest.mark.parametrize('name', METHODS)
def test_state_is_copied_indexed_and_rolled_back(name):
    m = METHODS[name]
    ids, _, trace = steer(m, 12, 3)
    z = fresh_rows(12, 3)
    before = trace[:, -1].clone()
    forks = [m.update(trace[:, -1], z, torch.full((3,), i)) for i in (0, 50, 199)]
    same(trace[:, -1], before, rtol=0, atol=0)  # nothing was written into it
    again = m.update(before, z, torch.full((3,), 50))
    same(forks[1], again, rtol=0, atol=0)
    parents = torch.tensor([2, 0, 0, 1])
    same(m.update(before[parents], z[parents], torch.full((4,), 50)), again[parents],
         rtol=0, atol=0)
    accepted = torch.tensor([3, 7, 12])
    state = trace[torch.arange(3), accepted]
    for i, n in enumerate(accepted.tolist()):
        short = m.init(3)
        for t in range(n): short = m.update(short, fresh_rows(t, 3), ids[:, t])
        same(state[i], short[i], rtol=0, atol=0)

def test_state_of_row_zero_is_caught():
    class RowZero(Mirostat2):
        "One mu for all, moved by row 0, as text-generation-webui's"
        def filter(self, z, state):
            return super().filter(z, state[:1].expand(len(z), 2))
        def update(self, state, z, ids):
            return super().update(state, z, ids)[:1].expand(len(z), 2)
    taus = [3., 4, 5]
    a, b = (steer(RowZero(taus), 60, 3, keep=torch.tensor(k))[0]
            for k in ([0, 1, 2], [2]))
    assert not a[2:].equal(b)
    a, b = (steer(Mirostat2(taus), 60, 3, keep=torch.tensor(k))[0]
            for k in ([0, 1, 2], [2]))
    assert a[2:].equal(b)

def test_a_clone_that_forgets_is_caught():
    class Clumsy:
        def __init__(self, tau): self.tau, self.mu = tau, 2 * tau
        def clone(self):
            new, result = Clumsy(self.tau), self
            result.mu = self.mu
            return new
    old = Clumsy(3.)
    old.mu = 4.2
    assert old.clone().mu != old.mu
    state = torch.tensor([[4.2, 3.]])
    same(state.clone(), state)

@pytest.mark.parametrize('kind', [Mirostat1, Mirostat2])
def test_an_off_row_stays_as_it_is(kind):
    m = kind([None, 2., INF])
    z = torch.randn(3, 40, generator=torch.Generator().manual_seed(1))
    state = m.init(3)
    for t in range(3):
        out = m.filter(z, state)
        assert out[[0, 2]].equal(z[[0, 2]]) and not out[1].equal(z[1])
        state = m.update(state, z, torch.tensor([t, t, t]))
    assert kind(None).filter(z, kind(None).init(3)).equal(z)


# --- adaptive-p

@given(st.lists(rows(vocab=6), min_size=1, max_size=8), st.floats(0, 1, width=32),
       st.floats(0, .984375, width=32), st.data())
def test_adaptive_p_is_llama_cpps_loop(many, target, decay, data):
    a = AdaptiveP(target, decay)
    state, w, n = a.init(1)[0], target / (1 - decay), 1 / (1 - decay)
    for z in many:
        row = z.tolist()
        p = probabilities(row)
        aim = min(max(2 * target - w / n, 0), 1)
        far = [abs(x - aim) / .3 for x in p]
        want = [5 - 10 * d * d / (1 + d) if x > -INF else -INF
                for x, d in zip(row, far)]
        same(a.filter(z, state), want, rtol=1e-3, atol=1e-3)
        id = data.draw(st.sampled_from([i for i, x in enumerate(row) if x > -INF]))
        w, n = p[id] + decay * w, 1 + decay * n
        state = a.update(state, z, torch.tensor(id))
        assert math.isclose(state[0], w / n, rel_tol=1e-3, abs_tol=1e-4)

def test_adaptive_p_holds_the_mean_probability():
    """Where every step offers tokens on both sides of the target, their mean comes near
    it"""
    z = torch.tensor([.5, .25, .12, .06, .04, .03]).log().expand(16, 6)
    for target in (.15, .25, .35):
        a = AdaptiveP(target)
        state, means = a.init(16), []
        for t in range(150):
            state = a.update(state, z, sample(a.filter(z, state), seed=torch.arange(16),
                                              position=t))
            means.append(state[:, 0].mean())
        assert abs(torch.stack(means[50:]).mean() - target) < .05

def test_adaptive_p_off():
    z = torch.randn(3, 8, generator=torch.Generator().manual_seed(1))
    a = AdaptiveP([None, .3, -1])
    out = a.filter(z, a.init(3))
    assert out[[0, 2]].equal(z[[0, 2]]) and not out[1].equal(z[1])
    assert AdaptiveP(None).filter(z, AdaptiveP(None).init(3)).equal(z)
    state = torch.tensor([[.3, .3]]*3)
    for ids in ([-1, 3, 0],):
        same(AdaptiveP(.3).update(state, z.index_fill(1, torch.tensor([0]), -INF),
                                  torch.tensor(ids))[[0, 2]], state[[0, 2]])


# --- all of them

def with_state(m, numbers):
    return lambda z: m.filter(
        z, torch.tensor(numbers).to(z.device).expand(*z.shape[:-1], 2))

FILTERS = {'mirostat1': with_state(Mirostat1(1.), [5., 1]),
           'mirostat2': with_state(Mirostat2(1.), [2.3, 1]),
           'adaptive': with_state(AdaptiveP(.3), [.2, .3])}

@pytest.mark.some(2)
@pytest.mark.parametrize('name', FILTERS)
@settings(max_examples=25)
@given(z=batches())
def test_any_filter(name, z): any_filter(FILTERS[name], z)

@pytest.mark.parametrize('name', FILTERS)
def test_masked_tokens_do_not_count(name): masked_tokens_do_not_count(FILTERS[name])

@pytest.mark.parametrize('name', FILTERS)
def test_bad_rows_pass_through(name): bad_rows_pass_through(FILTERS[name])

@pytest.mark.parametrize('name', FILTERS)
def test_what_is_no_logits_is_refused(name): what_is_no_logits_is_refused(FILTERS[name])

@pytest.mark.parametrize('make',
                         [lambda: Mirostat1(2.), lambda: Mirostat2(2., surprise='kept'),
                          lambda: AdaptiveP(.2)])
def test_states_are_checked(make):
    m, z = make(), torch.zeros(3, 5)
    assert m.init(3).shape == (3, 2)
    assert m.init(3).dtype == torch.float32
    assert m.init(0).shape == (0, 2)
    on_meta(m.filter, z, m.init(3))
    on_meta(lambda state, z, ids: m.update(state, z, ids), m.init(3), z,
            torch.tensor([0, 1, -1]))
    for state in (None, m.init(2), m.init(3)[:, 0], 4.):
        with pytest.raises(ValueError, match='state'): m.filter(z, state)
        with pytest.raises(ValueError, match='state'):
            m.update(state, z, torch.zeros(3, dtype=torch.long))
    for ids in (torch.zeros(2, dtype=torch.long), torch.zeros(3),
                torch.zeros(3, 1, dtype=torch.long)):
        with pytest.raises((TypeError, ValueError), match='ids'):
            m.update(m.init(3), z, ids)
    for batch in (-1, 2., True, None, (2,)):
        with pytest.raises(ValueError, match='batch'): m.init(batch)
    assert 'eta=' in repr(m) or 'decay=' in repr(m)

@pytest.mark.parametrize('make',
                         [lambda: Mirostat1(-1.), lambda: Mirostat2('x'),
                          lambda: Mirostat2(math.nan), lambda: Mirostat2(2, eta=0),
                                  lambda: Mirostat2(2, eta=INF),
                          lambda: Mirostat2(2, eta=[.1]),
                          lambda: Mirostat2(2, surprise='both'),
                                  lambda: Mirostat2([1., 2]).init(3),
                          lambda: AdaptiveP(1.1), lambda: AdaptiveP(-.5),
                          lambda: AdaptiveP([.1, 2]),
                                  lambda: AdaptiveP(.3, decay=1),
                          lambda: AdaptiveP(.3, decay=None),
                          lambda: AdaptiveP(torch.tensor([.1, .2])).init(1)])
def test_knobs_are_checked(make):
    with pytest.raises((TypeError, ValueError)): make()


# --- the bundled model

@pytest.mark.long
@pytest.mark.parametrize('kind', [Mirostat1, Mirostat2])
def test_target_on_the_bundled_model(kind, lm):
    taus = torch.tensor([2., 3.]).repeat_interleave(6)
    m, eos = kind(taus, eta=.3), torch.tensor(lm.eos_token_ids)
    prompt, _ = lm.encode('Once upon a time there was a')
    new, cache, state, bits = prompt.expand(12, -1), None, m.init(12), []
    with torch.no_grad():
        for t in range(60):
            logits, cache = lm.forward(new, cache=cache, last_only=True)
            z = logits[:, -1].index_fill(1, eos, -INF)
            ids = sample(m.filter(z, state), seed=torch.arange(12), position=t)
            bits.append(-log_softmax(z).gather(-1, ids[:, None])[:, 0] / math.log(2))
            state, new = m.update(state, z, ids), ids[:, None]
    mean = torch.stack(bits, 1).mean(-1)
    same(mean, taus + (2 * taus - state[:, 0]) / (.3 * 60), rtol=0, atol=1e-3)
    low, high = mean.view(2, 6).mean(-1).tolist()
    assert abs(low - 2) < .3 and abs(high - 3) < .3 and high - low > .6
