"Texts that name tokens: a ban, a bias, a breaker"
import pytest

from llm_sampling.token_texts import READERS, as_ids, texts_in


class Letters(list):
    "A tokenizer of a few texts, the longest first"
    def encode(self, text, add_special_tokens=True):
        ids = []
        while text:
            i = next(i for i, t in enumerate(self) if text.startswith(t))
            ids, text = [*ids, i], text[len(self[i]):]
        return ids
    def batch_decode(self, rows): return [''.join(self[i] for i in row) for row in rows]
    __hash__ = object.__hash__


tokens = Letters(['ab', 'a', 'b', 'c'])

def test_without_texts_nothing_is_read():
    knobs = dict(top_k=3, ban_tokens=[[1]], logit_bias={2: -1.}, dry_breakers=None)
    assert as_ids(knobs, None) == knobs and texts_in(knobs) == []

def test_each_knob_reads_its_way():
    knobs = dict(ban_tokens=['ca', [3]], logit_bias={'ab': 2., 1: 1.},
                 dry_breakers=['b', 3])
    assert texts_in(knobs) == ['ab', 'ca', 'b'] and READERS.keys() == knobs.keys()
    assert as_ids(knobs, tokens) == dict(ban_tokens=[[3, 1], [3]],
                                         logit_bias={0: 2., 1: 1.},
                                         dry_breakers=[0, 2, 3])

def test_what_a_text_may_not_be():
    with pytest.raises(ValueError, match='must be one token, and is 2'):
        as_ids(dict(logit_bias={'ca': 1.}), tokens)
    with pytest.raises(ValueError, match='no token contains'):
        as_ids(dict(dry_breakers=['x']), tokens)

def test_a_vocabulary_that_grew_is_read_anew():
    grown = Letters(tokens)
    assert as_ids(dict(dry_breakers=['c']), grown)['dry_breakers'] == [3]
    grown.append('cc')
    assert as_ids(dict(dry_breakers=['c']), grown)['dry_breakers'] == [3, 4]
