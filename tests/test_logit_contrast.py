"""Contrasts against plain loops, transformers 5 and numbers recorded from transformers
4.55; two caches, two windows, exits of other families"""
import json, math
from pathlib import Path

import pytest, torch
import transformers as tf
from checks import frequencies, same

import llm_sampling as ls
from llm_sampling.generation import generate
from llm_sampling.logit_contrast import (
    candidate_layers, contrast, contrastive_decoding, dola, dola_contrast, guided,
                                         js_divergence, premature_layer,
    published_divergence, with_exits)
from llm_sampling.models import LanguageModel
from llm_sampling.table_model import TableModel
from llm_sampling.sampler import Sampler
from tiny_models import FAMILIES, SIZE

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


def formula(p, q, own, against, alpha):
    "The score of each token in float64, one row, token by token"
    p, q = p.double().softmax(-1), q.double().softmax(-1)
    best = p.max()
    return [own * math.log(x) - against * math.log(y) if x >= alpha * best else -INF
            for x, y in zip(p.tolist(), q.tolist())]


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


def test_bad_rows_stay_bad():
    z = torch.tensor([[0., 1.], [math.nan, 0.], [-INF, -INF]])
    out = contrast(z, torch.zeros(3, 2), alpha=.1)
    assert out[0].isfinite().any() and out[1].isnan().any() and (out[2] == -INF).all()
    # no law to leave: the draw must see it
    assert contrast(torch.zeros(2), torch.full((2,), -INF)).isnan().all()


def test_js_divergence_is_its_definition():
    g = torch.Generator().manual_seed(0)
    z, y = 4 * torch.randn(50, 30, generator=g), 4 * torch.randn(50, 30, generator=g)
    z[:, 3], y[:, 5], y[:, 3] = -INF, -INF, -INF
    for a, b, ours in zip(z.double().softmax(-1), y.double().softmax(-1),
                          js_divergence(z, y)):
        kl = lambda x, m: sum(u * math.log(u / w)
                              for u, w in zip(x.tolist(), m.tolist()) if u)
        same(ours, (kl(a, (a + b) / 2) + kl(b, (a + b) / 2)) / 2, rtol=1e-4, atol=1e-6)
    same(js_divergence(z, y), js_divergence(y, z))
    assert js_divergence(z, z).tolist() == [0.] * 50


def test_dola_contrast_takes_each_rows_own_layer():
    g = torch.Generator().manual_seed(0)
    z, e = 2 * torch.randn(6, 20, generator=g), 2 * torch.randn(6, 4, 20, generator=g)
    chosen = premature_layer(z, e).tolist()
    assert len({*chosen}) > 1
    for i, j in enumerate(chosen):
        assert js_divergence(z[i], e[i, j]) == max(js_divergence(z[i], e[i, k])
                                                   for k in range(4))
        same(dola_contrast(z, e, .2)[i], contrast(z[i], e[i, j], alpha=.2))
    assert premature_layer(z[:1], e[:1, [0, 0, 0]]).item() == 0


# contrastive decoding

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
        law = p**own / q**against * (p >= .04)
        frequencies(torch.cat(out.ids), law / law.sum())


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
    law = contrast(torch.randn(50), torch.zeros(50), 0., 0.)
    assert (law == 0).all()


# guidance

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


# DoLa

CASES = json.loads((Path(__file__).parent/'data'/'logit_contrast.json').read_text())
GPT2 = dict(vocab_size=60, n_embd=32, n_head=2, n_positions=64, bos_token_id=0,
            eos_token_id=0)


def build(family, layers, tied, seed=7):
    "Weights that are the same in every version of transformers"
    if family == 'gpt2':
        m = tf.GPT2LMHeadModel(tf.GPT2Config(**GPT2, n_layer=layers,
                                             tie_word_embeddings=tied))
    else:
        m = tf.LlamaForCausalLM(tf.LlamaConfig(**SIZE | dict(num_hidden_layers=layers),
                                               tie_word_embeddings=tied))
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sorted(m.named_parameters()):
            noise = torch.randn(p.shape, generator=g)
            p.copy_(1 + .5 * noise if name.endswith('weight')
                    and ('norm' in name or 'ln_' in name) else .3 * noise)
    return LanguageModel(m)


def checksum(lm):
    return sum(p.double().abs().sum().item()
               for _, p in sorted(lm.model.named_parameters()))


def called(c):
    tied = 'tied' if c['tied'] else 'free'
    return f"{c['family']}-{c['layers']}-{tied}-{c['dola_layers']}-{c['corrected']}"

@pytest.mark.parametrize('case', CASES, ids=called)
def test_dola_is_transformers_455(case, rows, lists):
    """The cases were written by transformers 4.55.4, each prompt alone and all as a
    batch: as it is, and `corrected` (with the final norm before the early exits, and
    the divergence the right way round). Its layer was chosen by the mean over a
    batch, so its batches are another matter."""
    lm = build(case['family'], case['layers'], case['tied'])
    assert checksum(lm) == pytest.approx(case['checksum'], rel=1e-12)
    kw = dict(dola_layers=case['dola_layers'], published=not case['corrected'],
              max_new_tokens=12, eos_token_id=())
    assert lists(dola(lm, rows, **kw).ids) == case['alone']
    assert dola(lm, rows[:1], sampler=Sampler(temperature=0, repetition_penalty=1.2),
                **kw).ids[0].tolist() == case['penalised']


HELD_OUT = json.loads((Path(__file__).parent/'data'/'dola_published.json').read_text())


def test_dola_as_published():
    """28 single prompts, written by transformers 4.55.4 after `published` was made; the
    corrected method says something else"""
    moved = 0
    for case in HELD_OUT:
        lm = build(*(case[k] for k in ('family', 'layers', 'tied', 'seed')))
        kw = dict(dola_layers=case['dola_layers'], max_new_tokens=24, eos_token_id=())
        assert checksum(lm) == pytest.approx(case['checksum'], rel=1e-12)
        assert dola(lm, [case['prompt']], published=True,
                    **kw).ids[0].tolist() == case['ids']
        moved += dola(lm, [case['prompt']], **kw).ids[0].tolist() != case['ids']
    assert len(HELD_OUT) == 28 and moved > 20


def test_published_divergence_is_its_definition():
    g = torch.Generator().manual_seed(0)
    z, y = 4 * torch.randn(50, 30, generator=g), 4 * torch.randn(50, 30, generator=g)
    z[:, 3], y[:, 3] = -INF, -INF
    for a, b, ours in zip(z.double().softmax(-1), y.double().softmax(-1),
                          published_divergence(z, y)):
        kl = lambda m, x: sum(w * math.log(w / u)
                              for u, w in zip(x.tolist(), m.tolist()) if w)
        same(ours, (kl((a + b) / 2, a) + kl((a + b) / 2, b)) / 2, rtol=1e-4, atol=1e-6)
    assert published_divergence(torch.tensor([0., -INF]), torch.tensor([0., 0.])) == INF
    assert published_divergence(z, z).abs().max() < 1e-6


def test_their_batches_depend_on_neighbours():
    one_layer = [c for c in CASES if len(
        candidate_layers(c['dola_layers'], c['layers'], c['tied'])) == 1]
    assert len(CASES) == 56 and len(one_layer) >= 20
    assert all(c['batch'] == c['alone'] for c in one_layer)  # nothing to choose
    changed = sum(a != b for c in CASES for a, b in zip(c['alone'], c['batch']))
    assert changed == 38


def exits_by_hidden_states(lm, ids, layers):
    "Early exits with the final norm, from the hidden states that transformers reports"
    states = lm.model(ids, output_hidden_states=True).hidden_states
    norm = lm.model.transformer.ln_f if hasattr(lm.model,
                                                'transformer') else lm.model.model.norm
    return torch.stack(
        [lm.model.get_output_embeddings()(norm(states[i][:, -1])) for i in layers], 1)


@pytest.mark.parametrize('family', ['llama', 'gpt2', 'qwen3', 'mistral'])
@torch.no_grad()
def test_dola_is_a_plain_loop(family, rows, tiny):
    lm = tiny(family)
    for layers in ([0], [0, 1]):
        out = dola(lm, rows, dola_layers=layers, alpha=.2, max_new_tokens=10,
                   eos_token_id=())
        for i, row in enumerate(rows):
            ids, total = row[None], 0.
            for _ in range(10):
                z = lm.next_logits(ids)[0]
                exits = exits_by_hidden_states(lm, ids, layers)[0]
                m = lambda e: (z.softmax(-1) + e.softmax(-1)) / 2
                js = [
                    sum((x.softmax(-1) * (x.log_softmax(-1) - m(e).log())).sum().item()
                        for x in (z, e)) for e in exits]
                scores = formula(z, exits[js.index(max(js))], 1., 1., .2)
                best = max(range(60), key=scores.__getitem__)
                ids = torch.cat([ids, torch.tensor([[best]])], 1)
                total = total + scores[best]
            assert out.ids[i].tolist() == ids[0, len(row):].tolist()
            assert abs(out.scores[i] - total) < 1e-2


@pytest.mark.parametrize('family', ['llama', 'gpt2', 'mistral', 'bloom', 'mamba'])
def test_dola_rows_windows_samples(family, rows, lists, tiny):
    "A row alone, without cache, past the window, and sampled; some rows end early"
    lm, slow = tiny(family), tiny(family)
    lm.window = slow.window = 13
    slow.cached = False
    s = Sampler(temperature=.9, top_k=20, seed=8)
    kw = dict(dola_layers=[0, 1], alpha=[.001, .01, .1], sampler=s, n=2,
              max_new_tokens=25)
    ids = lambda out: lists(out.ids)
    free = dola(lm, rows, **kw, eos_token_id=())
    eos = [free.ids[0][4].item(), free.ids[3][9].item()]
    out = dola(lm, rows, **kw, eos_token_id=eos)
    assert len({len(i) for i in out.ids}) > 1 and max(map(len, out.ids)) > 12
    assert ids(out) == ids(dola(slow, rows, **kw, eos_token_id=eos))
    for i, row in enumerate(rows):
        alone = dola(lm, [row], **kw | dict(alpha=kw['alpha'][i]), eos_token_id=eos)
        assert ids(alone) == ids(out)[2*i:2*i+2]
        same(torch.tensor(alone.scores), torch.tensor(out.scores[2*i:2*i+2]), rtol=1e-3,
             atol=1e-3)
    # logprobs: of the model, not of an exit
    for row, said, logp in zip([r for r in rows for _ in range(2)], out.ids,
                               out.logprobs):
        text, n = torch.cat([row, said]), max(0, 12 - len(row))
        raw = lm.forward(text[None, :len(row) + n])[0][0].log_softmax(-1)[len(row)-1:-1]
        same(logp[:n], raw.gather(1, said[:n, None])[:len(logp), 0][:n], rtol=1e-3,
             atol=1e-3)


@pytest.mark.parametrize('family', FAMILIES)
@torch.no_grad()
def test_exits_of_families(family, rows, tiny):
    """The model's own logits are unmoved, an exit is what the layers below it say, and
    no hook stays"""
    lm = tiny(family)
    laws = with_exits(lm, [0, 1]).next_logits(rows).unflatten(-1, (3, -1))
    same(laws[:, 0], lm.next_logits(rows), rtol=1e-4, atol=1e-4)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in lm.model.modules())
    del next(m for m in lm.model.get_decoder().children()
             if isinstance(m, torch.nn.ModuleList))[1]
    # of a model that ends before layer 1
    same(laws[:, 2], lm.next_logits(rows), rtol=1e-4, atol=1e-4)


TINY = dict(vocab_size=60, hidden_size=32, num_hidden_layers=3, num_attention_heads=2)
GPT = dict(vocab_size=60, n_embd=32, n_layer=3, n_head=2, n_positions=64)
OPT = TINY | dict(ffn_dim=48, max_position_embeddings=64, init_std=.2)
ENDS = dict(  # model, config, and why it has no early exits; None: it has
    gpt1=('OpenAIGPTLMHeadModel', 'OpenAIGPTConfig', GPT,
          'nothing comes after its layers'),
    xlm=('XLMWithLMHeadModel', 'XLMConfig',
         dict(vocab_size=60, emb_dim=32, n_layers=3, n_heads=2,
              max_position_embeddings=64, causal=True), 'nothing'),
    opt_post=('OPTForCausalLM', 'OPTConfig',
              OPT | dict(word_embed_proj_dim=32, do_layer_norm_before=False),
              'nothing comes after its layers'),
    opt_post_projected=('OPTForCausalLM', 'OPTConfig', OPT | dict(
        word_embed_proj_dim=16, do_layer_norm_before=False), None),
    opt_projected=('OPTForCausalLM', 'OPTConfig', OPT | dict(word_embed_proj_dim=16),
                   None),
    bigcode=('GPTBigCodeForCausalLM', 'GPTBigCodeConfig', GPT,
             'cannot be rows beside its own'),
    gemma3n=('Gemma3nForCausalLM', 'Gemma3nTextConfig', TINY | dict(
        vocab_size_per_layer_input=60, intermediate_size=48, num_key_value_heads=1,
        head_dim=16, hidden_size_per_layer_input=8, laurel_rank=4,
        num_kv_shared_layers=0, layer_types=['full_attention'] * 3,
        activation_sparsity_pattern=[0.] * 3), 'cannot be rows beside its own'),
    falcon=('FalconForCausalLM', 'FalconConfig', TINY, None),
    mpt=('MptForCausalLM', 'MptConfig',
         dict(vocab_size=60, d_model=32, n_layers=3, n_heads=2), None),
    cohere=('CohereForCausalLM', 'CohereConfig', TINY | dict(intermediate_size=48),
            None),
    granite=('GraniteForCausalLM', 'GraniteConfig',
             TINY | dict(intermediate_size=48, logits_scaling=3.), None),
    codegen=('CodeGenForCausalLM', 'CodeGenConfig', GPT | dict(rotary_dim=4, n_head=4),
             None),
)


@pytest.mark.parametrize('name', ENDS)
@torch.no_grad()
def test_exits_are_right_or_refused(name, rows):
    """Models without a final norm, and those that count their rows: an error that names
    the model, and no wrong token"""
    model, config, kw, why = ENDS[name]
    torch.manual_seed(0)
    lm = LanguageModel(getattr(tf, model)(getattr(tf, config)(**kw)))
    run = dict(dola_layers=[0, 1], max_new_tokens=3, eos_token_id=())
    if why:
        for published in (False, True):
            with pytest.raises(ValueError,
                               match=f'{model} has no early exits: .*{why}'):
                dola(lm, rows, published=published, **run)
        assert not any(m._forward_hooks or m._forward_pre_hooks
                       for m in lm.model.modules())
        return
    laws = with_exits(lm, [0, 1]).next_logits(rows).unflatten(-1, (3, -1))
    same(laws[:, 0], lm.next_logits(rows), rtol=1e-4, atol=1e-4)
    assert len(dola(lm, rows, **run).ids[0]) == 3
    del next(m for m in lm.model.get_decoder().children()
             if isinstance(m, torch.nn.ModuleList))[1:]
    same(laws[:, 2], lm.next_logits(rows), rtol=1e-4, atol=1e-4)


def test_the_final_norm_has_a_width():
    """The norm of a projected OPT is none: without it, early states do not fit the
    output embeddings"""
    model, config, kw, _ = ENDS['opt_post_projected']
    lm = LanguageModel(getattr(tf, model)(getattr(tf, config)(**kw)))
    with pytest.raises(ValueError, match='OPTForCausalLM has no early exits'):
        dola(lm, [[1, 2]], dola_layers=[0], published=True)


def test_exits_that_change_the_model_are_refused(tiny):
    "A model whose logits depend on the other rows of the batch"
    lm = tiny('llama')
    head = lm.model.lm_head.forward
    lm.model.lm_head.forward = lambda x: head(x - x.mean(0))
    with pytest.raises(ValueError, match='LlamaForCausalLM has no early exits: '
                                         'its own logits are others beside theirs'):
        dola(lm, [[1, 2]], dola_layers=[0])


def test_exits_are_checked_once_per_model(rows, monkeypatch, tiny):
    lm, run = tiny('llama'), dict(dola_layers=[0], max_new_tokens=4, eos_token_id=())
    first, passes = dola(lm, rows, **run), []
    lm.model.register_forward_pre_hook(lambda *_: passes.append(1))
    assert dola(LanguageModel(lm.model), rows, **run).scores == first.scores
    assert len(passes) == 4


def test_hooks_go_when_the_model_fails(rows, tiny):
    lm = tiny('llama')
    with pytest.raises(Exception): with_exits(lm, [0]).forward(torch.tensor([[999]]))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in lm.model.modules())


@pytest.mark.parametrize('N, tied, low, high', [
    (1, True, [0], [0]), (1, False, [0], [0]), (2, True, [1], [1]),
    (2, False, [0], [1]), (3, True, [2], [1]), (3, False, [0], [1]),
    (4, True, [2], [2]), (4, False, [0], [2]), (5, True, [2], [2, 4]),
    (6, True, [2], [3, 5]), (6, False, [0, 2], [3, 5]),
    (32, False, [*range(0, 16, 2)], [*range(16, 32, 2)]),
    (32, True, [*range(2, 16, 2)], [*range(16, 32, 2)]),
    (40, False, [*range(0, 20, 2)], [*range(20, 40, 2)]),
    (41, False, [*range(0, 20, 2)], [*range(21, 41, 2)]),
    (80, True, [*range(2, 20, 2)], [*range(60, 80, 2)])])
def test_candidate_layers(N, tied, low, high):
    assert (candidate_layers('low', N, tied),
            candidate_layers('high', N, tied)) == (low, high)
    assert candidate_layers([N - 1, 0, 0], N, tied) == sorted({0, N - 1})


# what all three share

def three(lm, prompt, **kw):
    return [contrastive_decoding(lm, lm, prompt, amateur_context=2, **kw),
            dola(lm, prompt, dola_layers='low', **kw),
            guided(lm, prompt, 'The princess', guidance_scale=1.5, **kw)]


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


@pytest.mark.parametrize('family', ['llama', 'gpt2'])
def test_bfloat16(family, rows, tiny):
    half = LanguageModel(tiny(family).model.to(torch.bfloat16))
    for out in (dola(half, rows, dola_layers=[0, 1], max_new_tokens=5),
                guided(half, rows, [rows[0]], guidance_scale=2., max_new_tokens=5),
                contrastive_decoding(tiny(family), half, rows, max_new_tokens=5)):
        assert all(len(i) for i in out.ids)
        assert all(l.dtype == torch.float32 and l.isfinite().all()
                   for l in out.logprobs)


def test_tied_is_seen_in_the_weights(rows, lists):
    for tied, layers in ((True, [2]), (False, [0, 2])):
        lm = build('llama', 6, tied)
        a = dola(lm, rows, dola_layers='low', max_new_tokens=6, eos_token_id=())
        assert lists(a.ids) == lists(dola(lm, rows, dola_layers=layers,
                                          max_new_tokens=6, eos_token_id=()).ids)


def test_nothing_can_be_drawn():
    p = LanguageModel(TableModel({(): [.5, .5]}))
    with pytest.raises(ValueError, match='row 0'):
        contrastive_decoding(p, p, torch.tensor([[0]]),
                             sampler=Sampler(ban_tokens=[[0], [1]]), max_new_tokens=2)


@pytest.mark.parametrize('kw, error, match', [
    (dict(alpha=1.5), ValueError, r'alpha must be a number in \[0, 1\], not 1.5'),
    (dict(alpha=[.1, .2, .3]), ValueError,
     'alpha must be one number, or one for each of the 2 prompts'),
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


@pytest.mark.parametrize('layers',
                         ['middle', [], [6], [-1], [True], 3, None, ['low'], [1.]])
def test_refusals_of_dola(layers, lm, monkeypatch):
    monkeypatch.setattr(LanguageModel, 'forward', lambda *a,
                        **k: pytest.fail('a pass was made'))
    with pytest.raises(ValueError,
                       match='dola_layers must be .* layers from 0 to 5, not'):
        dola(lm, 'Once', dola_layers=layers)
    with pytest.raises(ValueError, match='alpha'):
        dola(lm, 'Once', dola_layers='low', alpha=2)


@pytest.mark.parametrize('negative, scale, error, match', [
    ('Once', -1, ValueError, 'guidance_scale must be a finite number >= 0, not -1'),
    ('Once', INF, ValueError, 'guidance_scale'),
    ('Once', [1., 2., 3.], ValueError,
     'guidance_scale must be one number, or one for each of the 2 prompts'),
    (['a', 'b', 'c'], 2., ValueError,
     'negative_prompt must be one, or one for each of the 2 prompts, not 3'),
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
