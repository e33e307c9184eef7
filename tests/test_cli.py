"The command as a process: help, exit codes, signals, pipes"
import os, signal, subprocess, sys

import pytest
from commands import COMMAND, ENV, run

import llm_sampling as ls
from llm_sampling.cli import main


def test_help_needs_no_torch():
    code = ('import sys; from llm_sampling.cli import main; c = main(sys.argv[1:]); '
            'sys.exit(c or ("torch" in sys.modules))')
    for args in (['--help'], ['--version'], ['generate', '--help'],
                 ['explain', '--help'], ['demo', '--help'], ['compare', '--help'],
                 ['sweep', '--help'], ['plot', '--help']):
        p = subprocess.run([sys.executable, '-c', code, *args], capture_output=True,
                           text=True, env=ENV)
        assert p.returncode == 0, p.stderr
        assert args == ['--version'] or 'examples:' in p.stdout


def test_version():
    assert run('--version').stdout == f'llm-sampling {ls.__version__}\n'


@pytest.mark.parametrize('args',
                         [[], ['nonsense'], ['generate'], ['generate', 'x', '--n', '0'],
                          ['generate', 'x', '--n', '1.5'],
                                  ['generate', 'x', '--max-new-tokens', '-1'],
                          ['generate', 'x', '--stream', '--n', '2'],
                                  ['generate', 'x', '--prompts', 'y'],
                          ['generate', 'x', '--strategy', 'none'],
                                  ['generate', 'x', '--temp', '1'],
                          ['generate', 'x', '--logit-bias', '5'],
                                  ['generate', 'x', '--adaptive', 'mirostat3'],
                          ['generate', 'x', '--eos-token-id', 'x']])
def test_wrong_use_is_2(args, here):
    p = here(*args)
    assert p.returncode == 2 and p.stdout == '' and 'Traceback' not in p.stderr


@pytest.mark.parametrize('option,says',
                         [('--device', "device 'foo'"), ('--dtype', "not 'foo'")])
def test_unusable_place_is_1_and_one_line(option, says, here):
    p = here('generate', 'x', option, 'foo')
    assert p.returncode == 1
    assert p.stdout == ''
    assert len(p.stderr.splitlines()) == 1
    assert says in p.stderr


def test_missing_model_is_1_and_one_line(tmp_path, here):
    p = here('explain', 'x', '--model', str(tmp_path/'none'))
    assert p.returncode == 1
    assert p.stdout == ''
    assert len(p.stderr.splitlines()) == 1
    assert 'no model' in p.stderr


def test_closed_stdin_and_stdout(here, monkeypatch, capsys):
    "Python sets what is closed to None"
    with monkeypatch.context() as m:
        m.setattr('sys.stdin', None)
        p = here('generate', '-')
        assert p.returncode == 1
        assert p.stderr == 'llm-sampling: stdin is closed: there is no prompt in it\n'
    with monkeypatch.context() as m:
        m.setattr('sys.stdout', None)
        assert main(['generate', 'x']) == 1
    assert 'stdout is closed' in capsys.readouterr().err
    with monkeypatch.context() as m:
        m.setattr('sys.stderr', None)
        m.setattr('sys.stdin', None)
        assert main(['generate', 'x', '--n', '0']) == 2 and main(['generate', '-']) == 1
    assert capsys.readouterr().out == ''


def test_help_that_nobody_reads():
    "The reader is gone before anything is written"
    read, write = os.pipe()
    os.close(read)
    p = subprocess.run([*COMMAND, '--help'], stdout=write, stderr=subprocess.PIPE,
                       env=ENV | dict(PYTHONUNBUFFERED=''))
    os.close(write)
    assert p.returncode == 141 and p.stderr == b''


def generating(*args, **kw):
    "The command in a process of its own"
    return subprocess.Popen([*COMMAND, 'generate', *args, '--stream'],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kw)


@pytest.mark.long
def test_letters_under_a_poor_locale_and_a_broken_pipe():
    p = generating('café 🙂', '--max-new-tokens', '100',
                   env=ENV | dict(LANG='C', LC_ALL='C'))
    assert p.stdout.read(8).startswith(('café'.encode(), b'caf\\xe9'))
    p.stdout.close()
    assert p.wait(120) == 141 and p.stderr.read() == b''


@pytest.mark.long
def test_interrupt_ends_cleanly():
    # a job in the background would inherit deafness to the signal
    hearing = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    p = generating('Once', '--max-new-tokens', '100000', env=ENV, preexec_fn=hearing)
    p.stdout.read(8)                                  # it is generating
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=120)
    assert p.returncode == 130
    assert b'Traceback' not in err
    assert err.endswith(b'interrupted\n')
