"""Folders that try to be opened: pickles behind an index, links, missing weights, code
of the Hub, broken files"""
import json, pickle, shutil

import pytest, torch
from safetensors.torch import load_file, save_file

import llm_sampling as ls


@pytest.fixture(scope='module')
def whole(tmp_path_factory, tiny):
    "A good folder, to be broken"
    path = tmp_path_factory.mktemp('whole')
    tiny('llama').model.save_pretrained(path)
    ls.load().tokenizer.save_pretrained(path)
    ls.load(path)
    return path


@pytest.fixture
def folder(whole, tmp_path): return shutil.copytree(whole, tmp_path/'model')


@pytest.fixture(autouse=True)
def no_pickle(monkeypatch):
    for f in (torch, 'load'), (pickle, 'load'), (pickle, 'Unpickler'):
        monkeypatch.setattr(*f, lambda *a, **k: pytest.fail('a pickle was opened'))


def set_config(folder, **kw):
    config = json.loads((folder/'config.json').read_text())
    (folder/'config.json').write_text(json.dumps(config | kw))


def one_line(error):
    text = str(error.value)
    assert '\n' not in text and text == ls.plots.printable(text)
    return text


@pytest.mark.parametrize('name', ['w.bin', '../other/model.safetensors',
                                  '/etc/model.safetensors', 'a/b.safetensors',
                                  '..\\b.safetensors', 'c:b.safetensors',
                                  'pytorch_model.bin', 7, None,
                                  '.safetensors/../w.bin'])
def test_an_index_names_plain_files_only(folder, name):
    keys = load_file(folder/'model.safetensors')
    (folder/'model.safetensors').unlink()
    (folder/'w.bin').write_bytes(b'not to be opened')
    (folder/'model.safetensors.index.json').write_text(
        json.dumps(dict(metadata={}, weight_map={k: name for k in keys})))
    with pytest.raises(ValueError, match='model.safetensors.index.json') as e:
        ls.load(folder)
    one_line(e)


def test_a_real_index_loads(folder):
    lm = ls.load(folder)
    (folder/'model.safetensors').unlink()
    lm.model.save_pretrained(folder, max_shard_size='20KB')
    assert len(list(folder.glob('*.safetensors'))) > 1
    assert torch.equal(ls.load(folder).next_logits([[1, 2]]), lm.next_logits([[1, 2]]))


@pytest.mark.parametrize('name', ['model.safetensors', 'model.safetensors.index.json'])
def test_links_that_leave_the_folder(folder, tmp_path, name):
    away = tmp_path/'away'
    if name == 'model.safetensors': shutil.move(folder/name, away)
    else: away.write_text(json.dumps(dict(weight_map={'x': 'model.safetensors'})))
    (folder/name).symlink_to(away)
    with pytest.raises(ValueError, match='leaves the folder') as e: ls.load(folder)
    one_line(e)


def test_links_of_the_hubs_cache_are_fine(folder, tmp_path):
    "models--org--name/snapshots/abc/model.safetensors -> ../../blobs/123"
    snapshot, blobs = tmp_path/'cache'/'snapshots'/'abc', tmp_path/'cache'/'blobs'
    snapshot.parent.mkdir(parents=True); blobs.mkdir()
    shutil.move(folder, snapshot)
    shutil.move(snapshot/'model.safetensors', blobs/'123')
    (snapshot/'model.safetensors').symlink_to('../../blobs/123')
    ls.load(snapshot)


@pytest.mark.parametrize('how', ['layer', 'config', 'head', 'extra', 'shape'])
def test_weights_that_do_not_fit(folder, how):
    "transformers fills what is missing with random numbers"
    weights = load_file(folder/'model.safetensors')
    first = next(k for k in weights if 'layers.0.mlp' in k)
    if how == 'layer': del weights[first]
    if how == 'config': set_config(folder, num_hidden_layers=7)
    if how == 'head':
        weights.pop('lm_head.weight', None)
        set_config(folder, tie_word_embeddings=False)
    if how == 'extra': weights['model.layers.0.mlp.spy.weight'] = weights[first].clone()
    if how == 'shape': weights[first] = weights[first][:-1].clone()
    save_file(weights, folder/'model.safetensors', metadata={'format': 'pt'})
    with pytest.raises(ValueError, match='weights of') as e: ls.load(folder)
    text = one_line(e)
    assert how in ('config', 'head', 'shape') or 'layers.0.mlp' in text


@pytest.mark.parametrize('config', [dict(_attn_implementation='org/repo'), dict(
    attn_implementation='org/repo'), dict(_attn_implementation={'': 'org/repo'}),
                                    dict(text_config=dict(
                                        _attn_implementation='org/repo')),
                                    dict(transformers_weights='adapter_model.bin'),
                                    dict(transformers_weights='../x.safetensors'),
                                    dict(_experts_implementation='org/repo')])
def test_configs_that_lead_away(folder, config):
    set_config(folder, **config)
    with pytest.raises(ValueError, match='config.json names') as e: ls.load(folder)
    one_line(e)


def test_a_kernel_as_argument():
    with pytest.raises(ValueError, match='attn_implementation'):
        ls.load(attn_implementation='org/repo')


def test_adapters(folder):
    (folder/'adapter_config.json').write_text('{}')
    with pytest.raises(ValueError, match='adapter'): ls.load(folder)


TEXTS = ['', '[]', '{', '7', 'null', '"\x1b[31m\u202e"', '[' * 100_000,
         '{"model_type": []}', '{"model_type": {}}',
         '{"model_type": "llama", "hidden_size": "x\\u001b[31m"}',
         '{"model_type": "llama", "num_hidden_layers": -1}',
         '{"model_type": "llama", "hidden_size": 0}',
         '{"model_type": "llama", "vocab_size": null}',
         '{"model_type": "\\u202e"}', '{"model_type": "llama", "rope_parameters": 7}',
         '\ud800'.encode('utf-8', 'surrogatepass')]

@pytest.mark.some(2)
@pytest.mark.parametrize('file', ['config.json', 'tokenizer.json',
                                  'tokenizer_config.json', 'generation_config.json',
                                  'model.safetensors', 'model.safetensors.index.json'])
def test_broken_files_give_one_line(folder, file, capfd):
    "Loads as before, or one line of one of two kinds; nothing reaches the terminal raw"
    broken = 0
    for text in TEXTS:
        kept = (folder/file).read_bytes() if (folder/file).exists() else None
        (folder/file).write_bytes(text if isinstance(text, bytes) else text.encode())
        try: ls.load(folder)
        except (OSError, ValueError) as e:
            broken += 1
            assert '\n' not in str(e)
            assert str(e) == ls.plots.printable(str(e))
            assert len(str(e)) < 700
        if kept is None: (folder/file).unlink()
        else: (folder/file).write_bytes(kept)
    assert broken > 3
    out = capfd.readouterr()
    assert not any(c in out.out + out.err for c in '\x1b\u202e')


def test_hostile_tensor_names(folder):
    weights = load_file(folder/'model.safetensors')
    weights['model.layers.0.\x1b[31m\u202e.weight'] = torch.zeros(2)
    save_file(weights, folder/'model.safetensors', metadata={'format': 'pt'})
    with pytest.raises(ValueError, match='unexpected') as e: ls.load(folder)
    one_line(e)
