"A model written by hand against a walk over its table"
import torch

from llm_sampling.models import LanguageModel
from llm_sampling.table_model import TableModel
from checks import same


def test_table_model_on_random_trees():
    "Against a second way: walk the keys backwards from the end of the context"
    g = torch.Generator().manual_seed(0)
    draw = lambda n: tuple(torch.randint(0, 3, (n,), generator=g).tolist())
    table = {k: torch.rand(3, generator=g).softmax(-1)
             for k in {(), *(draw(n) for n in (1, 1, 2, 2, 3, 3, 4))}}
    lm = LanguageModel(TableModel(table))
    for _ in range(50):
        context, best = draw(6), ()
        for n in range(1, 7):
            if context[-n:] in table: best = context[-n:]
        same(lm.next_logits([context]).softmax(-1)[0], table[best])
