"""Compares the runs of the sweep with exact values: writes measured.csv, the table of README.md and energies.png.

python experiments/energies/page.py runs/energies
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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


def draw_picture(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """KL above the truth of each order of the 8 x 8 lattice, with its standard error, for each network."""
    figure = figures.new_figure(7.0, 3.8)
    axis = figures.row_of_axes(figure, 1)[0]
    for i, (network, color) in enumerate(COLORS.items()):
        points = {row["order"]: row["KL, nats"] for row in rows if row["run"].partition("-")[0] == network}
        places = [ORDERS.index(order) + 0.12 * (i - 1.5) for order in points]
        if points:
            nats, errors = zip(*(map(float, text.split(" ± ")) for text in points.values()), strict=True)
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
    rows = [row for run in get_sweep() if (row := measured(run, flags.workdir / run.name)) is not None]
    if not rows:
        raise UserError(f"{flags.workdir} has no finished run of the sweep")
    with (flags.out / "measured.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    shown = COLUMNS[1:]
    tables = [markdown_table(shown, [[row[name] for name in shown] for row in rows], right=shown[3:])]
    if (path := HERE / "netket.csv").exists():
        columns, *lines = csv.reader(path.open())
        tables.append(f"Beside NetKet:\n\n{markdown_table(columns, lines, right=columns[1:])}")
    write_measured(flags.out / "README.md", "\n\n".join(tables))
    draw_picture(flags.out / "energies.png", rows)
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("page", lambda: main(sys.argv[1:])))
