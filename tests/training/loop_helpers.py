"""A tiny real run on digits for the tests of training, in this process or in others."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from arjax.config import base_config, dataset_config, network_config
from arjax.config.build import build
from arjax.reporting.writers import read_metrics
from arjax.training.feed import ResidentFeed
from arjax.training.loop import train
from arjax.training.setup import latest_store

ROOT = Path(__file__).resolve().parents[2]

NETWORKS = {
    "made": {"hidden_sizes": (16,), "direct": False, "dropout": 0.1},
    "transformer": {"width": 16, "num_layers": 2, "num_heads": 2, "dropout": 0.1},
}


def tiny_config(network: str = "made", **changes) -> ConfigDict:
    """A network of few units; `changes` are fields by dotted name with `__` for the dot, as `train__steps=4`."""
    config = base_config()
    config.dataset = dataset_config("digits")
    config.network = network_config(network, **NETWORKS[network])
    config.model.conditional = "categorical"
    config.train.update(steps=12, batch_size=16, steps_per_dispatch=4, log_every=3, eval_every=6, checkpoint_every=6)
    config.train.ema_decay = 0.9
    config.evaluate.batch_size = 104
    for name, value in changes.items():
        *sections, field = name.split("__")
        section = config
        for part in sections:
            section = section[part]
        section[field] = value
    return config


def run_python(code: str, devices: int = 1, **environment: str) -> subprocess.Popen:
    """Starts a Python process that can import the tests' helpers, with so many simulated devices."""
    folders = (ROOT, ROOT / "tests", ROOT / "tests" / "training")
    path = os.pathsep.join([*map(str, folders), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": path, "JAX_NUM_CPU_DEVICES": str(devices)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen, timeout: float = 240) -> str:
    """Waits for a process that must succeed; returns what it printed."""
    output = process.communicate(timeout=timeout)[0]
    assert process.returncode == 0, output
    return output


def assert_same_bits(left, right) -> None:
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for path, (a, b) in zip(
        jax.tree_util.tree_leaves_with_path(left),
        zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True),
        strict=True,
    ):
        a, b = np.asarray(a), np.asarray(b)
        assert a.dtype == b.dtype, path[0]
        np.testing.assert_array_equal(a, b, err_msg=str(path[0]))


def final_state(workdir, **changes):
    """Step, state and history (without times) of the newest checkpoint."""
    setup = build(tiny_config(**changes))
    step, state, history = latest_store(workdir).restore(setup.abstract_state)
    return step, state, {name: value for name, value in history.items() if "seconds" not in name}


def metrics(workdir):
    """The lines of `metrics.jsonl`, without times."""
    return [{k: v for k, v in line.items() if k != "examples_per_second"} for line in read_metrics(workdir)]


def stop_at(monkeypatch, step, feed=ResidentFeed):
    """Sends the run SIGTERM when it has done `step` steps, by way of the feed."""
    original = feed.chunk

    def chunk(self, start, n):
        # The first call only shows the compiler what a chunk is: a signal then comes before the first step.
        if start + n == step if chunk.calls else step == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        chunk.calls += 1
        return original(self, start, n)

    chunk.calls = 0
    monkeypatch.setattr(feed, "chunk", chunk)


def assert_a_stop_changes_no_bit(make, folder, monkeypatch, step, feed=ResidentFeed):
    """A run that stops after so many steps and goes on is the one without a stop; returns the outcomes of both."""
    straight, stopped = folder / "straight", folder / "stopped"
    outcome = train(make(), straight)
    with monkeypatch.context() as patch:
        stop_at(patch, step, feed)
        assert train(make(), stopped).status == "interrupted"
    assert latest_store(stopped).steps()[-1] == step
    resumed = train(make(), stopped)
    states = [latest_store(path).restore(make().abstract_state)[:2] for path in (straight, stopped)]
    assert_same_bits(*states)
    assert metrics(straight) == metrics(stopped)
    return outcome, resumed
