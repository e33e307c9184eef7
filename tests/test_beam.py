"Beam search against transformers' own, rows alone, ends, filters and samples"
import contextlib, math, random, time
from functools import partial

import pytest, torch
import transformers as tf
from beam_cases import streamed
from checks import frequencies

import llm_sampling as ls
from llm_sampling.beam import Beams, beam_search, best_first
from llm_sampling.beam_stream import stream_beam_search
from llm_sampling.generation import generate, rep_n
from llm_sampling.models import LanguageModel
from llm_sampling.table_model import TableModel
from llm_sampling.sampler import Sampler
from llm_sampling.token_tree import TokenTree

tf.logging.set_verbosity_error()


@pytest.fixture(scope='module')
def tinies(tiny): return {f: tiny(f, layers=1) for f in ('llama', 'gpt2')}



def compare(lm, rows, eos, extra=None, **kw):
    "Tokens, padding and scores of transformers are ours; returns our Generation"
    ids, mask = lm.encode(rows)
    theirs = lm.model.generate(ids, attention_mask=mask.long(), do_sample=False,
                               pad_token_id=1, eos_token_id=list(eos) or None,
                               return_dict_in_generate=True, output_scores=True, **kw,
                               **(extra or {}))
    ours = beam_search(lm, ids, attention_mask=mask, eos_token_id=eos, **kw,
                       sampler=Sampler(**extra) if extra else None)
    assert (len(ours)
            == len(theirs.sequences)
            == len(rows) * kw.get('num_return_sequences', 1))
    for our, row, why in zip(ours.ids, theirs.sequences[:, ids.shape[1]:].tolist(),
                             ours.finish_reasons):
        assert our.tolist() == row[:len(our)] and set(row[len(our):]) <= {1}
        assert why == ('stop' if our[-1] in eos else 'length')
    assert ours.scores == pytest.approx(theirs.sequences_scores.tolist(), rel=1e-6,
                                        abs=1e-4)
    return ours


@pytest.mark.some(1)
@pytest.mark.parametrize('seed', range(8))
def test_beams_are_transformers(seed, tinies, prompts):
    """24 random cases each, 192 in all; batches are left-padded, and many hypotheses
    end by an end-of-text token"""
    dice, stopped, total = random.Random(seed), 0, 0
    for _ in range(24):
        K, lm = dice.randint(2, 8), dice.choice(list(tinies.values()))
        rows = prompts(dice,
                       [dice.randint(1, 9) for _ in range(dice.choice([1, 1, 2, 3]))])
        steps = dice.randint(1, 16)
        # ends that would occur
        said = beam_search(lm, rows, max_new_tokens=steps,
                           eos_token_id=()).ids[-1].tolist()
        eos = dice.choice([(), (7, 13), (said[-1],), (said[steps // 2], 7),
                           tuple({*said[:3], 5, 6})])
        out = compare(lm, rows, eos, num_beams=K,
                      num_return_sequences=dice.randint(1, K), max_new_tokens=steps,
                      length_penalty=dice.choice([-1., 0., .5, 1., 1., 2.]),
                      early_stopping=dice.choice([True, False, 'never']))
        stopped, total = stopped + out.finish_reasons.count('stop'), total + len(out)
        assert not any(t in eos for i in out.ids for t in i[:-1].tolist())
    assert .2 < stopped / total < .9


@contextlib.contextmanager
def ties_to(which):
    """torch whose `topk` and unstable sorts list equal numbers by their place, or the
    other way round"""
    first, sort = which == 'first', torch.Tensor.sort
    def order(x, dim, descending):
        if first: return sort(x, dim=dim, descending=descending, stable=True)[1]
        return x.shape[dim] - 1 - sort(x.flip(dim), dim=dim, descending=descending,
                                       stable=True)[1]
    def topk(x, k, dim=-1, largest=True, sorted=True):
        at = order(x, dim, largest).narrow(dim, 0, k)
        return torch.return_types.topk((x.gather(dim, at), at))
    def any_sort(x, dim=-1, descending=False, stable=False):
        at = sort(x, dim=dim, descending=descending,
                  stable=True)[1] if stable else order(x, dim, descending)
        return torch.return_types.sort((x.gather(dim, at), at))
    with pytest.MonkeyPatch.context() as m:
        for home in (torch, torch.Tensor):
            m.setattr(home, 'topk', topk)
            m.setattr(home, 'sort', any_sort)
            m.setattr(home, 'argsort', lambda *args, **kw: any_sort(*args, **kw)[1])
        yield


@pytest.fixture
def all_tied(tiny):
    lm = tiny('llama')
    with torch.no_grad(): lm.model.lm_head.weight.copy_(torch.zeros(60, 32))
    return lm


@pytest.mark.some(1)
@pytest.mark.parametrize('seed', range(4))
def test_ties_are_transformers(seed, all_tied, prompts):
    """All words equally likely. Which of them transformers takes depends on the order
    in which `topk` lists ties. Ours does not: it is that of transformers with a
    `topk` that lists them by their place"""
    dice, lm = random.Random(seed), all_tied
    for _ in range(10):
        K = dice.randint(2, 8)
        with ties_to('first'):
            compare(lm, prompts(dice, [3, 5]), dice.choice([(), (0,), (7, 59)]),
                    num_beams=K, num_return_sequences=K,
                    length_penalty=dice.choice([0., 1.]),
                early_stopping=dice.choice([True, False, 'never']), max_new_tokens=6)


def test_best_first_is_a_stable_sort():
    g = torch.Generator().manual_seed(0)
    for shape, kinds in (((40, 60), 2), ((40, 60), 9), ((3, 5, 70), 30), ((80,), 4),
                         ((1, 1), 1)):
        values = torch.randint(0, kinds, shape, generator=g).float()
        values = values.masked_fill(values == 0, -torch.inf)
        for dtype in (torch.float32, torch.float64, torch.bfloat16):
            for which in (None, 'first', 'last'):
                want, order = values.to(dtype).sort(dim=-1, descending=True,
                                                    stable=True)
                for n in (1, 2, 7, shape[-1] - 1, shape[-1], shape[-1] + 5):
                    if n < 1: continue
                    with ties_to(which) if which else contextlib.nullcontext():
                        best, at = best_first(values.to(dtype), n)
                    assert torch.equal(best, want[..., :n])
                    assert torch.equal(at, order[..., :n])


def searches(n=4):
    """Every search, in several settings, as functions of a model and a prompt that
    return `n` texts, where they return several"""
    kw = dict(max_new_tokens=4, num_return_sequences=n)
    yield partial(beam_search, **kw)
    yield partial(beam_search, num_beams=6, length_penalty=0., early_stopping='never',
                  **kw)
    yield partial(beam_search, do_sample=True, seed=4, **kw)
    yield partial(beam_search, sampler=Sampler(top_k=2, repetition_penalty=1.2), **kw)
    yield partial(ls.diverse_beam_search, num_beams=6, num_beam_groups=3,
                  diversity_penalty=.5, **kw)
    yield partial(ls.diverse_beam_search, num_beams=6, num_beam_groups=2,
                  diversity_penalty=0., **kw)
    yield partial(ls.constrained_beam_search, force_words_ids=[[3, 3], [[2], [4, 1]]],
                  num_beams=8, **kw)
    yield partial(ls.stochastic_beam_search, max_new_tokens=4, seed=4)
    yield partial(streamed, max_new_tokens=4)
    yield partial(streamed, max_new_tokens=4, lookahead=2)
    yield partial(ls.mcts_decode, max_new_tokens=4, num_simulations=9, top_k=3)


TIED = [{(): [.2] * 5},
        {(): [.1, .1, .4, .4], (2,): [.4, .1, .4, .1], (3,): [.1, .4, .1, .4]},
        {(): [0, .5, .5, 0, 0], (1,): [.2] * 5}]

@pytest.mark.some(1)
@pytest.mark.parametrize('table', TIED)
def test_ties_do_not_depend_on_topk(table, lists):
    """Texts, their order and their scores are the same whatever order a device gives to
    equal numbers"""
    def run(search, eos):
        try:
            out = search(LanguageModel(TableModel(table)), [[0], [2]], eos_token_id=eos)
        except ValueError as e:
            return str(e)  # too few texts, or a word that is not there
        return lists(out.ids), out.scores
    told = []
    for search in searches():
        for eos in ((), 0, (0, 2)):
            want = run(search, eos)
            told.append(type(want) is not str)
            for which in ('first', 'last'):
                with ties_to(which): assert run(search, eos) == want
    assert sum(told) > .6 * len(told)


def test_ties_go_to_the_first(lists):
    """The better beam, then the lowest id; a text that finished earlier stays before an
    equal one"""
    lm = LanguageModel(TableModel({(): [.2] * 5}))
    kw = dict(num_beams=3, max_new_tokens=2, eos_token_id=())
    found = lambda f, **more: lists(f(lm, [[0]], **kw, **more).ids)
    assert found(beam_search, num_return_sequences=3) == [[0, 0], [0, 1], [0, 2]]
    assert found(ls.diverse_beam_search, num_beam_groups=1,
                 num_return_sequences=3) == [[0, 0], [0, 1], [0, 2]]
    assert found(ls.diverse_beam_search, num_beam_groups=3, num_return_sequences=3,
                 diversity_penalty=0.) == [[0, 0]] * 3
    assert found(ls.diverse_beam_search, num_beam_groups=3, diversity_penalty=1.,
                 num_return_sequences=3) == [[0, 0], [1, 1], [2, 2]]
    assert found(ls.constrained_beam_search, force_words_ids=[[4]],
                 num_return_sequences=2) == [[0, 4], [1, 4]]
    halves = LanguageModel(TableModel({(): [.25, .25, .25, .25], (1,): [1., 0, 0, 0]},
                                      eos_token_id=0))
    out = beam_search(halves, [[2]], num_beams=2, num_return_sequences=2,
                      max_new_tokens=2, length_penalty=0., early_stopping='never')
    # equally likely, and the first finished a step before
    assert lists(out.ids) == [[0], [1, 0]]


class Asleep:
    "A clock that only a forward pass moves, an hour at a time"
    def __init__(self, lm, m):
        self.now, forward = 0., lm.model.forward
        def slow(*args, **kw): self.now += 3600; return forward(*args, **kw)
        m.setattr(lm.model, 'forward', slow)
        m.setattr(time, 'perf_counter', lambda: self.now)


def test_seconds_contain_the_reading_of_the_prompt(monkeypatch):
    """From the call to the return: an hour for each pass, the prefill included, and
    none for what came before the call"""
    lm = LanguageModel(TableModel({(): [.2] * 5}))
    TokenTree(lm, [[0]])  # its check of the model takes passes, too
    clock = Asleep(lm, monkeypatch)
    for search in [*searches(1), partial(ls.best_of_n, n=2, max_new_tokens=4),
                   partial(ls.majority_vote, n=2, max_new_tokens=4),
                   partial(ls.minimum_bayes_risk, n=2, max_new_tokens=4)]:
        before = clock.now
        out = search(lm, [[0]], eos_token_id=())
        assert (out.stats['seconds'] == clock.now - before
                == 3600 * out.stats['forward_passes'] > 3600)


DRAWS = [partial(beam_search, do_sample=True),
         partial(beam_search, sampler=Sampler(xtc_probability=.5, xtc_threshold=.1)),
         ls.stochastic_beam_search,
         lambda *args, **kw: streamed(*args, do_sample=True, **kw),
         partial(ls.mcts_decode, sampler=Sampler(temperature=1.)),
         partial(ls.mcts_decode, temperature=1.),
         partial(ls.diverse_beam_search,
                 sampler=Sampler(xtc_probability=.5, xtc_threshold=.1)),
         partial(ls.best_of_n, n=2), partial(ls.majority_vote, n=2),
         partial(ls.minimum_bayes_risk, n=2)]
DRAWS_NOT = [beam_search,
             partial(beam_search, sampler=Sampler(temperature=.5, top_k=3)),
             lambda *args, **kw: streamed(*args, **kw),
             partial(beam_search, do_sample=True, seed=3),
             ls.diverse_beam_search,
             partial(ls.diverse_beam_search, sampler=Sampler(top_k=3)),
             partial(ls.constrained_beam_search, force_words_ids=[[1]]),
             partial(ls.stochastic_beam_search, seed=3),
             partial(ls.stochastic_beam_search, sampler=Sampler(seed=3)),
             ls.mcts_decode, partial(ls.mcts_decode, sampler=Sampler(temperature=0)),
             partial(ls.mcts_decode, sampler=Sampler(temperature=1., seed=3),
                     temperature=1.),
             partial(ls.best_of_n, n=2, seed=3), partial(ls.majority_vote, n=2, seed=3),
             partial(ls.minimum_bayes_risk, n=2, seed=3)]

@pytest.mark.parametrize('search,draws',
                         [(s, True) for s in DRAWS] + [(s, False) for s in DRAWS_NOT])
def test_torchs_generator_moves_only_if_something_is_drawn(search, draws, lists):
    lm = LanguageModel(TableModel({(): [.3, .3, .2, .2]}))
    def run():
        torch.manual_seed(5)
        before = torch.get_rng_state()
        out = search(lm, [[0], [1]], max_new_tokens=3, eos_token_id=())
        assert torch.equal(torch.get_rng_state(), before) != draws
        return lists(out.ids)
    assert run() == run()


@pytest.mark.some(1)
@pytest.mark.parametrize('extra',
                         [dict(repetition_penalty=1.7), dict(no_repeat_ngram_size=2),
                          dict(repetition_penalty=.8, no_repeat_ngram_size=3)])
def test_penalties_are_transformers(extra, tinies, prompts):
    "Processors act on log-probabilities, prompts count, and nothing is renormalised"
    dice = random.Random(0)
    for lm in tinies.values():
        for K in (2, 4, 7):
            compare(lm, prompts(dice, [6, 6]), (7,), extra, num_beams=K,
                    num_return_sequences=2, max_new_tokens=14)


@pytest.mark.some(1)
@pytest.mark.parametrize('T', [.5, 3., [.7, 1.]])
def test_temperature_divides_log_probabilities(T, tinies, lists, prompts):
    "Also the largest: a step that shifts a row would make every beam's best word free"
    warpers = lambda t: tf.LogitsProcessorList([tf.TemperatureLogitsWarper(t),
                                                tf.TopKLogitsWarper(5)])
    rows = prompts(random.Random(4), [5, 5])
    kw = dict(num_beams=4, num_return_sequences=4, max_new_tokens=10, length_penalty=.5)
    for lm in tinies.values():
        ours = beam_search(lm, rows, sampler=Sampler(temperature=T, top_k=5),
                           eos_token_id=7, **kw)
        for i, row in enumerate(rows):
            theirs = lm.model.generate(row[None], do_sample=False, pad_token_id=1,
                                       eos_token_id=7, return_dict_in_generate=True,
                                       output_scores=True, logits_processor=warpers(
                                           T[i] if isinstance(T, list) else T), **kw)
            for our, their in zip(ours.ids[4*i:4*i+4],
                                  theirs.sequences[:, 5:].tolist()):
                assert our.tolist() == their[:len(our)]
            assert (ours.scores[4*i:4*i+4]
                    == pytest.approx(theirs.sequences_scores.tolist(), abs=1e-4))
    cold, plain = (beam_search(lm, rows, sampler=s, max_new_tokens=8)
                   for s in (Sampler(dynamic_temperature=(2., 2.)), None))
    assert lists(cold.ids) == lists(plain.ids)
    assert cold.scores == pytest.approx([x / 2 for x in plain.scores], abs=1e-4)


def test_bundled_model_is_transformers(lm):
    for text, K in ((['The king had three sons, and the youngest'], 4),
                    (['Once', 'When the prince awoke, he saw'], 3)):
        compare(lm, lm.encode(text)[0].unbind() if len(text) == 1
                else [torch.tensor(lm.tokenizer(t)['input_ids']) for t in text],
                lm.eos_token_ids, num_beams=K, num_return_sequences=2,
                max_new_tokens=30)


@pytest.mark.some(1)
@pytest.mark.parametrize('family', ['llama', 'gpt2', 'mistral', 'bloom', 'mamba'])
def test_row_is_row_alone(family, lists, prompts, tiny):
    lm, dice = tiny(family), random.Random(1)
    rows = prompts(dice, [2, 7, 4])
    kw = dict(num_beams=3, num_return_sequences=2, max_new_tokens=10,
              eos_token_id=(7, 21))
    for more in (dict(), dict(do_sample=True, seed=[3, 4, 5], sampler=Sampler(
        temperature=[.5, 1., 2.], repetition_penalty=1.2))):
        batch = beam_search(lm, rows, **kw, **more)
        for i, row in enumerate(rows):
            one = dict(more, seed=more['seed'][i],
                       sampler=more['sampler'].rows(torch.tensor([i]))) if more else {}
            alone = beam_search(lm, [row], **kw, **one)
            assert lists(alone.ids) == lists(batch.ids[2*i:2*i+2])
            assert alone.scores == pytest.approx(batch.scores[2*i:2*i+2], abs=1e-4)


def test_scores_are_the_models(tinies, prompts):
    """logprobs are those of a plain forward pass, score = sum / length ** penalty, and
    the trace tells the same"""
    lm, rows = tinies['gpt2'], prompts(random.Random(2), [3, 8])
    out = beam_search(lm, rows, num_beams=4, num_return_sequences=4, max_new_tokens=12,
                      length_penalty=.7, eos_token_id=7)
    for i, (ids, logprobs, score) in enumerate(zip(out.ids, out.logprobs, out.scores)):
        prompt = rows[i // 4]
        dists = lm.forward(torch.cat([prompt, ids])[None])[0][0].log_softmax(
            -1)[len(prompt)-1:-1]
        assert torch.allclose(dists.gather(1, ids[:, None])[:, 0], logprobs, atol=1e-4)
        assert score == pytest.approx(logprobs.sum().item() / len(ids)**.7, abs=1e-4)
        assert [s.id for s in out.trace[i]] == ids.tolist()
        assert [s.rank for s in out.trace[i]] == [(l > l[t]).sum().item() + 1
                                                  for l, t in zip(dists, ids)]
    for r in range(2):
        assert out.scores[4*r:4*r+4] == sorted(out.scores[4*r:4*r+4], reverse=True)


@pytest.mark.parametrize('early_stopping', [True, False])
def test_one_beam_is_greedy(early_stopping, tinies, lists, prompts):
    for lm in tinies.values():
        rows = prompts(random.Random(3), [3, 8, 1])
        a = beam_search(lm, rows, num_beams=1, early_stopping=early_stopping,
                        max_new_tokens=20, eos_token_id=7)
        b = generate(lm, rows, max_new_tokens=20, eos_token_id=7)
        assert lists(a.ids) == lists(b.ids) and a.finish_reasons == b.finish_reasons


def enumerate_texts(dist, length, eos):
    "All texts of a memoryless distribution and their log-probabilities"
    live, done = [((), 0.)], []
    for t in range(length):
        new = [(ids + (i,), s + math.log(p)) for ids, s in live
               for i, p in enumerate(dist)]
        done += [x for x in new if x[0][-1] == eos or t == length - 1]
        live = [x for x in new if x[0][-1] != eos]
    return done


@pytest.mark.parametrize('penalty', [0., 1., 2.])
def test_more_beams_than_words(penalty):
    "Enough beams are an exhaustive search: no hypothesis twice, none missing"
    dist = [.11, .42, .28, .19]
    lm = LanguageModel(TableModel({(): dist}, eos_token_id=0))
    texts = sorted(((s / len(ids)**penalty, ids)
                    for ids, s in enumerate_texts(dist, 3, 0)), reverse=True)
    out = beam_search(lm, torch.tensor([[1]]), num_beams=64,
                      num_return_sequences=len(texts), max_new_tokens=3,
                      length_penalty=penalty, early_stopping='never')
    assert out.scores == pytest.approx([s for s, _ in texts], abs=1e-5)
    assert {tuple(i.tolist()) for i in out.ids} == {ids for _, ids in texts}
    with pytest.raises(ValueError, match='only 4 hypotheses of prompt 0'):
        beam_search(lm, torch.tensor([[1]]), num_beams=5, num_return_sequences=5,
                    max_new_tokens=1)


def test_eos_that_never_stops(tinies):
    out = beam_search(tinies['llama'], [[3, 4]], max_new_tokens=9, eos_token_id=(),
                      num_return_sequences=4)
    assert [len(i) for i in out.ids] == [9] * 4 and out.finish_reasons == ['length'] * 4


@pytest.mark.long
def test_stop_strings(lm, lists):
    free = beam_search(lm, 'Once upon a time', max_new_tokens=30)
    word = free.texts[0].split()[5]
    out = beam_search(lm, 'Once upon a time', max_new_tokens=30, stop=[word],
                      num_return_sequences=4)
    assert 'stop' in out.finish_reasons
    for text, why, ids in zip(out.texts, out.finish_reasons, out.ids):
        assert word not in text and (word in lm.decode(ids)) == (why == 'stop')
    comma = lm.tokenizer(',', add_special_tokens=False)['input_ids'][0]
    # one beam is greedy, also at its end
    for kw in (dict(stop=[word]), dict(stop=['zzz', ' a']), dict(eos_token_id=comma),
               dict(eos_token_id=[comma, 0])):
        a = beam_search(lm, ['Once upon a time', 'The king'], num_beams=1, **kw)
        b = generate(lm, ['Once upon a time', 'The king'], **kw)
        assert (a.texts, a.finish_reasons,
                lists(a.ids)) == (b.texts, b.finish_reasons, lists(b.ids))


def test_filters(lm):
    "top-k 1 leaves one hypothesis, the greedy one; a ban is obeyed by every beam"
    one = beam_search(lm, 'The king', sampler=Sampler(top_k=1), max_new_tokens=12)
    assert one.texts == generate(lm, 'The king', max_new_tokens=12).texts
    # not renormalised
    assert one.scores[0] == pytest.approx(one.logprobs[0].mean().item(), abs=1e-5)
    with pytest.raises(ValueError, match='only 1 hypotheses of prompt 0'):
        beam_search(lm, 'The king', sampler=Sampler(top_k=1), max_new_tokens=3,
                    num_return_sequences=2)
    banned = one.ids[0][0].item()
    out = beam_search(lm, ['The king', 'A poor man'],
                      sampler=Sampler(ban_tokens=[[banned]]), num_return_sequences=4,
                      max_new_tokens=12)
    assert not any((i == banned).any() for i in out.ids)


@pytest.mark.long
def test_samples_follow_the_distribution():
    "One token, two beams: the pair is drawn without replacement"
    dist = torch.tensor([.5, .3, .2])
    lm = LanguageModel(TableModel({(): dist}))
    out = beam_search(lm, [[0]] * 3000, num_beams=2, num_return_sequences=2,
                      max_new_tokens=1, do_sample=True, seed=torch.arange(3000),
                      eos_token_id=())
    pairs = torch.tensor(out.ids).view(-1, 2)
    assert (pairs[:, 0] < pairs[:, 1]).all()                      # best first
    def both(i, j):
        return (dist[i] * dist[j] * (1 / (1 - dist[i]) + 1 / (1 - dist[j]))).item()
    frequencies(pairs.sum(-1) - 1, torch.tensor([both(0, 1), both(0, 2), both(1, 2)]))


@pytest.mark.long
def test_seeds(lm):
    kw = dict(do_sample=True, max_new_tokens=12, sampler=Sampler(temperature=1.))
    a = beam_search(lm, ['Once', 'The king'], seed=[5, 6], **kw)
    assert (a.texts
            == beam_search(lm, ['Once', 'The king'], seed=[5, 6], **kw).texts
            != beam_search(lm, ['Once', 'The king'], seed=[7, 8], **kw).texts)
    assert a.texts[:1] == beam_search(
        lm, 'Once', **kw | dict(sampler=Sampler(temperature=1., seed=5))).texts
    def fresh(): torch.manual_seed(3); return beam_search(lm, 'Once', **kw).texts
    assert fresh() == fresh()


@pytest.mark.parametrize('bad,message', [
    (dict(num_beams=0), 'num_beams must be an integer >= 1'),
    (dict(num_beams=2.), 'num_beams'), (dict(max_new_tokens=0), 'max_new_tokens'),
    (dict(num_beams=2, num_return_sequences=3),
     'num_return_sequences must be at most num_beams, 2, not 3'),
    (dict(num_return_sequences=0), 'num_return_sequences'),
    (dict(early_stopping='often'), "early_stopping must be True, False or 'never'"),
    (dict(early_stopping=None), 'early_stopping'),
    (dict(length_penalty=None), 'length_penalty must be a number from'),
    (dict(length_penalty=math.nan), 'length_penalty'),
    (dict(length_penalty=1000.),
     'length_penalty must be a number from -16.87 to 16.87'),
    (dict(length_penalty=-10**400), 'length_penalty must be'),
    (dict(num_beams=2**64), 'num_beams must be at most 35791394'),
    (dict(do_sample='no'), 'do_sample must be True or False'),
    (dict(eos_token_id=60), 'eos_token_id 60'), (dict(stop='x'), 'tokenizer'),
    (dict(max_new_tokens=64), 'need a window of 66 tokens'),
    (dict(seed=[1, 2]), 'seed'),
    (dict(sampler=Sampler(temperature=[1., 2.])), 'temperature')])
def test_refusals(bad, message, tinies):
    lm = LanguageModel(tinies['llama'].model)
    with pytest.MonkeyPatch.context() as m:
        m.setattr(lm.model, 'forward', lambda *args,
                  **kw: pytest.fail('a forward pass'))
        # a stream, too, when it is called
        for search in (beam_search, stream_beam_search):
            if 'num_return_sequences' in bad and search is stream_beam_search: continue
            with pytest.raises(ValueError, match=message):
                search(lm, [[1, 2, 3]], **bad)


def test_long_prompts_are_refused(tinies):
    "Naming their length and the window, by every search"
    for search in searches():
        with pytest.raises(ValueError, match='the longest prompt, 70 tokens, and '
                           'max_new_tokens = 4 need a window of 73 tokens, and the '
                           'model has 64'):
            search(tinies['llama'], [[1] * 70, [1]])


def test_penalties_of_any_size_that_is_allowed():
    "Scores stay finite and in the order of the definition"
    lm = LanguageModel(TableModel({(): [.3, .4, .2, .1]}, eos_token_id=0))
    for penalty in (-16.8, -8., 16.8):
        out = beam_search(lm, [[1]], max_new_tokens=60, length_penalty=penalty,
                          num_return_sequences=4)
        for s, l in zip(out.scores, out.logprobs):
            assert s == pytest.approx(l.sum().item() / len(l)**penalty, rel=1e-4)
            assert s < 0


def test_a_tie_does_not_go_on(lists):
    "Two finished, the worse as good as the best live one: nothing *better* can come"
    lm = LanguageModel(TableModel({(): [.5, .25, .25], (1,): [1., 0, 0],
                                   (2,): [0, 0, 1.]}, eos_token_id=0))
    out = beam_search(lm, [[0]], num_beams=2, num_return_sequences=2, length_penalty=0.,
                      max_new_tokens=9)
    assert lists(out.ids) == [[0], [1, 0]] and out.stats['forward_passes'] == 2


def test_window_can_be_filled(tinies):
    for lm in tinies.values():
        assert len(beam_search(lm, [[1, 2, 3]], max_new_tokens=62,
                               eos_token_id=()).ids[0]) == 62


def test_adaptive_samplers_are_refused(tinies):
    with pytest.raises(ValueError, match='sampler must have no adaptive step'):
        beam_search(tinies['llama'], [[1]],
                    sampler=Sampler(adaptive=ls.Mirostat2(3., .1)))


def test_each_token_is_evaluated_once(tinies):
    "A prompt, and for each step but the last at most the live hypotheses"
    out = beam_search(tinies['llama'], [list(range(1, 21))], num_beams=4,
                      max_new_tokens=10, eos_token_id=())
    assert out.stats['tokens_evaluated'] == 20 + 9 * 4
    assert out.stats['forward_passes'] == 10
    assert out.stats['peak_cache_bytes'] > 0


@pytest.mark.some(1)
@pytest.mark.parametrize('search', [beam_search, ls.diverse_beam_search,
                                    ls.stochastic_beam_search])
def test_measures_of_long_searches(search, tinies):
    """Logits are forgotten on the way, and what was measured of them is that of forward
    passes; the tree holds those of eight steps only"""
    lm, held = tinies['gpt2'], []
    TokenTree(lm, [[1]])  # its check of the model makes nodes, too
    keep = TokenTree.keep
    def watched(tree, nodes, **kw):
        held.append(sum(p.shape[1] for p in tree.books.logits))
        return keep(tree, nodes, **kw)
    made, extend = [], TokenTree.extend
    def counted(tree, parents, tokens):
        made.append((tokens >= 0).sum().item())
        return extend(tree, parents, tokens)
    with pytest.MonkeyPatch.context() as m:
        m.setattr(TokenTree, 'keep', watched)
        m.setattr(TokenTree, 'extend', counted)
        kw = {} if search is ls.stochastic_beam_search else dict(num_return_sequences=4)
        out = search(lm, [[5, 6, 7], [8]], num_beams=4, max_new_tokens=45,
                     eos_token_id=(3, 9), **kw)
    assert len(held) >= 4 and max(held) <= 1 + 8 * 4 + 2 * 4
    # no distribution was asked for after it was forgotten
    assert out.stats['tokens_evaluated'] == 4 + sum(made)
    for i, ids in enumerate(out.ids):
        prompt = [[5, 6, 7], [8]][i // 4]
        dists = lm.forward(torch.tensor([prompt + ids.tolist()]))[0][0, len(
            prompt) - 1:-1].log_softmax(-1)
        torch.testing.assert_close(out.logprobs[i], dists.gather(1, ids[:, None])[:, 0],
                                   atol=1e-4, rtol=1e-4)
        for step, dist, id in zip(out.trace[i], dists, ids.tolist()):
            assert step.id == id
            assert ((dist > dist[id] + 1e-4).sum()
                    < step.rank
                    <= (dist > dist[id] - 1e-4).sum())
            assert abs(step.entropy + (dist.exp() * dist).sum()) < 1e-3


def table(dists, **kw): return LanguageModel(TableModel(dists, **kw))


def test_two_beams_find_what_greedy_misses():
    "The four-word tree of Dive into Deep Learning: .048 against .054"
    lm = table({(): [.1, .5, .2, .2], (1,): [.2, .1, .4, .3], (1, 2): [.2, .2, .2, .4],
                (1, 2, 3): [.6, .1, .1, .2], (1, 3): [.1, .2, .6, .1],
                (1, 3, 2): [.6, .2, .1, .1]}, eos_token_id=0)
    greedy = generate(lm, [[0]], max_new_tokens=4)
    assert greedy.ids[0].tolist() == [1, 2, 3, 0]
    assert math.exp(greedy.scores[0]) == pytest.approx(.048)
    out = beam_search(lm, [[0]], num_beams=2, max_new_tokens=6, length_penalty=0.)
    assert out.ids[0].tolist() == [1, 3, 2, 0]
    assert math.exp(out.scores[0]) == pytest.approx(.054)


def test_two_beams_may_lose_to_one():
    "Both words after 2, .175 each, push out the .136 after 1, which .9 would follow"
    rest = [.3, .14, .14, .14, .14, .14]
    lm = table({(): [0, .4, .35, .25, 0, 0], (1,): [.14, .34, .13, .13, .13, .13],
                (1, 1): [.02, .9, .02, .02, .02, .02], (2,): [.5, .5, 0, 0, 0, 0],
                (2, 0): rest, (2, 1): rest, (3,): [.2] + [.16] * 5})
    scores = [math.exp(beam_search(lm, [[5]], num_beams=K, max_new_tokens=3,
                                   length_penalty=0., eos_token_id=()).scores[0])
              for K in (1, 2)]
    assert scores == pytest.approx([.4 * .34 * .9, .35 * .5 * .3])


@pytest.mark.parametrize('x,steps', [(.3, [2, 12, 12]), (.2, [2, 2, 12])])
def test_when_a_search_ends(x, steps):
    """A text may end at once, or after 1 with 1 - x; after 1 1 it is certain to go on.
    True stops with two finished, False where 1 1 is not good enough yet"""
    lm = table({(): [.4, .6, 0], (1,): [1-x, x, 0], (1, 1): [0, 0, 1], (2,): [0, 0, 1]},
               eos_token_id=0)
    outs = [beam_search(lm, [[2, 0]], num_beams=2, early_stopping=rule,
                        max_new_tokens=12) for rule in (True, False, 'never')]
    assert [out.stats['forward_passes'] for out in outs] == steps
    at_once, guessed, sure = (out.scores[0] for out in outs)
    assert sure > at_once and (guessed == sure) == (x == .3)


def test_one_beam_draws_its_last_word_only():
    "Two words are drawn without replacement, so both, and the better goes on"
    out = beam_search(table({(): [.6, .4]}), [[0]] * 500, num_beams=1, max_new_tokens=4,
                      do_sample=True, seed=torch.arange(500), eos_token_id=())
    share = torch.stack(out.ids).float().mean(0)
    assert (share[:3] == 0).all()
    assert abs(share[3] - .4) < 4.5 * math.sqrt(.24 / 500)


@pytest.mark.long
def test_likelier_texts_repeat_themselves(lm):
    "More beams find likelier texts, with more loops than samples; a ban takes them out"
    texts = ['Once upon a time', 'The king had three sons, and the youngest',
             'In the middle of the forest', 'When the prince awoke']
    kw = dict(max_new_tokens=30, eos_token_id=())
    mean = lambda xs: sum(xs) / len(xs)
    loops = lambda out: mean([rep_n(i) for i in out.ids])
    greedy, beams = (beam_search(lm, texts, num_beams=K, **kw) for K in (1, 8))
    drawn = generate(lm, texts, Sampler(temperature=.8, top_p=.9, seed=1), **kw)
    drawn_score = mean([l.mean().item() for l in drawn.logprobs])
    assert mean(beams.scores) > mean(greedy.scores) > drawn_score
    assert min(loops(beams), loops(greedy)) > loops(drawn) + .1
    ban = Sampler(no_repeat_ngram_size=4)
    assert loops(beam_search(lm, texts, sampler=ban, **kw)) == 0


def test_history_is_the_paths(tinies, prompts):
    "Prompt, pads and tokens of every live hypothesis; zeros where there is none"
    steps = []
    class Watched(Beams):
        def filtered(self, logprobs):
            ids, mask = self.history()
            S, tree = self.tree.ids.shape[1], self.tree
            assert torch.equal(ids[:, :S], tree.ids.repeat_interleave(3, 0))
            assert torch.equal(mask[:, :S], tree.mask.repeat_interleave(3, 0))
            assert mask[:, S:].all()
            nodes = self.nodes.flatten().tolist()
            want = [tree.path(i // 3, node) if node != -2 else [0] * self.length
                    for i, node in enumerate(nodes)]
            assert ids[:, S:].tolist() == want
            steps.append(-2 in nodes)
            return logprobs
    for lm in tinies.values():
        tree = TokenTree(lm, prompts(random.Random(0), [4, 2]))
        for _ in Watched(tree, 3, max_new_tokens=20, eos=(5, 9)).run(): pass
    # the first prompt ends at once, so it has no hypothesis while the second goes on
    ends = table({(): [0, .5, .5, 0], (3,): [1, 0, 0, 0]}, eos_token_id=0)
    for _ in Watched(TokenTree(ends, [[3], [2]]), 3, max_new_tokens=5, eos=(0,)).run():
        pass
    assert steps[-1] and not all(steps)
