"The scripts of the project as modules, and code in a process of its own"
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def script(path):
    "The module of a file (its name may be that of an installed one, as `build` is)"
    spec = spec_from_file_location(f'_{Path(path).stem}', ROOT/path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def printed(code):
    "What code prints in a fresh Python"
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    return out.stdout.strip()
