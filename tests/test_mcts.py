"""Tree search against brute force: a plain search without cache, all texts of small
tables, rows alone, and errors"""
import itertools, math, random

import pytest, torch

import llm_sampling as ls
from llm_sampling import mcts, selection
from llm_sampling.generation import generate
from llm_sampling.mcts import Search, mcts_decode
from llm_sampling.models import LanguageModel
from llm_sampling.table_model import TableModel
from llm_sampling.noise import gumbel_noise, mix
from llm_sampling.sampler import Sampler
from llm_sampling.token_tree import TokenTree


@pytest.fixture(scope='module')
def prompts(prompts, lists):
    "As lists: the plain search below knows no tensors"
    return lambda dice, lengths: lists(prompts(dice, lengths))


@pytest.fixture(scope='module')
def tinies(tiny): return {f: tiny(f, layers=1) for f in ('llama', 'gpt2', 'bloom')}


def odd(texts, ids):
    "A value without a pattern, the same for the same text"
    return [random.Random(str(i.tolist())).gauss(0, 3) for i in ids]

def random_table(seed, V=3, L=4):
    """Own probabilities after each prefix of up to L-1 tokens after the prompt [0], and
    the log-probabilities of all texts"""
    dice = random.Random(seed)
    def probs():
        w = [dice.random()**2 + .02 for _ in range(V)]
        return [x / sum(w) for x in w]
    after = {p: probs() for n in range(L)
             for p in itertools.product(range(V), repeat=n)}
    lm = LanguageModel(
        TableModel({(0, *p): q for p, q in after.items()} | {(): probs()}))
    return lm, {t: sum(math.log(after[t[:i]][t[i]]) for i in range(L))
                for t in itertools.product(range(V), repeat=L)}


# A second search, in plain Python: no tree and no cache. All numbers are counted anew
# from a list of simulations.

class Plain:
    def __init__(self, lm, prompt, value=None, num_simulations=8, c_puct=1.,
                 max_new_tokens=6, top_k=10, temperature=0,
                 sampler=None, rollout_tokens=None, leaves=1, return_best=True, seed=0,
                 eos_token_id=()):
        vars(self).update(locals())
        self.known, self.log, self.whole, self.made = {}, [], {}, 0

    def logits(self, text):
        if text not in self.known:
            self.known[text] = self.lm.next_logits([[*self.prompt, *text]])[0]
        return self.known[text]

    def ended(self, text):
        return (len(text) == self.max_new_tokens
                or text[-1:] and text[-1] in self.eos_token_id)

    def logprob(self, text):
        return sum(self.logits(text[:i]).log_softmax(-1)[t].item()
                   for i, t in enumerate(text))

    def worth(self, text):
        v = (self.logprob(text)
             if self.value is None
             else self.value(None, [torch.tensor(text)])[0])
        if self.ended(text): self.whole.setdefault(text, v)
        return v

    def asked(self, text, seed):
        return dict(ids=torch.tensor([[*self.prompt, *text]]),
                    position=len(text)), Sampler(**self.sampler, seed=seed)

    def moves(self, text):
        z = self.logits(text)
        if self.sampler is not None:
            context, sampler = self.asked(text, self.seed)
            z = sampler.filter(z[None], **context)[0]
        best = sorted(range(len(z)), key=lambda t: (-z[t].item(), t))[:self.top_k]
        p = torch.tensor([z[t] for t in best]).softmax(-1).tolist()
        return [(t, x) for t, x in zip(best, p) if x > 0]

    def token(self, text, seed):
        if self.sampler is None: return self.logits(text).argmax().item()
        context, sampler = self.asked(text, seed)
        return sampler(self.logits(text)[None], **context).item()

    def rollout(self, leaf):
        seed = mix(self.seed, self.made).item()
        self.made += 1
        text = leaf
        while not self.ended(text) and (self.rollout_tokens is None
                                        or len(text) - len(leaf) < self.rollout_tokens):
            text += (self.token(text, seed),)
        return self.worth(text)

    def through(self, text, leaves):
        return [i for i, leaf in enumerate(leaves) if leaf[:len(text)] == text]

    def select(self, root, pending):
        leaves, values = [l for l, _ in self.log], [v for _, v in self.log]
        here = [values[i] for i in self.through(root, leaves)]
        low, high = (min(here), max(here)) if here else (0, 0)
        def q(text, more=0):
            mine = [values[i] for i in self.through(text, leaves)]
            return (sum(v - low for v in mine) / (high - low) if high > low
                    else 0.) / (len(mine) + more)
        def count(text):
            return len(self.through(text, leaves)) + len(self.through(text, pending))
        text = root
        while text in leaves and not self.ended(text):
            def score(move):
                child = text + (move[0],)
                n = count(child)
                return ((q(child, len(self.through(child, pending))) if n else q(text))
                        + self.c_puct * move[1] * math.sqrt(count(text)) / (1 + n))
            scores = [score(m) for m in self.moves(text)]
            text += (self.moves(text)[scores.index(max(scores))][0],)
        return text

    def run(self):
        "The text, and the visits of each step"
        text, history = (), []
        while not self.ended(text):
            left = self.num_simulations
            while left:
                known, pending = 0, []
                while known + len(pending) < min(left, self.leaves):
                    leaf = self.select(text, pending)
                    if leaf in pending: break
                    if leaf in self.whole:  # worth what it was the last time
                        self.log.append((leaf, self.whole[leaf]))
                        known += 1
                    else: pending.append(leaf)
                self.made += known
                self.log += [(leaf, self.rollout(leaf)) for leaf in pending]
                left -= known + len(pending)
            visits = {t: sum(l[:len(text)+1] == (*text, t) for l, _ in self.log)
                      for t, _ in self.moves(text)}
            history.append(visits)
            if self.temperature:
                noise = gumbel_noise(self.seed, len(text), self.lm.vocab_size,
                                     salt=selection._SALT)
                weights = {t: math.log(n) / self.temperature + noise[t].item()
                           for t, n in visits.items() if n}
            else:
                mean = lambda t: sum(v for l, v in self.log if l[:len(text)+1]
                                     == (*text, t)) / max(1, visits[t])
                weights = {t: (n, mean(t) if n else 0) for t, n in visits.items()}
            text += (max(weights, key=weights.get),)
        if self.return_best and max(self.whole.values()) > self.worth(text):
            text = max(self.whole, key=self.whole.get)
        return list(text), history


def watched(monkeypatch):
    "Records the visits at each choice of the search"
    log, choose = {}, Search.choose
    def watch(self, row, temperature=0):
        root = self.roots[row]
        log.setdefault(row, []).append({t: root.children[t].visits if t in root.children
                                        else 0 for t, *_ in root.moves})
        return choose(self, row, temperature)
    monkeypatch.setattr(Search, 'choose', watch)
    return log


FLAVOURS = [dict(), dict(value=odd, top_k=4),
            dict(value=odd, eos_token_id=tuple(range(0, 60, 4))),
            dict(temperature=1.5, c_puct=3.),
            dict(sampler=dict(temperature=.8, top_k=12, repetition_penalty=1.4),
                 value=odd), dict(sampler=dict(), return_best=False),
            dict(value=odd, rollout_tokens=2, c_puct=.3),
            dict(value=odd, rollout_tokens=0, sampler=dict(frequency_penalty=2.)),
            dict(value=odd, num_simulations=1),
            dict(sampler=dict(xtc_probability=.5, xtc_threshold=.05), value=odd)]

@pytest.mark.some(2)
@pytest.mark.parametrize('leaves', [1, 3])
@pytest.mark.parametrize('flavour', range(len(FLAVOURS)))
def test_plain_search_gives_the_same_tokens_and_visits(flavour, leaves, tinies,
                                                       monkeypatch, prompts):
    kw = dict(num_simulations=8, max_new_tokens=4, leaves=leaves) | FLAVOURS[flavour]
    log = watched(monkeypatch)
    kw.setdefault('eos_token_id', ())
    dice = random.Random(flavour)
    for lm in tinies.values() if flavour < 2 else [list(tinies.values())[flavour % 3]]:
        log.clear()
        rows, seed = prompts(dice, [3, 6]), dice.randrange(99)
        sampler = Sampler(**kw['sampler']) if 'sampler' in kw else None
        out = mcts_decode(lm, rows, **kw | dict(sampler=sampler), seed=seed)
        for i, row in enumerate(rows):
            own = ls.row_seeds(seed, torch.as_tensor(row)[None]).item()
            text, visits = Plain(lm, row, **kw, seed=own).run()
            assert visits == log[i]
            assert out.ids[i].tolist() == text


@pytest.mark.some(2)
@pytest.mark.parametrize('seed', range(8))
def test_enough_budget_finds_the_best_of_all_texts(seed):
    "81 texts; greedy misses the best in some of the tables"
    lm, texts = random_table(seed)
    best = max(texts, key=texts.get)
    for leaves in (1, 4):
        out = mcts_decode(lm, [[0]], num_simulations=120, c_puct=4., max_new_tokens=4,
                          leaves=leaves)
        assert tuple(out.ids[0].tolist()) == best
        assert out.scores[0] == pytest.approx(texts[best], abs=1e-5)
    # and the worst, with priors that do not hinder it
    value = lambda _, ids: [-texts[tuple(i.tolist())] for i in ids]
    out = mcts_decode(lm, [[0]], value=value, num_simulations=120, c_puct=2.,
                      max_new_tokens=4, sampler=Sampler(temperature=50.), seed=seed)
    assert tuple(out.ids[0].tolist()) == min(texts, key=texts.get)

def test_greedy_misses_some_of_them():
    missed = 0
    for seed in range(20):
        lm, texts = random_table(seed)
        missed += tuple(generate(lm, [[0]], max_new_tokens=4).ids[0].tolist()) != max(
            texts, key=texts.get)
    assert missed >= 5


@pytest.mark.long
def test_never_worse_than_greedy(tinies, lists, prompts):
    "The first rollout is the greedy text"
    for lm in tinies.values():
        rows = prompts(random.Random(5), [2, 5, 3])
        g = generate(lm, rows, max_new_tokens=6, eos_token_id=())
        for n in (1, 5):
            out = mcts_decode(lm, rows, num_simulations=n, max_new_tokens=6,
                              eos_token_id=())
            assert all(a >= b - 1e-4 for a, b in zip(out.scores, g.scores))
        assert lists(mcts_decode(lm, rows, num_simulations=1, max_new_tokens=6,
                                 eos_token_id=()).ids) == lists(g.ids)


def test_first_rollout_is_the_sample_of_generate(tinies, lists, prompts):
    "Simulation j of a prompt is drawn with mix(seed, j), and mix(seed, 0) is the seed"
    lm = tinies['llama']
    rows = prompts(random.Random(6), [2, 5])
    s = Sampler(temperature=1.3, top_p=.9, presence_penalty=.5)
    seen = []
    def value(texts, ids): seen.extend(lists(ids)); return [0.] * len(ids)
    mcts_decode(lm, rows, value=value, num_simulations=1, max_new_tokens=6, sampler=s,
                seed=[8, 9], eos_token_id=())
    assert seen[:2] == lists(generate(lm, rows, s, max_new_tokens=6, seed=[8, 9],
                                      eos_token_id=()).ids)


@pytest.mark.some(1)
@pytest.mark.parametrize('family', ['llama', 'gpt2', 'mistral', 'bloom', 'mamba'])
def test_row_is_row_alone(family, prompts, tiny):
    lm, dice = tiny(family), random.Random(1)
    rows = prompts(dice, [2, 7, 4])
    kw = dict(num_simulations=6, max_new_tokens=5, eos_token_id=(7, 21, 33), leaves=2)
    for more in (dict(), dict(value=odd, temperature=1., seed=[
        3, 4, 5], sampler=Sampler(temperature=[.5, 1., 2.], repetition_penalty=1.2))):
        batch = mcts_decode(lm, rows, **kw, **more)
        for i, row in enumerate(rows):
            one = dict(more, seed=more['seed'][i],
                       sampler=more['sampler'].rows(torch.tensor([i]))) if more else {}
            alone = mcts_decode(lm, [row], **kw, **one)
            assert alone.ids[0].tolist() == batch.ids[i].tolist()
            assert alone.scores[0] == pytest.approx(batch.scores[i], abs=1e-4)


def test_padding_and_mask_are_the_rows(tinies, lists, prompts):
    lm, rows = tinies['gpt2'], prompts(random.Random(2), [2, 6])
    ids, mask = lm.encode(rows)
    a, b = (mcts_decode(lm, *x, num_simulations=6, max_new_tokens=5, **kw)
            for x, kw in (([rows], {}), ([ids], dict(attention_mask=mask.long()))))
    assert lists(a.ids) == lists(b.ids)


@pytest.mark.some(2)
@pytest.mark.parametrize('kw',
                         [dict(leaves=1), dict(leaves=4, value=odd),
                          dict(leaves=3, sampler=Sampler(temperature=2.), value=odd),
                                dict(leaves=2, value=odd, rollout_tokens=1,
                                     eos_token_id=(1, 2, 3, 4, 5)),
                          dict(temperature=3., return_best=False)])
@pytest.mark.parametrize('family', ['llama', 'gpt2', 'bloom'])
def test_every_prefix_is_evaluated_once(family, kw, tinies, monkeypatch, prompts):
    """Tokens evaluated = prompt tokens + nodes, and no path is extended to twice, in
    the whole of a search"""
    lm, rows, made, passes = tinies[family], prompts(random.Random(3), [3, 8]), [], []
    extend = TokenTree.extend
    def watch(tree, parents, tokens):
        new = [(b, *tree.path(b, p), t)
               for b, row in enumerate(zip(parents.tolist(), tokens.tolist()))
               for p, t in zip(*row) if t >= 0]
        made.extend(new)
        passes.append(len(new))
        return extend(tree, parents, tokens)
    monkeypatch.setattr(TokenTree, 'extend', watch)
    kw = dict(num_simulations=12, max_new_tokens=6, eos_token_id=(), seed=1) | kw
    out = mcts_decode(lm, rows, **kw)
    assert len(made) == len(set(made)) == out.stats['nodes'] and 0 not in passes
    assert out.stats['tokens_evaluated'] == 11 + out.stats['nodes']
    assert out.stats['forward_passes'] == 1 + len(passes)
    assert max(map(len, made)) - 1 < 6  # nobody asks what follows the last token
    eos = kw['eos_token_id']
    # nor what follows an end
    assert not any(t in eos for path in made for t in path[1:])


@pytest.mark.parametrize('kw', [dict(), dict(value=odd, leaves=3), dict(
    value=odd, sampler=Sampler(temperature=2.), eos_token_id=(1, 2, 3, 4, 5))])
def test_a_rejected_branch_leaves_the_tree(kw, tinies, monkeypatch, prompts):
    """After a choice: what lies behind the roots, the ways to them, and the ways to the
    best texts, each under its number; nothing else"""
    apart, forget = [], Search.forget
    def watch(self):
        forget(self)
        for row, root in enumerate(self.roots):
            way, behind, todo = self.best[row].path, [], [root]
            while todo:
                behind.append(todo.pop())
                todo += behind[-1].children.values()
            wanted = {id(n): n for n in [*behind, *root.path, *way]
                      if n.number is not None and n.number >= 0}
            assert self.tree.counts[row] == len(wanted)
            assert all(self.tree.path(row, n.number) == n.ids for n in wanted.values())
            apart.append(
                sum(n.number is not None and n not in wanted.values()
                    for w in way if w not in behind for n in w.children.values()))
    monkeypatch.setattr(Search, 'forget', watch)
    out = mcts_decode(tinies['llama'], prompts(random.Random(3), [3, 8, 5]), **dict(
        num_simulations=12, max_new_tokens=6, eos_token_id=(), seed=1) | kw)
    # a best text was left behind, with branches beside its way
    assert any(apart) or kw == {}
    # and its distributions are still there
    assert out.stats['tokens_evaluated'] == 16 + out.stats['nodes']


def test_a_table_is_asked_once_for_each_text():
    "The same without a cache: the model itself counts"
    lm, texts = random_table(3)
    asked, forward = [], lm.model.forward
    def count(input_ids, attention_mask=None):
        asked.extend(map(tuple, input_ids.tolist()))
        return forward(input_ids, attention_mask)
    lm.model.forward = count
    TokenTree(lm, [[0]])  # its check asks on its own account
    asked.clear()
    out = mcts_decode(lm, [[0]], num_simulations=40, max_new_tokens=4, temperature=1.,
                      seed=2)
    assert len(asked) == len(set(asked)) == 1 + out.stats['nodes'] > 10


def test_known_nodes_cost_no_pass(tinies):
    "Rollouts of one pass wait for each other only at nodes that are new"
    lm = tinies['llama']
    ids, mask = lm.encode([[5, 6, 7]])
    search = Search(TokenTree(lm, ids, mask), max_new_tokens=8)
    search.simulate([1])
    # the greedy text, all but its last token
    assert search.tree.stats['forward_passes'] == 1 + 7
    search.simulate([1])  # its first token is the best move
    assert search.tree.stats['forward_passes'] == 1 + 7
    search.leaves = 5
    before = search.tree.stats['forward_passes']
    made = search.simulate([5])
    assert made[0] > 2 and search.tree.stats['forward_passes'] - before <= 7


def test_a_round_takes_as_many_passes_as_its_newest_text_has_new_nodes(tinies,
                                                                       monkeypatch):
    "Rollouts that walk on known nodes first join the passes of the others afterwards"
    found, judge, mixed = [], Search.judge, 0
    monkeypatch.setattr(Search, 'judge',
                        lambda self, ends: (found.append(ends), judge(self, ends)))
    search = Search(TokenTree(tinies['llama'], [[5, 6], [7, 8, 9]]), odd,
                    max_new_tokens=8, leaves=4, top_k=3,
                    sampler=Sampler(temperature=.2), seeds=[1, 2])
    for _ in range(20):
        before, passes = search.tree.counts.clone(), search.tree.passes
        search.simulate([4, 4])
        new = [[n.number is not None and n.number >= before[row] for n in end.path]
               for row, end in found[-1]]
        assert search.tree.passes - passes == max(map(sum, new), default=0)
        # some begin with more known nodes than others
        mixed += len({n.index(True) for n in new if any(n)}) > 1
    assert mixed > 3


def test_leaves_share_passes(tinies):
    lm = tinies['gpt2']
    passes = [mcts_decode(lm, [[4, 9]], value=odd, num_simulations=24, c_puct=2.,
                          max_new_tokens=6, leaves=n).stats['forward_passes']
              for n in (1, 4, 12)]
    assert passes[0] > 2 * passes[1] > 2 * passes[2]


@pytest.mark.long
def test_rollouts_share_passes_by_default(tinies):
    lm = tinies['gpt2']
    one, many = (mcts_decode(lm, [[4, 9]], num_simulations=24, max_new_tokens=10,
                             eos_token_id=(), **kw) for kw in (dict(leaves=1), {}))
    assert one.stats['forward_passes'] > 3 * many.stats['forward_passes']


def test_greedy_rollouts_read_each_distribution_once(tinies, monkeypatch):
    """A walk on known nodes asks for none, so that it costs nothing: those of the
    nodes, of the prompt, and of the final text"""
    TokenTree(tinies['llama'], [[1]])  # its check reads on its own account
    read, logits = [], TokenTree.logits
    monkeypatch.setattr(TokenTree, 'logits',
                        lambda tree, nodes: read.append((nodes > -2).sum().item())
                        or logits(tree, nodes))
    out = mcts_decode(tinies['llama'], [[4, 9], [5]], num_simulations=12,
                      max_new_tokens=8, leaves=1, eos_token_id=())
    assert sum(read) == out.stats['nodes'] + 2 + 16


def test_nothing_is_pending_after_a_round(tinies):
    lm = tinies['llama']
    search = Search(TokenTree(lm, [[3, 4], [5, 6]]), odd, max_new_tokens=3, leaves=6,
                    top_k=2)
    for _ in range(8):
        before = [r.visits for r in search.roots]
        made = search.simulate([6, 3])
        todo = list(search.roots)
        assert [r.visits - b for r, b in zip(search.roots, before)] == made
        assert all(1 <= m <= n for m, n in zip(made, [6, 3]))
        while todo:
            node = todo.pop()
            assert node.pending == 0
            below = list(node.children.values())
            todo += below
            if node.visits and node.moves:
                assert node.visits == 1 + sum(c.visits for c in below)


@pytest.mark.parametrize('scale, shift', [(1024., 0.), (2.**-10, 0.), (4., 64.)])
def test_units_of_the_value_do_not_matter(scale, shift, tinies, lists, prompts):
    lm, rows = tinies['llama'], prompts(random.Random(8), [3, 5])
    # exact in any of these units
    grid = lambda texts, ids: [round(v * 8) / 8 for v in odd(texts, ids)]
    a = mcts_decode(lm, rows, value=grid, num_simulations=12, max_new_tokens=4,
                    return_best=False)
    b = mcts_decode(lm, rows,
                    value=lambda t, i: [v * scale + shift for v in grid(t, i)],
                    num_simulations=12, max_new_tokens=4, return_best=False)
    assert lists(a.ids) == lists(b.ids)
    assert [s * scale + shift for s in a.scores] == b.scores


def test_value_gets_whole_lists_once(lm, lists):
    """One call for the texts of a pass over all prompts; no text twice; texts and ids
    as the result has them"""
    once, calls = ['Once upon a time', 'The king'], []
    def value(texts, ids):
        assert isinstance(texts, list)
        assert isinstance(ids, list)
        assert len(texts) == len(ids)
        assert all(i.dtype == torch.long and i.ndim == 1 for i in ids)
        calls.append(list(zip(texts, map(tuple, lists(ids)))))
        return torch.tensor([float(len(t)) for t in texts])
    out = mcts_decode(lm, once, value=value, num_simulations=8, max_new_tokens=5,
                      leaves=3, stop=['the', 'e#'], eos_token_id=(16,))
    told = [x for call in calls for x in call]
    for text, ids, score in zip(out.texts, out.ids, out.scores):
        assert (text, tuple(ids.tolist())) in told and score == len(text)
    assert max(map(len, calls)) > 2
    assert all('the' not in text for text, _ in told)
    whole = [(text, lm.decode([i for i in ids if i != 16])) for text, ids in told]
    assert all(text == said for text, said in whole if 'the' not in said)
    assert any(text.endswith('e') for text, _ in whole)
    def alone(prompt):
        seen = []
        def spy(texts, ids):
            seen.extend(map(tuple, lists(ids))); return [float(len(t)) for t in texts]
        mcts_decode(lm, prompt, value=spy, num_simulations=8, max_new_tokens=5,
                    leaves=3, stop=['the', 'e#'], eos_token_id=(16,))
        return seen
    seen = [alone(p) for p in once]
    assert all(len(s) == len(set(s)) for s in seen)  # no text twice
    assert sorted(ids for _, ids in told) == sorted(seen[0] + seen[1])


def test_value_and_result_agree_on_half_a_character(lm):
    half = next(i for i in lm.tokenizer('€')['input_ids'] if lm.decode([i]) == '\ufffd')
    seen = []
    def value(texts, ids): seen.extend(texts); return [0.] * len(ids)
    out = mcts_decode(lm, 'Once', value=value, num_simulations=2, max_new_tokens=1,
                      sampler=Sampler(logit_bias={half: 1000.}), seed=0)
    assert out.texts == seen[:1] == ['\ufffd']


def test_without_tokenizer_texts_are_none(tinies):
    def value(texts, ids): assert texts is None; return [0.] * len(ids)
    out = mcts_decode(tinies['llama'], [[3]], value=value, num_simulations=4,
                      max_new_tokens=3)
    assert out.texts is None and out.scores == [0.]


@pytest.mark.parametrize('bad',
                         [lambda t, i: [0.] * (len(i) + 1), lambda t, i: [],
                          lambda t, i: 1., lambda t, i: None, lambda t, i: [math.nan]
                          * len(i), lambda t, i: [-math.inf] * len(i), lambda t, i: [
                             'good'] * len(i), lambda t, i: torch.zeros(len(i), 2)])
def test_bad_values_raise(bad, tinies):
    with pytest.raises(
        ValueError, match='value must return a finite number per text .1.'):
        mcts_decode(tinies['llama'], [[3]], value=bad, num_simulations=4,
                    max_new_tokens=3)


def test_end_of_text_ends():
    "The best whole text is the end at once, and an end has no successor"
    lm = LanguageModel(TableModel({(): [.3, .3, .2, .2], (1,): [.05, .35, .3, .3]},
                                  eos_token_id=0))
    out = mcts_decode(lm, [[1]], num_simulations=60, c_puct=3., max_new_tokens=6)
    # .3 * .3, and the end at once is .05
    assert out.ids[0].tolist() == [2, 0] and out.finish_reasons == ['stop']
    assert out.scores[0] == pytest.approx(math.log(.09), abs=1e-5)
    out = mcts_decode(lm, [[1]], num_simulations=60, max_new_tokens=6, eos_token_id=())
    assert len(out.ids[0]) == 6 and out.finish_reasons == ['length']
    long = lambda _, ids: [float(len(i)) for i in ids]
    out = mcts_decode(lm, [[1], [2]], value=long, num_simulations=30, max_new_tokens=4,
                      eos_token_id=(2, 0))
    assert all(len(i) == 4 and not {0, 2} & set(i[:-1].tolist()) for i in out.ids)


def test_stop_strings(lm):
    out = mcts_decode(lm, 'The king had three sons, and the',
                      value=lambda texts, ids: [-len(t) for t in texts],
                      num_simulations=12, max_new_tokens=6, stop=[' son', 'x'],
                      leaves=4)
    assert out.finish_reasons == ['stop']
    assert ' son' not in out.texts[0]
    assert ' son' in lm.decode(out.ids[0])
    assert out.scores == [-len(out.texts[0])]


def test_logprobs_and_scores_are_the_models(tinies, prompts):
    for lm in tinies.values():
        rows = prompts(random.Random(4), [3, 6])
        for rb in (True, False):
            out = mcts_decode(lm, rows, num_simulations=10, max_new_tokens=5,
                              eos_token_id=(9, 30, 41), return_best=rb,
                              sampler=Sampler(temperature=2.), seed=3)
            for row, ids, logprobs, score, steps in zip(rows, out.ids, out.logprobs,
                                                        out.scores, out.trace):
                right = lm.forward(
                    torch.tensor([row + ids.tolist()]))[0][0].log_softmax(
                    -1)[len(row)-1:-1]
                assert torch.allclose(right.gather(1, ids[:, None])[:, 0], logprobs,
                                      atol=1e-4)
                assert score == pytest.approx(logprobs.sum().item(), abs=1e-4)
                assert [s.id for s in steps] == ids.tolist()
                assert [s.rank for s in steps] == [(l > l[t]).sum().item() + 1
                                                   for l, t in zip(right, ids)]


def test_best_seen_and_visited(tinies, prompts):
    "The best text seen has the highest of all values; the visited one need not"
    lm, better = tinies['llama'], 0
    for row in prompts(random.Random(9), [3] * 5):
        seen = []
        def value(texts, ids): v = odd(texts, ids); seen.extend(v); return v
        best = mcts_decode(lm, [row], value=value, num_simulations=8, max_new_tokens=4,
                           leaves=2)
        assert best.scores == [max(seen)]
        better += best.scores[0] > mcts_decode(lm, [row], value=odd, num_simulations=8,
                                               max_new_tokens=4, leaves=2,
                                               return_best=False).scores[0]
    assert 0 < better


def test_seeds(tinies, lists, prompts):
    lm = tinies['gpt2']
    rows = prompts(random.Random(7), [3, 3, 3])
    s = Sampler(temperature=2.)
    run = lambda seed, **kw: lists(
        mcts_decode(lm, rows, value=odd, num_simulations=3, max_new_tokens=4, sampler=s,
                    temperature=1., seed=seed, return_best=False, **kw).ids)
    assert run(3) == run(3) == run([3, 3, 3]) != run(4)
    assert run([3, 4, 5])[1] == run(4)[1]
    torch.manual_seed(0); a = run(None)
    torch.manual_seed(0); assert run(None) == a
    torch.manual_seed(1); assert run(None) != a
    same = mcts_decode(lm, [rows[0]] * 2, value=odd, num_simulations=3,
                       max_new_tokens=4, sampler=Sampler(temperature=2., seed=11))
    assert same.ids[0].tolist() == same.ids[1].tolist()


def test_filters_hold_everywhere(tinies, prompts):
    "A banned token is in no text of the search"
    lm, rows = tinies['llama'], prompts(random.Random(2), [4, 5])
    plain = mcts_decode(lm, rows, num_simulations=8, max_new_tokens=6, eos_token_id=())
    banned, seen = {t for i in plain.ids for t in i.tolist()}, set()
    def value(texts, ids):
        seen.update(t for i in ids for t in i.tolist()); return [0.] * len(ids)
    for more in (dict(), dict(temperature=0)):
        mcts_decode(lm, rows, value=value, num_simulations=8, max_new_tokens=6,
                    sampler=Sampler(logit_bias={t: -math.inf for t in banned}, **more),
                    seed=0, eos_token_id=())
    assert seen and not seen & banned


def test_small_vocabularies(lists):
    one = LanguageModel(TableModel({(): [1.]}))
    out = mcts_decode(one, [[0], [0]], num_simulations=5, max_new_tokens=3, leaves=4)
    assert lists(out.ids) == [[0, 0, 0]] * 2 and out.scores == [0., 0.]
    two = LanguageModel(TableModel({(): [.6, .4]}))
    assert mcts_decode(two, [[0]], num_simulations=20, top_k=50,
                       max_new_tokens=3).ids[0].tolist() == [0, 0, 0]
    never = LanguageModel(TableModel({(): [.6, .4, 0.]}))
    seen = set()
    def value(texts, ids):
        seen.update(t for i in ids for t in i.tolist()); return [0.] * len(ids)
    mcts_decode(never, [[0]], value=value, num_simulations=40, max_new_tokens=3)
    assert seen == {0, 1}


def test_bfloat16(monkeypatch, prompts, tiny):
    lm = LanguageModel(tiny('llama').model.to(torch.bfloat16))
    rows = prompts(random.Random(11), [3, 6])
    out = mcts_decode(lm, rows, value=odd, num_simulations=8, max_new_tokens=5,
                      leaves=2, eos_token_id=())
    assert all(l.dtype == torch.float32 and len(l) == 5 for l in out.logprobs)
    assert out.stats['tokens_evaluated'] == 9 + out.stats['nodes']


def test_rows_backend_is_the_tree(tinies, monkeypatch, lists, prompts):
    lm, rows = tinies['llama'], prompts(random.Random(12), [3, 6])
    run = lambda: mcts_decode(lm, rows, value=odd, num_simulations=8, max_new_tokens=5,
                              leaves=2, eos_token_id=(8, 19))
    a = run()
    monkeypatch.setattr(mcts, 'TokenTree',
                        lambda *args: TokenTree(*args, backend='rows'))
    b = run()
    assert lists(a.ids) == lists(b.ids) and a.scores == b.scores
    assert b.stats['nodes'] == a.stats['nodes']


def test_one_token(tinies):
    out = mcts_decode(tinies['llama'], [[3, 4]], value=odd, num_simulations=30,
                      max_new_tokens=1)
    best = max(
        ((odd(None, [torch.tensor([t])])[0], t)
         for t in tinies['llama'].next_logits([[3, 4]])[0].topk(10).indices.tolist()))
    assert out.ids[0].tolist() == [best[1]]
    assert out.stats['forward_passes'] == 1
    assert out.stats['nodes'] == 0


def test_window(tinies, tiny):
    lm = LanguageModel(tiny('gpt2').model)
    lm.window = 10
    assert len(mcts_decode(lm, [[1] * 6], num_simulations=3, max_new_tokens=5,
                           eos_token_id=()).ids[0]) == 5
    with pytest.raises(ValueError, match='need a window of 11 tokens'):
        mcts_decode(lm, [[1] * 6], num_simulations=3, max_new_tokens=6)


BAD = [(dict(num_simulations=0), 'num_simulations'),
       (dict(num_simulations=2**64), 'num_simulations must be at most 1048576'),
       (dict(c_puct=10**400), 'c_puct must be a number from 0 to 1e.30'),
       (dict(num_simulations=2.), 'num_simulations'), (dict(c_puct=-1), 'c_puct'),
       (dict(c_puct=math.nan), 'c_puct'),
       (dict(c_puct='1'), 'c_puct'), (dict(max_new_tokens=0), 'max_new_tokens'),
       (dict(top_k=0), 'top_k'), (dict(temperature=-.1), 'temperature'),
       (dict(temperature=math.inf), 'temperature'), (dict(leaves=0), 'leaves'),
       (dict(value=3), 'value'), (dict(rollout_tokens=-1, value=odd), 'rollout_tokens'),
       (dict(rollout_tokens=4), 'rollout_tokens = 4 needs a value'),
       (dict(sampler=Sampler(adaptive=ls.Mirostat2(3., .1))), 'adaptive'),
       (dict(stop=''), 'stop'), (dict(stop='x'), 'tokenizer'),
       (dict(eos_token_id=60), 'eos_token_id'), (dict(seed=[1, 2]), 'seed'),
       (dict(sampler=Sampler(temperature=[1., 2.])), 'temperature'),
       (dict(attention_mask=torch.tensor([[1, 0, 1]])), 'attention_mask')]

@pytest.mark.parametrize('kw, match', BAD)
def test_bad_arguments_raise_before_any_pass(kw, match, monkeypatch, tiny):
    lm = tiny('llama')
    monkeypatch.setattr(lm.model, 'forward', lambda *a,
                        **kw: pytest.fail('a forward pass'))
    with pytest.raises(ValueError, match=match):
        mcts_decode(lm, torch.tensor([[3, 4, 5]]), **kw)


def test_a_row_without_a_token_raises():
    "Naming the row of the prompt, wherever in the search it comes up"
    lm = LanguageModel(TableModel({(): [.5, .25, .25], (2,): [.5, .5, 0.]}))
    sampler = Sampler(logit_bias={0: -math.inf, 1: -math.inf})
    for kw in (dict(), dict(value=odd, rollout_tokens=0), dict(leaves=3)):
        with pytest.raises(ValueError, match=r'no token can follow \[\] in row 1'):
            mcts_decode(lm, [[0], [2]], sampler=sampler, max_new_tokens=1, **kw)
        with pytest.raises(ValueError, match=r'no token can follow \[2\] in row 0'):
            mcts_decode(lm, [[0]], sampler=sampler, max_new_tokens=2, **kw)


def test_no_class_is_a_default():
    "A page would show it as <class '...'>"
    from inspect import isclass, isfunction, signature
    for name in mcts.__all__:
        if isfunction(f := getattr(mcts, name)):
            assert not any(isclass(p.default) and p.default is not p.empty
                           for p in signature(f).parameters.values())
