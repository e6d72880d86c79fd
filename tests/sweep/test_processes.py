"""The processes of a sweep: one sweep at a time in a folder, jobs that end with it, and the devices each one gets."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from refusals import refusal
from sweep_cases import STAND_IN, sweep, write_sweep

from arjax.cli import main as command
from arjax.cli.main import PARENT
from arjax.core.files import only_run_in
from arjax.parallel.devices import share_cores, share_devices, usable_cores, visible_devices
from arjax.sweep.main import main

#: A job that holds its folder as a training run does, and takes a moment to save when its sweep asks it to end. What a
#: terminal sends to it is fatal.
LONG_JOB = """
import os, signal, sys, time
from pathlib import Path
from arjax.core.files import only_run_in
from arjax.cli.main import end_with_parent

def save(number, frame):
    time.sleep(1)
    (folder / "saved").write_text("")
    sys.exit(0)

flags = dict(argument[2:].split("=", 1) for argument in sys.argv[1:])
folder = Path(flags["workdir"])
with only_run_in(folder):
    if (folder / "saved").exists():
        exec(open("stand_in.py").read())
        sys.exit()
    signal.signal(signal.SIGTERM, save)
    signal.signal(signal.SIGINT, lambda number, frame: os._exit(1))
    end_with_parent(0.1)
    (folder / "running").write_text("")
    time.sleep(100)
"""


def test_a_sweep_in_a_folder_with_any_name(folder, capfd):
    """In the table that is printed, in the file and in the picture, names of folders and models are just names."""
    workdir, names = "lr[1e-3] [/] $a 'b' %j/out", ("a+b=1.5e-3", "_x", "x/__y")
    curve = 'open(folder + "/metrics.jsonl", "w").write(json.dumps({"step": 1, "validation/nll_nats": 1.0}))'
    (folder / "stand_in.py").write_text(STAND_IN + curve)
    write_sweep(folder, *(f"Run('{name}', 'good.py', model='$m$_[red]$_{{$')" for name in names))
    for _ in range(2):
        assert main(["--sweep=sweep.py", f"--workdir={workdir}"]) == 0
        out, err = capfd.readouterr()
        assert err == "" and f"3 of 3 rows in {workdir}/results.csv" in out and out.count("$m$_[red]$_{$") == 3
        assert f"learning curves in {workdir}/curves.png" in out
    assert (folder / workdir / "x" / "__y" / "starts").read_text() == "x"


@pytest.fixture
def start(folder, repository):
    """Starts a sweep whose jobs are long ones, in a process of its own."""
    (folder / "long_job.py").write_text(LONG_JOB)
    program = [sys.executable, "long_job.py"]
    code = f"from arjax.sweep import executors, main; executors.LocalExecutor.__init__.__defaults__ = (None, {program})"
    code += "; import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # parallel tests ignore it
    started = []

    def start(*flags):
        command = [sys.executable, "-c", f"{code}; main.run()", "--sweep=sweep.py", "--workdir=out", *flags]
        environment = os.environ | {"PYTHONPATH": str(repository)}
        options = {"stdout": -1, "stderr": -1, "text": True, "env": environment, "start_new_session": True}
        started.append(subprocess.Popen(command, **options))
        return started[-1]

    yield start
    for process in started:
        process.terminate()
        process.communicate(timeout=20)


def wait_for(path):
    for _ in range(200):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"there is no {path}")


@pytest.mark.slow
def test_a_killed_sweep_can_be_started_again_at_once(folder, start):
    """Its jobs see that it is gone, and save; the next sweep waits for that and goes on."""
    write_sweep(folder, "Run('a', 'good.py')")
    process = start()
    wait_for(folder / "out/a/running")
    process.send_signal(signal.SIGKILL)
    out, err = start().communicate(timeout=30)
    assert "finished" in out and err == "" and (folder / "out/a/saved").exists()


@pytest.mark.parametrize(
    "number", ["SIGINT", *(pytest.param(n, marks=pytest.mark.slow) for n in ("SIGHUP", "SIGTERM"))]
)
def test_jobs_save_whatever_a_terminal_sends_to_its_processes(folder, start, number):
    """Ctrl-C, and the end of the terminal; or `kill`, which reaches the sweep alone. Waiting jobs do not start."""
    write_sweep(folder, "Run('a', 'good.py')", "Run('b', 'good.py')")
    process = start("--jobs=1")
    wait_for(folder / "out/a/running")
    (os.kill if number == "SIGTERM" else os.killpg)(process.pid, getattr(signal, number))
    err = process.communicate(timeout=20)[1]
    if number != "SIGHUP":
        assert process.returncode == 130 and err == "arjax-sweep: interrupted\n"
    wait_for(folder / "out/a/saved")
    assert not (folder / "out/b/running").exists()


def test_a_second_sweep_in_the_folder_is_refused(folder, start, capsys):
    write_sweep(folder, "Run('a', 'good.py')", "Run('b', 'good.py')")
    start("--only=a")
    wait_for(folder / "out/a/running")
    assert sweep("--only=b") == 2
    assert "in out: wait for it, or choose another --workdir" in capsys.readouterr().err
    assert not (folder / "out" / "b").exists()


@pytest.mark.slow
def test_a_run_by_hand_in_the_folder_of_a_row_is_waited_for(folder, start):
    write_sweep(folder, "Run('a', 'good.py')")
    (folder / "out" / "a").mkdir(parents=True)
    (folder / "out" / "a" / "saved").write_text("")
    with only_run_in(folder / "out" / "a"):
        process = start()
        assert "training in out/a; waiting for it to end" in process.stdout.readline() + process.stdout.readline()
    out, err = process.communicate(timeout=30)
    assert "finished" in out and err == ""


@pytest.mark.slow
def test_a_training_run_saves_when_its_parent_is_gone(tmp_path, repository):
    arguments = ["--config=configs/digits.py:network=made", "--workdir", str(tmp_path / "run")]
    command = [sys.executable, "-m", "arjax", *arguments, "--config.train.checkpoint_every=100000"]
    code = f"import os, subprocess; os.environ['{PARENT}'] = str(os.getpid()); subprocess.run({command})"
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=repository, stdout=-1, stderr=-2, text=True)
    while not (tmp_path / "run" / "metrics.jsonl").exists():  # training has begun
        time.sleep(0.1)
    time.sleep(2)
    parent.kill()
    output = parent.stdout.read()  # until the last process that writes there has ended
    assert "stopped at step" in output and "the same command resumes from there" in output
    parent.stdout.close()
    parent.wait()


DEVICES = """
import json, os, sys, time
flags = dict(argument[2:].split("=", 1) for argument in sys.argv[1:])
times = {"start": time.time(), "devices": os.environ.get("CUDA_VISIBLE_DEVICES")}
time.sleep(0.3)
json.dump(times | {"end": time.time()}, open(flags["workdir"] + "/times.json", "w"))
"""


def test_each_job_has_devices_of_its_own(folder, monkeypatch, capsys):
    (folder / "stand_in.py").write_text(DEVICES)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3,GPU-5e,7,0")
    write_sweep(folder, *(f"Run('r{i}', 'good.py')" for i in range(5)))
    assert sweep("--jobs=2", "--devices_per_job=2") == 1  # the stand-in writes no results
    jobs = [json.loads((folder / f"out/r{i}/times.json").read_text()) for i in range(5)]
    assert {job["devices"] for job in jobs} == {"2,3", "GPU-5e,7"}
    for one in jobs:
        for other in jobs:
            apart = one["end"] <= other["start"] or other["end"] <= one["start"]
            assert one is other or apart or one["devices"] != other["devices"]
    assert sweep("--jobs=3", "--devices_per_job=2") == 2
    assert "need 6 devices, and only 5 (2,3,GPU-5e,7,0) can be seen here" in capsys.readouterr().err
    assert sweep("--jobs=3", "--devices_per_job=2", "--only=r0,r1") == 1  # two runs need four devices
    write_sweep(folder, "Run('a', 'good.py')", "Run('b', 'good.py', {'train.init_from': '{workdir}/a'})")
    assert sweep("--jobs=3", "--devices_per_job=5") == 1  # one after the other
    assert sweep("--executor=slurm", "--devices_per_job=2") == 2
    assert "--slurm_options=gpus_per_node=N" in capsys.readouterr().err
    sweep("--only=a", workdir="all")
    assert json.loads((folder / "all/a/times.json").read_text())["devices"] == "2,3,GPU-5e,7,0"


CORES = """
import json, os, sys
flags = dict(argument[2:].split("=", 1) for argument in sys.argv[1:])
json.dump(sorted(os.sched_getaffinity(0)), open(flags["workdir"] + "/cores.json", "w"))
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system cannot hold a process to its cores")
@pytest.mark.skipif(len(usable_cores()) < 2, reason="one core cannot be shared out")
def test_jobs_without_devices_have_cores_of_their_own(folder, monkeypatch):
    """Runs that go on at once share out the cores; one alone has them all, and where there are devices each run has."""
    (folder / "stand_in.py").write_text(CORES)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    all_cores = usable_cores()
    half = len(all_cores) // 2

    def cores(name, *flags):
        sweep(f"--only={name}", *flags)
        return {tuple(json.loads((folder / f"out/{each}/cores.json").read_text())) for each in name.split(",")}

    write_sweep(folder, *(f"Run('r{i}', 'good.py')" for i in range(4)))
    assert cores("r0,r1,r2,r3", "--jobs=2") == {tuple(all_cores[:half]), tuple(all_cores[half:])}
    assert cores("r0", "--jobs=2") == cores("r0,r1") == {tuple(all_cores)}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert cores("r0,r1", "--jobs=2") == {tuple(all_cores)}
    assert usable_cores() == all_cores


@pytest.mark.parametrize(
    ("jobs", "expected"), [(1, [set()]), (2, [{3, 4}, {5, 6, 7}]), (3, [{3}, {4, 5}, {6, 7}]), (6, [set()] * 6)]
)
def test_shares_of_cores(jobs, expected, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {7, 4, 3, 5, 6}, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cores: None, raising=False)
    assert share_cores(jobs) == expected


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ["0", "1"]),
        ({"CUDA_VISIBLE_DEVICES": "1"}, ["1"]),
        ({"CUDA_VISIBLE_DEVICES": " 3, 1"}, ["3", "1"]),
        ({"CUDA_VISIBLE_DEVICES": ""}, []),
        ({"CUDA_VISIBLE_DEVICES": "0,-1,1"}, ["0"]),
        ({"CUDA_VISIBLE_DEVICES": "MIG-1a,MIG-2b"}, ["MIG-1a", "MIG-2b"]),
        ({"ROCR_VISIBLE_DEVICES": "0,1,2"}, ["0", "1", "2"]),
    ],
)
def test_visible_devices(environment, expected, tmp_path):
    for name in ("nvidia0", "nvidia4", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).write_text("")
    assert visible_devices(environment, tmp_path) == expected


@pytest.mark.parametrize(("devices", "jobs", "each"), [([], 1, 1), (["0"], 2, 1), (["0"], 1, 0)])
def test_too_few_devices(devices, jobs, each):
    assert "--devices_per_job" in refusal(share_devices, devices, jobs, each)


def test_the_command_ends_with_its_parent_and_with_the_code_of_its_mode(monkeypatch):
    done = []
    monkeypatch.setattr(command, "end_with_parent", lambda: done.append("watches"))
    monkeypatch.setattr(command, "main", lambda: 3)
    monkeypatch.setattr(command, "leave", done.append)
    command.run()
    assert done == ["watches", 3]
