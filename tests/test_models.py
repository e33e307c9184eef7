"Families of models, saved and loaded; padding and cache for each; refusals; no network"
import os, subprocess, sys

import pytest, torch
import transformers as tf

from llm_sampling.models import LanguageModel, TableModel, load
from checks import same
from tiny_models import FAMILIES, tiny


@pytest.mark.parametrize('family', FAMILIES)
def test_batch_row_is_row_alone(family, rows):
    lm = tiny(family)
    for i, z in enumerate(lm.next_logits(rows)):
        same(z[None], lm.next_logits([rows[i]]), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('family', FAMILIES)
def test_cached_is_uncached(family, rows):
    lm = tiny(family)
    ids, mask = lm.encode(rows)
    whole, _ = lm.forward(ids, mask)
    part, cache = lm.forward(ids[:, :8], mask[:, :8])
    for t in range(8, 11):
        part, cache = lm.forward(ids[:, t:t+1], mask[:, :t+1], cache, last_only=True)
    same(part[:, -1], whole[:, -1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_logits_leave_as_float32(dtype, rows):
    lm = LanguageModel(tiny('llama').model.to(dtype))
    assert lm.next_logits(rows).dtype == torch.float32


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


WATCHED = """
import socket, sys
attempts = []
def no(*args, **kw): attempts.append(args); raise OSError('no network here')
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = no
from llm_sampling.models import load
try: load(sys.argv[1] if sys.argv[1:] else None).next_logits('Once')
finally: print('attempts:', len(attempts), flush=True)
"""


def attempts(*name):
    """Connections tried while a model loads, also those whose failure is swallowed; and
    the exit code"""
    env = {k: v for k, v in os.environ.items()
           if k not in ('HF_HUB_OFFLINE', 'TRANSFORMERS_OFFLINE')}
    p = subprocess.run([sys.executable, '-c', WATCHED, *name], capture_output=True,
                       text=True, env=env, timeout=120)
    return int(p.stdout.split('attempts:')[1]), p.returncode


def test_bundled_model_needs_no_network():
    assert attempts() == (0, 0)


def test_network_is_watched():
    tried, code = attempts('no-such-org/no-such-model')
    assert tried > 0 and code != 0


@pytest.mark.parametrize('kw',
                         [dict(device='foo'), dict(device='cuda:99'), dict(dtype='foo'),
                          dict(dtype=7), dict(dtype=torch.int8)])
def test_place_is_checked_before_the_weights(kw, monkeypatch):
    monkeypatch.setattr('llm_sampling.models._read_weights', lambda *a,
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


def test_dtype_by_name(): assert load(dtype='bfloat16').model.dtype == torch.bfloat16


def test_part_one_imports_no_transformers():
    code = ('import sys, llm_sampling.models; '
            'assert not {"transformers", "matplotlib"} & {*sys.modules}')
    subprocess.run([sys.executable, '-c', code], check=True)


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


def test_table_model_on_random_trees():
    "Against a second way: walk the keys backwards from the end of the context"
    g = torch.Generator().manual_seed(0)
    draw = lambda n: tuple(torch.randint(0, 3, (n,), generator=g).tolist())
    table = {k: torch.rand(3, generator=g).softmax(-1)
             for k in {(), *(draw(n) for n in (1, 1, 2, 2, 3, 3, 4))}}
    lm = LanguageModel(TableModel(table))
    for _ in range(50):
        context, best = draw(6), ()
        for n in range(1, 7):
            if context[-n:] in table: best = context[-n:]
        same(lm.next_logits([context]).softmax(-1)[0], table[best])
