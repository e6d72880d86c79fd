"""Workdirs on disks that are full or read-only, with folders where files belong, and deleted under a run."""

import contextlib
import errno
import os
import pathlib
import shutil
import subprocess

import pytest

from arjax.cli.main import main
from arjax.training.feed import ResidentFeed
from arjax.training.setup import best_store, latest_store

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


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("root only may mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


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
