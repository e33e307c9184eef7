"""What lm_eval itself reports of our strategies on small tasks from local files, and
how its own class for transformers, `hf`, compares on the same requests

    make test-harness          # compare with what is stored
    make test-harness WRITE=1  # store it: llm_sampling/data/benchmark_harness.json"""
import json
import os
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path

os.environ.update(HF_DATASETS_OFFLINE='1', HF_HUB_OFFLINE='1',
                  TOKENIZERS_PARALLELISM='false')
DATA = Path(__file__).resolve().parent.parent/'llm_sampling/data'
STORED = DATA/'benchmark_harness.json'
PROBLEMS, REPEATS = 100, 16
JSON = '''dataset_path: json
dataset_kwargs: {data_files: {test: "FOLDER/stories.jsonl"}}
test_split: test
'''
STORIES = {
    # four goings-on of a story, the first of which is its own
    'stories': JSON + '''task: stories
output_type: multiple_choice
doc_to_text: "{{begin}}"
doc_to_choice: "{{choices}}"
doc_to_target: 0
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
''',
    'stories_rolling': JSON.replace('stories.', 'long.') + '''task: stories_rolling
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list:
- {metric: word_perplexity, aggregation: weighted_perplexity, higher_is_better: false}
''',
    'stories_until': JSON + '''task: stories_until
output_type: generate_until
doc_to_text: "{{begin}}"
doc_to_target: "{{own}}"
generation_kwargs: {until: [".", "!"], do_sample: false, max_gen_toks: 40}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
'''}


def write_stories(folder):
    "The tasks of held-out stories: as in the chapter"
    from llm_sampling.default_model import held_out
    texts = [s['text'] for s in held_out()]
    begin, rest = ([' '.join(t.split()[a:b]) for t in texts] for a, b in
                   ((0, 60), (60, 72)))
    n = len(texts)
    rows = [dict(text=t, begin=begin[i], own=rest[i],
                 choices=[rest[(i + j) % n] for j in range(4)])
            for i, t in enumerate(texts)]
    for name, some in {'stories': rows, 'long': rows[:6]}.items():
        text = ''.join(json.dumps(r) + '\n' for r in some)
        (folder/f'{name}.jsonl').write_text(text)
    for name, text in STORIES.items():
        (folder/f'{name}.yaml').write_text(text.replace('FOLDER', folder.as_posix()))


def evaluate(folder, model, tasks, **args):
    "Their results"
    import lm_eval
    from lm_eval.tasks import TaskManager
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    return lm_eval.simple_evaluate(model=model, model_args=args, tasks=tasks,
                                   task_manager=manager, batch_size=32, device='cpu')


def rows_of(found, strategy):
    "One row for each number that is reported"
    for task, numbers in found['results'].items():
        for key, value in numbers.items():
            name, _, told = key.partition(',')
            if not told or name.endswith('_stderr'): continue
            plain = task in ('sums', 'stories') or name.startswith('pass')
            yield dict(strategy=strategy, task=task, metric=name if plain else key,
                       value=value, stderr=numbers[f'{name}_stderr,{told}'])


def answers_of(found):
    "What the filter found in each text of each problem"
    samples = sorted(found['samples']['sums_pass'], key=lambda s: s['doc_id'])
    return [s['filtered_resps'][0] for s in samples]


def replies(found, task):
    "What a model answered to each request, in order"
    return [r[0] for s in sorted(found['samples'][task], key=lambda s: s['doc_id'])
            for r in s['resps']]


def beside_hf(folder):
    "How the answers of our class and of theirs differ: number, of how many"
    stories, sums = ['stories', 'stories_rolling', 'stories_until'], ['sums']
    ours = [evaluate(folder, 'llm_sampling', stories),
            evaluate(folder, 'llm_sampling', sums, pretrained='sums')]
    theirs = [evaluate(folder, 'hf', stories, pretrained=str(DATA), dtype='float32'),
              evaluate(folder, 'hf', sums, pretrained=str(DATA/'sums'))]
    pairs = {task: [*zip(*(replies(found[task == 'sums'], task)
                           for found in (ours, theirs)))] for task in stories + sums}
    (a, b), n = zip(*pairs['stories']), len(pairs['stories'])
    texts = pairs['stories_until'] + pairs['sums']
    return {
        'log-likelihoods: the largest difference': (
            max(abs(x[0] - y[0]) for x, y in zip(a, b)), max(abs(x[0]) for x in b)),
        'log-likelihoods: the same "is it greedy?"': (
            sum(x[1] == y[1] for x, y in zip(a, b)), n),
        'whole stories: the largest difference': (
            max(abs(x - y) for x, y in pairs['stories_rolling']),
            max(abs(y) for _, y in pairs['stories_rolling'])),
        'greedy texts that are equal': (sum(x == y for x, y in texts), len(texts))}


def measure():
    "All that is stored"
    from llm_sampling.harness import register, write_sums_tasks
    register()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder).resolve()
        write_sums_tasks(folder, PROBLEMS, REPEATS), write_stories(folder)
        sums = ['sums']
        ask = lambda tasks, **args: evaluate(folder, 'llm_sampling', tasks, **args)
        found = ask(['sums_maj', 'sums_pass'], pretrained='sums')
        runs = {
            'greedy': ask(sums, pretrained='sums'),
            'beam_search num_beams=4': ask(sums, pretrained='sums', num_beams=4,
                                           strategy='beam_search'),
            'majority_vote n=16': ask(sums, pretrained='sums', n=16,
                                      strategy='majority_vote', answer='last_number'),
            'temperature=1': found}
        rows = [r for name, done in runs.items() for r in rows_of(done, name)]
        rows += rows_of(ask(['stories']), 'greedy')
        names = 'lm_eval', 'transformers', 'torch'
        return dict(versions={n: version(n) for n in names} | {
            'python': platform.python_version()}, problems=PROBLEMS, repeats=REPEATS,
            rows=rows, hf=beside_hf(folder), answers=answers_of(found))


if __name__ == '__main__':
    STORED.write_text(json.dumps(measure(), indent=1) + '\n')
    print(f'written: {STORED}')
