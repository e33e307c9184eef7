"Reports of a sampler against a plain walk over its filters"
import pytest
import torch
from scripts import printed

from llm_sampling import Sampler, top_k_filter, top_p_filter


def test_masses_are_sums_of_what_was_removed():
    z = torch.randn(2, 40, generator=torch.Generator().manual_seed(4)) * 2
    told = Sampler(top_k=10, top_p=.7).explain(z)
    ten = top_k_filter(z, 10)
    both = top_p_filter(ten, .7)
    for row in range(2):
        _, first, second = told.report(row)
        for report, a, b in ((first, z, ten), (second, ten, both)):
            gone = (b[row] == -torch.inf) & (a[row] > -torch.inf)
            assert sorted(report.removed) == gone.nonzero().flatten().tolist()
            mass = a[row].double().softmax(-1)[gone].sum().item()
            assert abs(report.mass - mass) < 1e-9
            assert report.kept == b[row].isfinite().sum()


def test_a_step_of_ones_own_is_reported():
    told = Sampler(processors={'mine': lambda ids, z: z.index_fill(
        -1, torch.tensor([0]), -torch.inf)}).explain(torch.tensor([3., 1, 0]))
    assert told.report()[1].removed == [0] and told.report()[1].step == 'mine'
    assert 'own' in told.report()[1].why


def test_explain_needs_no_import_of_its_chapter():
    code = ('import torch; from llm_sampling import Sampler; '
            'told = Sampler(top_k=1).explain(torch.tensor([1., 2])); '
            'print(told.report()[1].removed)')
    assert printed(code) == '[0]'


def test_texts_of_tokens_are_escaped():
    told = Sampler(top_k=1).explain(torch.tensor([2., 1]),
                                    tokenizer=['<script>', 'a\x1b[31m\n'])
    html = told._repr_html_()
    assert '<script>' not in html and '&lt;script&gt;' in html
    assert '\x1b' not in str(told) and '\\x1b' in str(told)


def test_each_row_has_its_report():
    told = Sampler(top_k=[1, None]).explain(torch.tensor([[2., 1], [1, 2]]))
    assert [r.step for i in (0, 1) for r in told.report(i)] == [
        'model', 'top_k 1', 'model', 'top_k off']
    assert len(told) == 2
    for text in ('row 1', 'top_k 1', 'top_k off'): assert text in str(told)


@pytest.mark.parametrize('many', (False, True))
def test_a_terminal_of_88_columns_shows_all_that_the_tables_say(many, lm):
    ids, mask = lm.encode('The wolf said: Come in! The wolf said: Come in! The wolf')
    knobs = dict(repetition_penalty=1.3, no_repeat_ngram_size=3, typical_p=.95,
                 xtc_probability=1., dynamic_temperature=(.5, 1.5, 1.)) if many else {}
    told = Sampler(temperature=.8, min_p=.02, top_k=50, **knobs, seed=0).explain(
        lm.next_logits(ids, mask), ids, mask, position=0, tokenizer=lm.tokenizer)
    text, (steps, tokens) = str(told), told.tables()
    lines = text.split('\n')
    assert max(map(len, lines)) <= 88
    for row in steps[1:]:
        at, = [i for i, line in enumerate(lines)
               if line.split('  ')[0] == row[0] and line.split()[-4:] == row[1:5]]
        why = lines[at + 1] if row[-1] else ''
        assert why.strip() == '  '.join(x for x in (row[-1], row[-2]) if x)
    blocks = [[line.split() for line in block.split('\n')]
              for block in text.split('\n\n')[1:]]
    assert (len(blocks) > 1) == many
    for i, row in enumerate(tokens[1:], 1):      # the token stands in each block
        name, cells = row[0].split(), row[1:]
        assert all(block[i][:len(name)] == name for block in blocks)
        assert sum((block[i][len(name):] for block in blocks), []) == cells
