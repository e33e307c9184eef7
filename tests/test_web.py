"""The engine of the pages: what is generated is in step, its own tests pass, and it
gives Python's tokens in node and in a browser"""
import os
import random
import re
import shutil
import subprocess

import pytest
import web_cases
from scripts import ROOT, script
from tokenizers.pre_tokenizers import ByteLevel

from llm_sampling.steps import STEPS

web = script('tools/web.py')
SOURCES = [*(ROOT/'web').glob('*.js'), *(ROOT/'web/test').glob('*.js'),
           *(ROOT/'tests').glob('web_*.*js')]


@pytest.fixture(scope='module')
def node():
    "Where there is no node these tests are skipped, or fail where it is required"
    if shutil.which('node'): return 'node'
    if os.environ.get('LLM_SAMPLING_REQUIRE_BROWSER') == '1': pytest.fail('no node')
    pytest.skip('no node')


@pytest.fixture(scope='module')
def some():
    "Cases, and what Python says to them"
    made = web_cases.cases(scale=.02, seed=1)
    return made, [web_cases.expected(c) for c in made]


def stored_classes():
    text = (ROOT/'web/generated.js').read_text()
    return [re.search(rf'{name}: "([^"]+)"', text)[1]
            for name in ('letters', 'numbers', 'spaces')]


def test_tables_in_step(monkeypatch):
    "`web/generated.js` is what tools/web.py writes; classes are a test of their own"
    monkeypatch.setattr(web, 'classes', stored_classes)
    why = 'run python tools/web.py --tables'
    assert (ROOT/'web/generated.js').read_text() == web.generated(), why
    assert (ROOT/'web/views/strategies.js').read_text() == web.strategies(), why


def unpacked(text):
    at, codes = 0, set()
    for pair in text.split():
        gap, length = (int(n, 36) for n in pair.split(','))
        codes |= {*range(at + gap, at := at + gap + length)}
    return codes


def test_classes_of_code_points():
    "The stored classes are those of the tokenizer: some code points, and all borders"
    letters, numbers, spaces = classes = [unpacked(text) for text in stored_classes()]
    assert len(letters) > 140_000 and 9 in spaces and ord('½') in numbers
    dice = random.Random(1)
    some = {*dice.sample(range(0x110000), 3000)}
    some |= {c + d for found in classes for c in found for d in (-1, 1)
             if c + d not in found}
    codes = sorted(c for c in some if 0 <= c < 0x110000 and not 0xd800 <= c < 0xe000)
    split = ByteLevel(add_prefix_space=False, use_regex=True).pre_tokenize_str
    for mark, found in zip('a1', classes):
        assert {*web.joined(split, mark, codes)} == found & {*codes}
    rest = {*web.joined(split, '!', codes)}
    assert {*codes} - rest - letters - numbers == spaces & {*codes}


def test_knobs_from_their_checks():
    "Ranges are found by asking the knobs"
    assert web.span(STEPS['top_p'].knob) == dict(
        allowed='a number in [0, 1]', low=0, high=1, neutral=1)
    assert web.span(STEPS['typical_p'].knob)['lowOpen']
    assert web.span(STEPS['epsilon_cutoff'].knob)['highOpen']
    assert web.span(STEPS['top_k'].knob)['low'] == 1
    assert web.span(STEPS['top_n_sigma'].knob)['also'] == [float('inf')]


def test_bundle(monkeypatch, tmp_path):
    "One classic script of all modules; a name in two of them is an error"
    text = web.bundle([1, 2])
    assert not re.search(r'^(import|export) ', text, flags=re.M)
    assert all(f'// {f.name}\n' in text for f in (ROOT/'web').glob('*.js'))
    shutil.copytree(ROOT/'web', tmp_path/'web')
    (tmp_path/'web/model.js').write_text('export const sample = 1\n')
    monkeypatch.setattr(web, 'WEB', tmp_path/'web')
    with pytest.raises(SystemExit, match='two modules: sample'): web.bundle([])


def test_lines_fit_a_page():
    found = [(f.name, i) for f in SOURCES if f.name != 'generated.js'
             for i, line in enumerate(f.read_text().splitlines(), 1) if len(line) > 88]
    assert len(SOURCES) > 20 and found == []


def test_modules(node):
    "Node's own runner"
    run = subprocess.run([node, '--test', str(ROOT/'web/test')], capture_output=True,
                         text=True)
    assert run.returncode == 0, run.stdout[-4000:]
    assert int(re.search(r'^# pass (\d+)', run.stdout, flags=re.M)[1]) >= 40


def test_equal_in_node(node, some):
    "A third of what is asked in a browser, of each kind"
    made, wanted = (list(all_)[::3] for all_ in some)
    counts, different = web_cases.judged(made, wanted, web_cases.in_node(made))
    assert different == [] and sum(counts.values()) == len(made)


def test_equal_in_a_browser(chrome, some):
    "From a disk, as somebody opens a page that was downloaded"
    context, log = chrome
    with web_cases.in_page(context) as page:
        counts, different = web_cases.judged(*some, web_cases.ask_page(page, some[0]))
    assert different == [] and sum(counts.values()) == len(some[0])
    assert log.all() == []


def test_a_difference_is_seen(some):
    "A verdict that calls everything equal would be none"
    made, wanted = some
    for c, want in zip(made, wanted):
        if c['kind'] != 'generate' or 'error' in want: continue
        wrong = [row | dict(ids=[(i + 7) % 4096 for i in row['ids']]) for row in want]
        assert web_cases.verdict(c, want, wrong) == 'different'
        assert web_cases.verdict(c, want, want) == 'equal'
        assert web_cases.verdict(c, want, dict(error='?')) == 'different'
        break
    else: pytest.fail('no generate case')
    for c, want in zip(made, wanted):
        if c['kind'] != 'filter' or len(want.get('kept', ())) < 2: continue
        assert web_cases.verdict(c, want, want | dict(kept=want['kept'][1:])) != 'equal'
        break
    else: pytest.fail('no filter case')


LOADING = """async () => {
  const {engine} = llmSampling, seen = []
  await Promise.all([engine.load(p => seen.push(p)), engine.load()])
  const stop = new AbortController(), steps = []
  const options = {max_new_tokens: 400, eos_token_id: []}
  const step = s => { if (steps.push(s) === 3) stop.abort() }
  const stopped = await engine.call('generate', {prompt: 'Once', options},
                                    {signal: stop.signal, step})
  const wrong = await engine.call('generate', {prompt: '', settings: {top_p: 2}})
    .catch(error => error.message)
  return {seen, size: engine.size, stopped, steps: steps.length, wrong,
          scripts: document.scripts.length}
}"""


def test_engine_in_a_browser(chrome):
    "Progress, one load for all, a stop, an error; by a server this time"
    context, log = chrome
    with web_cases.serve(web_cases.built()) as url:
        with web_cases.in_page(context, url) as page: out = page.evaluate(LOADING)
    assert [p['total'] for p in out['seen']] == [out['size']] * web.PARTS
    assert out['seen'][-1]['loaded'] == out['size'] < 11.5e6
    assert out['stopped'] is None and 3 <= out['steps'] < 50
    assert 'top_p must be' in out['wrong']
    assert log.all() == []
