"What is asked: knobs, seeds, room, and errors before any work"
import json

import pytest

import llm_sampling as ls
from llm_sampling.generation import generate
from llm_sampling.noise import row_seeds
from llm_sampling.request import ask
from llm_sampling.sampler import Sampler


def test_knob_entries_are_per_prompt_or_per_row(lm):
    prompts, T = ['Once', 'The king had'], [.3, 1., 1.5]
    kw = dict(n=3, seed=[1, 2], max_new_tokens=8)
    rows = generate(lm, prompts, Sampler(temperature=T * 2), **kw)
    for i, t in enumerate(T):  # row i of a prompt is sample i at its own temperature
        alone = generate(lm, prompts, Sampler(temperature=t), **kw)
        assert rows.texts[i::3] == alone.texts[i::3]
    assert generate(lm, prompts, Sampler(temperature=[.3, 1.]), **kw).texts == generate(
        lm, prompts, Sampler(temperature=[.3] * 3 + [1.] * 3), **kw).texts
    wrong = r'temperature must have one entry per prompt \(2\) or per row \(6\), not 3'
    with pytest.raises(ValueError, match=wrong):
        generate(lm, prompts, Sampler(temperature=T), **kw)
    with pytest.raises(
        ValueError,
        match=r'top_p must have one entry per prompt \(1\) or per row \(1\), not 2'):
        generate(lm, 'Once', Sampler(top_p=[.5, .9]))


@pytest.mark.parametrize('seed', [1.5, 'a', [1, 2, 3], 2**64])
def test_wrong_seed_is_refused_for_greedy_too(lm, seed):
    with pytest.raises((TypeError, ValueError), match='seed'):
        generate(lm, 'Once', seed=seed, max_new_tokens=1)


def test_errors_come_before_the_model_runs(lm, monkeypatch):
    "Whatever is wrong is said by its name, and nothing was evaluated"
    monkeypatch.setattr(type(lm), 'forward', lambda *a, **kw: pytest.fail('it ran'))
    for name, bad in dict(max_new_tokens=-1, n=0, stop=[''], eos_token_id=-5,
                          seed=1.5, sampler=3, prompt=7, lm='gpt2').items():
        given = dict(lm=lm, prompt='Once', sampler=None, max_new_tokens=3) | {name: bad}
        with pytest.raises((TypeError, ValueError), match=name): ask(**given)


def test_room_for_branches_is_the_last_token_less(lm):
    "Nobody asks what follows the last token: prompt + max_new_tokens - 1 fit"
    ids = [[7] * (lm.window - 9)]
    assert ask(lm, ids, max_new_tokens=10, branches=True).max_new_tokens == 10
    with pytest.raises(ValueError, match='window'):
        ask(lm, ids, max_new_tokens=11, branches=True)
    assert ask(lm, ids, max_new_tokens=11).max_new_tokens == 11


@pytest.mark.parametrize('seed', [None, 5, [5, 6]])
def test_seeds_of_a_request(lm, seed):
    "The sampler's where it has some, else the caller's, mixed with each prompt"
    asked = ask(lm, ['Once', 'The king'], max_new_tokens=3, n=2, seed=seed)
    if seed is None: assert len(set(asked.seeds().tolist())) == 4
    else:
        want = row_seeds(seed, asked.ids, asked.mask, 2)
        assert asked.seeds().tolist() == want.tolist()
        drawn = ask(lm, ['Once', 'The king'], Sampler(temperature=1.), max_new_tokens=3,
                    n=2, seed=seed)
        assert drawn.seeds().tolist() == want.tolist()


@pytest.mark.parametrize('search', [
    ls.generate, ls.contrastive_search, ls.beam_search, ls.stochastic_beam_search,
    lambda *a, **kw: ls.mcts_decode(*a, num_simulations=3, **kw),
    lambda *a, **kw: ls.dola(*a, dola_layers='low', **kw)])
def test_a_function_ends_texts(lm, search):
    "It is shown prompt and text, and every text ends where it first says so"
    asked = []
    def twelve(prompt, ids):
        asked.append(prompt)
        return sum(ids) % 12 == 0
    twelve.reason = 'dozen'
    prompts = ['Once upon a time', 'The king']
    out = search(lm, prompts, max_new_tokens=30, stop=[twelve, '#'], eos_token_id=())
    for ids, why, stop in zip(out.ids, out.finish_reasons, out.stops):
        sums = ids.cumsum(0) % 12 == 0
        assert not sums[:-1].any()
        assert (why, stop) == (('dozen', 'twelve') if sums[-1] else ('length', None))
    assert 'dozen' in out.finish_reasons
    known = [ids[mask].tolist() for ids, mask in zip(*lm.encode(prompts))]
    assert all(p in known for p in asked)
    json.dumps(out.to_dict(trace=True))


@pytest.mark.parametrize('stop', [7, [None], [''], [b'x'], {'a': 1}])
def test_what_is_no_stop(lm, stop):
    with pytest.raises(ValueError, match='stop must be a string, a function or a list'):
        ls.generate(lm, 'Once', stop=stop)
