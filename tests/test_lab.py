"""JupyterLab on a copy of the notebooks: every cell runs, sliders and players move, and
the kernel sees where they stand"""
import ast
import os
import shutil
import sys

import nbformat
import pytest
from browser import browser, jupyterlab, nine, probs
from scripts import ROOT, script

import llm_sampling as ls

tools = script('tools/run_nbs.py')

# One notebook for each kind of widget: (notebook, variable that holds the widget)
NOTEBOOKS = [('00b_widgets.ipynb', 'bars')]

# What `pip install "llm_sampling[widgets]"` and a Jupyter bring, by themselves and by
# what they need
INSTALLED = {'llm_sampling', 'torch', 'numpy', 'transformers', 'tokenizers',
             'safetensors', 'tqdm', 'fastcore', 'matplotlib',
             'anywidget', 'ipywidgets', 'traitlets', 'IPython',
             'pandas', 'scipy', 'sklearn', 'sacrebleu', 'duckdb',    # to measure
             'ray', 'vllm', 'sglang', 'lm_eval',  # only where somebody asks for them
             *sys.stdlib_module_names}

OPEN = 'window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel'
RUN_ALL = '''async () => {
  const app = window.jupyterapp, panel = app.shell.currentWidget;
  await panel.context.ready;
  await panel.sessionContext.ready;
  await app.commands.execute("notebook:run-all-cells");
  const cells = panel.content.widgets.map(c => c.model).filter(m => m.type === "code");
  const errors = cells.flatMap(c => c.outputs.toJSON())
    .filter(o => o.output_type === "error").map(o => `${o.ename}: ${o.evalue}`);
  const source = c => c.sharedModel.getSource().trim();
  const unrun = cells.filter(c => source(c) && c.executionCount == null).length;
  return {errors, unrun, cells: cells.length};
}'''
ASK = '''async code => {
  const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
  let said = "";
  const future = kernel.requestExecute({code});
  future.onIOPub = m => { if (m.header.msg_type === "stream") said += m.content.text; };
  await future.done;
  return said.trim();
}'''


def code_of(path):
    "What the code cells of a notebook say, magics left out"
    source = '\n'.join(c.source for c in nbformat.read(path, 4).cells
                       if c.cell_type == 'code')
    return ast.walk(ast.parse('\n'.join(line for line in source.splitlines()
                                        if line.lstrip()[:1] not in ('%', '!'))))


def imported(node):
    "Top modules that a statement imports"
    if isinstance(node, ast.Import): return {a.name.split('.')[0] for a in node.names}
    return ({node.module.split('.')[0]}
            if isinstance(node, ast.ImportFrom) and not node.level
            else set())


@pytest.mark.parametrize('path', sorted((ROOT/'nbs').glob('*.ipynb')),
                         ids=lambda p: p.stem)
def test_notebook_needs_no_clone(path):
    """It imports only what an install brings (nbdev is not among it), and names no file
    of the folders around it"""
    nodes = [*code_of(path)]
    assert set().union(*map(imported, nodes)) <= INSTALLED
    assert [n.value for n in nodes if isinstance(n, ast.Constant)
            and isinstance(n.value, str) and '../' in n.value] == []


@pytest.mark.long
def test_notebook_runs_anywhere(tmp_path, monkeypatch):
    "A chapter that shows saved benchmarks, copied away, where there is no nbdev"
    (tmp_path/'nbdev.py').write_text('raise ImportError("there is no nbdev here")')
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(tmp_path), str(ROOT)]))
    copy = shutil.copy(ROOT/'nbs/08c_shortlist.ipynb', tmp_path)
    ran = tools.execute(copy, tools.flags())
    printed = ''.join(o.get('text', '') for c in ran.cells
                      if 'benchmark_speed' in c.source for o in c.outputs)
    assert 'torch' in printed and len(printed.splitlines()) > 10


def ask(page, code): return page.evaluate(ASK, code)


def wait_for(page, condition, tries=60):
    "Ask until true: Jupyter throttles what a moving slider sends"
    for _ in range(tries):
        if condition(): return True
        page.wait_for_timeout(250)
    return False


def check(box, i, j):
    """Move both sliders; the bars must show the distribution that the formula gives
    there"""
    box.get_by_label('temperature').fill(str(i))
    box.get_by_label('keep').fill(str(j))
    t, k = box.locator('output').all_inner_texts()
    assert all(abs(a-b) <= 5.1e-5
               for a, b in zip(probs(box), nine(float(t), int(k)), strict=True)), (t, k)


@pytest.mark.long
@pytest.mark.parametrize('notebook, variable', NOTEBOOKS)
def test_notebook_runs_live(notebook, variable):
    with browser(viewport={'width': 1400, 'height': 1000}) as (
        context, log), jupyterlab(ROOT/'nbs') as url:
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(f'{url}/lab/tree/{notebook}?reset')
        page.wait_for_function(OPEN)
        box = page.locator('.jp-OutputArea-output .llms-bars').first
        for i, j in ((0, 8), (4, 2)):
            check(box, i, j)  # nothing has run: this is the stored HTML

        ran = page.evaluate(RUN_ALL)
        assert ran['errors'] == [] and ran['unrun'] == 0 and ran['cells'] > 20
        box.scroll_into_view_if_needed()
        for i, j in ((0, 8), (4, 2), (9, 5)):
            check(box, i, j)
            assert wait_for(page, lambda: ask(page, f'print({variable}.index)')
                            == f'[{i}, {j}]'), 'the kernel does not see it'

        ask(page, f'{variable}.index = [5, 8]')
        assert wait_for(page, lambda: box.locator('output').all_inner_texts()
                        == ['1', '9']), 'the bars do not see it'
        assert all(abs(a-b) <= 5.1e-5 for a, b in zip(probs(box), nine(1, 9)))

        film = page.locator('.jp-OutputArea-output .llms-player').first
        shows = lambda: film.locator('.llms-caption').inner_text()
        captions = ask(page, "print(*player.captions, sep='\\n')").splitlines()
        assert shows() == captions[3], 'the kernel set the last frame'
        film.get_by_label('previous step').click()
        assert shows() == captions[2]
        assert wait_for(page, lambda: ask(page, 'print(player.index)') == '2')
        film.get_by_label('step', exact=True).fill('0')
        assert shows() == captions[0]
        assert wait_for(page, lambda: ask(page, 'print(player.index)') == '0')
        ask(page, 'player.index = 1')
        assert wait_for(page,
                        lambda: shows() == captions[1]), 'the player does not see it'
        assert log.outside == [] and log.errors == []


@pytest.mark.long
def test_a_lens_lives_in_jupyterlab():
    "Its script comes with the widget, the kernel answers, and Step writes a token"
    with browser(viewport={'width': 1400, 'height': 1000}) as (
        context, log), jupyterlab(ROOT/'nbs') as url:
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(f'{url}/lab/tree/23d_live.ipynb?reset')
        page.wait_for_function(OPEN)
        ran = page.evaluate(RUN_ALL)
        assert ran['errors'] == [] and ran['unrun'] == 0
        lens = page.locator('.jp-OutputArea-output .llms-live [data-llms=lens]').first
        lens.scroll_into_view_if_needed()
        assert lens.locator('.llms-token-row:visible').count() >= 8
        for n in (1, 2):
            lens.get_by_role('button', name='Step', exact=True).click()
            page.wait_for_function(f"""document.querySelector(
                ".llms-live [data-llms=lens]").view.entries.length === {n}""")
        want = ls.generate(ls.load(), 'The king said', ls.Sampler(top_p=.9, seed=1),
                           max_new_tokens=2)
        assert lens.locator('.llms-text').text_content() == (
            'The king said' + want.texts[0])
        assert log.outside == [] and log.errors == []
