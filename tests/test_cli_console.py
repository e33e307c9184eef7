"What a command reads and shows: UTF-8, control characters, encodings, progress"
import io, json

import pytest

from llm_sampling.cli import main


@pytest.mark.parametrize('content,says', [
    (b'\n \n', 'no prompt'), (b'ab\n\xff', 'byte 0xff at offset 3'),
    (b'x\n{"prompt": ', 'line 2'), (b'{"prompt": 3}', 'line 1'),
    (b'{"messages": "x"}', 'line 1'), (b'{"a":' * 100000, 'line 1')])
def test_a_bad_file_of_prompts_is_1_and_one_line(content, says, tmp_path, here):
    (tmp_path/'prompts').write_bytes(content)
    p = here('generate', '--prompts', str(tmp_path/'prompts'))
    assert p.returncode == 1
    assert p.stdout == ''
    assert len(p.stderr.splitlines()) == 1
    assert says in p.stderr


class Bytes(io.StringIO):
    def __init__(self, data): super().__init__(); self.buffer = io.BytesIO(data)

def test_prompt_from_stdin_and_stop(here, monkeypatch):
    monkeypatch.setattr('sys.stdin', Bytes(b'Once upon a\n'))
    p = here('generate', '-', '--max-new-tokens', '30', '--stop', ' ')
    assert p.returncode == 0 and p.stdout == 'Once upon a\n'


def test_what_is_not_utf8_is_told_with_its_place(here, monkeypatch):
    monkeypatch.setattr('sys.stdin', Bytes(b'caf\xc3\xa9 \xff'))
    p = here('generate', '-')
    assert p.returncode == 1
    assert p.stdout == ''
    assert p.stderr == 'llm-sampling: stdin is not UTF-8: byte 0xff at offset 6\n'
    # how Python hands on a byte of the line that it cannot decode
    p = here('generate', 'ab\udcff')
    assert p.returncode == 1
    assert p.stdout == ''
    assert p.stderr.endswith('byte 0xff at offset 2\n')


HOSTILE = 'a\x1b]0;title\x07b\u202ec\u2066d\x9be\rf'
SHOWN = 'a\\x1b]0;title\\x07b\\u202ec\\u2066d\\x9be\\rf'

def test_control_characters_are_shown(here):
    assert here('generate', HOSTILE, '--max-new-tokens', '0').stdout == SHOWN + '\n'
    assert here('generate', HOSTILE, '--max-new-tokens', '0',
                '--stream').stdout == SHOWN + '\n'


def test_control_characters_in_errors_are_shown(tmp_path, here):
    (tmp_path/'config.json').write_text(json.dumps(dict(model_type=HOSTILE)))
    for args in (['generate', 'x', '--model', str(tmp_path)],
                 ['generate', 'x', '--model', HOSTILE],
                 ['generate', 'x', '--device', HOSTILE],
                 ['generate', 'x', f'--{HOSTILE}'],
                 ['generate', 'x', '--strategy', HOSTILE],
                 ['generate', '--prompts', HOSTILE]):
        p = here(*args)
        assert p.returncode in (1, 2) and p.stdout == ''
        assert '\\x1b]0;title\\x07' in p.stderr and not set(p.stderr) & set(
            '\x1b\x07\u202e\u2066\x9b\r'), p.stderr


def test_control_characters_of_others_are_shown(here, lm, monkeypatch):
    "A warning of a library while the command runs"
    import logging
    def noisy(*args, **kw):
        logging.StreamHandler().emit(logging.LogRecord('x', 30, 'x', 1, HOSTILE, (),
                                                       None))
        print(HOSTILE)
        return lm
    monkeypatch.setattr('llm_sampling.models.load', noisy)
    p = here('generate', 'x', '--max-new-tokens', '0')
    assert p.returncode == 0
    assert p.stdout == f'{SHOWN}\nx\n'
    assert p.stderr.startswith('a\\x1b]0;title\\x07b\\u202ec')


class Terminal(io.StringIO):
    def isatty(self): return True

def test_progress_on_a_terminal_only(here, lm, load, monkeypatch):
    args = ['generate', 'Once', '--strategy', 'contrastive', '--max-new-tokens', '5']
    assert here(*args).stderr == ''
    err = Terminal()
    with monkeypatch.context() as m:
        m.setattr('sys.stderr', err)
        m.setattr('llm_sampling.models.load', load)
        assert main(args) == 0
    assert 'prompt 1 of 1' in err.getvalue()
    assert 'passes' in err.getvalue()
    assert '\x1b' not in err.getvalue()
    assert not [m for m in lm.model.modules() if m._forward_hooks]


def output(monkeypatch, encoding, *args):
    "What a stdout of this encoding gets"
    monkeypatch.setattr('sys.stdout', io.TextIOWrapper(out := io.BytesIO(), encoding))
    assert main([*args]) == 0
    return out.getvalue()

def test_letters_that_stdout_lacks(here, monkeypatch):
    assert output(monkeypatch, 'ascii', 'generate', 'café 🙂', '--max-new-tokens',
                  '0') == b'caf\\xe9 \\U0001f642\n'
    assert output(monkeypatch, 'latin-1', 'generate', 'café 🙂', '--max-new-tokens',
                  '0') == b'caf\xe9 \\U0001f642\n'


def test_json_is_ascii_under_any_encoding(here, monkeypatch):
    for args in (['generate', 'é 🙂 \x7f\x85', '--max-new-tokens', '2', '--json'],
                 ['explain', 'é', '--json']):
        out = output(monkeypatch, 'utf-16', *args).decode('utf-16')
        assert all(c == '\n' or 32 <= ord(c) < 127 for c in out)
        answer = json.loads(out)
        if args[0] == 'generate': assert answer['prompt'] == args[1]
