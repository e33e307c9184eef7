"""Every node's logits are those of a separate forward pass of its path, for families of
models, batches, and any mix of extend and keep"""
import itertools, sys
from collections import Counter
from copy import deepcopy

import pytest, torch
import transformers as tf

from llm_sampling import backends, token_tree, tree_books
from llm_sampling.models import LanguageModel
from llm_sampling.table_model import TableModel
from llm_sampling.token_tree import TokenTree

SIZE = dict(vocab_size=60, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=64,
            bos_token_id=0, eos_token_id=0, pad_token_id=0)
GPT = dict(vocab_size=60, n_embd=32, n_layer=2, n_head=2, n_positions=64,
           bos_token_id=0, eos_token_id=0)
SLIDE = dict(sliding_window=4)
HEADS = dict(head_dim=16, query_pre_attn_scalar=16)
FAMILIES = dict(  # class, config, and the backend that must be found
    llama=('Llama', SIZE | dict(num_key_value_heads=1), 'tree'),
    qwen3=('Qwen3', SIZE | dict(head_dim=16), 'tree'), gpt2=('GPT2', GPT, 'tree'),
    opt=('OPT', dict(vocab_size=60, hidden_size=32, ffn_dim=48, num_hidden_layers=2,
                     num_attention_heads=2, max_position_embeddings=64,
                     word_embed_proj_dim=32, bos_token_id=0, eos_token_id=0,
                     pad_token_id=1), 'tree'),
    phi3=('Phi3', SIZE, 'tree'), phi3_window=('Phi3', SIZE | SLIDE, 'tree'),
    gpt_neox=('GPTNeoX', SIZE, 'tree'), mistral=('Mistral', SIZE | SLIDE, 'tree'),
    gemma2=('Gemma2', SIZE | SLIDE | HEADS, 'tree'),
    gemma3=('Gemma3', SIZE | SLIDE | HEADS | dict(num_hidden_layers=6), 'tree'),
    gpt_oss=('GptOss', SIZE | SLIDE
             | dict(head_dim=16, num_local_experts=4, num_experts_per_tok=2), 'tree'),
    bloom=('Bloom', dict(vocab_size=60, hidden_size=32, n_layer=2, n_head=2,
                         bos_token_id=0, eos_token_id=0, pad_token_id=0), 'rows'),
    gptj=('GPTJ', GPT | dict(rotary_dim=8), None),           # either is right
    gpt_neo=('GPTNeo', dict(vocab_size=60, hidden_size=32, num_layers=2, num_heads=2,
                            max_position_embeddings=64, window_size=4,
                            attention_types=[[['global', 'local'], 1]], bos_token_id=0,
                            eos_token_id=0), 'rows'),
    mamba=('Mamba',
           dict(vocab_size=60, hidden_size=32, state_size=4, num_hidden_layers=2,
                bos_token_id=0, eos_token_id=0, pad_token_id=0), 'rows'),
)


def tiny(family, **more):
    name, config, _ = FAMILIES[family]
    torch.manual_seed(0)
    model = getattr(tf, name + ('LMHeadModel' if family == 'gpt2' else 'ForCausalLM'))
    config = getattr(tf, name + ('TextConfig' if family == 'gemma3' else 'Config'))(
        **config | more, initializer_range=.2)
    return LanguageModel(model(config))


def prompts(batch, g, longest=14, vocab=60):
    return [torch.randint(1, vocab, (int(n),), generator=g)
            for n in torch.randint(1, longest, (batch,), generator=g)]


def table():
    return LanguageModel(TableModel({(): [.5, .25, .25], (1,): [0., .5, .5],
                                     (1, 2): [1., 0., 0.], (0, 0): [.1, .1, .8]}))


def every(tree):
    "All nodes, the end of the prompt, and none"
    return torch.stack(
        [torch.where(torch.arange(-2, tree.tokens.shape[1]) < c,
                     torch.arange(-2, tree.tokens.shape[1]), -2) for c in tree.counts])


def check(tree, atol=1e-4):
    """Distributions and hidden states of every node against forward passes of its text
    alone"""
    nodes = every(tree)
    dists = tree.logits(nodes)
    for b, row in enumerate(nodes.tolist()):
        for i, node in enumerate(row):
            if node == -2: assert (dists[b, i] == -torch.inf).all(); continue
            want = tree.lm.next_logits([tree.prompts[b] + tree.path(b, node)])[0]
            torch.testing.assert_close(dists[b, i], want, atol=atol, rtol=1e-4)


def check_books(tree):
    """Parents come before children, depths are those of the paths, and the padding of
    the books is as promised"""
    for b, count in enumerate(tree.counts.tolist()):
        for node in range(count):
            p = tree.parents[b, node].item()
            assert -1 <= p < node
            assert (tree.depth[b, node]
                    == len(tree.path(b, node))
                    == 1 + (tree.depth[b, p] if p >= 0 else 0))
        assert (tree.parents[b, count:] == -2).all()
        assert (tree.tokens[b, count:] == -1).all()
        assert (tree.depth[b, count:] == 0).all()


def wander(tree, g, steps=7, n=4):
    """Random calls of extend and keep, which forgets at once or when it likes; what it
    returns must have the same paths as before"""
    for _ in range(steps):
        width = int(torch.randint(1, n + 1, (), generator=g))
        parents = torch.stack(
            [torch.randint(-1, int(c), (width,), generator=g) for c in tree.counts])
        tokens = torch.randint(0, tree.lm.vocab_size, parents.shape, generator=g)
        before = tree.counts.clone()
        nodes = tree.extend(parents, tokens.masked_fill(
            torch.rand(parents.shape, generator=g) < .25, -1))
        for b, row in enumerate(nodes.tolist()):
            real = [x for x in row if x >= 0]
            assert real == list(range(before[b], before[b] + len(real)))
        if torch.rand((), generator=g) < .4:
            some = torch.stack(
                [torch.randint(-2, int(c), (3,), generator=g) for c in tree.counts])
            paths = [[tree.path(b, x) for x in row if x >= -1]
                     for b, row in enumerate(some.tolist())]
            new = tree.keep(some, now=bool(torch.rand((), generator=g) < .7))
            assert paths == [[tree.path(b, x) for x in row if x >= -1]
                             for b, row in enumerate(new.tolist())]
            assert ((new < 0) == (some < 0)).all()
            assert (new[new < 0] == some[new < 0]).all()
        check_books(tree)


@pytest.mark.some(5)
@pytest.mark.parametrize('batch', [1, 3])
@pytest.mark.parametrize('family', FAMILIES)
def test_node_is_its_path_alone(family, batch):
    lm, wanted = tiny(family), FAMILIES[family][2]
    for seed in range(3):
        g = torch.Generator().manual_seed(100 * batch + seed)
        tree = TokenTree(lm, prompts(batch, g))
        assert wanted in (None, tree.backend)
        wander(tree, g)
        check(tree)


@pytest.mark.parametrize('batch', [1, 3])
def test_table_model(batch):
    for seed in range(5):
        g = torch.Generator().manual_seed(seed)
        tree = TokenTree(table(), prompts(batch, g, vocab=3))
        assert tree.backend == 'rows' and tree.nbytes == 0
        wander(tree, g)
        check(tree, 0)


@pytest.mark.parametrize('family', ['llama', 'gpt2', 'mistral', 'gemma3', 'gpt_oss'])
def test_eager_attention(family):
    lm, g = tiny(family), torch.Generator().manual_seed(1)
    lm.model.set_attn_implementation('eager')
    tree = TokenTree(lm, prompts(3, g))
    assert tree.backend == 'tree'
    wander(tree, g)
    check(tree)


@pytest.mark.parametrize('family', ['llama', 'mistral', 'gemma3'])
def test_backends_agree(family):
    lm, g = tiny(family), torch.Generator().manual_seed(2)
    rows, trees = prompts(3, g), []
    for backend in ('tree', 'rows'):
        trees.append(TokenTree(lm, rows, backend=backend, hidden=True))
        wander(trees[-1], torch.Generator().manual_seed(5))
        assert trees[-1].backend == backend
    assert (trees[0].tokens == trees[1].tokens).all()
    torch.testing.assert_close(*(t.logits(every(t)) for t in trees), atol=1e-4,
                               rtol=1e-4)
    torch.testing.assert_close(*(t.hidden(every(t)) for t in trees), atol=1e-4,
                               rtol=1e-4)
    assert trees[0].stats == trees[1].stats


def test_hidden_is_the_last_hidden_state():
    for family in ('llama', 'gpt2', 'gpt_neox', 'gemma3', 'bloom', 'mamba'):
        lm, g = tiny(family), torch.Generator().manual_seed(4)
        tree = TokenTree(lm, prompts(2, g), hidden=True)
        wander(tree, g)
        nodes = every(tree)
        states = tree.hidden(nodes)
        for b, row in enumerate(nodes.tolist()):
            for i, node in enumerate(row):
                if node == -2: assert (states[b, i] == 0).all(); continue
                ids = torch.tensor([tree.prompts[b] + tree.path(b, node)])
                with torch.no_grad():
                    want = lm.model(ids,
                                    output_hidden_states=True).hidden_states[-1][0, -1]
                torch.testing.assert_close(states[b, i], want, atol=1e-4, rtol=1e-4)


def test_a_row_is_the_row_alone():
    lm, g = tiny('mistral'), torch.Generator().manual_seed(6)
    rows = prompts(3, g)
    together = TokenTree(lm, rows)
    wander(together, g)
    for b in range(3):
        alone = TokenTree(lm, [rows[b]])
        for node in range(together.counts[b]):
            alone.extend(together.parents[b:b+1, node:node+1],
                         together.tokens[b:b+1, node:node+1])
        nodes = torch.arange(int(together.counts[b]))
        same = torch.full((3, len(nodes)), -2)
        same[b] = nodes
        torch.testing.assert_close(alone.logits(nodes[None])[0],
                                   together.logits(same)[b], atol=1e-4, rtol=1e-4)


def test_a_long_wander_through_growth_and_shrinking():
    lm, g = tiny('llama', max_position_embeddings=512), torch.Generator().manual_seed(7)
    tree = TokenTree(lm, prompts(2, g))
    room = [tree.nbytes]
    for _ in range(3):
        for _ in range(50):
            parents = torch.stack(
                [torch.randint(-1, int(c), (8,), generator=g) for c in tree.counts])
            tree.extend(parents, torch.randint(0, 60, (2, 8), generator=g))
        room.append(tree.nbytes)
        tree.keep((tree.counts - 1)[:, None])
        room.append(tree.nbytes)
        check(tree)
    assert room[1] > 3 * room[0]
    assert room[2] < room[1] / 2
    assert room[2] == room[4] == room[6]


def test_work_is_counted():
    lm = tiny('llama')
    tree = TokenTree(lm, [[1, 2, 3], [4]])
    assert tree.stats == dict(forward_passes=1, tokens_evaluated=4)
    tree.extend(torch.tensor([[-1, -1], [-1, -1]]), torch.tensor([[5, 6], [7, -1]]))
    assert tree.stats == dict(forward_passes=2, tokens_evaluated=7)
    nodes = tree.extend(torch.tensor([[0], [0]]), torch.tensor([[5], [-1]]))
    assert nodes.tolist() == [[2], [-2]]
    assert tree.stats == dict(forward_passes=3, tokens_evaluated=8)
    tree.logits(torch.tensor([[0, 2], [0, -2]]))  # known: no pass
    assert tree.stats['forward_passes'] == 3
    kept = tree.keep(torch.tensor([[2], [-1]]), now=True)
    assert kept.tolist() == [[1], [-1]] and tree.counts.tolist() == [2, 0]
    tree.logits(kept), tree.logits(torch.tensor([[-1], [-1]]))
    assert tree.stats['forward_passes'] == 3
    tree.logits(torch.tensor([[0], [-2]]))  # an ancestor's distribution was forgotten
    assert tree.stats == dict(forward_passes=4, tokens_evaluated=9)


def test_no_parameter_gets_a_gradient():
    tree = TokenTree(tiny('llama'), [[1, 2]], hidden=True)
    node = tree.extend(torch.tensor([[-1]]), torch.tensor([[3]]))
    assert not tree.logits(node).requires_grad and not tree.hidden(node).requires_grad


@pytest.mark.parametrize('window', [1, 2, 3, 4])
def test_windows_almost_too_small_for_a_tree(window):
    lm = tiny('gpt2', n_positions=window)
    tree = TokenTree(lm, [[1]])
    node = torch.tensor([[-1]])
    for t in range(window - 1): node = tree.extend(node, torch.tensor([[t]]))
    check(tree)
    with pytest.raises(ValueError, match='window'):
        tree.extend(node, torch.tensor([[1]]))


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('attention', ['sdpa', 'eager'])
def test_half_precision(dtype, attention):
    lm, g = tiny('llama'), torch.Generator().manual_seed(9)
    lm.model.to(dtype).set_attn_implementation(attention)
    tree = TokenTree(lm, prompts(3, g), hidden=True)
    assert tree.backend == 'tree'
    wander(tree, g, steps=3)
    assert tree.logits(every(tree)).dtype == torch.float32
    assert tree.hidden(every(tree)).dtype == dtype
    check(tree, .3)


def test_bad_arguments():
    lm = tiny('llama')
    tree = TokenTree(lm, [[1, 2], [3]])
    ok = torch.full((2, 1), -1)
    for parents, tokens, name in [(ok, ok.float(), 'tokens'), (ok.int(), ok, 'parents'),
                                  (ok[0], ok, 'parents'), (ok, ok[:1], 'tokens'),
                                  (ok.expand(2, 2), ok, 'parents'),
                                  (ok + 1, ok + 1, 'parents'),
                                  (ok - 1, ok + 1, 'parents'), (ok, ok - 1, 'tokens'),
                                  (ok, ok + 61, 'tokens'), (None, ok, 'parents'),
                                  (ok, [[1], [2]], 'tokens')]:
        with pytest.raises(ValueError, match=name): tree.extend(parents, tokens)
    for nodes in (ok - 2, ok + 1, ok.float(), ok[:1], ok[0], [[1], [1]]):
        for f in (tree.logits, tree.hidden, tree.keep):
            with pytest.raises(ValueError, match='nodes'): f(nodes)
    for row, node in [(2, -1), (0, 0), (-1, -1), (0, -2)]:
        with pytest.raises(ValueError, match='row'): tree.path(row, node)
    assert tree.stats['forward_passes'] == 1 and tree.columns == 0
    with pytest.raises(ValueError, match='backend'):
        TokenTree(lm, [[1]], backend='rows ')
    with pytest.raises(ValueError, match='window'): TokenTree(lm, [[1] * 65])
    with pytest.raises(ValueError, match='hidden=True'):
        TokenTree(lm, [[1]]).hidden(torch.tensor([[-1]]))
    with pytest.raises(ValueError, match='TableModel shows no hidden states'):
        TokenTree(table(), [[1]], hidden=True)


@pytest.mark.parametrize('family', ['llama', 'bloom', 'mamba'])
def test_a_failed_pass_changes_nothing(family):
    lm, g = tiny(family), torch.Generator().manual_seed(10)
    tree = TokenTree(lm, prompts(2, g))
    wander(tree, g, steps=3)
    layers = next(m for m in lm.model.modules() if isinstance(m, torch.nn.ModuleList))
    def fail(*args): raise KeyboardInterrupt
    hook = layers[1].register_forward_pre_hook(fail)
    with pytest.raises(KeyboardInterrupt):
        tree.extend(torch.full((2, 2), -1), torch.full((2, 2), 5))
    hook.remove()
    wander(tree, g, steps=2)
    check(tree)


class Interrupted:
    """Raises `KeyboardInterrupt` at one line of the code of trees, books and backends;
    of those that come often the first two times count"""
    files = {module.__file__ for module in (backends, token_tree, tree_books)}
    def __init__(self, line): self.line, self.count, self.visits = line, 0, Counter()

    def __enter__(self):
        self.before = sys.gettrace()
        sys.settrace(self.call)

    def __exit__(self, *_): sys.settrace(self.before)

    def call(self, frame, event, arg):
        return self.step if frame.f_code.co_filename in self.files else None

    def step(self, frame, event, arg):
        here = frame.f_code, frame.f_lineno
        if event == 'line' and self.visits[here] < 2:
            self.visits[here] += 1
            self.count += 1
            if self.count == self.line: raise KeyboardInterrupt
        return self.step


def forked(lm, backend):
    "Two rows of three and two nodes, and those of them that came last"
    tree = TokenTree(lm, [[1, 2, 3], [4]], backend=backend, hidden=True)
    tree.extend(torch.full((2, 2), -1), torch.tensor([[5, 6], [7, -1]]))
    return tree, tree.extend(torch.tensor([[1, -1], [0, -1]]),
                             torch.tensor([[8, -1], [9, -1]]))


def paths(tree):
    return [[tree.path(b, node) for node in range(count)]
            for b, count in enumerate(tree.counts.tolist())]


INTERRUPTED = dict(
    # more than there is room for
    extend=lambda tree, nodes: tree.extend(nodes[:, :1].repeat(1, 70),
                                           torch.full((2, 70), 11)),
    keep=lambda tree, nodes: tree.keep(nodes, now=True),
    # which were forgotten
    logits=lambda tree, nodes: tree.logits(tree.keep(nodes, now=True)[:, :1] - 1),
)


@pytest.mark.some(1)
@pytest.mark.parametrize('family, backend, name',
                         [('llama', 'tree', name) for name in INTERRUPTED]
                         + [('llama', 'rows', 'extend'), ('mamba', 'rows', 'keep')])
def test_an_interrupt_leaves_a_tree_as_before_or_after(family, backend, name):
    """At every line: it has the nodes of a tree that was not interrupted, before or
    after the call, and their logits and states; and it grows on"""
    lm, call, truths = tiny(family), INTERRUPTED[name], {}
    base, nodes = forked(lm, backend)
    def again():
        shared = lm, base.reader.lm, base.reader.heard
        return deepcopy(base, {id(x): x for x in shared})
    def truth(text):
        if text not in truths:
            tree = TokenTree(lm, [[*text]], hidden=True)
            truths[text] = [f(torch.tensor([[-1]]))[0, 0]
                            for f in (tree.logits, tree.hidden)]
        return truths[text]
    def right(tree):
        nodes = every(tree)
        want = [truth((*tree.prompts[b], *tree.path(b, node)))
                for b, row in enumerate(nodes.tolist()) for node in row if node > -2]
        for found, true in zip((tree.logits(nodes), tree.hidden(nodes)), zip(*want)):
            torch.testing.assert_close(found[nodes > -2], torch.stack(true), atol=1e-4,
                                       rtol=1e-4)
    before, tree = paths(base), again()
    call(tree, nodes)
    after, ends = paths(tree), set()
    for line in itertools.count(1):
        tree, done = again(), False
        try:
            with Interrupted(line):
                call(tree, nodes)
                done = True
        except KeyboardInterrupt: pass
        assert paths(tree) in (before, after)
        ends.add(paths(tree) == before)
        last = tree.extend(tree.counts[:, None] - 1, torch.tensor([[20], [21]]))
        if line % 2: last = tree.keep(last, now=True)  # or the next call is another
        tree.extend(last, torch.tensor([[22], [23]]))
        right(tree)
        if done: break
    assert line > 20 and (ends == {True, False} or before == after)


def test_keep_forgets_when_it_pays():
    """Called at each step it moves columns at every eighth pass, or when a wide pass
    has left more than there were; till then nothing moves, and its numbers hold"""
    tree = TokenTree(tiny('llama', max_position_embeddings=256), [[1, 2, 3]])
    node, columns = torch.tensor([[-1]]), []
    for t in range(20):
        nodes = tree.extend(node.expand(1, 3), torch.tensor([[t, 20 + t, 40 + t]]))
        node = tree.keep(nodes[:, 1:2])
        columns.append(tree.columns)
    assert columns == [*range(3, 24, 3), 8, *range(11, 32, 3), 16, 19, 22, 25, 28]
    assert tree.path(0, node.item()) == [20 + t for t in range(20)]
    check(tree)
    nodes = tree.extend(node.expand(1, 99), torch.arange(99)[None] % 60)
    node = tree.keep(nodes[:, 7:8])
    assert tree.columns == 21
    assert tree.path(0, node.item()) == [*(20 + t for t in range(20)), 7]
    assert tree.keep(node, now=True).tolist() == node.tolist() == [[20]]
    check(tree)
    with pytest.raises(TypeError, match='now'): tree.keep(node, now=1)


def test_one_prompt_is_singular(lm):
    assert repr(TokenTree(lm, 'Once')).startswith('TokenTree(1 prompt, 0 nodes')
    assert repr(TokenTree(lm, ['Once', 'The'])).startswith('TokenTree(2 prompts, 0')
