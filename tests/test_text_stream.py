"Streams of characters, stop strings and spaces, for tokenizers of all kinds"
import pytest, torch

from llm_sampling.generation import generate, stream
from llm_sampling.models import LanguageModel
from llm_sampling.table_model import TableModel
from llm_sampling.sampler import Sampler
from llm_sampling.text_stream import TextStream


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


SPACES = dict(
    metaspace=(['▁', 'a', 'b', '▁a', '▁b', 'ab', 'é', '.', '▁.'],
               lambda d: d.Metaspace()),
    wordpiece=(['a', 'b', '##a', '##b', '.', "'", 's', '##s'], lambda d: d.WordPiece()),
    suffixes=(['a</w>', 'b</w>', 'a', 'b', '.</w>'],
              lambda d: d.BPEDecoder(suffix='</w>')),
    fallback=(['▁', 'a', '▁a', '▁b', *(f'<0x{i:02X}>' for i in range(32, 256, 3))],
              lambda d: d.Sequence(
        [d.Replace('▁', ' '), d.ByteFallback(), d.Fuse(), d.Strip(' ', 1, 0)])))

@pytest.mark.some(2)
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


def test_markup_of_a_model_is_escaped(lm):
    assert '<script>' not in generate(script(lm, '<script>alert(1)</script>'),
                                      torch.tensor([[0]])).show().data


def test_the_stop_string_that_begins_first_cuts(lm):
    ids = lm.tokenizer('a b c d', add_special_tokens=False)['input_ids']
    cut = TextStream(lm, stop=['b c d', 'c'])
    cut.add(ids)
    assert cut.text == 'a ' and cut.stopped == 'b c d'
