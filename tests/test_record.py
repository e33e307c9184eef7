"What is told of a text: measures, steps, markup"
import random

import numpy as np
import pytest, torch

from llm_sampling.generation import generate
from llm_sampling.record import Record, measure
from llm_sampling.sampler import Sampler


def test_trace_is_the_raw_model(lm):
    out = generate(lm, 'Once upon a time', Sampler(temperature=2., top_k=20, seed=1),
                   max_new_tokens=8)
    context = lm.encode('Once upon a time')[0][0].tolist()
    for step in out.trace[0]:
        logprobs = lm.next_logits([context]).log_softmax(-1)[0]
        assert abs(step.logprob - logprobs[step.id]) < 1e-3
        assert abs(step.entropy + (logprobs.exp() * logprobs).sum()) < 1e-3
        assert step.alternatives[0][0] == logprobs.argmax()
        assert step.rank == (logprobs > logprobs[step.id]).sum() + 1
        context.append(step.id)
    assert ''.join(s.text for s in out.trace[0]) == out.texts[0]
    assert abs(out.scores[0] - out.logprobs[0].sum()) < 1e-4


@pytest.mark.parametrize('rows, vocab', [(1, 1), (3, 7), (4, 300)])
def test_measures_against_float64(rows, vocab):
    g = torch.Generator().manual_seed(rows)
    z = torch.randn(rows, vocab, generator=g)
    if vocab > 1: z[:, 0] = -torch.inf
    chosen = torch.randint(min(1, vocab - 1), vocab, (rows,), generator=g)
    m = measure(z, chosen)
    for i, row in enumerate(z.double().numpy()):
        p = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
        live = p[p > 0]
        assert m['logprobs'][i].item() == pytest.approx(np.log(p[chosen[i]]), abs=1e-5)
        assert m['entropy'][i].item() == pytest.approx(-(live * np.log(live)).sum(),
                                                       abs=1e-4)
        assert m['rank'][i].item() == 1 + (p > p[chosen[i]]).sum()
        assert m['top_ids'][i].tolist() == np.argsort(-row, kind='stable')[:5].tolist()


def test_a_record_sorts_steps_by_row():
    "Whatever rows take part in which steps, and however many are measured at a time"
    g, dice = torch.Generator().manual_seed(0), random.Random(0)
    record, want = Record(), [[] for _ in range(6)]
    for _ in range(300):
        rows = sorted(dice.sample(range(6), dice.randint(1, 6)))
        chosen = torch.randint(9, (len(rows),), generator=g)
        if dice.random() < .2:
            record.settle()
            for row, id in zip(rows, chosen):
                record.put(row, measure(torch.zeros(1, 9), id[None]))
        else: record.add(rows, torch.zeros(len(rows), 9), chosen)
        for row, id in zip(rows, chosen.tolist()): want[row].append(id)
    assert [m['ids'].tolist() for m in record.rows(6)] == want


def test_one_row_one_token(lm):
    one = generate(lm, 'Once upon a time', max_new_tokens=1)
    assert repr(one).splitlines()[0] == 'Generation of 1 row'
    assert '(1 token, ' in repr(one)
    two = generate(lm, ['Once', 'The king'], max_new_tokens=2)
    assert repr(two).splitlines()[0] == 'Generation of 2 rows'
    assert '(2 tokens, ' in repr(two)
