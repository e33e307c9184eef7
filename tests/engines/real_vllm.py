"""Our classes in the wheel of vLLM: its loaders, its checks at admission, its contexts
and updates, its samplers. `make test-engines` runs this in an environment of its own"""
import inspect
import random
from dataclasses import fields
from importlib.metadata import entry_points, version
from types import SimpleNamespace as ns

import numpy as np
import pytest
import torch
from engine_stands import (FIELDS, BatchEngine, KNOBS, SlotEngine, V, cases, model,
                           params, serve, serve_batch)
from vllm import SamplingParams
from vllm.exceptions import VLLMValidationError
from vllm.utils import torch_utils
from vllm.v1.sample import logits_processor as old
from vllm.v1.sample.logits_processor import interface as old_interface
from vllm.v1.sample.sampler import Sampler as OldSampler
from vllm.v1.worker.gpu.sample import logits_processor as new
from vllm.v1.worker.gpu.sample.logits_processor import loader
from vllm.v1.worker.gpu.sample.sampler import Sampler as NewSampler

from llm_sampling import engines

NEW, OLD = 'llm_sampling.engines:VLLM', 'llm_sampling.engines:VLLMV1'


def real(extra_args=None, temperature=1., seed=None, ends=()):
    p = SamplingParams(extra_args=extra_args, temperature=temperature, seed=seed)
    p.update_from_generation_config({'eos_token_id': [*ends]})
    return p


def config(**more):
    return ns(model_config=ns(get_vocab_size=lambda: V), speculative_config=None,
              scheduler_config=ns(max_num_seqs=8), **more)


def test_the_version(): assert version('vllm').startswith('0.33')


@pytest.mark.parametrize('name, base', [('VLLM', new.LogitsProcessor),
                                        ('VLLMV1', old.LogitsProcessor)])
def test_signatures_are_those_of_the_base(name, base):
    ours = getattr(engines, name)
    assert issubclass(ours, base) and not ours.__abstractmethods__
    methods = [n for n, f in vars(base).items()
               if (n == '__init__' or n[0] != '_') and callable(getattr(base, n))]
    assert len(methods) >= 5
    for n in methods:
        theirs, mine = (inspect.signature(getattr(c, n)) for c in (base, ours))
        assert [*mine.parameters] == [*theirs.parameters], n


def test_stand_ins_have_no_field_that_is_not_real():
    for cls in (new.LogitsProcRequestState, new.LogitsContext, old.BatchUpdate):
        assert {*FIELDS[cls.__name__].split()} <= {f.name for f in fields(cls)}
    given = real(ends=[3])
    for name in FIELDS['SamplingParams'].split():
        assert type(getattr(given, name)) is type(getattr(params(ends=[3]), name))
    assert {d.name for d in old.MoveDirectionality} == {'UNIDIRECTIONAL', 'SWAP'}


def test_loaded_by_name_and_by_the_right_runner():
    found, = loader._load_v2_logitsprocs_by_fqcns([NEW])
    assert found is engines.VLLM
    found, = old._load_logitsprocs_by_fqcns([OLD])
    assert found is engines.VLLMV1
    with pytest.raises(ValueError, match='not a subclass'):
        loader._load_v2_logitsprocs_by_fqcns([OLD])
    with pytest.raises(ValueError, match='must be a subclass'):
        old._load_logitsprocs_by_fqcns([NEW])


def test_no_entry_point():
    "A wrong one would break the start of every engine of the environment"
    assert not [*entry_points(group='vllm.logits_processors')]


@pytest.mark.parametrize('validate', [
    loader.build_custom_logits_processors_params_validator([NEW]),
    lambda p: old.validate_logits_processors_parameters([OLD], p)])
def test_admission(validate):
    for good in (None, {}, *KNOBS, dict(kv_transfer_params={}, session_id='x')):
        validate(real(good, ends=[3]))
    for bad, why in [(dict(top_q=1), "not 'top_q'"), (dict(min_p=2), 'min_p must'),
                     (dict(temperature=1), "not 'temperature'"),
                     (dict(thinking_budget=3), 'thinking_start must be given'),
                     (dict(mirostat=2, mirostat_tau=-1), 'mirostat_tau must be'),
                     (dict(loop_stop=1, loop_times=1), 'loop_times must be')]:
        with pytest.raises(VLLMValidationError, match=why):
            validate(real(bad, ends=[3]))


@pytest.mark.parametrize('drafts', [0, 3])
@pytest.mark.parametrize('seed', range(3))
def test_the_new_runner(drafts, seed):
    "Slots are used again, rows are no requests, drafts: each text is the one alone"
    dice = random.Random(seed)
    def make(states):
        req_states = ns(**{f.name: getattr(states, f.name)
                           for f in fields(new.LogitsProcRequestState)})
        made, = new.build_custom_logits_processors(None, req_states, False, [NEW])
        assert isinstance(made.states, new.LogitsProcRequestState)
        return made
    engine = SlotEngine(make, dice, drafts=drafts, State=new.LogitsProcRequestState,
                        Context=new.LogitsContext, Params=real,
                        extra=dict(device=torch.device('cpu'), prefill_len=None))
    assert serve(engine, cases(dice, 36), 14) == 36


class Recorder(new.LogitsProcessor):
    "What the processor is given there"
    def apply(self, logits, ctx):
        self.seen = logits.clone()
        return logits


def test_the_sampler_of_the_new_runner_gives_untempered_logits_in_a_copy():
    "Its own method runs ours, between bad words and the temperature"
    buffer = lambda v: ns(gpu=torch.tensor(v, dtype=torch.int32))
    states = ns(max_num_reqs=2, vocab_size=V, all_token_ids=buffer([[1] * 9, [2] * 9]),
                prompt_len=buffer([2, 2]), total_len=buffer([4, 4]))
    ours, spy = engines.VLLM(None, states), Recorder(None, states)
    sampler = object.__new__(NewSampler)
    heats = []
    def temper(z, slots, hosts):
        heats.append(z.clone())
        z.div_(.5)
    sampler.logits_processors = [spy, ours]
    sampler.thinking_budget_state = ns(apply=lambda z, ctx: None)
    sampler.sampling_states = ns(apply_temperature=temper,
                                 apply_min_p=lambda *_: None)
    asked = real(dict(min_p=.2), temperature=.5)
    sampler.needs_logits_processing = np.array([ours.add_request(0, asked),
                                                ours.add_request(1, real())])
    assert sampler.needs_logits_processing.tolist() == [True, False]
    z, i32 = torch.stack([model([1]), model([2])]), torch.int32
    given = z.clone()
    slots = torch.tensor([1, 0], dtype=i32)
    out = sampler.apply_sampling_params(
        z, slots, slots, slots.numpy(), torch.tensor([3, 3]),
        torch.tensor([2, 1], dtype=i32), torch.tensor([0, 0], dtype=i32),
        np.array([4, 4]), skip_top_k_top_p=True)
    assert torch.equal(z, given) and torch.equal(spy.seen, given)
    assert torch.equal(out[0], z[0] / .5)                # asked for nothing
    p = (z[1] / .5).softmax(-1)
    assert torch.equal(out[1] > -torch.inf, p >= .2 * p.max())
    kept = p >= .2 * p.max()
    torch.testing.assert_close(out[1][kept], (z[1] / .5)[kept])


@pytest.mark.parametrize('seed', range(3))
def test_the_old_runner(seed, monkeypatch):
    "Removed, added, moved, swapped, by its own updates: each text is the one alone"
    monkeypatch.setattr(torch_utils, 'PIN_MEMORY', False)       # there is no GPU
    dice = random.Random(seed)
    made = old.build_logitsprocs(config(), torch.device('cpu'), False, False, [OLD])
    ours, = [p for p in made.non_argmax_invariant if isinstance(p, engines.VLLMV1)]
    def update(batch_size, removed, added, moved):
        builder = old.BatchUpdateBuilder(added=added, moved=moved)
        for i in removed: builder.removed_append(i)
        found = builder.get_and_reset(batch_size)
        assert type(found) is old_interface.BatchUpdate
        return found
    engine = BatchEngine(ours, dice, Update=update, Params=real,
                         directions=old.MoveDirectionality)
    assert serve_batch(engine, cases(dice, 36), 14) == 36


def ordered(source, *words): return sorted(words, key=source.index) == [*words]


def test_the_order_of_both_samplers():
    assert ordered(inspect.getsource(OldSampler.apply_logits_processors),
                   'allowed_token_ids_mask', 'apply_bad_words', 'non_argmax_invariant',
                   'apply_penalties')
    made = inspect.getsource(NewSampler.__init__)
    assert ordered(made[made.index('self.logits_processors:'):], 'logit_bias_state',
                   'self.penalties_state', 'bad_words_state', '*custom_logits')
    assert ordered(inspect.getsource(NewSampler.apply_sampling_params),
                   'processor.apply(', 'self.thinking_budget_state.apply(',
                   '.apply_temperature(', '.apply_min_p(', '.apply_top_k_top_p(')


def test_the_old_runner_refuses_processors_under_speculation():
    cfg = config()
    cfg.speculative_config = ns()
    with pytest.raises(ValueError, match='not supported when speculative'):
        old.build_logitsprocs(cfg, torch.device('cpu'), False, False, [OLD])
