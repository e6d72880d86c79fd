"""Runs that differ in their seed only: finding them, and rows that summarise them."""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Sequence

from arjax.sweep.derived import Derived, Mean
from arjax.sweep.runs import Run

SEED = "seed"


def groups_of_seeds(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs in groups: those of a group differ in their name and the override of `seed`, and in nothing else.

    A run without that override has the seed of its config file, and stands alone.
    """
    groups: dict[tuple, list[Run]] = {}
    seen: collections.Counter[tuple] = collections.Counter()
    for run in runs:
        others = tuple(sorted((key, text) for key, text in run.override_texts() if key != SEED))
        row = (run.dataset, run.model, run.ordering, run.metric, str(run.published), run.published_mark, run.listed)
        alike, seed = (run.config, others, row), dict(run.override_texts()).get(SEED, "")
        place = seen[alike, seed]  # a run with the seed of another one, or without one, is no second seed
        groups.setdefault((alike, place, bool(seed)), []).append(run)
        seen[alike, seed] += 1
    return list(groups.values())


def mean_over_seeds(rows: Sequence[Run | Derived]) -> list[Run | Derived]:
    """The rows with one `Mean` for all listed runs that differ in their seed only, which lose their own rows."""
    taken = {row.name for row in rows}
    groups = groups_of_seeds([row for row in rows if isinstance(row, Run) and row.listed])
    several = {run.name: group for group in groups if len(group) > 1 for run in group}
    found: list[Run | Derived] = []
    for row in rows:
        if row.name not in several:
            found.append(row)
            continue
        found.append(dataclasses.replace(row, listed=False))
        if row is several[row.name][-1]:
            found.append(mean_of(_free(common_name(several[row.name]), taken), several[row.name]))
    return found


def mean_of(name: str, runs: Sequence[Run]) -> Mean:
    """The row for the mean of similar runs; its texts are those of the first run."""
    first = runs[0]
    return Mean(name, [run.name for run in runs], first.model, first.ordering, first.published, first.published_mark)


def common_name(runs: Sequence[Run]) -> str:
    """`raster-0`, `raster-1` -> `raster-mean`: the name with `mean` in place of the part in which the runs differ."""
    parts = [re.split(r"([-_/+=])", run.name) for run in runs]
    differ = [len(set(each)) > 1 for each in zip(*parts, strict=False)]
    if len(set(map(len, parts))) > 1 or sum(differ) != 1:
        return f"{runs[0].name}-mean"
    return "".join("mean" if other else part for part, other in zip(parts[0], differ, strict=True))


def _free(name: str, taken: set[str]) -> str:
    """The name, with a number behind it where it is taken; adds it to those taken."""
    number, free = 1, name
    while free in taken:
        number, free = number + 1, f"{name}-{number + 1}"
    taken.add(free)
    return free
