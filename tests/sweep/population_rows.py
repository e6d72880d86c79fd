"""Rows that differ in order and seed only, of a small network on noisy bits, and the sweeps that train them."""

import json

from arjax.cli.main import main as arjax
from arjax.data import DATASETS
from arjax.sweep.main import main

#: Every bit is flipped at random, in each step and whenever it is scored: the draws are those of the seed.
CONFIG = """
import dataclasses
import jax
import numpy as np
from arjax.config import base_config, dataset_config, network_config
from arjax.core.spec import EventSpec
from arjax.data import DATASETS, from_arrays

def flip(key, batch, train):
    return batch.replace(x=batch.x ^ jax.random.bernoulli(key, 0.1, batch.x.shape).astype(batch.x.dtype))

def noisy(validation: bool = True):
    x = (np.arange(96 * 4).reshape(96, 4) ** 2 % 7 < 3).astype(np.int32)
    splits = {"train": x[:60], "test": x[60:80]} | ({"validation": x[80:]} if validation else {})
    return dataclasses.replace(from_arrays(EventSpec((4,)), **splits), transform=flip)

if "noisy" not in DATASETS.names():
    DATASETS.register("noisy")(noisy)

def get_config(arg=""):
    config = base_config()
    config.dataset = dataset_config("noisy")
    config.network = network_config("made", hidden_sizes=(8,))
    config.train.update(steps=16, batch_size=8, steps_per_dispatch=4, log_every=4, eval_every=2, checkpoint_every=4)
    config.train.patience = 2
    config.optimizer.learning_rate = 0.3
    return config
"""

SWEEP = """
from arjax.sweep import Mean, Mixture, Run

def run(name, **overrides):
    return Run(name, "config.py", {key.replace("__", "."): value for key, value in overrides.items()})

def get_sweep():
    grid = [run(f"{o}-{s}", model__ordering=o, seed=s) for o in ("raster", "reversed") for s in (0, 1)]
    return [*grid, run("odd", model__ordering="random", seed=1)]
"""


def write_population(folder, monkeypatch, scope):
    """Goes into a folder with the sweep and its config; a data set that the config registers is forgotten again."""
    monkeypatch.chdir(folder)
    scope(DATASETS)
    (folder / "config.py").write_text(CONFIG)
    (folder / "sweep.py").write_text(SWEEP)


def sweep(*flags, workdir="out"):
    return main(["--sweep=sweep.py", f"--workdir={workdir}", "--executor=population", *flags])


def results(folder):
    return json.loads((folder / "results.json").read_text())


def alone(folder, order, seed, *flags):
    overrides = [f"--config.model.ordering={order}", f"--config.seed={seed}", *flags]
    assert arjax(["--config=config.py", f"--workdir={folder}", *overrides]) == 0
    return results(folder)
