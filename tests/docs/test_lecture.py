"""The notebooks of the lecture run, each in less than two minutes on two CPU cores."""

import pathlib
import re
import runpy
import time

import pytest

NOTEBOOKS = sorted((pathlib.Path(__file__).parents[2] / "docs" / "lecture").glob("*.py"))


def test_notebooks_are_cells_that_begin_with_a_title():
    assert [path.name[0] for path in NOTEBOOKS] == list("12345")
    for path in NOTEBOOKS:
        text = path.read_text(encoding="utf-8")
        assert re.match(rf"# %% \[markdown\]\n# # {path.name[0]}\. ", text), path.name
        compile(text, str(path), "exec")


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib").use("Agg")
    monkeypatch.chdir(tmp_path)
    import matplotlib.pyplot as plt

    monkeypatch.setattr(plt, "show", lambda: None)
    start = time.monotonic()
    runpy.run_path(str(path))
    assert plt.get_fignums(), "no figure was drawn"
    plt.close("all")
    assert time.monotonic() - start < 120
    assert not list(tmp_path.iterdir()), "the notebook left files"
