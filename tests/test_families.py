"""Every architecture that transformers knows as causal: right, refused by name, or a
known row of the table"""
import json, os
from pathlib import Path

import pytest, transformers

import llm_sampling as ls
from families import ARCHITECTURES, ROWS, near, outcome, quiet, tiny, truth
from llm_sampling import models
from llm_sampling.rows import Branches

TABLE = json.loads(
    (Path(__file__).parents[1]/'llm_sampling'/'data'/'families.json').read_text())
KNOWN, SAME = TABLE['families'], TABLE['transformers'] == transformers.__version__
# every kind of behaviour
FEW = ('llama gemma2 bloom gpt_neo mamba rwkv recurrent_gemma roberta bart xlm '
       'xlnet git lfm2 minimax cpmant gemma3n_text deepseek_v32 openai-gpt').split()
ASKED = (sorted(ARCHITECTURES)
         if os.environ.get('LLM_SAMPLING_FUZZ')
         else [f for f in FEW if f in ARCHITECTURES])
FINE = 'right', 'refused', 'cannot be made tiny', 'does not run by itself'


def test_table_has_every_architecture():
    if SAME: assert sorted(KNOWN) == sorted(ARCHITECTURES)
    assert all(said.startswith(FINE) for said in KNOWN.values())
    assert sum(said.startswith('right') for said in KNOWN.values()) >= .9 * len(KNOWN)


def test_few_are_every_kind():
    "A long run meets each behaviour of which the table tells"
    kinds = {said for said in KNOWN.values() if said.startswith('right')}
    assert {KNOWN[family] for family in FEW} >= kinds


@pytest.mark.some(3)
@pytest.mark.parametrize('family', ASKED)
def test_family(family):
    said = outcome(family)
    if SAME: assert said == KNOWN[family]
    else:
        assert said.startswith(FINE)  # another release: what it can build must be right


LONG, SHORT = ROWS[0], ROWS[1]
PLAIN = dict(max_new_tokens=4, eos_token_id=())
STRATEGIES = dict(
    generate=ls.generate,
    beams=lambda lm, rows, **kw: ls.beam_search(lm, rows, num_beams=3, **kw),
    diverse=lambda lm, rows, **kw: ls.diverse_beam_search(lm, rows, num_beams=4,
                                                          num_beam_groups=2, **kw),
    stochastic=lambda lm, rows, **kw: ls.stochastic_beam_search(lm, rows, num_beams=3,
                                                                seed=5, **kw),
    sampled=lambda lm, rows, **kw: ls.generate(lm, rows, ls.Sampler(temperature=1.),
                                               seed=5, n=2, **kw),
    contrastive=lambda lm, rows, **kw: ls.contrastive_search(lm, rows, **kw),
    decoding=lambda lm, rows, **kw: ls.contrastive_decoding(lm, lm, rows,
                                                            amateur_context=5, **kw),
    guided=lambda lm, rows, **kw: ls.guided(lm, rows, None, **kw),
    dola=lambda lm, rows, **kw: ls.dola(lm, rows, dola_layers=[0], **kw),
    mcts=lambda lm, rows, **kw: ls.mcts_decode(lm, rows, num_simulations=6, seed=5,
                                               **kw))


@pytest.fixture(scope='module')
def deaf():
    with quiet():
        return {family: ls.LanguageModel(tiny(family))
                for family in ('rwkv', 'bart', 'git')}


def ids_of(out): return [row.tolist() for row in out.ids]


@pytest.mark.some(4)
@pytest.mark.parametrize('family', ['rwkv', 'bart', 'git'])
@pytest.mark.parametrize('strategy', STRATEGIES)
def test_ignored_pads_change_no_strategy(deaf, family, strategy):
    lm, run = deaf[family], STRATEGIES[strategy]
    try: alone = [run(lm, [row], **PLAIN) for row in (LONG, SHORT)]
    except ValueError as e:
        assert 'shows no' in str(e) or 'has no early exits' in str(e); return
    out = run(lm, [LONG, SHORT], **PLAIN)
    assert ids_of(out) == ids_of(alone[0]) + ids_of(alone[1])
    assert not any('ignores_padding' in a.stats for a in alone)
    by_tree = strategy in ('beams', 'diverse', 'stochastic', 'contrastive',
                           'mcts') and family == 'git'
    # a tree tells git of pads by a mask of its own
    assert out.stats.get('ignores_padding') is (None if by_tree else True)


def test_stream_of_ignored_pads(deaf):
    pieces = list(ls.stream(deaf['rwkv'], [LONG, SHORT], **PLAIN))
    assert ([i for p in pieces if p.row == 1 for i in p.ids]
            == ls.generate(deaf['rwkv'], [SHORT], **PLAIN).ids[0].tolist())


def test_branches_leave_the_tree_of_a_model_that_ignores_pads(deaf, monkeypatch):
    """A tree hears of pads what the model's own mask does not tell it; a cache of its
    rows must not be gone on with"""
    lm, kw = deaf['git'], dict(PLAIN, n=2, seed=5, max_new_tokens=8)
    want = [ids_of(ls.generate(lm, [row], ls.Sampler(temperature=1.), **kw))
            for row in (LONG, SHORT)]
    monkeypatch.setattr(Branches, 'least', 0)
    monkeypatch.setattr(Branches, '_pays', lambda self: len(self.ids[0]) < 24)
    out = ls.generate(lm, [LONG, SHORT], ls.Sampler(temperature=1.), **kw)
    assert ids_of(out) == want[0] + want[1]
    # without a cache it sees them (transformers before 5.20)
    assert out.stats.get('ignores_padding', False) is lm.ignores_padding is lm.cached


@pytest.mark.parametrize('family', ['rwkv', 'bart'])
def test_window_of_a_model_that_ignores_pads(deaf, family):
    lm = ls.LanguageModel(deaf[family].model)
    lm.window = 24
    kw = dict(PLAIN, max_new_tokens=24)
    alone = [ls.generate(lm, [row], **kw) for row in (LONG, SHORT)]
    assert (ids_of(ls.generate(lm, [LONG, SHORT], **kw))
            == [a.ids[0].tolist() for a in alone])


def test_every_position_of_a_padded_row(deaf):
    for lm in deaf.values():
        ids, mask = lm.encode([LONG, SHORT])
        z, _ = lm.forward(ids, mask)
        for n in (1, 4, 7): assert near(z[1, 12 + n], truth(lm.model, SHORT[:n]))


def test_padding_is_asked_once_and_only_where_there_are_pads(monkeypatch):
    from threading import Thread
    asked, real = [], models._sees_pads
    monkeypatch.setattr(models, '_sees_pads', lambda lm: asked.append(lm) or real(lm))
    with quiet(): lm = ls.LanguageModel(tiny('bart'))
    ls.generate(lm, [LONG, LONG], **PLAIN)
    assert not asked
    dists, want = [None] * 4, truth(lm.model, SHORT)
    def run(i): dists[i] = lm.next_logits([LONG, SHORT])[1]
    threads = [Thread(target=run, args=[i]) for i in range(4)]
    for t in threads: t.start()
    for t in threads: t.join()
    ls.generate(lm, [LONG, SHORT], **PLAIN)
    assert all(near(z, want) for z in dists) and len(asked) == 1


def test_padding_is_asked_of_a_model_not_of_its_twins(monkeypatch):
    asked = []
    with quiet(): lm = ls.LanguageModel(tiny('llama'))
    monkeypatch.setattr(models, '_sees_pads', lambda lm: asked.append(lm) or False)
    for _ in range(3): ls.dola(lm, [LONG, SHORT], dola_layers=[0], **PLAIN)
    assert len(asked) == 1


def test_window_of_minus_one():
    with quiet(): model = tiny('llama')
    model.config.max_position_embeddings = -1
    assert ls.LanguageModel(model).window is None
