"The commands compare, sweep and plot: their files, what is refused, kill and resume"
import io
import json
import os
import signal
import sys
import time

import pytest
from crash import plain

import llm_sampling as ls
from llm_sampling import cli, cli_measure, results, sweeps
from llm_sampling.findings import read_comparison

PROMPTS = ['The king had three', 'Once upon a time there', 'The wolf said to']
GRID = ['--grid', 'sample', 'temperature=.5,1.5', '--grid', 'beam', 'num-beams=2',
        '--seeds', '1,2', '--max-new-tokens', '2']
SPECS = [{'strategy': 'generate', 'temperature': .5},
         {'strategy': 'generate', 'temperature': 1.5},
         {'strategy': 'beam_search', 'num_beams': 2}]


@pytest.fixture
def said(here, tmp_path, monkeypatch):
    "`said(*args)` is the exit code and both outputs of a command in its own folder"
    monkeypatch.chdir(tmp_path)
    (tmp_path/'prompts.txt').write_text('\n'.join(PROMPTS))
    def command(*args):
        p = here(*map(str, args))
        return p.returncode, p.stdout, p.stderr
    return command


@pytest.fixture
def no_model(monkeypatch):
    monkeypatch.setattr('llm_sampling.models.load', lambda *a,
                        **kw: pytest.fail('a model was loaded'))


def swept(*more): return ['sweep', '--out', 'x.jsonl', '--prompts', 'prompts.txt',
                          *GRID, *more]


# compare

def test_the_commands_compare_and_plot(said, tmp_path):
    (tmp_path/'specs.json').write_text(json.dumps({
        'greedy': {'strategy': 'generate'},
        'wrong': {'strategy': 'generate', 'top_p': 3}}))
    code, out, err = said(
        'compare', '--specs', 'specs.json', '--prompts', 'prompts.txt', '--metrics',
        'rep_4', 'length', '--max-new-tokens', 5, '--out', 'c.json', '--page', 'c.html')
    assert code == 0 and 'wrong' in out and '5.00' in out and 'wrote c.json' in err
    found = read_comparison(tmp_path/'c.json')
    assert found.prompts == PROMPTS and found.intervals['greedy']['length'].value == 5
    assert (tmp_path/'c.html').read_text().startswith('<!doctype html>')
    axes = '--quality', 'rep_4', '--diversity', 'length'
    code, out, err = said('plot', 'c.json', '--figure', 'c.png', '--page', 'd.html',
                          *axes)
    assert code == 0 and (tmp_path/'c.png').read_bytes()[:4] == b'\x89PNG'
    assert '<svg' in (tmp_path/'d.html').read_text()
    assert said('plot', 'c.json')[0] == 2                     # nothing to write
    assert said('plot', 'c.json', '--page', 'd.html')[0] == 2   # no coherence in it
    code, out, err = said('plot', 'specs.json', '--page', 'd.html', *axes)
    assert code == 1 and 'no comparison' in err
    assert said('compare', '--page', 'none/c.html')[0] == 2
    assert said('compare', '--specs', 'prompts.txt')[0] == 1
    assert said('compare', '--budget', '0')[0] == 2


def test_compare_says_what_is_missing(said, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pandas', None)
    code, out, err = said('compare')
    assert code == 1 and 'llm_sampling[measure]' in err


# sweep

def test_a_sweep_is_the_sweep_of_python(said, lm, tmp_path):
    assert said(*swept()) == (0, 'x.jsonl: 15 cells, 15 of them computed now\n', '')
    ls.sweep(lm, PROMPTS, SPECS, tmp_path/'y.jsonl', seeds=[1, 2], max_new_tokens=2)
    assert plain(tmp_path/'x.jsonl') == plain(tmp_path/'y.jsonl')
    before = (tmp_path/'x.jsonl').read_bytes()
    assert said(*swept()) == (0, 'x.jsonl: 15 cells, 0 of them computed now\n', '')
    assert (tmp_path/'x.jsonl').read_bytes() == before
    (tmp_path/'specs.json').write_text(json.dumps({'mine': SPECS[0]}))
    code, out, _ = said(*swept('--specs', 'specs.json', '--grid', 'greedy'))
    assert (code, out) == (0, 'x.jsonl: 18 cells, 3 of them computed now\n')
    assert (tmp_path/'x.jsonl').read_bytes().startswith(before)


def test_a_sweep_measures(said, tmp_path):
    code, out, _ = said(*swept('--metrics', 'entropy', 'length'))
    assert (code, out) == (0, 'x.jsonl: 15 cells, 15 of them computed now\n')
    table = ls.read_sweep(tmp_path/'x.jsonl')
    assert table.length.tolist() == table.tokens.tolist() and (table.entropy > 0).all()
    code, _, err = said(*swept('--metrics', 'mauve'))
    assert code and "metrics must be 'perplexity' or" in err


def test_sample_draws_and_greedy_does_not():
    "`{'strategy': 'generate'}` without a knob of the sampler would be greedy"
    parse = cli.make_parser().parse_args
    for words, drawn in ((['sample'], True), (['sample', 'n=2'], True),
                         (['sample', 'temperature=none'], True), (['greedy'], False)):
        args = parse(['sweep', '--out', 'x.jsonl', '--grid', *words])
        spec, = cli_measure.specs_of(args)
        assert ls.specs.is_random(spec) == drawn, words


@pytest.mark.parametrize('more,says', [
    (['--grid', 'beams'], 'must be one of greedy, sample'),
    (['--grid', 'beam', 'num-beams'], "'num-beams' must be KNOB=VALUE"),
    (['--grid', 'beam', 'penalty-alpha=.5'], 'no knob penalty-alpha; contrastive has'),
    (['--grid', 'beam', 'strategy=x'], 'no knob strategy'),
    (['--grid', 'sample', 'seed=1'], '--seeds'),
    (['--grid', 'sample', 'top-p=.9,9'], 'top_p must be'),
    (['--grid', 'greedy', 'temperature=1'], 'greedy has temperature 0'),
    (['--grid', 'dola'], 'dola needs dola_layers'),
    (['--seeds', '1,none'], 'must be integers'), (['--seeds', str(2**63)], '64 bits'),
    (['--out', 'x.json'], 'must end in .jsonl'), (['--out', 'no/x.jsonl'], 'no folder'),
    (['--workers', '2'], 'is for --backend ray'), (['--backend', 'dask'], 'dask'),
    (['--batch-size', '0'], 'at least 1'),
])
def test_a_wrong_sweep_is_2_before_the_model(more, says, said, no_model, tmp_path):
    code, out, err = said(*swept(*more))
    assert code == 2 and out == '' and says in err.splitlines()[-1]
    assert not (tmp_path/'x.jsonl').exists()


def test_a_sweep_needs_a_grid(said, no_model):
    code, _, err = said('sweep', '--out', 'x.jsonl')
    assert code == 2 and err.endswith('give --grid or --specs\n')


@pytest.mark.parametrize('content,says', [
    ('[', 'is not JSON'), ('[]', 'no specs'), ('3', 'no specs'), ('{}', 'no specs'),
    ('[{"strategy": "generate"}, {"strategy": "x"}]', 'spec 2 of specs.json: strategy'),
    ('{"a": {"strategy": "generate", "top_p": 3}}', 'spec 1 of specs.json: top_p'),
])
def test_a_wrong_file_of_specs_is_1_and_one_line(content, says, said, no_model,
                                                 tmp_path):
    (tmp_path/'specs.json').write_text(content)
    code, out, err = said('sweep', '--out', 'x.jsonl', '--specs', 'specs.json')
    assert code == 1 and out == '' and len(err.splitlines()) == 1 and says in err


def test_what_failed_is_told_and_the_rest_is_there(said, tmp_path):
    asked = swept('--grid', 'stochastic-beam', 'num-beams=9', 'top-k=1')   # raises
    code, out, err = said(*asked)
    assert code == 1 and out == 'x.jsonl: 21 cells, 21 of them computed now\n'
    assert len(err.splitlines()) == 1 and '6 cells failed' in err
    assert sum('error' in r for r in plain(tmp_path/'x.jsonl').values()) == 6
    assert '0 of them' in said(*asked)[1]
    assert '6 of them' in said(*asked, '--retry-failed')[1]


def test_a_file_of_another_sweep_is_left_alone(said, tmp_path):
    (tmp_path/'x.jsonl').write_text('{"not": "a sweep"}\n')
    code, out, err = said(*swept())
    assert code == 1 and len(err.splitlines()) == 1 and 'no results file' in err
    assert (tmp_path/'x.jsonl').read_text() == '{"not": "a sweep"}\n'


def test_ctrl_c_says_how_to_go_on(said, tmp_path, monkeypatch):
    own, left = sweeps.compute, [1, 1]
    def interrupted(work, batch):
        if not left: raise KeyboardInterrupt
        left.pop()
        return own(work, batch)
    with monkeypatch.context() as m:
        m.setattr(sweeps, 'compute', interrupted)
        code, out, err = said(*swept())
    assert code == 130 and out == '' and err.split('\n') == [
        '', 'x.jsonl holds what is finished; the same line goes on', '',
        'llm-sampling: interrupted', '']
    assert len(plain(tmp_path/'x.jsonl')) == 6                 # two batches of three
    assert said(*swept())[1] == 'x.jsonl: 15 cells, 9 of them computed now\n'


def test_killed_it_goes_on(said, lm, tmp_path):
    "A process of its own, SIGKILL in the middle; the file becomes that of a calm one"
    path, pid = tmp_path/'x.jsonl', os.fork()
    if not pid:
        own = sweeps.compute
        def slow(work, batch):
            time.sleep(.2)
            return own(work, batch)
        sweeps.compute = slow
        try: said(*swept('--batch-size', '1'))
        finally: os._exit(1)
    until = time.monotonic() + 60
    while not path.exists() or path.read_bytes().count(b'\n') < 4:    # header, 3 cells
        assert time.monotonic() < until
        time.sleep(.01)
    os.kill(pid, signal.SIGKILL)
    assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    stored = len(plain(path))
    assert 3 <= stored < 15
    assert f'15 cells, {15 - stored} of them' in said(*swept())[1]
    ls.sweep(lm, PROMPTS, SPECS, tmp_path/'y.jsonl', seeds=[1, 2], max_new_tokens=2)
    assert plain(path) == plain(tmp_path/'y.jsonl')


def test_a_bar_on_a_terminal_only(said, load, monkeypatch):
    screen = io.StringIO()
    screen.isatty = lambda: True
    with monkeypatch.context() as m:
        m.setattr('sys.stderr', screen)
        m.setattr('llm_sampling.models.load', load)
        assert cli.main(swept()) == 0
    assert '/15' in screen.getvalue() and 'x.jsonl' in screen.getvalue()
    assert '\x1b' not in screen.getvalue()


def test_ray_gets_its_options(said, monkeypatch):
    calls = []
    def stand_in(lm, prompts, grid, path, **asked):
        calls.append(asked)
        return sweeps.Swept(path, 1, 1, 0)
    monkeypatch.setattr(sweeps, 'sweep', stand_in)
    monkeypatch.setattr(cli_measure, 'find_spec', lambda name: name == 'ray')
    ray = ['--backend', 'ray', '--workers', '3', '--address', 'a:1', '--gpus', '.5']
    assert said(*swept(*ray, '--batch-size', '2'))[0] == 0
    assert calls == [dict(backend='ray', workers=3, address='a:1', gpus=.5,
                          batch_size=2, seeds=[1, 2], max_new_tokens=2,
                          retry_failed=False, metrics=None)]
    monkeypatch.setattr(cli_measure, 'find_spec', lambda name: None)
    code, _, err = said(*swept(*ray))
    assert code == 1 and err.count('\n') == 1 and 'llm_sampling[ray]' in err


# plot

def test_plot_draws_a_sweep(said, tmp_path, monkeypatch):
    said(*swept())
    drawn, own = [], results.plot_sweep
    monkeypatch.setattr(results, 'plot_sweep',
                        lambda *a: drawn.append(own(*a)) or drawn[-1])
    plot = 'plot', 'x.jsonl', '--x', 'temperature'
    code, out, err = said(*plot, '--figure', 'x.png')
    assert (code, out, err) == (0, '', 'wrote x.png\n')
    assert (tmp_path/'x.png').read_bytes()[:4] == b'\x89PNG'
    line, = [l for l in drawn[0].get_lines() if l.get_label() == 'generate']
    table = ls.read_sweep(tmp_path/'x.jsonl').query('temperature == 1.5')
    assert line.get_ydata()[-1] == pytest.approx(table.logprob.mean())
    for wrong, says in ((['--page', 'x.html'], '--page'), (['--y', 'text'], '--y'),
                        (['--x', 'label'], '--x'), (['--figure', 'x.doc'], '.png')):
        code, _, err = said(*plot, '--figure', 'x.png', *wrong)
        assert code == 2 and says in err.splitlines()[-1], wrong
    assert said('plot', 'x.jsonl', '--figure', 'x.png')[0] == 2           # no --x
    assert said(*plot, '--figure', 'x.png', '--by', 'nobody')[0] == 1
