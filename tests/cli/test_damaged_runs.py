"""Runs that somebody edited or deleted, that a disk damaged or has no room for, or that two commands want at once."""

import contextlib
import errno
import json
import os
import pathlib
import shutil
import subprocess

import pytest
from refusals import refusal

from arjax.cli.main import main
from arjax.core.errors import UserError
from arjax.core.files import only_run_in, own_folder, writable_file, write_text
from arjax.reporting.reports import finished_report, read_report
from arjax.reporting.writers import read_metrics
from arjax.training.feed import ResidentFeed
from arjax.training.setup import best_store, latest_store

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
            assert "is a pipe or a device, and no file" in refusal(write, path)
    assert device.is_symlink()


def test_damaged_results_are_no_results(tmp_path):
    for damage in DAMAGES:
        (tmp_path / "results.json").write_bytes(damage)
        assert read_report(tmp_path) is None


@pytest.mark.parametrize("name", ["nll_nats", "nll_stderr", "num_params", "seed", "train_seconds", "dataset"])
def test_results_with_another_digit_or_of_another_run_are_no_results(name, workdir):
    """Also without the nats of the examples; the run knows what it has written."""
    (workdir / "rows.npz").unlink()
    path, report = workdir / "results.json", read_report(workdir)
    assert report is not None
    path.write_text(json.dumps(report, indent=7))
    assert read_report(workdir) == report, "the same numbers"
    path.write_text(json.dumps(report | {name: report[name] * 2 or 1}))
    assert read_report(workdir) is None and "is damaged" in refusal(finished_report, workdir)
    noted = json.loads((workdir / "record.json").read_text())
    for unknown in ({}, [], {"results.json": "x"}, {"results.json": None}):  # of an earlier version, or damaged
        (workdir / "record.json").write_text(json.dumps(noted | {"written": unknown}))
        assert read_report(workdir) is not None


def test_a_history_that_is_shorter_or_has_another_digit_is_told(workdir, capsys):
    path = workdir / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    assert read_metrics(workdir) and capsys.readouterr().err == ""
    for i, other in enumerate((lines[:-1], lines[1:], [*lines, lines[-1]], [lines[0].replace(".", ".1"), *lines[1:]])):
        workdir = shutil.copytree(workdir, workdir.with_name(f"other-{i}"))
        (workdir / "metrics.jsonl").write_text("".join(other))
        assert read_metrics(workdir)
        told = f"{workdir / path.name} is not as the run has written it: lines are missing, or have changed"
        assert capsys.readouterr().err == f"arjax: {told}\n"


def test_no_folder_of_results_is_a_link_out_of_the_run(workdir, tmp_path):
    for name in ("evaluations", "comparisons"):
        (tmp_path / f"other-{name}").mkdir()
        (workdir / name).symlink_to(tmp_path / f"other-{name}")
        assert "lies behind a link out of the folder of the run" in refusal(own_folder, workdir, name)
        assert not list((tmp_path / f"other-{name}").iterdir())


@pytest.mark.parametrize("damage", [b"[]", b'{"step": 6, "split": "test"}'])
def test_damaged_results_are_computed_again(config_file, finished_run, workdir, damage):
    (workdir / "results.json").write_bytes(damage)
    assert main([f"--config={config_file}:smoke,context=label", f"--workdir={workdir}"]) == 0
    names = ("step", "split", "nll_nats", "train_seconds")
    again, before = (json.loads((path / "results.json").read_text()) for path in (workdir, finished_run))
    assert [again[name] for name in names] == pytest.approx([before[name] for name in names])


def test_lost_best_parameters_are_not_replaced_by_the_latest(workdir, last_sentence):
    shutil.rmtree(workdir / "checkpoints" / "best")
    (workdir / "results.json").unlink()
    for mode in ("evaluate", "sample"):
        assert "best is gone: the best parameters of this run" in last_sentence(
            f"--mode={mode}", f"--workdir={workdir}"
        )


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


ARGUMENT = ":smoke,context=label"


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def put_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("name", ["config.json", "results.json", "metrics.jsonl"])
def test_a_folder_in_the_place_of_a_file(config_file, workdir, last_sentence, name):
    put_folder(workdir / name)
    train = (f"--config={config_file}{ARGUMENT}", f"--workdir={workdir}")
    if name != "metrics.jsonl":  # a finished run writes none
        assert f"{workdir / name}: Is a directory" in last_sentence(*train)
    longer = (*train, "--config.train.steps=8")
    assert f"{workdir / name}: Is a directory" in last_sentence(*longer)
    if name == "config.json":
        assert f"{workdir / name}: Is a directory" in last_sentence("--mode=evaluate", f"--workdir={workdir}")
    assert latest_store(workdir).steps()[-1] == 6


@pytest.mark.parametrize("name", ["checkpoints", "checkpoints/latest", "checkpoints/best"])
def test_a_file_in_the_place_of_a_folder(config_file, workdir, last_sentence, name):
    shutil.rmtree(workdir / name)
    (workdir / name).write_text("")
    for flags in (["--mode=evaluate"], [f"--config={config_file}{ARGUMENT}", "--config.train.steps=8"]):
        assert "is no folder of checkpoints: Not a directory" in last_sentence(*flags, f"--workdir={workdir}")


def test_a_file_in_the_place_of_what_a_mode_writes(config_file, workdir, last_sentence):
    shutil.rmtree(workdir / "samples")
    inpaint = ["--mode=inpaint", "--config.inpaint.hidden=top", "--config.inpaint.visible=nothing"]
    for name, flags in (
        ("samples", [f"--config={config_file}{ARGUMENT}"]),
        ("evaluations", ["--mode=evaluate"]),
        ("inpainting", inpaint),
    ):
        (workdir / name).write_text("")
        assert name in last_sentence(*flags, f"--workdir={workdir}")


@pytest.fixture
def read_only(workdir):
    """A workdir that nobody may write to, not even root."""
    if subprocess.run(["mount", "--bind", workdir, workdir], capture_output=True, check=False).returncode:
        pytest.skip("root only may mount a folder")
    subprocess.run(["mount", "-o", "remount,ro,bind", workdir], check=True)
    yield workdir
    subprocess.run(["umount", workdir], check=True)


def test_a_read_only_folder(config_file, read_only, last_sentence, capsys):
    assert "cannot write" in last_sentence("--mode=sample", f"--workdir={read_only}")
    assert "cannot write" in last_sentence(f"--config={config_file}{ARGUMENT}", f"--workdir={read_only}")
    capsys.readouterr()
    assert main(["--mode=evaluate", f"--workdir={read_only}"]) == 2
    printed = capsys.readouterr()
    assert printed.out.startswith("digits test: "), "what was computed is not lost"
    assert "evaluations: Read-only file system" in printed.err


@pytest.mark.parametrize(
    "code", [*(pytest.param(n, marks=pytest.mark.slow) for n in (errno.EROFS, errno.EDQUOT)), errno.ENOSPC]
)
@pytest.mark.parametrize(
    ("mode", "method"),
    [("evaluate", "mkdir"), ("evaluate", "write_text"), ("sample", "mkdir"), ("sample", "write_text")],
)
def test_a_disk_that_refuses_a_look(workdir, last_sentence, monkeypatch, code, mode, method):
    before = contents(workdir)

    def refuse(*arguments, **options):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, method, refuse)
        assert os.strerror(code) in last_sentence(f"--mode={mode}", f"--workdir={workdir}")
    assert contents(workdir) == before


@pytest.mark.slow
@pytest.mark.parametrize("free", [0, 4096, 100_000, 300_000])
def test_a_full_disk_ends_a_run_that_goes_on_when_there_is_room(config_file, small_disk, last_sentence, free):
    workdir, ballast = small_disk / "run", small_disk / "ballast"
    workdir.mkdir()
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    os.truncate(ballast, ballast.stat().st_size - free)
    command = (f"--config={config_file}{ARGUMENT}", f"--workdir={workdir}")
    assert "No space left on device" in last_sentence(*command)
    ballast.unlink()
    assert main(list(command)) == 0
    names = {path.name for path in workdir.iterdir()}
    assert names >= {"config.json", "metrics.jsonl", "results.json", "checkpoints", "samples"}
    assert not [name for name in names if name.endswith(".tmp") or name.startswith("partial")]


def at_step(monkeypatch, step, call):
    """Calls a function when the feed is asked for this step."""
    original = ResidentFeed.chunk

    def chunk(self, start, n):
        if start + n >= step and not chunk.called and chunk.calls:
            chunk.called = True
            call()
        chunk.calls += 1
        return original(self, start, n)

    chunk.called, chunk.calls = False, 0
    monkeypatch.setattr(ResidentFeed, "chunk", chunk)


@pytest.mark.parametrize(
    ("new", "replaced"),
    [
        (False, True),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((True, True), (False, False), (True, False))),
    ],
)
def test_a_workdir_that_is_deleted_during_the_run_stays_away(
    config_file, workdir, last_sentence, monkeypatch, new, replaced, tmp_path
):
    if new:
        workdir = tmp_path / "new"

    def delete():
        shutil.rmtree(workdir)
        if replaced:
            workdir.mkdir()
            (workdir / "config.json").write_text("of another run")

    at_step(monkeypatch, 2 if new else 8, delete)
    command = (f"--config={config_file}{ARGUMENT}", f"--workdir={workdir}", "--config.train.steps=12")
    assert f"the folder {workdir} was deleted, moved or replaced during the run" in last_sentence(*command)
    assert workdir.exists() == replaced
    if replaced:
        assert contents(workdir) == {"config.json": b"of another run"}


def test_a_workdir_that_is_moved_goes_on_at_its_new_place(config_file, workdir, last_sentence, monkeypatch, tmp_path):
    at_step(monkeypatch, 8, lambda: workdir.rename(tmp_path / "moved"))
    command = [f"--config={config_file}{ARGUMENT}", "--config.train.steps=12"]
    assert "give the new place as --workdir" in last_sentence(*command, f"--workdir={workdir}")
    assert not workdir.exists()
    assert main([*command, f"--workdir={tmp_path / 'moved'}"]) == 0
    assert latest_store(tmp_path / "moved").steps()[-1] == 12 and best_store(tmp_path / "moved").steps()


def test_metrics_that_are_deleted_alone_are_written_anew(config_file, workdir, monkeypatch):
    at_step(monkeypatch, 8, (workdir / "metrics.jsonl").unlink)
    assert main([f"--config={config_file}{ARGUMENT}", f"--workdir={workdir}", "--config.train.steps=12"]) == 0
    assert '"step": 12' in (workdir / "metrics.jsonl").read_text()
