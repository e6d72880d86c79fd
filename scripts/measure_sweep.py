"""Score, cost and samples of every model of a sweep, on the page of its study.

    python scripts/measure_sweep.py --sweep=experiments/joints/sweep.py --workdir=runs/joints [--num=16]
        [--entries=rate_nats,distortion_nats,codes_used]

Reads the finished runs in the workdir and writes beside the sweep file: the table in README.md between the lines
`<!-- measured -->` and `<!-- end measured -->`, samples.npz, and the pictures samples.png (of models of images) and
calls.png (where models differ in the network calls of a sample). A row that is not finished there keeps the line and
the samples that the page has.

Seconds are medians of three draws of `num` samples after a first one, divided by their number, each model by its usual
sampler. Minutes are those of a row and of the runs that it reads, such as its tokenizer. `--entries` names further
entries of results.json, each of which gets a column.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import math
import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from measured import keep_arrays, markdown_table, measured_table, write_measured
from scatter import Point, labelled_points

import arjax
from arjax.cli.command_line import Parser, tell_mistakes
from arjax.core.errors import UserError, did_you_mean
from arjax.core.files import find_file, read_arrays, split_argument, user_path
from arjax.models.pictures import as_images
from arjax.reporting.figures import check_matplotlib, new_figure, row_of_axes, save_figure
from arjax.reporting.plots import tile_images
from arjax.reporting.reports import is_json_number, read_report
from arjax.sweep import Run
from arjax.sweep.dependencies import with_dependencies
from arjax.sweep.results import stderr_in
from arjax.sweep.rows import SWEEPS, load_sweep
from arjax.sweep.table import Table

PAGE, SAMPLES, IMAGES, CALLS = "README.md", "samples.npz", "samples.png", "calls.png"
COST = ["parameters", "minutes", "network calls", "seconds per sample"]
#: Behind the name of a run in samples.npz, where its samples are images: the value that is drawn as white.
WHITE = " white"


@dataclasses.dataclass(frozen=True)
class Study:
    """What is measured, and where it is written.

    Attributes:
      home: the folder of the sweep file.
      table: the rows of the sweep in their workdir.
      score: the name of the column of scores, which is their unit.
      entries: names of entries of results.json with a column of their own.
      found: name of a finished run -> its row of the results table, and its results.json.
      kept: name of another run -> its line of the page, by column.
    """

    home: Path
    table: Table
    score: str
    entries: Sequence[str]
    found: Mapping[str, tuple[dict[str, Any], dict[str, Any]]]
    kept: Mapping[str, dict[str, str]]

    @property
    def data(self) -> dict[str, str]:
        """The data set of each run; "" of all runs where they have only one."""
        data = {}
        for run in listed(self.table):
            row, line = self.found[run.name][0] if run.name in self.found else {}, self.kept.get(run.name, {})
            data[run.name] = row.get("dataset") or line.get("data") or run.dataset
        return data if len(set(data.values()) - {""}) > 1 else dict.fromkeys(data, "")

    @property
    def columns(self) -> list[str]:
        """The columns of the table of the page."""
        several = any(self.data.values())
        return [*["data"] * several, "model", self.score, "kind", *COST, *self.entries]


def listed(table: Table) -> list[Run]:
    """The runs that have a row."""
    return [row for row in table.rows if isinstance(row, Run) and row.listed]


def words(run: Run) -> str:
    """The model of a run."""
    return run.model or run.name


def open_study(sweep: str, workdir: str, entries: Sequence[str]) -> Study:
    """Reads the sweep, its finished runs and its page.

    Raises:
      UserError: a missing file, or a table that cannot be made of what is there.
    """
    home = find_file(split_argument(sweep)[0], SWEEPS, "sweep file").parent
    table = Table(load_sweep(sweep), user_path(workdir), sweep)
    score = score_column(listed(table), sweep)
    found = {run.name: outcome for run in listed(table) if (outcome := finished(run, table))}
    head, *cells = measured_table(home / PAGE) or [[]]
    if not found:
        raise UserError(f"{workdir} has no finished run of {sweep}")
    names = {name for _, results in found.values() for name in results}
    for name in entries:
        if name not in names and name not in head:
            raise UserError(f"no finished run of {sweep} reports {name!r}{did_you_mean(name, sorted(names))}")
    before = [dict(zip(head, line, strict=True)) for line in cells]
    kept = {run.name: line for run in listed(table) if run.name not in found and (line := line_of(run, before))}
    study = Study(home, table, score, entries, found, kept)
    for line in kept.values():
        lost = [name for name, cell in line.items() if cell and name not in study.columns]
        lost += [name for name in study.columns if name == "data" and not line.get(name)]
        if lost:
            raise UserError(
                f"the table of {home / PAGE} has other columns, such as {lost[0]!r}, and a row of it stays, as "
                f"{line['model']!r} is not finished: ask for the same columns, or empty the table"
            )
    return study


def score_column(runs: Sequence[Run], sweep: str) -> str:
    """The unit of the scores of all rows.

    Raises:
      UserError: the rows have scores in different units, or two of them have the same words.
    """
    units = list(dict.fromkeys(unit_of(run.metric) for run in runs))
    if len(units) > 1:
        raise UserError(f"the rows of {sweep} have scores in {units[0]} and in {units[1]}, which are no one column")
    names = collections.Counter((run.dataset, words(run)) for run in runs)
    twice = [name for (_, name), num in names.items() if num > 1]
    if twice:
        raise UserError(f"two rows of {sweep} are named {twice[0]!r}: the table tells them apart by `model` only")
    return units[0] if units else ""


def unit_of(metric: str) -> str:
    """`chain_bound_bits_per_dim` -> `bits/dim`, `nll_nats` -> `nats`; other metrics are their own unit."""
    if metric.endswith("bits_per_dim"):
        return "bits/dim"
    return "nats" if metric.endswith("_nats") else metric.replace("_", " ")


def finished(run: Run, table: Table) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The row of the results table of a finished run, and its report; None, and a printed line, unless it is finished.

    Raises `UserError` for a run without the metric of its row.
    """
    ended, report = table.outcome(run), read_report(table.workdir / run.name)
    if isinstance(ended, UserError):
        raise ended
    if ended is None or report is None:
        why = "is not finished" if report is None else "has other results than its row asks for: run the sweep"
        print(f"{run.name} {why}", flush=True)
        return None
    return ended.row(), report


def line_of(run: Run, lines: Sequence[dict[str, str]]) -> dict[str, str] | None:
    """The line of a run among those of the page; None where there is none, or several may be meant."""
    same = [line for line in lines if line.get("model") == words(run)]
    if run.dataset:  # behind its name a line may have the number of examples that are scored
        same = [line for line in same if line.get("data", run.dataset).split(" (")[0] == run.dataset]
    return same[0] if len(same) == 1 else None


def number_cell(results: Mapping[str, Any], name: str, decimals: int) -> str:
    """`1.718 ± 0.014`: an entry of results.json, "" for none; counts have no decimals."""
    value, stderr = results.get(name), stderr_in(results, name)
    if not is_json_number(value):
        return "" if value is None else str(value)
    cell = f"{value:,}" if isinstance(value, int) and math.isnan(stderr) else f"{value:.{decimals}f}"
    return cell if math.isnan(stderr) else f"{cell} ± {stderr:.{decimals}f}"


def minutes_of(name: str, table: Table) -> float:
    """Minutes of the training of a run, of the runs that it reads, and of those that these read.

    Raises:
      UserError: one of these runs has no results.
    """
    names = with_dependencies([name], [row for row in table.rows if isinstance(row, Run)])
    reports = {each: read_report(table.workdir / each) for each in names}
    for each, report in reports.items():
        if report is None:
            raise UserError(f"{table.workdir / each} has no finished run, and another row reads it: run {table.sweep}")
    return sum(report["train_seconds"] for report in reports.values() if report) / 60


def measure(run: arjax.Run, num: int) -> tuple[dict[str, np.ndarray], float, float]:
    """Samples, calls of the network for each, and seconds for each.

    Samples are arrays by the ending of their name in samples.npz: [num, H, W] or [num, H, W, 3] where they are images,
    with the value of white beside them, else [num, *event.shape]. Where there are contexts, they are those of the first
    examples that a run shows beside its own samples.
    """
    seconds, context = [], run.dataset.first_examples(num).context or None
    for i in range(4):
        started = time.perf_counter()
        draw = run.model.draw(run.params, jax.random.split(jax.random.key(i), num), context=context)
        jax.block_until_ready(draw.x)
        seconds.append(time.perf_counter() - started)
    event, x = run.model.event, np.asarray(run.dataset.in_data_units(np.asarray(draw.x)))
    x = x.astype(np.min_scalar_type(event.num_levels - 1) if event.is_discrete else np.float32)
    images = as_images(x, event.grid_shape)
    arrays = {"": x}
    if images is not None:
        arrays = {"": images, WHITE: np.asarray(event.num_levels - 1 if event.is_discrete else images.max())}
    return arrays, float(np.mean(draw.stats["network_calls"])), statistics.median(seconds[1:]) / num


def measured(study: Study, num: int) -> tuple[dict[str, dict[str, str]], dict[str, np.ndarray]]:
    """The lines of the finished runs, by name and column, and the arrays of samples.npz."""
    decimals = 3 if study.score == "bits/dim" else 2
    minutes = {name: minutes_of(name, study.table) for name in study.found}
    lines, drawn = {}, {}
    for run in listed(study.table):
        if run.name not in study.found:
            continue
        arrays, calls, seconds = measure(arjax.open_run(study.table.workdir / run.name), num)
        drawn |= {f"{run.name}{ending}": array for ending, array in arrays.items()}
        row, results = study.found[run.name]
        line = {"data": study.data[run.name], "model": words(run), "kind": row["kind"]}
        line |= {study.score: number_cell(results, run.metric, decimals)}
        cost = (f"{row['num_params']:,}", f"{minutes[run.name]:.1f}", f"{calls:.0f}", f"{seconds:.2g}")
        line |= dict(zip(COST, cost, strict=True))
        line |= {name: number_cell(results, name, 2) for name in study.entries}
        lines[run.name] = line
        print(" | ".join(line[column] for column in study.columns), flush=True)
    return lines, drawn


def draw_samples(path: Path, study: Study, arrays: Mapping[str, np.ndarray]) -> None:
    """Draws the samples of all runs that have images, if there are any."""
    blocks: dict[str, dict[str, np.ndarray]] = {}
    for run in listed(study.table):
        if run.name + WHITE in arrays:
            images = arrays[run.name] / max(float(arrays[run.name + WHITE]), 1e-12)
            blocks.setdefault(study.data[run.name], {})[words(run)] = images
    if blocks:
        sample_rows(path, blocks)


def draw_calls(path: Path, study: Study, lines: Mapping[str, Mapping[str, str]]) -> None:
    """Draws the scores over the calls of a sample, if these differ: a panel for each data set with several models."""
    panels: dict[str, list[Point]] = {}
    for name, line in lines.items():
        calls, (score, _, stderr) = float(line["network calls"]), line[study.score].partition(" ± ")
        point = Point(line["model"], calls, float(score), float(stderr or "nan"), line["kind"])
        panels.setdefault(study.data[name], []).append(point)
    panels = {data: points for data, points in panels.items() if len(points) > 1}
    if len({point.x for points in panels.values() for point in points}) > 1:
        labelled_points(path, panels, "network calls of a sample", study.score)


def sample_rows(path: str | os.PathLike, blocks: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Draws a row of samples of each model, with its name; a block of rows for each data set. `blocks`: data set ->
    name of the model -> images [N, H, W] or [N, H, W, 3] in 0..1. A single block has no title.
    """
    figure = new_figure(9, 1)
    (axis,) = row_of_axes(figure, 1)
    names, middles, bottom = [], [], 0.0  # in widths of a row
    for title, rows in blocks.items():
        if len(blocks) > 1:
            bottom -= 0.05
            axis.text(0, bottom + 0.01, title, fontsize=9, parse_math=False)
        for name, images in rows.items():
            strip = tile_images(images, len(images))
            height = strip.shape[0] / strip.shape[1]
            place = (0, 1, bottom - height, bottom)
            axis.imshow(strip, cmap="gray", vmin=0, vmax=1, interpolation="nearest", extent=place)
            names.append(name)
            middles.append(bottom - height / 2)
            bottom -= 1.2 * height
    axis.set(xlim=(0, 1), ylim=(bottom, 0))
    axis.set_yticks(middles, names, fontsize=8, parse_math=False)
    axis.set_xticks([])
    axis.tick_params(length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)
    figure.set_figheight(0.2 - 6.6 * bottom)  # names leave some 6.6 of 9 inches
    save_figure(figure, path)


def main(argv: Sequence[str]) -> int:
    """Measures, writes, draws."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweep", required=True, metavar="FILE.py", help="sweep file, or FILE.py:ARGUMENT")
    parser.add_argument("--workdir", required=True, metavar="DIR", help="its workdir")
    parser.add_argument("--num", type=int, default=16, help="samples of each [16]")
    parser.add_argument(
        "--entries", default="", metavar="NAMES", help="more entries of results.json, with commas [none]"
    )
    flags = parser.parse_args(argv)
    if flags.num < 1:
        raise UserError(f"--num must be at least 1, not {flags.num}")
    check_matplotlib()
    study = open_study(flags.sweep, flags.workdir, [name for name in dict.fromkeys(flags.entries.split(",")) if name])
    path = study.home / SAMPLES
    kept = read_arrays(path) if path.exists() else {}
    if any(len(x) != flags.num for x in kept.values() if x.ndim):
        raise UserError(f"{path} has another number of samples than --num={flags.num}: remove it, or draw as many")
    lines, drawn = measured(study, flags.num)
    lines = {run.name: (study.kept | lines)[run.name] for run in listed(study.table) if run.name in study.kept | lines}
    cells = [[line.get(column, "") for column in study.columns] for line in lines.values()]
    arrays = keep_arrays(path, drawn)
    write_measured(study.home / PAGE, markdown_table(study.columns, cells))
    draw_samples(study.home / IMAGES, study, arrays)
    draw_calls(study.home / CALLS, study, lines)
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("measure_sweep", lambda: main(sys.argv[1:])))
