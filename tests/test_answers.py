"What a view asks, answered in Python: any model, any question, and what is wrong"
import pytest

import llm_sampling as ls
from llm_sampling.answers import METHODS, answers
from llm_sampling.default_model import new_model

CHAIN = dict(temperature=.8, top_p=.9, min_p=.02, seed='5')
TAU = dict(adaptive=dict(name='Mirostat2', tau=2.5, eta=.1), seed='-3')
QUESTIONS = [
    ('encode', dict(text='Ein Käse \u202e <b>')),
    ('explain', dict(prompt='The king said', ids=[], settings=CHAIN,
                     options=dict(top=8, also=[0, 7]))),
    ('explain', dict(prompt='The king', ids=[265, 290, 12], settings=TAU,
                     options=dict(top=8))),
    ('explain', dict(prompt='a b a b a b a', ids=[], options=dict(top=4), settings=dict(
        repetition_penalty=1.3, dry_multiplier=.8, no_repeat_ngram_size=2,
        dynamic_temperature=[.5, 1.5], order='llama.cpp', seed='2'))),
    ('generate', dict(prompt='The king', settings=CHAIN,
                      options=dict(max_new_tokens=9))),
    ('generate', dict(prompt='The king', settings=TAU,
                      options=dict(max_new_tokens=9))),
    ('beams', dict(prompt='The king', settings=None,
                   options=dict(max_new_tokens=5, num_beams=3))),
    ('beams', dict(prompt=[0, 265], settings=None, options=dict(
        max_new_tokens=4, num_beams=2, length_penalty=0, early_stopping='never'))),
    ('diverse_beam_search', dict(prompt='The king', settings=None, options=dict(
        max_new_tokens=5, num_beams=4, num_beam_groups=4))),
    ('diverse_beam_search', dict(prompt='The king', settings=CHAIN, options=dict(
        max_new_tokens=6, num_beams=4, early_stopping=True, length_penalty=0))),
    ('best_of_n', dict(prompt='The king', settings=CHAIN,
                       options=dict(n=3, max_new_tokens=6))),
    ('best_of_n', dict(prompt=[0, 265], settings=None, options=dict(
        n=2, num_return_sequences=2, max_new_tokens=4, seed=3))),
    ('minimum_bayes_risk', dict(prompt='The king', settings=CHAIN, options=dict(
        n=4, num_return_sequences=4, max_new_tokens=6))),
    ('configured', dict(system='vllm', prompt='The king looked at his', given=dict(
        temperature=1.5, top_p=.9, min_p=.05, seed=5, max_tokens=7))),
    ('configured', dict(system='llama_cpp', prompt='The king', given=dict(
        mirostat=2, repeat_penalty=1.1, stop='.', grammar='x'))),
    ('configured', dict(system='transformers', prompt=[0, 265], given={})),
    ('constrained_beam_search', dict(prompt='The king', settings=None, options=dict(
        num_beams=3, force_words_ids=[[' gold', ' silver'], ' old'],
        max_new_tokens=6))),
    ('contrastive_decoding', dict(prompt='The king said to the', settings=None, options=
        dict(amateur='self', amateur_context=2, max_new_tokens=6))),
    ('dola', dict(prompt='The king', settings=CHAIN, options=dict(
        dola_layers='low', max_new_tokens=6))),
    ('contrastive_search', dict(prompt='The king', settings=None,
                                options=dict(max_new_tokens=8))),
    ('contrastive_search', dict(prompt=[0, 265], settings=CHAIN, options=dict(
        top_k=3, penalty_alpha=.4, max_new_tokens=6, seed=3))),
    ('stochastic_beam_search', dict(prompt='The king', settings=CHAIN, options=dict(
        num_beams=3, max_new_tokens=5, seed=7))),
    ('likeliest', dict(prompt='In the forest', options=dict(num_nodes=40,
                                                            max_new_tokens=3))),
    ('locate', dict(prompt=[0, 265], texts=[[290, 12], [0], [4095, 1, 1]])),
    ('tree', dict(prompt='The king', options=dict(num_simulations=12,
                                                  max_new_tokens=3)))]


def test_each_question_is_asked(): assert {m for m, _ in QUESTIONS} == {*METHODS}


def test_another_model():
    "Untrained, a vocabulary of its own size, a small window"
    own = ls.LanguageModel(new_model(4100, 32, 1, 2, window=8), ls.load().tokenizer)
    for method, params in QUESTIONS:
        *_, (kind, said) = answers(own, method, params)
        assert kind == 'result' or 'window' in said
    for p in own.model.parameters(): p.data *= 5
    # so cold that what the model has read decides, and not the noise
    cold = dict(temperature=.02, seed='5')
    ids, asked = [], dict(prompt='The king', settings=cold)
    for _ in range(12):                                        # past the window
        *_, (_, said) = answers(own, 'explain', dict(asked, ids=ids))
        ids.append(said['drawn'])
    want = ls.generate(own, 'The king', ls.Sampler(temperature=.02, seed=5),
                       max_new_tokens=12, eos_token_id=())
    assert ids == want.ids[0].tolist()


@pytest.mark.parametrize('method, params, words', [
    ('eval', dict(code='1'), "method must be"), ('__class__', {}, 'method must be'),
    ('explain', {}, 'prompt'), ('generate', dict(prompt='x', code=1), 'code'),
    ('explain', dict(prompt='x', settings=dict(top_p=3)), 'top_p must be'),
    ('explain', dict(prompt='x', settings=dict(adaptive='os.system')), 'adaptive'),
    ('configured', dict(system='x', given={}, prompt='a'), 'system must be'),
    ('likeliest', dict(prompt=[10**9]), '1000000000')])
def test_what_is_wrong_is_told(lm, method, params, words):
    (kind, said), = answers(lm, method, params)
    assert kind == 'error' and words in said
