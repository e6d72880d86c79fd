"""Nats per character of Transformer-XL against the memory that it is scored with, and the picture of the study.

    python experiments/memory/measure.py runs/memory

Reads the finished runs of sweep.py: `text-*` were trained with one memory and are scored with several, as the
parameters do not depend on it (Dai et al., "Transformer-XL", 2019, section 3.2). Differences are taken window by window
of the test split. Writes text.csv and memory.png. Without a folder, it draws memory.png from the csv files.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sweep import DELAYS, NETWORKS, TEXT_MEMORIES, name_of_text

from arjax import open_run
from arjax.cli.command_line import Parser, tell_mistakes
from arjax.core.errors import UserError
from arjax.evaluation.likelihood import Evaluator
from arjax.evaluation.summaries import ratio_of_means
from arjax.reporting.figures import ACCENT, INK, SOFT, label_axes, new_figure, row_of_axes, save_figure
from arjax.sweep.results import FILE_NAME, read_csv

HERE = Path(__file__).parent
#: Characters of memory at which each run is scored; the first one is that of the differences.
MEMORIES = (0, 32, 64, 128, 256, 512)
#: Nats of ten symbols of eight kinds without memory.
MEMORYLESS = 10 * np.log(8)
COLORS = ("#2b5f91", "#3c8d5a", "#d9722c", "#b03a48")


def text_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """Each finished run under each memory: nats per character, the difference from no memory, standard errors."""
    for trained in TEXT_MEMORIES:
        workdir = folder / name_of_text(trained)
        if not (workdir / "results.json").is_file():
            continue
        run = open_run(workdir)
        nats = {memory: scored_with(run, memory) for memory in MEMORIES}
        for memory, (nll, sites) in nats.items():
            mean, stderr = ratio_of_means(nll, sites)
            gain, gain_stderr = ratio_of_means(nll - nats[0][0], sites)
            numbers = {"nats": mean, "stderr": stderr, "difference": gain, "difference_stderr": gain_stderr}
            yield {"trained": trained, "memory": memory} | numbers


def scored_with(run: Any, memory: int) -> tuple[np.ndarray, np.ndarray]:
    """Nats and scored characters of each test window, under the parameters of a run and another memory."""
    model = dataclasses.replace(run.model, network=run.model.network.clone(memory=memory))
    rows = Evaluator(model, run.dataset, run.settings.scoring).rows(run.params, "test")
    return rows["nll"], rows["sites"]


def draw(path: Path, results: Sequence[Mapping[str, str]], text: Sequence[Mapping[str, Any]]) -> None:
    """Left: nats of the copies, a row for each network, a colour for each delay, a mark for each seed. Right: nats per
    character against the memory.
    """
    copies, characters = row_of_axes(figure := new_figure(9.6, 3.8), 2)
    for delay, color, mark in zip(DELAYS, COLORS, "os^D", strict=True):
        nats = [nats_of(results, delay, words) for words in NETWORKS.values()]
        known = [(value, row) for row, values in enumerate(nats) for value in values]
        if known:
            copies.plot(*zip(*known, strict=True), mark, color=color, markersize=5, label=f"delay {delay}")
    copies.axvline(MEMORYLESS, color=SOFT, linewidth=0.8)
    copies.set_xscale("log")
    copies.set_yticks(range(len(NETWORKS)), labels=list(NETWORKS.values()))
    copies.invert_yaxis()
    if results:
        copies.legend(frameon=False, fontsize=8, loc="lower left")
    label_axes(copies, "test nats of ten symbols", "", "Copy memory; the line: without memory")
    for trained, color in zip(TEXT_MEMORIES, (INK, ACCENT), strict=True):
        of_run = [row for row in text if int(row["trained"]) == trained]
        if of_run:
            values, errors = ([float(row[name]) for row in of_run] for name in ("nats", "stderr"))
            style = {"color": color, "marker": "o", "markersize": 4, "label": f"trained with {trained}"}
            characters.errorbar(range(len(of_run)), values, errors, **style)
    characters.set_xticks(range(len(MEMORIES)), labels=[str(memory) for memory in MEMORIES])
    if text:
        characters.legend(frameon=False, fontsize=8)
    label_axes(characters, "memory when scored", "test nats per character", "Shakespeare, Transformer-XL")
    save_figure(figure, path)


def nats_of(results: Sequence[Mapping[str, str]], delay: int, words: str) -> list[float]:
    """The nats of a network at a delay, of each seed."""
    wanted = f"copy memory, {delay}", words
    return [float(row["value"]) for row in results if (row["dataset"], row["model"]) == wanted]


def main(argv: Sequence[str]) -> int:
    """Measures, writes, draws."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="the workdir of the sweep [only draw again]")
    parser.add_argument("--out", type=Path, default=HERE, help="where text.csv and the picture are [this folder]")
    flags = parser.parse_args(argv)
    results = (flags.folder or flags.out) / FILE_NAME
    if not results.is_file():
        raise UserError(f"{results.parent} has no {FILE_NAME}: run experiments/memory/sweep.py there first")
    text = flags.out / "text.csv"
    if flags.folder and (rows := list(text_rows(flags.folder))):
        with text.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    rows = list(csv.DictReader(text.read_text(encoding="utf-8").splitlines())) if text.is_file() else []
    draw(flags.out / "memory.png", read_csv(results), rows)
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("measure", lambda: main(sys.argv[1:])))
