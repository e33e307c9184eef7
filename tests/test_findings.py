import json
import math
from itertools import product

import numpy as np
import pytest

from llm_sampling import specs
from llm_sampling.comparison import compare
from llm_sampling.findings import Comparison, holm, read_comparison, sign_flip_p
from llm_sampling.intervals import Interval
from llm_sampling.metrics import distinct_n, rep

PROMPTS = ['The king had three', 'Once upon a time there', 'The wolf said to']
FEW = dict(max_new_tokens=7)


@pytest.fixture(scope='module')
def made(lm):
    "Two strategies, and one that fails"
    return compare(lm, PROMPTS, {
        'greedy': {'strategy': 'generate'},
        'top-k': {'strategy': 'generate', 'top_k': 9, 'temperature': 1.2},
        'wrong': {'strategy': 'generate', 'top_p': 7}},
        ['rep_4', 'distinct_2', 'length'], seed=4, **FEW)


def test_sign_flips():
    "Against all signs in a loop; with draws near that; against scipy's permutations"
    from scipy import stats
    g = np.random.default_rng(0)
    d = g.normal(.4, 1, 9)
    far = sum(abs(np.dot(s, d)) >= abs(d.sum()) - 1e-12
              for s in product((1, -1), repeat=9)) / 2**9
    assert sign_flip_p(d) == far
    assert abs(sign_flip_p(d, draws=400) - far) < 5 * (far * (1 - far) / 400)**.5
    theirs = stats.permutation_test((d, 0 * d), lambda a, b: np.mean(a - b),
                                    permutation_type='samples', n_resamples=2**9)
    assert math.isclose(theirs.pvalue, far, abs_tol=1e-9)
    assert sign_flip_p([0., 0.]) == 1 and math.isnan(sign_flip_p([np.nan]))
    assert sign_flip_p([1., 2., np.nan, 3.]) == .25


def test_sign_flips_find_nothing_where_there_is_nothing():
    "p at most .1 in a tenth of 400 sets: within four standard errors"
    g = np.random.default_rng(1)
    found = np.mean([sign_flip_p(g.normal(size=8)) <= .1 for _ in range(400)])
    assert abs(found - .1) < 4 * (.1 * .9 / 400)**.5


def test_holm():
    "Against rejecting step by step, at every level"
    g = np.random.default_rng(2)
    for _ in range(20):
        p = (g.random(7)**3).tolist()
        corrected = holm(p)
        for level in (.01, .05, .2, .6):
            order, rejected = sorted(range(7), key=p.__getitem__), set()
            for rank, i in enumerate(order):
                if p[i] * (7 - rank) > level: break
                rejected.add(i)
            assert {i for i in range(7) if corrected[i] <= level} == rejected
    assert holm([]) == [] and holm([.5, math.nan])[0] == .5


def test_a_comparison(lm, made):
    table = made.table()
    assert [*table] == 'strategy metric value low high n error'.split()
    failed, = table[table.metric == 'failed'].itertuples()
    assert failed.strategy == 'wrong' and 'top_p' in failed.error
    spec = {'strategy': 'generate', 'top_k': 9, 'temperature': 1.2}
    out = specs.run(lm, PROMPTS, spec, seed=4, **FEW)
    assert made.values['top-k']['rep_4'] == rep(out).tolist()
    assert made.intervals['top-k']['distinct_2'].value == distinct_n(out)
    assert ''.join(p for p, _ in made.texts['top-k'][1]) == out.texts[1]
    assert sum(made.values['top-k']['tokens']) == out.stats['tokens_evaluated']
    assert 'failed' in made.pivot().loc['wrong'].iloc[0]


def test_differences(made):
    found = made.differences('greedy', ['rep_4', 'length'])
    assert len(found) == 2 and (found.holm >= found.p).all()
    row = found.iloc[0]
    d = np.subtract(made.values['top-k']['rep_4'], made.values['greedy']['rep_4'])
    assert row.difference == pytest.approx(d.mean())
    with pytest.raises(ValueError, match='base'): made.differences('wrong')


def frontier_by_hand(points):
    return {n for n, (x, y) in points.items()
            if not any(a >= x and b >= y and (a > x or b > y)
                       for a, b in points.values())}


def test_frontier():
    g = np.random.default_rng(3)
    points = {str(i): (float(x), float(y)) for i, (x, y) in
              enumerate(g.integers(0, 6, (12, 2)))}
    one = lambda v: Interval(v, v, v, 3)
    told = {n: dict(d=one(x), q=one(y)) for n, (x, y) in points.items()}
    found = Comparison({}, told, {}, {}, {}, [], {})
    assert {*found.frontier('q', 'd')} == frontier_by_hand(points)
    assert found.frontier('q', 'other') == []


def test_names_stand_in_the_frame_only():
    one = lambda v: Interval(v, v, v, 3)
    told = {n: dict(d=one(.5), q=one(q)) for n, q in (('in', .9), ('below', .1))}
    found = Comparison({}, told, {}, {}, {}, [], {})
    names = lambda **kw: {t.get_text() for t in found.plot('q', 'd', **kw).texts}
    assert names() == {'in', 'below'} and names(ylim=(.8, 1)) == {'in'}


def test_files(made, tmp_path):
    path = tmp_path/'c.json'
    made.save(path)
    again = read_comparison(path)
    assert json.dumps(again.to_dict()) == json.dumps(made.to_dict())
    assert again.table().equals(made.table())
    assert [*tmp_path.iterdir()] == [path]
    ours = json.dumps({"kind": "llm_sampling comparison"})
    for wrong in ("{", "[]", json.dumps({"kind": "other"}), ours):
        path.write_text(wrong)
        with pytest.raises(ValueError, match='no comparison'): read_comparison(path)


def test_a_full_disk_leaves_the_old_file(made, tmp_path, monkeypatch):
    path = tmp_path/'c.json'
    made.save(path)
    before = path.read_text()
    def full(self, text): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(type(path), 'write_text', full)
    with pytest.raises(OSError): made.save(path)
    monkeypatch.undo()
    assert path.read_text() == before and [*tmp_path.iterdir()] == [path]


def test_a_page_is_whole_and_escaped(made):
    from dataclasses import replace
    evil = '<script>alert(1)</script>'
    changed = replace(
        made, prompts=[evil] * 3, errors={evil: evil},
        intervals={evil: made.intervals['greedy'], 'top-k': made.intervals['top-k']},
        texts={evil: [[(evil, 1.)]] * 3})
    page = changed.to_html(evil, 'rep_4', 'distinct_2')
    assert '<script' not in page and page.count('&lt;script') >= 5
    assert page.count('<svg') == page.count('</svg>') == 1
    table = page[page.index('<table'):page.index('</table>')]
    assert '[0' in table and ', ' not in table          # no line ends in an interval
    import re
    links = re.findall(r'(?:src|href)="([^"]*)"', page) + re.findall(r'url\(([^)]*)\)',
                                                                     page)
    assert all(link.startswith('#') for link in links)
