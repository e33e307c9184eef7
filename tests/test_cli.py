"The command as a real process: codes, pipes, signals, encodings"
import json, os, signal, subprocess, sys

import pytest

from llm_sampling.cli import main

ENV = os.environ | dict(OMP_NUM_THREADS='1', HF_HUB_OFFLINE='1', PYTHONUNBUFFERED='1')
COMMAND = [sys.executable, '-c', 'import sys; from llm_sampling.cli import main; sys.exit(main())']


def run(*args, env={}, **kw):
    return subprocess.run([*COMMAND, *args], capture_output=True, text=True, encoding='utf-8', env=ENV | env, timeout=120, **kw)


@pytest.fixture
def here(capsys):
    "Run in this process: importing torch and transformers anew takes seconds"
    def run_here(*args):
        code = main(list(args))
        out = capsys.readouterr()
        return subprocess.CompletedProcess(args, code, out.out, out.err)
    return run_here


def test_help_needs_no_torch():
    code = 'import sys; from llm_sampling.cli import main; c = main(sys.argv[1:]); sys.exit(c or ("torch" in sys.modules))'
    for args in (['--help'], ['--version'], ['generate', '--help'], ['explain', '--help'], ['demo', '--help']):
        p = subprocess.run([sys.executable, '-c', code, *args], capture_output=True, text=True, env=ENV)
        assert p.returncode == 0, p.stderr
        assert args == ['--version'] or 'examples:' in p.stdout


def test_version():
    import llm_sampling
    assert run('--version').stdout == f'llm-sampling {llm_sampling.__version__}\n'


@pytest.mark.parametrize('args', [[], ['nonsense'], ['generate'], ['generate', 'x', '--n', '0'], ['generate', 'x', '--temperature', 'hot'],
                                  ['generate', 'x', '--max-new-tokens', '-1'], ['generate', 'x', '--stream', '--n', '2']])
def test_wrong_use_is_2(args, here):
    p = here(*args)
    assert p.returncode == 2 and p.stdout == '' and 'Traceback' not in p.stderr


def test_knob_out_of_range_is_wrong_use(here):
    p = here('generate', 'x', '--top-p', '1.5')
    assert p.returncode == 2 and 'top_p' in p.stderr.splitlines()[-1] and 'Traceback' not in p.stderr


@pytest.mark.parametrize('args', [['generate', 'x', '--stop', ''], ['generate', 'x', '--seed', str(2**63)], ['demo', '--seed', str(-2**63 - 1)]])
def test_wrong_use_is_found_before_the_model(args, here, monkeypatch):
    monkeypatch.setattr('llm_sampling.cli._load', lambda args: pytest.fail('a model was loaded'))
    p = here(*args)
    assert p.returncode == 2 and p.stdout == '' and args[-2] in p.stderr.splitlines()[-1]


def test_unusable_device_is_1_and_one_line(here):
    p = here('generate', 'x', '--device', 'foo')
    assert p.returncode == 1 and p.stdout == '' and len(p.stderr.splitlines()) == 1 and "device 'foo'" in p.stderr


def test_missing_model_is_1_and_one_line(tmp_path):
    p = run('explain', 'x', '--model', str(tmp_path/'none'))
    assert p.returncode == 1 and p.stdout == '' and len(p.stderr.splitlines()) == 1 and 'no model' in p.stderr


def test_generate_json_and_seed(here):
    args = ['generate', 'Once upon a time', '--temperature', '.8', '--top-p', '.9', '--seed', '1', '--n', '2', '--max-new-tokens', '12', '--json']
    a, b = (json.loads(here(*args).stdout) for _ in range(2))
    assert a['rows'] == b['rows'] and len(a['rows']) == 2
    assert a['rows'][0]['text'] != a['rows'][1]['text'] and len(a['rows'][0]['ids']) <= 12
    assert a['rows'][0]['finish_reason'] in ('stop', 'length') and a['stats']['forward_passes'] > 0


def test_stream_is_generate(here):
    args = ['generate', 'Once upon a time', '--seed', '3', '--max-new-tokens', '15']
    whole, streamed = here(*args), here(*args, '--stream')
    assert whole.returncode == 0 and whole.stdout == streamed.stdout and whole.stdout.startswith('Once upon a time')
    pieces = [json.loads(l) for l in here(*args, '--stream', '--json').stdout.splitlines()]
    assert 'Once upon a time' + ''.join(p['text'] for p in pieces) + '\n' == whole.stdout and pieces[-1]['finish_reason']


def test_prompt_from_stdin_and_stop():
    p = run('generate', '-', '--max-new-tokens', '30', '--stop', ' ', input='Once upon a\n')
    assert p.returncode == 0 and p.stdout == 'Once upon a\n'


def test_explain(here):
    p = here('explain', 'Once upon a time', '--top-k', '7')
    assert p.returncode == 0 and 'top_k 7' in p.stdout
    model, last = json.loads(here('explain', 'Once upon a time', '--top-k', '7', '--json').stdout)
    assert last['kept'] == 7 == len(last['tokens']) and len(model['tokens']) == 10
    assert [t['id'] for t in last['tokens']] == [t['id'] for t in model['tokens'][:7]]
    assert abs(sum(t['prob'] for t in last['tokens']) - 1) < 1e-5 and all(set(t) == {'id', 'text', 'prob'} for t in last['tokens'])
    assert repr(last['tokens'][0]['text']) in p.stdout


def test_explain_escapes_a_prompt_once(here):
    assert here('explain', 'a\x1bb').stdout.startswith("After 'a\\x1bb':")


def test_demo_writes_a_figure(tmp_path, here):
    p = here('demo', '--max-new-tokens', '8', '--figure', str(tmp_path/'demo.png'))
    assert p.returncode == 0, p.stderr
    assert (tmp_path/'demo.png').read_bytes()[:4] == b'\x89PNG' and 'greedy' in p.stdout and 'tokens/s' in p.stdout
    ways = ['greedy', 'temperature 1', 'temperature .8', 'temperature 1, top-k 40', 'temperature .8, top-p .9', 'temperature 1.5']
    assert [l[4:] for l in p.stdout.splitlines() if l.startswith('--- ')] == ways


@pytest.mark.parametrize('env', [dict(LANG='C', LC_ALL='C'), dict(PYTHONIOENCODING='ascii')])
def test_letters_under_a_poor_locale(env):
    p = run('generate', 'café 🙂', '--max-new-tokens', '2', env=env)
    assert p.returncode == 0 and p.stdout.startswith(('café', 'caf\\xe9')), p.stderr


def test_json_is_ascii_under_any_encoding():
    for args in (['generate', 'é 🙂 \x7f\x85', '--max-new-tokens', '2', '--json'], ['explain', 'é', '--json']):
        p = subprocess.run([*COMMAND, *args], capture_output=True, env=ENV | dict(PYTHONIOENCODING='latin-1'), timeout=120)
        assert p.returncode == 0 and all(b == 10 or 32 <= b < 127 for b in p.stdout), p.stderr
        answer = json.loads(p.stdout)
        if args[0] == 'generate': assert answer['prompt'] == args[1]


def test_control_characters_are_shown(here):
    p = here('generate', 'a\x1b]0;title\x07b', '--max-new-tokens', '0')
    assert p.stdout == 'a\\x1b]0;title\\x07b\n'


def test_broken_pipe_is_quiet():
    p = subprocess.Popen([*COMMAND, 'generate', 'Once', '--max-new-tokens', '400', '--stream'], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV)
    p.stdout.read(8)
    p.stdout.close()
    assert p.wait(60) == 141 and p.stderr.read() == b''


def test_interrupt_ends_cleanly():
    p = subprocess.Popen([*COMMAND, 'generate', 'Once', '--max-new-tokens', '100000', '--stream'], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV,
                         preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))      # a job in the background would inherit deafness to it
    p.stdout.read(8)                                  # it is generating
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=60)
    assert p.returncode == 130 and b'Traceback' not in err and err.endswith(b'interrupted\n')
