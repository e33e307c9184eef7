"""Books against lists: what every node sees, and where it stands, after any steps"""
import pytest, torch

from llm_sampling.tree_books import left, new_books, pick, read


def planted(mask):
    "Books of prompts, and the same as lists: a path of (token, step) for each node"
    ids = torch.arange(mask.numel()).view_as(mask).masked_fill(~mask, 0)
    return new_books(ids, mask, torch.zeros(len(mask), 1, 1)), [[] for _ in mask]


def stepped(books, paths, step, g):
    "Up to three nodes more in each row, whose logits are the number of the step"
    B = len(paths)
    parents = torch.stack([torch.randint(-1, len(p), (3,), generator=g) for p in paths])
    tokens = torch.randint(-1, 50, (B, 3), generator=g)
    live, z = tokens >= 0, torch.full((B, 3, 1), float(step))
    nodes = torch.where(live, books.counts[:, None] + live.cumsum(1) - 1, -2)
    new = books.opened(parents, tokens)[0].entered(nodes, parents, tokens, z)
    for b, (ps, ts) in enumerate(zip(parents.tolist(), tokens.tolist())):
        old = list(paths[b])
        paths[b] += [(old[p] if p >= 0 else []) + [(t, step)]
                     for p, t in zip(ps, ts) if t >= 0]
    return new


def same(books, paths, known):
    "Every node sees its prompt and its path, in order, and stands behind them"
    for b, row in enumerate(paths):
        assert books.counts[b] == len(row)
        for node, path in enumerate(row):
            at = torch.full((len(paths), 1), -2)
            at[b] = node
            seen = books.seen(at)[b, 0]
            prompt = books.ids[b, :books.mask.shape[1]][books.mask[b]].tolist()
            assert books.ids[b][seen].tolist() == prompt + [t for t, _ in path]
            assert books.positions[b][seen].tolist() == list(range(len(prompt + path)))
            assert books.depth[b, node] == len(path)
            z = read(books.logits, pick(books.logits_at, at, -1), -1.)[b, 0, 0]
            assert z == (path[-1][1] if node in known[b] else -1)


@pytest.mark.parametrize('seed', range(5))
def test_books_say_what_lists_say(seed):
    g = torch.Generator().manual_seed(seed)
    mask = torch.arange(6) >= torch.tensor([[0], [4], [5]])
    books, paths = planted(mask)
    known = [set() for _ in paths]
    for step in range(1, 30):
        before = books
        counts, texts = books.counts.tolist(), [list(row) for row in paths]
        books = stepped(books, paths, step, g)
        for b, row in enumerate(paths): known[b] |= {*range(len(texts[b]), len(row))}
        assert before.counts.tolist() == counts                      # the old ones stay
        if step % 7: continue
        nodes = torch.stack(
            [torch.randint(-2, len(p), (2,), generator=g) for p in paths])
        books, number, order = books.kept(nodes)
        for b, row in enumerate(paths):
            mine = [n for n in nodes[b].tolist() if n >= 0]
            stay = [i for i in range(len(row)) if any(
                row[i] == row[n][:len(row[i])] and number[b, i] >= 0 for n in mine)]
            assert [number[b, i].item() for i in stay] == list(range(len(stay)))
            known[b] = {number[b, n].item() for n in mine if n in known[b]}
            paths[b] = [row[i] for i in stay]
        assert order is not None and books.columns == order.shape[1]
    same(books, paths, known)
    assert books.columns > 6


def test_helpers():
    order, real = left(torch.tensor([[True, False], [False, False]]))
    assert order.shape == (2, 1) and real.tolist() == [[True], [False]]
    assert pick(torch.zeros(1, 0), torch.tensor([[0, -1]]), 7.).tolist() == [[7, 7]]
    pieces = [torch.tensor([[[1.], [2.]]]), torch.tensor([[[3.]]])]
    found = read(pieces, torch.tensor([[2, -1, 0, 1]]), 9.)
    assert found[0, :, 0].tolist() == [3, 9, 1, 2]
