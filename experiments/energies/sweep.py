"""Targets known up to a constant, and every order of an Ising model under four networks, in equal minutes.

arjax-sweep --sweep=experiments/energies/sweep.py --workdir=runs/energies
"""

import math
from collections.abc import Mapping
from typing import Any

from arjax.sweep import Run

CRITICAL = math.log(1 + math.sqrt(2)) / 2
METRIC = "free_energy_per_site"
#: the even sites of a board, then the odd ones, which are independent given these
CHECKERBOARD = f"list(order={tuple(sorted(range(64), key=lambda site: ((site // 8 + site) % 2, site)))})"
ORDERS = {
    "raster": "raster",
    "spiral": "spiral",
    "hilbert": "hilbert",
    "checkerboard": CHECKERBOARD,
    "multiscale": "multiscale(levels=2)",
}
#: the steps of each network, and all that the runs of the table share
STEPS = {"made": 2000, "pixelcnn": 250, "lstm": 400, "transformer": 300}
SMALL = {"train.batch_size": 128, "evaluate.examples": 2000}
#: of MADE; the other networks have the first one
SEEDS = (0, 1)
NAMES = {"made": "MADE", "pixelcnn": "PixelCNN", "lstm": "LSTM", "transformer": "Transformer"}


def get_sweep() -> list[Run]:
    """The targets whose truth is known, from the smallest to the largest; then orders and networks on 8 x 8 sites."""
    rows = [_ising(4, beta) for beta in (0.3, 0.44, 0.6)]
    rows.append(_target("glass-20", "sherrington_kirkpatrick,side=20,beta=1.0", 4000, 128))
    for network in NAMES:
        for order, call in ORDERS.items():
            if network == "pixelcnn" and order != "raster":
                continue  # it reads the rows above and the sites to the left
            config = f"configs/energies.py:ising,side=8,beta={CRITICAL:.10f},network={network}"
            steps = STEPS[network]
            overrides = SMALL | {"model.ordering": call, "train.steps": steps, "train.eval_every": steps // 2}
            words = {"model": NAMES[network], "ordering": order, "metric": METRIC}
            rows.append(Run(f"{network}-{order}", config, overrides, **words))
            for seed in SEEDS[1:] if network == "made" else ():
                more = overrides | {"seed": seed}
                rows.append(Run(f"{network}-{order}-{seed}", config, more, **words, listed=False))
    large = {"train.batch_size": 256, "evaluate.examples": 5000, "train.checkpoint_every": 250}
    rows += [_ising(8, CRITICAL, 3000, 256), _ising(16, CRITICAL, 1500, 512, large)]
    direct = large | {"network.direct": True, "optimizer.learning_rate": 3e-3}
    argument = f"ising,side=16,beta={CRITICAL:.10g}"
    return [*rows, _target("ising-16-direct", argument, 4000, 512, direct, "MADE, direct connections")]


def _ising(side: int, beta: float, steps: int = 4000, units: int = 128, more: Mapping[str, Any] | None = None) -> Run:
    return _target(f"ising-{side}-{beta:.2f}", f"ising,side={side},beta={beta:.10g}", steps, units, more)


def _target(
    name: str,
    argument: str,
    steps: int,
    units: int,
    more: Mapping[str, Any] | None = None,
    model: str = NAMES["made"],
) -> Run:
    """A MADE, mixed with its image under the flip of all spins."""
    overrides = {"network.hidden_sizes": (units,), "train.steps": steps, "train.batch_size": 512}
    overrides |= {"train.eval_every": steps // 2, "train.checkpoint_every": 500, "train.log_every": 100}
    overrides |= more or {}
    return Run(name, f"configs/energies.py:{argument},symmetries=('flip',)", overrides, model=model, metric=METRIC)
