"""The files of a population that was trained before may be damaged; nothing is removed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from population_cases import small_config

from arjax.core.errors import UserError
from arjax.population import jobs, main
from arjax.population.jobs import PopulationJob, finished, run_job

JOB = PopulationJob("a", "unused.py", ("raster", "spiral"), (0, 1), ensemble=True)
FOUND = {"dataset": "toy", "split": "test", "model": "made", "device": "1 x cpu", "seconds": 1.0, "num_params": 9}
FOUND |= {"results": [[{"nll_nats": 1.0}] * 2] * 2}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A trained population whose ensemble is asked for later."""
    monkeypatch.setattr(PopulationJob, "resolved", lambda job: small_config())
    (tmp_path / "population.json").write_text(json.dumps(FOUND | {"job": JOB.description()}))
    rows = np.random.default_rng(0).normal(size=(2, 2, 9))
    np.savez_compressed(tmp_path / "rows.npz", validation=rows, test=rows[..., :5])
    return tmp_path


def test_whole_rows_make_an_ensemble(folder):
    assert "uniform" in finished(JOB, folder)["ensemble"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"garbage"),
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.write_bytes(bytearray(path.read_bytes()[:60]) + bytes(40) + path.read_bytes()[100:]),
        lambda path: np.savez(path, validation=np.zeros((2, 2, 9))),
        lambda path: np.savez(path, validation=np.array([{}]), test=np.array([{}])),
        lambda path: np.savez(path, validation=np.zeros((2, 9)), test=np.zeros((2, 9))),
        lambda path: np.savez(path, validation=np.zeros((2, 1, 9)), test=np.zeros((2, 1, 9))),
        lambda path: np.savez(path, validation=np.zeros((2, 2, 0)), test=np.zeros((2, 2, 9))),
        lambda path: np.savez(path, validation=np.full((2, 2, 9), "a"), test=np.zeros((2, 2, 9))),
    ],
)
def test_damaged_rows_are_one_sentence(damage, folder):
    damage(folder / "rows.npz")
    with pytest.raises(UserError, match=rf"rows\.npz.*delete {folder} to train"):
        finished(JOB, folder)
    assert (folder / "population.json").exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"results": "x"},
        {"results": [[{"nll_nats": 1.0}] * 2]},
        {"results": [[{}] * 2] * 2},
        {"results": [["x"] * 2] * 2},
        {"ensemble": "x"},
        {"ensemble": {"uniform": 1.0}},
        {"seconds": "x"},
        {"dataset": None},
    ],
)
def test_a_population_whose_file_lacks_something_is_trained_again(fields, folder):
    path = folder / "population.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    assert finished(JOB, folder) is None


def test_a_population_whose_folder_cannot_be_used_stops_no_other(tmp_path, monkeypatch, capsys):
    text = "from arjax.population import PopulationJob\ndef get_populations():\n    return ["
    text += ", ".join(f"PopulationJob('{name}', 'unused.py', ('raster',))" for name in "ab") + "]\n"
    (tmp_path / "study.py").write_text(text)
    monkeypatch.setattr(PopulationJob, "resolved", lambda job: small_config())
    trained = []
    monkeypatch.setattr(main, "run_job", lambda job, folder, say: trained.append(job.name))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_text("a file")
    assert main.main([f"--study={tmp_path / 'study.py'}", f"--workdir={tmp_path / 'out'}"]) == 2
    assert trained == ["b"]
    assert "out/a/population.json: Not a directory" in capsys.readouterr().err


def test_a_folder_that_refuses_is_seen_before_the_training(folder, monkeypatch):
    monkeypatch.setattr(jobs, "train_population", lambda *arguments: pytest.fail("it is trained"))
    (folder / "b").write_text("a file")
    with pytest.raises(UserError, match=r"cannot write to the folder '.*/b': File exists"):
        run_job(JOB, folder / "b")
