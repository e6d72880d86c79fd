"""Is one program for 24 runs faster than 24 programs? MADE on the mushrooms, eight orders x three seeds, 200 steps.

Prints, and writes to speed.csv in the folder, seconds with compilation and milliseconds per train step and member: of
runs one after another, of both ways through a population, and of the matrix product at the heart of it. Medians of
several rounds.

    JAX_ENABLE_COMPILATION_CACHE=false python experiments/order_matters/speed.py runs/order_speed
"""

from __future__ import annotations

import contextlib
import csv
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp

from arjax.cli.command_line import tell_mistakes, workdir_of
from arjax.config.files import load_config_file
from arjax.population import Population
from arjax.population.train import Members

CONFIG, STEPS, ROUNDS = "configs/uci_binary.py:mushrooms", 200, 5
ORDERS, SEEDS = [f"random(seed={seed})" for seed in range(8)], (0, 1, 2)


def main(folder: Path) -> int:
    """Measures all and writes the table."""
    rows = [("24 runs, one after another", *runs_apart())]
    rows += [(f"one program, {strategy}", *population(strategy)) for strategy in ("map", "vmap")]
    rows += [(name, "", milliseconds) for name, milliseconds in products().items()]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "speed.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["what", "seconds with compilation", "milliseconds per member and step, or per product"])
        for row in rows:
            cells = [row[0], *(f"{cell:.3g}" if cell != "" else "" for cell in row[1:])]
            writer.writerow(cells)
            print(*cells, sep="; ")
    return 0


def population(strategy: str) -> tuple[float, float]:
    """Seconds of a whole population, and milliseconds per member and step once it is compiled."""
    return _measure([Population(_config(), ORDERS, SEEDS, strategy)], len(ORDERS) * len(SEEDS))


def runs_apart() -> tuple[float, float]:
    """The same runs, each a program of its own."""
    return _measure([Population(_config(), [order], [seed]) for order in ORDERS for seed in SEEDS], 24)


def _config():
    config = load_config_file(CONFIG)
    config.train.update(steps=STEPS, patience=0)
    return config


def _measure(populations: list[Population], members: int) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        running = [Running(Members(each, folder, print)) for each in populations]
        for each in running:
            each.train(STEPS)
        whole, rounds = time.perf_counter() - start, []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            for each in running:
                each.train(STEPS // 4)
            rounds.append((time.perf_counter() - start) / (STEPS // 4) / members * 1e3)
    return whole, statistics.median(rounds)


class Running:
    """The train program of a population, which trains from its first step again and again."""

    def __init__(self, members: Members):
        """Compiles the program."""
        self.members, self.state = members, members.begin({}, None)
        members.compile(self.state, 0, lambda step: 1, contextlib.ExitStack())
        self.sums = members.sums({})

    def train(self, steps: int) -> None:
        """The steps, to their end."""
        step, most = 0, self.members.setup.train.steps_per_dispatch
        while step < steps:
            n = min(most, steps - step)
            self.state, self.sums = self.members.advance(self.state, self.sums, step, n)
            step += n
        jax.block_until_ready(self.state)


def products() -> dict[str, float]:
    """Milliseconds of 24 products [100, 112] @ [112, 500]: as one batched product, and one after another."""
    x, kernels = jnp.ones((24, 100, 112)), jnp.ones((24, 112, 500))
    ways: dict[str, Callable[..., jax.Array]] = {
        "24 products, batched": lambda x, k: jnp.einsum("pbi,pio->pbo", x, k),
        "24 products, in turn": lambda x, k: jnp.stack([x[i] @ k[i] for i in range(24)]),
    }
    programs = {name: jax.jit(way).lower(x, kernels).compile() for name, way in ways.items()}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(20 * ROUNDS):
        for name, program in programs.items():
            start = time.perf_counter()
            jax.block_until_ready(program(x, kernels))
            times[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


if __name__ == "__main__":
    sys.exit(tell_mistakes("speed", lambda: main(workdir_of(sys.argv[1:], __doc__))))
