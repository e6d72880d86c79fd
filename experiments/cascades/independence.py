"""What it costs to draw several pixels at once: one network of all orders, scored site by site and in sets.

    python experiments/cascades/independence.py runs/independence

Trains a network of all orders on the digits and on binarized MNIST, as far as the folder has no finished run, and
scores test images under factorizations with fewer and fewer steps: by the same parameters, so the differences are the
price of the independence within a step. Writes independence.csv and independence.png.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import jax
import numpy as np

import arjax
from arjax.cli.command_line import Parser, tell_mistakes
from arjax.factorization import make_factorization
from arjax.reporting.figures import new_figure, row_of_axes, save_figure, whole_ticks

HERE = Path(__file__).parent
#: name -> words, config, overrides, images that are scored
DATA = {
    "digits": ("digits", "configs/any_order.py:digits,form=masked", {}, 297),
    "binarized_mnist": (
        "binarized MNIST",
        "configs/binarized_mnist.py:network=deep_nade",
        {
            "model.orders": "uniform",
            "objective": "order_agnostic",
            "train.epochs": 40.0,
            "train.batch_size": 100,
            "train.checkpoint_every": 2500,
            "train.eval_every": 20_000,
            "train.log_every": 500,
            "evaluate.examples": 100,
        },
        500,
    ),
}
#: Sites in a set of a random order.
SIZES = (1, 2, 4, 8, 16, 28, 56, 98, 196)
SEED = 1
COLUMNS = ["data", "curve", "calls", "nats", "above one site at a time", "standard error"]


def factorizations(grid: tuple[int, ...]):
    """`(curve, factorization)`: sets of a random order, and scales whose coarsest one is drawn site by site or not."""
    for size in SIZES:
        if size < np.prod(grid) and not np.prod(grid) % size:
            yield "random sets", make_factorization(grid, f"random(seed={SEED})", f"blocks(size={size})")
    for curve, interleave in (("scales, set by set", 2), ("scales at once", 1)):
        more = f"levels=2, interleave={interleave}"
        for by_site in (3, 2, 1, 0):
            yield curve, make_factorization(grid, f"multiscale({more})", f"scales({more}, by_site={by_site})")


def score(run: arjax.Run, num: int) -> list[list]:
    """`[curve, calls, nats, above one site at a time, its standard error]` of each factorization."""
    x = np.asarray(run.dataset.splits["test"].__getitems__(np.arange(num)).x)
    log_prob = jax.jit(lambda params, x, f: run.model.log_prob(params, x, factorization=f))
    rows, of_sites = [], {}
    for curve, factorization in factorizations(run.model.event.grid_shape):
        nats_N = -np.asarray(log_prob(run.params, x, factorization), np.float64)
        more_N = nats_N - of_sites.setdefault(curve, nats_N)
        rows.append([curve, factorization.num_steps, nats_N.mean(), more_N.mean(), more_N.std() / num**0.5])
        print(run.dataset.name, *rows[-1], flush=True)
    return rows


def draw(rows: list[list]) -> None:
    """Nats above one site at a time, against calls."""
    figure = new_figure(8, 3.2)
    for axis, (words, *_) in zip(row_of_axes(figure, len(DATA)), DATA.values(), strict=True):
        for curve in dict.fromkeys(row[1] for row in rows):
            points = sorted((row[2], row[4], row[5]) for row in rows if row[0] == words and row[1] == curve)
            calls, nats, errors = zip(*points, strict=True)
            axis.errorbar(calls, nats, yerr=errors, fmt="o-", markersize=3, label=curve)
        axis.set(xscale="log", xlabel="calls of the network", ylabel="nats above one site at a time", title=words)
        whole_ticks(axis.xaxis)
        axis.legend(fontsize=8)
    save_figure(figure, HERE / "independence.png")


def main(argv: list[str]) -> int:
    """Trains what is missing, scores, writes."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the runs are")
    flags = parser.parse_args(argv)
    rows = []
    for name, (words, config, overrides, num) in DATA.items():
        run = arjax.fit(config, flags.folder / name, overrides)
        rows += [[words, *row] for row in score(run, num)]
    with (HERE / "independence.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
    draw(rows)
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("independence", lambda: main(sys.argv[1:])))
