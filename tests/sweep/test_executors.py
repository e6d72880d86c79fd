"""The processes of runs on this machine, where a process is a stand-in that ends when the test says so."""

import contextlib
import threading

import pytest

from arjax.core.files import only_run_in
from arjax.sweep import Run, executors
from arjax.sweep.executors import LocalExecutor, failure, tell_failures, wait_for_folder

RUNS = [Run(name, "good.py") for name in "ab"]


#: Is set once `b` has started.
BEGUN = threading.Event()


class Process:
    """Ends with a code after some seconds, or when it is terminated."""

    def __init__(self, code, seconds, waits):
        self.code, self.seconds, self.waits, self.asked = code, seconds, waits, threading.Event()

    def wait(self):
        assert not self.waits or BEGUN.wait(20)
        if self.seconds:
            BEGUN.set()
        return 143 if self.asked.wait(self.seconds) else self.code

    def terminate(self):
        self.asked.set()


@pytest.fixture
def started(monkeypatch):
    """The processes by the names of their runs, and their arguments; `a` ends at once, or when `b` has begun."""
    calls = {}
    BEGUN.clear()

    def start(command, folder, environment, **options):
        process = Process(3, 0.0, "waits" in calls) if folder.name == "a" else Process(0, 20.0, False)
        calls[folder.name] = process, command, environment, options
        return process

    monkeypatch.setattr(executors, "start", start)
    monkeypatch.setattr(executors, "RETRY_SECONDS", 0.01)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    return calls


def test_an_interrupt_asks_the_processes_to_end(started, tmp_path):
    started["waits"] = True
    ended = LocalExecutor(2, 1, ("arjax", "--trust")).execute(RUNS, tmp_path)
    assert next(ended) == (RUNS[0], 3)
    with pytest.raises(KeyboardInterrupt):
        ended.throw(KeyboardInterrupt)
    assert started["b"][0].asked.is_set() and not started["a"][0].asked.is_set()
    assert {started[run.name][2]["CUDA_VISIBLE_DEVICES"] for run in RUNS} == {"4", "7"}  # whichever thread came first
    for run in RUNS:
        _, command, environment, options = started[run.name]
        assert command == ["arjax", "--trust", *run.arguments(tmp_path)] and options == {"start_new_session": True}
        assert environment["ARJAX_PARENT"]
        assert (tmp_path / run.name / "log.txt").read_text() == f"$ {run.command()}\n"


def test_a_run_that_waits_for_its_folder_does_not_start_after_an_interrupt(started, tmp_path, capsys):
    (tmp_path / "b").mkdir()
    with only_run_in(tmp_path / "b"):
        ended = LocalExecutor(2).execute(RUNS, tmp_path)
        assert next(ended) == (RUNS[0], 3)
        with pytest.raises(KeyboardInterrupt):
            ended.throw(KeyboardInterrupt)
    assert "b" not in started
    out = capsys.readouterr().out
    assert out.count("    b: another process is training in") <= 1  # as soon as it looks


def test_from_time_to_time_the_last_line_of_each_run_is_shown(started, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(executors, "HEARTBEAT_SECONDS", 0.01)
    monkeypatch.setattr(Process, "wait", lambda process: (process.asked.wait(0.2 * bool(process.seconds)), 0)[1])
    assert sorted(run.name for run, _ in LocalExecutor(2).execute(RUNS, tmp_path)) == ["a", "b"]
    lines = capsys.readouterr().out.splitlines()
    assert f"    b: $ {RUNS[1].command()}" in lines


def test_a_folder_is_waited_for_and_that_is_told_once(tmp_path, monkeypatch):
    told, looks = [], []
    monkeypatch.setattr(executors, "RETRY_SECONDS", 0)
    lock = contextlib.ExitStack()
    lock.enter_context(only_run_in(tmp_path))

    def is_stopped():
        looks.append(1)
        if len(looks) == 4:
            lock.close()
        return False

    wait_for_folder(tmp_path, told.append, is_stopped)
    assert told == [f"another process is training in {tmp_path}; waiting for it to end"] and len(looks) == 4
    with only_run_in(tmp_path):
        wait_for_folder(tmp_path, told.append, lambda: True)
    assert len(told) == 1


def test_failures_are_one_line_each(tmp_path, capsys):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/log.txt").write_bytes(b"x" * 3000 + b"\nstep 1\rstep 2 \xff\n\n")
    assert failure(RUNS[0], 3, tmp_path) == (
        "FAILED (exit code 3)",
        f"a FAILED (exit code 3), see {tmp_path}/a/log.txt: step 2 \ufffd",
    )
    assert failure(RUNS[1], 0, tmp_path)[1] == f"b ended without results, see {tmp_path}/b/log.txt: "
    assert tell_failures(["one\n  two"]) == 1 and tell_failures([]) == 0
    assert capsys.readouterr().err == "arjax-sweep: one two\n"
