"""The last lines of a run: the pictures to look at, and commands to go on with."""

from __future__ import annotations

import shlex
from pathlib import Path

from ml_collections import ConfigDict

from arjax.data import DATASETS
from arjax.training.setup import Setup

PICTURES = ("samples/samples.png", "entropy.png")
#: The module of what a config file defines itself.
CONFIG_FILE = "<run_path>"


def next_steps(config: ConfigDict, setup: Setup, workdir: Path, given: str) -> list[str]:
    """Lines to read, or to paste into a shell; `given` is the flag `--config` of the run."""
    places = [str(workdir / name) for name in PICTURES if (workdir / name).exists()]
    where = f"--workdir={shlex.quote(str(workdir))}"
    if CONFIG_FILE in _modules(config, setup):  # then the run cannot be opened without its config file
        where += f" --config={shlex.quote(given)}"
    others = [split for split in ("validation", "test", "train") if split in setup.dataset.splits]
    other = next((split for split in others if split != setup.evaluate.split), setup.evaluate.split)
    return [
        *([f"look at: {' and '.join(places)}"] if places else []),
        f"more samples: arjax --mode=sample {where} --config.sample.num=64",
        f"another split: arjax --mode=evaluate {where} --config.evaluate.split={other}",
    ]


def _modules(config: ConfigDict, setup: Setup) -> set[str]:
    """Where the components of a run are defined."""
    model, recipe = setup.model, setup.recipe
    parts = (type(model.network), type(model.conditional), type(recipe.objective), DATASETS.get(config.dataset.name))
    return {part.__module__ for part in parts}
