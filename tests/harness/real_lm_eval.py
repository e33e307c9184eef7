"""Our class in lm_eval itself: its registry, its command, its tasks, filters and
metrics, its own class for transformers. `make test-harness` runs this in an environment
of its own; it reads local files only"""
import inspect
import json
import os
import random
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]/'benchmarks'))
import harness as bench
import harness_stands as stands
import pytest
from lm_eval import utils
from lm_eval.api.model import LM, CacheHook, CachingLM, TemplateLM
from lm_eval.api.registry import get_model, model_registry

import llm_sampling as ls
from llm_sampling.harness import (Answers, encode_pair, harness_class, register,
                                  rolling_pairs, write_sums_tasks)
from llm_sampling.sums import load_sums

STORED = json.loads(bench.STORED.read_text())


def test_the_version():
    assert version('lm_eval') == STORED['versions']['lm_eval'] == '0.4.13'


def test_stands_have_nothing_that_is_not_theirs():
    "Their names and the parameters of their methods"
    for name, ours in vars(stands.LM).items():
        if name[0] == '_' and name != '__init__': continue
        theirs = getattr(LM, name)
        assert getattr(ours, '__isabstractmethod__', False) == getattr(
            theirs, '__isabstractmethod__', False)
        if callable(ours):
            assert [*inspect.signature(ours).parameters] == [
                *inspect.signature(theirs).parameters], name
    assert {n for n, f in vars(LM).items() if getattr(f, '__isabstractmethod__', 0)} \
        == {'loglikelihood', 'loglikelihood_rolling', 'generate_until'}
    assert not harness_class().__abstractmethods__
    assert hasattr(CacheHook(None), 'dbdict')


def test_theirs_stay_in_the_registry():
    "They come into an empty registry only: ours must not be the first"
    code = ('from llm_sampling.harness import register; register(); '
            'from lm_eval.api.registry import get_model; '
            'print(get_model("dummy").__name__, get_model("llm_sampling").__name__)')
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert out.stdout.split() == ['DummyLM', 'HarnessLM'], out.stderr
    assert register() is get_model('llm_sampling') is model_registry['llm_sampling']


def test_windows_are_theirs():
    dice = random.Random(0)
    for _ in range(300):
        ids = [dice.randrange(99) for _ in range(dice.randrange(40))]
        size = dice.randrange(1, 12)
        theirs = map(utils.make_disjoint_window, utils.get_rolling_token_windows(
            token_list=ids, prefix_token=0, max_seq_len=size, context_len=1))
        assert rolling_pairs(ids, 0, size) == [*theirs]


class Pairs(TemplateLM):
    "Their cutting of texts, with a tokenizer that is ours"
    eot_token_id, tokenizer = 0, None
    def tok_encode(self, string, add_special_tokens=None, **kwargs):
        from lm_eval.models.utils import has_bos_prefix
        special = add_special_tokens
        if special is None:
            special = not has_bos_prefix(string, self.tokenizer.decode(0))
        return self.tokenizer.encode(string, add_special_tokens=special)
    def _loglikelihood_tokens(self, requests, **kwargs):
        return [(a, b) for _, a, b in requests]
    def loglikelihood_rolling(self, requests, disable_tqdm=False): ...
    def generate_until(self, requests, disable_tqdm=False): ...


@pytest.mark.parametrize('load', [ls.load, load_sums])
def test_pairs_are_cut_as_theirs(load):
    lm, theirs, dice = load(), Pairs(), random.Random(1)
    theirs.tokenizer = lm.tokenizer
    words = ['The', ' king', ' had', '  ', 'three', '\n', ' sons.', '12', '+3', '=']
    texts = lambda n: ''.join(dice.choice(words) for _ in range(n))
    pairs = [(texts(dice.randrange(5)), texts(dice.randrange(1, 5)))
             for _ in range(300)]
    pairs = [p for p in pairs if encode_pair(lm, *p)[1]]
    asked = [stands.ask(*p) for p in [*pairs, ('<|endoftext|>A', ' b')]]
    want = theirs.loglikelihood(asked, disable_tqdm=True)
    assert len(want) > 200
    assert [encode_pair(lm, *r.args) for r in asked] == [tuple(w) for w in want]


@pytest.fixture(scope='module')
def measured():
    found = bench.measure()
    print(json.dumps({k: found[k] for k in ('versions', 'rows', 'hf')}, indent=1))
    return found


def test_what_is_stored_is_what_it_reports(measured):
    for name in ('problems', 'repeats', 'answers', 'rows'):
        assert measured[name] == STORED[name], name


def test_answers_are_those_of_its_own_class(measured):
    hf = measured['hf']
    assert hf.keys() == STORED['hf'].keys()
    pairs, greedy, rolling, texts = hf.values()
    assert pairs[0] < 1e-4 and greedy[0] == greedy[1] == 136
    assert rolling[0] < 1e-6 * rolling[1]           # sums of thousands of tokens
    assert texts[0] == texts[1] == 134


def test_order_and_batch_size_do_not_matter(tmp_path):
    write_sums_tasks(tmp_path, 6, 3)
    found = []
    for size in (1, 16):
        lm = harness_class()('sums', temperature=1., batch_size=size)
        import lm_eval
        from lm_eval.tasks import TaskManager
        manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
        out = lm_eval.simple_evaluate(lm, tasks=['sums_maj'], task_manager=manager)
        found.append([s['resps'] for s in out['samples']['sums_maj']])
    assert found[0] == found[1] and any(len({*r[0]}) > 1 for r in found[0])


def test_the_cache_of_responses(tmp_path):
    "Scores come back from it; repeats that it would confuse are refused"
    lm = harness_class()('sums', temperature=1.)
    cached = CachingLM(lm, str(tmp_path/'x.db'))
    asked = [stands.ask('1+2+3+4\n', '=3+3+4\n'), stands.ask('1+2+3+4\n', '=4')]
    first = cached.loglikelihood(asked)
    spent = lm.tokens
    assert [tuple(x) for x in cached.loglikelihood(asked)] == first
    assert lm.tokens == spent
    request = stands.ask('1+2+3+4\n', {'until': [], 'max_gen_toks': 8})
    with pytest.raises(ValueError, match='use_cache must be left out'):
        cached.generate_until([request] * 2)


def test_the_command(tmp_path):
    "From a shell: a strategy, a task, a file of results"
    write_sums_tasks(tmp_path, 5, 2)
    root = Path(__file__).resolve().parents[2]
    env = os.environ | {'PYTHONPATH': str(root), 'HF_DATASETS_OFFLINE': '1'}
    run = lambda *args: subprocess.run(
        [sys.executable, '-m', 'llm_sampling.harness', *args], env=env,
        capture_output=True, text=True, cwd=tmp_path)
    out = run('--model', 'llm_sampling', '--model_args',
              'pretrained=sums,strategy=beam_search,num_beams=2', '--tasks', 'sums',
              '--include_path', str(tmp_path), '--output_path', str(tmp_path/'out'))
    assert out.returncode == 0, out.stderr[-2000:]
    assert '|sums|' in out.stdout and 'exact_match' in out.stdout
    told = json.loads(next((tmp_path/'out').rglob('results*.json')).read_text())
    assert told['config']['strategy'] == {'strategy': 'beam_search', 'num_beams': 2}
    out = run('--model', 'llm_sampling', '--model_args', 'pretrained=sums,beams=2',
              '--tasks', 'sums', '--include_path', str(tmp_path))
    assert out.returncode and "generate has no knob 'beams'" in out.stderr
    assert run('ls', 'tasks', '--include_path', str(tmp_path)).returncode == 0
