"""Mistakes on purpose: a type checker finds each line that ends in `# wrong`, and no
other"""
import torch

import llm_sampling as ls
from llm_sampling import gredy  # wrong

lm = ls.load()
sampler = ls.Sampler(temperature=.8)
logits = lm.next_logits('Once')
ls.generatee(lm, 'Once')  # wrong
ls.Sampler(temprature=1.)  # wrong
ls.Sampler(.8)  # wrong
ls.Sampler(temperature='hot')  # wrong
ls.Sampler(order='vlm')  # wrong
ls.beam_search(lm, 'Once', num_beams='4')  # wrong
ls.beam_search(lm, 'Once', 'four')  # wrong
ls.beam_search(lm, 'Once', early_stopping='sometimes')  # wrong
ls.generate(lm, 'Once', 0.8)  # wrong
ls.generate('gpt2', 'Once')  # wrong
ls.generate(lm, 42)  # wrong
ls.generate(lm, 'Once', sampler, max_tokens=5)  # wrong
ls.generate(lm, 'Once', seed='one')  # wrong
out = ls.generate(lm, 'Once', sampler)
print(out.text)  # wrong
print(out.texts.upper())  # wrong
print(out[0].texts, out['a'].text)  # wrong
ls.generate(lm, 'Once', sampler, 40)  # wrong
sampler.filters(logits)  # wrong
sampler.filter('Once')  # wrong
sampler.topp  # wrong
sampler.replace(top_q=.9)  # wrong
lm.encode()  # wrong
ls.top_p_filter(logits)  # wrong
ls.TokenTree(lm, 'Once').extend(torch.tensor([[-1]]))  # wrong
ls.plots.plot_probz(logits)  # wrong
for piece in ls.stream(lm, 'Once'): print(piece.token)  # wrong
