"""Network calls and seconds of a sample under every kind of joint, and a row of samples of each.

    python experiments/joints/measure.py runs/joints [--num=16]

Reads the finished runs of sweep.py in the folder. Writes the table of README.md, samples.npz and samples.png beside it.
Seconds are medians of three draws of `num` samples after a first one, divided by their number, each model by its usual
sampler. Minutes are those of a row and of the runs that it reads, such as its tokenizer. A row that is not finished
there keeps the line and the samples that it has.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from sweep import get_sweep

import arjax
from arjax.cli.command_line import Parser, tell_mistakes
from arjax.core.errors import UserError
from arjax.core.files import keep_arrays, read_arrays, read_json_object
from arjax.reporting.figures import new_figure, row_of_axes, save_figure
from arjax.reporting.plots import tile_images
from arjax.reporting.tables import markdown_table, measured_rows, write_measured
from arjax.sweep.runs import reads

HERE = Path(__file__).parent
PAGE = HERE / "README.md"
#: Of a pixel of the digits.
LEVELS = 17
COLUMNS = ["joint", "bits/dim", "kind", "parameters", "minutes", "network calls", "seconds per sample"]


def measure(run: arjax.Run, num: int) -> tuple[np.ndarray, float, float]:
    """Samples, calls of the network for each, and seconds for each."""
    seconds = []
    for i in range(4):
        started = time.perf_counter()
        draw = run.model.draw(run.params, jax.random.split(jax.random.key(i), num))
        jax.block_until_ready(draw.x)
        seconds.append(time.perf_counter() - started)
    return np.asarray(draw.x), float(np.mean(draw.stats["network_calls"])), statistics.median(seconds[1:]) / num


def train_minutes(workdir: Path) -> float:
    """Minutes of the training of a run; raises `UserError` unless it is finished."""
    results = read_json_object(workdir / "results.json")
    if results is None:
        raise UserError(f"{workdir} has no finished run, and another row reads it: run experiments/joints/sweep.py")
    return results["train_seconds"] / 60


def main(argv: list[str]) -> int:
    """Measures all finished runs, draws, writes."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the workdir of the sweep")
    parser.add_argument("--num", type=int, default=16, help="samples of each [16]")
    flags = parser.parse_args(argv)
    if flags.num < 1:
        raise UserError(f"--num must be at least 1, not {flags.num}")
    kept = read_arrays(HERE / "samples.npz") if (HERE / "samples.npz").exists() else {}
    if any(len(x) != flags.num for x in kept.values()):
        raise UserError(f"samples.npz has another number of samples than --num={flags.num}: remove it, or draw as many")
    earlier = {cells[0]: cells for cells in measured_rows(PAGE, COLUMNS)}
    runs = get_sweep(str(flags.folder))
    rows, needs = [run for run in runs if run.listed], reads(runs, {run.name: flags.folder / run.name for run in runs})
    lines, drawn = [], {}
    for row in rows:
        if not (flags.folder / row.name / "results.json").is_file():
            print(f"{row.name} is not finished", flush=True)
            lines += [earlier[row.model]] if row.model in earlier else []
            continue
        run = arjax.open_run(flags.folder / row.name)
        x, calls, seconds = measure(run, flags.num)
        results = run.results
        kind = "bound" if "bound" in row.metric else results["kind"]
        value = f"{results[row.metric]:.3f} ± {results[f'{row.metric}_stderr']:.3f}"
        minutes = sum(train_minutes(flags.folder / name) for name in {row.name} | needs[row.name])
        cost = [f"{results['num_params']:,}", f"{minutes:.1f}", f"{calls:.0f}", f"{seconds:.2g}"]
        lines.append([row.model, value, kind, *cost])
        drawn[row.name] = x.astype(np.uint8)
        print(" | ".join(lines[-1]), flush=True)
    if not drawn:
        raise UserError(f"{flags.folder} has no finished run of experiments/joints/sweep.py")
    kept = keep_arrays(HERE / "samples.npz", drawn)
    draw_samples(HERE / "samples.png", {row.model: kept[row.name] for row in rows if row.name in kept})
    write_measured(PAGE, markdown_table(COLUMNS, lines))
    return 0


def draw_samples(path: Path, samples: Mapping[str, np.ndarray]) -> None:
    """A row of samples of each model, with its name; uint8[num, 8, 8] for each."""
    rows = [tile_images(x / (LEVELS - 1), len(x)) for x in samples.values()]
    figure = new_figure(9, 0.42 * len(rows) + 0.3)
    (axis,) = row_of_axes(figure, 1)
    height = rows[0].shape[0] + 3
    sheet = np.ones((height * len(rows), rows[0].shape[1]))
    for i, row in enumerate(rows):
        sheet[i * height : i * height + len(row)] = row
    axis.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set_yticks([i * height + height / 2 - 1.5 for i in range(len(rows))], list(samples), fontsize=8)
    axis.set_xticks([])
    axis.tick_params(length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)
    save_figure(figure, path)


if __name__ == "__main__":
    sys.exit(tell_mistakes("measure", lambda: main(sys.argv[1:])))
