"The bundled model: its stories and prompts, and the run that trains one like it"
import json
from importlib.resources import files

import pytest
import torch

from llm_sampling import default_model
from llm_sampling.default_model import (encode_stories, held_out, held_out_prompts,
                                        main, new_model, split_stories, train,
                                        train_tokenizer)
from llm_sampling.models import load


def test_as_many_prompts_as_asked_for():
    for n in (0, 1, 50, 95): assert len({*held_out_prompts(n)}) == n
    assert all(len(p.split()) == 7 for p in held_out_prompts(60, words=7))


@pytest.mark.parametrize('n', [96, 100, -1])
def test_more_prompts_than_there_are(n):
    with pytest.raises(ValueError, match=rf'n must be from 0 to 95.*not {n}'):
        held_out_prompts(n)


def test_a_book_without_a_held_out_title_gives_its_shortest_story():
    "Of those whose title is in no other book: chapter 2 is shorter, but of two books"
    novel = [dict(book='novel', title=f'chapter {i}', text='…' * (9 - i))
             for i in range(3)]
    other = [dict(book='other', title='chapter 2', text=''),
             dict(book='other', title='a tale', text='…')]
    rest, held = split_stories(novel + other)
    assert [s['title'] for s in held] == ['chapter 1', 'a tale']
    assert len(rest) == 3


def test_the_log_is_of_the_whole_run_and_falls():
    log = json.loads((files('llm_sampling')/'data'/'training.json').read_text())
    assert log['at'][-1] == log['steps'] and len(log['at']) == len(log['loss'])
    assert log['loss'][-1] < log['loss'][len(log['loss']) // 2] < log['loss'][0]


@pytest.fixture(scope='module')
def stream():
    "Ids of six stories, by a tokenizer of 400 tokens"
    texts = [s['text'] for s in held_out()[:6]]
    tokenizer = train_tokenizer(texts[:4], vocab_size=400)
    return torch.cat([e[:-1] for e in encode_stories(tokenizer, texts)])


def small(): return new_model(400, width=48, layers=2, heads=4, window=64)


def test_a_run_that_was_interrupted_ends_with_the_same_weights(stream, tmp_path,
                                                              monkeypatch):
    kw = dict(steps=4, batch=2, window=64)
    if not hasattr(torch.optim, 'Muon'):                 # an old torch: it is told
        with pytest.raises(ImportError, match='torch >= 2.9'):
            train(small(), stream, **kw)
        return
    whole, broken, resumed = small(), small(), small()
    torch.manual_seed(0)
    losses = train(whole, stream, **kw)
    file, rate = tmp_path/'run.safetensors', default_model.rate
    with monkeypatch.context() as m:
        m.setattr(default_model, 'rate',
                  lambda step, steps: rate(step, steps) if step < 2 else 1/0)
        torch.manual_seed(0)
        with pytest.raises(ZeroDivisionError):
            train(broken, stream, **kw, checkpoint=file, every=0)
    again = train(resumed, stream, **kw, checkpoint=file)
    assert again == pytest.approx(losses, rel=1e-6)
    for a, b in zip(whole.parameters(), resumed.parameters()): assert torch.equal(a, b)


@pytest.mark.long
def test_the_whole_run_on_twelve_stories(tmp_path, capsys):
    "All parts fit together, and a checkpoint of another run is refused"
    stories = [{**s, 'book': 'one', 'title': f'tale {i}', 'text': s['text'][:1500]}
               for i, s in enumerate(held_out()[:12])]
    for name, some in (('all', stories), ('other', stories[:-1])):
        (tmp_path/name).write_text('\n'.join(map(json.dumps, some)))
    out = tmp_path/'out'
    args = ['--out', str(out), '--steps', '2', '--batch', '1']
    assert main([str(tmp_path/'all'), *args]) == 0
    assert 'bits per character' in (out/'MODEL_CARD.md').read_text()
    assert load(out).window == 512
    assert main([str(tmp_path/'other'), *args]) == 1
    assert 'checkpoint of another run' in capsys.readouterr().err
