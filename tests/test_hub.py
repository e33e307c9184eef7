"""Folders for the Hub, loaded from the disk with trust, as transformers loads them from
there"""
import pytest
import torch
import transformers
from packaging.version import Version
from scripts import script
from transformers import AutoModelForCausalLM, dynamic_module_utils

import llm_sampling as ls

hub = script('tools/hub.py')
KNOBS = dict(
    contrastive_search=dict(penalty_alpha=.6, top_k=3), beam_search=dict(num_beams=3),
    diverse_beam_search=dict(num_beams=4, num_beam_groups=2, diversity_penalty=.5),
    constrained_beam_search=dict(num_beams=3, force_words_ids=[[7]]),
    stochastic_beam_search=dict(num_beams=3), dola=dict(dola_layers='low'),
    mcts_decode=dict(num_simulations=4), best_of_n=dict(n=3), sample={})


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    "transformers copies what it loads into a folder of its own"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dynamic_module_utils, 'HF_MODULES_CACHE',
                      str(tmp_path_factory.mktemp('modules')))
        yield {p.name: str(p) for p in hub.write(tmp_path_factory.mktemp('hub'))}


def test_each_strategy_has_a_folder_and_an_example(folders):
    assert {*folders} == {*hub.EXAMPLES} == {*KNOBS, 'contrastive_decoding'}


@pytest.mark.some(2)
@pytest.mark.parametrize('name', KNOBS)
def test_a_folder_is_its_strategy(name, folders, tiny):
    model, ids = tiny('llama').model, torch.tensor([[5, 6, 7], [8, 9, 4]])
    given = KNOBS[name] | dict(max_new_tokens=5, pad_token_id=0)
    torch.manual_seed(1)
    want = model.generate(ids, custom_generate=getattr(ls.hf, name), **given)
    torch.manual_seed(1)
    with torch.enable_grad():
        out = model.generate(ids, custom_generate=folders[name], trust_remote_code=True,
                             **given)
    assert out.tolist() == want.tolist() and not out.requires_grad


def test_what_a_callable_never_gets_arrives(folders, tiny):
    "A streamer and a second model"
    class Heard:
        def __init__(self): self.ids, self.ended = [], False
        def put(self, ids): self.ids += ids.flatten().tolist()
        def end(self): self.ended = True
    model, ids, heard = tiny('llama').model, torch.tensor([[5, 6, 7]]), Heard()
    given = dict(trust_remote_code=True, max_new_tokens=5, pad_token_id=0)
    out = model.generate(ids, custom_generate=folders['sample'], streamer=heard,
                         **given)
    assert heard.ended and heard.ids == out[0].tolist()
    small = tiny('llama', layers=1).model
    out = model.generate(ids, custom_generate=folders['contrastive_decoding'],
                         assistant_model=small, **given)
    want = model.generate(ids, max_new_tokens=5, pad_token_id=0,
                          custom_generate=ls.hf.contrastive_decoding(
                              assistant_model=small))
    assert out.tolist() == want.tolist()


def test_a_model_that_lies_beside_it_takes_it_for_generate(folders, tiny):
    model, ids = tiny('llama').model, torch.tensor([[5, 6, 7]])
    model.save_pretrained(folders['contrastive_search'])
    loaded = AutoModelForCausalLM.from_pretrained(folders['contrastive_search'],
                                                  trust_remote_code=True)
    given = dict(penalty_alpha=.6, top_k=3, max_new_tokens=5, pad_token_id=0)
    want = model.generate(ids, custom_generate=ls.hf.contrastive_search, **given)
    assert loaded.generate(ids, **given).tolist() == want.tolist()
    assert loaded.generate(input_ids=ids, **given).tolist() == want.tolist()


@pytest.mark.skipif(Version(transformers.__version__) < Version('5.12'),
                    reason='transformers runs local folders without trust before 5.12')
def test_without_trust_nothing_runs(folders, tiny):
    with pytest.raises(ValueError, match='trust_remote_code'):
        tiny('llama').model.generate(torch.tensor([[5]]), max_new_tokens=1,
                                     custom_generate=folders['dola'])
