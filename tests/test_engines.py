"""Requests through toy engines write what they write alone: slots and places are used
again, rows shuffled, prompts in pieces, drafts refused. What drives the classes of the
wheels is in tests/engines, which `make test-engines` runs"""
import ast
import configparser
import logging
import random
from pathlib import Path
from types import SimpleNamespace as ns

import pytest
import torch
from engine_stands import (BatchEngine, FIELDS, KNOBS, SGLangReq, SlotEngine, V, cases,
                           model, params, serve, serve_batch, serve_calls)
from scripts import printed

from llm_sampling import engines
from llm_sampling.engines import BatchProcessor, CallProcessor, SlotProcessor

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ns(model_config=ns(get_vocab_size=lambda: V))


@pytest.mark.parametrize('drafts', [0, 3])
@pytest.mark.parametrize('seed', range(2))
def test_slots(seed, drafts):
    dice = random.Random(seed)
    engine = SlotEngine(lambda states: SlotProcessor(None, states), dice, drafts=drafts)
    assert serve(engine, cases(dice, 36), 12) == 36


@pytest.mark.parametrize('seed', range(2))
def test_places(seed):
    dice = random.Random(seed)
    engine = BatchEngine(BatchProcessor(CONFIG, 'cpu', False), dice)
    assert serve_batch(engine, cases(dice, 36), 12) == 36


@pytest.mark.parametrize('seed', range(2))
def test_calls(seed):
    dice = random.Random(seed)
    assert serve_calls(CallProcessor, dice, cases(dice, 36), 12) == 36


@pytest.mark.parametrize('cls', [SlotProcessor, BatchProcessor])
def test_admission(cls):
    for good in (None, {}, *KNOBS, dict(kv_transfer_params={}, session_id='x')):
        cls.validate_params(params(good, ends=[3]))
    for bad in (dict(top_q=1), dict(min_p=2), dict(thinking_budget=1)):
        with pytest.raises(ValueError): cls.validate_params(params(bad, ends=[3]))
    with pytest.raises(ValueError, match='loop_end must be given'):
        cls.validate_params(params(dict(loop_stop=1), ends=[3], ignore_eos=True))


def test_a_subclass_leaves_other_keys_alone():
    class Mine(SlotProcessor): others = (*SlotProcessor.others, 'mine')
    Mine.validate_params(params(dict(mine=1)))
    with pytest.raises(ValueError, match="not 'mine'"):
        SlotProcessor.validate_params(params(dict(mine=1)))


def test_nobody_asks_and_nothing_is_copied():
    old, z = BatchProcessor(CONFIG, 'cpu', False), torch.randn(2, V)
    old.update_state(None)
    assert old.apply(z) is z and CallProcessor()(z, [None, {}]) is z


def test_an_error_in_the_process_of_the_model_is_logged_and_ends_nothing(caplog):
    states = ns(max_num_reqs=1, vocab_size=V)
    new, old = SlotProcessor(None, states), BatchProcessor(CONFIG, 'cpu', False)
    wrong, z = params(dict(logit_bias={V: 1.})), torch.randn(1, V)
    with caplog.at_level(logging.ERROR):
        assert new.add_request(0, wrong) is False
        old.update_state(ns(removed=[], moved=[], added=[(0, wrong, [1], [])]))
    assert torch.equal(old.apply(z), z)
    assert [f'below {V}' in r.message for r in caplog.records] == [True, True]


def test_an_order_of_updates_matters():
    "A place is freed, filled and swapped in one message"
    old, asked = BatchProcessor(CONFIG, 'cpu', False), dict(ban_tokens=[[7]])
    add = lambda i, knobs: (i, params(knobs), [1], [])
    swap = ns(name='SWAP')
    first = [add(0, dict(top_k=1)), add(1, {})]
    old.update_state(ns(removed=[], moved=[], added=first))
    old.update_state(ns(removed=[0], moved=[(0, 1, swap)], added=[add(0, asked)]))
    out = old.apply(torch.zeros(2, V))
    assert (out == -torch.inf).nonzero().tolist() == [[1, 7]]


def test_a_move_one_way_leaves_its_place_empty_and_replaces_who_was_there():
    old, z = BatchProcessor(CONFIG, 'cpu', False), torch.zeros(2, V)
    old.update_state(ns(removed=[], moved=[], added=[
        (i, params(dict(ban_tokens=[[7 + i]])), [1], []) for i in range(2)]))
    way = ns(name='UNIDIRECTIONAL')
    old.update_state(ns(removed=[], moved=[(0, 1, way)], added=[]))
    assert (old.apply(z) == -torch.inf).nonzero().tolist() == [[1, 7]]


class Refusing(CallProcessor):
    late = False
    def lags(self): return self.late
    def refuse(self, req, why): req.to_finish = why


def test_sglang_ends_a_request_by_itself():
    z = torch.stack([model([1]), model([2])])
    request = lambda **knobs: SGLangReq(([1, 2], knobs, 1., 3), 5, False)
    bad, good = request(min_p=4), request(min_p=.3)
    for _ in range(2): out = Refusing()(z, [bad.custom, good.custom])
    assert 'min_p must' in bad.to_finish and good.to_finish is None
    assert torch.equal(out[0], z[0]) and not torch.equal(out[1], z[1])
    free, reads, late = request(min_p=.3), request(dry_multiplier=1.), Refusing()
    late.late = True
    for r, fine in ((free, True), (reads, False)):
        late(z[:1], [r.custom])
        assert (r.to_finish is None) == fine
    reads = request(mirostat=2)
    for r, fine in ((free, True), (reads, False)):
        Refusing()(z, [r.custom, r.custom])
        assert (r.to_finish is None) == fine
    bad = request(min_p=4)
    with pytest.raises(ValueError, match='min_p'): CallProcessor()(z[:1], [bad.custom])


def test_half_precision_comes_back():
    r = SGLangReq(([1, 2], dict(min_p=.3), 1., 3), 5, False)
    out = CallProcessor()(model([1])[None].bfloat16(), [r.custom])
    assert out.dtype == torch.bfloat16 and (out == -torch.inf).any()


def test_what_is_read_of_the_engines_is_what_the_stand_ins_have():
    "So that the tests of the wheels, which compare the fields, compare all"
    tree = ast.parse((ROOT/'llm_sampling/engines.py').read_text())
    names = 'params', 'ctx', 'batch_update', 'req_states', 'states', 'req', 'r'
    read = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)
            and getattr(n.value, 'id', getattr(n.value, 'attr', '')) in names}
    known = ' '.join(FIELDS.values()).split()
    assert {'extra_args', 'pos', 'moved', 'total_len'} <= read
    ours = {'items', 'llm_sampling'}                   # of a dict; kept at a request
    assert read - ours <= {*known}, read


def test_no_engine_is_imported_and_none_registered():
    code = ('import sys, llm_sampling.engines as e; '
            'print([m for m in sys.modules if m.split(".")[0] in ("vllm", "sglang")], '
            'sorted(e.ENGINES))')
    assert printed(code) == "[] ['SGLang', 'VLLM', 'VLLMV1']"
    cfg = configparser.ConfigParser(interpolation=None)
    cfg.read(ROOT/'settings.ini', encoding='utf-8')
    assert not any('vllm' in v for v in cfg['DEFAULT'].values())
    with pytest.raises(AttributeError, match='VLLM needs vllm'): engines.VLLM
    with pytest.raises(AttributeError, match='no attribute'): engines.Other
    assert not hasattr(engines, 'SGLang')


def test_wheels_are_pinned():
    make = (ROOT/'Makefile').read_text()
    assert 'vllm==0.33.0 sglang==0.5.23' in make
    pins = (ROOT/'requirements-engines.txt').read_text().splitlines()
    assert 'transformers==5.20.2' in pins and 'torch==2.13.0' in pins
    assert not [line for line in pins if '//' in line or ' @ ' in line]
