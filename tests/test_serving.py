"What a request asks for is read whole or refused; a row gets what it would get alone"
import random

import pytest
import torch
from engine_stands import KNOBS, V, model

import llm_sampling as ls
from llm_sampling.serving import KEYS, Past, check_vocab, read_request, run_steps
from llm_sampling.steps import EXTRA, STEPS


@pytest.mark.parametrize('knobs, why', [
    (dict(top_q=1, x=2), "must name steps of llm_sampling, not 'top_q', 'x'"),
    (dict(temperature=.5), "not 'temperature'"), (dict(seed=1), "not 'seed'"),
    (dict(adaptive=ls.Mirostat2(3)), "not 'adaptive'"),
    (dict(processors={}), "not 'processors'"), ([1], 'must be a dict'),
    (dict(min_p=-1), 'min_p must be'), (dict(min_p=[.1, .2]), 'min_p must be one'),
    (dict(top_k=torch.tensor([3])), 'top_k must be one'),
    (dict(p_less=2), 'p_less must be'), (dict(order='vlm'), 'order must be'),
    (dict(order=['top_k'], min_p=.1), 'order must hold every step'),
    (dict(dry_multiplier=1, dry_breakers=['.']), 'by ids, not by'),
    (dict(ban_tokens=['a']), 'by ids, not by'),
    (dict(mirostat=3), 'mirostat must be 0, 1 or 2'),
    (dict(mirostat=True), 'mirostat must be 0, 1 or 2'),
    (dict(mirostat=2, mirostat_tau=-1), 'mirostat_tau must be'),
    (dict(mirostat_tau=1), 'mirostat must be 1 or 2'),
    (dict(mirostat=1, adaptive_target=.3), 'exclude each other'),
    (dict(adaptive_target=2), 'adaptive_target must be'),
    (dict(adaptive_decay=.5), 'adaptive_target must be given'),
    (dict(thinking_budget=3), 'thinking_start must be given'),
    (dict(thinking_start=3), 'thinking_budget must be given'),
    (dict(thinking_budget=-1, thinking_start=3, thinking_end=4), 'thinking_budget m'),
    (dict(thinking_budget=[1], thinking_start=3, thinking_end=4), 'thinking_budget m'),
    (dict(thinking_budget=1, thinking_start=3, thinking_end=3), 'thinking_end must'),
    (dict(loop_stop=2), 'loop_stop must'), (dict(loop_times=3), 'loop_stop must be T'),
    (dict(loop_stop=1), 'loop_end must be given'),
    (dict(loop_stop=1, loop_end=-1), 'loop_end must'),
    (dict(loop_stop=1, loop_end=3, loop_window=0), 'loop_window must')])
def test_wrong_knobs(knobs, why):
    with pytest.raises((TypeError, ValueError), match=why): read_request(knobs)


def test_every_step_has_a_key():
    assert {*STEPS, *EXTRA} - {*KEYS} == {'temperature', 'adaptive'}
    for knobs in KNOBS: assert {*knobs} <= {*KEYS}


def test_nothing_asked_is_no_request():
    for knobs in (None, {}, dict(min_p=None), dict(theirs=1)):
        assert read_request(knobs, others=['theirs']) is None


def test_what_is_read():
    r = read_request(dict(mirostat=1, min_p=.1, p_less=0, loop_stop=1), 1e-6, 5, {8, 4})
    assert r.sampler == ls.Sampler(min_p=.1, temperature=0, seed=5, order='vllm')
    assert (r.adaptive, r.end, r.budget) == (ls.Mirostat1(5), 4, None)
    assert read_request(dict(top_k=3), order := .5).sampler.temperature == order
    assert read_request(dict(top_k=3, order='llama.cpp')).sampler.order == 'llama.cpp'


@pytest.mark.parametrize('knobs', [
    dict(logit_bias={V: 1}), dict(ban_tokens=[[1, V]]),
    dict(thinking_budget=1, thinking_start=V, thinking_end=3),
    dict(loop_stop=1, loop_end=V)])
def test_ids_beyond_the_vocabulary(knobs):
    assert check_vocab(read_request(knobs), V + 1)
    with pytest.raises(ValueError, match=f'below {V}, not {V}'):
        check_vocab(read_request(knobs), V)


def batch(dice, n):
    "Requests with their texts, two drafts for some"
    rows, asked, texts = [], [], []
    for i in range(n):
        own = [dice.randrange(V) for _ in range(dice.randrange(3, 12))] + [0]
        knobs, heat = dice.choice(KNOBS), dice.choice([0, .6, 1., 1.7])
        r = read_request(knobs, heat, dice.randrange(99), {11})
        for extra in range(dice.randrange(1, 4)):
            asked.append(r)
            texts.append(own + [dice.randrange(V) for _ in range(extra)])
        rows.append(r)
    return asked, texts


def past_of(texts, prompt=2):
    def found(rows, reads, follows):
        mine = [texts[i] for i in rows]
        width = max(map(len, mine))
        ids = torch.tensor([[-1] * (width - len(t)) + t for t in mine])
        made = torch.tensor([len(t) - prompt for t in mine])
        return Past(ids if reads else None, made, torch.tensor([t[-1] for t in mine]),
                    [len(t) for t in mine] if follows else None)
    return found


@pytest.mark.parametrize('seed', range(5))
def test_a_row_alone_is_the_row_in_a_batch(seed):
    "To the last bit, except for memories, whose updates add in another order"
    asked, texts = batch(random.Random(seed), 16)
    z = torch.stack([model(t) for t in texts])
    given = z.clone()
    together = run_steps(z, asked, past_of(texts))
    assert torch.equal(z, given)
    for r in asked: r.past = {}
    for i, r in enumerate(asked):
        alone = run_steps(z[i:i+1], [r], past_of(texts[i:i+1]))[0]
        if r.adaptive: torch.testing.assert_close(alone, together[i])
        else: assert torch.equal(alone, together[i])


def test_kinds_join_what_can_be_joined():
    kind = lambda heat=1, seed=None, **knobs: read_request(knobs, heat, seed).kind
    assert kind(min_p=.1) == kind(min_p=.2, heat=.3)
    assert kind(mirostat=2, mirostat_tau=1) == kind(mirostat=2, mirostat_tau=2)
    assert kind(adaptive_target=.2) == kind(adaptive_target=.5)
    think = dict(thinking_start=1, thinking_end=2)
    assert kind(thinking_budget=1, **think) == kind(thinking_budget=9, **think)
    different = [kind(min_p=.1), kind(top_a=.1), kind(min_p=.1, top_a=.1),
                 kind(min_p=.1, order='mlx'), kind(min_p=.1, seed=1), kind(mirostat=2),
                 kind(mirostat=1), kind(mirostat=2, mirostat_eta=.2),
                 kind(no_repeat_ngram_size=2), kind(no_repeat_ngram_size=3),
                 kind(thinking_budget=1, **think), kind(loop_stop=1, loop_end=3),
                 kind(thinking_budget=1, thinking_start=1, thinking_end=3)]
    assert len({*different}) == len(different)


def test_what_a_grammar_forbids_stays_so_and_no_row_is_emptied():
    z = torch.stack([model([i]) for i in range(4)])
    z[:, 9] = z[:, 11] = -torch.inf
    think = read_request(dict(thinking_budget=1, thinking_start=0, thinking_end=9))
    loop = read_request(dict(loop_stop=1, loop_least=3), ends={11})
    bans = read_request(dict(ban_tokens=[[i] for i in range(V)]))
    aim = read_request(dict(adaptive_target=.5))
    texts = [[0, 1, 1, 1]] * 4
    out = run_steps(z, [think, loop, bans, aim], past_of(texts, 1))
    assert torch.equal(out[:3], z[:3])
    assert torch.equal(out[3] == -torch.inf, z[3] == -torch.inf)
    fine = run_steps(model([9])[None], [think], past_of(texts[:1], 1))
    assert (fine[0] > -torch.inf).nonzero().tolist() == [[9]]


def test_memories_let_go_of_old_rows():
    r = read_request(dict(mirostat=2))
    text = [1, 2]
    for _ in range(9):
        run_steps(model(text)[None], [r], past_of([text]))
        assert [*r.past] == [len(text)]
        text = text + [len(text)]


def test_a_step_that_came_to_nothing_is_done_again():
    r, text = read_request(dict(mirostat=2, mirostat_tau=1.)), [1, 2, 3]
    run_steps(model(text)[None], [r], past_of([text]))
    text = text + [4]
    once, again = (run_steps(model(text)[None], [r], past_of([text])) for _ in range(2))
    assert torch.equal(once, again)
