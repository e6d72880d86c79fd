"""Mixes orders of the mushrooms' bits that were searched for, each by a local search of its own, under MADE and NADE.

A search begins at eight random orders and trains 160 candidates for a short while; only validation decides. The orders
found are then trained in full under the usual recipes. Writes searched.csv, in the columns of ensembles.csv, and the
orders into the folder; searches that stand there are not run again.

    python experiments/uci_density/searched_orders.py runs/searched_orders
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from arjax.cli.command_line import tell_mistakes, workdir_of
from arjax.config.files import load_config_file
from arjax.core.scores import WEIGHTS, mixed_nats
from arjax.evaluation.summaries import stderr_of
from arjax.population import Population, local_search, train_population
from arjax.sweep.results import COLUMNS, write_csv
from arjax.training.results import device_name

SEARCHES, MEMBERS, ROUNDS, SHORT_STEPS = 8, 8, 20, 400
CONFIG, NETWORKS = "configs/uci_binary.py:mushrooms,network={}", ("made", "nade")


def main(folder: Path) -> int:
    """Searches, trains in full, mixes."""
    folder.mkdir(parents=True, exist_ok=True)
    orders = [np.array(search(folder / f"search_{i}.json", i)) for i in range(SEARCHES)]
    rows, valid, test = [], [], []
    for network in NETWORKS:
        population = Population(load_config_file(CONFIG.format(network)), orders, (0,))
        scores = train_population(population, print)
        valid.append(scores.validation_rows[:, 0])
        test.append(scores.test_rows[:, 0])
        rows += mixed(
            network.upper(), valid[-1], test[-1], SEARCHES * scores.num_params, scores.history.step_seconds / 60
        )
    rows += mixed("both networks", np.concatenate(valid), np.concatenate(test), "", "")
    write_csv(folder / "searched.csv", rows)
    return 0


def search(path: Path, number: int) -> list[int]:
    """The order that one search finds."""
    if not path.is_file():
        config = load_config_file(CONFIG.format("made"))
        config.train.update(steps=SHORT_STEPS, eval_every=SHORT_STEPS, patience=0)
        begin = [f"random(seed={MEMBERS * number + i})" for i in range(MEMBERS)]
        found = local_search(Population(config, begin, (0,)), ROUNDS, seed=number, log=print)
        path.write_text(json.dumps({"order": found.order.tolist(), "nats": found.best_by_round}))
    return json.loads(path.read_text())["order"]


def mixed(model: str, valid_MN: np.ndarray, test_MN: np.ndarray, num_params: int | str, minutes: float | str) -> list:
    """Two rows of the table: equal weights, and those fitted on validation."""
    about = dict.fromkeys(COLUMNS, "") | {
        "dataset": "uci_binary/mushrooms",
        "ordering": f"{SEARCHES} searched orders",
        "seed": "0",
        "metric": "nll_nats",
        "num_params": str(num_params),
        "train_minutes": f"{minutes:.3g}" if minutes != "" else "",
        "device": device_name(),
        "command": "python experiments/uci_density/searched_orders.py runs/searched_orders",
    }
    nats = {weights: mixed_nats(test_MN, WEIGHTS[weights](valid_MN)) for weights in ("equal", "fitted")}
    return [
        about
        | {
            "model": f"{model}, {len(valid_MN)} searched and mixed, {weights} weights",
            "value": f"{nats_N.mean():.6g}",
            "value_stderr": f"{stderr_of(nats_N):.3g}",
        }
        for weights, nats_N in nats.items()
    ]


if __name__ == "__main__":
    sys.exit(tell_mistakes("searched_orders", lambda: main(workdir_of(sys.argv[1:], __doc__))))
