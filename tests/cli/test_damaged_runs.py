"""Runs that somebody edited, that a disk damaged, or that two commands want at once; places where no file can be."""

import json
import os
import shutil

import pytest

from arjax.cli.main import main
from arjax.core.errors import UserError
from arjax.core.files import only_run_in, writable_file, write_text
from arjax.reporting.reports import read_report

DAMAGES = [b"[]", b"{}", b"3", b'{"step": 4', b"\xff\xfe", b'{"step": 6, "split": "test"}']

# Fields of a config.json and what somebody has made of them; a piece of the sentence.
EDITED = [
    ({"seed": None}, "config.seed must be an integer, not None"),
    ({"seed": 10**30}, "config.seed must be at most"),
    ({"seed": {}}, "seed"),
    ({"train.steps": "12"}, "config.train.steps must be an integer, not '12'"),
    ({"train.epochs": float("nan")}, "config.train.epochs must be a finite number"),
    ({"train.data_on_device": 1}, "config.train.data_on_device must be true or false, not 1"),
    ({"model.ordering": ["raster"]}, "config.model.ordering must be a text, not ('raster',)"),
    ({"network.hidden_sizes": [8, None]}, "config.network.hidden_sizes must be a tuple"),
    ({"network.name": 3}, "config.network.name must be a text, not 3"),
    ({"dataset.name": None}, "config.dataset.name must be a text, not None"),
    ({"__class__": 1}, "it is not the JSON of a config"),
]


@pytest.mark.parametrize(("changes", "piece"), EDITED, ids=lambda value: str(value) if isinstance(value, dict) else "")
def test_a_config_json_with_other_types(changes, piece, config_file, finished_run, tmp_path, sentence_of):
    config = json.loads((finished_run / "config.json").read_text())
    for name, value in changes.items():
        section, _, field = name.rpartition(".")
        (config[section] if section else config)[field] = value
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert piece in sentence_of(["--mode=evaluate", f"--workdir={tmp_path}"])
    assert sentence_of([f"--config={config_file}:smoke,context=label", f"--workdir={tmp_path}"])


DEEP = [b"[" * 100_000, b'{"a":' * 100_000, b"[" * 200 + b"]" * 200, b'{"seed": ' + b"9" * 5000 + b"}"]


@pytest.mark.parametrize("damage", [*DAMAGES, *DEEP], ids=lambda damage: str(damage[:5]))
def test_a_config_json_that_cannot_be_read(damage, config_file, workdir, sentence_of):
    (workdir / "config.json").write_bytes(damage)
    for arguments in (["--mode=sample"], [f"--config={config_file}:smoke,context=label"]):
        assert "is damaged" in sentence_of([*arguments, f"--workdir={workdir}"])


@pytest.mark.parametrize("name", ["config.json", "record.json", "results.json", "rows.npz", "checkpoints/best/1"])
def test_pipes_and_devices_in_the_place_of_files(name, workdir, sentence_of):
    """Reading one of them would never end, or fill the memory."""
    file = workdir / name
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)
        make(file)
        sentence = sentence_of(["--mode=sample", f"--workdir={workdir}"])
        assert sentence == f"arjax: {file} is a pipe or a device, and no file\n"


def test_files_and_names_of_any_size(workdir, sentence_of):
    (workdir / "config.json").write_text(json.dumps({"x" * 100_000: 1}))
    assert len(sentence_of(["--mode=sample", f"--workdir={workdir}"])) < 5000
    with (workdir / "config.json").open("wb") as file:
        file.truncate(2**40)  # without a byte on the disk
    assert "config.json is too large: 1,099,511,627,776 bytes" in sentence_of(["--mode=sample", f"--workdir={workdir}"])


def test_no_device_is_replaced_by_a_file(tmp_path):
    pipe, device = tmp_path / "pipe", tmp_path / "device"
    os.mkfifo(pipe)
    device.symlink_to("/dev/null")
    for path in (pipe, device):
        for write in (writable_file, lambda path: write_text(path, "text")):
            with pytest.raises(UserError, match="is a pipe or a device, and no file"):
                write(path)
    assert device.is_symlink()


def test_damaged_results_are_no_results(tmp_path):
    for damage in DAMAGES:
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


def test_two_runs_in_one_workdir(config_file, tmp_path, sentence_of):
    for _ in range(2):  # the lock ends with the run
        with pytest.raises(UserError, match="a mistake"), only_run_in(tmp_path):
            told = sentence_of([f"--config={config_file}:smoke", f"--workdir={tmp_path}"])
            assert f"another process is training in {tmp_path}" in told
            raise UserError("a mistake")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", ["~no_such_user/x", "a\0b", "x" * 300, "x/" * 3000])
def test_what_no_path_can_be(path, config_file, tmp_path, sentence_of):
    for arguments in (
        [f"--config={path}", f"--workdir={tmp_path / 'run'}"],
        [f"--config={config_file}:smoke", f"--workdir={path}"],
        ["--mode=sample", f"--workdir={path}"],
        ["--config=wine_quality:smoke", f"--workdir={tmp_path / 'run'}", f"--config.dataset.data_dir={path}"],
        [f"--config=wine_quality:smoke,table={path}/t.csv", f"--workdir={tmp_path / 'run'}"],
    ):
        sentence = sentence_of(arguments)
        assert "is no path" in sentence or "cannot use the path" in sentence
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_user_without_a_home(tmp_path, sentence_of, monkeypatch):
    def no_home(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    monkeypatch.setattr("pathlib.Path.expanduser", lambda path: no_home(path) if str(path)[0] == "~" else path)
    command = ["--config=wine_quality:smoke", f"--workdir={tmp_path / 'run'}"]
    assert "this user has no home folder" in sentence_of(command)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert f"is not in {tmp_path}; get it with" in sentence_of(command)
