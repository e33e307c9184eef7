"""Modules:

- `llm_sampling.adaptive`: Dynamic temperature and XTC: a temperature that follows the entropy, and a roll that leaves out the top choices
- `llm_sampling.answers`: What a view asks, answered by the functions of this package, with any model, a step at a time
- `llm_sampling.architectures`: What a model takes, where its texts end, and whether it is a causal language model at all
- `llm_sampling.backends`: Many branches of a text in one forward pass, each token seeing its own ancestors only
- `llm_sampling.batches`: A sampler for the rows of each prompt, and one sampler of many requests
- `llm_sampling.beam`: Keep the best few beginnings of a text, not only the best one
- `llm_sampling.beam_stream`: The beginning of an answer, shown while the search for it goes on
- `llm_sampling.budgets`: A text that repeats itself is ended, and a block of thinking is closed in time, softly where the model nearly closes it itself
- `llm_sampling.caches`: Keys and values in buffers: a new token is written behind the old, and nothing is copied
- `llm_sampling.call`: What a sampler is called with is checked once, and becomes what its steps look at and what the draw needs
- `llm_sampling.cells`: One setting, one prompt, one seed, computed alone or with others, and a hash of all that decides over a model's texts
- `llm_sampling.cli`: Generate, explain, compare and sweep from a terminal
- `llm_sampling.cli_console`: UTF-8 in, printable text out, and files looked at before the work
- `llm_sampling.cli_demo`: Every strategy from one prompt: texts, speed, repetition, and a page that compares them
- `llm_sampling.cli_generate`: From a line to a strategy and its knobs, and from there to printed texts
- `llm_sampling.cli_measure`: The commands that measure: what is wrong is found before the work, and what was finished is kept
- `llm_sampling.cli_options`: The options of a command, read from the functions that it calls
- `llm_sampling.cluster`: The same sweep on a cluster of Ray: what it costs, what breaks first, and what happens to a cell that kills its workers
- `llm_sampling.comparison`: Every strategy on your model and your prompts: quality, variety and cost with intervals, and which differences are more than noise
- `llm_sampling.constrained`: Beams whose texts contain given words, wherever they fit
- `llm_sampling.contrastive`: Of the likely next tokens, the one whose state is unlike all before it
- `llm_sampling.default_model`: Five million parameters, taught on fairy tales: how the model of every example was trained, and how good it is
- `llm_sampling.diverse`: Beams in groups, each of which pays for repeating the words of those before it
- `llm_sampling.engines`: Any step of this package in a request to an engine: one class for each of vLLM's runners, one for SGLang
- `llm_sampling.equal_terms`: Strategies that read their prompts together, write with the same noise, and are as wide as one budget allows
- `llm_sampling.exits`: What a model says at its end and not yet at an early layer
- `llm_sampling.explain`: What each step of a sampler removed, how much probability it had, and why
- `llm_sampling.explorer`: Strategies side by side, your settings in four orders, and a page without Python that writes Python's tokens
- `llm_sampling.findings`: What was measured of each strategy: which differences are more than noise, and a table, a figure and a page of it
- `llm_sampling.folders`: Safetensors only, no remote code, every tensor from the file
- `llm_sampling.gallery`: Seven cuts more, measured on one page: top-a, top-nσ, p-less, tail-free, epsilon, eta, top-H
- `llm_sampling.generation`: From one token to a text: many rows, many endings, and a stream that never takes a word back
- `llm_sampling.harness`: Any strategy of this package in the tables that papers print: log-likelihoods that read a question once, texts that depend on nothing but the request, maj@k and pass@k
- `llm_sampling.hf`: One argument of `model.generate` brings back what transformers 5 removed, and what it never had
- `llm_sampling.intervals`: How sure a number is that came of a few prompts: other prompts are imagined, and one sees how it moves
- `llm_sampling.judge`: What a model says of a text that it need not have written: each token's probability, a vector, and how far it can be believed
- `llm_sampling.knobs`: What a value may be, and the error that says so: one vocabulary for filters, samplers and strategies
- `llm_sampling.likely`: All beginnings of a text, the most probable first: where the mass lies, and which part of it a search sees
- `llm_sampling.live`: The playground, the lens, the arena, the map and the configurations of the site, in a notebook, with your own model
- `llm_sampling.logit_contrast`: What one model says and another does not
- `llm_sampling.mauve`: How much the texts of a model and of people overlap, as one number
- `llm_sampling.mcts`: Try a beginning to its end before choosing it, and try most where it pays
- `llm_sampling.metrics`: What can be measured of a text: surprise, repetition, variety, entropy; and what each of them misses
- `llm_sampling.min_p`: Keep what is at least a share m as likely as the best token
- `llm_sampling.mirostat`: Cuts with a memory: measure how surprising the last token was, correct the next step, and the average comes to a target
- `llm_sampling.models`: Text or token ids in, one row of float32 logits per prompt out
- `llm_sampling.multinomial`: Greedy, the inverse CDF, and Gumbel-max: three ways from probabilities to one token
- `llm_sampling.noise`: Noise that the same seed gives anywhere, and the draw we ship
- `llm_sampling.own_steps`: Any function of ids and logits is a step of a sampler; one that keeps its place in the texts must follow its rows
- `llm_sampling.path_record`: What each token of a branch was worth, kept after its logits are gone
- `llm_sampling.penalties`: Repetition, frequency and presence: lower the logits of what was said, for every row of a batch at once
- `llm_sampling.plots`: One visible line per figure: bars of probabilities, curves over a knob, text coloured by surprise
- `llm_sampling.prompts`: Text, chats or ids in, one left-padded batch of ids out
- `llm_sampling.record`: Each chosen token measured once, and one object for what a strategy gives back
- `llm_sampling.repeats`: No n-gram twice, DRY, logit bias and banned sequences: aim at what would repeat a sequence, or must not be said
- `llm_sampling.replay`: The probability of a token under the distribution that it was drawn from, for those who train on what they drew
- `llm_sampling.request`: Everything that a strategy is told, checked before the model runs once
- `llm_sampling.rerank`: Draw several texts, and keep the best by a score
- `llm_sampling.results`: Whole lines, one writer, each on the disk before the next: a file that holds what was finished, whatever ended the program
- `llm_sampling.rollouts`: Texts that go on from many places at once, and no prefix is read twice
- `llm_sampling.rows`: Prompts of different lengths that grow together, share what is equal, and forget what the window cannot hold
- `llm_sampling.sampler`: Every filter, penalty and adaptive step in the order of your system, one draw, and a report of what each step did
- `llm_sampling.selection`: Walk down the tree, to what was good so far or was hardly tried
- `llm_sampling.serving`: Steps of their own for every request that a server answers, run a kind of requests at a time
- `llm_sampling.settings`: A configuration of transformers, vLLM, llama.cpp or an OpenAI request becomes a sampler, or an error that names what cannot be had
- `llm_sampling.shortlist`: The few largest logits are enough for a draw, and the result is exact
- `llm_sampling.softmax`: From scores to probabilities, and one knob that sharpens or flattens them
- `llm_sampling.specs`: A strategy and its settings as plain JSON, checked before any work
- `llm_sampling.speed`: How fast is it, and how do we know? Turns, intervals, a floor, and a guard that names what became slower
- `llm_sampling.steps`: Every step of a sampler in one table: the function, what its knob may be, and the order of four systems
- `llm_sampling.stochastic`: A sample of different texts, drawn without replacement by a beam search that loses nothing
- `llm_sampling.sums`: A small model that adds and errs, and what each strategy makes of the same number of tokens
- `llm_sampling.sweeps`: Thousands of settings on your prompts, results that survive `kill -9`, one machine or a hundred
- `llm_sampling.table_model`: A dictionary of contexts and probabilities, for examples that can be checked on paper
- `llm_sampling.testing`: Equality that survives `-inf`, and the checks that every filter and draw must pass
- `llm_sampling.text_stream`: Whole characters only, no stop string, and nothing taken back
- `llm_sampling.token_texts`: A bias, a ban or a breaker may name a token by what it says: one token, a sequence, or all that contain it
- `llm_sampling.token_tree`: One cache for every branch: each token is computed once, and sees only its own ancestors
- `llm_sampling.top_k`: Keep the k largest logits of each row, drop the rest, renormalise, draw
- `llm_sampling.top_p`: Keep the smallest set of most likely tokens that holds probability p; its size follows the context
- `llm_sampling.tree_books`: Nodes, columns and who sees whom: all that a tree knows, in one object that never changes
- `llm_sampling.typical`: Keep the tokens whose surprisal is nearest what the model expects, and perhaps not the most likely one
- `llm_sampling.vote`: Draw several texts, then ask them: the answer of most, the text most like the others
- `llm_sampling.widgets`: Sliders over a probability distribution and frames of an algorithm, alive in Jupyter and on a page without Python"""

__version__ = "0.2.0"

import sys
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

# Public names by module, imported on first use (PEP 562): `import llm_sampling` itself loads nothing, not even torch.
_names = {
    'softmax': 'apply_temperature entropy',
    'multinomial': 'greedy sample_cdf',
    'noise': 'row_seeds sample',
    'top_k': 'top_k_filter',
    'top_p': 'top_p_filter',
    'min_p': 'min_p_filter',
    'typical': 'typical_filter',
    'gallery': 'epsilon_filter eta_filter p_less_filter tail_free_filter top_a_filter top_h_filter top_n_sigma_filter',
    'penalties': 'frequency_penalty presence_penalty repetition_penalty',
    'repeats': 'ban_tokens dry_penalty logit_bias no_repeat_ngram',
    'adaptive': 'dynamic_temperature xtc_filter',
    'mirostat': 'AdaptiveP Mirostat1 Mirostat2',
    'sampler': 'Sampler',
    'table_model': 'TableModel',
    'models': 'LanguageModel load',
    'record': 'Generation',
    'token_tree': 'TokenTree',
    'budgets': 'LoopStop ThinkingBudget',
    'generation': 'generate stream',
    'beam': 'beam_search',
    'beam_stream': 'stream_beam_search',
    'diverse': 'diverse_beam_search',
    'constrained': 'constrained_beam_search',
    'stochastic': 'stochastic_beam_search',
    'contrastive': 'contrastive_search',
    'logit_contrast': 'contrastive_decoding guided',
    'exits': 'dola',
    'mcts': 'mcts_decode',
    'rerank': 'best_of_n',
    'vote': 'majority_vote minimum_bayes_risk',
    'likely': 'likeliest',
    'replay': 'Support replay_logprobs',
    'results': 'read_sweep',
    'sweeps': 'sweep',
    'comparison': 'compare',
}
_modules = [m.name for m in iter_modules(__path__) if not m.name.startswith('_')]
_home = {name: module for module, names in _names.items() for name in names.split()}
__all__ = [*_home]


def __getattr__(name):
    if name in _modules:
        try: return import_module(f'{__name__}.{name}')
        except ImportError as e: raise AttributeError(str(e)) from e    # an extra is missing: `hasattr` is False
    if name not in _home: raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = globals()[name] = getattr(import_module(f'{__name__}.{_home[name]}'), name)
    return value


def __dir__(): return sorted({*globals(), *_home, *_modules})


@cache
def _docs():
    "Docstrings by module and name that say what each parameter means, made by tools/stubs.py"
    import json
    with open(f'{__path__[0]}/data/docs.json', encoding='utf-8') as f: return json.load(f)


def _complete(name, module):
    "Give the functions and classes of a submodule these docstrings"
    from operator import attrgetter
    for path, text in _docs().get(name, {}).items():
        try: thing = attrgetter(path)(module)
        except AttributeError: continue                     # renamed since the file was written
        getattr(thing, '__func__', thing).__doc__ = text    # of a class method, its function


class _Package(ModuleType):
    "Python sets a submodule as an attribute when it has been loaded: the moment to complete its docstrings"
    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if isinstance(value, ModuleType) and value.__name__ == f'{__name__}.{name}': _complete(name, value)


sys.modules[__name__].__class__ = _Package
