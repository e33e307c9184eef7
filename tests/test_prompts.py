"Texts, chats, ids and what a tokenizer returns, as one batch"
import copy

import pytest

import llm_sampling as ls
from llm_sampling.models import LanguageModel

PROMPTS = [f'The {a} {b}' for a in ('king', 'fox', 'old woman', 'wind', 'sea') for b in
           ('said', 'went', 'was', 'and', 'had', 'of the', 'in a', 'would', 'came',
            'looked')]


def test_what_a_tokenizer_returns_is_a_prompt(lm, lists):
    texts = [PROMPTS[0], 'The', 'Once upon a time there was a fox']
    want = lm.encode(texts)
    for kw in ({}, dict(padding=True, padding_side='left'),
               dict(padding=True, padding_side='left', return_tensors='pt')):
        batch = lm.tokenizer(texts, **kw)
        for prompt in (batch, dict(batch)):
            assert lists(lm.encode(prompt)) == lists(want)
    assert (ls.generate(lm, lm.tokenizer(texts[0]), max_new_tokens=3).texts
            == ls.generate(lm, texts[0], max_new_tokens=3).texts)
    right = lm.tokenizer(texts, padding=True, padding_side='right', return_tensors='pt')
    with pytest.raises(ValueError, match='pads go left'): lm.encode(right)
    with pytest.raises(ValueError, match='attention_mask goes with'):
        lm.encode(lm.tokenizer(texts), attention_mask=want[1])


def test_chats(lm):
    chatty = LanguageModel(lm.model, copy.deepcopy(lm.tokenizer))
    chatty.tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n"
        "{% endfor %}{% if add_generation_prompt %}king:{% endif %}")
    chat = [{'role': 'queen', 'content': 'Where is my crown?'}]
    ids = chatty.encode(chat)[0]
    assert (lm.tokenizer.decode(ids[0])
            == '<|endoftext|>queen: Where is my crown?\nking:')
    both, mask = chatty.encode([chat, chat + [{'role': 'king', 'content': 'Gone'}]])
    assert both[0][mask[0]].tolist() == ids[0].tolist() and len(both) == 2
    assert (ls.generate(chatty, chat, max_new_tokens=3).texts
            == ls.generate(chatty, ids, max_new_tokens=3).texts)
    with pytest.raises(ValueError, match='chat template'): lm.encode(chat)
    with pytest.raises(ValueError, match="needs a 'role'"):
        chatty.encode([{'content': 'x'}])
