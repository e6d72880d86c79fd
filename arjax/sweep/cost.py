"""The minutes of runs: measured of finished ones, and expected of those that are like them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from arjax.core.errors import UserError
from arjax.sweep.results import read_results
from arjax.sweep.runs import Run

#: Beginnings of fields that change no duration to speak of.
SAME_COST = ("seed", "model.ordering", "optimizer.", "sample.", "inpaint.", "suggest.")


def kind_of_cost(run: Run) -> str:
    """Equal for runs that take equally long: those of one config file whose overrides differ in no more than order,
    seed and the options of the optimizer.
    """
    overrides = {key: text for key, text in run.override_texts() if not key.startswith(SAME_COST)}
    return json.dumps([run.config, overrides], sort_keys=True)


def measured_minutes(runs: Sequence[Run], folders: Mapping[str, Path]) -> dict[str, float]:
    """The minutes of each run that has results, by its name."""
    found = {run.name: read_results(folders[run.name]) for run in runs}
    return {name: results["train_seconds"] / 60 for name, results in found.items() if results}


def expected_minutes(runs: Sequence[Run], measured: Mapping[str, float]) -> dict[str, float]:
    """The minutes of each run by its name: its own, or the mean of the runs like it; those without either are left
    out.
    """
    alike: dict[str, list[float]] = {}
    for run in runs:
        if run.name in measured:
            alike.setdefault(kind_of_cost(run), []).append(measured[run.name])
    means = {kind: sum(minutes) / len(minutes) for kind, minutes in alike.items()}
    found = {run.name: measured.get(run.name, means.get(kind_of_cost(run))) for run in runs}
    return {name: minutes for name, minutes in found.items() if minutes is not None}


def tried_minutes(runs: Sequence[Run]) -> tuple[dict[str, float], list[str]]:
    """The minutes of the first run of each kind, by a trial on the devices of this process.

    Returns:
      minutes by name, and a sentence for each run that cannot be trained.
    """
    firsts = list({kind_of_cost(run): run for run in reversed(runs)}.values())[::-1]
    found, problems = {}, []
    for number, run in enumerate(firsts, start=1):
        print(f"trial {number} of {len(firsts)}: {run.name} ...", file=sys.stderr, flush=True)
        try:
            found[run.name] = _tried(run)
        except UserError as error:
            problems.append(f"{run.name} cannot be trained: {error}")
    return found, problems


def _tried(run: Run) -> float:
    from arjax.config.build import build
    from arjax.sweep.configs import config_of
    from arjax.training.trial import expected_seconds

    return expected_seconds(build(config_of(run))) / 60
