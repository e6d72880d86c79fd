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
from arjax.core.errors import UserError
from arjax.reporting.curves import log_curves
from arjax.reporting.tables import markdown_table, measured_rows, write_measured

HERE = Path(__file__).parent
COLUMNS = ["pairs", "network", "width", "bytes of state", "accuracy", "error", "parameters", "minutes"]


def bytes_of_state(run: arjax.TrainedModel) -> int:
    """The bytes of the carry of one example."""
    network, factorization = run.model.network, run.model.factorization
    carry = jax.eval_shape(lambda: network.apply({"params": run.params}, 1, factorization, method="init_carry"))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(carry))


def line(folder: Path, pairs: int, name: str, width: int) -> list[str]:
    """The line of a finished run."""
    scores = json.loads((folder / "results.json").read_text())
    state = bytes_of_state(arjax.open_run(folder))
    return [
        *(str(pairs), NETWORKS[name], str(width), f"{state:,}"),
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
    lines = {tuple(cells[:3]): cells for cells in measured_rows(flags.page, COLUMNS)}
    order = [(pairs, name, width) for pairs in TASKS for name in NETWORKS for width in WIDTHS]
    finished = {run.name for run in get_sweep() if (flags.folder / run.name / "results.json").is_file()}
    if not finished:
        raise UserError(f"{flags.folder} has no finished run of experiments/recall/sweep.py")
    for pairs, name, width in order:
        if (run := f"{pairs}-{name}-{width}") in finished:
            cells = line(flags.folder / run, pairs, name, width)
            lines[tuple(cells[:3])] = cells
            print(" | ".join(cells), flush=True)
    keys = [(str(pairs), NETWORKS[name], str(width)) for pairs, name, width in order]
    rows = [lines[key] for key in keys if key in lines]
    write_measured(flags.page, markdown_table(COLUMNS, rows, COLUMNS[2:]))
    plot(rows, flags.page.parent / "recall.png")
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("measure", lambda: main(sys.argv[1:])))
