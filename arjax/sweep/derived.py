"""Rows of a sweep computed from other rows: means over runs, such as those of several seeds, and mixtures of models."""

from __future__ import annotations

import collections
import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arjax.core.arguments import named_arguments
from arjax.core.errors import UserError, did_you_mean
from arjax.core.score_names import kind_of_mixture, weakest
from arjax.evaluation.summaries import mean_over_runs
from arjax.reporting.reports import is_number
from arjax.sweep.results import COLUMNS, number, read_config, read_results, result_row, validation_of
from arjax.sweep.runs import Run, check_name, check_published

#: Weights of the members of a mixture; all are chosen on validation alone (arjax/evaluation/mixtures.py).
WEIGHTS = ("equal", "fitted", "chosen")
SEED = "seed"


@dataclasses.dataclass(frozen=True)
class Member:
    """A finished run as a member of another row, with its folder, its report and its own row."""

    run: Run
    folder: Path
    results: Mapping[str, Any]
    row: Mapping[str, Any]

    def nats(self) -> np.ndarray | None:
        """The nats of each example of the scored split, [N], where the run has left them in its folder."""
        from arjax.api.run_nats import stored_nats

        return stored_nats(self.folder, self.results).get(self.results["split"])


@dataclasses.dataclass(frozen=True)
class Derived:
    """A row computed from finished runs.

    Attributes:
      name: as that of a run; there is no folder of this name.
      of: the names of the runs.
      model: the row's model, in words; "" is that of the runs, with the operation.
      ordering: the row's ordering; "" is that of the runs, or their number of orders.
      published, published_mark: as in `Run`.
    """

    name: str
    of: Sequence[str]
    model: str = ""
    ordering: str = ""
    published: float = float("nan")
    published_mark: str = ""

    def __post_init__(self):
        check_name(self.name, "a row")
        of = self.of
        if not isinstance(of, tuple | list) or not of or not all(isinstance(name, str) for name in of):
            raise UserError(f"row {self.name!r} needs the names of its runs, of=('a', 'b', ...), not {of!r}")
        if len(set(of)) < len(of):
            raise UserError(f"row {self.name!r} names a run twice")
        check_published(self.published, f"row {self.name!r}")

    def check(self, runs: Mapping[str, Run]) -> None:
        """Raises `UserError` unless all members of the row are `runs` of the sweep, and fit one another."""
        for name in self.of:
            if name not in runs:
                raise UserError(f"row {self.name!r} is made of {name!r}, which is no run{did_you_mean(name, runs)}")

    def row(self, members: Sequence[Member]) -> dict[str, Any]:
        """The row, from its finished members; raises `UserError` where they cannot be put together."""
        data = {member.row["dataset"] for member in members}  # with the split, see `scored_data`
        if len(data) > 1:
            raise UserError(f"row {self.name!r} is made of runs on {' and '.join(sorted(data))}")
        orders = list(dict.fromkeys(member.row["ordering"] for member in members))
        common = dict.fromkeys(COLUMNS, "") | {
            "name": self.name,
            "dataset": members[0].row["dataset"],
            "ordering": self.ordering or (orders[0] if len(orders) == 1 else f"{len(orders)} orders"),
            "seed": ", ".join(map(str, sorted({member.results["seed"] for member in members}))),
            "metric": members[0].run.metric,
            "published": number(self.published),
            "published_mark": self.published_mark,
            "device": " and ".join(dict.fromkeys(member.row["device"] for member in members)),
        }
        own = self._row(members)
        models = " and ".join(dict.fromkeys(member.row["model"] for member in members))
        return common | own | {"model": self.model or f"{models}, {own['model']}"}

    def _row(self, members: Sequence[Member]) -> dict[str, Any]:
        """The fields that depend on the operation; `model` describes it in words."""
        raise NotImplementedError

    def nats(self, members: Sequence[Member]) -> np.ndarray | None:
        """The nats of each example of the scored split, [S, N] under S seeds; None where they are not known."""
        raise NotImplementedError


@named_arguments
@dataclasses.dataclass(frozen=True)
class Mean(Derived):
    """The mean of the metric of runs, such as those of one order and several seeds, with its standard error over them.

    Parameters and minutes are those of one run.
    """

    def check(self, runs: Mapping[str, Run]) -> None:
        super().check(runs)
        metrics = sorted({runs[name].metric for name in self.of})
        if len(metrics) > 1:
            raise UserError(f"row {self.name!r} is the mean of different metrics: {' and '.join(metrics)}")

    def _row(self, members: Sequence[Member]) -> dict[str, Any]:
        value, stderr = mean_over_runs([member.results[member.run.metric] for member in members])
        validation = mean_over_runs([validation_of(each.run.metric, each.results)[0] for each in members])
        sizes = {member.results["num_params"] for member in members}
        seeds = {member.results["seed"] for member in members}
        over = "seeds" if len(seeds) == len(members) else "runs"
        return {
            "kind": weakest(*(member.row["kind"] for member in members)),  # that of the metric
            "model": f"mean of {len(members)} {over}",
            **_with_stderr("value", value, stderr),
            "stderr_over": "" if math.isnan(stderr) else over,
            **_with_stderr("validation", *validation),
            "num_params": sizes.pop() if len(sizes) == 1 else "",
            "train_minutes": number(float(np.mean([each.results["train_seconds"] / 60 for each in members])), digits=3),
        }

    def nats(self, members: Sequence[Member]) -> np.ndarray | None:
        known = [nats_N for member in members if (nats_N := member.nats()) is not None]
        alike = len(known) == len(members) and len(set(map(len, known))) == 1
        return np.stack(known) if alike else None


@named_arguments
@dataclasses.dataclass(frozen=True)
class Mixture(Derived):
    """Whole examples mixed, p(x) = sum_m w_m p_m(x), in nats, with the standard error over the examples.

    The weights are "equal"; "fitted": those under which the validation split is most probable; or "chosen": equal ones
    for as many runs as are best on validation, in the sequence of a greedy search, and none for the others. Parameters
    and minutes are those of all runs together.
    """

    weights: str = "equal"

    def __post_init__(self):
        super().__post_init__()
        if self.weights not in WEIGHTS:
            hint = did_you_mean(str(self.weights), WEIGHTS)
            raise UserError(f"row {self.name!r} has weights {self.weights!r}{hint}")

    def check(self, runs: Mapping[str, Run]) -> None:
        super().check(runs)
        splits = {dict(runs[name].override_texts()).get("evaluate.split") for name in self.of}
        if self.weights != "equal" and "validation" in splits:
            raise UserError(f"the weights of row {self.name!r} are {self.weights} on validation: score another split")

    def _row(self, members: Sequence[Member]) -> dict[str, Any]:
        from arjax.evaluation.summaries import stderr_of

        weights_M, nll_N, validation_N = self._mixed(members)
        how = f"{int((weights_M > 0).sum())} of them chosen" if self.weights == "chosen" else f"{self.weights} weights"
        validation = {}
        if validation_N is not None:
            validation = _with_stderr("validation", validation_N.mean(), stderr_of(validation_N))
        return validation | {
            "kind": _kind_of_mixture(members),
            "model": f"{len(members)} mixed, {how}",
            "metric": "nll_nats",
            **_with_stderr("value", nll_N.mean(), stderr_of(nll_N)),
            "stderr_over": "examples",
            "num_params": sum(member.results["num_params"] for member in members),
            "train_minutes": number(sum(member.results["train_seconds"] for member in members) / 60, digits=3),
        }

    def nats(self, members: Sequence[Member]) -> np.ndarray | None:
        return self._mixed(members)[1][None]

    def _mixed(self, members: Sequence[Member]) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """The weights [M], and the nats of the mixture of each example, [N], of the scored split and of validation."""
        from arjax.core.mixtures import mixed_nats
        from arjax.evaluation.mixtures import WEIGHTS as FIND

        nll_MN = self._nats(members, members[0].results["split"])
        validated = all(is_number(member.results.get("validation_nll_nats")) for member in members)
        if not validated and self.weights == "equal":
            weights_M = FIND[self.weights](nll_MN)
            return weights_M, mixed_nats(nll_MN, weights_M), None
        validation_MN = self._nats(members, "validation")
        weights_M = FIND[self.weights](validation_MN)
        return weights_M, mixed_nats(nll_MN, weights_M), mixed_nats(validation_MN, weights_M)

    def _nats(self, members: Sequence[Member], split: str) -> np.ndarray:
        """The nats of each example under each member, [M, N]."""
        from arjax.api.run_nats import nats_of_run

        if self.weights != "equal" and members[0].results["split"] == "validation":
            raise UserError(f"the weights of row {self.name!r} are {self.weights} on validation: score another split")
        found = []
        for member in members:
            nats = nats_of_run(member.folder, member.results)
            if split not in nats:
                raise UserError(f"row {self.name!r}: run {member.run.name!r} has no {split} split to fit weights on")
            found.append(nats[split])
        if len({len(nll_N) for nll_N in found}) > 1:
            raise UserError(f"row {self.name!r} mixes runs with different examples")
        return np.stack(found)


def _with_stderr(name: str, value: Any, stderr: Any) -> dict[str, str]:
    return {name: number(float(value)), f"{name}_stderr": number(float(stderr), digits=3)}


def _kind_of_mixture(members: Sequence[Member]) -> str:
    unbiased = all(_unbiased(read_config(member.folder) or {}) for member in members)
    return kind_of_mixture(*(member.results["kind"] for member in members), unbiased=unbiased)


def _unbiased(section: Mapping[str, Any]) -> bool:
    """Whether the kinds of model in a config, or in a part of one, have no bias, and their conditionals are exact."""
    from arjax.conditionals import CONDITIONALS
    from arjax.models import KINDS, ModelChoice

    model = {"kind": ModelChoice.kind, "conditional": ""} | section.get("model", {})
    traits = KINDS.get(model["kind"]).traits  # a property of models that are made of others
    unbiased = not isinstance(traits, frozenset) or "biased" not in traits
    bounds = {name for name in CONDITIONALS.names() if CONDITIONALS.get(name).score_kind == "bound"}
    unbiased &= not bounds & set(re.findall(r"\w+", model["conditional"]))  # also where one is an option of another
    return unbiased and all(map(_unbiased, section["parts"].values() if "parts" in section else ()))


def member(run: Run, folder: Path) -> Member:
    """A finished run as a member of other rows."""
    results = read_results(folder)
    assert results is not None, f"{folder} is not finished"
    return Member(run, folder, results, result_row(run, folder))


def groups_of_seeds(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs in groups: those of a group differ in their name and the override of `seed`, and in nothing else.

    A run without that override has the seed of its config file, and stands alone.
    """
    groups: dict[tuple, list[Run]] = {}
    seen: collections.Counter[tuple] = collections.Counter()
    for run in runs:
        others = dict(sorted(run.override_texts()))
        seed = others.pop(SEED, "")
        alike = repr(dataclasses.replace(run, name="any", overrides=others, pilots=()))
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
        if not isinstance(row, Run) or row.name not in several:
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
