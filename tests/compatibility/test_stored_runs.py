"""Runs, model files and sweeps that version 0.1.0 of November 2026 has written open, score, draw and go on as before.

`runs.tar.xz` holds a tiny run of every kind of model (the config file is `tiny.py`), each with what that version said
of it: `drawn.npy`, four draws of seed 7, and `evaluate_validation.json`. The newest checkpoint is that of step 4 of 6.
"""

from __future__ import annotations

import csv
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

import arjax
from arjax.sweep.main import main as sweep

FAST = ("autoregressive",)
KINDS = ("autoregressive", "recurrent", "text", "table", "any_order", "flow", "gaussian_chain", "absorbing", "uniform")
KINDS += ("block_diffusion", "mixture", "latent")
#: Fields of results.json that another machine, or another day, has otherwise.
OF_THE_DAY = ("device", "train_minutes", "train_seconds", "compile_seconds", "train_sites_per_second")


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("stored")
    with tarfile.open(Path(__file__).with_name("runs.tar.xz")) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(params=[pytest.param(kind, marks=() if kind in FAST else pytest.mark.slow) for kind in KINDS])
def run_folder(request, stored, tmp_path, monkeypatch) -> Path:
    for path in stored.glob("tiny.*"):
        shutil.copy(path, tmp_path)
    shutil.copytree(stored / "runs" / request.param, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run"


def assert_same(scores: object, before: object, rtol: float):
    """All that was there is there, with equal values."""
    if isinstance(before, dict):
        for name in before.keys() - set(OF_THE_DAY):
            assert_same(scores[name], before[name], rtol)
    elif isinstance(before, list):
        for value, value_before in zip(scores, before, strict=True):
            assert_same(value, value_before, rtol)
    else:
        assert scores == (pytest.approx(before, rel=rtol, abs=1e-6) if isinstance(before, float) else before)


def test_a_run_opens_draws_and_scores_as_before(run_folder):
    run, drawn = arjax.open_run(run_folder), np.load(run_folder / "drawn.npy")
    before = json.loads((run_folder / "evaluate_validation.json").read_text())
    assert_same(run.evaluate("validation"), before, 1e-4)
    for model in (run, arjax.load(run_folder / "model.safetensors")):
        x = model.sample(4, seed=7)
        # The last digits of a network differ between machines, and with them a draw now and then.
        assert x.shape == drawn.shape and np.isclose(x, drawn, rtol=1e-3, atol=1e-3).mean() > 0.9
    assert run.results == json.loads((run_folder / "results.json").read_text())


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_same_scores(run_folder):
    before = json.loads((run_folder / "results.json").read_text())
    (run_folder / "results.json").unlink()
    shutil.rmtree(run_folder / "checkpoints" / "best" / "6", ignore_errors=True)
    run = arjax.open_run(run_folder)
    assert run.results is None
    fitted = arjax.fit(run.config, run_folder, quiet=True)
    assert_same(fitted.results, before, 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["local", "population"])
def test_a_sweep_is_finished_and_has_its_table(stored, tmp_path, monkeypatch, capsys, executor):
    shutil.copytree(stored, tmp_path / "all")
    monkeypatch.chdir(tmp_path / "all")
    table = Path(f"sweep_{executor}/results.csv")
    before = list(csv.DictReader(table.read_text().splitlines()))
    table.unlink()
    assert sweep(["--sweep=sweep.py", f"--workdir=sweep_{executor}", f"--executor={executor}"]) == 0
    assert "4 runs, 4 of them already finished" in capsys.readouterr().out
    for row, stored_row in zip(csv.DictReader(table.read_text().splitlines()), before, strict=True):
        assert {name: row[name] for name in stored_row} == stored_row
