"The loop against transformers on other families, batches, seeds, and streams"
import pytest, torch

from llm_sampling.generation import generate, rep_n, stream
from llm_sampling.models import LanguageModel
from llm_sampling.table_model import TableModel
from llm_sampling.sampler import Sampler


@pytest.fixture(scope='module')
def rows(rows): return [*rows, torch.tensor([10, 4, 22, 21, 38])]


@pytest.mark.some(2)
@pytest.mark.parametrize('family', ['gpt2', 'llama', 'qwen3', 'mistral', 'opt'])
@pytest.mark.parametrize('count', [1, 4])
def test_greedy_is_transformers(family, count, rows, tiny):
    lm = tiny(family)
    ids, mask = lm.encode(rows[:count])
    free = generate(lm, ids, attention_mask=mask, max_new_tokens=20, eos_token_id=())
    for eos in (0, free.ids[0][6].item()):  # the second ends the first row early
        theirs = lm.model.generate(ids, attention_mask=mask.long(), do_sample=False,
                                   max_new_tokens=20, pad_token_id=0, eos_token_id=eos)
        ours = generate(lm, ids, attention_mask=mask, max_new_tokens=20,
                        eos_token_id=eos).ids
        for our, row in zip(ours, theirs[:, ids.shape[1]:].tolist()):
            assert our.tolist() == row[:len(our)]
            assert len(our) == 20 or our[-1] == eos and not any(row[len(our):])
    assert len(ours[0]) <= 7


@pytest.mark.long
def test_order_of_a_batch_does_not_matter(lm):
    prompts = ['', 'Once', 'Once upon a time', 'The king',
               'In the middle of the forest', 'A', 'When the prince awoke', 'Deep']
    s = Sampler(temperature=.9, top_p=.95, seed=list(range(8)))
    a = generate(lm, prompts, s, max_new_tokens=12)
    for i, prompt in enumerate(prompts):
        one = s.rows(torch.tensor([i]))
        ids, _ = lm.encode(prompt)
        pads = torch.nn.functional.pad(ids, (3, 0))
        padded = generate(lm, pads, one,
                          attention_mask=torch.arange(pads.shape[1])[None] >= 3,
                          max_new_tokens=12)
        assert (generate(lm, prompt, one, max_new_tokens=12).ids[0].tolist()
                == a.ids[i].tolist()
                == padded.ids[0].tolist())
    order = [3, 7, 0, 5, 1, 6, 2, 4]
    b = generate(lm, [prompts[i] for i in order], s.rows(torch.tensor(order)),
                 max_new_tokens=12)
    assert [a.texts[i] for i in order] == b.texts


def test_fresh_seeds_come_from_torch(lm):
    def once():
        torch.manual_seed(3)
        return generate(lm, ['Once', 'Once'], Sampler(temperature=1.),
                        max_new_tokens=12).texts
    a = once()
    assert a == once() and a[0] != a[1]


@pytest.mark.some(1)
@pytest.mark.parametrize('stop',
                         [None, ' the', [', and', 'ing ', '\n\n'], ['e', 'xyz']])
def test_stream_is_generate(lm, stop, lists):
    kw = dict(n=3, stop=stop, seed=4, max_new_tokens=40)
    whole = generate(lm, ['Once upon a time', 'The king'], Sampler(temperature=1.),
                     **kw)
    texts, ids, reasons = [''] * 6, [[] for _ in range(6)], [None] * 6
    for p in stream(lm, ['Once upon a time', 'The king'], Sampler(temperature=1.),
                    **kw):
        assert reasons[p.row] is None  # nothing comes after the last piece
        texts[p.row] += p.text; ids[p.row] += p.ids; reasons[p.row] = p.finish_reason
    assert (texts, ids, reasons) == (whole.texts, lists(whole.ids),
                                     whole.finish_reasons)
    for t in texts:
        assert not any(s in t
                       for s in ([stop] if isinstance(stop, str) else stop or []))


class Spoilt(torch.nn.Module):
    """Says 1, and 0 after two tokens if the prompt is 1; from the third step on its
    logits after the prompt 3 are all `bad`"""
    def __init__(self, bad): super().__init__(); self.bad = bad
    def forward(self, ids):
        z = torch.zeros(*ids.shape, 5)
        z[..., 1] = 20.
        if ids.shape[1] == 2: z[ids[:, 0] == 1, -1, 0] = 90.
        if ids.shape[1] == 3: z[ids[:, 0] == 3] = self.bad
        return z


@pytest.mark.parametrize('bad', [float('nan'), -float('inf')])
@pytest.mark.parametrize('sampler', [None, Sampler(temperature=1., seed=1),
                                     Sampler(temperature=.9, top_p=.9, seed=1)])
def test_bad_row_has_its_own_number(bad, sampler):
    lm = LanguageModel(Spoilt(bad))
    with pytest.raises(ValueError, match='row 2'):
        generate(lm, torch.tensor([[1], [2], [3]]), sampler, eos_token_id=0)


def test_rep_n():
    assert (rep_n([1, 2, 3, 4, 5, 1, 2, 3, 4, 6])
            == rep_n(torch.tensor([1, 2, 3, 4, 5, 1, 2, 3, 4, 6]))
            == 1 - 6/7)
    assert rep_n([]) == rep_n([1, 2, 3]) == 0. and rep_n([5, 5, 5], n=1) == 1 - 1/3


def test_penalties_and_memory_survive_batching_and_samples(lm):
    """A row with penalties, XTC and mirostat is the row alone: in a batch with pads,
    and as one of several samples"""
    from llm_sampling import Mirostat2, Sampler
    prompts = ['Once upon a time there was', 'The king',
               'A fox and a hare went to the sea and']
    s = Sampler(repetition_penalty=1.2, frequency_penalty=.3, no_repeat_ngram_size=3,
                xtc_probability=.3, adaptive=Mirostat2(tau=4.))
    seeds = [3, 4, 5]
    together = generate(lm, prompts, s, max_new_tokens=25, seed=seeds, n=2)
    for i, (p, seed) in enumerate(zip(prompts, seeds)):
        alone = generate(lm, p, s, max_new_tokens=25, seed=seed, n=2)
        for j in range(2):
            assert alone.ids[j].tolist() == together.ids[2*i + j].tolist()


@pytest.mark.long
def test_a_row_emptied_by_bans_is_named(lm):
    from llm_sampling import Sampler
    everything = {i: float('-inf') for i in range(lm.vocab_size)}
    with pytest.raises(ValueError, match='row 0: its largest logit is -inf'):
        generate(lm, ['a', 'b'], Sampler(logit_bias=everything), max_new_tokens=2,
                 seed=0)


def test_rows_end_at_their_own_time():
    "1 1 0 after 1, 2 2 2 2 0 after 2; without a tokenizer there are ids only"
    sure = torch.eye(3)
    lm = LanguageModel(TableModel({(): sure[0], (1,): sure[1], (1, 1, 1): sure[0],
                                   (1, 1, 1, 0): sure[1], (2,): sure[2],
                                   (2,) * 5: sure[0]}, eos_token_id=0))
    both = generate(lm, torch.tensor([[1], [2]]))
    assert [i.tolist() for i in both.ids] == [[1, 1, 0], [2, 2, 2, 2, 0]]
    # a table reads all again each time: three steps of both rows, two of the second
    assert both.stats['tokens_evaluated'] == sum(range(1, 4)) * 2 + 4 + 5
    assert (both.texts, both.trace[0][0].text) == (None, None)


@pytest.mark.parametrize('call', [generate, stream])
def test_settings_of_the_makers_are_told_once(call, tiny, recwarn):
    "Where they ask for sampling, and the caller for nothing"
    def said(lm, *args):
        result = call(lm, [[5, 6]], *args, max_new_tokens=1)
        if call is stream: [*result]
        return [w for w in recwarn if 'from_generation_config' in str(w.message)]
    lm = tiny('llama')
    assert said(lm) == []
    lm.model.generation_config.do_sample = True
    assert said(lm, Sampler(temperature=0)) == []
    first = said(lm)
    assert len(first) == 1 and first[0].filename == __file__
    assert said(lm) == first
