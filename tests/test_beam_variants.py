"What holds for diverse, constrained and stochastic beams alike"
import pytest, torch
from beam_cases import FORCED, GROUPS, VARIANTS, group_sampler, search, tiny_models
from checks import same

from llm_sampling.constrained import constrained_beam_search
from llm_sampling.diverse import diverse_beam_search
from llm_sampling.models import LanguageModel
from llm_sampling.table_model import TableModel
from llm_sampling.sampler import Sampler
from llm_sampling.stochastic import stochastic_beam_search
from llm_sampling.token_tree import TokenTree


@pytest.fixture(scope='module')
def tinies(): return tiny_models()


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


@pytest.mark.long
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


@pytest.mark.some(2)
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


@pytest.mark.some(1)
@pytest.mark.parametrize('name', VARIANTS)
def test_bfloat16_and_a_family_without_a_tree(name, lists, tiny):
    """Half precision, and a model whose branches are rows of their own: a row alone as
    in the batch, the raw model's distributions"""
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


def test_stops(tinies, lm):
    for f, more in ((diverse_beam_search, {}), (stochastic_beam_search, dict(seed=3))):
        plain = f(lm, 'Once upon a time there', max_new_tokens=12, eos_token_id=(),
                  **more)
        word = plain.texts[0][5:8]
        out = f(lm, 'Once upon a time there', max_new_tokens=12, eos_token_id=(),
                stop=word, **more)
        assert all(word not in t for t in out.texts)


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
