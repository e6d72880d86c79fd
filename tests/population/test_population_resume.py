"""A population that is interrupted or killed goes on where it was, bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from population_cases import small_config

from arjax.config.build import build
from arjax.config.files import save_config
from arjax.core.errors import UserError
from arjax.population import Population, PopulationJob, train_population
from arjax.population.jobs import run_job
from arjax.population.main import main
from arjax.population.members import Members
from arjax.reporting.writers import read_metrics
from arjax.training.loop import train
from arjax.training.setup import restore_params

ORDERS, SEEDS = ("spiral", "raster"), (3, 0)


def config(**changes):
    config = small_config("made", hidden_sizes=(8,), direct=False)
    config.optimizer.learning_rate = 0.5  # some members get worse, and the best parameters are not the last ones
    config.train.update(steps=8, log_every=3, checkpoint_every=3, ema_decay=0.0, **changes)
    return config


def stop_after(monkeypatch, step, number=signal.SIGTERM):
    """Sends SIGTERM when the rows of the step after `step` are asked for, not counting the call that compiles."""
    original, calls = Population.indices, []

    def indices(self, start, n, most):
        calls.append(start)
        if start == step and len(calls) > 1:
            os.kill(os.getpid(), number)
        return original(self, start, n, most)

    monkeypatch.setattr(Population, "indices", indices)


def assert_same(left, right):
    for name in ("validation", "best_step", "validation_rows", "test_rows"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name))
    assert left.results == right.results


def metrics(folder):
    return [{k: v for k, v in line.items() if k != "examples_per_second"} for line in read_metrics(folder)]


def test_an_interrupted_population_goes_on_bit_for_bit(tmp_path, monkeypatch):
    straight = train_population(Population(config(), ORDERS, SEEDS), workdir=tmp_path / "a")
    assert (straight.best_step < 8).any()
    stop_after(monkeypatch, 4)
    with pytest.raises(KeyboardInterrupt, match="stopped at step 6 of 8"):
        train_population(Population(config(), ORDERS, SEEDS), workdir=tmp_path / "b")
    monkeypatch.undo()
    lines = []
    population = Population(config(), ORDERS, SEEDS)
    assert_same(train_population(population, lines.append, tmp_path / "b"), straight)
    assert lines[0] == "goes on at step 6 of 8"
    assert metrics(tmp_path / "a") == metrics(tmp_path / "b")
    assert_same(train_population(population, lines.append, tmp_path / "b"), straight)  # finished: it just reports
    population.replace_orders(ORDERS[::-1])
    with pytest.raises(UserError, match="holds another population"):
        train_population(population, workdir=tmp_path / "b")


def test_a_population_starts_from_a_run(tmp_path):
    save_config(config(), tmp_path)
    setup = build(config())
    train(setup, tmp_path)
    best, _, _ = restore_params(setup, tmp_path)
    members = Members(Population(config(init_from=str(tmp_path)), ORDERS, SEEDS), tmp_path / "p", print)
    state = members.begin({}, None)
    for leaf, expected in zip(jax.tree.leaves(state.best), jax.tree.leaves(best), strict=True):
        np.testing.assert_array_equal(leaf, np.broadcast_to(expected, leaf.shape))


def test_the_state_of_a_job_is_kept_until_it_is_finished_and_no_longer_than_its_config(tmp_path, monkeypatch):
    seen = []
    job = PopulationJob("a", "unused.py", ORDERS, SEEDS)
    monkeypatch.setattr(PopulationJob, "resolved", lambda job: config())
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            run_job(job, tmp_path, seen.append)
    assert (tmp_path / "training" / "checkpoints").is_dir() and not (tmp_path / "population.json").exists()
    run_job(job, tmp_path, seen.append)
    assert "goes on at step 6 of 8" in seen and not (tmp_path / "training").exists()
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            run_job(job, tmp_path, seen.append)
    seen.clear()
    monkeypatch.setattr(PopulationJob, "resolved", lambda job: config(patience=7))
    run_job(job, tmp_path, seen.append)
    assert not any("goes on" in line for line in seen)


STUDY = """
import sys
sys.path.insert(0, {tests!r})
from population_cases import small_config
from arjax.population import PopulationJob

def get_config(arg=""):
    config = small_config("made", hidden_sizes=(8,), direct=False)
    config.train.update(steps=200, log_every=20, eval_every=20, checkpoint_every=20)
    return config

def get_populations():
    return [PopulationJob("a", {path!r}, ("spiral", "raster"), (3, 0))]
"""


@pytest.mark.slow
def test_a_killed_population_goes_on_bit_for_bit(tmp_path):
    path = tmp_path / "study.py"
    path.write_text(STUDY.format(tests=str(Path(__file__).parent), path=str(path)))

    def command(name):
        code = "import sys; from arjax.population.main import main; sys.exit(main(sys.argv[1:]))"
        flags = [f"--study={path}", f"--workdir={tmp_path / name}"]
        return subprocess.Popen([sys.executable, "-c", code, *flags], stdout=subprocess.PIPE, text=True)

    straight = command("straight")
    straight.communicate(timeout=300)
    assert straight.returncode == 0
    for _ in range(3):
        process, latest = command("killed"), tmp_path / "killed/a/training/checkpoints/latest"
        before = {path.name for path in latest.glob("[0-9]*")}
        while process.poll() is None and {path.name for path in latest.glob("[0-9]*")} <= before:
            time.sleep(0.02)
        process.kill()
        process.communicate()
    process = command("killed")
    assert "goes on at step" in process.communicate(timeout=300)[0]
    rows = [np.load(tmp_path / name / "a" / "rows.npz") for name in ("straight", "killed")]
    for split in ("validation", "test"):
        np.testing.assert_array_equal(rows[0][split], rows[1][split])
    found = [json.loads((tmp_path / name / "a" / "population.json").read_text()) for name in ("straight", "killed")]
    assert [found[0][name] for name in ("best_step", "results")] == [
        found[1][name] for name in ("best_step", "results")
    ]


def test_an_interrupted_study_says_where_it_is(tmp_path, monkeypatch, capsys):
    path = tmp_path / "study.py"
    path.write_text(STUDY.format(tests=str(Path(__file__).parent), path=str(path)).replace("steps=200", "steps=40"))
    stop_after(monkeypatch, 20)
    assert main([f"--study={path}", f"--workdir={tmp_path / 'out'}"]) == 130
    assert "arjax-population: interrupted: stopped at step 22 of 40; the same command" in capsys.readouterr().err
