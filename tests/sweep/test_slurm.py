"""Sweeps on a real SLURM cluster: jobs that are stopped in every way lose nothing. Skipped where there is none."""

import importlib.util
import json
import shutil
import signal
import subprocess
import sys
import time

import pytest
from sweep_cases import STAND_IN, config_text

from arjax.sweep.queued import JOB_FILE, newest_checkpoint


def has_cluster() -> bool:
    if not shutil.which("sbatch") or importlib.util.find_spec("submitit") is None:
        return False
    try:
        return subprocess.run(["sinfo", "--noheader"], capture_output=True, timeout=10).returncode == 0
    except subprocess.TimeoutExpired:
        return False


pytestmark = [pytest.mark.slow, pytest.mark.skipif("not has_cluster()", reason="there is no SLURM cluster here")]

TRAIN = "steps=int(arg or 20), batch_size=16, log_every=100, eval_every=1000, checkpoint_every=200"
CONFIG = config_text(TRAIN, "config.sample.num = 1")
SWEEP = """
from arjax.sweep import Run, Search, choice, log_uniform

def get_sweep():
    return [Run(f"r{steps}", f"config.py:{steps}", {"seed": 3}) for steps in STEPS]

def get_search():
    space = {"optimizer.learning_rate": log_uniform(1e-4, 1e-2), "network.hidden_sizes": choice((8,), (16,))}
    return Search(f"config.py:{STEPS[0]}", space, trials=4)
"""


@pytest.fixture
def start(tmp_path, repository, monkeypatch):
    """Starts a sweep over runs of so many steps in a process of its own; all jobs end with the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(repository))
    (tmp_path / "config.py").write_text(CONFIG)
    code = "from arjax.sweep import main, slurm; slurm.SlurmExecutor.poll_seconds = 0.5; main.run()"
    started = []

    def start(*steps, more=(), workdir="out", code=code):
        (tmp_path / "sweep.py").write_text(SWEEP.replace("STEPS", str(steps)))
        flags = ["--sweep=sweep.py", f"--workdir={workdir}", "--executor=slurm", "--slurm_options=timeout_min=10"]
        started.append(subprocess.Popen([sys.executable, "-c", code, *flags, *more], stdout=-1, stderr=-2, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()
    subprocess.run(["scancel", "--me"], check=True)


def wait_for(what, seconds=200):
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end
        time.sleep(0.2)
    return found


def job_of(folder):
    return json.loads((folder / JOB_FILE).read_text())["job_id"]


def saved(folder):
    """Waits until the job of a run has saved something; returns the number of the job."""
    wait_for(lambda: newest_checkpoint(folder))
    return job_of(folder)


def test_a_sweep_in_a_folder_with_any_name(start, tmp_path):
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    program = [sys.executable, str(tmp_path / "stand_in.py")]
    code = f"from arjax.sweep import main, slurm; slurm.SlurmExecutor.__init__.__defaults__ = ({program},); main.run()"
    process = start(20, 30, workdir="lr[1e-3] 'a' b/out", code=code)
    output = process.communicate(timeout=200)[0]  # and nothing but the sweep's own words: no warning of a library
    assert process.returncode == 0 and output.startswith("2 runs, 0 of them already finished\n[1/2] r")
    assert output.count(" finished  ETA") == 2 and "Warn" not in output


def test_a_job_whose_time_is_up_saves_and_is_queued_again(start, tmp_path):
    """And a sweep that is killed meanwhile finds it: nothing is lost, nothing is done twice."""
    process, folder = start(6000), tmp_path / "out" / "r6000"
    job = saved(folder)
    subprocess.run(["scancel", "--signal=USR2", job], check=True)  # as SLURM does some time before the limit
    wait_for(lambda: "queued again" in (folder / "log.txt").read_text())
    time.sleep(2)  # a node refuses a job that it has just ended
    subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], check=True)  # SLURM would wait two minutes
    step = int(newest_checkpoint(folder))
    process.send_signal(signal.SIGKILL)
    process = start(6000)
    output = process.communicate(timeout=400)[0]
    assert process.returncode == 0 and f"SLURM job {job} is in the queue already" in output, output
    assert job_of(folder) == job and f"resumes at step {step} of" in (folder / "log.txt").read_text()
    alone = subprocess.run(
        [sys.executable, "-m", "arjax", "--config=config.py:6000", "--workdir=alone", "--config.seed=3"]
    )
    assert alone.returncode == 0
    scores = [json.loads((path / "results.json").read_text())["nll_nats"] for path in (folder, tmp_path / "alone")]
    assert scores[0] == scores[1]


def test_a_cancelled_job_saves_and_the_next_start_goes_on(start, tmp_path):
    process, folder = start(6000), tmp_path / "out" / "r6000"
    subprocess.run(["scancel", saved(folder)], check=True)
    assert "r6000 ended without results" in process.communicate(timeout=100)[0] and process.returncode == 1
    step = int(newest_checkpoint(folder))
    assert f"stopped at step {step} of" in (folder / "log.txt").read_text()
    process = start(6000)
    assert process.communicate(timeout=200) and process.returncode == 0
    assert f"resumes at step {step} of" in (folder / "log.txt").read_text()


def test_a_search_that_was_killed_goes_on_with_its_jobs(start, tmp_path):
    more = ["--search=optuna", "--jobs=2"]
    process, folder = start(3000, more=more), tmp_path / "out"
    jobs = [saved(folder / f"trial-00{i}") for i in range(2)]
    assert not (folder / "trial-002").exists()  # two are in the queue at once
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = json.loads((folder / "search.json").read_text())["trials"]
    process = start(3000, more=more)
    output = process.communicate(timeout=400)[0]
    assert process.returncode == 0 and "4 trials, 0 of them already ended" in output
    assert all(f"trial-00{i}: SLURM job {job} is in the queue already" in output for i, job in enumerate(jobs))
    assert json.loads((folder / "search.json").read_text())["trials"][:2] == before
    assert {job_of(folder / f"trial-00{i}") for i in range(2)} == set(jobs)
    scores = [json.loads((folder / f"trial-00{i}/results.json").read_text()) for i in range(4)]
    best = min(range(4), key=lambda i: scores[i]["validation_nll_nats"])
    assert f"best by validation: trial-00{best}" in output and len({score["nll_nats"] for score in scores}) == 4


def test_a_run_over_two_nodes_uses_all_their_devices_and_has_the_score_of_one(start, tmp_path, monkeypatch):
    command = [sys.executable, "-m", "arjax", "--config=config.py:40"]
    subprocess.run([*command, "--workdir=one"], check=True, capture_output=True)
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "2")
    done = subprocess.run(
        ["srun", "-N2", "-n2", *command, "--workdir=two"], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0 and "on 4 devices of 2 processes\n" in done.stdout
    assert "waiting for 2 processes at " in done.stdout
    scores = [json.loads((tmp_path / name / "results.json").read_text())["nll_nats"] for name in ("one", "two")]
    assert scores[1] == pytest.approx(scores[0], rel=1e-5)
