"Every chapter runs from its top, and shows what is stored in it"
import pytest
from scripts import ROOT, script

tools = script('tools/run_nbs.py')
NOTEBOOKS = sorted((ROOT/'nbs').glob('[!_.]*.ipynb'), key=lambda p: -p.stat().st_size)


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_shows_what_is_stored(path):
    _, _, problems = tools.one(path, check=True, skip=tools.flags())
    assert problems == []
