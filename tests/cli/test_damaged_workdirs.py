"""Workdirs that somebody edited, that a disk damaged, or that two commands want at once."""

import json
import shutil

import pytest

from arjax.cli.main import main
from arjax.core.errors import UserError
from arjax.core.files import only_run_in
from arjax.reporting.reports import read_report

DAMAGES = [b"[]", b"{}", b"3", b'{"step": 4', b"\xff\xfe", b'{"step": 6, "split": "test"}']


@pytest.fixture
def workdir(finished_run, tmp_path):
    shutil.copytree(finished_run, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_results_are_no_results(tmp_path, damage):
    (tmp_path / "results.json").write_bytes(damage)
    assert read_report(tmp_path) is None


@pytest.mark.parametrize("damage", [b"[]", b'{"step": 6, "split": "test"}'])
def test_damaged_results_are_computed_again(config_file, finished_run, workdir, damage):
    (workdir / "results.json").write_bytes(damage)
    assert main([f"--config={config_file}:smoke,context=label", f"--workdir={workdir}"]) == 0
    names = ("step", "split", "nll_nats", "train_seconds")
    again, before = (json.loads((path / "results.json").read_text()) for path in (workdir, finished_run))
    assert [again[name] for name in names] == pytest.approx([before[name] for name in names])


def test_lost_best_parameters_are_not_replaced_by_the_latest(workdir, capsys):
    shutil.rmtree(workdir / "checkpoints" / "best")
    (workdir / "results.json").unlink()
    for mode in ("evaluate", "sample"):
        assert main([f"--mode={mode}", f"--workdir={workdir}"]) == 2
        assert "best is gone: the best parameters of this run cannot be used" in capsys.readouterr().err


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_config_is_one_sentence(config_file, workdir, capsys, damage):
    (workdir / "config.json").write_bytes(damage)
    for arguments in (["--mode=sample"], [f"--config={config_file}:smoke,context=label"]):
        assert main([*arguments, f"--workdir={workdir}"]) == 2
        error = capsys.readouterr().err
        assert error.startswith("arjax: ") and error.count("\n") == 1


def test_two_runs_in_one_workdir(config_file, tmp_path, capsys):
    command = [f"--config={config_file}:smoke", f"--workdir={tmp_path}"]
    with only_run_in(tmp_path):
        assert main(command) == 2
    assert f"another process is training in {tmp_path}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_lock_ends_with_the_run(tmp_path):
    for _ in range(2):
        with pytest.raises(UserError, match="a mistake"), only_run_in(tmp_path):
            raise UserError("a mistake")
