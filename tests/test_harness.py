"""The three questions of lm_eval, against loops over tokens and against the strategies
themselves; no part of lm_eval is here (see harness_stands.py)"""
import random
import re
import sys

import pytest
import torch
from harness_stands import ask, modules

import llm_sampling as ls
from llm_sampling import harness
from llm_sampling.harness import (Answers, encode_pair, encode_text, pass_at_k,
                                  read_gen_kwargs, rolling_pairs, score_pairs,
                                  sums_pass, write_sums_tasks, write_texts)
from llm_sampling.specs import PATHS
from llm_sampling.sums import answer, draw_problems, load_sums

HOT = {'strategy': 'generate', 'temperature': 1.}


@pytest.fixture(scope='module')
def sums(): return load_sums()


def scored(lm, before, after):
    "The log-probability by one pass over the pair, and whether it is greedy"
    ids = [*before, *after][-((lm.window or 10**6) + 1):]
    logits = lm.forward(torch.tensor([ids[:-1]]))[0][0].double().log_softmax(-1)
    logits = logits[-len(after):]
    return (sum(z[i].item() for z, i in zip(logits, after)),
            logits.argmax(-1).tolist() == [*after])


@pytest.mark.some(3)
@pytest.mark.parametrize('family', ['llama', 'mistral', 'gpt2', 'opt', 'mamba'])
def test_scores_are_those_of_a_pass_per_pair(tiny, family):
    """Shared and lone contexts, equal pairs, one token, none in common, and contexts
    that lose their beginnings"""
    lm, dice = tiny(family), random.Random(3)
    draw = lambda n: [dice.randrange(1, 60) for _ in range(n)]
    contexts = [draw(n) for n in (1, 5, 9, 9, 64, 80)]
    pairs = [(c, draw(dice.randrange(1, 8))) for c in contexts for _ in range(4)]
    for c in contexts[:3]:                               # greedy ones, too
        out = ls.generate(lm, [c], max_new_tokens=5, eos_token_id=())
        pairs.append((c, out.ids[0].tolist()))
    pairs += pairs[3:7]
    if lm.window: pairs.append((draw(30), draw(60)))
    dice.shuffle(pairs)
    want = [scored(lm, *pair) for pair in pairs]
    assert any(greedy for _, greedy in want)
    for size in (1, 3, 64):
        found, tokens = score_pairs(lm, pairs, batch_size=size)
        assert [x for x, _ in found] == pytest.approx([x for x, _ in want], abs=1e-4)
        assert [greedy for _, greedy in found] == [greedy for _, greedy in want]


def test_a_context_is_evaluated_once(lm):
    before = encode_text(lm, 'Once upon a time there was a king who had')
    after = [[7], [8, 9], [8, 10, 11], [7]]
    _, tokens = score_pairs(lm, [(before, c) for c in after])
    assert tokens == len(before) + 0 + 1 + 2


@pytest.mark.parametrize('window', [None, 1, 2, 4, 7])
def test_windows_score_each_token_once_with_all_that_fits_before(window):
    for n in range(20):
        ids, end = [*range(1, n + 1)], 0
        for read, part in rolling_pairs(ids, 0, window):
            whole = [0, *ids]
            assert part == ids[end:end + len(part)]
            assert read == whole[end + 1 - len(read):end + 1] and read
            end += len(part)
            if window is None: continue
            room = window + 1 - len(part)
            assert len(read) == min(room, end - len(part) + 1)
            assert len(part) == window or end == n
        assert end == n


def test_pairs_are_cut_where_the_whole_is(lm, sums):
    for model, context, after in ((lm, 'The king had', ' three sons'),
                                  (lm, 'The king had  ', 'three'), (lm, '', 'Once'),
                                  (lm, '<|endoftext|>The', ' king'),
                                  (sums, '12+34+56+78\n', '=46+56+78\n')):
        before, rest = encode_pair(model, context, after)
        assert before + rest == (encode_text(model, context + after))
        assert before[0] == 0 and before.count(0) == 1
    assert encode_pair(lm, 'A ', 'b') == encode_pair(lm, 'A', ' b')
    assert encode_pair(lm, '', '<|endoftext|>Once')[0] == [0]


def test_impossible_pairs_are_named(tiny, lm):
    small = tiny('llama')                                 # a window of 64
    with pytest.raises(ValueError, match='continuation of request 1 has 65 tokens'):
        score_pairs(small, [([1], [2]), ([1], [2] * 65)])
    with pytest.raises(ValueError, match='the continuation of request 0 must have'):
        Answers(lm).loglikelihood([ask('The king', '')], True)
    with pytest.raises(ValueError, match='the context of request 0'):
        score_pairs(small, [([], [2])])
    with pytest.raises(ValueError, match='lm must have a tokenizer'):
        Answers(small).loglikelihood([ask('', 'a')], True)


def test_documents_are_sums_over_windows(lm):
    text = 'Once upon a time there was a king. ' * 60
    ids = encode_text(lm, text)
    assert len(ids) > lm.window
    want = sum(scored(lm, *pair)[0] for pair in rolling_pairs(ids, 0, lm.window))
    found = Answers(lm).loglikelihood_rolling([ask(text), ask(''), ask('A')], True)
    assert found[0] == pytest.approx(want, abs=1e-2)
    assert found[2] == pytest.approx(scored(lm, [0], encode_text(lm, 'A'))[0], abs=1e-4)


def test_texts_do_not_depend_on_neighbours(sums):
    "Order, batch size, and how many repeats are asked for"
    problems = draw_problems(5)
    many = {p: 1 + i for i, p in enumerate(problems)}
    found = write_texts(sums, many, HOT, max_new_tokens=24, batch_size=64)
    assert [len(found[p]) for p in problems] == [1, 2, 3, 4, 5]
    other = write_texts(sums, dict.fromkeys(problems[::-1], 5), HOT, max_new_tokens=24,
                        batch_size=1)
    assert all(other[p][:many[p]] == found[p] for p in problems)
    assert len({*other[problems[0]]}) > 1
    again = write_texts(sums, many, HOT, seed=1, max_new_tokens=24, batch_size=64)
    assert again != found


def test_texts_are_those_of_the_strategy(sums):
    problems = draw_problems(3)
    out = ls.generate(sums, problems, ls.Sampler(temperature=1.), n=4, seed=7,
                      max_new_tokens=24, stop=['\n='])
    found = write_texts(sums, dict.fromkeys(problems, 4), HOT, seed=7, until=['\n='],
                        max_new_tokens=24)
    assert [t for p in problems for t in found[p]] == out.texts


NEEDS = {'constrained_beam_search': {'force_words_ids': [[5]]}, 'best_of_n': {'n': 2},
         'majority_vote': {'n': 2, 'answer': 'last_number'},
         'minimum_bayes_risk': {'n': 2},
         'contrastive_decoding': {'amateur': 'self', 'amateur_context': 2},
         'guided': {'negative_prompt': '1', 'guidance_scale': 1.5},
         'mcts_decode': {'num_simulations': 2}, 'dola': {'dola_layers': 'low'}}


@pytest.mark.some(5)
@pytest.mark.parametrize('strategy', PATHS)
def test_every_strategy_gives_a_text_for_each_repeat(sums, strategy):
    "The same ones in any batch; a strategy without chance writes one, once"
    problems = draw_problems(2)
    spec = {'strategy': strategy, **NEEDS.get(strategy, {})}
    found, alone = (write_texts(sums, dict.fromkeys(problems, 3), spec,
                                max_new_tokens=6, batch_size=size) for size in (16, 1))
    assert found == alone and [len(t) for t in found.values()] == [3, 3]
    if not ls.specs.is_random(spec): assert all(len({*t}) == 1 for t in found.values())


def test_repeats_of_a_strategy_that_draws_differ(sums):
    "Each has a seed of its own, also where the strategy gives one text only"
    problem = draw_problems(1)[0]
    spec = {'strategy': 'majority_vote', 'n': 1}          # a single draw
    found = write_texts(sums, {problem: 8}, spec, max_new_tokens=24)[problem]
    assert len({*found}) > 2

def test_what_takes_no_chance_runs_once(sums, monkeypatch):
    asked = []
    run = lambda lm, prompts, *a, **k: asked.append(len(prompts)) or harness_run(
        lm, prompts, *a, **k)
    harness_run = harness.run
    monkeypatch.setattr(harness, 'run', run)
    write_texts(sums, dict.fromkeys(draw_problems(3), 8), {'strategy': 'generate'},
                max_new_tokens=4, batch_size=64)
    assert asked == [3]


def test_the_settings_of_a_task():
    read = lambda **said: read_gen_kwargs(said, 99)
    greedy = {'strategy': 'generate', 'temperature': 0}
    assert read() == (greedy, [], 99)
    assert read(until='a', max_gen_toks=5) == (greedy, ['a'], 5)
    assert read(until=['a', '', 'b'], do_sample=False, temperature=.5) == (
        greedy, ['a', 'b'], 99)
    assert read(temperature=.5, top_p=.9, max_new_tokens=3, max_tokens=7) == (
        greedy | dict(temperature=.5, top_p=.9), [], 3)
    assert read(do_sample=True)[0] == greedy | dict(temperature=1.)
    assert read(do_sample=True, temperature=0)[0] == greedy
    with pytest.raises(ValueError, match='strategy must be given in model_args'):
        read(strategy='dola')


def test_requests_come_back_in_order(sums, caplog):
    "Repeats are the same object; another with the same context begins anew"
    mine = Answers(sums, batch_size='16', max_gen_toks=8)
    a, b = draw_problems(2)
    hot, cold = {'do_sample': True, 'until': []}, {'until': ['+']}
    first, twin, other, plain = ask(a, hot), ask(a, hot), ask(b, hot), ask(a, cold)
    found = mine.generate_until([first, first, other, plain, twin, first], True)
    alone = mine.generate_until([first] * 3, True)
    assert [found[i] for i in (0, 1, 5)] == alone and found[4] == alone[0]
    assert found[2] == mine.generate_until([other], True)[0]
    assert '+' not in found[3]
    assert not caplog.records


def test_a_strategy_puts_the_tasks_aside_and_says_so(sums, caplog):
    mine = Answers(sums, strategy='beam_search', num_beams=2, max_gen_toks=8)
    problem = draw_problems(1)[0]
    text, = mine.generate_until([ask(problem, {'until': [], 'temperature': .5})], True)
    assert 'not {\'temperature\': 0.5} of a task' in caplog.text
    assert [text] == ls.beam_search(sums, problem, num_beams=2, max_new_tokens=8).texts
    assert mine.get_model_info()['strategy']['num_beams'] == 2


def test_long_contexts_keep_their_ends(sums, caplog):
    "As `hf` cuts them; what leaves no room at all is an error"
    mine = Answers(sums, max_gen_toks=32)
    long, kwargs = '1+' * 40 + '23\n', {'until': []}
    text, = mine.generate_until([ask(long, kwargs)], True)
    ids = encode_text(sums, long)[-32:]
    assert [text] == ls.generate(sums, [ids], max_new_tokens=32).texts
    assert 'cut to their last 32 tokens' in caplog.text
    with pytest.raises(ValueError, match='max_gen_toks must be less than the window'):
        mine.generate_until([ask(long, {'max_gen_toks': 64})], True)


@pytest.mark.parametrize('wrong, said', [
    (dict(strategy='beam'), 'strategy must be one of'),
    (dict(top_p=2), 'top_p must be'),
    (dict(stop='a'), 'stop must be left to the task, which says until'),
    (dict(n=3), 'n must be left to the task, which says repeats'),
    (dict(batch_size='auto'), "batch_size must be an integer >= 1, not 'auto'"),
    (dict(max_gen_toks=0), 'max_gen_toks must be'), (dict(dtype='float99'), 'dtype')])
def test_wrong_arguments_are_named(sums, wrong, said):
    model = None if 'dtype' in wrong else sums
    with pytest.raises((ValueError, TypeError), match=said): Answers(model, **wrong)


def test_a_missing_device_is_the_cpu(caplog, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert Answers(device='cuda:0').lm.device.type == 'cpu'
    assert 'no CUDA here' in caplog.text


@pytest.fixture
def stand(monkeypatch):
    "As if lm_eval was there; its registry"
    found, models = modules()
    for name, module in found.items(): monkeypatch.setitem(sys.modules, name, module)
    harness.harness_class.cache_clear()
    yield models
    harness.harness_class.cache_clear()


def test_the_class_is_theirs_and_ours(stand, sums):
    made = harness.register()
    assert stand == {'llm_sampling': made} and harness.register() is made
    from lm_eval.api.model import LM
    assert issubclass(made, LM) and issubclass(made, Answers)
    mine = made.create_from_arg_obj(
        {'pretrained': 'sums', 'strategy': 'beam_search', 'num_beams': 2},
        {'batch_size': '4', 'max_batch_size': None, 'device': 'cpu'})
    assert mine.batch_size == 4 and mine.lm.window == sums.window


def test_repeats_under_a_cache_without_their_number_are_refused(stand, sums):
    mine = harness.register()('sums', temperature=1., max_gen_toks=4)
    mine.cache_hook.dbdict = {}
    problem = draw_problems(1)[0]
    request = ask(problem, {'until': []})
    assert len(mine.generate_until([request], True)) == 1
    with pytest.raises(ValueError, match='use_cache must be left out, or do_sample'):
        mine.generate_until([request] * 2, True)
    sampled = ask(problem, {'do_sample': True})
    assert len(mine.generate_until([sampled] * 2, True)) == 2


def test_without_the_extra_one_line_names_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'lm_eval', None)
    harness.harness_class.cache_clear()
    with pytest.raises(ImportError, match=r'pip install "llm_sampling\[lm-eval\]"'):
        harness.register()
    assert harness.main() == 1
    said = capsys.readouterr().err
    assert re.fullmatch(r'llm_sampling.harness: the harness needs .*\n', said)


def test_chats(sums):
    sums.tokenizer.chat_template = (
        "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}={% endif %}")
    mine, chat = Answers(sums), [{'role': 'user', 'content': '1+2'}]
    try:
        assert mine.apply_chat_template(chat) == '1+2\n='
        assert mine.chat_template(True) == sums.tokenizer.chat_template
        assert '/' not in mine.tokenizer_name
    finally: sums.tokenizer.chat_template = None


def test_pass_at_k_is_the_share_of_choices():
    "All choices of k of n texts, counted"
    from itertools import combinations
    for n in range(1, 7):
        for right in range(n + 1):
            for k in range(1, n + 1):
                choices = [*combinations([True] * right + [False] * (n - right), k)]
                share = sum(map(any, choices)) / len(choices)
                assert pass_at_k(n, right, k) == pytest.approx(share)
    for wrong in ((0, 0, 1), (3, 4, 1), (3, 1, 4), (3, -1, 1)):
        with pytest.raises(ValueError): pass_at_k(*wrong)
    assert sums_pass(['7'], [['7', '8']], [1, 2]) == {'pass@1': .5, 'pass@2': 1}


def test_tasks_of_sums(tmp_path):
    assert write_sums_tasks(tmp_path, 3, 4) == ['sums', 'sums_maj', 'sums_pass']
    text = (tmp_path/'sums_maj.yaml').read_text()
    assert 'repeats: 4' in text and not re.search('FOLDER|MOST|NUMBER|KS', text)
    assert 'k: [1, 2, 4]' in (tmp_path/'sums_pass.yaml').read_text()
    pattern = re.search(r"regex_pattern: '(.*?)'", text)[1]
    for said in ('=1+2\n=3\n', '=3', '=1+2\n', '', '4', 'a\n=5 '):
        found = re.findall(pattern, said)
        assert (int(found[0]) if found else None) == answer(said)
    with pytest.raises(ValueError, match='repeats must be'):
        write_sums_tasks(tmp_path, 3, 0)
