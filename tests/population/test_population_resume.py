"""A population that is interrupted goes on where it was, bit for bit."""

import os
import signal

import jax
import numpy as np
import pytest
from population_cases import small_config

from arjax.config.build import build
from arjax.config.files import save_config
from arjax.core.errors import UserError
from arjax.population import Population, train_population
from arjax.population.train import Members
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
    original, calls = Members._arguments, []

    def arguments(self, start, n):
        calls.append(start)
        if start == step and len(calls) > 1:
            os.kill(os.getpid(), number)
        return original(self, start, n)

    monkeypatch.setattr(Members, "_arguments", arguments)


def untimed(scores):
    """The reports of the members without their seconds."""
    return [[{k: v for k, v in own.items() if "second" not in k} for own in row] for row in scores.results]


def assert_same(left, right):
    for name in ("validation", "best_step", "validation_rows", "test_rows"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name))
    assert untimed(left) == untimed(right)


def metrics(folder):
    return [{k: v for k, v in line.items() if k != "examples_per_second"} for line in read_metrics(folder)]


def test_an_interrupted_population_goes_on_bit_for_bit(tmp_path, monkeypatch):
    population = Population(config(), ORDERS, SEEDS)
    straight = train_population(population, workdir=tmp_path / "a")
    assert (straight.best_step < 8).any()
    stop_after(monkeypatch, 4)
    with pytest.raises(KeyboardInterrupt, match="stopped at step 6 of 8"):
        train_population(population, workdir=tmp_path / "b")
    monkeypatch.undo()
    lines = []
    population = Population(config(), ORDERS, SEEDS)
    assert_same(train_population(population, lines.append, tmp_path / "b"), straight)
    assert lines[2:4] == ["2 orders x 2 seeds, all in one program", "goes on at step 6 of 8"]
    assert metrics(tmp_path / "a") == metrics(tmp_path / "b")
    assert_same(train_population(population, lines.append, tmp_path / "b"), straight)  # finished: it just reports
    population.replace_orders(ORDERS[::-1])
    with pytest.raises(UserError, match=r"holds another run: model\.ordering was"):
        train_population(population, workdir=tmp_path / "b")


@pytest.mark.slow
def test_a_population_starts_from_a_run(tmp_path):
    save_config(config(), tmp_path)
    setup = build(config())
    train(setup, tmp_path)
    best, _, _ = restore_params(setup, tmp_path)
    members = Members(Population(config(init_from=str(tmp_path)), ORDERS, SEEDS), tmp_path / "p", print)
    state = members.begin({}, None)
    for leaf, expected in zip(jax.tree.leaves(state.best), jax.tree.leaves(best), strict=True):
        np.testing.assert_array_equal(leaf, np.broadcast_to(expected, leaf.shape))
