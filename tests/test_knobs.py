"Arguments that are refused, by the name the caller typed, and knobs in their forms"
import math

import numpy as np
import pytest
import torch

from llm_sampling.knobs import (Knob, Whole, check_choice, check_flag, check_ids,
                                check_rows, check_count, integers, listed, check_number,
                                one_or_each, in_short, whole)

SHARE = Knob('a number in [0, 1]', lambda v: (v >= 0) & (v <= 1), neutral=1)
SIZE = Knob('an integer >= 1', lambda v: v >= 1, neutral=None, integer=True)


@pytest.mark.parametrize('call', [
    lambda: check_count('x', True, 0), lambda: check_count('x', -1, 0),
    lambda: check_count('x', 2., 0),
    lambda: check_count('x', None, 0), lambda: check_number('x', True, 0, 1),
    lambda: check_number('x', math.nan, 0, 1), lambda: check_number('x', 1.1, 0, 1),
    lambda: check_number('x', '1', 0, 1), lambda: check_flag('x', 1),
    lambda: check_choice('x', 'c', ('a', 'b')), lambda: check_choice('x', 1, ('a',)),
    lambda: check_ids('x', [1]), lambda: check_ids('x', torch.zeros(2)),
    lambda: check_ids('x', torch.zeros(2, dtype=torch.bool)),
    lambda: check_ids('x', torch.arange(2), (3,)),
    lambda: integers('x', 2**63), lambda: integers('x', 1.5),
    lambda: integers('x', torch.tensor([2**63], dtype=torch.uint64)),
    lambda: one_or_each('x', [1, 2], (3,)),
    lambda: check_rows('x', torch.zeros(2), (3,)),
    lambda: SHARE.entries('x', [.5, 2]), lambda: SHARE.entries('x', True),
    lambda: SHARE.single('x', [.5]), lambda: SHARE.shared('x', [.5]),
    lambda: SIZE.shared('x', None), lambda: SIZE.entries('x', 2.),
    lambda: whole(SHARE).entries('x', [.5]), lambda: whole(SHARE).entries('x', 2),
    lambda: Whole('True', lambda v: v is True).entries('x', 1)])
def test_what_is_refused_is_named(call):
    with pytest.raises((TypeError, ValueError), match='^x must ') as e: call()
    assert '\n' not in str(e.value)


@pytest.mark.parametrize('low', [0, 1])
def test_a_count_and_a_number_come_back(low):
    assert check_count('x', low, low) == low and type(check_count('x', 5, low)) is int
    assert check_number('x', 10**400 // 10**399, low, 10) == 10.
    assert type(check_number('x', 1, low, 1)) is float


@pytest.mark.parametrize('form', [list, tuple, np.array, torch.tensor,
                                  lambda v: torch.tensor(v, dtype=torch.int8)])
def test_integers_of_every_form(form):
    out = integers('x', form([1, -2, 3]))
    assert out.dtype == torch.int64 and out.tolist() == [1, -2, 3]
    assert one_or_each('x', form([1, -2, 3]), (3,)).tolist() == [1, -2, 3]


def test_the_ends_of_64_bits():
    for n in (2**63 - 1, -2**63): assert integers('x', n).item() == n
    small = torch.tensor([5], dtype=torch.uint64)
    assert integers('x', small).tolist() == [5]
    assert integers('x', []).dtype == torch.int64


@pytest.mark.parametrize('value, want', [
    (None, None), (.5, .5), (np.float32(.5), .5), (torch.tensor(.5), .5),
    ([.5, None], [.5, 1.]), ((.5, 0), [.5, 0.]), (np.array([.5, 1]), [.5, 1.])])
def test_entries_of_a_knob(value, want):
    out = SHARE.entries('x', value)
    assert (out.tolist() if isinstance(out, torch.Tensor) else out) == want


def test_a_knob_lines_up_with_its_rows():
    z = torch.zeros(2, 5)
    assert SHARE.read('x', None, z) is None and SHARE.read('x', 1, z) is None
    assert SHARE.read('x', torch.tensor([.5, .25]).double(), z).dtype == z.dtype
    assert SHARE.read('x', [.5, .25], z).tolist() == [[.5], [.25]]
    with pytest.raises(ValueError, match='^x must have one entry per row'):
        SHARE.read('x', [.5], z)


def test_off():
    flag = Whole('True or False', lambda v: v is True)
    for off in (None, False, [], (), {}): assert flag.entries('x', off) is None
    assert whole(SHARE).entries('x', .5) == .5


def test_shown_is_one_line():
    assert in_short('a\nb') == r"'a\nb'" and len(in_short([0] * 1000)) == 100
    assert [listed(v) for v in ([], range(2), {1}, 'ab', iter([]))] == [1, 1, 1, 0, 0]
