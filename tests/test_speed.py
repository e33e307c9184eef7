"Intervals of medians and of changes, the guard's alarms, runs that are stopped"
import json, sys
from statistics import median

import numpy as np
import pytest
from scripts import ROOT

from llm_sampling.speed import change, changes, median_interval, summary

sys.path.insert(0, str(ROOT/'benchmarks'))
import guard
import run
import timing

@pytest.fixture(autouse=True)
def dice():
    "The same noise for a test, whatever ran before it"
    global rng
    rng = np.random.default_rng(0)


def noisy(rounds, noise=.02, factor=1.):
    "Rounds of both sides: what the machine does falls on both, bursts on one"
    load = .3 * rng.normal(size=rounds)
    sides = load + noise * rng.normal(size=(2, rounds))
    sides += (rng.random((2, rounds)) < .05) * rng.uniform(0, 1, (2, rounds))
    ours, theirs = np.exp(sides)
    return dict(ours=(factor * ours).tolist(), theirs=theirs.tolist())

def table(names=40, rounds=15, slower=(), factor=1.1, **kw):
    rows = [dict(bench='x', name=str(i)) | noisy(
        rounds, factor=factor if i in slower else 1., **kw) for i in range(names)]
    return dict(rows=rows)

def called(found, verdict='worse'):
    return [x.name.removeprefix('x: ') for x in found if x.verdict == verdict]


@pytest.mark.parametrize('level', [.5, .9, .95, .999])
@pytest.mark.parametrize('n', [1, 2, 5, 6, 9, 16])
def test_median_interval_is_the_sign_test(n, level):
    "The median is inside exactly when the binomial test does not reject it"
    stats = pytest.importorskip('scipy.stats')
    value, low, high = median_interval(range(1, n + 1), level)
    assert value == (n + 1) / 2
    p = [stats.binomtest(below, n).pvalue for below in range(n + 1)]
    kept = [below for below in range(n + 1) if p[below] > 1 - level + 1e-12]
    # between the k-th and the next there are k below
    if 0 in kept: assert low is None and high is None
    else: assert (low, high) == (kept[0], n + 1 - kept[0])


@pytest.mark.parametrize('n, m', [(1, 1), (2, 2), (3, 3), (4, 5), (7, 7), (9, 6)])
def test_change_is_the_test_of_mann_and_whitney(n, m):
    stats = pytest.importorskip('scipy.stats')
    old, new = rng.uniform(1, 2, n), rng.uniform(1, 2, m)
    for level in (.8, .95):
        factor, low, high = change(old, new, level)
        assert factor == pytest.approx(np.median(np.divide.outer(new, old)), rel=.1)
        def p(f): return stats.mannwhitneyu(f * old, new, method='exact').pvalue
        if low is None: assert p(1e9) > 1 - level
        else:
            error = 1 - level + 1e-9
            assert p(low * .9999) <= error < p(low * 1.0001)
            assert p(high * 1.0001) <= error < p(high * .9999)


def test_change_turns_around():
    "From new to old is one through it; a factor comes out as it went in"
    old, new = rng.uniform(1, 2, (2, 9))
    factor, low, high = change(old, new)
    assert change(new, old) == pytest.approx((1 / factor, 1 / high, 1 / low))
    assert change(old, 3 * new) == pytest.approx((3 * factor, 3 * low, 3 * high))
    assert change(old, 3 * old)[0] == pytest.approx(3)


def test_median_interval_covers_what_it_promises():
    "Of skewed noise: .961 with nine rounds"
    held = [low <= 1 <= high for _ in range(2000)
            for _, low, high in [median_interval(rng.exponential(size=9) / np.log(2))]]
    assert np.mean(held) == pytest.approx(.961, abs=3.5 * (.961 * .039 / 2000)**.5)


def test_false_alarms_of_the_guard():
    """The same code twice: at most 5 of 100 runs name a row, and the rule that compares
    two medians does so in most"""
    runs = [(table(noise=.05), table(noise=.05)) for _ in range(120)]
    alarms = np.mean([bool(called(changes(*x))) for x in runs])
    assert alarms <= .05 + 3 * (.05 * .95 / 120)**.5
    def cost(row): return median(np.divide(row['ours'], row['theirs']))
    naive = np.mean([any(cost(b) > 1.05 * cost(a)
                         for a, b in zip(old['rows'], new['rows']))
                     for old, new in runs])
    assert naive > .6


def test_without_a_least_the_alarms_are_still_few():
    "The level alone bounds them, and ten times the level lets many through"
    alarms = np.mean([bool(called(changes(table(), table(), least=0)))
                      for _ in range(200)])
    assert alarms <= .05 + 3 * (.05 * .95 / 200)**.5
    loose = np.mean([bool(called(changes(table(), table(), least=0, alarms=.5)))
                     for _ in range(60)])
    assert .15 < loose < .75


def test_a_slowdown_of_a_tenth_is_named():
    "With readings that scatter by 2 %, and one in twenty disturbed"
    found = [called(changes(table(), table(slower=(7, 21)))) for _ in range(150)]
    assert np.mean([name in x for x in found for name in ('7', '21')]) > .75
    back = [called(changes(table(slower=[7]), table()), 'better') for _ in range(150)]
    assert np.mean(['7' in x for x in back]) > .75


def test_what_is_worse_by_little_is_not_named():
    "However sure it is"
    old = dict(rows=[dict(bench='x', name='a', ours=[1 + i / 1e6 for i in range(12)],
                          theirs=[1.] * 12)])
    def by(factor): return dict(rows=[old['rows'][0] | dict(
        ours=[factor * x for x in old['rows'][0]['ours']])])
    told = [x.verdict for f in (1.04, 1.06, .97, .94) for x in changes(old, by(f))]
    assert told == ['as before', 'worse', 'as before', 'better']


def test_memory_is_compared_too():
    row = table(1)['rows'][0] | dict(theirs_mb=[1000] * 9)
    old, new = (dict(rows=[row | dict(ours_mb=[mb + i for i in range(9)])])
                for mb in (700, 800))
    worse, = [x for x in changes(old, new) if x.verdict == 'worse']
    assert worse.what == 'MB' and worse.factor == pytest.approx(800 / 700, rel=.01)


def test_a_slower_machine_is_no_regression():
    old = table(names=5)
    new = dict(rows=[r | {k: [3 * x for x in r[k]] for k in ('ours', 'theirs')}
                     for r in old['rows']])
    assert {x.verdict for x in changes(old, new)} == {'as before'}


def test_too_few_rounds_are_no_verdict():
    found = changes(table(rounds=3), table(rounds=3, slower=range(40), factor=9.))
    assert {(x.low, x.verdict) for x in found} == {(None, 'too few rounds')}


@pytest.mark.parametrize('call, match', [
    (lambda: median_interval([]), 'values must hold a positive number for each round'),
    (lambda: median_interval([1, -2]), 'values must'),
    (lambda: median_interval([1, float('nan')]), 'values must'),
    (lambda: median_interval('ab'), "values must .* not 'ab'"),
    (lambda: median_interval([[1, 2]]), 'values must'),
    (lambda: median_interval([1], level=1), 'level must be a number from 0 to'),
    (lambda: change([1], [0]), 'new must hold'),
    (lambda: change(None, [1]), 'old must hold'),
    (lambda: changes({}, {}), 'old must be a table that `make bench` wrote'),
    (lambda: changes(table(1), [1]), 'new must be a table'),
    (lambda: changes(table(1), dict(rows=[dict(bench='x', name='1', ours=[0],
                                               theirs=[1])])), 'new must be a table'),
    (lambda: changes(table(1), table(1), least=-1), 'least must be a number'),
    (lambda: changes(table(1), table(1), alarms=0), 'alarms must be a number'),
    (lambda: summary(dict(ours=[1], theirs=[])), 'theirs must hold'),
    (lambda: summary(dict(ours=[1, 2], theirs=[1])), 'one number for each round'),
])
def test_errors(call, match):
    with pytest.raises(ValueError, match=match): call()


# --- the programs ---

def written(path, some):
    path.write_text(json.dumps(some))
    return str(path)


def test_guard_names_it_and_exits(tmp_path, capsys):
    old = written(tmp_path/'old.json', table(5) | dict(machine=dict(torch='1')))
    new = written(tmp_path/'new.json', table(5, slower=[3], factor=1.5)
                  | dict(machine=dict(torch='2')))
    assert guard.main([old, old]) == 0
    assert 'worse' not in capsys.readouterr().out
    assert guard.main([old, new]) == 1
    out = capsys.readouterr().out
    assert out.startswith('note: torch was 1, is 2\nworse   +') and 'x: 3' in out
    assert guard.main([old, new, '--least', '2']) == 0


@pytest.mark.parametrize('text', ['', '[]', '{"rows": [{}]}', '{"rows": []}'])
def test_guard_of_no_table_exits_with_2(tmp_path, text, capsys):
    good = written(tmp_path/'good.json', table(2))
    bad = tmp_path/'bad.json'
    bad.write_text(text)
    for pair in ([good, str(bad)], [str(bad), good], [good, str(tmp_path/'none')]):
        with pytest.raises(SystemExit) as e: guard.main(pair)
        assert e.value.code == 2 and 'error:' in capsys.readouterr().err


def test_turns(monkeypatch):
    "Who goes first, and that each side has its own time"
    now, order = [0.], []
    def work(name, took):
        def f():
            now[0] += took
            order.append(name)
        return f
    monkeypatch.setitem(timing.CLOCKS, 'fake', lambda: now[0])
    monkeypatch.setattr(timing, 'clock', 'fake')
    for turn, first in ((0, 'o'), (1, 't'), (2, 'o')):
        order.clear()
        found = timing.in_turns(work('o', .25), work('t', .5), turn)
        assert found == pytest.approx(dict(ours=.25, theirs=.5))
        assert ''.join(order) == {'o': 'otot', 't': 'toto'}[first]
    order.clear()
    timing.in_turns(work('o', .001), work('t', .002))
    assert len(order) == 2 * (2 + 25)       # short calls are repeated


@pytest.fixture
def small_run(tmp_path, monkeypatch):
    "A run of `make bench` on rows that take no time; stopped after so many visits"
    machine, asked = dict(cpu='x'), []
    names = ['draws: a', 'draws: b', 'searches: c']
    rows = {n: dict(zip(('bench', 'name'), n.split(': ')), goal=None, about={})
            for n in names}
    def visits(own, rows, turn, device, peer):
        for name in own:
            if len(asked) == small.stop: raise KeyboardInterrupt
            asked.append((turn, name))
            yield name, dict(ours=1.5, theirs=3., load=1., steal=0.)
    def small(*args, stop=None):
        asked.clear()
        small.stop = stop
        monkeypatch.setattr(sys, 'argv', ['run.py', '--out', str(small.path),
                                          '--rounds', '3', *args])
        run.main()
        return [*asked]
    small.path, small.machine, small.asked = tmp_path/'x.json', machine, asked
    monkeypatch.setattr(run, 'visits', visits)
    monkeypatch.setattr(run, 'all_rows', lambda device: rows)
    monkeypatch.setattr(timing, 'machine', lambda device: machine)
    return small

def rounds_of(path):
    rows = json.loads(path.read_text())['rows']
    return {r['name']: len(r.get('ours', ())) for r in rows}


def test_a_run_visits_all_rows_before_any_again(small_run):
    assert small_run() == [(turn, name) for turn in range(3) for name in
                           ('draws: a', 'draws: b', 'searches: c')]
    row = json.loads(small_run.path.read_text())['rows'][0]
    assert row['ours'] == [1.5] * 3 and row['median']['theirs'] == 3
    assert row['ratio'] == [2, None, None]


@pytest.mark.parametrize('stop', range(1, 9))
def test_a_stopped_run_goes_on(small_run, stop):
    with pytest.raises(KeyboardInterrupt): small_run(stop=stop)
    first = [*small_run.asked]
    assert len(first) == stop and sum(rounds_of(small_run.path).values()) == stop
    assert len(first + small_run()) == 9
    assert {*rounds_of(small_run.path).values()} == {3}


def test_a_complete_run_is_measured_anew(small_run):
    small_run()
    assert len(small_run()) == 9 and {*rounds_of(small_run.path).values()} == {3}
    assert {n for _, n in small_run('--only', 'draws')} == {'draws: a', 'draws: b'}
    assert rounds_of(small_run.path) == dict(a=3, b=3, c=3)


def test_rows_of_two_machines_do_not_mix(small_run):
    small_run()
    small_run.machine['cpu'] = 'y'
    with pytest.raises(SystemExit, match='another machine'):
        small_run('--only', 'draws')
    assert rounds_of(small_run.path) == dict(a=3, b=3, c=3)
    assert len(small_run()) == 9
    assert json.loads(small_run.path.read_text())['machine'] == {'cpu': 'y'}


def test_a_side_that_gave_other_tokens_shows(small_run, capsys, monkeypatch):
    monkeypatch.setattr(run, 'visits', lambda own, *rest: (
        (n, dict(ours=1., theirs=2., same_tokens=n.endswith('a'))) for n in own))
    small_run()
    out = capsys.readouterr().out.splitlines()
    assert ['OTHER TOKENS' in l for l in out[:3]] == [False, True, True]


@pytest.fixture(scope='module')
def committed(): return json.loads(timing.results('speed').read_text())


def test_the_committed_table_is_what_the_benchmarks_describe(committed):
    kept = {f"{r['bench']}: {r['name']}": r for r in committed['rows']}
    described = run.all_rows('cpu')
    assert {*kept} == {*described}
    for name, row in kept.items():
        assert row['about'] == described[name]['about']
        assert row['goal'] == described[name]['goal']
        assert json.loads(json.dumps(summary(row))).items() <= row.items()
        assert all(row.get('same_tokens', [True]))
        lengths = {len(row[k]) for k in row if isinstance(row[k], list)
                   and k not in ('ratio', 'memory_ratio')}
        assert len(lengths) == 1 and lengths.pop() > 0


@pytest.mark.long
def test_a_quick_run(tmp_path):
    "The programs as they are, on the quick rows, once"
    from test_project import run as command
    out = tmp_path/'x.json'
    command(sys.executable, ROOT/'benchmarks/run.py', '--quick', '--rounds', '1',
            '--out', out)
    rows = json.loads(out.read_text())['rows']
    assert len(rows) > 6 and {r['bench'] for r in rows} == {*run.BENCHES}
