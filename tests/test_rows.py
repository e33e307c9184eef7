"Rows past the window, and rows that share a prompt"
import pytest, torch

from llm_sampling.generation import Policy, generate, run_whole, write_rows
from llm_sampling.request import ask
from llm_sampling.rows import Branches, Rows
from llm_sampling.sampler import Sampler


@pytest.fixture(scope='module')
def rows(rows): return [*rows, torch.tensor([10, 4, 22, 21, 38])]


@pytest.mark.some(1)
@pytest.mark.parametrize('family', ['gpt2', 'llama', 'qwen3', 'mamba'])
def test_window_restarts_are_uncached_ones(family, rows, lists, tiny):
    """Rows reach the window at different steps, some drop out, and a model without
    cache must agree"""
    lm, plain = tiny(family), tiny(family)
    lm.window = plain.window = 12
    plain.cached = False
    kw = dict(sampler=Sampler(temperature=1., seed=5), n=2, max_new_tokens=40)
    ends = [i[19].item() for i in generate(plain, rows[:1], eos_token_id=(), **kw).ids]
    a, b = (generate(m, rows, eos_token_id=ends, **kw) for m in (lm, plain))
    assert lists(a.ids) == lists(b.ids)
    assert len({len(i) for i in a.ids}) > 1 and max(len(i) for i in a.ids) > 12
    for i, row in enumerate(rows):
        alone = generate(lm, [row], eos_token_id=ends, **kw)
        assert lists(alone.ids) == lists(a.ids[2*i:2*i+2])


@pytest.mark.some(3)
@pytest.mark.parametrize('least', [0, 1, 2**40])
@pytest.mark.parametrize('family', ['gpt2', 'llama', 'mistral', 'bloom'])
def test_samples_share_their_prompt(family, least, rows, monkeypatch, tiny):
    """Branches of a tree, or rows of their own, or first the one and then the other:
    each sample is what it is alone"""
    monkeypatch.setattr(Branches, 'least', least)
    lm, left = tiny(family), []
    lm.window = 30
    leave = Branches._leave
    monkeypatch.setattr(Branches, '_leave',
                        lambda self: (left.append(len(self.live)), leave(self)))
    kw = dict(max_new_tokens=30, eos_token_id=[0, 7])
    s = Sampler(temperature=[1., .7, 1.3, 2.], top_p=.9, seed=5, repetition_penalty=1.1)
    together = generate(lm, rows, s, n=5, **kw)
    for i, row in enumerate(rows):
        one = Sampler(temperature=s.temperature[i].item(), top_p=.9, seed=5,
                      repetition_penalty=1.1)
        asked = ask(lm, [row], one, n=5, **kw)
        alone = run_whole(write_rows(asked, Rows(lm, asked.ids, asked.mask),
                                     Policy(asked.sampler)))
        for j in range(5):
            assert alone.ids[j].tolist() == together.ids[5*i+j].tolist()
            torch.testing.assert_close(alone.logprobs[j], together.logprobs[5*i+j],
                                       atol=1e-3, rtol=1e-3)
    assert (together.stats['tokens_evaluated']
            >= sum(map(len, rows)) + sum(len(i) - 1 for i in together.ids))
    assert len({len(i) for i in together.ids}) > 1
    if family == 'bloom': assert not left  # no masked tree, so it was never one
    else:
        # at the window, when rows had ended; or before the first step
        assert left and (left[0] < 20 if least < 2 else left[0] == 20)


def test_a_crowded_tree_is_left(rows, monkeypatch, lists, tiny):
    """Forty short samples of a short prompt: after some steps most columns of the tree
    are none of a row's business"""
    monkeypatch.setattr(Branches, 'least', 0)
    lm, widths = tiny('llama'), []
    leave = Branches._leave
    monkeypatch.setattr(Branches, '_leave',
                        lambda self: (widths.append(self.tree.columns), leave(self)))
    kw = dict(max_new_tokens=12, eos_token_id=())
    out = generate(lm, [rows[0]], Sampler(seed=1), n=40, **kw)
    assert widths == [80]  # 3 + 80 columns against 16 * 5 tokens
    monkeypatch.setattr(Branches, 'least', 2**40)
    assert (lists(out.ids)
            == lists(generate(lm, [rows[0]], Sampler(seed=1), n=40, **kw).ids))


def test_rows_that_leave_a_tree_are_only_as_long_as_they_are(rows, monkeypatch, lists,
                                                             tiny):
    """The samples of the longer prompt end soon; those of the shorter then have no use
    for a tree, nor for its columns"""
    monkeypatch.setattr(Branches, 'least', 1)
    lm = tiny('gpt2')
    for seed in range(30):      # the ends must not occur elsewhere
        kw = dict(sampler=Sampler(seed=seed), max_new_tokens=8, n=2)
        eos = [i[2].item() for i in generate(lm, [rows[1]], eos_token_id=(), **kw).ids]
        out = generate(lm, rows[:2], eos_token_id=eos, **kw)
        if [len(i) for i in out.ids] == [8, 8, 3, 3]: break
    else: pytest.fail('no seed gives such samples')
    alone = generate(lm, [rows[0]], eos_token_id=eos, **kw)
    assert lists(out.ids[:2]) == lists(alone.ids)


def test_branches_hold_their_prompt_once(lm):
    "Sixteen samples of 241 tokens: a tenth of the bytes of rows, and as many tokens"
    ids, mask = lm.encode([list(range(1, 242))])
    both = [kind(lm, ids, mask) for kind in (Rows, Branches)]
    for some in both:
        some.read()
        some.select([0] * 16)
        for _ in range(10): some.grow(torch.arange(5, 21))
    assert [some.evaluated for some in both] == [401, 401]
    assert both[1].tree and both[0].peak_bytes > 9.5 * both[1].peak_bytes


def test_rows_stay_within_the_window(rows, tiny):
    "However long they grow: what they see, and what the cache holds"
    lm = tiny('llama')
    lm.window = 12
    some = Rows(lm, *lm.encode([row[:12] for row in rows]))
    some.read()
    for _ in range(40): some.grow(torch.arange(1, 1 + len(rows)))
    assert max(some.lengths) < 12 and some.cache.get_seq_length() <= 12
    assert some.ids.shape[1] > 50
    # six steps from one to the next
    assert all(4 < some.restarts[i] < 9 for i in range(len(rows)))
