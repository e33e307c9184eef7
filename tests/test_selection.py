"""Scores of moves, walks down a tree and up, and the choice of a move: by the formula,
by hand, by counting"""
import pytest, torch

from llm_sampling.selection import (Node, back_up, choose_move, puct, select,
                                    select_leaves)


def test_puct_by_the_formula():
    """Mean value as a share of the range, the parent's where there is none; the prior
    term falls with visits and pending walks"""
    root = Node()
    root.visits, root.total, root.moves = 5, -20., [(4, .6, 0.), (2, .3, 0.),
                                                    (7, .1, 0.)]
    a = Node(root, 4)
    a.visits, a.total = 3, -9.
    assert puct(root, -6., -2.,
                1.5) == pytest.approx([(6 - 3) / 4 + 1.5 * .6 * 5**.5 / 4, (6 - 4) / 4
                                       + 1.5 * .3 * 5**.5, .5 + 1.5 * .1 * 5**.5])
    # a walk under way counts as one that found the lowest value
    a.pending = root.pending = 1
    assert puct(root, -6., -2.,
                1.5)[0] == pytest.approx((9 / 4) / 4 + 1.5 * .6 * 6**.5 / 5)
    # one value so far: the prior decides
    assert puct(root, -3., -3., 1.)[1] == pytest.approx(.3 * 6**.5)
    assert puct(root, -6., -2., 0.)[1] == .5


def test_select_and_back_up():
    root = Node()
    assert select(root) is root and root.pending == 1
    root.moves = [(1, .5, -1.), (2, .5, -2.)]
    back_up(root, root, 3.)
    leaf = select(root)
    assert leaf.ids == [1]
    assert leaf.logprob == -1.
    assert (leaf.pending, root.pending) == (1, 1)
    back_up(leaf, root, 5.)
    assert (root.visits, root.total, root.low, root.high, leaf.visits,
            leaf.mean) == (2, 8., 3., 5., 1, 5.)
    other = select(root)
    back_up(other, root)  # it did not take place
    assert other is leaf
    assert (root.visits, root.pending, leaf.visits, leaf.pending) == (2, 0, 1, 0)


def grown():
    "A root with two moves, each of them visited and expanded"
    root = Node()
    root.moves = [(1, .6, -.5), (2, .4, -.9)]
    back_up(select(root), root, 0.)
    for value in (1., 0.):
        leaf = select(root)
        leaf.moves = [(3, .7, -.3), (4, .3, -1.)]
        back_up(leaf, root, value)
    return root


def everything(node): return [node] + [n for c in node.children.values()
                                       for n in everything(c)]


def test_walks_at_once_go_to_different_leaves():
    root = grown()
    known, leaves = select_leaves(root, 4)
    assert known == 0
    assert len({id(n) for n in leaves}) == len(leaves) > 1
    assert [n.ids for n in leaves[:1]] == [select_leaves(grown(), 1)[1][0].ids]
    assert root.pending == len(leaves)
    for leaf in leaves: back_up(leaf, root)
    assert all(n.pending == 0 for n in everything(root))


def test_a_taken_leaf_ends_the_round():
    root = Node()          # without moves it is the only leaf there is
    known, leaves = select_leaves(root, 5)
    assert (known, leaves, root.pending) == (0, [root], 1)


def test_a_known_end_counts_at_once():
    root = Node()
    root.moves = [(1, 1., 0.)]
    back_up(select(root), root, 2.)
    def end(node, token, logprob): return Node(node, token, logprob, ended=True)
    leaf = select(root, child=end)
    leaf.value = 3.
    back_up(leaf, root, 3.)
    assert select_leaves(root, 4, child=end) == (4, [])
    assert (root.visits, root.total, root.pending) == (6, 2. + 5 * 3, 0)


def test_temperature_draws_by_visits():
    "visits 1, 3, 9 at temperature 1 and 2, counted; and as it falls, the most visited"
    root = Node()
    root.moves = [(0, .5, -.7), (1, .3, -1.2), (2, .2, -1.6)]
    for t, v in ((0, 1), (1, 3), (2, 9)): Node(root, t).visits = v
    def chosen(T, n=1500):
        found = torch.tensor([choose_move(root, T, seed)[0] for seed in range(n)])
        return found.bincount(minlength=3) / n
    for T in (1., 2.):
        w = torch.tensor([1., 3., 9.])**(1 / T)
        p = w / w.sum()
        # 4 standard errors
        assert (chosen(T) - p).abs().max() < 4 * (p * (1 - p) / 1500).max()**.5
    assert chosen(.05, 50)[2] == 1 == chosen(0, 5)[2]


def test_ties_of_visits_go_to_the_mean_then_the_prior():
    root = Node()
    root.moves = [(0, .4, 0.), (1, .3, 0.), (2, .3, 0.)]
    assert choose_move(root) == (0, .4, 0.)  # none was visited
    for t, total in ((0, -8.), (1, -6.), (2, -6.)):
        node = root.children.get(t) or Node(root, t)
        node.visits, node.total = 2, total
    assert choose_move(root) == (1, .3, 0.)
