"What models take, where their texts end, and which are no causal language models"
import pytest, torch

from llm_sampling.models import LanguageModel
from checks import same
from tiny_models import tiny


def test_eos_of_generation_config_goes_first():
    lm = tiny('llama')
    lm.model.generation_config.eos_token_id = [3, 4]
    assert LanguageModel(lm.model).eos_token_ids == (3, 4)


def test_adapter_signature_is_read_underneath(rows):
    class Adapter(torch.nn.Module):
        def __init__(self, model):
            super().__init__(); self.inner, self.config = model, model.config
        def get_base_model(self): return self.inner
        def forward(self, *args, **kw): return self.inner(*args, **kw)
    lm = tiny('gpt2')
    same(LanguageModel(Adapter(lm.model)).next_logits(rows), lm.next_logits(rows))


def test_models_that_are_no_causal_lm():
    from transformers import (BertConfig, BertForMaskedLM, BertLMHeadModel, BartConfig,
                              BartForCausalLM, BartForConditionalGeneration, GPT2Config,
                              GPT2ForSequenceClassification, GPT2Model)
    bert = dict(vocab_size=60, hidden_size=16, num_hidden_layers=1,
                num_attention_heads=2, intermediate_size=16)
    bart = dict(vocab_size=60, d_model=16, encoder_layers=1, decoder_layers=1,
                encoder_attention_heads=2, decoder_attention_heads=2,
                encoder_ffn_dim=16, decoder_ffn_dim=16)
    gpt2 = GPT2Config(vocab_size=60, n_embd=16, n_layer=1, n_head=2)
    for model, why in ((BartForConditionalGeneration(BartConfig(**bart)),
                        'encoder-decoder'), (GPT2Model(gpt2), 'no head'),
                       (BertForMaskedLM(BertConfig(**bert)), 'masked'),
                       (BertLMHeadModel(BertConfig(**bert)), 'is_decoder'),
                       (GPT2ForSequenceClassification(gpt2), 'no head')):
        with pytest.raises(ValueError, match=f'{type(model).__name__}.*{why}'):
            LanguageModel(model)
    LanguageModel(BertLMHeadModel(BertConfig(**bert, is_decoder=True)))
    LanguageModel(BartForCausalLM(BartConfig(**bart)))
    with pytest.raises(TypeError, match='ls.load'): LanguageModel('gpt2')
