"What a user might write, in the manner of the README: no type checker may object"
import torch

import llm_sampling as ls
from llm_sampling.explain import Explanation

lm = ls.load()
small = ls.load('gpt2', device='cuda', dtype=torch.bfloat16)
sampler = ls.Sampler(temperature=.8, top_k=50, top_p=.9, logit_bias={3: -1}, seed=1)
out = ls.generate(lm, 'Once upon a time', sampler, max_new_tokens=40, stop='\n\n')
for text, score in zip(out.texts, out.scores): print(text.strip(), round(score, 2))
print(out.finish_reasons[0], out.ids[0].shape, out.stats['seconds'], len(out))
print(out.trace[0][0].logprob, [len(ids) for ids in out.ids])
for row in out: print(row.text, row.finish_reason)
print(out[0].score, len(out[:1]), [row.ids.shape for row in out[1:]],
      out.to_dict()['texts'])

for piece in ls.stream(lm, ['The king', 'The queen'], sampler, n=2):
    print(piece.row, piece.text)

def longest(texts: list[str], ids: list[torch.Tensor]) -> list[float]:
    return [len(t) / len(i) for t, i in zip(texts, ids)]

def show(piece: ls.record.Piece) -> None: print(piece.text, end='')

best: ls.Generation = ls.best_of_n(lm, 'A wolf', 4, longest, max_new_tokens=20)
found = ls.mcts_decode(lm, 'A wolf', value=lambda texts,
                       ids: [float(len(t)) for t in texts])
beams = ls.beam_search(lm, 'A wolf', num_beams=4, early_stopping='never',
                       eos_token_id=())
forced = ls.constrained_beam_search(lm, 'A wolf', force_words_ids=[[5, 7], 'house'])
against = ls.contrastive_search(lm, torch.tensor([[1, 2, 3]]), top_k=4, streamer=show)
chat = ls.generate(lm, [{'role': 'user', 'content': 'Hello'}], seed=[1])
deep = ls.dola(small, 'A wolf', dola_layers='low', sampler=sampler)
votes = ls.majority_vote(lm, '2 + 2 =', 8, lambda text, ids: text.split()[0])

logits = lm.next_logits('Once upon a time there was a')
kept = ls.min_p_filter(ls.top_p_filter(logits, [.9]), .05).isfinite().sum()
report: Explanation = sampler.explain(logits, tokenizer=lm.tokenizer)
print(report, [step.mass for step in report.report()], kept.item())
per_row = ls.Sampler(temperature=[.5, None], adaptive=ls.Mirostat2(tau=3.),
                     order='vllm')
state = per_row.init(batch=2)
token = per_row(logits, ids=torch.tensor([[1, 2]]), state=state, position=2)

tree = ls.TokenTree(lm, 'Once upon a time')
nodes = tree.extend(torch.tensor([[-1, -1]]), torch.tensor([[5, 9]]))
print(tree.logits(nodes).shape, tree.path(0, 0), tree.nbytes + 1, lm.vocab_size + 1)
hot = sampler.replace(temperature=1.2)
print(hot == sampler, hot.top_p, ls.plots.plot_probs(logits.softmax(-1)[0, :9]),
      hasattr(ls, 'widgets'))
