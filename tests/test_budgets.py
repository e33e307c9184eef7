"Texts that turn in a circle are ended, no others; blocks are closed in time"
import itertools
import random

import pytest
import torch

import llm_sampling as ls
from llm_sampling.budgets import block_at_end, cusum, open_for


def block_by_brute_force(ids, times, least, longest):
    "The shortest period of a long enough tail"
    for p in range(1, longest + 1):
        need = max(times * p, least)
        if times * p > len(ids) or need > len(ids): continue
        tail = ids[len(ids)-need:]
        if all(tail[i] == tail[i-p] for i in range(p, need)): return p
    return 0


@pytest.mark.parametrize('times, least, longest', [(2, 1, 9), (3, 5, 4), (3, 12, 64)])
def test_blocks(times, least, longest):
    dice, found = random.Random(1), 0
    for _ in range(3000):
        ids = [dice.randrange(2) for _ in range(dice.randrange(20))]
        ids += dice.choice([[], [1], [0, 1], [1, 0, 0]]) * dice.randrange(6)
        want = block_by_brute_force(ids, times, least, longest)
        assert block_at_end(ids, times, least, longest) == want, ids
        found += want > 0
    assert 50 < found < 2950


def test_cusum_is_its_definition():
    dice = random.Random(2)
    for n, allowed in itertools.product((1, 2, 4), (0, .25, .5)):
        ids = [dice.randrange(3) for _ in range(40)]
        grams, s = [tuple(ids[t-n+1:t+1]) for t in range(n - 1, 40)], 0
        got = cusum(ids, n, allowed)
        assert got[:n-1] == [0] * (n - 1)
        for t, gram in enumerate(grams):
            s = max(0, s + (gram in grams[:t]) - allowed)
            assert got[t+n-1] == pytest.approx(s)


def test_a_loop_ends_with_its_reason_alone_and_in_a_batch(lm):
    starts = ['There was once an old man who', 'The king had three sons', 'She']
    stop = ls.LoopStop()
    out = ls.generate(lm, starts, max_new_tokens=90, stop=stop)
    assert out.finish_reasons[:2] == ['loop', 'loop'] and out.stops[0] == 'LoopStop'
    for text, ids, why in zip(starts, out.ids, out.finish_reasons):
        alone = ls.generate(lm, text, max_new_tokens=90, stop=ls.LoopStop())
        assert alone.ids[0].tolist() == ids.tolist() and alone.finish_reasons == [why]
        ends = [t for t in range(len(ids) + 1) if stop([], ids.tolist()[:t])]
        assert ends == [len(ids)] * (why == 'loop')      # at once, and not before


def test_a_prompt_that_repeats_is_no_loop(lm):
    "Only what was written counts"
    prompt = torch.tensor([[50, 60] * 20])
    out = ls.generate(lm, prompt, max_new_tokens=1, stop=ls.LoopStop())
    assert out.finish_reasons == ['length']


def test_either_guard_can_be_off():
    loop, drift = [1, 2] * 10, [1, 2, 3, 4, 9, 1, 2, 3, 4, 8] * 9
    assert ls.LoopStop(limit=None)([], loop) and not ls.LoopStop(times=None)([], loop)
    assert ls.LoopStop(times=None, limit=3)([], drift)
    assert not ls.LoopStop(times=None, limit=None)([], loop)
    assert not ls.LoopStop()([], [])
    far = [1, 2] * 10 + list(range(100, 200))
    assert not ls.LoopStop(times=None, limit=3, window=50)([], far)


@pytest.mark.parametrize('knobs', [
    dict(times=1), dict(times=2.5), dict(least=0), dict(longest=0), dict(n=0),
    dict(allowed=1.5), dict(limit=0), dict(limit='x'), dict(window=0)])
def test_bad_guards_are_named(knobs):
    [name] = knobs
    with pytest.raises(ValueError, match=f'{name} must be'): ls.LoopStop(**knobs)


# --- a budget ---

def test_open_blocks_by_a_loop():
    g = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 5, (200, 9), generator=g)
    for row, got in zip(ids.tolist(), open_for(ids, 1, 2).tolist()):
        spent = -1
        for i in row:
            if i == 1: spent = 0
            elif i == 2: spent = -1
            elif spent >= 0: spent += 1
        assert got == spent, row


def blocks_of(ids, start, end):
    "Lengths of the blocks of a row, the last one -length if it stays open"
    found, n = [], None
    for i in ids:
        if i == start: n = 0
        elif i == end:
            if n is not None: found.append(n)
            n = None
        elif n is not None: n += 1
    return found + ([-n] if n is not None else [])


@pytest.mark.parametrize('budget', [0, 3])
def test_no_block_is_longer(budget, tiny):
    lm = tiny('llama')
    s = ls.Sampler(temperature=2, seed=4,
                   processors={'b': ls.ThinkingBudget(7, 8, budget)})
    for prompt in ([[5, 7]], [[5, 7, 6]], [[7, 8, 5]]):
        out = ls.generate(lm, prompt, s, n=20, max_new_tokens=20, eos_token_id=())
        for row in out.ids:
            lengths = blocks_of(prompt[0] + row.tolist(), 7, 8)
            assert all(abs(n) <= max(budget, len(prompt[0]) - 2) for n in lengths)


def test_a_soft_end_waits_until_it_is_likely():
    step = ls.ThinkingBudget(1, 2, 9, soft=2, top=2)
    ids = torch.tensor([[1, 5, 5], [1, 5, 5], [5, 1, 5], [5, 5, 5]])
    z = torch.tensor([[0., 1, 5, 6], [7., 1, 5, 6], [0., 1, 9, 6], [0., 1, 9, 6]])
    out = step(ids, z)
    assert out[0].isfinite().tolist() == [False, False, True, False]   # second
    assert out[1].equal(z[1])              # third: not likely enough
    assert out[2].equal(z[2])              # too early
    assert out[3].equal(z[3])              # no block
    assert z[0].isfinite().all()           # the caller's logits stay


def test_a_budget_per_row_follows_its_rows(tiny):
    lm = tiny('llama')
    prompts = [[5, 7], [6, 7], [9, 7]]
    def text(budgets, rows):
        step = ls.ThinkingBudget(7, 8, budgets)
        s = ls.Sampler(temperature=0, processors={'b': step})
        out = ls.generate(lm, rows, s, max_new_tokens=6, eos_token_id=[11])
        return [i.tolist() for i in out.ids]
    together = text([1, 4, 0], prompts)
    assert together == [text(b, [p])[0] for b, p in zip([1, 4, 0], prompts)]
    assert [row.index(8) for row in together] == [1, 4, 0]
    beams = ls.beam_search(lm, prompts[:1], num_beams=3, max_new_tokens=4,
                           sampler=ls.Sampler(processors={
                               'b': ls.ThinkingBudget(7, 8, [2])}))
    assert beams.ids[0].tolist().index(8) == 2


def test_no_host_sync():
    meta = torch.zeros(2, 9, device='meta')
    for soft in (None, 1): ls.ThinkingBudget(1, 2, [3, 4], soft=soft)(meta.long(), meta)


@pytest.mark.parametrize('knobs, said', [
    (dict(start=-1), 'start must be'), (dict(end=3), 'end must be another id'),
    (dict(end='x'), 'end must be'), (dict(budget=-1), 'budget must be >= 0'),
    (dict(budget=[2, -1]), 'budget must be >= 0'), (dict(budget=1.5), 'budget'),
    (dict(soft=-1), 'soft must be'), (dict(top=0), 'top must be')])
def test_bad_budgets_are_named(knobs, said):
    with pytest.raises((TypeError, ValueError), match=said):
        ls.ThinkingBudget(**dict(start=3, end=4, budget=2) | knobs)
