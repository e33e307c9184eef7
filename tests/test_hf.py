"""Strategies through `model.generate`: tokens, rows, processors, criteria, outputs, and
what is refused"""
import json
from pathlib import Path

import pytest
import torch
from tiny_models import FAMILIES
from transformers import (
    GenerationConfig, LogitsProcessor, LogitsProcessorList, StaticCache,
    StoppingCriteria, TextIteratorStreamer)

import llm_sampling as ls

PAD = 1
ROWS = dict(do_sample=False, max_new_tokens=12)


def batch(rows):
    "Ids padded on the left, and their mask"
    width = max(map(len, rows))
    ids = torch.stack([torch.nn.functional.pad(r, (width - len(r), 0), value=PAD)
                       for r in rows])
    return dict(input_ids=ids, pad_token_id=PAD,
                attention_mask=(torch.arange(width) >= torch.tensor(
                    [[width - len(r)] for r in rows])).long())


@pytest.fixture(scope='module')
def llama(tiny): return tiny('llama').model


@pytest.mark.some(10)
@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.parametrize('own', [
    dict(), dict(num_beams=3, num_return_sequences=2, length_penalty=.5),
    dict(num_beams=2, early_stopping=True, no_repeat_ngram_size=2)])
def test_greedy_and_beams_are_those_of_transformers(tiny, rows, family, own):
    "Pads, penalties and several ends included"
    model, asked = tiny(family).model, dict(eos_token_id=[5, 9], repetition_penalty=1.3)
    f = ls.hf.beam_search if own else ls.hf.sample
    given = batch(rows)
    ours = model.generate(**given, **ROWS, **own, **asked, custom_generate=f)
    assert ours.tolist() == model.generate(**given, **ROWS, **own, **asked).tolist()


def test_contrastive_search_writes_what_transformers_4_wrote(tiny):
    "Tokens of transformers 4.55.4, six architectures, batches with pads"
    data = json.loads((Path(__file__).parent/'data'/'contrastive.json').read_text())
    seen = set()
    for case in data['cases']:
        if case['family'] in seen: continue
        seen.add(case['family'])
        model = tiny(case['family']).model
        with torch.no_grad():
            for name, p in model.named_parameters():
                g = torch.Generator().manual_seed(sum(name.encode()))
                noise = torch.randn(p.shape, generator=g)
                p.copy_(noise * .2 + (p.ndim == 1 and name.endswith('weight')))
        given = batch([torch.tensor(r) for r in case['prompts']])
        knobs = {k: case[k] for k in ('top_k', 'penalty_alpha', 'max_new_tokens')}
        out = model.generate(**given, **knobs, custom_generate=ls.hf.contrastive_search,
                             eos_token_id=case['eos'] or None)
        start = given['input_ids'].shape[1]
        assert [r[start:].tolist()[:len(w)] for r, w in zip(out, case['ids'])] \
            == case['ids']
    assert len(seen) == 6


class ByRow(LogitsProcessor):
    "Knows its batch: another bias for each row, and the batch must have its size"
    def __init__(self, n, vocab=60):
        g = torch.Generator().manual_seed(3)
        self.bias = 3 * torch.randn(n, vocab, generator=g)
    def __call__(self, ids, scores): return scores + self.bias


class Grammar(LogitsProcessor):
    "Has a memory: counts the calls, and moves the scores by the count"
    def __init__(self): self.calls = 0
    def __call__(self, ids, scores):
        self.calls += 1
        return scores.roll(self.calls, -1)


@pytest.mark.parametrize('make', [lambda: ByRow(3), Grammar])
def test_rows_that_end_do_not_move_those_that_stay(llama, rows, make):
    asked = dict(**batch(rows), **ROWS, eos_token_id=[*range(2, 30, 4)])
    ours, theirs = (model_call(llama, asked, make(), f) for f in (ls.hf.sample, None))
    assert ours == theirs and len({len([i for i in r if i != PAD]) for r in ours}) > 1


def model_call(model, asked, processor, f):
    own = dict(custom_generate=f) if f else {}
    return model.generate(**asked, **own,
                          logits_processor=LogitsProcessorList([processor])).tolist()


def test_processors_of_searches_see_the_rows_they_know(llama, rows):
    by_prompt = lambda row, ids: [*range(10 * row + 2, 10 * row + 12)]
    for f, own in ((ls.hf.beam_search, dict(num_beams=3)), (ls.hf.sample, {}),
                   (ls.hf.mcts_decode, dict(num_simulations=3)),
                   (ls.hf.contrastive_search, dict(top_k=3, penalty_alpha=.5))):
        out = llama.generate(**batch(rows), **own, max_new_tokens=4, eos_token_id=59,
                             prefix_allowed_tokens_fn=by_prompt, custom_generate=f)
        for row, ids in enumerate(out[:, 11:].tolist()):
            assert {*ids} <= {*range(10 * row + 2, 10 * row + 12)}, f


class Until(StoppingCriteria):
    def __init__(self, least): self.least = least
    def __call__(self, ids, scores, **kw):
        return (ids[:, -2:].sum(-1) > 70) & (ids.shape[1] >= self.least)


@pytest.mark.parametrize('own', [{}, dict(num_beams=3)])
def test_criteria_end_rows(llama, rows, own):
    asked = dict(**batch(rows), do_sample=False, max_new_tokens=20, **own,
                 eos_token_id=[3, 4], stopping_criteria=[Until(13)])
    f = ls.hf.beam_search if own else ls.hf.sample
    assert llama.generate(**asked, custom_generate=f).tolist() \
        == llama.generate(**asked).tolist()


def test_rows_are_grouped_by_their_number_never_by_being_equal(llama, rows):
    "Two equal prompts with two texts each are four texts of two prompts"
    ids = torch.stack([rows[0], rows[0]])
    asked = dict(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=True,
                 max_new_tokens=6, pad_token_id=PAD, eos_token_id=[59],
                 custom_generate=ls.hf.sample)
    lm = ls.LanguageModel(llama)
    want = ls.generate(lm, ids, ls.Sampler(), n=2, seed=5, max_new_tokens=6,
                       eos_token_id=59)
    got = llama.generate(**asked, num_return_sequences=2, seed=5, top_k=0)
    assert [r[len(rows[0]):].tolist()[:len(w)] for r, w in zip(got, want.ids)] \
        == [w.tolist() for w in want.ids]
    assert got[0].tolist() != got[1].tolist() and got[:2].equal(got[2:])


def test_scores_and_sums_are_those_of_transformers(llama, rows):
    asked = dict(**batch(rows), **ROWS, eos_token_id=[5, 9], repetition_penalty=1.2,
                 return_dict_in_generate=True)
    a = llama.generate(**asked, output_scores=True, custom_generate=ls.hf.sample)
    b = llama.generate(**asked, output_scores=True)
    assert a.sequences.equal(b.sequences) and len(a.scores) == len(b.scores)
    going, seen = torch.ones(3, dtype=torch.bool), torch.arange(60) != PAD
    for t, (x, y) in enumerate(zip(a.scores, b.scores)):
        # the first transformers 5 repeat-penalise pads, which never count here
        torch.testing.assert_close(x[going][:, seen], y[going][:, seen])
        going &= ~torch.isin(a.sequences[:, 11 + t], torch.tensor([5, 9]))
    a = llama.generate(**asked, num_beams=3, custom_generate=ls.hf.beam_search)
    b = llama.generate(**asked, num_beams=3, output_scores=True)
    torch.testing.assert_close(a.sequences_scores, b.sequences_scores)


@pytest.mark.parametrize('name', ['sample', 'beam_search', 'contrastive_search'])
def test_other_caches_give_the_same_tokens(llama, rows, name):
    asked = dict(**batch(rows), max_new_tokens=5, num_beams=1 + (name == 'beam_search'),
                 custom_generate=getattr(ls.hf, name), do_sample=False)
    want = llama.generate(**asked)
    assert llama.generate(**asked, use_cache=False).equal(want)
    assert llama.generate(**asked, cache_implementation='static').equal(want)
    cache = StaticCache(config=llama.config, max_cache_len=64)
    assert llama.generate(**asked, past_key_values=cache).equal(want)


def test_pad_zero_stays_zero(llama, rows):
    asked = batch(rows) | ROWS | dict(pad_token_id=0, eos_token_id=[*range(5, 25)])
    out = llama.generate(**asked, num_beams=2, custom_generate=ls.hf.beam_search)
    new = out[:, 11:].tolist()
    assert any(0 in r for r in new)
    for r in new:
        end = next((i for i, x in enumerate(r) if 5 <= x < 25), len(r))
        assert {*r[end + 1:]} <= {0}


def test_a_model_in_training_is_given_back_as_it_was(llama, rows):
    want = llama.generate(**batch(rows), **ROWS)
    llama.train()
    llama.lm_head.eval()
    try:
        assert llama.generate(**batch(rows), **ROWS,
                              custom_generate=ls.hf.sample).equal(want)
        with pytest.raises(ValueError):
            llama.generate(**batch(rows), custom_generate=ls.hf.beam_search,
                           num_beams=2, force=1)
        assert llama.training and not llama.lm_head.training
    finally: llama.eval()


def test_a_streamer_is_fed_and_always_ended(lm):
    model, tokenizer = lm.model, lm.tokenizer
    ids = tokenizer('Once upon a time', return_tensors='pt')['input_ids']
    asked = dict(input_ids=ids, max_new_tokens=12)
    def heard(bound, **more):
        streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, timeout=5)
        strategy = ls.hf.sample(streamer=streamer) if bound else ls.hf.sample
        if not bound: more['streamer'] = streamer
        try: model.generate(**asked, **more, custom_generate=strategy)
        except (ValueError, RuntimeError) as e: return ''.join(streamer), str(e)
        return ''.join(streamer), ''
    want = ls.generate(lm, ids, max_new_tokens=12).texts[0]
    assert heard(True) == (want, '')
    text, said = heard(False)
    assert text == '' and 'custom_generate=ls.hf.sample(streamer=...)' in said
    class Broken(LogitsProcessor):
        def __call__(self, ids, scores): raise RuntimeError('broken')
    assert heard(True, logits_processor=LogitsProcessorList([Broken()])) \
        == ('', 'broken')


def test_stop_strings_with_a_bound_tokenizer(lm):
    ids = lm.encode('Once upon a time')[0]
    f = ls.hf.contrastive_search(tokenizer=lm.tokenizer, stop_strings=[' a ', '.'])
    out = lm.model.generate(ids, max_new_tokens=40, penalty_alpha=.6, top_k=4,
                            custom_generate=f)
    want = ls.contrastive_search(lm, 'Once upon a time', max_new_tokens=40,
                                 stop=[' a ', '.'])
    assert out[0, ids.shape[1]:].tolist() == want.ids[0].tolist()
    assert want.finish_reasons == ['stop']


@pytest.mark.parametrize('asked, said', [
    (dict(custom_generate=ls.hf.contrastive_decoding), 'assistant_model must be bound'),
    (dict(custom_generate=ls.hf.beam_search, num_beams=2, output_scores=True,
          return_dict_in_generate=True), 'output_scores cannot be honoured'),
    (dict(custom_generate=ls.hf.sample, output_logits=True), 'output_logits'),
    (dict(custom_generate=ls.hf.sample(sampler=ls.Sampler()), repetition_penalty=2.),
     'sampler cannot be given beside processors: RepetitionPenalty'),
    (dict(custom_generate=ls.hf.sample, inputs_embeds=torch.zeros(1, 3, 32)),
     'inputs_embeds'),
    (dict(custom_generate=ls.hf.sample, position_ids=torch.tensor([[4, 5, 6]])),
     'position_ids'),
    (dict(custom_generate=ls.hf.beam_search, num_beams=2, guidance_scale=2.),
     'it follows one text'),
    (dict(custom_generate=ls.hf.best_of_n), "'n'")])
def test_what_cannot_be_honoured_is_refused(llama, rows, asked, said):
    ids = {} if 'inputs_embeds' in asked else dict(input_ids=rows[0][None])
    with pytest.raises((ValueError, TypeError), match=said.replace('.', r'\.')):
        llama.generate(**ids, max_new_tokens=4, **asked)


def test_names_that_nobody_takes_are_refused():
    with pytest.raises(TypeError, match='beam_search takes no .streamer. here'):
        ls.hf.beam_search(streamer=print)
    assert ls.hf.beam_search(seed=1).given == dict(seed=1)
    assert ls.hf.beam_search.given == {}


def test_encoder_decoders_are_refused():
    from transformers import T5Config, T5ForConditionalGeneration
    model = T5ForConditionalGeneration(T5Config(
        vocab_size=60, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2,
        decoder_start_token_id=0))
    with pytest.raises(ValueError, match='an encoder and a decoder'):
        model.generate(torch.tensor([[3, 4]]), custom_generate=ls.hf.sample)


def test_settings_are_read_from_the_config(llama, rows):
    "Whatever the signature says: a parameter named like a field would swallow it"
    names = {*vars(GenerationConfig())}
    for f in vars(ls.hf).values():
        if isinstance(f, ls.hf.DropIn):
            own = {*f.__signature__.parameters} - {'generation_config'}
            assert not own & names, f
    config = GenerationConfig(penalty_alpha=.4, top_k=3, max_new_tokens=6,
                              pad_token_id=PAD, eos_token_id=[])
    got = llama.generate(rows[1][None], generation_config=config,
                         custom_generate=ls.hf.contrastive_search)
    want = ls.contrastive_search(ls.LanguageModel(llama), rows[1][None], top_k=3,
                                 penalty_alpha=.4, max_new_tokens=6, eos_token_id=())
    assert got[0, 11:].tolist() == want.ids[0].tolist()
