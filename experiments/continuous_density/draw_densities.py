r"""Draws the densities that flows have learned beside those that their points were drawn from.

python experiments/continuous_density/draw_densities.py --runs=runs/continuous_density/flow-two_moons,\
runs/continuous_density/flow-eight_gaussians --out=experiments/continuous_density/densities.png

It also prints how far each flow is from the true density, in nats of the test points: a mean of differences point by
point, whose standard error is far below that of either mean.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arjax import open_run
from arjax.cli.command_line import Parser, tell_mistakes
from arjax.core.errors import UserError
from arjax.data.generated import log_density
from arjax.data.sources import read_all
from arjax.reporting.figures import new_figure, save_figure

#: left, right, bottom, top
EXTENTS = {"two_moons": (-1.6, 2.6, -1.85, 2.35), "eight_gaussians": (-3.0, 3.0, -3.0, 3.0)}
NUM = 200


def panels(run) -> list[tuple[str, np.ndarray]]:
    """The true density and the one that a run has learned; prints the difference."""
    name, noise = run.dataset.name, run.config.dataset.noise
    test = run.dataset.splits["test"]
    x_N = np.asarray(read_all(test).x)
    true_N, nats_N = -log_density(name, x_N, noise), -run.log_prob(x_N)
    gap_N = nats_N - true_N
    stderr = gap_N.std(ddof=1) / len(gap_N) ** 0.5
    print(f"{name}: {nats_N.mean():.4f} nats, true {true_N.mean():.4f}, difference {gap_N.mean():.4f} ± {stderr:.4f}")
    grid = plane_grid(EXTENTS[name], NUM)
    learned = np.exp(run.log_prob(grid)).reshape(NUM, NUM)
    true = np.exp(log_density(name, grid, noise)).reshape(NUM, NUM)
    return [(name.replace("_", " "), true), (f"flow, {gap_N.mean():.3f} nats more", learned)]


def density_figure(
    rows: Sequence[Sequence[tuple[str, np.ndarray]]], extents: Sequence[tuple[float, float, float, float]]
) -> Any:
    """Densities on grids of the plane, those of one row in the same colours: dark is high, 0 is white.

    Args:
      rows: of each row its panels, (title, density [H, W]): the first axis of an array is that of the second
        coordinate, upwards.
      extents: of each row the ends of the grid, (left, right, bottom, top).
    """
    figure = new_figure(3.2 * len(rows[0]), 3.2 * len(rows))
    axes = figure.subplots(len(rows), len(rows[0]), squeeze=False)
    for of_row, row, extent in zip(axes, rows, extents, strict=True):
        top = max(float(density.max()) for _, density in row)
        for axis, (title, density) in zip(of_row, row, strict=True):
            axis.imshow(density, origin="lower", extent=extent, cmap="Blues", vmin=0, vmax=top, interpolation="nearest")
            axis.set_title(title, fontsize=11, parse_math=False)
            axis.set_xticks([])
            axis.set_yticks([])
    return figure


def plane_grid(extent: tuple[float, float, float, float], num: int) -> np.ndarray:
    """The centres of num x num cells of a part of the plane, float32[num * num, 2], row by row from the bottom."""
    left, right, bottom, top = extent
    part = (np.arange(num) + 0.5) / num
    x, y = np.meshgrid(left + part * (right - left), bottom + part * (top - bottom))
    return np.stack([x.ravel(), y.ravel()], 1).astype(np.float32)


def main() -> int:
    """Reads the flags and draws a row for each run."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", required=True, help="folders of runs on data of the plane, separated by commas")
    parser.add_argument("--out", type=Path, required=True, help="the picture")
    flags = parser.parse_args()
    runs = [open_run(folder) for folder in flags.runs.split(",")]
    if wrong := [run.dataset.name for run in runs if run.dataset.name not in EXTENTS]:
        raise UserError(f"--runs are of {' and '.join(EXTENTS)}, not of {wrong[0]}")
    extents = [EXTENTS[run.dataset.name] for run in runs]
    save_figure(density_figure([panels(run) for run in runs], extents), flags.out)
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("draw_densities", main))
