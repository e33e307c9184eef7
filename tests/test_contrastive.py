"""Contrastive search against transformers 4.55.4, a plain loop without cache, rows
alone, ties, filters and refusals"""
import json, math, random
from pathlib import Path

import pytest, torch
import transformers as tf
from checks import same
from torch.nn.functional import cosine_similarity

import llm_sampling as ls
from llm_sampling.beam import best_first
from llm_sampling.contrastive import Siblings, contrastive_scores, contrastive_search
from llm_sampling.generation import generate
from llm_sampling.models import LanguageModel
from llm_sampling.table_model import TableModel
from llm_sampling.sampler import Sampler
from tiny_models import FAMILIES

tf.logging.set_verbosity_error()
REFERENCE = json.loads(
    (Path(__file__).parent / 'data' / 'contrastive.json').read_text())


@pytest.fixture(scope='module')
def named(tiny):
    """The models of the reference: each weight is drawn from a seed made of its name,
    so that every version of transformers has them"""
    models = {}
    for family in REFERENCE['checksums']:
        model = tiny(family).model
        with torch.no_grad():
            for name, p in model.named_parameters():
                noise = torch.randn(p.shape, generator=torch.Generator().manual_seed(
                    sum(name.encode())))
                p.copy_(noise * .2 + (p.ndim == 1 and name.endswith('weight')))
        models[family] = LanguageModel(model)
    return models



def read(model, ids):
    "Distribution and states of one row, without cache"
    with torch.no_grad(): out = model(torch.tensor([ids]), output_hidden_states=True)
    return out.logits[0, -1].float(), out.hidden_states[-1][0].float()


def plainly(lm, ids, k, alpha, steps, eos=(), sampler=None, window=2**30):
    """The method in words: tokens, and the sum of their scores. Each candidate is a
    text of its own, read from its beginning"""
    ids = ids.tolist()
    said = []
    total = 0
    state = None if sampler is None else sampler.init(1)
    seen = ids
    for t in range(steps):
        if len(seen) >= window and said: seen = seen[-(window // 2):]
        logits, states = read(lm.model, seen)
        if len(seen) == window:  # the prompt fills it: room for the candidates
            seen = seen[-(window // 2 - 1):]
            states = read(lm.model, seen)[1]
        past = torch.tensor([ids]), None, t
        z = logits if sampler is None else sampler.filter(logits[None], *past, state)[0]
        order = sorted((i for i in range(len(z)) if z[i] > -math.inf),
                       key=lambda i: (-z[i].item(), i))[:k]
        scores = []
        for i in order:
            own = read(lm.model, seen + [i])[1][-1]
            scores.append((1 - alpha) * z.softmax(-1)[i] - alpha
                          * cosine_similarity(own, states, dim=-1).max())
        best = max(range(len(order)), key=lambda j: scores[j])
        if state is not None:
            state = sampler.update(state, logits[None], torch.tensor([order[best]]),
                                   *past)
        total += scores[best].item()
        ids = ids + [order[best]]
        seen = seen + [order[best]]
        said = said + [order[best]]
        if said[-1] in eos: break
    return said, total


def said(out): return [i.tolist() for i in out.ids]


def test_models_are_the_references(named):
    for family, number in REFERENCE['checksums'].items():
        with torch.no_grad(): z = named[family].model(torch.arange(1, 13)[None]).logits
        assert z.double().abs().sum().item() == pytest.approx(number, rel=1e-6)


@pytest.mark.some(1)
@pytest.mark.parametrize('part', range(4))
def test_tokens_are_transformers(named, part):
    """A fourth of 96 random cases, many of them left-padded batches, and many with ends
    that occur"""
    stopped = padded = chosen = 0
    cases = REFERENCE['cases'][part::4]
    for case in cases:
        kw = {name: case[name] for name in ('top_k', 'penalty_alpha', 'max_new_tokens')}
        out = contrastive_search(named[case['family']], case['prompts'], **kw,
                                 eos_token_id=case['eos'])
        assert said(out) == case['ids']
        assert out.finish_reasons == ['stop' if i[-1] in case['eos'] else 'length'
                                      for i in case['ids']]
        greedy = generate(named[case['family']],
                          case['prompts'], max_new_tokens=case['max_new_tokens'],
                          eos_token_id=case['eos'])
        stopped += 'stop' in out.finish_reasons
        padded += len(set(map(len, case['prompts']))) > 1
        chosen += said(greedy) != said(out)
    assert len(cases) >= 15
    assert stopped > 4
    assert padded > 4
    assert chosen > 11


@pytest.mark.some(2)
@pytest.mark.parametrize('family',
                         ['llama', 'gpt2', 'mistral', 'gemma2', 'bloom', 'mamba'])
def test_tokens_are_those_of_a_plain_loop(family, prompts, tiny):
    "Cached is uncached; bloom and mamba take a row for each candidate"
    lm, dice = tiny(family), random.Random(0)
    for _ in range(4):
        ids = prompts(dice, [dice.randint(1, 9)])
        k = dice.randint(2, 8)
        alpha = dice.choice([.3, .6, .9, 1.])
        steps = dice.randint(1, 12)
        out = contrastive_search(lm, ids, top_k=k, penalty_alpha=alpha,
                                 max_new_tokens=steps, eos_token_id=())
        (want, score) = plainly(lm, ids[0], k, alpha, steps)
        assert said(out) == [want] and out.scores == pytest.approx([score], abs=1e-3)


@pytest.mark.some(1)
@pytest.mark.parametrize('family', ['llama', 'gpt2', 'mistral', 'bloom', 'mamba'])
def test_row_is_row_alone(family, prompts, tiny):
    lm, dice = tiny(family), random.Random(1)
    rows, kw = prompts(dice, [2, 9, 5, 1]), dict(top_k=5, max_new_tokens=14)
    free = said(contrastive_search(lm, rows, eos_token_id=(), **kw))
    eos = (free[0][3], free[2][9])
    for more in (dict(), dict(penalty_alpha=[0., .3, .6, 1.]),
                 dict(sampler=Sampler(temperature=[.5, 1., 2., 1.],
                                      repetition_penalty=1.3, xtc_probability=.5),
                      seed=[3, 4, 5, 6])):
        batch = contrastive_search(lm, rows, eos_token_id=eos, **kw, **more)
        assert more or 'stop' in batch.finish_reasons
        for i, row in enumerate(rows):
            one = {n: v.rows(torch.tensor([i])) if n == 'sampler' else v[i]
                   for n, v in more.items()}
            alone = contrastive_search(lm, [row], eos_token_id=eos, **kw, **one)
            assert said(alone) == said(batch)[i:i+1]
            assert alone.finish_reasons == batch.finish_reasons[i:i+1]
            assert alone.scores == pytest.approx(batch.scores[i:i+1], abs=1e-4)
            same(alone.logprobs[0], batch.logprobs[i], rtol=1e-3, atol=1e-4)


def test_pads_are_no_context(monkeypatch, prompts, tiny):
    "Neither the ids under the pads nor the model's states there matter, not even nan"
    lm, (row,) = tiny('llama'), prompts(random.Random(2), [5])
    want = said(contrastive_search(lm, [row], max_new_tokens=10))
    mask = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1]])
    for pad in (0, 7, 59):
        ids = torch.cat([torch.full((3,), pad), row])[None]
        assert said(contrastive_search(lm, ids, attention_mask=mask,
                                       max_new_tokens=10)) == want
    body = lm.model.get_decoder().forward
    def spoilt(*args, **kw):
        out = body(*args, **kw)
        if out[0].shape[1] == 8: out.last_hidden_state[:, :3] = math.nan
        return out
    monkeypatch.setattr(lm.model.get_decoder(), 'forward', spoilt)
    assert (said(contrastive_search(lm, ids, attention_mask=mask, max_new_tokens=10))
            == want)


@pytest.mark.long
def test_one_candidate_or_no_penalty_is_greedy(lm):
    rows = ['Once upon a time', 'The king had three sons, and the youngest']
    want = generate(lm, rows, max_new_tokens=20)
    for kw in (dict(top_k=1), dict(top_k=1, penalty_alpha=1.), dict(penalty_alpha=0),
               dict(top_k=9, penalty_alpha=0.), dict(sampler=Sampler(temperature=0))):
        out = contrastive_search(lm, rows, max_new_tokens=20, **kw)
        assert said(out) == said(want) and out.texts == want.texts
    assert contrastive_search(lm, rows, max_new_tokens=20).texts != want.texts


def test_scores_by_hand():
    "Two rows, two candidates, three tokens of context, states in the plane"
    unit = lambda *degrees: torch.tensor(
        [[math.cos(math.radians(d)), math.sin(math.radians(d))] for d in degrees])
    context = torch.stack([unit(0, 90, 180), unit(0, 10, 20)])
    states = torch.stack([unit(60, 270), unit(80, 20)])
    got = contrastive_scores(torch.tensor([[.5, .3], [.5, .3]]), states, context,
                             torch.tensor([[.6], [.5]]))
    same(got,
         [[.4*.5 - .6*math.sqrt(3)/2, .4*.3 - .6*0], [.5*.5 - .5*.5, .5*.3 - .5*1]])


def test_candidates_are_sorted():
    g = torch.Generator().manual_seed(0)
    for _ in range(50):
        z = torch.randint(0, 4, (3, 9), generator=g).float()
        z[torch.rand(3, 9, generator=g) < .2] = -math.inf
        for k in (1, 4, 9):
            assert best_first(z, k)[1].tolist() == [
                sorted(range(9), key=lambda i: (-row[i], i))[:k] for row in z.tolist()]


def test_ties_take_the_lowest_ids(prompts, tiny):
    """All distributions uniform: the candidates are tokens 0 to 2, whose states decide;
    and with equal scores the first wins"""
    lm = tiny('llama')
    with torch.no_grad(): lm.model.lm_head.weight.zero_()
    ids = prompts(random.Random(0), [4])
    out = contrastive_search(lm, ids, top_k=3, max_new_tokens=12, eos_token_id=())
    assert set(said(out)[0]) <= {0, 1, 2} and len(set(said(out)[0])) > 1
    assert said(out) == [plainly(lm, ids[0], 3, .6, 12)[0]]
    assert said(contrastive_search(lm, ids, penalty_alpha=0, max_new_tokens=5,
                                   eos_token_id=())) == [[0] * 5]
    with torch.no_grad():
        lm.model.get_input_embeddings().weight[:] = 1.
        # states of one number that is not 0: every cosine is exactly 1
        lm.model.model.norm.weight[1:] = 0.
    assert (said(contrastive_search(lm, ids, max_new_tokens=5, eos_token_id=()))
            == [[0] * 5])


def test_near_ties_keep_the_order_of_the_logits():
    """Two logits that give one probability in float32 are still told apart, as greedy
    tells them apart"""
    z = torch.tensor([[0., 1e-9, -5.]])
    assert z.softmax(-1)[0, 0] == z.softmax(-1)[0, 1]
    assert best_first(z, 2)[1].tolist() == [[1, 0]]


@pytest.mark.some(1)
@pytest.mark.parametrize('sampler', [dict(repetition_penalty=1.5), dict(temperature=2.),
                                     dict(top_p=.3), dict(no_repeat_ngram_size=2),
                                     dict(presence_penalty=1.,
                                          logit_bias={3: -math.inf}),
                                     dict(adaptive=ls.Mirostat2(3., .3),
                                          temperature=1.5)])
def test_filters_come_first(sampler, prompts, tiny):
    """The distribution of the candidates is what the sampler leaves, history and state
    included"""
    dice, sampler, moved = random.Random(3), Sampler(**sampler), 0
    for lm in (tiny('llama'), tiny('gpt2')):
        ids = prompts(dice, [6])
        out = contrastive_search(lm, ids, top_k=4, penalty_alpha=.5, max_new_tokens=12,
                                 sampler=sampler, eos_token_id=())
        assert said(out) == [plainly(lm, ids[0], 4, .5, 12, sampler=sampler)[0]]
        moved += said(out) != said(contrastive_search(
            lm, ids, top_k=4, penalty_alpha=.5, max_new_tokens=12, eos_token_id=()))
        # measured by the raw model
        state = lm.forward(
            torch.cat([ids[0], out.ids[0]])[None])[0][0, 5:-1].log_softmax(-1)
        same(out.logprobs[0], state.gather(1, out.ids[0][:, None])[:, 0], rtol=1e-3,
             atol=1e-4)
    assert moved


def test_a_banned_token_never_comes_back(prompts, tiny):
    """Two tokens are left and five candidates wanted: the other three are none, however
    new they would be"""
    lm = tiny('llama')
    ban = Sampler(logit_bias={i: -math.inf for i in range(2, 60)})
    for alpha in (.6, 1.):
        out = contrastive_search(lm, prompts(random.Random(4), [6, 3]), top_k=5,
                                 penalty_alpha=alpha, max_new_tokens=12, sampler=ban,
                                 eos_token_id=())
        assert {t for row in said(out) for t in row} <= {0, 1}
        assert out.stats['tokens_evaluated'] == 9 + 2 * 2 * 12
    with pytest.raises(ValueError, match='row 0'):
        contrastive_search(
            lm, [[5, 6]], sampler=Sampler(logit_bias={i: -math.inf for i in range(60)}))


def test_a_law_that_is_none_names_its_row(tiny):
    lm, rows = tiny('llama'), [[5, 6, 7], [8, 9]]
    contrastive_search(lm, rows, max_new_tokens=1)
    with torch.no_grad(): lm.model.get_input_embeddings().weight[9] = math.nan
    with pytest.raises(ValueError, match='row 1: its largest logit is nan'):
        contrastive_search(lm, rows)


def test_cost(prompts, tiny):
    "A pass for each token, k tokens in each; a row that has ended costs nothing"
    lm, rows = tiny('llama'), prompts(random.Random(6), [4, 7])
    out = contrastive_search(lm, rows, top_k=3, max_new_tokens=10, eos_token_id=())
    assert (out.stats['forward_passes'],
            out.stats['tokens_evaluated']) == (11, 11 + 2 * 3 * 10)
    eos = next(t for t in said(out)[1][2:] if t not in said(out)[0])
    out = contrastive_search(lm, rows, top_k=3, max_new_tokens=10, eos_token_id=eos)
    short, long = sorted(map(len, said(out)))
    assert short < long == 10
    assert out.stats['tokens_evaluated'] == 11 + 3 * (short + long)
    assert out.ids[1][-1] == eos
    assert out.stats['peak_cache_bytes'] >= (7 + 10) * 2 * 32 * 4 * (4 + 1)
    assert out.stats['seconds'] > 0


def test_dead_candidates_leave_the_cache(prompts, tiny):
    kept = []
    lm = tiny('llama')
    class Watched(Siblings):
        def attempt(self, tokens):
            kept.append(self.tree.columns)
            return super().attempt(tokens)
    import llm_sampling.contrastive as module
    before, module.Siblings = module.Siblings, Watched
    try:
        contrastive_search(lm, prompts(random.Random(7), [3]), top_k=8,
                           max_new_tokens=40, eos_token_id=())
    finally: module.Siblings = before
    assert len(kept) == 40 and max(kept) <= 40 + 8 * 8


def test_scores_and_trace(prompts, tiny):
    lm, rows = tiny('gpt2'), prompts(random.Random(8), [5, 8])
    out = contrastive_search(lm, rows, top_k=4, penalty_alpha=.6, max_new_tokens=9,
                             eos_token_id=())
    for row, ids, logprobs, score, trace in zip(rows, out.ids, out.logprobs, out.scores,
                                                out.trace):
        want = lm.forward(torch.cat([row, ids])[None])[0][0, len(row)-1:-1].log_softmax(
            -1).gather(1, ids[:, None])[:, 0]
        same(logprobs, want, rtol=1e-3, atol=1e-4)
        assert score == pytest.approx(plainly(lm, row, 4, .6, 9)[1], abs=1e-3)
        assert [s.id for s in trace] == ids.tolist()
        assert all(1 <= s.rank <= 4 for s in trace)
    assert any(s.rank > 1 for s in out.trace[0])


def test_ends_and_stop_strings(lm):
    text, kw = 'The king had three sons, and the youngest', dict(max_new_tokens=30)
    full = contrastive_search(lm, text, eos_token_id=(), **kw)
    said_, eos = full.texts[0], full.ids[0][9].item()
    out = contrastive_search(lm, [text, 'Once'], stop=[said_[20:24], 'zzz'],
                             eos_token_id=(), **kw)
    assert out.texts[0] == said_[:said_.index(said_[20:24])]
    assert out.finish_reasons == ['stop', 'length']
    assert lm.decode(out.ids[0]).startswith(out.texts[0])
    out = contrastive_search(lm, text, eos_token_id=eos, **kw)
    assert out.ids[0][-1] == eos
    assert eos not in out.ids[0][:-1]
    assert out.finish_reasons == ['stop']
    assert said_.startswith(out.texts[0])
    assert len(out.texts[0]) < len(lm.decode(out.ids[0]))
    none = contrastive_search(lm, [text, text], max_new_tokens=0)
    assert said(none) == [[], []]
    assert none.texts == ['', '']
    assert none.scores == [0, 0]
    assert none.stats['forward_passes'] == 0


@pytest.mark.long
def test_stream_is_search(lm, tiny):
    rows = ['Once upon a time', 'When the prince awoke']
    kw = dict(max_new_tokens=24, top_k=5, stop='ing')
    pieces = []
    streamed = contrastive_search(lm, rows, streamer=pieces.append, **kw)
    out = contrastive_search(lm, rows, **kw)
    assert said(streamed) == said(out)
    assert streamed.scores == out.scores
    assert len(pieces) > 20
    for i, text in enumerate(out.texts):
        assert ''.join(p.text for p in pieces if p.row == i) == text
        assert [t for p in pieces if p.row == i for t in p.ids] == out.ids[i].tolist()
    nameless = tiny('llama')
    pieces.clear()
    assert contrastive_search(nameless, [[5, 6]], max_new_tokens=3,
                              streamer=pieces.append).texts is None
    assert [(p.text, len(p.ids)) for p in pieces] == [('', 1)] * 3


def test_small_vocabularies():
    model = tf.LlamaForCausalLM(
        tf.LlamaConfig(**FAMILIES['llama'][1] | dict(vocab_size=3)))
    out = contrastive_search(LanguageModel(model), [[1, 2], [2]], top_k=50,
                             max_new_tokens=5, eos_token_id=())
    assert out.stats['tokens_evaluated'] == 3 + 2 * 3 * 5
    model = tf.LlamaForCausalLM(
        tf.LlamaConfig(**FAMILIES['llama'][1] | dict(vocab_size=1)))
    assert said(contrastive_search(LanguageModel(model), [[0]], max_new_tokens=3,
                                   eos_token_id=())) == [[0] * 3]


def test_bfloat16(prompts, tiny):
    """Each choice is the best one by a plain loop's scores, up to the precision of
    bfloat16"""
    lm = LanguageModel(tiny('llama').model.bfloat16())
    ids = prompts(random.Random(9), [5])
    out = contrastive_search(lm, ids, top_k=5, penalty_alpha=.6, max_new_tokens=15,
                             eos_token_id=())
    context = ids[0].tolist()
    for token in said(out)[0]:
        logits, states = read(lm.model, context)
        scores = {i: .4 * logits.softmax(-1)[i] - .6 * cosine_similarity(
            read(lm.model, context + [i])[1][-1], states, dim=-1).max()
                  # bfloat16 may change the order of a few
                  for i in logits.topk(8).indices.tolist()}
        assert (scores[token]
                > max([scores[i] for i in logits.topk(4).indices.tolist()]) - .03)
        context.append(token)
    assert out.logprobs[0].dtype == torch.float32


@pytest.mark.some(1)
@pytest.mark.parametrize('family', ['gpt2', 'llama', 'bloom'])
def test_past_the_window(family, prompts, tiny):
    """Rows reach the window at different steps, one with its prompt, which is read
    whole, and some end; each goes on with its last half window"""
    lm = tiny(family)
    lm.window = 12
    rows = prompts(random.Random(3), [3, 11, 12, 7])
    free = contrastive_search(lm, rows, top_k=4, penalty_alpha=.6, max_new_tokens=26,
                              eos_token_id=())
    eos = (next(t for t in said(free)[1] if t not in said(free)[0] + said(free)[2]),)
    out = contrastive_search(lm, rows, top_k=4, penalty_alpha=.6, max_new_tokens=26,
                             eos_token_id=eos)
    for row, ids, score in zip(rows, said(out), out.scores):
        want, total = plainly(lm, row, 4, .6, 26, eos, window=12)
        assert ids == want and score == pytest.approx(total, abs=1e-4)
    assert len(out.ids[1]) < len(out.ids[0]) == len(out.ids[2]) == 26
    assert out.stats['tokens_evaluated'] > contrastive_search(
        tiny(family), rows, top_k=4, penalty_alpha=.6, max_new_tokens=26,
        eos_token_id=eos).stats['tokens_evaluated']


@pytest.mark.some(2)
@pytest.mark.parametrize('length', [11, 12])
@pytest.mark.parametrize('family', ['gpt2', 'bloom'])
def test_one_candidate_is_greedy_past_the_window(family, length, prompts, tiny):
    "Also for a prompt that fills it"
    lm, ids = tiny(family), prompts(random.Random(5), [length])
    lm.window, seen, want = 12, ids[0].tolist(), []
    for _ in range(20):
        if len(seen) >= 12 and want: seen = seen[-6:]
        want.append(lm.next_logits([seen]).argmax().item())
        seen.append(want[-1])
    assert said(contrastive_search(lm, ids, top_k=1, max_new_tokens=20,
                                   eos_token_id=())) == [want]


@pytest.mark.parametrize('steps', [0, 5])
def test_a_prompt_longer_than_the_window_is_refused(steps, tiny):
    lm, passes = tiny('gpt2'), []
    lm.model.register_forward_pre_hook(lambda *_: passes.append(1))
    with pytest.raises(ValueError,
                       match='prompt has 65 tokens, more than the window of 64'):
        contrastive_search(lm, [[1, 2], [3] * 65], max_new_tokens=steps)
    assert not passes


def test_knobs_are_given_by_name(tiny):
    with pytest.raises(TypeError, match='positional'):
        contrastive_search(tiny('gpt2'), [[1, 2]], 4)


@pytest.mark.parametrize('bad, error, words', [
    (dict(top_k=0), ValueError, 'top_k must be an integer >= 1, not 0'),
    (dict(top_k=2.), ValueError, 'top_k'), (dict(top_k=None), ValueError, 'top_k'),
    (dict(penalty_alpha=1.1), ValueError,
     r'penalty_alpha must be a number in \[0, 1\], not 1.1'),
    (dict(penalty_alpha=-.1), ValueError, 'penalty_alpha'),
    (dict(penalty_alpha=math.nan), ValueError, 'penalty_alpha'),
    (dict(streamer='x'), TypeError, 'streamer'),
    (dict(penalty_alpha='x'), TypeError, 'penalty_alpha'),
    (dict(penalty_alpha=True), TypeError, 'penalty_alpha'),
    (dict(penalty_alpha=[.1, .2, .3]), ValueError, 'one per prompt .2.'),
    (dict(penalty_alpha=[.1, 2.]), ValueError, 'not 2.0'),
    (dict(max_new_tokens=-1), ValueError, 'max_new_tokens'),
    (dict(stop=''), ValueError, 'stop'), (dict(stop='a'), ValueError, 'tokenizer'),
    (dict(eos_token_id=60), ValueError, 'eos_token_id'),
    (dict(seed=[1, 2, 3]), ValueError, 'seed'),
    (dict(sampler=Sampler(temperature=[1., 2., 3.])), ValueError, 'temperature')])
def test_refusals_come_before_any_work(bad, error, words, tiny):
    lm, passes = tiny('llama'), []
    lm.model.register_forward_pre_hook(lambda *_: passes.append(1))
    with pytest.raises(error, match=words): contrastive_search(lm, [[1, 2], [3]], **bad)
    assert not passes


def test_a_model_without_states_is_refused():
    passes = []
    table = TableModel({(): [.5, .5]})
    table.register_forward_pre_hook(lambda *_: passes.append(1))
    with pytest.raises(ValueError, match='TableModel shows no hidden states'):
        contrastive_search(LanguageModel(table), [[0]])
    assert not passes
