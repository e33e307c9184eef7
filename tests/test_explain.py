"Reports of a sampler against a plain walk over its filters"
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
