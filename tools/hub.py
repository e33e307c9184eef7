"""Folders for the Hub, one per strategy, ready to upload: then

    model.generate(**inputs, custom_generate='OWNER/dola', trust_remote_code=True)

runs `llm_sampling.hf.dola`. Each holds a model card, `custom_generate/generate.py` and
its requirements.

    python tools/hub.py               # writes dist/hub/
    python tools/hub.py --out FOLDER"""
import argparse
from pathlib import Path

import llm_sampling
from llm_sampling import hf

ROOT = Path(__file__).resolve().parent.parent
HOME = 'https://llm-sampling.github.io/llm_sampling'

# An example of each: what a caller would write first
EXAMPLES = dict(
    sample='do_sample=True, temperature=0.8, top_p=0.9',
    contrastive_search='penalty_alpha=0.6, top_k=4',
    dola="dola_layers='high'", contrastive_decoding='assistant_model=small_model',
    beam_search='num_beams=4',
    diverse_beam_search='num_beams=4, num_beam_groups=2, diversity_penalty=0.5',
    constrained_beam_search='num_beams=4, force_words_ids=[[word_id]]',
    stochastic_beam_search='num_beams=4', best_of_n='num_return_sequences=1, n=8',
    mcts_decode='num_simulations=50')

CODE = '''"""`{name}` of llm_sampling {version}: {about}"""
import torch
from llm_sampling import hf


@torch.no_grad()
def generate(*args, model, **kwargs):
    # in a call by name everything arrives here: what must be bound elsewhere, too
    given = {{name: kwargs.pop(name) for name in hf.BOUND
             if kwargs.get(name) is not None}}
    strategy = hf.{name}.bind(**given)
    return type(model).generate(model, *args, custom_generate=strategy, **kwargs)
'''

CARD = '''---
library_name: transformers
license: apache-2.0
tags:
- custom_generate
---
# {name}

{about}

```python
out = model.generate(**inputs, custom_generate='OWNER/{name}', trust_remote_code=True,
                     {example}, max_new_tokens=60)
```

The code is [llm_sampling]({home}), which must be installed:
`pip install llm_sampling`. With it the call needs neither the Hub nor trust:
`custom_generate=llm_sampling.hf.{name}`.
[What it takes and how it works]({home}/hf.html)
'''


def strategies():
    "The strategies of `llm_sampling.hf` by name"
    return {name: f for name in hf.__all__
            if isinstance(f := getattr(hf, name), hf.DropIn)}


def write(
    folder,  # A `Path`: each strategy gets a folder in it
):
    "Write all folders; returns their paths"
    made = []
    for name, strategy in strategies().items():
        said = dict(name=name, about=strategy.__doc__.split('\n')[0], home=HOME,
                    version=llm_sampling.__version__, example=EXAMPLES[name])
        code = folder/name/'custom_generate'
        code.mkdir(parents=True, exist_ok=True)
        (code/'generate.py').write_text(CODE.format(**said), encoding='utf-8')
        needs = f'llm_sampling>={llm_sampling.__version__}\n'
        (code/'requirements.txt').write_text(needs, encoding='utf-8')
        (folder/name/'README.md').write_text(CARD.format(**said), encoding='utf-8')
        made.append(folder/name)
    return made


def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--out', type=Path, default=ROOT/'dist'/'hub')
    for path in write(ap.parse_args().out): print(path)


if __name__ == '__main__': main()
