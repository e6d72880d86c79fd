"""The table of the page, from the finished runs of sweep.py: nats above the true density, and seconds of draws.

    python experiments/continuous_heads/measure.py runs/continuous_heads

Of a row that is not finished there, the table keeps the line that it has. Samples are drawn into samples.png.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sweep import get_sweep

import arjax
from arjax.api.comparing import nats_of_run
from arjax.cli.command_line import Parser, tell_mistakes
from arjax.data.generated import log_density
from arjax.data.sources import read_all
from arjax.reporting import figures
from arjax.sweep import Run, finished_runs

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))
from measured import renew_measured

HERE = Path(__file__).parent
COLUMNS = ["data", "head", "kind", "test nats", "above the truth", "sample score", "params", "minutes", "s per 1,000"]
DRAWN = 1000


def cells(row: Run, folder: Path) -> tuple[list[str], np.ndarray]:
    """The line of a finished run, and what it draws, [N, *event.shape]."""
    run, scores = arjax.open_run(folder), json.loads((folder / "results.json").read_text())
    run.sample(DRAWN, seed=0)  # compiles
    start = time.perf_counter()
    points = np.asarray(run.sample(DRAWN, seed=1))
    seconds = time.perf_counter() - start
    nats = above = sample_score = ""
    if "nll_nats" in scores:
        nats = f"{scores['nll_nats']:.4f} ± {scores['nll_stderr']:.4f}"
        if np.isfinite(row.published):  # the true density is known
            difference_N = excess(folder, scores)
            above = f"{difference_N.mean():.4f} ± {difference_N.std() / len(difference_N) ** 0.5:.4f}"
    else:
        sample_score = f"{scores['sample_score']:.4f} ± {scores['sample_score_stderr']:.4f}"
    numbers = [f"{scores['num_params']:,}", f"{scores['train_seconds'] / 60:.1f}", f"{seconds:.2f}"]
    return [row.dataset, row.model, scores["kind"], nats, above, sample_score, *numbers], points


def excess(folder: Path, scores: dict) -> np.ndarray:
    """The nats of each test example under the model above those under the true density, [N]: a paired difference."""
    run = arjax.open_run(folder)
    source = run.dataset.splits["test"]
    x = np.asarray(read_all(source).x)
    return nats_of_run(folder, scores)["test"] + log_density(run.dataset.name, x, run.config.dataset.noise)


def draw(points: dict[tuple[str, str], np.ndarray]) -> None:
    """Points that rows of the plane draw, a line of panels for each data set."""
    names = list(dict.fromkeys(data for data, _ in points))
    heads = list(dict.fromkeys(head for _, head in points))
    figure = figures.new_figure(2.2 * len(heads), 2.2 * len(names))
    axes = figure.subplots(len(names), len(heads), squeeze=False)
    for (data, head), x in points.items():
        axis = axes[names.index(data)][heads.index(head)]
        axis.scatter(*x.reshape(-1, 2).T, s=1, color="black")
        axis.set(xlim=(-3, 3), ylim=(-3, 3), xticks=(), yticks=(), title=f"{data}, {head.split(',')[0]}")
        axis.title.set_fontsize(6)
    figures.save_figure(figure, HERE / "samples.png")


def main(argv: Sequence[str]) -> int:
    """Reads, writes."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the workdir of the sweep")
    parser.add_argument("--page", type=Path, default=HERE / "README.md", help="the page with the table [README.md]")
    flags = parser.parse_args(argv)
    lines, points = [], {}
    for row in finished_runs(get_sweep(), flags.folder):
        line, points[row.dataset, row.model] = cells(row, flags.folder / row.name)
        lines.append(line)
    renew_measured(flags.page, COLUMNS, lines, [(row.dataset, row.model) for row in get_sweep()], COLUMNS[3:])
    if plane := {key: x for key, x in points.items() if x[0].size == 2}:
        draw(plane)
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("measure", lambda: main(sys.argv[1:])))
