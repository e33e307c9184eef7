"The prompts that come with the bundled model"
import pytest

from llm_sampling.default_model import held_out_prompts


def test_as_many_prompts_as_asked_for():
    for n in (0, 1, 50, 95): assert len({*held_out_prompts(n)}) == n
    assert all(len(p.split()) == 7 for p in held_out_prompts(60, words=7))


@pytest.mark.parametrize('n', [96, 100, -1])
def test_more_prompts_than_there_are(n):
    with pytest.raises(ValueError, match=rf'n must be from 0 to 95.*not {n}'):
        held_out_prompts(n)
