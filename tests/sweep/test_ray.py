"""Sweeps on real clusters: Ray's, of several nodes on this machine, and what survives kills. Skipped without them."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest
from sweep_cases import config_text
from test_slurm import has_cluster

pytestmark = pytest.mark.slow
with_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")

CONFIG = config_text("steps=int(arg or 40), batch_size=16, log_every=20, eval_every=40", "config.sample.num = 1")
SWEEP = """
from arjax.sweep import Run

def get_sweep():
    return [Run("a", "config.py"), Run("b", "config.py", {"seed": 1})]
"""
#: Starts the sweep on a cluster of two nodes with a CPU each, in `ray_version` of Ray.
ON_CLUSTER = """
import os, sys
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=1)
os.environ["RAY_ADDRESS"] = cluster.address
import subprocess
for flags in sys.argv[2:]:
    code = f"import ray; ray.__version__ = {sys.argv[1]!r} or ray.__version__; from arjax.sweep.main import run; run()"
    command = [sys.executable, "-c", code, "--sweep=sweep.py", "--workdir=out", "--executor=ray", *flags.split()]
    done = subprocess.run(command, capture_output=True, text=True)
    print(f"EXIT {done.returncode}", done.stdout, done.stderr, flush=True)
cluster.shutdown()
"""


@pytest.fixture
def on_cluster(tmp_path, repository, monkeypatch):
    """Starts the sweep on a Ray cluster, once for each text of flags; returns what the sweeps print."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.py").write_text(CONFIG)
    (tmp_path / "sweep.py").write_text(SWEEP)

    def run(*flags, ray_version=""):
        command = [sys.executable, "-c", ON_CLUSTER, ray_version, *flags]
        environment = os.environ | {"PYTHONPATH": str(repository)}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=400)
        assert done.returncode == 0, done.stderr
        return done.stdout.split("EXIT ")[1:]

    return run


@with_ray
def test_a_sweep_leaves_and_collects_and_its_processes_connect(on_cluster, tmp_path):
    left, state, collected = on_cluster(
        "--only=a --detach --ray_options=processes=2", "--status --only=a", "--only=a --ray_options=processes=2"
    )
    assert left.startswith("0") and "the jobs continue" in left
    assert state.startswith("0") and ("RUNNING on " in state or "QUEUED" in state)
    assert collected.startswith("0") and "is in the queue already" in collected and "1 of 2 rows" in collected
    assert "on 2 devices of 2 processes" in (tmp_path / "out/a/log.txt").read_text()
    assert json.loads((tmp_path / "out/a/results.json").read_text())["step"] == 40


@with_ray
def test_another_version_of_ray_and_more_than_the_cluster_has_are_a_sentence(on_cluster):
    (version,) = on_cluster("", ray_version="2.1.0")
    assert version.startswith("2") and "the Ray cluster refuses this machine: Version mismatch" in version
    assert "Traceback" not in version
    (resources,) = on_cluster("--ray_options=num_gpus=1")
    assert resources.startswith("2") and "more than this Ray cluster has: 2 CPU, 0 GPU in all" in resources


@pytest.mark.parametrize(
    "executor",
    [
        pytest.param("ray", marks=with_ray),
        pytest.param("slurm", marks=pytest.mark.skipif("not has_cluster()", reason="there is no SLURM cluster here")),
    ],
)
def test_kills_change_no_bit(executor, repository, tmp_path):
    assert has_cluster
    flags = [f"--executor={executor}", f"--workdir={tmp_path}", "--nodes=2", "--workers=1", "--drivers=1"]
    command = [sys.executable, str(repository / "scripts" / "chaos.py"), *flags]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(repository)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((tmp_path / "chaos.json").read_text())
    assert record["refused"] and record["equal"] == record["runs"] >= 8
    assert record["kills"] == {"node": 2, "worker": 1, "driver": 1}
