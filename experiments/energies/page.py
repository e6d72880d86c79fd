"""Compares the runs of the sweep with exact values: writes measured.csv, the tables of README.md and energies.png.
Rows of measured.csv that the folder lacks stay.

python experiments/energies/page.py runs/energies
"""

from __future__ import annotations

import argparse
import csv
import itertools
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sweep import CRITICAL, NAMES, get_sweep
from sweep import ORDERS as CALLS
from truth import enumerated, kaufman

from arjax.cli.command_line import Parser, tell_mistakes
from arjax.config.build import build_dataset
from arjax.config.files import load_workdir_config
from arjax.core.errors import UserError
from arjax.objectives import make_objective
from arjax.reporting import figures
from arjax.reporting.reports import finished_report

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))
from measured import markdown_table, write_measured

HERE = Path(__file__).parent
COLUMNS = ("run", "target", "network", "order", "F / N", "exact", "relative error", "KL, nats", "log Z", "exact log Z")
COLUMNS = (*COLUMNS, "effective samples", "train seconds")
ORDERS = list(CALLS)
COLORS = dict(zip(NAMES, ("#2b5f91", "#9a9a9a", "#d9722c", "#3c8d5a"), strict=True))


def measured(run: Any, folder: Path) -> dict[str, str] | None:
    """A row of the table: the numbers of a finished run beside the exact ones; None before it has finished."""
    results = finished_report(folder)
    if results is None:
        return None
    config = load_workdir_config(folder)
    objective, event = make_objective(config.objective), build_dataset(config).event
    beta, sites = objective.beta, event.num_sites
    is_large = sites > 20
    log_z = kaufman(*event.grid_shape, beta) if is_large else enumerated(objective.energy, event, beta)
    bound, exact = results["free_energy_per_site"], -log_z / beta / sites
    words = " x ".join(map(str, event.grid_shape))
    at = "critical" if abs(beta - CRITICAL) < 1e-6 else f"beta {beta:g}"
    return dict(
        zip(
            COLUMNS,
            (
                run.name,
                f"{objective.energy}, {words}, {at}",
                run.model,
                run.ordering or "raster",
                f"{bound:.6f} ± {results['free_energy_per_site_stderr']:.6f}",
                f"{exact:.6f}",
                f"{abs(bound / exact - 1):.1e}",
                f"{results['nll_nats'] + log_z:.5f} ± {results['nll_stderr']:.5f}",
                f"{results['log_z']:.5f} ± {results['log_z_stderr']:.5f}",
                f"{log_z:.5f}",
                f"{results['effective_samples'] / results['num_examples']:.1%}",
                f"{results['train_seconds'] - results['compile_seconds']:.0f}",
            ),
            strict=True,
        )
    )


def of_orders(rows: Sequence[dict[str, str]]) -> dict[tuple[str, str], tuple[float, float, float, int]]:
    """For each network and order of the 8 x 8 lattice: KL, its standard error, seconds, and the number of seeds.

    The standard error is over the seeds, or over the draws of a single one; seconds are the fewest.
    """
    cells = {}
    for network, order in itertools.product(NAMES, ORDERS):
        alike = [row for row in rows if re.fullmatch(rf"{network}-{order}(-\d+)?", row["run"])]
        nats, errors = (np.array([float(row["KL, nats"].split(" ± ")[i]) for row in alike]) for i in (0, 1))
        if len(alike):
            error = nats.std(ddof=1) / len(nats) ** 0.5 if len(nats) > 1 else errors[0]
            seconds = min(float(row["train seconds"]) for row in alike)
            cells[network, order] = (float(nats.mean()), float(error), seconds, len(nats))
    return cells


def order_table(rows: Sequence[dict[str, str]]) -> str:
    """KL of each order and network, with the number of seeds and the seconds of a training."""
    cells, lines = of_orders(rows), []
    for order in ORDERS:
        found = [cells.get((network, order)) for network in NAMES]
        lines.append([order, *("" if cell is None else f"{cell[0]:.3f} ± {cell[1]:.3f}" for cell in found)])
    for name, i in (("seeds", 3), ("train seconds", 2)):
        of_each = [{cell[i] for (each, _), cell in cells.items() if each == network} for network in NAMES]
        spans = ["" if not some else f"{min(some):.0f} to {max(some):.0f}" for some in of_each]
        lines.append([name, *(span.split(" to ")[0] if len(set(span.split(" to "))) == 1 else span for span in spans)])
    columns = ["order", *NAMES.values()]
    return f"**Order and network**, KL in nats:\n\n{markdown_table(columns, lines, right=columns[1:])}"


def draw_picture(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """KL above the truth of each order of the 8 x 8 lattice, with its standard error, for each network."""
    figure = figures.new_figure(7.0, 3.8)
    axis = figures.row_of_axes(figure, 1)[0]
    for i, (network, color) in enumerate(COLORS.items()):
        points = {order: cell for (each, order), cell in of_orders(rows).items() if each == network}
        places = [ORDERS.index(order) + 0.12 * (i - 1.5) for order in points]
        if points:
            nats, errors, *_ = zip(*points.values(), strict=True)
            axis.errorbar(places, nats, errors, color=color, marker="o", linestyle="", label=NAMES[network])
    axis.set_yscale("log")
    axis.set_xticks(range(len(ORDERS)), ORDERS)
    axis.legend(fontsize=8)
    figures.label_axes(axis, "", "KL(q || p), nats", "Ising, 8 x 8, critical temperature")
    figures.save_figure(figure, path)


def main(argv: Sequence[str]) -> int:
    """Reads the flags, and writes the table and the picture."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdir", type=Path, help="that of the sweep")
    parser.add_argument("--out", type=Path, default=HERE, help="the folder of README.md")
    flags = parser.parse_args(argv)
    path, runs = flags.out / "measured.csv", get_sweep()
    found = {row["run"]: row for row in csv.DictReader(path.open())} if path.exists() else {}
    new = {run.name: row for run in runs if (row := measured(run, flags.workdir / run.name)) is not None}
    rows = [(found | new)[run.name] for run in runs if run.name in found | new]
    if not new:
        raise UserError(f"{flags.workdir} has no finished run of the sweep")
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    shown, targets = COLUMNS[1:], [row for row in rows if row["run"].partition("-")[0] not in NAMES]
    tables = [markdown_table(shown, [[row[name] for name in shown] for row in targets], right=shown[3:])]
    tables.append(order_table(rows))
    if (path := HERE / "netket.csv").exists():
        columns, *lines = csv.reader(path.open())
        tables.append(f"Beside NetKet:\n\n{markdown_table(columns, lines, right=columns[1:])}")
    write_measured(flags.out / "README.md", "\n\n".join(tables))
    draw_picture(flags.out / "energies.png", rows)
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("page", lambda: main(sys.argv[1:])))
