"""The table of the page, from the finished runs of sweep.py: accuracies on longer sequences than those of training.

    python experiments/state_tracking/measure.py runs/state_tracking

Accuracy is scaled: 0 for a guess, 1 for all answers right. Of a row that has no finished run there, the table keeps the
line that it has.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sweep import TASKS as WORDS
from sweep import get_sweep

import arjax
from arjax.cli.command_line import Parser, tell_mistakes
from arjax.config.build import build
from arjax.config.files import set_fields
from arjax.config.validate import validate
from arjax.data.state_tracking import TASKS
from arjax.evaluation.likelihood import Evaluator
from arjax.reporting.tables import renew_measured
from arjax.sweep import Run, finished_runs

HERE = Path(__file__).parent
COLUMNS = ["task", "network", "3 to 40", "40 to 256", "best seed", "seeds", "parameters", "minutes"]
#: Fields of the sequences that are longer than those of training; 2,000 are scored.
LONGER = {"dataset.shortest": 40, "dataset.longest": 256, "dataset.num_examples": 20_000}


def scaled(accuracy: float, task: str) -> float:
    """0 for the accuracy of a guess, 1 for 1."""
    guess = 1 / TASKS[task].num_answers
    return (accuracy - guess) / (1 - guess)


def on_longer(folder: Path) -> float:
    """The accuracy of a run on longer sequences."""
    run = arjax.open_run(folder)
    config = run.config.copy_and_resolve_references()
    set_fields(config, LONGER)
    longer = build(validate(config))
    return Evaluator(longer.model, longer.dataset, 100, None)(run.params, "test")["accuracy"]


def _seconds(folder: Path, row: str) -> float:
    """Of all trainings of a row, also those on shorter sequences."""
    names = [run.name for run in get_sweep() if run.name == row or run.name.startswith(f"{row}-")]
    return sum(json.loads((folder / name / "results.json").read_text())["train_seconds"] for name in names)


def line(runs: Sequence[Run], folder: Path) -> list[str]:
    """The line of the seeds of one row."""
    print(f"{runs[0].dataset}, {runs[0].model} ...", flush=True)
    scores = [json.loads((folder / run.name / "results.json").read_text()) for run in runs]
    task = runs[0].name.split("-")[0]
    short = [scaled(score["accuracy"], task) for score in scores]
    longer = [scaled(on_longer(folder / run.name), task) for run in runs]
    minutes = sum(_seconds(folder, run.name) for run in runs) / 60 / len(scores)
    means = [f"{np.mean(short):.3f}", f"{np.mean(longer):.3f}", f"{max(longer):.3f}"]
    return [runs[0].dataset, runs[0].model, *means, str(len(runs)), f"{scores[0]['num_params']:,}", f"{minutes:.1f}"]


def main(argv: Sequence[str]) -> int:
    """Reads, scores, writes."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the workdir of the sweep")
    parser.add_argument("--page", type=Path, default=HERE / "README.md", help="the page with the table [README.md]")
    flags = parser.parse_args(argv)
    seeds: dict[tuple[str, str], list[Run]] = {}
    rows = [run for run in get_sweep() if run.dataset in WORDS.values()]  # those before are of shorter sequences
    for run in finished_runs(rows, flags.folder):
        seeds.setdefault((run.dataset, run.model), []).append(run)
    order = [(run.dataset, run.model) for run in rows]
    renew_measured(flags.page, COLUMNS, [line(runs, flags.folder) for runs in seeds.values()], order, COLUMNS[2:])
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("measure", lambda: main(sys.argv[1:])))
