"The loop against transformers on other families, the window, rows alone, and streams"
import pytest, torch

from llm_sampling.generation import Policy, generate, rep_n, run_whole, stream, write_rows
from llm_sampling.models import LanguageModel, TableModel
from llm_sampling.request import ask
from llm_sampling.rows import Branches, Rows
from llm_sampling.sampler import Sampler
from llm_sampling.text_stream import TextStream


@pytest.fixture(scope='module')
def rows(rows): return [*rows, torch.tensor([10, 4, 22, 21, 38])]


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


@pytest.mark.parametrize('family', ['gpt2', 'llama', 'qwen3', 'mamba'])
def test_window_restarts_are_uncached_ones(family, rows, lists, tiny):
    """Rows reach the window at different steps, some drop out, and a model without
    cache must agree"""
    lm, plain = tiny(family), tiny(family)
    lm.window = plain.window = 12
    plain.cached = False
    kw = dict(sampler=Sampler(temperature=1., seed=5), n=2, max_new_tokens=40)
    ends = [i[19].item() for i in generate(plain, rows[:1], eos_token_id=(), **kw).ids]
    a, b = (generate(m, rows, eos_token_id=ends, **kw) for m in (lm, plain))
    assert lists(a.ids) == lists(b.ids)
    assert len({len(i) for i in a.ids}) > 1 and max(len(i) for i in a.ids) > 12
    for i, row in enumerate(rows):
        alone = generate(lm, [row], eos_token_id=ends, **kw)
        assert lists(alone.ids) == lists(a.ids[2*i:2*i+2])


@pytest.mark.parametrize('least', [0, 1, 2**40])
@pytest.mark.parametrize('family', ['gpt2', 'llama', 'mistral', 'bloom'])
def test_samples_share_their_prompt(family, least, rows, monkeypatch, tiny):
    """Branches of a tree, or rows of their own, or first the one and then the other:
    each sample is what it is alone"""
    monkeypatch.setattr(Branches, 'least', least)
    lm, left = tiny(family), []
    lm.window = 30
    leave = Branches._leave
    monkeypatch.setattr(Branches, '_leave',
                        lambda self: (left.append(len(self.live)), leave(self)))
    kw = dict(max_new_tokens=30, eos_token_id=[0, 7])
    s = Sampler(temperature=[1., .7, 1.3, 2.], top_p=.9, seed=5, repetition_penalty=1.1)
    together = generate(lm, rows, s, n=5, **kw)
    for i, row in enumerate(rows):
        one = Sampler(temperature=s.temperature[i].item(), top_p=.9, seed=5,
                      repetition_penalty=1.1)
        asked = ask(lm, [row], one, n=5, **kw)
        alone = run_whole(write_rows(asked, Rows(lm, asked.ids, asked.mask),
                                     Policy(asked.sampler)))
        for j in range(5):
            assert alone.ids[j].tolist() == together.ids[5*i+j].tolist()
            torch.testing.assert_close(alone.logprobs[j], together.logprobs[5*i+j],
                                       atol=1e-3, rtol=1e-3)
    assert (together.stats['tokens_evaluated']
            >= sum(map(len, rows)) + sum(len(i) - 1 for i in together.ids))
    assert len({len(i) for i in together.ids}) > 1
    if family == 'bloom': assert not left  # no masked tree, so it was never one
    else:
        # at the window, when rows had ended; or before the first step
        assert left and (left[0] < 20 if least < 2 else left[0] == 20)


def test_a_crowded_tree_is_left(rows, monkeypatch, lists, tiny):
    """Forty short samples of a short prompt: after some steps most columns of the tree
    are none of a row's business"""
    monkeypatch.setattr(Branches, 'least', 0)
    lm, widths = tiny('llama'), []
    leave = Branches._leave
    monkeypatch.setattr(Branches, '_leave',
                        lambda self: (widths.append(self.tree.columns), leave(self)))
    kw = dict(max_new_tokens=12, eos_token_id=())
    out = generate(lm, [rows[0]], Sampler(seed=1), n=40, **kw)
    assert widths == [80]  # 3 + 80 columns against 16 * 5 tokens
    monkeypatch.setattr(Branches, 'least', 2**40)
    assert (lists(out.ids)
            == lists(generate(lm, [rows[0]], Sampler(seed=1), n=40, **kw).ids))


def test_rows_that_leave_a_tree_are_only_as_long_as_they_are(rows, monkeypatch, lists,
                                                             tiny):
    """The samples of the longer prompt end soon; those of the shorter then have no use
    for a tree, nor for its columns"""
    monkeypatch.setattr(Branches, 'least', 1)
    lm = tiny('gpt2')
    for seed in range(30):      # the ends must not occur elsewhere
        kw = dict(sampler=Sampler(seed=seed), max_new_tokens=8, n=2)
        eos = [i[2].item() for i in generate(lm, [rows[1]], eos_token_id=(), **kw).ids]
        out = generate(lm, rows[:2], eos_token_id=eos, **kw)
        if [len(i) for i in out.ids] == [8, 8, 3, 3]: break
    else: pytest.fail('no seed gives such samples')
    alone = generate(lm, [rows[0]], eos_token_id=eos, **kw)
    assert lists(out.ids[:2]) == lists(alone.ids)


def test_order_of_a_batch_does_not_matter(lm):
    prompts = ['', 'Once', 'Once upon a time', 'The king',
               'In the middle of the forest', 'A', 'When the prince awoke', 'Deep']
    s = Sampler(temperature=.9, top_p=.95, seed=list(range(8)))
    a = generate(lm, prompts, s, max_new_tokens=25)
    for i, prompt in enumerate(prompts):
        one = s.rows(torch.tensor([i]))
        ids, _ = lm.encode(prompt)
        pads = torch.nn.functional.pad(ids, (3, 0))
        padded = generate(lm, pads, one,
                          attention_mask=torch.arange(pads.shape[1])[None] >= 3,
                          max_new_tokens=25)
        assert (generate(lm, prompt, one, max_new_tokens=25).ids[0].tolist()
                == a.ids[i].tolist()
                == padded.ids[0].tolist())
    order = [3, 7, 0, 5, 1, 6, 2, 4]
    b = generate(lm, [prompts[i] for i in order], s.rows(torch.tensor(order)),
                 max_new_tokens=25)
    assert [a.texts[i] for i in order] == b.texts


def test_fresh_seeds_come_from_torch(lm):
    def once():
        torch.manual_seed(3)
        return generate(lm, ['Once', 'Once'], Sampler(temperature=1.),
                        max_new_tokens=12).texts
    a = once()
    assert a == once() and a[0] != a[1]


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


def script(lm, text):
    "A model that says `text` after the prompt [0], and ends"
    said = lm.tokenizer(text, add_special_tokens=False)['input_ids'] + [0]
    sure = torch.eye(lm.vocab_size)
    return LanguageModel(TableModel({(0, *said[:t])[0 if t else 1:]: sure[i]
                                     for t, i in enumerate(said)}, eos_token_id=0),
                         lm.tokenizer)


def test_utf8_and_stop_in_a_stream(lm):
    model = script(lm, 'naïve 🙂🙃 café. END or not? The END.')
    start = torch.tensor([[0]])
    pieces = [p.text for p in stream(model, start)]
    assert ''.join(pieces) == 'naïve 🙂🙃 café. END or not? The END.'
    assert '🙂' in pieces
    assert not any('\ufffd' in p for p in pieces)
    out = generate(model, start, stop='The END')
    assert out.texts == ['naïve 🙂🙃 café. END or not? ']
    assert out.finish_reasons == ['stop']
    assert generate(model, start, max_new_tokens=3).texts[0].startswith('na')


def test_space_dropping_tokenizer():
    """A decoder that drops the space of its first token (SentencePiece): the row's
    first space must survive"""
    class Pieces:
        all_special_ids, bos_token_id, eos_token_id = [], None, None
        def decode(self, ids, **kw):
            return ''.join([' a', ' b', 'c'][i] for i in ids).removeprefix(' ')
    lm = LanguageModel(TableModel({(): [0, 1., 0], (1,): [0, 0, 1.], (2,): [1., 0, 0]}),
                       Pieces())
    assert generate(lm, torch.tensor([[0]]), max_new_tokens=3).texts == [' bc a']
    assert ([p.text for p in stream(lm, torch.tensor([[0]]), max_new_tokens=3)]
            == [' b', 'c', ' a'])


def test_unfinished_context_keeps_its_broken_bytes(lm):
    smile = lm.tokenizer('🙂', add_special_tokens=False)['input_ids']
    for before in ([], smile[1:], smile[:3], smile[2:3]):
        for k in (1, 2, 3):
            stream = TextStream(lm, before + smile[:k])
            pieces = [stream.add([i]) for i in smile[k:]] + [
                stream.add(lm.tokenizer('é')['input_ids'][1:]), stream.finish()]
            assert ''.join(pieces) == stream.text == '🙂é', (before, k, pieces)


def test_knob_entries_are_per_prompt_or_per_row(lm):
    prompts, T = ['Once', 'The king had'], [.3, 1., 1.5]
    kw = dict(n=3, seed=[1, 2], max_new_tokens=8)
    rows = generate(lm, prompts, Sampler(temperature=T * 2), **kw)
    for i, t in enumerate(T):  # row i of a prompt is sample i at its own temperature
        alone = generate(lm, prompts, Sampler(temperature=t), **kw)
        assert rows.texts[i::3] == alone.texts[i::3]
    assert generate(lm, prompts, Sampler(temperature=[.3, 1.]), **kw).texts == generate(
        lm, prompts, Sampler(temperature=[.3] * 3 + [1.] * 3), **kw).texts
    wrong = r'temperature must have one entry per prompt \(2\) or per row \(6\), not 3'
    with pytest.raises(ValueError, match=wrong):
        generate(lm, prompts, Sampler(temperature=T), **kw)
    with pytest.raises(
        ValueError,
        match=r'top_p must have one entry per prompt \(1\) or per row \(1\), not 2'):
        generate(lm, 'Once', Sampler(top_p=[.5, .9]))


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


@pytest.mark.parametrize('seed', [1.5, 'a', [1, 2, 3], 2**64])
def test_wrong_seed_is_refused_for_greedy_too(lm, seed):
    with pytest.raises((TypeError, ValueError), match='seed'):
        generate(lm, 'Once', seed=seed, max_new_tokens=1)


def test_rep_n():
    assert (rep_n([1, 2, 3, 4, 5, 1, 2, 3, 4, 6])
            == rep_n(torch.tensor([1, 2, 3, 4, 5, 1, 2, 3, 4, 6]))
            == 1 - 6/7)
    assert rep_n([]) == rep_n([1, 2, 3]) == 0. and rep_n([5, 5, 5], n=1) == 1 - 1/3


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


def test_markup_of_a_model_is_escaped(lm):
    assert '<script>' not in generate(script(lm, '<script>alert(1)</script>'),
                                      torch.tensor([[0]])).show().data


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


def test_a_row_emptied_by_bans_is_named(lm):
    from llm_sampling import Sampler
    everything = {i: float('-inf') for i in range(lm.vocab_size)}
    with pytest.raises(ValueError, match='row 0: its largest logit is -inf'):
        generate(lm, ['a', 'b'], Sampler(logit_bias=everything), max_new_tokens=2,
                 seed=0)


SPACES = dict(
    metaspace=(['▁', 'a', 'b', '▁a', '▁b', 'ab', 'é', '.', '▁.'],
               lambda d: d.Metaspace()),
    wordpiece=(['a', 'b', '##a', '##b', '.', "'", 's', '##s'], lambda d: d.WordPiece()),
    suffixes=(['a</w>', 'b</w>', 'a', 'b', '.</w>'],
              lambda d: d.BPEDecoder(suffix='</w>')),
    fallback=(['▁', 'a', '▁a', '▁b', *(f'<0x{i:02X}>' for i in range(32, 256, 3))],
              lambda d: d.Sequence(
        [d.Replace('▁', ' '), d.ByteFallback(), d.Fuse(), d.Strip(' ', 1, 0)])))

@pytest.mark.parametrize('kind', SPACES)
def test_streams_of_other_tokenizers(kind):
    """Special tokens in mid-text, spaces that depend on neighbours, broken bytes: the
    stream is the text, and a stop is found"""
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast
    words, decoder = SPACES[kind]
    words = ['<s>', '</s>', *words]
    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)},
                                       unk_token='a'))
    inner.decoder = decoder(decoders)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token='<s>',
                                        eos_token='</s>')
    p = torch.tensor([.1, .1] + [.8 / (len(words) - 2)] * (len(words) - 2))
    lm = LanguageModel(TableModel({(): p}), tokenizer)
    for prompt in ([[2]], [[2, 0, 3]]):
        kw = dict(n=300, max_new_tokens=9, seed=1)
        out = generate(lm, prompt, Sampler(), **kw)
        parts = [''] * 300
        for piece in stream(lm, prompt, Sampler(), **kw): parts[piece.row] += piece.text
        assert parts == out.texts and any(' ' in t for t in parts)
        stopped = generate(lm, prompt, Sampler(), stop=[' b', ' .'], **kw)
        for text, short in zip(out.texts, stopped.texts):
            assert short == text[:min(i for s in (' b', ' .') if (
                i := f'{text} b .'.find(s)) >= 0)] or kind == 'fallback'
