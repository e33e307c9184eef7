"""Group and constrained beams against numbers of transformers 4.55, stochastic beams
against enumeration"""
import json, math
from pathlib import Path

import pytest, torch
import transformers as tf
from checks import frequencies, same

from llm_sampling.beam import beam_search
from llm_sampling.beam_variants import (Words, constrained_beam_search,
                                        diverse_beam_search, stochastic_beam_search,
                                        truncated_gumbels)
from llm_sampling.models import LanguageModel
from llm_sampling.table_model import TableModel
from llm_sampling.sampler import Sampler
from llm_sampling.token_tree import TokenTree

CASES = json.loads(
    (Path(__file__).parent / 'data' / 'beam_variants.json').read_text())['cases']
GROUPS, FORCED = ([c for c in CASES if key in c]
                  for key in ('num_beam_groups', 'force_words_ids'))


def filled(family, seed):
    "A tiny model whose weights do not depend on a library's initialisation"
    kw = dict(vocab_size=40, bos_token_id=None, eos_token_id=None, pad_token_id=None,
              tie_word_embeddings=False)
    if family == 'llama':
        model = tf.LlamaForCausalLM(tf.LlamaConfig(hidden_size=32, num_hidden_layers=2,
                                                   num_attention_heads=2,
                                                   intermediate_size=64,
                                                   max_position_embeddings=128, **kw))
    else:
        model = tf.GPT2LMHeadModel(tf.GPT2Config(n_embd=32, n_layer=2, n_head=2,
                                                 n_positions=128, **kw))
    for i, (name, p) in enumerate(sorted(model.named_parameters())):
        noise = torch.randn(p.shape, generator=torch.Generator().manual_seed(
            1000 * seed + i)) * (.5 if 'lm_head' in name else .3)
        with torch.no_grad():
            p.copy_(noise if p.ndim > 1
                    else torch.full_like(p, float(name.endswith('weight'))))
    return LanguageModel(model.eval())


@pytest.fixture(scope='module')
def tinies(): return {(f, s): filled(f, s) for f in ('llama', 'gpt2') for s in (0, 1)}


def search(f, c, lm, **more):
    names = ('num_beams', 'num_beam_groups', 'diversity_penalty', 'force_words_ids',
             'max_new_tokens', 'length_penalty',
             'early_stopping', 'num_return_sequences')
    rows = more.pop('rows', c['prompts'])
    return f(lm, [torch.tensor(p) for p in rows], eos_token_id=tuple(c['eos']),
             **{k: c[k] for k in names if k in c}, **more)


def agree(out, c, want):
    "Ids and scores of transformers, which writes the first end-of-text for any"
    ids = [i.tolist() for i in out.ids]
    assert [i[:-1] + [c['eos'][0] if i[-1] in c['eos'] else i[-1]]
            for i in ids] == want['ids']
    assert out.scores == pytest.approx(want['scores'], abs=1e-4, rel=1e-6)


def group_sampler(c):
    return Sampler(logit_bias={1: -torch.inf},
                   repetition_penalty=c.get('repetition_penalty'))


def test_reference_cases_say_something():
    ends = lambda cs: sum(i[-1] in c['eos'] for c in cs if c['expected']
                          for i in c['expected']['ids'])
    total = lambda cs: sum(len(c['expected']['ids']) for c in cs if c['expected'])
    assert len(GROUPS) == len(FORCED) == 70
    assert ends(GROUPS) > .1 * total(GROUPS) and ends(FORCED) > .1 * total(FORCED)
    # as it is, without corrections
    assert sum('transformers_4_55' not in c for c in GROUPS) == 69
    assert sum('transformers_4_55' not in c for c in FORCED) == 41
    single = [c for c in FORCED if c['expected']
              and not any(isinstance(w[0], list) for w in c['force_words_ids'])]
    assert len(single) >= 20 and not any('transformers_4_55' in c for c in single)


@pytest.mark.parametrize('n', range(70))
def test_groups_are_transformers(n, tinies):
    c = GROUPS[n]
    agree(search(diverse_beam_search, c, tinies[c['family'], c['seed']],
                 sampler=group_sampler(c)), c, c['expected'])


@pytest.mark.parametrize('n', range(70))
def test_constraints_are_transformers(n, tinies):
    c, words = FORCED[n], FORCED[n]['force_words_ids']
    lm = tinies[c['family'], c['seed']]
    if c['expected'] is None:  # fewer texts have all words than were asked for
        with pytest.raises(ValueError, match='num_return_sequences is'):
            search(constrained_beam_search, c, lm)
        return
    out = search(constrained_beam_search, c, lm)
    agree(out, c, c['expected'])
    for i in out.ids:
        text = ' '.join(map(str, [-1, *i.tolist(), -1]))
        for w in words:
            assert any(' ' + ' '.join(map(str, p)) + ' ' in text
                       for p in (w if isinstance(w[0], list) else [w]))


def test_rows_alone(tinies, lists):
    for f, cases in ((diverse_beam_search, GROUPS), (constrained_beam_search, FORCED)):
        for c in [c for c in cases if len(c['prompts']) > 1 and c['expected']][:12]:
            lm, n = tinies[c['family'], c['seed']], c['num_return_sequences']
            more = dict(sampler=group_sampler(c)) if f is diverse_beam_search else {}
            whole = search(f, c, lm, **more)
            for row, prompt in enumerate(c['prompts']):
                alone = search(f, c, lm, rows=[prompt], **more)
                assert lists(alone.ids) == lists(whole.ids[row*n:row*n+n])
                assert alone.scores == pytest.approx(whole.scores[row*n:row*n+n],
                                                     abs=1e-4)


def test_stochastic_rows_alone_and_nested(tinies):
    """A row draws the same alone, and fewer beams are the beginning of more; over 20
    tokens nodes are pruned twice"""
    rows = [torch.tensor(p) for p in ([3, 4, 5, 6], [9], [11, 12])]
    for lm in tinies.values():
        for eos in ((), tuple(range(2, 6))):
            out = stochastic_beam_search(lm, rows, num_beams=5, max_new_tokens=20,
                                         seed=torch.tensor([1, 2, 3]), eos_token_id=eos)
            texts = [tuple(i.tolist()) for i in out.ids]
            for r in range(3):
                assert len(set(texts[5*r:5*r+5])) == 5
                assert out.scores[5*r:5*r+5] == sorted(out.scores[5*r:5*r+5],
                                                       reverse=True)
                for K in (1, 3):
                    alone = stochastic_beam_search(lm, rows[r:r+1], num_beams=K,
                                                   max_new_tokens=20, seed=r + 1,
                                                   eos_token_id=eos)
                    assert [tuple(i.tolist()) for i in alone.ids] == texts[5*r:5*r+K]
            assert all(t not in eos for i in texts for t in i[:-1])


@pytest.mark.parametrize('groups', [1, 3])
def test_one_group_or_no_penalty_is_beam_search(groups, tinies, lists):
    rows = [torch.tensor(p) for p in ([3, 4, 5, 6], [9])]
    for lm in tinies.values():
        for early in (True, False, 'never'):
            kw = dict(max_new_tokens=8, eos_token_id=(2, 3, 4, 5), early_stopping=early)
            beam = beam_search(lm, rows, num_beams=4, num_return_sequences=4, **kw)
            ours = diverse_beam_search(lm, rows, num_beams=4 * groups,
                                       num_beam_groups=groups, diversity_penalty=0.,
                                       num_return_sequences=4 * groups, **kw)
            want = [i.tolist() for i in beam.ids for _ in range(groups)]
            assert lists(ours.ids) == want
            # equal nodes once
            assert ours.stats['tokens_evaluated'] == beam.stats['tokens_evaluated']


VARIANTS = {'diverse': lambda lm, rows, n, **kw: diverse_beam_search(
    lm, rows, num_beams=6, num_beam_groups=3, diversity_penalty=.3, max_new_tokens=n,
    num_return_sequences=6, **kw),
            'constrained': lambda lm, rows, n, **kw: constrained_beam_search(
                lm, rows, force_words_ids=[[30, 31], [[7], [8, 9]]], num_beams=6,
                max_new_tokens=n, **kw),
            'stochastic': lambda lm, rows, n, **kw: stochastic_beam_search(
                lm, rows, max_new_tokens=n, seed=[5 + len(r) for r in rows], **kw)}


@pytest.mark.parametrize('name', VARIANTS)
@pytest.mark.parametrize('eos', [(), (2, 3, 4, 5)])
def test_each_token_is_evaluated_once(name, eos, tinies, monkeypatch):
    """Every distinct beginning that was asked for, and the prompts: also after nodes
    were forgotten, and for the final measures"""
    asked, columns, extend = set(), [], TokenTree.extend
    def recorded(self, parents, tokens):
        for row, pairs in enumerate(zip(parents.tolist(), tokens.tolist())):
            asked.update((row, *self.path(row, p), t) for p, t in zip(*pairs) if t >= 0)
        columns.append(self.columns)
        return extend(self, parents, tokens)
    monkeypatch.setattr(TokenTree, 'extend', recorded)
    rows = [torch.tensor(p) for p in ([3, 4, 5, 6], [9])]
    for lm in tinies.values():
        TokenTree(lm, rows)  # the first tree of a model tries out what the model can do
        asked.clear()
        out = VARIANTS[name](lm, rows, 20, eos_token_id=eos)
        assert out.stats['tokens_evaluated'] == 5 + len(asked) and len(asked) > 2 * 10
    assert any(b < a for a, b in zip(columns, columns[1:])), 'nothing was forgotten'


@pytest.mark.parametrize('name', VARIANTS)
def test_bfloat16_and_a_family_without_a_tree(name, lists, tiny):
    """Half precision, and a model whose branches are rows of their own: a row alone as
    in the batch, the raw model's laws"""
    rows = [torch.tensor(p) for p in ([3, 4, 5, 6], [9], [11, 12])]
    half, bloom = tiny('llama'), tiny('bloom')
    half.model.bfloat16()
    assert half.model.dtype == torch.bfloat16
    assert TokenTree(bloom, rows).backend == 'rows'
    for lm, near in ((bloom, 1e-4), (half, .15)):
        out = VARIANTS[name](lm, rows, 6, eos_token_id=())
        n = len(out) // 3
        for i, (text, logprobs) in enumerate(zip(out.ids, out.logprobs)):
            z, _ = lm.forward(torch.cat([rows[i // n], text])[None])
            same(logprobs,
                 z[0, -7:-1].float().log_softmax(-1).gather(1, text[:, None])[:, 0],
                 atol=near, rtol=0)
            if name == 'constrained':
                said = text.tolist()
                assert (30, 31) in zip(said, said[1:])
                assert (7 in said or (8, 9) in zip(said, said[1:]))
        assert all(s >= t for i in range(3)
                   for s, t in zip(out.scores[n*i:], out.scores[n*i+1:n*i+n]))
        if lm is bloom:
            for i in range(3):
                alone = VARIANTS[name](lm, rows[i:i+1], 6, eos_token_id=())
                assert lists(alone.ids) == lists(out.ids[n*i:n*i+n])


def test_scores_are_sums(tinies):
    lm = tinies['llama', 0]
    out = constrained_beam_search(lm, [[5, 6]], force_words_ids=[[30], [21, 22]],
                                  max_new_tokens=8, length_penalty=.5, eos_token_id=())
    assert out.scores[0] == pytest.approx(out.logprobs[0].sum().item() / 8**.5,
                                          abs=1e-4)
    out = diverse_beam_search(lm, [[5, 6]], diversity_penalty=.7, max_new_tokens=8,
                              num_return_sequences=2, length_penalty=0.,
                              eos_token_id=())
    paid = [(l.sum().item() - s) / .7 for l, s in zip(out.logprobs, out.scores)]
    assert paid == pytest.approx([round(p) for p in paid], abs=1e-3)
    assert min(paid) > -1e-3


def test_filters_hold(tinies):
    lm = tinies['gpt2', 0]
    s = Sampler(logit_bias={i: -torch.inf for i in range(20)})
    for out in (diverse_beam_search(lm, [[5]], max_new_tokens=6, num_return_sequences=4,
                                    sampler=s, eos_token_id=()),
                constrained_beam_search(lm, [[5]], force_words_ids=[[30, 31]],
                                        max_new_tokens=6, sampler=s, eos_token_id=()),
                stochastic_beam_search(lm, [[5]], max_new_tokens=6, sampler=s, seed=0,
                                       eos_token_id=())):
        assert all((i >= 20).all() for i in out.ids)
    with pytest.raises(ValueError, match='num_return_sequences'):
        constrained_beam_search(lm, [[5]], force_words_ids=[[3]], max_new_tokens=6,
                                sampler=s, eos_token_id=())


def test_words_are_substrings():
    "The state of a text is what a search of the whole text finds, whatever overlaps"
    import random
    dice = random.Random(0)
    for _ in range(300):
        sets = [[tuple(dice.randrange(3) for _ in range(dice.randint(1, 4)))
                 for _ in range(dice.randint(1, 2))] for _ in range(dice.randint(1, 3))]
        words, text, state = Words(sets), [], Words.start
        for _ in range(10):
            before = words.bank(state), state
            text.append(dice.randrange(3)); state = words.add(state, text[-1])
            seen = {i for i, s in enumerate(sets) if any(
                tuple(text[j:j+len(p)]) == p for p in s for j in range(len(text)))}
            assert state[0] == seen
            if not words.complete(state):
                for t in words.needed(state):
                    assert words.bank(words.add(state, t)) > words.bank(state)


def test_overlaps_and_repeats(tinies):
    for lm in tinies.values():
        for words, steps in (([[30, 30, 31]], 3), ([[30, 31], [31, 32]], 3),
                             ([[30], [30, 31, 30]], 3), ([[[30], [30, 31]]], 1),
                             ([[33], [33]], 1)):
            out = constrained_beam_search(lm, [[5, 33, 30]], force_words_ids=words,
                                          num_beams=5, max_new_tokens=steps,
                                          eos_token_id=())
            state = Words.start
            w = Words([[tuple(p) for p in (x if isinstance(x[0], list) else [x])]
                       for x in words])
            for t in out.ids[0].tolist(): state = w.add(state, t)
            assert w.complete(state)


def test_the_first_is_a_draw_and_the_second_from_the_rest():
    p, n = torch.tensor([.5, .3, .15, .05]), 3000
    lm = LanguageModel(TableModel({(): p}))
    out = stochastic_beam_search(lm, [[0]] * n, num_beams=2, max_new_tokens=1,
                                 seed=torch.arange(n))
    pairs = torch.stack(out.ids).view(n, 2)
    frequencies(pairs[:, 0], p)
    for first in (0, 1):
        rest = p.clone(); rest[first] = 0
        frequencies(pairs[pairs[:, 0] == first, 1], rest / rest.sum())


@pytest.mark.parametrize('K', [1, 3, 5])
def test_inclusion_probabilities(K):
    "All draws without replacement from the nine texts of two steps, enumerated"
    laws = {(): [.25, .45, .3], (1,): [.5, .2, .3], (2,): [.05, .9, .05]}
    probs = {(0,): .25} | {(a, b): laws[()][a] * laws[a,][b] for a in (1, 2)
                           for b in range(3)}
    def include(left, k, chance, out):
        for y, p in left.items():
            c = chance * p / sum(left.values())
            out[y] = out.get(y, 0) + c
            if k > 1: include({x: q for x, q in left.items() if x != y}, k - 1, c, out)
        return out
    want, n = include(probs, K, 1., {}), 3000
    assert sum(want.values()) == pytest.approx(K)
    out = stochastic_beam_search(LanguageModel(TableModel(laws, eos_token_id=0)),
                                 [[0]] * n, num_beams=K, max_new_tokens=2,
                                 seed=torch.arange(5000, 5000 + n))
    drawn = [tuple(i.tolist()) for i in out.ids]
    for y, q in want.items():
        assert abs(drawn.count(y) / n - q) < 4.5 * math.sqrt(q * (1 - q) / n) + 1e-9
    assert all(len(set(drawn[i*K:i*K+K])) == K for i in range(n))


def test_truncated_gumbels():
    g = torch.Generator().manual_seed(0)
    free = torch.randn(50, 9, generator=g).double() * 5
    top = torch.randn(50, generator=g).double()
    got = truncated_gumbels(free, top)
    same(got.amax(-1), top)
    assert (got.argsort(-1) == free.argsort(-1)).all()
    same(torch.exp(-got), torch.exp(-top)[:, None]
         - torch.exp(-free.amax(-1, keepdim=True)) + torch.exp(-free))
    got = truncated_gumbels(torch.tensor([1., -1e4, -torch.inf]), torch.tensor(3.))
    assert got[0] == 3 and got[1].isfinite() and got[2] == -torch.inf


def test_stops(tinies, lm):
    for f, more in ((diverse_beam_search, {}), (stochastic_beam_search, dict(seed=3))):
        plain = f(lm, 'Once upon a time there', max_new_tokens=12, eos_token_id=(),
                  **more)
        word = plain.texts[0][5:8]
        out = f(lm, 'Once upon a time there', max_new_tokens=12, eos_token_id=(),
                stop=word, **more)
        assert all(word not in t for t in out.texts)


def test_forced_words_and_stops(lm):
    """A stop string ends a text also if a forced token completes it, but not before all
    words are there"""
    for words, stop in (([' castle', ' gold'], ' castle'), ([' gold'], ' gold'),
                        ([' castle', [' gold', ' silver']], ' the')):
        try:
            out = constrained_beam_search(
                lm, 'Once upon a time there', force_words_ids=words, num_beams=6,
                max_new_tokens=12, stop=stop, num_return_sequences=1)
        except ValueError: continue
        said = lm.decode(out.ids[0])
        assert all(any(w in said for w in ([x] if isinstance(x, str) else x))
                   for x in words)
        assert stop not in out.texts[0] and stop not in lm.decode(out.ids[0][:-1])


@pytest.mark.parametrize('call,message', [
    (lambda lm: diverse_beam_search(lm, [[3]], num_beam_groups=3),
     'num_beam_groups must be a divisor of num_beams, 4, not 3'),
    (lambda lm: diverse_beam_search(lm, [[3]], num_beam_groups=0), 'num_beam_groups'),
    (lambda lm: diverse_beam_search(lm, [[3]], num_beams=2, num_beam_groups=4),
     'num_beam_groups'),
    (lambda lm: diverse_beam_search(lm, [[3]], diversity_penalty=-.1),
     'diversity_penalty must be'),
    (lambda lm: diverse_beam_search(lm, [[3]], diversity_penalty=math.nan),
     'diversity_penalty must be'),
    (lambda lm: diverse_beam_search(lm, [[3]], diversity_penalty=10**400),
     'diversity_penalty must be a number from 0 to 1e.30'),
    (lambda lm: diverse_beam_search(lm, [[3]], num_beams=2**64, num_beam_groups=2**64),
     'num_beams must be at most'),
    (lambda lm: stochastic_beam_search(lm, [[3]], num_beams=2**64),
     'num_beams must be at most'),
    (lambda lm: diverse_beam_search(lm, [[3]], num_beams=0, num_beam_groups=1),
     'num_beams'),
    (lambda lm: diverse_beam_search(lm, [[3]], num_return_sequences=5),
     'num_return_sequences'),
    (lambda lm: diverse_beam_search(lm, [[3]], max_new_tokens=200), 'window'),
    (lambda lm: constrained_beam_search(lm, [[3]], force_words_ids=[]),
     'force_words_ids'),
    (lambda lm: constrained_beam_search(lm, [[3]], force_words_ids=[[]]),
     'force_words_ids'),
    (lambda lm: constrained_beam_search(lm, [[3]], force_words_ids=[[[]]]),
     'force_words_ids'),
    (lambda lm: constrained_beam_search(lm, [[3]], force_words_ids=[[40]]),
     'force_words_ids'),
    (lambda lm: constrained_beam_search(lm, [[3]], force_words_ids=[3]),
     'force_words_ids'),
    (lambda lm: constrained_beam_search(lm, [[3]], force_words_ids=['king']),
     'tokenizer'),
    (lambda lm: constrained_beam_search(lm, [[3]], force_words_ids=[[7, 8]],
                                        eos_token_id=7), 'force_words_ids'),
    (lambda lm: constrained_beam_search(lm, [[3]], force_words_ids=[
        [7, 8, 9]], max_new_tokens=2), 'more than max_new_tokens = 2'),
    (lambda lm: stochastic_beam_search(lm, [[3]], num_beams=0), 'num_beams'),
    (lambda lm: stochastic_beam_search(lm, [[3]], num_beams=41, max_new_tokens=1,
                                       seed=0), 'only 40 texts'),
])
def test_bad_input(call, message, tinies):
    with pytest.raises(ValueError, match=message): call(tinies['llama', 0])


def test_more_beams_than_words():
    lm = LanguageModel(TableModel({(): [.5, .3, .2]}))
    assert len(stochastic_beam_search(lm, [[0]], num_beams=9, max_new_tokens=2,
                                      seed=0)) == 9
    assert len(diverse_beam_search(lm, [[0]], num_beams=12, num_beam_groups=3,
                                   max_new_tokens=3, num_return_sequences=12,
                                   eos_token_id=())) == 12
    out = constrained_beam_search(lm, [[0]], force_words_ids=[[2]],
                                  num_beams=9, max_new_tokens=3, num_return_sequences=5,
                                  eos_token_id=())
    assert all(2 in i for i in out.ids)
