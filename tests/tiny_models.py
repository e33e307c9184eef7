"""Families of models small enough for a test, with random weights that are the same in
every run"""
import torch
import transformers as tf

from llm_sampling.models import LanguageModel

SIZE = dict(vocab_size=60, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=64,
            bos_token_id=0, eos_token_id=0, pad_token_id=0)
SLIDE = dict(sliding_window=4)
FAMILIES = dict(
    llama=('Llama', SIZE), qwen3=('Qwen3', SIZE | dict(head_dim=16)),
    mistral=('Mistral', SIZE | SLIDE),
    gemma2=('Gemma2', SIZE | SLIDE | dict(head_dim=16, query_pre_attn_scalar=16)),
    gpt_neox=('GPTNeoX', SIZE), phi=('Phi', SIZE),
    gpt2=('GPT2', dict(vocab_size=60, n_embd=32, n_layer=2, n_head=2, n_positions=64,
                       bos_token_id=0, eos_token_id=0)),
    opt=('OPT', dict(vocab_size=60, hidden_size=32, ffn_dim=48, num_hidden_layers=2,
                     num_attention_heads=2, max_position_embeddings=64,
                     word_embed_proj_dim=32, bos_token_id=0, eos_token_id=0,
                     pad_token_id=1)),
    bloom=('Bloom', dict(vocab_size=60, hidden_size=32, n_layer=2, n_head=2,
                         bos_token_id=0, eos_token_id=0, pad_token_id=0)),
    mamba=('Mamba',
           dict(vocab_size=60, hidden_size=32, state_size=4, num_hidden_layers=2,
                         bos_token_id=0, eos_token_id=0, pad_token_id=0)),
)


def tiny(family, layers=2):
    "A fresh model: a test may break it. A search needs no second layer"
    name, config = FAMILIES[family]
    config = (config
              | {'n_layer' if 'n_layer' in config else 'num_hidden_layers': layers})
    torch.manual_seed(0)
    suffix = 'LMHeadModel' if family == 'gpt2' else 'ForCausalLM'
    config = getattr(tf, name + 'Config')(**config, initializer_range=.2)
    return LanguageModel(getattr(tf, name + suffix)(config))
