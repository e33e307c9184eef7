"Folders that must load, and folders that must not"
import pytest, torch
import transformers as tf

from llm_sampling.models import load
from checks import same
from tiny_models import tiny


@pytest.mark.parametrize('kw',
                         [dict(device='foo'), dict(device='cuda:99'), dict(dtype='foo'),
                          dict(dtype=7), dict(dtype=torch.int8)])
def test_place_is_checked_before_the_weights(kw, monkeypatch):
    monkeypatch.setattr('llm_sampling.models.read_weights', lambda *a,
                        **k: pytest.fail('weights were read'))
    (name, value), = kw.items()
    with pytest.raises(ValueError, match=name) as e: load(**kw)
    assert '\n' not in str(e.value) and str(value) in str(e.value)


@pytest.mark.parametrize('name', ['flash_attention_2', 'foo'])
def test_missing_attention_is_one_line(name, monkeypatch):
    def missing(*a, **k):
        raise ImportError(
            'FlashAttention2 has been toggled on, but it cannot be used.\nInstall it.')
    if name != 'foo':
        # where it is installed too
        monkeypatch.setattr('transformers.AutoModelForCausalLM.from_pretrained',
                            missing)
    with pytest.raises(ValueError, match=f"attn_implementation '{name}'") as e:
        load(attn_implementation=name)
    assert '\n' not in str(e.value)


@pytest.mark.parametrize('name',
                         ['/no/such/folder', 'no-such-org/no-such-model', 'not a name'])
def test_missing_model_is_one_line(name, monkeypatch):
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)
    with pytest.raises(OSError, match='no model') as e: load(name)
    assert '\n' not in str(e.value) and name in str(e.value)


def save(lm, path, tokenizer=True):
    lm.model.save_pretrained(path)
    if tokenizer: load().tokenizer.save_pretrained(path)
    return str(path)


@pytest.mark.some(2)
@pytest.mark.parametrize('family', ['llama', 'gpt2', 'qwen3', 'mistral'])
def test_folder_round_trip(family, tmp_path, rows):
    lm = tiny(family)
    back = load(save(lm, tmp_path), dtype=torch.float64)
    assert back.model.dtype == torch.float64
    assert back.tokenizer.decode([0]) == '<|endoftext|>'
    same(back.next_logits(rows), lm.next_logits(rows), rtol=1e-3, atol=1e-3)
    assert load(
        str(tmp_path),
        attn_implementation='eager').model.config._attn_implementation == 'eager'


@pytest.mark.parametrize('family', ['llama', 'gpt2', 'qwen3', 'bloom'])
def test_folder_without_tokenizer(family, tmp_path):
    with pytest.raises(ValueError, match='tokenizer.*LanguageModel\\(model\\)') as e:
        load(save(tiny(family), tmp_path, False))
    assert '\n' not in str(e.value)


@pytest.mark.parametrize('kind', ['T5', 'Bart'])
def test_encoder_decoder(kind, tmp_path):
    getattr(tf, kind + 'Config')().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match='encoder-decoder'): load(tmp_path)


def test_not_a_language_model(tmp_path):
    tf.CLIPConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match='not a causal'): load(tmp_path)


def test_broken_files(tmp_path):
    (tmp_path/'config.json').write_text('{')
    with pytest.raises(OSError, match='no model'): load(tmp_path)
    save(tiny('llama'), tmp_path)
    (tmp_path/'model.safetensors').write_bytes(b'12345678 not a tensor file')
    with pytest.raises(ValueError, match='weights.*cannot be used'): load(tmp_path)
