"""Give the notebooks in another language the code and the outputs of the English ones

    python tools/follow.py            # index -> index_zh, tour -> tour_zh
    python tools/follow.py --check    # 1 if one is behind

Prose, captions and the titles of folded cells are their own: a cell of English prose
that has changed is to be translated by hand. The names of rows and columns in a table
that a cell made are in `WORDS`."""
import copy, re, sys
from pathlib import Path

import nbformat

NBS = Path(__file__).resolve().parent.parent/'nbs'
OWN = r'^#\| (?:fig-cap|fig-alt|code-summary):.*$'    # directives that are prose
WORDS = dict(line.split(' = ') for line in """\
here = 这里
there = 那边
temperature = 温度
top-p = top-p（核采样）
typical = 典型采样
ε and η cutoffs = ε 与 η 截断
tail-free = 无尾采样
dynamic temperature = 动态温度
adaptive-p = 自适应 p
repetition penalty = 重复惩罚
frequency and presence penalty = 频率惩罚与存在惩罚
no repeated n-gram = 不重复 n 元组
logit bias = logit 偏置
a seed for each request = 每个请求一个随机种子
a budget for thinking = 思考预算
a stop at loops = 遇到循环就停
beam search = 束搜索
diverse beams = 多样化束搜索
constrained beams = 约束束搜索
stochastic beams = 随机束搜索
contrastive search = 对比搜索
contrastive decoding = 对比解码
guidance = 引导（guidance）
MCTS = 蒙特卡洛树搜索
minimum Bayes risk = 最小贝叶斯风险
n samples of one prompt = 一个提示的 n 个样本
what was drawn from, for training = 实际抽取所用的分布，供训练
speculative decoding = 投机解码
grammars, JSON schemas = 语法、JSON schema
watermarks = 水印
a loop of your own = 自己写的循环""".splitlines())

def pairs(nbs=NBS):
    "(English, translated) for each translated notebook"
    return [(path.with_stem(path.stem.removesuffix('_zh')), path)
            for path in sorted(nbs.glob('*_zh.ipynb'))]

def worded(output):
    "An output with the names in its table translated: whole cells, linked or not"
    table = output.get('data', {}).get('text/markdown', '')
    if table.startswith('| '):
        name = r'(?<=\| )(\[?)([^|\[\]]+)(?=\]\(| \|)'
        table = re.sub(name, lambda m: m[1] + WORDS.get(m[2], m[2]), table)
        output['data']['text/markdown'] = table
    return output

def followed(english, other):
    "The other notebook with the code and the outputs of the English one"
    kinds = [[c.cell_type for c in nb.cells] for nb in (english, other)]
    if kinds[0] != kinds[1]:
        raise ValueError(f'{len(kinds[0])} cells in English, {len(kinds[1])} in the '
                         'other language, or their kinds differ: cell by cell, please')
    new = copy.deepcopy(other)
    for ours, theirs in zip(new.cells, english.cells):
        if ours.cell_type != 'code': continue
        own = iter(re.findall(OWN, ours.source, flags=re.M))
        ours.source = re.sub(OWN, lambda m: next(own, m[0]), theirs.source, flags=re.M)
        ours.outputs = [*map(worded, copy.deepcopy(theirs.outputs))]
    return new

def main():
    behind = []
    for english, path in pairs():
        old = nbformat.read(path, 4)
        new = followed(nbformat.read(english, 4), old)
        if new == old: continue
        behind.append(path.name)
        if '--check' not in sys.argv: nbformat.write(new, path)
    print(*(f'{name} was behind' for name in behind), sep='\n')
    return bool(behind) and '--check' in sys.argv

if __name__ == '__main__': sys.exit(main())
