"Measures along a path are those of the finished text, whatever the tree has forgotten"
import random

import pytest
import torch

from llm_sampling.models import LanguageModel
from llm_sampling.table_model import TableModel
from llm_sampling.path_record import PathRecord, as_grid, split_rows
from llm_sampling.record import measure
from llm_sampling.token_tree import TokenTree


def test_pairs_in_a_grid():
    grid, at = as_grid([(0, 5), (1, 8), (0, 6)], batch=3)
    assert grid.tolist() == [[5, 6], [8, -2], [-2, -2]]
    assert grid[at].tolist() == [5, 8, 6]
    assert as_grid([(1, 4)], 2, empty=-1)[0].tolist() == [[-1], [4]]


def test_rows_of_measures():
    z = torch.randn(3, 9, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([4, 0, 8])
    for i, m in enumerate(split_rows(measure(z, ids))):
        for name, value in measure(z[i:i+1], ids[i:i+1]).items():
            torch.testing.assert_close(m[name], value)


@pytest.mark.parametrize('family', ['llama', 'bloom'])
def test_paths_are_measured_as_finished_texts(family, tiny):
    "A random tree, of which half is forgotten after every third step"
    lm, dice = tiny(family, layers=1), random.Random(1)
    prompts = [torch.tensor([3, 4, 5]), torch.tensor([9])]
    tree = TokenTree(lm, prompts)
    record, nodes = PathRecord(tree), torch.full((2, 1), -1)
    for step in range(9):
        parents = torch.tensor([[dice.choice(row) for _ in range(4)]
                                for row in nodes.tolist()])
        nodes = tree.extend(parents, torch.randint(1, 60, (2, 4)))
        if step % 3 == 2:
            nodes = record.keep(nodes[:, :2])
            paths = [record.path(row, node) for row in (0, 1)
                     for node in nodes[row].tolist()]
            assert {len(path) for path in paths} <= {*range(1, step + 2)}
            assert all({*entries} == {-1, *some} for entries, some
                       in zip(record.entries, nodes.tolist()))
    record.add(nodes)
    for row, some in enumerate(nodes.tolist()):
        for node in some:
            measures, ids = record.path(row, node), tree.path(row, node)
            assert torch.cat([m['ids'] for m in measures]).tolist() == ids
            text = torch.cat([prompts[row], torch.tensor(ids)])
            z = lm.forward(text[None])[0][0, -len(ids) - 1:-1]
            for name, want in measure(z, torch.tensor(ids)).items():
                if name == 'top_ids': continue                     # near ties
                got = torch.cat([m[name] for m in measures])
                torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


def test_nothing_is_measured_twice():
    tree = TokenTree(LanguageModel(TableModel({(): [.5, .3, .2]})), [[0], [0]])
    one = tree.extend(torch.tensor([[-1], [-1]]), torch.tensor([[0], [1]]))
    two = tree.extend(one, torch.tensor([[2], [-1]]))
    record, ends = PathRecord(tree), torch.tensor([[1], [0]])
    assert record.unmeasured(ends) == [(0, 0), (0, 1), (1, 0)]
    record.add(ends)
    assert record.unmeasured(ends) == []
    tree.extend(two, torch.tensor([[0], [-1]]))
    assert record.unmeasured(torch.tensor([[2], [-2]])) == [(0, 2)]
    assert record.path(0, -1) == []
