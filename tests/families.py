"""A tiny random model of each architecture that transformers knows as causal, and what
holds for it"""
import inspect, warnings
from contextlib import contextmanager

import torch
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as ARCHITECTURES)

from llm_sampling.beam import beam_search
from llm_sampling.generation import generate
from llm_sampling.models import LanguageModel
from llm_sampling.token_tree import TokenTree

# Whatever a config calls its sizes: each family takes those that it knows
SIZES = dict(
    vocab_size=64, pad_token_id=0, bos_token_id=1, eos_token_id=2, is_decoder=True,
    causal=True, attention_dropout=0.,
    **dict.fromkeys((
        'hidden_size n_embd d_model dim n_embed word_embed_proj_dim '
        'embedding_size lru_width emb_dim embed_dim'
        ).split(), 32),
    **dict.fromkeys((
        'num_hidden_layers n_layer n_layers num_layers decoder_layers '
        'num_decoder_layers'
        ).split(), 2),
    **dict.fromkeys((
        'num_attention_heads n_head n_heads decoder_attention_heads '
        'encoder_attention_heads num_heads'
        ).split(), 4),
    **dict.fromkeys((
        'intermediate_size ffn_dim decoder_ffn_dim encoder_ffn_dim n_inner '
        'ffn_hidden_size d_ff dff dim_ff'
        ).split(), 48),
    **dict.fromkeys((
        'max_position_embeddings n_positions n_ctx max_seq_len '
        'max_sequence_length context_length'
        ).split(), 96),
    **dict.fromkeys((
        'num_experts num_local_experts n_routed_experts moe_num_experts '
        'linear_num_value_heads mamba_n_heads conv_kernel'
        ).split(), 4),
    **dict.fromkeys((
        'num_experts_per_tok num_experts_per_token moe_topk num_key_value_heads '
        'linear_num_key_heads mamba_expand'
        ).split(), 2),
    **dict.fromkeys((
        'n_group topk_group first_k_dense_replace num_experts_shared '
        'mamba_n_groups encoder_layers n_shared_experts'
        ).split(), 1),
    **dict.fromkeys((
        'head_dim d_kv qk_rope_head_dim qk_nope_head_dim v_head_dim state_size '
        'mamba_d_state linear_key_head_dim linear_value_head_dim dim_head '
        'index_head_dim'
        ).split(), 8),
    **dict.fromkeys((
        'moe_intermediate_size shared_expert_intermediate_size q_lora_rank '
        'kv_lora_rank qk_head_dim mamba_d_head sliding_window attention_window '
        'window_size attention_window_size attention_chunk_size'
        ).split(), 16),
    index_topk=4, index_n_heads=4, rotary_dim=4)

# What single families want besides, or instead; a key without a value: their own
MIXED = dict(layer_types=['linear_attention', 'full_attention'])
OWN = {
    'bailing_hybrid': MIXED, 'qwen3_next': MIXED, 'qwen3_5': MIXED,
    'qwen3_5_text': MIXED, 'qwen3_5_moe': MIXED,
    'qwen3_5_moe_text': MIXED, 'olmo_hybrid': MIXED, 'minimax': MIXED,
    'granitemoehybrid': MIXED,
    'bamba': dict(attn_layer_indices=[1]),
    'jamba': dict(attn_layer_period=2, attn_layer_offset=1),
    'blt': dict(encoder_hash_byte_group_vocab=64, encoder_config=dict(
        hidden_size_global=32), decoder_config=dict(hidden_size_global=32)),
    'cohere_compass_text': dict(
        rope_parameters=dict.fromkeys(['full_attention', 'sliding_attention'],
                                      dict(rope_type='default', rope_theta=1e4))),
    'dbrx': dict(ffn_config=dict(hidden_size=32, ffn_hidden_size=16),
                 attn_config=dict(kv_n_heads=2, rope_theta=1e4, clip_qkv=8.)),
    'dots3_note': dict(
        text_config=dict(per_layer_config={'01': dict(num_attention_heads=4)})),
    'dots3_note_text': dict(per_layer_config={}),
    'ernie4_5_moe': dict(moe_k=2), 'falcon_h1': dict(mamba_d_ssm=64),
    'gemma3n_text': dict(num_hidden_layers=4, num_kv_shared_layers=2,
                         layer_types=['sliding_attention', 'full_attention'] * 2,
                         hidden_size_per_layer_input=8, vocab_size_per_layer_input=64,
                         laurel_rank=8, activation_sparsity_pattern=[.95, .95, 0., 0.]),
    'gemma4': dict(
        text_config=dict(hidden_size_per_layer_input=8, vocab_size_per_layer_input=64,
                         per_layer_config={})),
    'gemma4_text': dict(hidden_size_per_layer_input=8, vocab_size_per_layer_input=64,
                        per_layer_config={}),
    'gpt_neo': dict(attention_types=[[['global', 'local'], 1]]),
    'kimi_linear': MIXED | dict(linear_head_dim=8, linear_num_heads=4),
    'lfm2': dict(layer_types=['conv', 'full_attention']),
    'lfm2_moe': dict(layer_types=['conv', 'full_attention']),
    'longcat_flash': dict(expert_ffn_hidden_size=16, zero_expert_num=2),
    'mamba2': dict(num_heads=4, head_dim=16, n_groups=1),
    'nemotron_h': dict(layers_block_type=['linear_attention', 'full_attention', 'moe',
                                          'mlp'], num_hidden_layers=4, ssm_state_size=8,
                       mamba_num_heads=4, mamba_head_dim=16, n_groups=1,
                       moe_shared_expert_intermediate_size=16),
    'reformer': dict(axial_pos_embds=False, attn_layers=['local', 'lsh'],
                     attention_head_size=8, feed_forward_size=48, hash_seed=0,
                     num_hidden_layers=..., max_position_embeddings=128),
    'roc_bert': dict(shape_vocab_size=64, pronunciation_vocab_size=64,
                     shape_embed_dim=8, pronunciation_embed_dim=8),
    'zamba': dict(num_hidden_layers=4, layers_block_type=['linear_attention', 'hybrid']
                  * 2, attention_hidden_size=64, attention_head_dim=16, mamba_dt_rank=4,
                  num_key_value_heads=4),
    'zamba2': dict(num_hidden_layers=3, layers_block_type=[
        'linear_attention', 'linear_attention', 'hybrid'], num_key_value_heads=4,
                   n_mamba_heads=4, num_mem_blocks=1, adapter_rank=4, mamba_ngroups=1),
    'xmod': dict(languages=['en_XX'], default_language='en_XX'),
    'zaya': dict(num_experts_per_tok=1, router_hidden_size=16),
}


def settings(config, own):
    "The sizes that a config class knows, and a family's own"
    known = set()
    for c in config.__mro__:
        if '__init__' in c.__dict__:
            known |= set(inspect.signature(c.__init__).parameters)
        known |= set(getattr(c, '__annotations__', {}))
    found = {name: value for name, value in SIZES.items() if name in known}
    if 'kv_lora_rank' in known:
        found['num_key_value_heads'] = 4       # compressed together: one for each head
    found |= own
    for name, inner in getattr(config, 'sub_configs', {}).items():
        kind = {}
        if inner.__name__ == 'AutoConfig':  # whatever the family has there by itself
            default = getattr(config(), name)
            inner, kind = type(default), dict(model_type=default.model_type)
        found[name] = kind | settings(inner, found.get(name, {}))
    return {name: value for name, value in found.items() if value is not ...}


def tiny(family):
    """A model of a family with random weights, large enough for results that differ;
    `ValueError` if it would not be tiny"""
    import transformers as tf
    config, model = tf.CONFIG_MAPPING[family], getattr(tf, ARCHITECTURES[family])
    def made():
        """Its config, or as `AutoModelForCausalLM` does, the part of it that speaks of
        text"""
        whole = config(**settings(config, OWN.get(family, {})))
        return (whole.get_text_config()
                if model.config_class in (whole.sub_configs.get('text_config'),)
                else whole)
    torch.manual_seed(0)
    with torch.device('meta'):
        size = sum(p.numel() for p in model._from_config(made()).parameters())
    if size > 8_000_000:
        raise ValueError(f'its smallest model here has {size:,} parameters')
    model = model._from_config(made()).float().eval()
    for p in model.parameters():
        if p.ndim >= 2: torch.nn.init.normal_(p, std=.25)
    return model


ROWS = [torch.randint(3, 64, (n,), generator=torch.Generator().manual_seed(n)).tolist()
        for n in (20, 7, 12)]


@torch.no_grad()
def truth(model, row):
    "The distribution after a row, by the model itself: one row, no mask, no cache"
    out = (model(torch.tensor([row]), use_cache=False)
           if 'use_cache' in inspect.signature(model.forward).parameters
           else model(torch.tensor([row])))
    return out.logits[0, -1].float()


def greedy_row(model, row, n):
    for _ in range(n): row = [*row, truth(model, row).argmax().item()]
    return row[-n:]


def beams_row(model, row, k, n):
    "Beam search by whole rows: the ids of the best, without any end"
    beams = [(0., row)]
    for _ in range(n):
        more = [(s + l, [*ids, t]) for s, ids in beams
                for t, l in enumerate(truth(model, ids).log_softmax(-1).tolist())]
        beams = sorted(more, key=lambda b: -b[0])[:k]
    return beams[0][1][len(row):]


def near(got, want):
    "Equal but for the rounding of float32"
    return bool((got - want).abs().max() <= 1e-3 * max(1., want.abs().max().item()))


def examine(model):
    """What is wrong with a model in the hands of this package, by name; the model must
    be right by itself"""
    lm, wrong = LanguageModel(model), []
    dists = torch.stack([truth(model, row) for row in ROWS])
    def check(name, ok):
        if not ok: wrong.append(name)
    check('alone', near(torch.cat([lm.next_logits([row]) for row in ROWS]), dists))
    check('padded', near(lm.next_logits(ROWS), dists))
    ids, cache = torch.tensor([ROWS[0]]), None
    for start, end in ((0, 17), (17, 18), (18, 19), (19, 20)):
        z, cache = lm.forward(ids[:, start:end], cache=cache)
    check('cached', near(z[0, -1], dists[0]))
    want = [greedy_row(model, row, 4) for row in ROWS]
    out = generate(lm, ROWS, max_new_tokens=4, eos_token_id=())
    check('batch', [row.tolist() for row in out.ids] == want)
    check('row', [generate(lm, [row], max_new_tokens=4, eos_token_id=()).ids[0].tolist()
                  for row in ROWS] == want)
    tree = TokenTree(lm, ROWS)
    first = tree.extend(torch.full((3, 2), -1), torch.tensor([[5, 9]] * 3))
    nodes = torch.cat([first, tree.extend(first[:, :1], torch.tensor([[11]] * 3))], 1)
    paths = [row + tree.path(b, node) for b, row in enumerate(ROWS)
             for node in nodes[b].tolist()]
    check('tree', near(tree.logits(nodes).flatten(0, 1),
                       torch.stack([truth(model, path) for path in paths])))
    found = beam_search(lm, ROWS[:2], num_beams=2, max_new_tokens=3, eos_token_id=())
    check('beams', [row.tolist() for row in found.ids]
          == [beams_row(model, row, 2, 3) for row in ROWS[:2]])
    if lm.window and lm.window <= 96:
        full = (ROWS[0] * 5)[:lm.window]
        check('window', near(lm.next_logits([full])[0], truth(model, full)))
    return wrong, lm, tree


@contextmanager
def quiet():
    from transformers.utils import logging
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally: logging.set_verbosity(level)


def outcome(family):
    "What comes of a family, in words"
    def why(e): return f'{type(e).__name__}: {" ".join(str(e).split())[:120]}'
    with quiet():
        try: model = tiny(family)
        except Exception as e: return f'cannot be made tiny: {why(e)}'
        try: truth(model, ROWS[0])
        except Exception as e: return f'does not run by itself: {why(e)}'
        try: LanguageModel(model)
        except ValueError as e: return f'refused: {e}'
        try: wrong, lm, tree = examine(model)
        except Exception as e: return f'fails: {why(e)}'
    if wrong: return 'wrong: ' + ' '.join(wrong)
    return ', '.join(['right', *['recomputed'] * (not lm.cached),
                      *['pads ignored'] * lm.ignores_padding,
                      type(tree.reader).__name__])


# python tests/families.py [families]: look, and without names write the table
if __name__ == '__main__':
    import json, sys, time
    from pathlib import Path
    import transformers
    torch.set_num_threads(1)
    rows = {}
    for family in sys.argv[1:] or sorted(ARCHITECTURES):
        start = time.perf_counter()
        rows[family] = outcome(family)
        print(family, '|', rows[family], f'| {time.perf_counter() - start:.1f}',
              flush=True)
    if not sys.argv[1:]:
        table = dict(transformers=transformers.__version__, families=rows)
        (Path(__file__).parents[1]/'llm_sampling'/'data'
         /'families.json').write_text(json.dumps(table, indent=1) + '\n')
