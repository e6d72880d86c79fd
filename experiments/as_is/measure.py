"""The recursion as it is beside teacher forcing: variance, time and memory of gradients, and nats in equal time.

    python experiments/as_is/measure.py runs/as_is [--out=experiments/as_is] [--seconds=20] [--lengths=4,8,...]

gradients.csv: one gradient of each objective and length, at the parameters after a tenth of a training with teacher
forcing; results.csv: the nats given prefixes of the data (test split) after `--seconds` of train steps of each.
gradients.png and the table of README.md show both. An interrupted study goes on; rows that are there stay as they are.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from gradient_cost import gradient_cost

import arjax
from arjax.cli.command_line import Parser, tell_mistakes
from arjax.objectives import make_objective
from arjax.reporting import figures
from arjax.training.results import device_name

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))
from measured import markdown_table, write_measured

CONFIG = Path(__file__).with_name("config.py")
LENGTHS = (4, 8, 16, 32, 64, 128, 256)
OBJECTIVES = {
    "teacher forcing": "teacher_forcing",
    "as is, score": "as_is(samples=2)",
    "as is, straight through": "as_is(estimator='straight_through', samples=1)",
    "as is, Gumbel softmax": "as_is(estimator='gumbel_softmax', samples=1)",
}
BATCH, KEYS = 32, 64
GRADIENTS = ("length", "objective", "relative_variance", "seconds", "temporary_bytes", "device")
RESULTS = (
    "length",
    "objective",
    "nats_per_site",
    "stderr",
    "least_nats_per_site",
    "steps",
    "seconds",
    "seed",
    "device",
)
TABLE = ["length", "objective", "variance / squared norm", "milliseconds", "of teacher forcing", "MiB"]
TABLE += ["of teacher forcing ", "test nats per site"]
#: Colours of Okabe and Ito, which colour-blind readers tell apart, lines and marks.
STYLES = dict(
    zip(OBJECTIVES, (("#000000", "-o"), ("#d55e00", "-s"), ("#0072b2", "-D"), ("#e69f00", "--^")), strict=True)
)


def entropy() -> float:
    """The least possible nats of a site."""
    noise = 0.05
    return -noise * math.log(noise) - (1 - noise) * math.log(1 - noise)


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a table that is there already."""
    return list(csv.DictReader(path.open())) if path.exists() else []


def write(path: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Writes a table, the lengths in sequence."""
    order = list(OBJECTIVES)
    rows = sorted(rows, key=lambda row: (int(row["length"]), order.index(row["objective"])))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def price(workdir: Path, length: int, name: str) -> dict[str, Any]:
    """The price of a gradient of one objective, at parameters that are partly trained."""
    run = arjax.fit(f"{CONFIG}:length={length}", workdir / f"start-{length}", overrides={"train.steps": 100})
    batch = run.dataset.splits["train"].__getitems__(np.arange(BATCH))
    objective = make_objective(OBJECTIVES[name])
    cost = gradient_cost(objective, run.model, run.params, batch, key=jax.random.key(1), num=KEYS, rounds=5)
    found = {"relative_variance": f"{cost.relative_variance:.4g}", "seconds": f"{cost.seconds:.3g}"}
    return (
        {"length": length, "objective": name, "device": device_name()}
        | found
        | {"temporary_bytes": cost.temporary_bytes}
    )


def reached(workdir: Path, length: int, name: str, seconds: float, seconds_per_step: float) -> dict[str, Any]:
    """The test nats per site after train steps of so many seconds."""
    steps = max(20, round(seconds / seconds_per_step / 20) * 20)
    folder = workdir / f"{name.replace(',', '').replace(' ', '-')}-{length}"
    overrides = {"train.steps": steps, "objective": OBJECTIVES[name], "train.eval_every": max(steps // 5, 1)}
    run = arjax.fit(f"{CONFIG}:length={length}", folder, overrides=overrides)
    scores = run.results
    return {"length": length, "objective": name, "seed": 0, "steps": steps, "device": device_name()} | {
        "nats_per_site": f"{scores['nll_nats'] / length:.4f}",
        "stderr": f"{scores['nll_stderr'] / length:.4f}",
        "least_nats_per_site": f"{entropy():.4f}",
        "seconds": f"{steps * seconds_per_step:.1f}",
    }


def draw_picture(path: Path, gradients: Sequence[dict[str, str]]) -> None:
    """Variance, seconds and memory of a gradient against the length."""
    figure = figures.new_figure(10.0, 3.6)
    axes = figures.row_of_axes(figure, 3)
    titles = {
        "relative_variance": "variance / squared norm",
        "seconds": "seconds of a gradient",
        "temporary_bytes": "bytes of a gradient",
    }
    for axis, (column, title) in zip(axes, titles.items(), strict=True):
        for name, (color, style) in STYLES.items():
            points = [(int(r["length"]), float(r[column])) for r in gradients if r["objective"] == name]
            if column == "relative_variance" and name == "teacher forcing":
                continue  # it draws nothing
            axis.plot(*zip(*sorted(points), strict=True), style, label=name, color=color, markersize=5)
        axis.set(xscale="log", yscale="log")
        figures.label_axes(axis, "length", "", title)
    handles = axes[1].get_lines()
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figures.save_figure(figure, path)


def lines(gradients: Sequence[dict[str, str]], results: Sequence[dict[str, str]]) -> list[list[str]]:
    """The rows of the table: seconds and bytes also as multiples of those of teacher forcing at the same length."""
    reached = {(row["length"], row["objective"]): f"{row['nats_per_site']} ± {row['stderr']}" for row in results}
    base = {row["length"]: row for row in gradients if row["objective"] == "teacher forcing"}
    rows = []
    for row in gradients:
        cells = [row["length"], row["objective"], row["relative_variance"]]
        for column, unit, words in (("seconds", 1e-3, "{:.2f}"), ("temporary_bytes", 2**20, "{:.2f}")):
            value = float(row[column])
            cells += [words.format(value / unit), f"{value / max(float(base[row['length']][column]), 1e-9):.1f}"]
        rows.append([*cells, reached.get((row["length"], row["objective"]), "")])
    return rows


def main(argv: Sequence[str]) -> int:
    """Measures the rows that are missing."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--lengths", default=",".join(map(str, LENGTHS)))
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    lengths = [int(length) for length in options.lengths.split(",")]
    gradients, results = (rows_of(options.out / name) for name in ("gradients.csv", "results.csv"))
    for length in lengths:
        for name in OBJECTIVES:
            mine = [row for row in gradients if int(row["length"]) == length and row["objective"] == name]
            if not mine:
                mine = [price(options.workdir, length, name)]
                gradients += mine
                write(options.out / "gradients.csv", GRADIENTS, gradients)
            if not any(int(row["length"]) == length and row["objective"] == name for row in results):
                results.append(reached(options.workdir, length, name, options.seconds, float(mine[0]["seconds"])))
                write(options.out / "results.csv", RESULTS, results)
    gradients, results = (rows_of(options.out / name) for name in ("gradients.csv", "results.csv"))
    draw_picture(options.out / "gradients.png", gradients)
    if (options.out / "README.md").is_file():
        write_measured(options.out / "README.md", markdown_table(TABLE, lines(gradients, results), TABLE[2:]))
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("measure", lambda: main(sys.argv[1:])))
