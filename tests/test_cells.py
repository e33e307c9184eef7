"""Cells: the same from any order, batch and process; and what tells models apart"""
import json

import pandas
import pytest
import torch
from crash import PROMPTS

import llm_sampling as ls
from llm_sampling import cells, results, specs

BEGINS = ['Once upon a time', 'The king had three', 'The wolf']
DRAWN = {'strategy': 'generate', 'temperature': .8, 'max_new_tokens': 6}


def test_cells_are_what_the_strategies_give(lm, tmp_path):
    path = tmp_path/'x.jsonl'
    grid = [DRAWN | {'n': 2}, {'strategy': 'beam_search', 'num_beams': 2}]
    length = lambda out: [len(i) for i in out.ids]
    told = ls.sweep(lm, BEGINS, grid, path, seeds=[7, 2**60 + 1], max_new_tokens=5,
                    metrics={'length': length})
    assert told == (str(path), 9, 9, 0)
    table = ls.read_sweep(path)
    assert len(table) == 2 * 3 * 2 + 3 and table.error.isna().all()
    for (strategy, seed, prompt), rows in table.groupby(['strategy', 'seed', 'prompt'],
                                                        dropna=False):
        seed = None if pandas.isna(seed) else int(seed)
        assert (seed is None) == (strategy == 'beam_search')      # it draws nothing
        spec = next(s for s in grid if s['strategy'] == strategy)
        out = specs.run(lm, prompt, spec, seed=seed, max_new_tokens=5)
        assert rows.text.tolist() == out.texts
        assert rows.ids.tolist() == [i.tolist() for i in out.ids]
        assert rows.finish_reason.tolist() == out.finish_reasons
        want = [l.sum().item() for l in out.logprobs]
        assert rows.logprob.tolist() == pytest.approx(want, abs=1e-4)
        assert rows.length.tolist() == rows.tokens.tolist() == length(out)
    header = json.loads(path.read_text().splitlines()[0])
    assert torch.__version__.startswith(header['versions']['torch'])    # … +cu132
    assert header['model'] == cells.fingerprint(lm)
    assert header['seeds'] == [7, 2**60 + 1]
    assert table.label.unique().tolist()[1] == ('beam_search max_new_tokens=5 '
                                                 'num_beams=2')


def test_costs_add_up(lm, tmp_path):
    "A batch's cost is shared among its cells, and a cell's among its texts"
    path = tmp_path/'x.jsonl'
    ls.sweep(lm, BEGINS, DRAWN | {'n': 4}, path)
    out = ls.generate(lm, BEGINS, ls.Sampler(temperature=.8), n=4, seed=0,
                      max_new_tokens=6)
    table = ls.read_sweep(path)
    assert table.tokens_evaluated.sum() == pytest.approx(out.stats['tokens_evaluated'])
    assert (table.batch == 3).all()


def near_tie(lm, prompt, a, b):
    "Do two texts part where two tokens are as likely, but for rounding?"
    at = next(i for i, (x, y) in enumerate(zip(a, b)) if x != y)
    z = lm.next_logits([lm.encode(prompt)[0][0].tolist() + a[:at]])[0]
    return abs(z[a[at]] - z[b[at]]) < 1e-4


def test_order_and_batches_do_not_matter(small, tmp_path):
    grid = [{'strategy': 'generate'}, DRAWN | {'n': 3},
            {'strategy': 'contrastive_search'},
            {'strategy': 'stochastic_beam_search', 'num_beams': 2}]
    found = {}
    for size in (1, 2, 16):
        path, turn = tmp_path/f'{size}.jsonl', slice(None, None, 1 - 2 * (size == 2))
        ls.sweep(small, PROMPTS[turn], grid[turn], path, max_new_tokens=6,
                 batch_size=size, seeds=[3, 4][turn])
        for r in results.sweep_rows(path):
            found.setdefault((r['cell'], r['row']), []).append(r)
    apart = [(r, other) for r, *others in found.values() for other in others
             if r['ids'] != other['ids']]
    print(f'{len(apart)} near-ties among {len(found)} texts')
    assert len(found) == 48 and all(len(rows) == 3 for rows in found.values())
    assert len(apart) <= 2
    for r, other in apart:
        assert near_tie(small, r['prompt'], r['ids'], other['ids'])


def test_what_a_fingerprint_sees(lm, tiny):
    own = cells.fingerprint(lm)
    lm.tokenizer(['a', 'b c'], padding=True)      # which leaves its mark in a tokenizer
    assert cells.fingerprint(lm) == own
    assert cells.fingerprint(ls.LanguageModel(lm.model)) != own       # no tokenizer
    table = {(): [.5, .5], (1,): [.2, .8]}
    tables = [ls.LanguageModel(ls.TableModel(t))
              for t in (table, dict(table), {(): [.5, .5], (0,): [.2, .8]})]
    a, b, c = map(cells.fingerprint, tables)
    assert a == b != c
