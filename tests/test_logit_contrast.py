"""Contrasts against plain loops and transformers 5; two caches, two windows"""
import math

import pytest, torch
from checks import formula, frequencies, on_meta, rows_alone, same

import llm_sampling as ls
from llm_sampling.exits import dola, with_exits
from llm_sampling.generation import generate
from llm_sampling.logit_contrast import contrast, contrastive_decoding, guided
from llm_sampling.models import LanguageModel
from llm_sampling.table_model import TableModel
from llm_sampling.sampler import Sampler

INF = math.inf


@pytest.fixture
def weaker(tiny):
    "`weaker(family)` is the tiny model with other weights"
    def make(family):
        lm = tiny(family)
        g = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for p in lm.model.parameters():
                p.add_(.15 * torch.randn(p.shape, generator=g))
        return lm
    return make


def plain(lm, other, prompt, negative, own, against, alpha=0., heat=1., steps=10):
    "One row without caches; each model forgets half of its own window when it is full"
    mine, theirs, said, total = prompt.tolist(), negative.tolist(), [], 0.
    for _ in range(steps):
        for model, context in ((lm, mine), (other, theirs)):
            if model.window and len(context) >= model.window and said:
                del context[:-(model.window // 2)]
        scores = formula(lm.next_logits([mine])[0],
                         other.next_logits([theirs])[0].double() / heat, own, against,
                         alpha)
        best = max(range(len(scores)), key=scores.__getitem__)
        said.append(best)
        total += scores[best]
        mine.append(best); theirs.append(best)
    return said, total


# the formula

def test_contrast_is_the_formula():
    g = torch.Generator().manual_seed(0)
    for own, against, alpha in ((1., 1., .1), (1.5, .5, 0.), (3., 2., .01),
                                (.3, -.7, .2)):
        z = 3 * torch.randn(4, 5, 20, generator=g)
        y = 3 * torch.randn(4, 5, 20, generator=g)
        ours = contrast(z, y, own, against, alpha)
        assert ours.shape == z.shape and ours.dtype == z.dtype
        for i in range(4):
            for j in range(5):
                same(ours[i, j].double(), formula(z[i, j], y[i, j], own, against,
                                                  alpha), rtol=1e-4, atol=1e-4)


def test_weights_per_row():
    g = torch.Generator().manual_seed(0)
    z = torch.randn(4, 9, generator=g)
    y = torch.randn(4, 9, generator=g)
    (a, b, m) = torch.rand(3, 4, generator=g)
    whole = contrast(z, y, a, b, m)
    for i in range(4):
        same(whole[i], contrast(z[i], y[i], a[i].item(), b[i].item(), m[i].item()))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_half_is_computed_in_float32(dtype):
    g = torch.Generator().manual_seed(0)
    z = torch.randn(5, 50, generator=g).to(dtype)
    y = torch.randn(5, 50, generator=g).to(dtype)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    same(contrast(z, y, 1.5, .5, .1),
         contrast(z.to(wide), y.to(wide), 1.5, .5, .1).to(dtype))


def test_what_p_excludes_stays_excluded_and_what_q_excludes_is_finite():
    z = torch.tensor([-INF, 1., 0., 1., -INF])
    y = torch.tensor([-INF, 0., -INF, -INF, 0.])
    for own, against in ((1., 1.), (2., 1.), (0., -1.), (0., 0.), (.5, -.5)):
        out = contrast(z, y, own, against)
        assert (out > -INF).tolist() == [False, True, True, True, False]
        assert not out.isnan().any()
        assert (out < INF).all()
    order = contrast(z, y).argsort(descending=True).tolist()
    # impossible for q before the others, and among them by p
    assert order[:3] == [3, 2, 1]
    # real gaps are untouched
    same(contrast(torch.tensor([0., -200.]), torch.tensor([0., -300.])), [0., 100.])


def test_limit_is_a_value_and_ties_go_together():
    z = torch.tensor([8., 4, 2, 1, 1]).log()
    for alpha, kept in ((1/8, 5), (.13, 3), (1/4, 3), (1., 1), (None, 5), (0, 5)):
        assert (contrast(z, torch.zeros(5), alpha=alpha) > -INF).sum() == kept
    assert (contrast(torch.zeros(4), torch.randn(4), alpha=1.) > -INF).all()


def test_habits_of_all_filters():
    "Rows by themselves, on any device, in any order of the vocabulary"
    g = torch.Generator().manual_seed(0)
    z = torch.randn(6, 30, generator=g).round(decimals=1) * 3
    y = torch.randn(6, 30, generator=g)
    rows_alone(contrast, z, y, *torch.rand(3, 6, generator=g))
    on_meta(lambda a, b: contrast(a, b, 1.5, .5, .1), z, y)
    order = torch.randperm(30, generator=g)
    same(contrast(z[:, order], y[:, order], alpha=.1),
         contrast(z, y, alpha=.1)[:, order])
    same(contrast(torch.zeros(2, 3, 1), torch.zeros(2, 3, 1), alpha=.5),
         torch.zeros(2, 3, 1))


def test_bad_rows_stay_bad():
    z = torch.tensor([[0., 1.], [math.nan, 0.], [-INF, -INF]])
    out = contrast(z, torch.zeros(3, 2), alpha=.1)
    assert out[0].isfinite().any() and out[1].isnan().any() and (out[2] == -INF).all()
    # nothing to leave: the draw must see it
    assert contrast(torch.zeros(2), torch.full((2,), -INF)).isnan().all()


# contrastive decoding

@pytest.mark.some(1)
@pytest.mark.parametrize('families',
                         [('llama', 'gpt2'), ('gpt2', 'gpt2'), ('bloom', 'llama'),
                          ('llama', 'mamba'), ('mistral', 'opt')])
def test_two_models_are_two_plain_loops(families, rows, tiny, weaker):
    lm, amateur = tiny(families[0]), weaker(families[1])
    for beta, alpha, heat, context in ((INF, .1, 1., None), (.5, .05, 1., 2),
                                       (2., None, .7, 5), (INF, .3, 2., 1)):
        own, against = (1., 1.) if beta == INF else (1 + beta, beta)
        out = contrastive_decoding(lm, amateur, rows, alpha=alpha, beta=beta,
                                   amateur_temperature=heat, amateur_context=context,
                                   max_new_tokens=10, eos_token_id=())
        for i, row in enumerate(rows):
            said, total = plain(lm, amateur, row, row[-(context or 99):], own, against,
                                alpha or 0., heat)
            assert out.ids[i].tolist() == said
            assert abs(out.scores[i] - total) < 1e-2


@pytest.mark.some(1)
@pytest.mark.parametrize('windows', [(12, 17), (20, 13), (None, 12), (14, None),
                                     (11, None), (11, 12), (13, 11)])
def test_each_model_has_its_own_window(windows, rows, tiny, weaker):
    "One that a prompt fills reads it whole"
    lm, amateur = tiny('llama'), weaker('gpt2')
    lm.window, amateur.window = windows
    out = contrastive_decoding(lm, amateur, rows, max_new_tokens=30, eos_token_id=())
    for i, row in enumerate(rows):
        assert out.ids[i].tolist() == plain(lm, amateur, row, row, 1., 1., .1,
                                            steps=30)[0]
    assert min(out.stats['window_restarts']) > 0


def test_a_prompt_that_fills_the_window_is_read_whole(rows, lists, tiny):
    "By DoLa and by both sides of guidance"
    lm, run = tiny('gpt2'), dict(max_new_tokens=1, eos_token_id=())
    wide = tiny('gpt2')
    lm.window = 11
    for f in (lambda lm: dola(lm, rows, dola_layers=[0], **run),
              lambda lm: guided(lm, rows, [rows[1]], **run)):
        ours, want = f(lm), f(wide)
        assert lists(ours.ids) == lists(want.ids) and ours.scores == want.scores


@pytest.mark.parametrize('steps', [0, 5])
def test_prompts_longer_than_a_window_are_refused(steps, monkeypatch, tiny, weaker):
    "Each model's own window is asked, about what that model would read"
    lm = tiny('llama')
    small = weaker('gpt2')
    long = [[1, 2], [3] * 40]
    run = dict(max_new_tokens=steps)
    small.window = 39
    out = contrastive_decoding(lm, small, long, amateur_context=39, **run)
    assert len(out.ids[1]) <= steps
    monkeypatch.setattr(LanguageModel, 'forward', lambda *a,
                        **k: pytest.fail('a pass was made'))
    for said, f in (
        ('prompt, as the amateur reads it, has 40 tokens, more than the window of 39',
         lambda: contrastive_decoding(lm, small, long, **run)),
                    ('prompt has 40 tokens, more than the window of 39',
                     lambda: contrastive_decoding(small, lm, long, **run)),
                    ('prompt has 40 tokens, more than the window of 39',
                     lambda: dola(small, long, dola_layers='low', **run)),
                    ('negative_prompt has 40 tokens, more than the window of 39',
                     lambda: guided(small, long[:1], long[1:], **run)),
                    ('prompt has 40 tokens, more than the window of 39',
                     lambda: guided(small, long[1:], long[:1], **run))):
        with pytest.raises(ValueError, match='^' + said): f()


def test_knobs_are_given_by_name(rows, tiny):
    lm = tiny('gpt2')
    for f in (lambda: contrastive_decoding(lm, lm, rows, .1),
              lambda: dola(lm, rows, 'low'), lambda: guided(lm, rows, rows, 1.5)):
        with pytest.raises(TypeError, match='positional'): f()
    assert (guided(lm, rows, rows, max_new_tokens=3).scores
            == guided(lm, rows, rows, guidance_scale=1.5, max_new_tokens=3).scores)


@pytest.mark.some(1)
@pytest.mark.parametrize('families',
                         [('llama', 'gpt2'), ('gpt2', 'llama'), ('bloom', 'mamba')])
def test_sampled_rows_are_alone_and_uncached(families, rows, lists, tiny, weaker):
    lm, amateur = tiny(families[0]), weaker(families[1])
    slow = [tiny(families[0]), weaker(families[1])]
    for m in slow: m.cached = False
    for m in (lm, slow[0]): m.window = 14
    s = Sampler(temperature=[.7, 1., 1.3], top_p=.95, repetition_penalty=1.1, seed=4)
    kw = dict(beta=[.5, INF, 0.], alpha=[.01, .001, .1],
              amateur_temperature=[1., .8, 2.])
    run = dict(n=3, max_new_tokens=20, eos_token_id=[0, 7, 9])
    both = contrastive_decoding(lm, amateur, rows, **kw, sampler=s, **run)
    uncached = contrastive_decoding(*slow, rows, **kw, sampler=s, **run)
    assert lists(both.ids) == lists(uncached.ids)
    assert len({len(i) for i in both.ids}) > 1
    for i, row in enumerate(rows):
        alone = contrastive_decoding(lm, amateur, [row],
                                     **{k: v[i] for k, v in kw.items()}, **run,
                                     sampler=Sampler(
                                         temperature=s.knobs['temperature'][i].item(),
                                         top_p=.95, repetition_penalty=1.1, seed=4))
        assert lists(alone.ids) == lists(both.ids[3*i:3*i+3])
        for a, b in zip(alone.logprobs + [torch.tensor(alone.scores)],
                        both.logprobs[3*i:3*i+3]
                        + [torch.tensor(both.scores[3*i:3*i+3])]):
            same(a, b, rtol=1e-3, atol=1e-3)


def test_frequencies_are_the_product_of_powers():
    "One step on tables: p^a / q^b, renormalised, over the plausible tokens"
    p, q = torch.tensor([.4, .3, .2, .07, .03]), torch.tensor([.6, .1, .1, .1, .1])
    table = lambda x: LanguageModel(TableModel({(): x.tolist()}))
    for beta, own, against in ((INF, 1., 1.), (.5, 1.5, .5)):
        out = contrastive_decoding(table(p), table(q), torch.tensor([[0]]), beta=beta,
                                   sampler=Sampler(seed=1), n=4000, max_new_tokens=1)
        want = p**own / q**against * (p >= .04)
        frequencies(torch.cat(out.ids), want / want.sum())


def test_reported_is_the_raw_model(rows, tiny, weaker):
    lm = tiny('llama')
    out = contrastive_decoding(lm, weaker('llama'), rows, sampler=Sampler(seed=1),
                               max_new_tokens=8, eos_token_id=())
    for i, row in enumerate(rows):
        text = torch.cat([row, out.ids[i]])
        logp = lm.forward(text[None])[0][0].log_softmax(-1)[len(row)-1:-1]
        same(out.logprobs[i], logp.gather(1, out.ids[i][:, None])[:, 0], rtol=1e-3,
             atol=1e-3)
        assert [s.rank for s in out.trace[i]] == [(l > l[t]).sum().item() + 1
                                                  for l, t in zip(logp, out.ids[i])]


def test_hotter_copy_is_a_temperature(rows, lists, tiny):
    lm, run = tiny('gpt2'), dict(max_new_tokens=15, eos_token_id=())
    for beta, heat, t in ((.5, 2., .8), (INF, 2., 2.), (1., .5, None)):
        ours = contrastive_decoding(lm, lm, rows, alpha=None, beta=beta,
                                    amateur_temperature=heat, sampler=Sampler(seed=2),
                                    **run)
        if t:
            assert lists(ours.ids) == lists(
                generate(lm, rows, Sampler(temperature=t, seed=2), **run).ids)
    # beta = 1 and T = .5: z - (2z - z) = 0, so every token is equally likely
    flat = contrast(torch.randn(50), torch.zeros(50), 0., 0.)
    assert (flat == 0).all()


# guidance

@pytest.mark.some(2)
@pytest.mark.parametrize('family', ['llama', 'gpt2', 'qwen3', 'opt'])
@pytest.mark.parametrize('scale', [.5, 1.5, 4.])
def test_guidance_is_transformers(family, scale, rows, tiny):
    lm = tiny(family)
    run = dict(do_sample=False, max_new_tokens=15, pad_token_id=0, eos_token_id=None,
               guidance_scale=scale)
    for prompt, negative in ((rows[0], rows[1]), (rows[1], rows[0]), (rows[2], None)):
        theirs = lm.model.generate(prompt[None],
                                   attention_mask=torch.ones_like(prompt[None]), **run,
                                   negative_prompt_ids=None if negative is None
                                   else negative[None])
        ours = guided(lm, [prompt], negative if negative is None else [negative],
                      guidance_scale=scale, max_new_tokens=15, eos_token_id=())
        assert ours.ids[0].tolist() == theirs[0, len(prompt):].tolist()


@pytest.mark.some(1)
@pytest.mark.parametrize('family', ['llama', 'gpt2', 'bloom', 'mamba'])
def test_each_prompt_has_its_own_negative_and_scale(family, rows, tiny):
    lm, scales = tiny(family), [3., 1., .4]
    negatives = [rows[1][:2], rows[0], torch.cat(rows)]
    lm.window = 25
    out = guided(lm, rows, negatives, guidance_scale=scales, max_new_tokens=12,
                 eos_token_id=())
    shared = guided(lm, rows, [rows[2]], guidance_scale=2., max_new_tokens=12,
                    eos_token_id=())
    for i, (row, g) in enumerate(zip(rows, scales)):
        said, total = plain(lm, lm, row, negatives[i], g, g - 1, steps=12)
        assert out.ids[i].tolist() == said and abs(out.scores[i] - total) < 1e-2
        assert shared.ids[i].tolist() == plain(lm, lm, row, rows[2], 2., 1.,
                                               steps=12)[0]


@pytest.mark.some(1)
@pytest.mark.parametrize('family', ['llama', 'gpt2'])
def test_padded_negatives_are_transformers_alone(family, rows, tiny):
    """In a batch the processor of transformers 5.23 gives no positions, so with
    absolute ones only its rows alone can be trusted"""
    lm, negatives = tiny(family), [rows[1], rows[0], rows[2][:1]]
    ours = guided(lm, rows, negatives, guidance_scale=3., max_new_tokens=10,
                  eos_token_id=())
    for row, negative, ids in zip(rows, negatives, ours.ids):
        theirs = lm.model.generate(row[None], attention_mask=torch.ones_like(row[None]),
                                   do_sample=False, max_new_tokens=10, pad_token_id=0,
                                   eos_token_id=None, guidance_scale=3.,
                                   negative_prompt_ids=negative[None])
        assert ids.tolist() == theirs[0, len(row):].tolist()


def test_scale_one_is_off_and_zero_is_the_negative_prompt(rows, lists, tiny):
    lm, run = tiny('gpt2'), dict(max_new_tokens=12, eos_token_id=())
    s = Sampler(seed=3)
    ids = lambda out: lists(out.ids)
    assert ids(guided(lm, rows, [rows[1]], guidance_scale=1., sampler=s, **run)) == ids(
        generate(lm, rows, s, **run)) \
        == ids(guided(lm, rows, [rows[1]], guidance_scale=None, sampler=s, **run))
    # a draw depends on the prompt
    assert (ids(guided(lm, rows, [rows[1]], guidance_scale=0., **run))
            == ids(generate(lm, [rows[1]] * 3, **run)))




# what all three share

def three(lm, prompt, **kw):
    return [contrastive_decoding(lm, lm, prompt, amateur_context=2, **kw),
            dola(lm, prompt, dola_layers='low', **kw),
            guided(lm, prompt, 'The princess', guidance_scale=1.5, **kw)]


@pytest.mark.long
def test_stop_strings_streams_seeds(lm):
    prompts = ['Once upon a time', 'The wolf said to the little pig']
    s = Sampler(temperature=.8, top_p=.9)
    kw = dict(sampler=s, n=2, max_new_tokens=25, stop=[' the ', ','], seed=[5, 6])
    heard = []
    for out, again in zip(three(lm, prompts, **kw),
                          three(lm, prompts, **kw, streamer=heard.append)):
        assert out.texts == again.texts
        assert not any(',' in t or ' the ' in t for t in out.texts)
        assert len(set(out.texts)) > 1 and 'stop' in out.finish_reasons
    joined = [''] * 12
    ends = 0
    for piece in heard:
        joined[4 * (ends // 4) + piece.row] += piece.text
        ends += piece.finish_reason is not None
    assert joined == [t for out in three(lm, prompts, **kw) for t in out.texts]
    for out, i in zip(three(lm, prompts[1], **kw | dict(seed=6)),
                      three(lm, prompts, **kw)):
        assert out.texts == i.texts[2:]


@pytest.mark.long
def test_fresh_seeds_follow_torch(lm):
    s = Sampler()
    torch.manual_seed(0); a = three(lm, 'Once', sampler=s, max_new_tokens=8)
    torch.manual_seed(0); b = three(lm, 'Once', sampler=s, max_new_tokens=8)
    c = three(lm, 'Once', sampler=s, max_new_tokens=8)
    assert [x.texts for x in a] == [x.texts for x in b] != [x.texts for x in c]


def test_no_token_and_no_tokenizer(lm, rows, tiny):
    for out in three(lm, ['Once', 'The wolf'], max_new_tokens=0, n=2):
        assert (out.texts, out.scores,
                out.stats['forward_passes']) == ([''] * 4, [0.] * 4, 0)
    tiny_lm = tiny('llama')
    for out in (dola(tiny_lm, rows, dola_layers='low', max_new_tokens=2),
                guided(tiny_lm, rows, rows, guidance_scale=1.5, max_new_tokens=2)):
        assert out.texts is None


def test_cost_of_two_models(rows, tiny):
    lm, amateur = tiny('llama'), tiny('gpt2')
    run = dict(max_new_tokens=10, eos_token_id=())
    out = contrastive_decoding(lm, amateur, rows, amateur_context=2, **run)
    one = generate(lm, rows, **run)
    S, B = sum(map(len, rows)), len(rows)
    assert (out.stats['forward_passes'],
            out.stats['tokens_evaluated']) == (20, S + B * 9 + B * 2 + B * 9)
    columns = 11 + 9, 2 + 9  # widest prompt, and what was read after it
    # width, layers, keys and values, float32
    assert out.stats['peak_cache_bytes'] == sum(columns) * B * 32 * 2 * 2 * 4
    assert one.stats['peak_cache_bytes'] == columns[0] * B * 32 * 2 * 2 * 4
    d = dola(lm, rows, dola_layers=[0, 1], **run)
    assert ({k: v for k, v in d.stats.items() if k != 'seconds'}
            == {k: v for k, v in one.stats.items() if k != 'seconds'})
    table = LanguageModel(TableModel({(): [.5, .5]}))
    assert guided(table, torch.tensor([[1]]), [[1, 1]], guidance_scale=2.,
                  max_new_tokens=3).stats == \
        dict(forward_passes=6, tokens_evaluated=1 + 2 + 3 + 2 + 3 + 4,
             seconds=pytest.approx(1, abs=1), peak_cache_bytes=0)


def test_rows_that_end_leave_both_caches(rows, lists, tiny):
    lm = tiny('llama')
    free = guided(lm, rows, [rows[1]], guidance_scale=2., max_new_tokens=20,
                  eos_token_id=())
    eos = next(e for e in range(60)
               if 0 < min((i.tolist() + [e]).index(e) for i in free.ids) < 20
               and any(e not in i for i in free.ids))
    out = guided(lm, rows, [rows[1]], guidance_scale=2., max_new_tokens=20,
                 eos_token_id=eos)
    cut = [i.tolist()[:i.tolist().index(eos) + 1] if eos in i else i.tolist()
           for i in free.ids]
    assert lists(out.ids) == cut and len({len(i) for i in cut}) > 1
    assert out.finish_reasons == ['stop' if eos in i else 'length' for i in free.ids]
    live = sum(len(i) - 1 for i in out.ids)
    assert (out.stats['tokens_evaluated']
            == sum(map(len, rows)) + 3 * len(rows[1]) + 2 * live)


def test_tiny_vocabularies_and_tables():
    one = LanguageModel(TableModel({(): [1.]}))
    assert contrastive_decoding(one, one, torch.tensor([[0]]),
                                max_new_tokens=3).ids[0].tolist() == [0, 0, 0]
    p = LanguageModel(TableModel({(): [0., .5, .5], (1,): [1., 0., 0.]}))
    q = LanguageModel(TableModel({(): [.5, 0., .5]}))
    assert contrastive_decoding(p, q, torch.tensor([[2]]), max_new_tokens=2,
                                eos_token_id=()).ids[0].tolist() == [1, 0]
    with pytest.raises(ValueError, match='shows no layers'):
        dola(one, torch.tensor([[0]]), dola_layers='low')
    with pytest.raises(ValueError, match='shows no layers'): with_exits(one, [0])


@pytest.mark.some(1)
@pytest.mark.parametrize('family', ['llama', 'gpt2'])
def test_bfloat16(family, rows, tiny):
    half = LanguageModel(tiny(family).model.to(torch.bfloat16))
    for out in (dola(half, rows, dola_layers=[0, 1], max_new_tokens=5),
                guided(half, rows, [rows[0]], guidance_scale=2., max_new_tokens=5),
                contrastive_decoding(tiny(family), half, rows, max_new_tokens=5)):
        assert all(len(i) for i in out.ids)
        assert all(l.dtype == torch.float32 and l.isfinite().all()
                   for l in out.logprobs)


def test_nothing_can_be_drawn():
    p = LanguageModel(TableModel({(): [.5, .5]}))
    with pytest.raises(ValueError, match='row 0'):
        contrastive_decoding(p, p, torch.tensor([[0]]),
                             sampler=Sampler(ban_tokens=[[0], [1]]), max_new_tokens=2)


@pytest.mark.parametrize('kw, error, match', [
    (dict(alpha=1.5), ValueError, r'alpha must be a number in \[0, 1\], not 1.5'),
    (dict(alpha=[.1, .2, .3]), ValueError,
     'alpha must be one number, or one per prompt .2.'),
    (dict(alpha='x'), TypeError, 'alpha'),
    (dict(beta=-1), ValueError,
     'beta must be a number >= 0, infinity included, not -1'),
    (dict(beta=math.nan), ValueError, 'beta'),
    (dict(amateur_temperature=0), ValueError,
     'amateur_temperature must be a finite number > 0, not 0'),
    (dict(amateur_temperature=INF), ValueError, 'amateur_temperature'),
    (dict(amateur_context=0), ValueError,
     'amateur_context must be an integer >= 1, not 0'),
    (dict(max_new_tokens=-1), ValueError, 'max_new_tokens'),
    (dict(n=0), ValueError, 'n must be'), (dict(stop=['']), ValueError, 'stop'),
    (dict(seed=[1, 2, 3]), ValueError, 'seed'),
    (dict(eos_token_id=-1), ValueError, 'eos_token_id'),
    (dict(streamer=3), TypeError, 'streamer must be a function of a Piece, not 3')])
def test_refusals_of_contrastive_decoding(kw, error, match, lm, monkeypatch):
    monkeypatch.setattr(LanguageModel, 'forward', lambda *a,
                        **k: pytest.fail('a pass was made'))
    with pytest.raises(error, match=match):
        contrastive_decoding(lm, lm, ['Once', 'The'], **kw)


@pytest.mark.parametrize('negative, scale, error, match', [
    ('Once', -1, ValueError, 'guidance_scale must be a finite number >= 0, not -1'),
    ('Once', INF, ValueError, 'guidance_scale'),
    ('Once', [1., 2., 3.], ValueError,
     'guidance_scale must be one number, or one per prompt .2.'),
    (['a', 'b', 'c'], 2., ValueError,
     'negative_prompt must be one, or one per prompt .2., not 3'),
    (7, 2., TypeError, 'prompt')])
def test_refusals_of_guidance(negative, scale, error, match, lm, monkeypatch):
    monkeypatch.setattr(LanguageModel, 'forward', lambda *a,
                        **k: pytest.fail('a pass was made'))
    with pytest.raises(error, match=match):
        guided(lm, ['Once', 'The'], negative, guidance_scale=scale)


def test_amateurs_of_other_tokens(lm, tiny):
    with pytest.raises(TypeError, match='amateur must be a LanguageModel'):
        contrastive_decoding(lm, lm.model, 'Once')
    with pytest.raises(ValueError,
                       match='vocabulary of 60 tokens, and the model has 4096'):
        contrastive_decoding(lm, tiny('llama'), 'Once')
    class Renamed:
        def get_vocab(self):
            return {k + 'x': v for k, v in lm.tokenizer.get_vocab().items()}
    with pytest.raises(ValueError, match='other tokens'):
        contrastive_decoding(lm, LanguageModel(lm.model, Renamed()), 'Once')
    again = ls.load()
    # an equal tokenizer is fine
    assert contrastive_decoding(lm, again, 'Once', max_new_tokens=2).ids[0].tolist()
