"""The rows of a population that was trained before: damaged, they are told in one sentence, and nothing is removed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from population_cases import small_config

from arjax.errors import UserError
from arjax.population.jobs import PopulationJob, finished

JOB = PopulationJob("a", "unused.py", ("raster", "spiral"), (0, 1), ensemble=True)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A trained population whose ensemble is asked for later."""
    monkeypatch.setattr(PopulationJob, "resolved", lambda job: small_config())
    (tmp_path / "population.json").write_text(json.dumps({"job": JOB.description()}))
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
