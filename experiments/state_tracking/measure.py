"""The table of the page, from the finished runs of sweep.py: accuracies on longer sequences than those of training.

    python experiments/state_tracking/measure.py runs/state_tracking

Accuracy is scaled: 0 for a guess, 1 for all answers right. Of a row that has no finished run there, the table keeps the
line that it has.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sweep import TASKS as WORDS
from sweep import get_sweep

import arjax
from arjax.cli.command_line import Parser, tell_mistakes
from arjax.config.build import build
from arjax.config.files import set_fields
from arjax.config.validate import validate
from arjax.core.errors import UserError
from arjax.core.files import read_json_object
from arjax.data.generated import TASKS
from arjax.evaluation.likelihood import Evaluator
from arjax.evaluation.splits import Scoring
from arjax.sweep import Run, finished_runs

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))
from measured import measured_rows, renew_measured

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
    return Evaluator(longer.model, longer.dataset, Scoring(100))(run.params, "test")["accuracy"]


def trainings(row: Run, folder: Path) -> list[dict[str, Any]]:
    """The results of all trainings of a row, the last one first; raises `UserError` unless they are those of the sweep.

    Each of them began with the parameters of the one on shorter sequences.
    """
    names = [run.name for run in get_sweep() if run.name == row.name or run.name.startswith(f"{row.name}-")]
    found: list[dict[str, Any]] = []
    for name, before in itertools.pairwise([*names[::-1], ""]):
        results, config = (read_json_object(folder / name / file) for file in ("results.json", "config.json"))
        if not results or not config:
            raise UserError(f"{folder / name} has no results that can be read, and the row {row.name!r} needs them")
        if Path(start := config["train"]["init_from"]).name != before:
            begins = f"begins with the parameters of {start}" if start else "begins with fresh parameters"
            expected = f"with those of {before}" if before else "with fresh ones"
            raise UserError(f"{folder / name} {begins}, and in this sweep {expected}: train it in another workdir")
        found.append(results)
    return found


def line(runs: Sequence[Run], folder: Path) -> list[str]:
    """The line of the seeds of one row."""
    print(f"{runs[0].dataset}, {runs[0].model} ...", flush=True)
    results = [trainings(run, folder) for run in runs]
    scores = [result[0] for result in results]
    task = runs[0].name.split("-")[0]
    short = [scaled(score["accuracy"], task) for score in scores]
    longer = [scaled(on_longer(folder / run.name), task) for run in runs]
    minutes = sum(each["train_seconds"] for result in results for each in result) / 60 / len(scores)
    means = [f"{np.mean(short):.3f}", f"{np.mean(longer):.3f}", f"{max(longer):.3f}"]
    return [runs[0].dataset, runs[0].model, *means, str(len(runs)), f"{scores[0]['num_params']:,}", f"{minutes:.1f}"]


def main(argv: Sequence[str]) -> int:
    """Reads, scores, writes."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the workdir of the sweep")
    parser.add_argument("--page", type=Path, default=HERE / "README.md", help="the page with the table [README.md]")
    flags = parser.parse_args(argv)
    measured_rows(flags.page, COLUMNS)  # a wrong page ends this before minutes of scoring, as does a run below
    seeds: dict[tuple[str, str], list[Run]] = {}
    rows = [run for run in get_sweep() if run.dataset in WORDS.values()]  # those before are of shorter sequences
    for run in finished_runs(rows, flags.folder):
        trainings(run, flags.folder)
        seeds.setdefault((run.dataset, run.model), []).append(run)
    order = [(run.dataset, run.model) for run in rows]
    renew_measured(flags.page, COLUMNS, [line(runs, flags.folder) for runs in seeds.values()], order, COLUMNS[2:])
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("measure", lambda: main(sys.argv[1:])))
