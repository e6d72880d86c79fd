"""The table and the plot of the page, from the finished runs of sweep.py: accuracy against the bytes of state.

    python experiments/recall/measure.py runs/recall

The state is the carry of one example between two steps of sampling, in bytes: the matrices or vectors of a recurrence
and the last inputs of its convolution, or the keys and values of a whole sequence. Of a row that has no finished run
there, the table keeps the line that it has.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
from sweep import NETWORKS, TASKS, WIDTHS, get_sweep

import arjax
from arjax.cli.command_line import Parser, tell_mistakes
from arjax.reporting.curves import log_curves
from arjax.reporting.tables import renew_measured
from arjax.sweep import finished_runs

HERE = Path(__file__).parent
COLUMNS = ["pairs", "network", "width", "bytes of state", "accuracy", "error", "parameters", "minutes"]


def bytes_of_state(run: arjax.TrainedModel) -> int:
    """The bytes of the carry of one example."""
    network, factorization = run.model.network, run.model.factorization
    carry = jax.eval_shape(lambda: network.apply({"params": run.params}, 1, factorization, method="init_carry"))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(carry))


def line(folder: Path) -> list[str]:
    """The line of a finished run."""
    scores = json.loads((folder / "results.json").read_text())
    pairs, name, width = folder.name.split("-")
    state = bytes_of_state(arjax.open_run(folder))
    return [
        *(pairs, NETWORKS[name], width, f"{state:,}"),
        *(f"{scores['accuracy']:.4f}", f"{scores['accuracy_stderr']:.4f}"),
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
    found = [line(flags.folder / run.name) for run in finished_runs(get_sweep(), flags.folder)]
    order = [(str(pairs), words, str(width)) for pairs in TASKS for words in NETWORKS.values() for width in WIDTHS]
    rows = renew_measured(flags.page, COLUMNS, found, order, COLUMNS[2:])
    plot(rows, flags.page.parent / "recall.png")
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("measure", lambda: main(sys.argv[1:])))
