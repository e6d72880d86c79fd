"""The table and the plot of the page, from the finished runs of sweep.py: accuracy against the bytes of state.

    python experiments/recall/measure.py runs/recall

The state is the carry of one example between two steps of sampling, in bytes: the matrices or vectors of a recurrence
and the last inputs of its convolution, or the keys and values of a whole sequence. Of a row that has no finished run
there, the table keeps the line that it has. Of the learning rates that were run it takes the best on validation.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
from sweep import NETWORKS, RATES, TASKS, WIDTHS, run_of

import arjax
from arjax.cli.command_line import Parser, tell_mistakes
from arjax.sweep import finished_runs

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))
from measured import log_curves, renew_measured

HERE = Path(__file__).parent
COLUMNS = ["pairs", "network", "width", "bytes of state", "accuracy", "error", "rate", "parameters", "minutes"]


def bytes_of_state(run: arjax.TrainedModel) -> int:
    """The bytes of the carry of one example."""
    network, factorization = run.model.network, run.model.factorization
    carry = jax.eval_shape(lambda: network.apply({"params": run.params}, 1, factorization, method="start"))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(carry))


def line(folders: Mapping[float, Path], pairs: int, name: str, width: int) -> list[str]:
    """The line of the finished runs {learning rate: folder} of a network: that of the best rate on validation."""
    scores = {rate: json.loads((folder / "results.json").read_text()) for rate, folder in folders.items()}
    rate = min(scores, key=lambda rate: scores[rate]["validation_nll_nats"])
    folder, scores = folders[rate], scores[rate]
    state = bytes_of_state(arjax.open_run(folder))
    return [
        *(str(pairs), NETWORKS[name], str(width), f"{state:,}"),
        *(f"{scores['accuracy']:.4f}", f"{scores['accuracy_stderr']:.4f}", f"{rate:g}"),
        *(f"{scores['num_params']:,}", f"{scores['train_seconds'] / 60:.1f}"),
    ]


def plot(lines: Sequence[Sequence[str]], path: Path) -> None:
    """One panel for each number of pairs, and one curve for each network, over its widths."""
    panels = []
    for pairs in dict.fromkeys(row[0] for row in lines):
        curves: dict[str, tuple[list[float], list[float]]] = {}
        for row in lines:
            if row[0] == pairs:
                x, y = curves.setdefault(row[1], ([], []))
                x.append(float(row[3].replace(",", "")))
                y.append(float(row[4]))
        panels.append((f"{pairs} pairs", "accuracy", curves))
    log_curves(path, panels, "bytes of state", log_y=False)


def main(argv: Sequence[str]) -> int:
    """Reads, scores, writes."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the workdir of the sweep")
    parser.add_argument("--page", type=Path, default=HERE / "README.md", help="the page with the table [README.md]")
    flags = parser.parse_args(argv)
    rows = list(itertools.product(TASKS, NETWORKS, WIDTHS))
    names = {run.name for run in finished_runs([run_of(*row, rate) for row in rows for rate in RATES], flags.folder)}
    found = []
    for row in rows:
        folders = {rate: flags.folder / run_of(*row, rate).name for rate in RATES}
        if folders := {rate: folder for rate, folder in folders.items() if folder.name in names}:
            found.append(line(folders, *row))
    order = [(str(pairs), NETWORKS[name], str(width)) for pairs, name, width in rows]
    rows = renew_measured(flags.page, COLUMNS, found, order, COLUMNS[2:])
    plot(rows, flags.page.parent / "recall.png")
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("measure", lambda: main(sys.argv[1:])))
