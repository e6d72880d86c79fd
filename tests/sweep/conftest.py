"""The folder in which the tests of sweeps run."""

import sys

import pytest
from sweep_cases import STAND_IN, SWEEP, write_configs

from arjax.sweep.executors import LocalExecutor


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a sweep file, its config files, and the stand-in."""
    monkeypatch.chdir(tmp_path)
    write_configs(tmp_path)
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    (tmp_path / "sweep.py").write_text(SWEEP)
    program = [sys.executable, str(tmp_path / "stand_in.py")]
    monkeypatch.setattr(LocalExecutor.__init__, "__defaults__", (None, program))
    return tmp_path
