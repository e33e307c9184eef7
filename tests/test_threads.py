"""Four threads on one model: every strategy writes what it writes alone, and nothing it
does to the model is seen by another call. The threads meet inside their forward
passes, so that what one of them leaves on the model for a while meets all the
others."""
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest, torch

import llm_sampling as ls
from llm_sampling import backends
from llm_sampling.rows import Branches
from llm_sampling.token_tree import TokenTree

THREADS, MEETINGS = 4, 6
run = dict(max_new_tokens=6, eos_token_id=())
STRATEGIES = dict(
    generate=lambda lm, ids, seed: ls.generate(lm, ids, ls.Sampler(seed=seed), **run),
    samples=lambda lm, ids, seed: ls.generate(lm, ids, ls.Sampler(seed=seed), n=3,
                                              **run),
    beams=lambda lm, ids, seed: ls.beam_search(lm, ids, num_beams=2 + seed, **run),
    diverse=lambda lm, ids, seed: ls.diverse_beam_search(
        lm, ids, num_beams=2 * (1 + seed), num_beam_groups=2, **run),
    constrained=lambda lm, ids, seed: ls.constrained_beam_search(
        lm, ids, force_words_ids=[[7 + seed]], num_beams=3, **run),
    stochastic=lambda lm, ids, seed: ls.stochastic_beam_search(
        lm, ids, num_beams=2 + seed, seed=seed, **run),
    contrastive_search=lambda lm, ids, seed: ls.contrastive_search(
        lm, ids, top_k=3 + seed, **run),
    contrastive_decoding=lambda lm, ids, seed: ls.contrastive_decoding(
        lm, lm, ids, amateur_context=1, **run),
    dola=lambda lm, ids, seed: ls.dola(lm, ids,
                                       dola_layers=[[0], [1], [0, 1]][seed % 3], **run),
    guided=lambda lm, ids, seed: ls.guided(lm, ids, [[5 + seed, 9]], guidance_scale=2.,
                                           **run),
    mcts=lambda lm, ids, seed: ls.mcts_decode(lm, ids, num_simulations=6,
                                              sampler=ls.Sampler(), seed=seed,
                         **run | dict(max_new_tokens=3)),
    best_of_n=lambda lm, ids, seed: ls.best_of_n(lm, ids, 3, seed=seed, **run),
)


@pytest.fixture
def rows():
    g = torch.Generator().manual_seed(2)
    return [torch.randint(1, 60, (1, n), generator=g) for n in (3, 9, 5, 12)]


def meet(lm):
    "Let threads wait for each other in the middle of each one's first passes"
    barrier, passes = threading.Barrier(THREADS), threading.local()
    def wait(*_):
        assert hooks(lm.model) == 1  # this one: nothing else can be seen during a pass
        passes.count = getattr(passes, 'count', 0) + 1
        if passes.count <= MEETINGS: barrier.wait(timeout=20)
    stack(lm.model)[1].register_forward_pre_hook(wait)
    return barrier


def together(barrier, jobs):
    "What jobs return that begin at once, each in a thread of its own"
    def one(job):
        try: return job()
        except BaseException:
            barrier.abort(); raise  # let nobody wait for a job that has failed
    with ThreadPoolExecutor(THREADS) as pool:
        return [f.result() for f in [pool.submit(one, job) for job in jobs]]


def stack(model):
    return next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList))
def said(out): return [i.tolist() for i in out.ids], out.scores
def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks)
               for m in model.modules())


@pytest.mark.some(3)
@pytest.mark.parametrize('name', STRATEGIES)
def test_four_threads_write_what_each_writes_alone(name, rows, monkeypatch, tiny):
    monkeypatch.setattr(Branches, 'least', 0)  # samples stay on a tree, however short
    lm, f = tiny('llama'), STRATEGIES[name]
    alone = [said(f(lm, ids, i)) for i, ids in enumerate(rows)]
    assert len({str(a) for a in alone}) == THREADS
    barrier, state = meet(lm), lm.model.state_dict()
    found = together(barrier, [lambda i=i, ids=ids: said(f(lm, ids, i))
                               for i, ids in enumerate(rows)])
    assert found == alone and hooks(lm.model) == 1
    assert all(x.data_ptr() == state[n].data_ptr()
               for n, x in lm.model.state_dict().items())


@pytest.mark.some(2)
@pytest.mark.parametrize('family', ['gpt2', 'mistral', 'bloom', 'mamba'])
def test_states_of_other_families(family, rows, tiny):
    """Contrastive search and DoLa look inside the model: on a tree, with rows, without
    cache"""
    for f in (STRATEGIES['contrastive_search'], STRATEGIES['dola']):
        lm = tiny(family)
        alone = [said(f(lm, ids, i)) for i, ids in enumerate(rows)]
        assert together(meet(lm), [lambda i=i, ids=ids: said(f(lm, ids, i))
                                   for i, ids in enumerate(rows)]) == alone


def greedy(lm, ids):
    "The model's own `generate`"
    out = lm.model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False,
                            max_new_tokens=6, eos_token_id=None, pad_token_id=0)
    return out[0, ids.shape[1]:].tolist()


@pytest.mark.parametrize('name', ['dola', 'contrastive_search'])
def test_generate_beside_it_is_undisturbed(name, rows, tiny):
    lm, f = tiny('llama'), STRATEGIES[name]
    jobs = [lambda: said(f(lm, rows[0], 0)), lambda: greedy(lm, rows[1]),
            lambda: said(ls.generate(lm, rows[2], **run)),
            lambda: said(f(lm, rows[3], 3))]
    alone = [job() for job in jobs]
    assert together(meet(lm), jobs) == alone


def test_the_check_of_a_model_is_made_once(rows, monkeypatch, tiny):
    checks, exact = [], backends._is_exact
    monkeypatch.setattr(backends, '_is_exact',
                        lambda *args: checks.append(args) or exact(*args))
    lm, barrier = tiny('llama'), threading.Barrier(THREADS)
    def grow(ids):
        barrier.wait(timeout=20)
        tree = TokenTree(lm, ids)
        return tree.backend, tree.logits(tree.extend(torch.tensor([[-1]]),
                                                     torch.tensor([[7]])))
    for (backend, z), ids in zip(
        together(barrier, [lambda ids=ids: grow(ids) for ids in rows]), rows):
        assert backend == 'tree'
        torch.testing.assert_close(z[:, 0], lm.next_logits(
            torch.cat([ids, torch.tensor([[7]])], 1)), atol=1e-4, rtol=1e-4)
    assert len(checks) == 1


@pytest.mark.parametrize('error', [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize('name', STRATEGIES)
def test_no_hook_stays_after_an_error(name, error, rows, monkeypatch, tiny):
    lm, f = tiny('llama'), STRATEGIES[name]
    want, passes, layer = said(f(lm, rows[1], 1)), [], stack(lm.model)[1]
    forward = layer.forward
    def fail(*args, **kw):
        passes.append(1)
        if len(passes) == 3: raise error('in a layer')
        return forward(*args, **kw)
    monkeypatch.setattr(layer, 'forward', fail)
    with pytest.raises(error, match='in a layer'): f(lm, rows[1], 1)
    assert hooks(lm.model) == 0 and said(f(lm, rows[1], 1)) == want
