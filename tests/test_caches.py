"""A cache with room against transformers' own: the same keys whatever happens, few
copies, and tensors that whoever gets them may write to"""
import pytest
import torch
from transformers import DynamicCache

import llm_sampling as ls
from llm_sampling.caches import growing_cache
from tiny_models import tiny


def pieces(g, rows, *widths):
    return [torch.randint(3, 60, (rows, n), generator=g) for n in widths]


@pytest.mark.parametrize('family', ['llama', 'bloom', 'gemma2'])
def test_keys_are_those_of_transformers(family):
    "Pieces of any length, rows chosen and repeated, columns cut"
    lm, g = tiny(family), torch.Generator().manual_seed(3)
    caches = growing_cache(4), DynamicCache()
    def both(ids):
        logits = [lm.forward(ids, cache=cache, last_only=True)[0] for cache in caches]
        torch.testing.assert_close(*logits, atol=1e-4, rtol=1e-4)
    for ids in pieces(g, 2, 9, 1, 3): both(ids)
    for cache in caches: cache.batch_select_indices(torch.tensor([1, 1, 0]))
    for ids in pieces(g, 3, *[1] * 70): both(ids)
    for cache in caches:
        for layer in cache.layers:
            layer.keys, layer.values = layer.keys[:, :, 5:], layer.values[:, :, 5:]
    for ids in pieces(g, 3, 2, 1): both(ids)
    for ours, theirs in zip(*(cache.layers for cache in caches)):
        torch.testing.assert_close(ours.keys, theirs.keys, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(ours.values, theirs.values, atol=1e-4, rtol=1e-4)


def test_what_a_pass_returns_can_be_written_to(lm):
    "Logits, and a cache with which the model itself goes on"
    ids, _ = lm.encode('Once upon a time')
    for last_only in (True, False):
        logits, cache = lm.forward(ids, last_only=last_only)
        logits += 1
        logits.requires_grad_().sum().backward()
        with torch.no_grad(): lm.model(ids[:, -1:], past_key_values=cache)
        assert cache.get_seq_length() == ids.shape[1] + 1


@pytest.mark.parametrize('backend', ['tree', 'rows'])
def test_what_a_tree_returns_can_be_written_to(lm, backend):
    tree = ls.TokenTree(lm, 'Once upon a time', backend=backend, hidden=True)
    nodes = tree.extend(torch.tensor([[-1, -1]]), torch.tensor([[5, 6]]))
    for x in (tree.logits(nodes), tree.hidden(nodes)):
        x += 1
        x.requires_grad_().sum().backward()


def test_a_custom_step_may_ask_for_gradients(lm):
    "As guides do that follow the gradient of a classifier"
    def guide(ids, logits):
        with torch.enable_grad():
            z = logits.detach().requires_grad_()
            z.logsumexp(-1).sum().backward()
        return logits + z.grad
    s = ls.Sampler(processors={'guide': guide}, top_k=5, seed=1)
    out = ls.generate(lm, 'Once upon a time', s, max_new_tokens=4)
    assert len(out.ids[0]) == 4
    out.logprobs[0] += 1


def test_rows_at_the_window_go_on(lm):
    "The buffers of inference mode are written to when a row begins anew"
    small = ls.load()
    small.window = 12
    out = ls.generate(small, ['Once upon a time', 'The king'], max_new_tokens=30)
    assert out.stats['window_restarts'] and [len(x) for x in out.ids] == [30, 30]
