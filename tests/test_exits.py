"""DoLa against plain loops and numbers recorded from transformers 4.55; exits of other
families"""
import json, math
from pathlib import Path

import pytest, torch
import transformers as tf
from checks import formula, on_meta, same

from llm_sampling.exits import (
    candidate_layers, dola, dola_contrast, js_divergence, premature_layer,
    published_divergence, with_exits)
from llm_sampling.logit_contrast import contrast
from llm_sampling.models import LanguageModel
from llm_sampling.sampler import Sampler
from tiny_models import FAMILIES, SIZE

INF = math.inf


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


def test_dola_contrast_takes_any_leading_shape():
    g = torch.Generator().manual_seed(1)
    z, e = torch.randn(4, 5, 30, generator=g), torch.randn(4, 5, 3, 30, generator=g)
    for published in (False, True):
        whole = dola_contrast(z, e, .1, published)
        for i in range(4):
            for j in range(5):
                same(whole[i, j], dola_contrast(z[i, j], e[i, j], .1, published))
    on_meta(lambda a, b: dola_contrast(a, b, .1), z[0], e[0])


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


@pytest.mark.some(4)
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


@pytest.mark.some(1)
@pytest.mark.parametrize('part', range(7))
def test_dola_as_published(part):
    """Four single prompts of 28, written by transformers 4.55.4 after `published` was
    made; the corrected method says something else"""
    moved = 0
    for case in HELD_OUT[part::7]:
        lm = build(*(case[k] for k in ('family', 'layers', 'tied', 'seed')))
        kw = dict(dola_layers=case['dola_layers'], max_new_tokens=24, eos_token_id=())
        assert checksum(lm) == pytest.approx(case['checksum'], rel=1e-12)
        assert dola(lm, [case['prompt']], published=True,
                    **kw).ids[0].tolist() == case['ids']
        moved += dola(lm, [case['prompt']], **kw).ids[0].tolist() != case['ids']
    assert len(HELD_OUT) == 28 and moved >= 2


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


@pytest.mark.some(1)
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


@pytest.mark.some(1)
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
    logits = with_exits(lm, [0, 1]).next_logits(rows).unflatten(-1, (3, -1))
    same(logits[:, 0], lm.next_logits(rows), rtol=1e-4, atol=1e-4)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in lm.model.modules())
    del next(m for m in lm.model.get_decoder().children()
             if isinstance(m, torch.nn.ModuleList))[1]
    # of a model that ends before layer 1
    same(logits[:, 2], lm.next_logits(rows), rtol=1e-4, atol=1e-4)


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
    logits = with_exits(lm, [0, 1]).next_logits(rows).unflatten(-1, (3, -1))
    same(logits[:, 0], lm.next_logits(rows), rtol=1e-4, atol=1e-4)
    assert len(dola(lm, rows, **run).ids[0]) == 3
    del next(m for m in lm.model.get_decoder().children()
             if isinstance(m, torch.nn.ModuleList))[1:]
    same(logits[:, 2], lm.next_logits(rows), rtol=1e-4, atol=1e-4)


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


def test_tied_is_seen_in_the_weights(rows, lists):
    for tied, layers in ((True, [2]), (False, [0, 2])):
        lm = build('llama', 6, tied)
        a = dola(lm, rows, dola_layers='low', max_new_tokens=6, eos_token_id=())
        assert lists(a.ids) == lists(dola(lm, rows, dola_layers=layers,
                                          max_new_tokens=6, eos_token_id=()).ids)


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
