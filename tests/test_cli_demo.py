"The demo: every strategy, its figure, its page"
import matplotlib.pyplot as plt
import pytest

from llm_sampling.cli_options import STRATEGIES
from llm_sampling.equal_terms import every_strategy


def test_demo_shows_every_strategy_and_a_figure(tmp_path, here, monkeypatch):
    panels = []
    from llm_sampling import plots
    plt.close('all')                    # of other tests: old matplotlibs warn
    small_multiples = plots.small_multiples
    monkeypatch.setattr(plots, 'small_multiples', lambda rows, *a,
                        **kw: panels.append(rows) or small_multiples(rows, *a, **kw))
    p = here('demo', 'Once upon a time', '--max-new-tokens', '6', '--figure',
             str(tmp_path/'demo.png'))
    assert p.returncode == 0 and p.stderr == f'wrote {tmp_path/"demo.png"}\n'
    assert (tmp_path/'demo.png').read_bytes()[:4] == b'\x89PNG'
    rows = [l[4:] for l in p.stdout.splitlines() if l.startswith('--- ')]
    assert {row.split()[0] for row in rows} == {*STRATEGIES}
    table = p.stdout[p.stdout.index('\nstrategy '):]
    for title in ('tokens/s', 'evaluated', 'rep-4', 'log-probability'):
        assert title in table
    for row in rows:
        numbers = next(l for l in table.splitlines()
                       if l.startswith(row + ' ')).removeprefix(row).split()
        assert len(numbers) == 4 and int(numbers[1]) >= 6 and float(numbers[3]) < 0
    drawn, = panels
    assert len(drawn) >= 4
    assert len({tuple(p.tolist()) for p in drawn.values()}) == len(drawn)


def test_demo_prints_what_generate_prints(here):
    p = here('demo', 'Once', '--max-new-tokens', '5', '--seed', '4')
    shown = {title: text for title, _, text in (part.partition('\n')
                                                for part in p.stdout.split('--- ')[1:])}
    text = here('generate', 'Once', '--strategy', 'mbr', '--n', '8', '--seed', '4',
                '--max-new-tokens', '5').stdout
    assert shown['mbr --n 8'].startswith(text + '\n')


@pytest.mark.parametrize('path,says', [('', 'folder'), ('none/demo.png', 'no folder'),
                                       ('demo.doc', '.png'), ('demo', '.png')])
def test_a_bad_figure_is_found_before_the_demo(path, says, tmp_path, here, monkeypatch):
    monkeypatch.setattr('llm_sampling.models.load', lambda *a,
                        **kw: pytest.fail('a model was loaded'))
    p = here('demo', '--figure', str(tmp_path/path))
    assert p.returncode == 2
    assert p.stdout == ''
    assert says in p.stderr.splitlines()[-1]
    assert not [*tmp_path.iterdir()]


@pytest.mark.long
def test_the_demo_ends_with_a_page(here, tmp_path):
    page = tmp_path/'demo.html'
    p = here('demo', '--max-new-tokens', '3', '--page', str(page))
    assert p.returncode == 0 and 'All strategies on 6 prompts' in p.stdout
    assert 'demo.html' in p.stderr
    text = page.read_text()
    assert text.count('<svg') == 1 and '<script' not in text
    assert text.count('<h3>') == len(every_strategy())
