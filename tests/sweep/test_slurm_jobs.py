"""What a SLURM job does when its time is up, and a sweep with the states of its jobs; SLURM is a stand-in."""

import contextlib
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

from arjax.cli.main import PARENT
from arjax.core.errors import UserError
from arjax.core.files import write_json
from arjax.sweep import Run, queued, slurm
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
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("SIGUSR2", "None", "nothing", False, "no step was saved within the time of this job"),
                ("SIGTERM", "None", "something", False, ""),  # cancelled
                ("SIGTERM", "2026-01-01T00:00:00", "something", True, "the job is queued again"),
            )
        ),
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


@pytest.mark.parametrize(
    ("signals", "preempted", "queued"),
    [("", True, False), ("_terminated", False, False), ("_terminated", True, True), ("_time_is_up", False, True)],
)
def test_a_job_is_queued_again_only_when_slurm_stops_it(tmp_path, monkeypatch, signals, preempted, queued):
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
    log = tmp_path / "log.txt"
    assert (log.read_text() if log.exists() else "") == ("the job is queued again\n" + UNSAVED) * queued
    record(tmp_path / "config.json", RUN_CONFIG)
    record(tmp_path / "results.json", REPORT)  # the run has ended
    assert not job._queued_again("3")


UNSAVED = "no step was saved within the time of this job: it needs a longer timeout_min\n"


class Process:
    """A run that gets these signals while it runs, as all processes of a job do, and saves step 20."""

    def __init__(self, folder, numbers):
        self.folder, self.numbers, self.ended = folder, numbers, []

    def wait(self):
        assert signal.SIGUSR2 not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
        for number in self.numbers:
            os.kill(os.getpid(), number)
        (self.folder / "checkpoints" / "latest" / "20").mkdir(parents=True)
        return 0

    def terminate(self):
        self.ended.append("SIGTERM")


@pytest.fixture
def in_job(tmp_path, monkeypatch):
    """Runs a job in this process, as one with these variables; returns it, its exit code, and the calls of SLURM."""
    usual = {number: signal.getsignal(number) for number in (signal.SIGUSR2, signal.SIGTERM)}

    def run(numbers, preempted="None", answer=(0, ""), **environment):
        calls, process = [], Process(tmp_path / "run", numbers)

        def start(command, folder, variables):
            assert signal.SIGUSR2 in signal.pthread_sigmask(signal.SIG_BLOCK, ())  # the run inherits the mask
            assert (command, folder) == (["run", "it"], tmp_path / "run") and variables[PARENT] == str(os.getpid())
            return process

        def called(command, **options):
            calls.append(command)
            assert options == {"capture_output": True, "text": True}
            text = f"JobState=RUNNING PreemptTime={preempted}" if command[1] == "show" else ""
            return types.SimpleNamespace(stdout=text, returncode=answer[0], stderr=answer[1])

        for name, value in ({"SLURM_JOB_ID": "12"} | environment).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(slurm, "start", start)
        monkeypatch.setattr(slurm.subprocess, "run", called)
        job = slurm.SlurmJob(("run", "it"), tmp_path / "run")
        return job, job(), calls, process.ended

    yield run
    for number, handler in usual.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})


@pytest.mark.parametrize(
    ("numbers", "preempted", "answer", "shown", "queued", "said"),
    [
        ((), "None", (0, ""), False, False, ""),
        ((signal.SIGUSR2, signal.SIGUSR2), "None", (0, ""), False, True, "the job is queued again\n"),
        ((signal.SIGUSR2,), "None", (1, "no\nsuch job\n"), False, False, "no such job\n"),
        ((signal.SIGTERM,), "None", (0, ""), True, False, ""),
        ((signal.SIGTERM,), "Unknown", (0, ""), True, False, ""),
        ((signal.SIGTERM,), "2026-01-01T00:00:00", (0, ""), True, True, "the job is queued again\n"),
    ],
)
def test_signals_of_slurm(in_job, tmp_path, numbers, preempted, answer, shown, queued, said):
    """The run is asked to end once; a job that is queued again has no exit code."""
    job, code, calls, ended = in_job(numbers, preempted, answer)
    assert code == 0 and job.stopped == bool(numbers) and ended == ["SIGTERM"] * (signal.SIGUSR2 in numbers)
    asked = queued or answer[0] != 0
    assert calls == [["scontrol", "show", "job", "12"]] * shown + [["scontrol", "requeue", "12"]] * asked
    left = left_by(tmp_path / "run", "12")
    assert left.get("exit_code", "none") == ("none" if queued else 0) and ("node" in left) == queued
    log = tmp_path / "run" / "log.txt"
    assert (log.read_text() if log.exists() else "") == said


@pytest.mark.parametrize(("tasks", "attempts"), [("1", 1 + RETRIES), ("2", 1)])
def test_a_run_that_is_killed_begins_again_in_a_job_of_one_process(in_job, tmp_path, monkeypatch, tasks, attempts):
    begun = []
    monkeypatch.setattr(slurm.SlurmJob, "attempt", lambda job: begun.append(job) or -signal.SIGKILL)
    _, code, calls, _ = in_job((), SLURM_NTASKS=tasks)
    assert (code, calls, len(begun)) == (-signal.SIGKILL, [], attempts)
    assert left_by(tmp_path / "run", "12") == {"job_id": "12", "exit_code": -signal.SIGKILL}


def test_another_task_of_a_job_leaves_nothing(in_job, tmp_path):
    _, code, calls, ended = in_job((signal.SIGUSR2,), SLURM_PROCID="1")
    assert (code, calls, ended) == (0, [], ["SIGTERM"]) and not (tmp_path / "run" / EXIT_NAME).exists()


def test_a_job_that_is_stopped_while_it_waits_for_its_folder_does_not_begin(in_job, tmp_path, monkeypatch):
    monkeypatch.setattr(slurm.SlurmJob, "stopped", True, raising=False)
    monkeypatch.setattr(slurm.SlurmJob, "__init__", lambda job, *_: vars(job).update(folder=tmp_path / "run"))
    assert in_job(())[1] == -signal.SIGKILL
    assert left_by(tmp_path / "run", "12") == {"job_id": "12", "exit_code": -signal.SIGKILL}


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


class JobError(Exception):
    """Of submitit: a job that cannot be submitted."""


@pytest.fixture
def submitit(monkeypatch):
    """A stand-in for submitit: what it is given, and the numbers of its jobs; `wrong` is raised, if anything."""
    given = types.SimpleNamespace(options={}, jobs=[], wrong={})

    class AutoExecutor:
        def __init__(self, folder, cluster):
            given.folder, given.cluster = folder, cluster
            given.wrong.get("init", lambda: None)()

        def update_parameters(self, **options):
            given.options.update(options)

        @contextlib.contextmanager
        def batch(self):
            given.jobs.append("batch")
            yield
            given.wrong.get("batch", lambda: None)()

        def submit(self, job):
            given.jobs.append((job.command, job.folder))
            return types.SimpleNamespace(job_id=f"12_{len(given.jobs) - 2}")

    utils = types.SimpleNamespace(FailedJobError=JobError, FailedSubmissionError=JobError)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setitem(sys.modules, "submitit", types.SimpleNamespace(AutoExecutor=AutoExecutor))
    monkeypatch.setitem(sys.modules, "submitit.core", types.SimpleNamespace(utils=utils))
    monkeypatch.setitem(sys.modules, "submitit.core.utils", utils)
    return given


def raising(error):
    def raise_it():
        raise error

    return raise_it


def test_a_job_has_the_arguments_of_the_sweep_and_the_cluster_its_options(submitit, tmp_path):
    options = {"timeout_min": 5, "slurm_additional_parameters": {"qos": "low"}}
    executor = slurm.SlurmExecutor(tmp_path, options, ["arjax"])
    assert (submitit.folder, submitit.cluster) == (tmp_path / "slurm", "slurm")
    assert submitit.options == {"timeout_min": 5, "slurm_additional_parameters": {"requeue": True, "qos": "low"}}
    assert executor.submit(RUNS, tmp_path) == {"12_0": RUNS[0], "12_1": RUNS[1]}
    commands = [(["arjax", *run.arguments(tmp_path)], tmp_path / run.name) for run in RUNS]
    assert submitit.jobs == ["batch", *commands]
    notes = [json.loads((tmp_path / run.name / JOB_FILE).read_text()) for run in RUNS]
    assert notes == [{"job_id": f"12_{i}", "command": run.command()} for i, run in enumerate(RUNS)]
    submitit.wrong["batch"] = raising(JobError("sbatch: error:\nno such partition\n"))
    assert refusal(executor.submit, RUNS, tmp_path) == "the jobs could not be submitted: no such partition"
    submitit.wrong["init"] = raising(RuntimeError("Could not detect srun\nare you on a cluster?"))
    assert refusal(slurm.SlurmExecutor, tmp_path, {}) == "--executor=slurm does not work here: Could not detect srun"
    assert refusal(slurm.SlurmExecutor, tmp_path / "a%b", {}).startswith("SLURM reads % in the name of a log as")


def test_squeue_tells_states_and_scancel_ends_jobs(submitit, tmp_path, monkeypatch):
    calls, answers = [], ["7|RUNNING\n12_3|PENDING\nslurm: warning\n", None, 1]

    def called(command, **options):
        calls.append((command, options))
        answer = answers.pop(0) if command[0] == "squeue" else ""
        if answer is None:
            raise subprocess.TimeoutExpired(command, 60)
        return types.SimpleNamespace(stdout="" if answer == 1 else answer, returncode=int(answer == 1))

    monkeypatch.setattr(slurm.subprocess, "run", called)
    executor = slurm.SlurmExecutor(tmp_path, {})
    assert [executor.states() for _ in range(3)] == [{"7": "RUNNING", "12_3": "PENDING"}, None, None]
    executor.cancel([])
    executor.cancel(["7", "12_3"])
    squeue = ["squeue", "--me", "--noheader", "--array", "--states=all", "--format=%i|%T"]
    asked = (squeue, {"capture_output": True, "text": True, "timeout": 60})
    assert calls == [asked] * 3 + [(["scancel", "--quiet", "7", "12_3"], {"check": False})]


def test_a_sweep_tells_from_time_to_time_what_its_jobs_do(tmp_path, queue, monkeypatch, capsys):
    record(tmp_path / "a" / EXIT_NAME, {"job_id": "new_a", "node": "n1"})
    monkeypatch.setattr(queued, "HEARTBEAT_SECONDS", -1.0)
    queue[0][:] = [{}, {"new_a": "RUNNING", "new_b": "PENDING"}, {"new_b": "CANCELLED"}, *[{}] * 3]
    executor = Executor(jobs=2)
    assert sorted(executor.execute(RUNS, tmp_path), key=lambda end: end[0].name) == [(RUNS[0], 1), (RUNS[1], 1)]
    commands = [f"$ {run.command()}" for run in RUNS]
    assert capsys.readouterr().out.splitlines()[:2] == [
        f"    a: RUNNING on n1  {commands[0]}",
        f"    b: PENDING  {commands[1]}",
    ]


def test_a_lost_job_that_cannot_be_submitted_again_fails_alone(tmp_path, queue, monkeypatch, capsys):
    queue[0][:] = [{}, {"new_a": "NODE_FAIL"}]
    executor, submit = Executor(), Executor.submit
    monkeypatch.setattr(Executor, "submit", lambda *given: submit(*given) if not executor.submitted else refuse_it())
    refuse_it = raising(UserError("the jobs could not be submitted: no"))
    assert list(executor.execute(RUNS[:1], tmp_path)) == [(RUNS[0], 1)]
    assert capsys.readouterr().out == "    a: the jobs could not be submitted: no\n"
