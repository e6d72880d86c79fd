"""Searches for an order of the mushrooms' bits that is easy to learn, and trains the result in full.

Three searches, each of 96 short trainings of MADE (the policy: as many train steps, under four orders each): random
orders and local search, by validation; a learned order, which follows training batches. Then all of them, and the order
of the data, are trained in full with three seeds. Writes searched.csv and the orders found into the folder.

python experiments/order_matters/search.py runs/order_search
"""

from __future__ import annotations

import csv
import json
import sys
import time
from pathlib import Path

import numpy as np

import arjax
from arjax.cli.command_line import tell_mistakes, workdir_of
from arjax.config.files import load_config_file
from arjax.population import Population, local_search, random_search, train_population

CONFIG, SHORT_STEPS, MEMBERS, ROUNDS = "configs/uci_binary.py:mushrooms", 1000, 8, 12


def main(folder: Path) -> int:
    """Searches (skipping results in the folder), trains in full, and writes both tables."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {"order of the data": list(range(112))}
    for name in ("best of 96 random orders", "local search", "learned order"):
        path = folder / f"{name.replace(' ', '_')}.json"
        if not path.is_file():
            path.write_text(json.dumps(search(name, folder)))
        found[name] = json.loads(path.read_text())["order"]
    config = load_config_file(CONFIG)
    config.train.update(steps=3000, eval_every=150, patience=0)
    population = Population(config, [np.array(order) for order in found.values()], (0, 1, 2))
    scores = train_population(population, print)
    with (folder / "searched.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["order", "seed", "validation_nll_nats", "test_nll_nats", "test_stderr"])
        for name, validation_S, results_S in zip(found, scores.validation, scores.results, strict=True):
            for seed, validation, results in zip(population.seeds, validation_S, results_S, strict=True):
                numbers = (validation, results["nll_nats"], results["nll_stderr"])
                writer.writerow([name, seed, *(f"{number:.5g}" for number in numbers)])
    return 0


def search(name: str, folder: Path) -> dict:
    """One search, by the name of its row."""
    config, start = load_config_file(CONFIG), time.monotonic()
    config.train.update(steps=SHORT_STEPS, eval_every=SHORT_STEPS, patience=0)
    if name == "learned order":
        steps = SHORT_STEPS * MEMBERS * ROUNDS // 4
        config.model.orders, config.objective = "uniform", "learned_order(orders_per_step=4)"
        config.train.update(steps=steps, eval_every=steps, log_every=steps // 10)
        run = arjax.fit(config, folder / "learned_order")
        about = {"order": run.results["learned_order"], "nats": run.history["train/order_nats"].values.tolist()}
    else:
        population = Population(config, [f"random(seed={seed})" for seed in range(MEMBERS)], (0,))
        how = local_search if name == "local search" else random_search
        best = how(population, ROUNDS, log=print)
        about = {"order": best.order.tolist(), "nats": best.best_by_round}
    return about | {"minutes": (time.monotonic() - start) / 60}


if __name__ == "__main__":
    sys.exit(tell_mistakes("search", lambda: main(workdir_of(sys.argv[1:], __doc__))))
