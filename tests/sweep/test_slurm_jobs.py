"""What a SLURM job does when its time is up, and a sweep with the states of its jobs; SLURM is a stand-in."""

import json
import os
import signal
import subprocess
import sys
import time
import types

import pytest
from refusals import refusal
from sweep_cases import REPORT, RUN_CONFIG, sweep, write_sweep

from arjax.core.files import write_json
from arjax.sweep import Run, slurm
from arjax.sweep.queued import EXIT_NAME, JOB_FILE, RETRIES, left_by, newest_checkpoint
from arjax.sweep.slurm import SlurmExecutor, job_id

#: A run that saves a step when it is asked to end, unless it is to save nothing.
RUN = """
import signal, sys, time
from pathlib import Path

def save(number, frame):
    if sys.argv[1] != "nothing":
        (Path("run") / "checkpoints" / "latest" / "20").mkdir(parents=True)
    sys.exit(0)

signal.signal(signal.SIGTERM, save)
(Path("run") / "running").write_text("")
time.sleep(100)
"""
SCONTROL = """#!/bin/sh
if [ "$1" = requeue ]; then echo "$2" >> requeued; else echo "JobState=RUNNING PreemptTime=$PREEMPTED"; fi
"""
JOB = """
import sys
from pathlib import Path
from arjax.sweep.slurm import SlurmJob
print(SlurmJob([sys.executable, "run.py", *sys.argv[1:]], Path("run"))())
"""


@pytest.fixture
def start(tmp_path, repository, monkeypatch):
    """Starts a job and waits until its run runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run" / "checkpoints" / "latest" / "3").mkdir(parents=True)
    (tmp_path / "run.py").write_text(RUN)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "scontrol").write_text(SCONTROL)
    (tmp_path / "bin" / "scontrol").chmod(0o755)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(repository), "SLURM_JOB_ID": "12"}

    def start(saves, **more):
        process = subprocess.Popen(
            [sys.executable, "-c", JOB, saves], stdout=-1, text=True, env=environment | more, start_new_session=True
        )
        while not (tmp_path / "run" / "running").exists():
            assert process.poll() is None
            time.sleep(0.02)
        return process

    return start


@pytest.mark.parametrize(
    ("number", "preempted", "saves", "queued", "said"),
    [
        ("SIGUSR2", "None", "something", True, "the job is queued again"),
        ("SIGUSR2", "None", "nothing", False, "no step was saved within the time of this job"),
        ("SIGTERM", "None", "something", False, ""),  # cancelled
        ("SIGTERM", "2026-01-01T00:00:00", "something", True, "the job is queued again"),
    ],
)
def test_a_job_that_is_stopped(start, tmp_path, number, preempted, saves, queued, said):
    process = start(saves, PREEMPTED=preempted)
    os.killpg(process.pid, getattr(signal, number))  # SLURM signals every process of a job
    assert process.communicate(timeout=20)[0] == "0\n"
    assert (tmp_path / "requeued").exists() == queued
    assert (left_by(tmp_path / "run", "12").get("exit_code") == 0) != queued  # a job in the queue has not ended
    assert said in (tmp_path / "run" / "log.txt").read_text()
    assert newest_checkpoint(tmp_path / "run") == ("3" if saves == "nothing" else "20")


def test_only_the_first_task_of_a_job_speaks_for_it(start, tmp_path):
    process = start("something", SLURM_PROCID="1")
    os.killpg(process.pid, signal.SIGUSR2)
    assert process.communicate(timeout=20)[0] == "0\n"
    assert not (tmp_path / "requeued").exists() and not (tmp_path / "run" / EXIT_NAME).exists()


@pytest.mark.parametrize(
    ("signals", "preempted", "queued"),
    [("", True, False), ("_terminated", False, False), ("_terminated", True, True), ("_time_is_up", False, True)],
)
def test_a_job_is_queued_again_only_when_slurm_stops_it(tmp_path, monkeypatch, signals, preempted, queued):
    """As in the processes of jobs above."""
    called, job = [], slurm.SlurmJob([], tmp_path)
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setattr(slurm, "_is_preempted", lambda: preempted)
    monkeypatch.setattr(
        slurm.subprocess, "run", lambda command, **_: called.append(command) or types.SimpleNamespace(returncode=0)
    )
    if signals:
        setattr(job, signals, True)
    (tmp_path / "checkpoints" / "latest" / "20").mkdir(parents=True)
    assert job._queued_again("3") == queued and called == [["scontrol", "requeue", "12"]] * queued
    assert not job._queued_again("20")  # nothing new was saved
    record(tmp_path / "config.json", RUN_CONFIG)
    record(tmp_path / "results.json", REPORT)  # the run has ended
    assert not job._queued_again("3")


def test_numbers_of_jobs():
    assert job_id({"SLURM_JOB_ID": "12"}) == "12"
    assert job_id({"SLURM_JOB_ID": "14", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "2"}) == "12_2"


class Executor(SlurmExecutor):
    """Submits to nobody: its jobs are what the test says."""

    def __init__(self, *arguments, **queue):
        super(SlurmExecutor, self).__init__([], **queue)
        self.submitted = []

    def submit(self, runs, workdir):
        self.submitted += runs
        return {f"new_{run.name}": run for run in runs}


@pytest.fixture
def queue(monkeypatch):
    """The answers of squeue, one for each time it is asked; the last one is repeated."""
    answers, cancelled = [], []
    monkeypatch.setattr(SlurmExecutor, "states", lambda self: answers.pop(0) if len(answers) > 1 else answers[0])
    monkeypatch.setattr(SlurmExecutor, "poll_seconds", 0)
    monkeypatch.setattr(SlurmExecutor, "cancel", lambda self, job_ids: cancelled.extend(job_ids))
    return answers, cancelled


RUNS = [Run(name, "good.py") for name in "ab"]


def record(path, value):
    """Writes what an earlier start of the sweep, or a job, has left in the folder of a run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, value)


def test_jobs_are_found_again_and_waited_for(tmp_path, queue, capsys):
    record(tmp_path / "a" / JOB_FILE, {"job_id": "7", "command": RUNS[0].command()})
    record(tmp_path / "a" / EXIT_NAME, {"job_id": "7", "exit_code": 0})  # of the time before it was queued again
    record(tmp_path / "b" / EXIT_NAME, {"job_id": "new_b", "exit_code": 3})
    queue[0][:] = [{"7": "RUNNING"}, {"7": "PENDING", "new_b": "COMPLETED"}, None, {"7": "COMPLETING"}, {}]
    executor = Executor()
    assert list(executor.execute(RUNS, tmp_path)) == [(RUNS[1], 3), (RUNS[0], 0)]
    assert executor.submitted == RUNS[1:] and queue[1] == []
    assert "a: SLURM job 7 is in the queue already" in capsys.readouterr().out


def test_a_job_without_an_exit_code_was_ended_from_outside(tmp_path, queue):
    lost = {"new_a": "CANCELLED", "new_b": "RUNNING"}
    queue[0][:] = [{}, lost, {"new_a": "PENDING"}, lost, lost, lost, {"new_b": "OUT_OF_MEMORY"}]
    assert list(Executor().execute(RUNS, tmp_path)) == [(RUNS[0], 1), (RUNS[1], 1)]
    lines = (tmp_path / "a" / "log.txt").read_text().splitlines()
    assert lines == ["$ arjax --config=good.py --workdir=runs/a", "SLURM job new_a was ended from outside CANCELLED"]


def test_a_job_that_was_lost_is_submitted_again_a_few_times(tmp_path, queue):
    queue[0][:] = [{}, {"new_a": "NODE_FAIL"}]
    executor = Executor()
    assert list(executor.execute(RUNS[:1], tmp_path)) == [(RUNS[0], 1)]
    assert executor.submitted == RUNS[:1] * (1 + RETRIES)


def test_an_interrupt_cancels_all_jobs(tmp_path, queue):
    record(tmp_path / "b" / EXIT_NAME, {"job_id": "new_b", "exit_code": 0})
    queue[0][:] = [{}, {"new_a": "RUNNING"}]
    found = Executor().execute(RUNS, tmp_path)
    assert next(found) == (RUNS[1], 0)
    with pytest.raises(KeyboardInterrupt):
        found.throw(KeyboardInterrupt)
    assert queue[1] == ["new_a"]


def test_a_changed_row_with_a_job_in_the_queue_is_a_mistake(tmp_path, queue):
    record(tmp_path / "a" / JOB_FILE, {"job_id": "7", "command": "arjax --config=other.py"})
    queue[0][:] = [{"7": "PENDING"}]
    assert "'a' is another one than its SLURM job 7 in the queue" in refusal(
        list, Executor().execute(RUNS[:1], tmp_path)
    )
    assert queue[1] == []


def test_a_cluster_that_does_not_answer_is_one_sentence(tmp_path, queue):
    queue[0][:] = [None]
    assert "SLURM does not answer" in refusal(list, Executor().execute(RUNS, tmp_path))


def test_a_job_that_finished_after_its_sweep_had_died_is_not_submitted(folder, queue, monkeypatch, capsys):
    write_sweep(folder, "Run('a', 'good.py')")
    sweep()  # as its job would do it
    record(folder / "out/a" / JOB_FILE, {"job_id": "7", "command": RUNS[0].command()})
    record(folder / "out/a" / EXIT_NAME, {"job_id": "7", "exit_code": 0})
    queue[0][:] = [{}]
    executor = Executor()
    monkeypatch.setattr("arjax.sweep.main.SlurmExecutor", lambda *arguments, **options: executor)
    assert sweep("--executor=slurm") == 0 and executor.submitted == []
    assert json.loads((folder / "out/a/results.json").read_text())["split"] == "test"


def test_a_full_disk_is_named_and_the_others_go_on(tmp_path, queue, capsys):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "log.txt").symlink_to("/dev/full")
    record(tmp_path / "b" / EXIT_NAME, {"job_id": "new_b", "exit_code": 0})
    queue[0][:] = [{}]
    assert list(Executor().execute(RUNS, tmp_path)) == [(RUNS[0], 2), (RUNS[1], 0)]
    assert f"a: cannot write {tmp_path}/a/log.txt: No space left on device" in capsys.readouterr().out


def test_the_status_of_jobs(folder, queue, monkeypatch, capsys):
    """Of one that runs, one that waits, one that has failed, and one that is finished."""
    write_sweep(folder, *(f"Run('{name}', 'good.py')" for name in "abcd"))
    sweep("--only=d")
    for name, left in (("a", {"node": "n1"}), ("b", {}), ("c", {"exit_code": 3})):
        record(folder / "out" / name / JOB_FILE, {"job_id": name, "command": ""})
        record(folder / "out" / name / EXIT_NAME, {"job_id": name} | left)
    (folder / "out/c/log.txt").write_text("arjax: the loss was not finite")
    queue[0][:] = [{"a": "RUNNING", "b": "PENDING"}]
    monkeypatch.setattr("arjax.sweep.main.SlurmExecutor", lambda *arguments, **options: Executor())
    capsys.readouterr()
    assert sweep("--executor=slurm", "--status") == 1
    out, err = capsys.readouterr()
    assert all(word in out for word in ("RUNNING on n1", "PENDING", "FAILED (exit code 3)", "1 of 4 rows"))
    assert err == "arjax-sweep: c FAILED (exit code 3), see out/c/log.txt: arjax: the loss was not finite\n"
    assert not list((folder / "out").glob("*/starts")) or (folder / "out/d/starts").read_text() == "x"


def test_a_job_has_the_arguments_of_the_sweep_and_the_cluster_its_options(monkeypatch, tmp_path):
    given = {}

    class AutoExecutor:
        def __init__(self, folder, cluster):
            assert (folder, cluster) == (tmp_path / "slurm", "slurm")

        def update_parameters(self, **options):
            given.update(options)

    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setitem(sys.modules, "submitit", types.SimpleNamespace(AutoExecutor=AutoExecutor))
    options = {"timeout_min": 5, "slurm_additional_parameters": {"qos": "low"}}
    slurm.SlurmExecutor(tmp_path, options)
    assert given == {"timeout_min": 5, "slurm_additional_parameters": {"requeue": True, "qos": "low"}}
