"""What a pass reads, what a model is asked before a backend is trusted, and prompts in
pieces"""
import pytest, torch

from llm_sampling import backends
from llm_sampling.backends import exact_backend, twin
from llm_sampling.models import LanguageModel
from llm_sampling.token_tree import TokenTree
from test_token_tree import check, prompts, tiny, wander


@pytest.mark.parametrize('family', ['llama', 'gpt2', 'mistral', 'gemma3', 'gpt_oss',
                                    'bloom', 'mamba'])
@pytest.mark.parametrize('chunk', [1, 3, 5])
def test_chunked_prefill(family, chunk, monkeypatch):
    lm, g = tiny(family), torch.Generator().manual_seed(3)
    monkeypatch.setattr(backends, '_CHUNK', chunk)
    tree = TokenTree(lm, prompts(3, g))
    wander(tree, g, steps=2)
    check(tree)


@pytest.mark.parametrize('family', ['llama', 'gpt2', 'opt', 'bloom', 'mamba'])
def test_prompt_states_are_hidden_states(family, monkeypatch):
    """Of all tokens of the prompts, read in chunks, beside pads that all rows have;
    only if asked for"""
    monkeypatch.setattr(backends, '_CHUNK', 3)
    lm, g = tiny(family), torch.Generator().manual_seed(4)
    ids, mask = (torch.nn.functional.pad(x, (2, 0)) for x in lm.encode(prompts(3, g)))
    tree = TokenTree(lm, ids, mask, hidden=True)
    assert tree.prompt_states.shape[:2] == ids.shape
    assert TokenTree(lm, ids, mask).prompt_states is None
    for row, states, real in zip(ids, tree.prompt_states, mask):
        with torch.no_grad():
            want = lm.model(row[real][None],
                            output_hidden_states=True).hidden_states[-1][0]
        torch.testing.assert_close(states[real], want, atol=1e-4, rtol=1e-4)


def test_old_keys_stay_where_they_are():
    tree = TokenTree(tiny('llama'), [[1, 2, 3]])
    places = {tree.cache.layers[0].keys.data_ptr()}
    node = torch.tensor([[-1]])
    for t in range(50):
        node = tree.extend(node, torch.tensor([[t]]))
        places.add(tree.cache.layers[0].keys.data_ptr())
    assert len(places) == 1


def test_what_the_check_found_is_remembered(monkeypatch):
    lm = tiny('llama')
    TokenTree(lm, [[1, 2]])
    monkeypatch.setattr(backends, '_is_exact',
                        lambda *a: pytest.fail('checked again'))
    TokenTree(lm, [[1, 2]])
    TokenTree(LanguageModel(lm.model), [[1, 2]])
    with pytest.raises(BaseException, match='checked again'):
        TokenTree(tiny('llama'), [[1, 2]])


def test_a_wrong_mask_is_found():
    "The check must refuse a model that ignores the mask or the positions it is given"
    for ignore in ('attention_mask', 'position_ids'):
        lm = tiny('llama')
        inner = lm.model.forward
        def deaf(*args, **kw):
            if getattr(kw.get('attention_mask'), 'ndim', 0) == 4: kw.pop(ignore)
            return inner(*args, **kw)
        lm.model.forward = deaf
        with pytest.raises(ValueError, match="backend 'tree'"):
            TokenTree(lm, [[1, 2]], backend='tree')
        tree = TokenTree(lm, [[1, 2, 3], [4]])
        assert tree.backend == 'rows'
        wander(tree, torch.Generator().manual_seed(0), steps=3)
        check(tree)


def test_windows_longer_than_a_default_prompt():
    "A window of 40 is exceeded in the check and by this tree"
    lm = tiny('mistral', sliding_window=40, max_position_embeddings=128)
    g = torch.Generator().manual_seed(8)
    tree = TokenTree(lm, [torch.randint(1, 60, (n,), generator=g) for n in (60, 38, 3)])
    assert tree.backend == 'tree'
    wander(tree, g)
    check(tree)


@pytest.mark.some(1)
@pytest.mark.parametrize('family', ['llama', 'mistral', 'gemma3'])
@pytest.mark.parametrize('batch', [1, 3])
def test_a_pass_reads_only_the_columns_it_may_see(family, batch):
    """Few nodes of a wide tree attend to a copy of their own columns, and their logits
    are the same"""
    lm, g = tiny(family), torch.Generator().manual_seed(3)
    tree = TokenTree(lm, prompts(batch, g), backend='tree')
    nodes, read = torch.full((batch, 24), -1), []
    for _ in range(3):
        nodes = tree.extend(nodes, torch.randint(60, nodes.shape, generator=g))
    for _ in range(5):
        nodes = tree.extend(nodes[:, :2], torch.randint(60, (batch, 2), generator=g))
        layer = tree.cache.layers[0]
        read.append(layer.keys.shape[2] if layer.only is None else len(layer.only))
    assert max(read) < tree.columns / 3, (read, tree.columns)
    check(tree)
    tree.extend(torch.full((batch, 72), -1), torch.arange(72).expand(batch, -1) % 60)
    nodes = tree.extend(torch.arange(tree.counts.min())[None].expand(batch, -1),
                        torch.ones(batch, tree.counts.min(), dtype=torch.long))
    assert tree.cache.layers[0].only is None                 # all are seen: no copy
    check(tree)


@pytest.mark.parametrize('family', ['llama', 'mistral', 'bloom', 'mamba'])
def test_a_backend_needs_no_tree(family):
    "Two nodes after each of two prompts, from columns, a mask and positions alone"
    lm = tiny(family)
    backend = exact_backend(lm)(lm)
    ids, mask = lm.encode([[5, 6, 7, 8, 9], [3, 4]])
    got = [backend.read(ids, mask)[0]]
    columns = torch.cat([ids, torch.tensor([[10, 11], [12, -1]])], 1)
    own = torch.eye(2).bool().expand(2, 2, 2)
    seen = torch.cat([mask[:, None].expand(-1, 2, -1), own], -1)
    positions = torch.cat([(mask.cumsum(1) - 1).clamp(min=0),
                           mask.sum(1, keepdim=True).expand(-1, 2)], 1)
    got = torch.cat([*got, backend.step(columns, seen, positions)[0]], 1)
    one, two = [5, 6, 7, 8, 9], [3, 4]
    texts = [one, [*one, 10], [*one, 11], two, [*two, 12]]
    for z, text in zip(got.flatten(0, 1)[:5], texts):
        torch.testing.assert_close(z, lm.next_logits([text])[0], atol=1e-4, rtol=1e-4)
    again = 0 if backend.pads else 5 + 5 + 2
    assert backend.evaluated == 7 + 3 + again


def test_a_twin_shares_all_but_its_modules():
    lm = tiny('llama')
    other = twin(twin(lm))
    assert [p.data_ptr() for p in other.model.parameters()] == [
        p.data_ptr() for p in lm.model.parameters()]
    assert not {*other.model.modules()} & {*lm.model.modules()}
    assert other.origin is lm.model
