"""The study of joints: finished rows are measured, and rows that are not keep their line and their samples."""

from __future__ import annotations

import itertools
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

import arjax
from arjax.core.errors import UserError
from arjax.core.files import read_arrays
from arjax.reporting.tables import measured_rows
from arjax.sweep import Run
from arjax.sweep.runs import config_of, reads, stages


@pytest.fixture
def study(load_script, monkeypatch, tmp_path):
    """The script with two rows, which writes into a folder of its own, and a folder of three finished runs: the second
    row reads the run that has no row.
    """
    module = load_script("experiments/joints/measure.py")
    page = tmp_path / "page"
    page.mkdir()
    (page / "README.md").write_text("<!-- measured -->\n<!-- end measured -->\n")
    runs = tmp_path / "runs"
    rows = [
        Run("first", "configs/digits.py", metric="bits_per_dim", listed=False),
        Run("made", "configs/digits.py", model="MADE", metric="bits_per_dim"),
        Run("vae", f"configs/tokens.py:tokenizer={runs}/first", model="VAE", metric="bits_per_dim_bound"),
    ]
    for name, value in [("HERE", page), ("PAGE", page / "README.md"), ("get_sweep", lambda workdir: rows)]:
        monkeypatch.setattr(module, name, value)
    for number, row in enumerate(rows):
        (tmp_path / "runs" / row.name).mkdir(parents=True)
        results = {row.metric: 1.0 + number, f"{row.metric}_stderr": 0.25, "kind": "exact"}
        results |= {"num_params": 1500, "train_seconds": 90}
        (tmp_path / "runs" / row.name / "results.json").write_text(json.dumps(results))

    def open_run(folder):
        def draw(params, keys):
            x = np.full((len(keys), 8, 8), params) + np.arange(8)
            return SimpleNamespace(x=x, stats={"network_calls": np.arange(len(keys))})

        results = json.loads((folder / "results.json").read_text())
        return SimpleNamespace(model=SimpleNamespace(draw=draw), params=len(folder.name), results=results)

    monkeypatch.setattr(arjax, "open_run", open_run)
    ticks = itertools.accumulate(itertools.repeat(0.5))  # of a clock that is read before and after each draw
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    return module


def test_finished_rows_are_measured_and_others_keep_what_they_have(study, tmp_path, monkeypatch):
    assert study.main([str(tmp_path / "runs"), "--num=5"]) == 0
    first, second = measured_rows(study.PAGE, study.COLUMNS)
    # the mean of 0 to 4 calls, and half a second for five samples
    assert first == ["MADE", "2.000 ± 0.250", "exact", "1,500", "1.5", "2", "0.1"]
    assert second[:3] == ["VAE", "3.000 ± 0.250", "bound"]
    assert second[4] == "3.0"  # with the minutes of the run that it reads
    samples = read_arrays(study.HERE / "samples.npz")
    for name, params in (("made", 4), ("vae", 3)):
        np.testing.assert_array_equal(samples[name], np.broadcast_to(params + np.arange(8), (5, 8, 8)))
    assert (study.HERE / "samples.png").stat().st_size > 1000

    shutil.rmtree(tmp_path / "runs" / "vae")
    drawn = []
    monkeypatch.setattr(study, "draw_samples", lambda path, samples: drawn.append(list(samples)))
    assert study.main([str(tmp_path / "runs"), "--num=5"]) == 0
    assert drawn == [["MADE", "VAE"]]
    assert measured_rows(study.PAGE, study.COLUMNS)[1] == second
    assert read_arrays(study.HERE / "samples.npz").keys() == samples.keys()


def test_a_missing_run_that_a_row_reads_is_named(study, tmp_path):
    shutil.rmtree(tmp_path / "runs" / "first")
    with pytest.raises(UserError, match=r"first has no finished run, and another row reads it"):
        study.main([str(tmp_path / "runs"), "--num=5"])


def test_the_row_of_tokens_follows_its_tokenizer(load_script, repository, monkeypatch, tmp_path):
    monkeypatch.chdir(repository)  # a sweep file names its configs from there
    runs = load_script("experiments/joints/sweep.py").get_sweep(str(tmp_path))
    needs = reads(runs, {run.name: tmp_path / run.name for run in runs})
    assert {name: of for name, of in needs.items() if of} == {"tokens": {"tokenizer"}}
    assert [run.name for run in stages(runs, needs)[1]] == ["tokens"]
    assert [run.name for run in runs if not run.listed] == ["tokenizer"]
    cascades = [config_of(run).model for run in runs if run.name.startswith("cascade_")]
    assert [model.stages for model in cascades] == ["subsampled", "haar", "averaged"]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--num=0"], "--num must be at least 1"),
        ([], "has no finished run"),
        (["--num=3"], "another number of samples"),
    ],
)
def test_mistakes(study, tmp_path, flags, sentence):
    np.savez(study.HERE / "samples.npz", made=np.zeros((16, 8, 8), np.uint8))
    with pytest.raises(UserError, match=sentence):
        study.main([str(tmp_path / "none"), *flags])
