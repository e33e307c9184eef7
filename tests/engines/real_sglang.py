"""Our class in the wheel of SGLang: sent as a text, called with the rows of requests.
What needs its CUDA kernels to be imported is taken from its source by name"""
import ast
import inspect
import logging
import random
import sys
from importlib.metadata import distribution, version
from types import ModuleType, SimpleNamespace as ns

import pytest
import torch
from engine_stands import FIELDS, SGLangReq, V, cases, model, serve_calls
from scripts import printed
from sglang.srt.sampling import custom_logit_processor as theirs
from sglang.srt.sampling.sampling_batch_info import ProcessorEntry

from llm_sampling import engines

FILES = distribution('sglang').locate_file('sglang/srt')


def taken(path, name, **known):
    "A function or class of a file that cannot be imported here"
    tree = ast.parse((FILES/path).read_text())
    node, = [n for n in tree.body if getattr(n, 'name', '') == name]
    scope = dict(torch=torch, logger=logging.getLogger(), **known)
    exec(compile(ast.Module([node], []), path, 'exec', dont_inherit=True,
                 flags=__import__('__future__').annotations.compiler_flag), scope)
    return scope[name]


def test_a_request_has_what_is_read_of_it():
    source = (FILES/'managers/schedule_batch.py').read_text()
    source = source[source.index('\nclass Req('):]
    for name in FIELDS['Req'].split(): assert f'self.{name}' in source, name
    assert '__slots__' not in source[:source.index('\nclass ', 9)]
    from sglang.srt.sampling.sampling_params import SamplingParams
    p = SamplingParams(temperature=0, sampling_seed=3)
    assert (p.top_k, p.sampling_seed) == (1, 3)         # greedy is top-k 1


apply_custom = taken('layers/sampler.py', 'apply_custom_logit_processor')


def test_the_version(): assert version('sglang').startswith('0.5.23')


def test_the_signature_is_that_of_the_base():
    base = theirs.CustomLogitProcessor
    assert issubclass(engines.SGLang, base) and not engines.SGLang.__abstractmethods__
    ours, mine = (inspect.signature(c.__call__) for c in (base, engines.SGLang))
    assert [*mine.parameters] == [*ours.parameters]


def test_sent_as_a_text_and_read_by_another_process():
    "By name: the server has the package"
    text = engines.SGLang.to_str()
    assert len(text) < 1000
    code = ('from sglang.srt.sampling.custom_logit_processor import '
            f'CustomLogitProcessor as C; p = C.from_str({text!r}); '
            'print(type(p).__module__, type(p).__name__, p.lags.__name__)')
    assert printed(code).split()[-3:] == ['llm_sampling.engines', 'SGLang',
                                          '_sglang_lags']
    assert type(theirs.CustomLogitProcessor.from_str(text)) is engines.SGLang


def read():
    return theirs.CustomLogitProcessor.from_str(engines.SGLang.to_str())


class Batch(ns):
    def __len__(self): return len(self.custom_params)


def by_the_server(processor, z, custom, drafts=1):
    "As its sampler does"
    n = len(custom)
    entry = ProcessorEntry(processor, [*range(n)], torch.arange(n))
    z = z.clone()
    apply_custom(z, Batch(custom_params=custom, custom_logit_processor={1: entry},
                          device='cpu'), drafts)
    return z


@pytest.fixture
def overlap(monkeypatch):
    "A server without overlap; `overlap(True)` has it"
    from sglang.srt import runtime_context
    server = ns(disable_overlap_schedule=True)
    monkeypatch.setattr(runtime_context, 'get_server_args', lambda: server)
    return lambda on: vars(server).update(disable_overlap_schedule=not on)


@pytest.fixture
def aborts(monkeypatch):
    found = ModuleType('schedule_batch')
    base = taken('managers/schedule_batch.py', 'BaseFinishReason', Optional=object)
    found.FINISH_ABORT = taken('managers/schedule_batch.py', 'FINISH_ABORT',
                               BaseFinishReason=base)
    monkeypatch.setitem(sys.modules, 'sglang.srt.managers.schedule_batch', found)


@pytest.mark.parametrize('seed', range(3))
def test_each_text_is_the_one_alone(seed, overlap):
    dice = random.Random(seed)
    assert serve_calls(read, dice, cases(dice, 36), 14, by_the_server) == 36


def request(knobs): return SGLangReq(([1, 2], knobs, 1., 3), 5, False)


@pytest.mark.parametrize('knobs, why', [
    (dict(top_q=1), "not 'top_q'"), (dict(min_p=7), 'min_p must be'),
    (dict(logit_bias={V: 1.}), f'below {V}')])
def test_a_wrong_request_ends_and_the_others_go_on(knobs, why, overlap, aborts):
    bad, good = request(knobs), request(dict(min_p=.3))
    z = torch.stack([model([1]), model([2])])
    for _ in range(2): out = by_the_server(read(), z, [bad.custom, good.custom])
    assert why in bad.to_finish.to_json()['message']
    assert bad.to_finish.status_code == 400 and good.to_finish is None
    assert torch.equal(out[0], z[0]) and not torch.equal(out[1], z[1])


def test_overlap_and_drafts_are_refused_where_the_text_is_read(overlap, aborts):
    z = torch.stack([model([1]), model([2])])
    for knobs, fine in ((dict(min_p=.3), True), (dict(dry_multiplier=1.), False)):
        overlap(False)
        one, two = request(knobs), request(knobs)
        by_the_server(read(), z, [one.custom], drafts=2)
        assert (one.to_finish is None) == fine
        overlap(True)
        by_the_server(read(), z[:1], [two.custom])
        assert (two.to_finish is None) == fine
    assert 'speculation' in one.to_finish.message
    assert 'overlap' in two.to_finish.message
