"The table of the steps, their orders, and steps of one's own"
import pytest
import torch

from llm_sampling.own_steps import follow, remembers
from llm_sampling.steps import (EXTRA, ORDERS, PAST, STEPS, Context, as_entries,
                                generated, memories, read_order, reads_history,
                                step_of)


@pytest.mark.parametrize('order', ORDERS)
def test_a_preset_has_every_step_once(order):
    assert sorted(read_order(order)) == sorted(STEPS)
    assert set(PAST) < set(STEPS) and not set(EXTRA) & set(STEPS)


@pytest.mark.parametrize('order', ORDERS)
def test_a_step_of_ones_own_is_last_before_the_temperature(order):
    names = read_order(order, ['a', 'b'])
    at = names.index('a')
    assert names[at:at+3] == ['a', 'b', 'temperature']
    assert [n for n in names if n not in 'ab'] == ORDERS[order]
    assert ORDERS[order].count('a') == 0                  # the preset stays


def test_a_list_names_its_place():
    assert read_order(['a', 'top_k'], ['a']) == ['a', 'top_k']
    assert read_order(['top_k'], ['a']) == ['top_k', 'a']
    for bad in (['a'], ['top_k', 'top_k'], [3], 'hf', 7):
        with pytest.raises(ValueError, match='order must'): read_order(bad)


@pytest.mark.parametrize('out', [lambda z: None, lambda z: z[..., :2], lambda z: z > 0,
                                 lambda z: z.tolist()])
def test_what_a_step_returns_is_checked(out):
    context = Context(None, None, 0, None, None, {})
    with pytest.raises(ValueError, match='^processors must return logits'):
        step_of('a').apply(torch.zeros(1, 3), lambda ids, z: out(z), context)


def test_memory():
    class Kept:
        def rows(self, index): return index
    class Lost: memory = True
    class Sure(Kept): memory = False
    plain, index = lambda ids, z: z, torch.tensor([1])
    assert [remembers(f) for f in (Kept(), Lost(), Sure(), plain)] == [1, 1, 0, 0]
    assert follow('a', Kept(), index) is index and follow('a', plain, index) is plain
    knobs = dict(a=Kept(), b=plain, top_k=3, adaptive=plain)
    assert memories(knobs) == ['a', 'adaptive']
    assert [reads_history([n]) for n in ('top_k', 'b', 'dry_multiplier')] == [0, 1, 1]
    with pytest.raises(ValueError, match='^processors must offer rows'):
        follow('a', Lost(), index)


def test_the_output_is_the_last_tokens():
    ids = torch.arange(6).view(1, 6)
    mask = torch.tensor([[False, True, True, False, True, True]])
    for position in range(6):
        want = [i for i in range(6) if mask[0, i]]
        want = want[max(0, len(want) - position):]
        assert generated(ids, mask, position)[0].nonzero().flatten().tolist() == want


def test_entries_to_print():
    assert as_entries('top_k', torch.tensor([3, 2**62])) == [3, None]
    assert as_entries('top_p', .5) == .5
