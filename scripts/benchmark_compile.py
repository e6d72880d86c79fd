"""Seconds until a network trains, at its default size: `benchmark.py --compile=FOLDER`.

Each network has a process of its own, without a compilation cache. `compile_seconds` traces and compiles the train
step; `first_step_seconds` counts from the model to the end of the first step: initial parameters and data, too.
Networks for images get one colour image of 32 x 32, all others one text of 256 characters: a larger batch compiles
alike and computes longer.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jax
from benchmark_training import Case, Training

from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.models import AutoregressiveModel, make_model
from arjax.networks import NETWORKS
from arjax.networks.any_order.order_agnostic import OrderAgnosticNetwork
from arjax.reporting.tables import print_table
from arjax.sweep.results import COLUMNS, write_csv
from arjax.training.results import device_name

TEXT = EventSpec((256,), kind="tokens", num_levels=65)
IMAGE = EventSpec((32, 32), (3,), "levels", 256)
BATCH_SIZE = 1
#: The longest that any network may take, in seconds.
TARGETS = {"compile_seconds": 15, "first_step_seconds": 20}
COMMAND = "python scripts/benchmark.py --compile=experiments/speed"


def default_model(network: str) -> AutoregressiveModel:
    """The network with the options it has by default, on text or, where it is for images, on images.

    Networks that predict from any set of observed sites are for any order.
    """
    orders = "uniform" if issubclass(NETWORKS.get(network), OrderAgnosticNetwork) else ""
    for event, ordering in ((TEXT, "raster"), (IMAGE, "raster"), (IMAGE, "multiscale")):
        try:
            return make_model(event, network, ordering=ordering, orders=orders)
        except UserError as refusal:
            reason = refusal
    raise reason


def measure(network: str) -> dict[str, float]:
    """The seconds of one network, and its number of parameters; to be called first in a process."""
    jax.config.update("jax_enable_compilation_cache", False)
    started = time.perf_counter()
    model = default_model(network)
    objective = "teacher_forcing" if model.orders is None else "order_agnostic"
    case = Case(model.event, BATCH_SIZE, optimizer="adamw", objective=objective)
    training = Training(model, case, steps_per_dispatch=1)
    jax.block_until_ready(training.dispatch())
    return {
        "compile_seconds": training.compile_seconds,
        "first_step_seconds": time.perf_counter() - started,
        "num_params": sum(leaf.size for leaf in jax.tree.leaves(training.state.params)),
    }


def run(networks: Sequence[str], folder: Path) -> None:
    """Measures the networks one after another and writes `compile.csv`."""
    rows, cells = [], []
    for network in networks:
        process = subprocess.run([sys.executable, __file__, network], check=True, stdout=subprocess.PIPE)
        found = json.loads(process.stdout)
        print(
            f"{network}: {found['compile_seconds']:.1f} s to compile, {found['first_step_seconds']:.1f} s", flush=True
        )
        event = "image of 32 x 32 x 3" if default_model(network).event == IMAGE else "256 characters"
        for metric in TARGETS:
            about = {"dataset": "noise", "model": f"{network}, {event}", "metric": metric, "command": COMMAND}
            about |= {"value": f"{found[metric]:.3g}", "num_params": found["num_params"], "device": device_name()}
            rows.append({name: about.get(name, "") for name in COLUMNS})
        cells.append([network, event, *(f"{found[metric]:.1f}" for metric in TARGETS)])
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "compile.csv", rows)
    print_table(("network", "example", "compile s", "first step s"), cells, right=("compile s", "first step s"))


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
