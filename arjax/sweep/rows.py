"""The rows that a sweep file lists: runs, grids of runs, and means and mixtures of runs."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import itertools
import math
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from arjax.core.errors import UserError, did_you_mean, refuse
from arjax.core.files import find_file, split_argument
from arjax.core.options import checked_arguments
from arjax.core.plugins import run_user_file
from arjax.core.scores import WEIGHTS, kind_of_mixture, mixed_nats, weakest
from arjax.evaluation.summaries import group_by_seed, mean_over_runs, stderr_of
from arjax.reporting.reports import check_metric, is_json_number
from arjax.sweep.dependencies import with_dependencies
from arjax.sweep.results import COLUMNS, Finished, number, stderr_cells
from arjax.sweep.runs import WORKDIR, Run, check_row, flag_text

#: The folders of configs and of sweep files that have short names.
CONFIGS, SWEEPS = "configs", "configs/sweeps"
#: Longest value in the name of a folder; longer ones are cut.
_LONGEST_VALUE = 60
#: The function of a file in place of `get_sweep`, and the remedy.
SEARCHED = ("get_search", "it defines get_search(), so give --search=optuna")
#: The fields of a row, and the nats of each example of the scored split, [S, N] under S seeds, where known.
Made = tuple[dict[str, Any], np.ndarray | None]


@dataclasses.dataclass(frozen=True)
class Derived:
    """A row computed from finished runs.

    Attributes:
      of: the names of the runs.
      model: the row's model, in words; "": that of the runs, with the operation.
      ordering: the row's ordering; "": that of the runs, or their number of orders.
    """

    name: str
    of: Sequence[str]
    model: str = ""
    ordering: str = ""
    published: float = float("nan")
    published_mark: str = ""

    def __post_init__(self):
        check_row(self.name, "row", self.published)
        of = self.of
        names = isinstance(of, tuple | list) and all(isinstance(name, str) for name in of)
        if not names or not 0 < len(set(of)) == len(of):
            raise UserError(f"row {self.name!r} needs the names of its runs, each once, of=('a', 'b', ...), not {of!r}")

    def check(self, runs: Mapping[str, Run]) -> None:
        for name in self.of:
            if name not in runs:
                raise UserError(f"row {self.name!r} is made of {name!r}, which is no run{did_you_mean(name, runs)}")

    def made(self, members: Sequence[Finished]) -> Made:
        """Returns the row, and the nats of its examples."""
        rows = [member.row() for member in members]
        data, orders, models, devices = (
            list(dict.fromkeys(row[name] for row in rows)) for name in ("dataset", "ordering", "model", "device")
        )
        refuse((len(data) > 1, f"row {self.name!r} is made of runs on {' and '.join(sorted(data))}"))
        fields, nats = self._made(members, rows)
        common = dict.fromkeys(COLUMNS, "") | {
            "name": self.name,
            "dataset": data[0],
            "ordering": self.ordering or (orders[0] if len(orders) == 1 else f"{len(orders)} orders"),
            "seed": ", ".join(map(str, sorted({row["seed"] for row in rows}))),
            "metric": members[0].run.metric,
            "published": number(self.published),
            "published_mark": self.published_mark,
            "device": " and ".join(devices),
        }
        return common | fields | {"model": self.model or f"{' and '.join(models)}, {fields['model']}"}, nats

    def _made(self, members: Sequence[Finished], rows: Sequence[Mapping[str, Any]]) -> Made:
        """Returns the fields that depend on the operation, `model` being its description, and the nats."""
        raise NotImplementedError


@checked_arguments(published=None)
@dataclasses.dataclass(frozen=True)
class Mean(Derived):
    """The mean of the metric of runs, such as several seeds of one order, with its standard error over them. Parameters
    and minutes are those of one run.
    """

    def check(self, runs: Mapping[str, Run]) -> None:
        super().check(runs)
        metrics = sorted({runs[name].metric for name in self.of})
        refuse((len(metrics) > 1, f"row {self.name!r} is the mean of different metrics: {' and '.join(metrics)}"))

    def _made(self, members: Sequence[Finished], rows: Sequence[Mapping[str, Any]]) -> Made:
        value, stderr = mean_over_runs([member.report[member.run.metric] for member in members])
        sizes, seeds = ({row[name] for row in rows} for name in ("num_params", "seed"))
        over = "seeds" if len(seeds) == len(members) else "runs"
        fields = {
            "kind": weakest(*(row["kind"] for row in rows)),  # that of the metric
            "model": f"mean of {len(members)} {over}",
            **stderr_cells("value", value, stderr),
            "stderr_over": "" if math.isnan(stderr) else over,
            **stderr_cells("validation", *mean_over_runs([member.validation()[0] for member in members])),
            "num_params": sizes.pop() if len(sizes) == 1 else "",
            "train_minutes": number(float(np.mean([each.report["train_seconds"] / 60 for each in members])), digits=3),
        }
        known = [nats_N for member in members if (nats_N := member.nats()) is not None]
        alike = len(known) == len(members) and len(set(map(len, known))) == 1
        return fields, np.stack(known) if alike else None


@checked_arguments(published=None)
@dataclasses.dataclass(frozen=True)
class Mixture(Derived):
    """Whole examples mixed, p(x) = sum_m w_m p_m(x), in nats, with the standard error over the examples. The weights
    are "equal"; "fitted": those under which the validation split is most probable; or "chosen": equal for the first
    runs of a greedy search, as many as are best on validation, and 0 for the others. Parameters and minutes are sums
    over all runs.
    """

    weights: str = "equal"

    def __post_init__(self):
        super().__post_init__()
        hint = did_you_mean(str(self.weights), WEIGHTS)
        refuse((self.weights not in WEIGHTS, f"row {self.name!r} has weights {self.weights!r}{hint}"))

    def check(self, runs: Mapping[str, Run]) -> None:
        super().check(runs)
        for name in self.of:
            self._check_split(dict(runs[name].override_texts()).get("evaluate.split"))

    def _check_split(self, split: str | None) -> None:
        wrong = f"the weights of row {self.name!r} are {self.weights} on validation: score another split"
        refuse((self.weights != "equal" and split == "validation", wrong))

    def _made(self, members: Sequence[Finished], rows: Sequence[Mapping[str, Any]]) -> Made:
        reports = [member.report for member in members]
        self._check_split(reports[0]["split"])
        nll_MN, validation_MN, fields = self._nats(members, reports[0]["split"]), None, dict[str, Any]()
        if self.weights != "equal" or all(is_json_number(report.get("validation_nll_nats")) for report in reports):
            validation_MN = self._nats(members, "validation")
        weights_M = WEIGHTS[self.weights](nll_MN if validation_MN is None else validation_MN)
        if validation_MN is not None:
            validation_N = mixed_nats(validation_MN, weights_M)
            fields = stderr_cells("validation", validation_N.mean(), stderr_of(validation_N))
        nll_N = mixed_nats(nll_MN, weights_M)
        how = f"{int((weights_M > 0).sum())} of them chosen" if self.weights == "chosen" else f"{self.weights} weights"
        fields |= {
            "kind": mixed_kind(reports),
            "model": f"{len(members)} mixed, {how}",
            "metric": "nll_nats",
            **stderr_cells("value", nll_N.mean(), stderr_of(nll_N)),
            "stderr_over": "examples",
            "num_params": sum(report["num_params"] for report in reports),
            "train_minutes": number(sum(report["train_seconds"] for report in reports) / 60, digits=3),
        }
        return fields, nll_N[None]

    def _nats(self, members: Sequence[Finished], split: str) -> np.ndarray:
        from arjax.api.comparing import nats_of_run

        nll_MN = []
        for member in members:
            nats, lacks = nats_of_run(member.folder, member.report), f"has no {split} split to fit weights on"
            refuse((split not in nats, f"row {self.name!r}: run {member.run.name!r} {lacks}"))
            nll_MN.append(nats[split])
        refuse((len(set(map(len, nll_MN))) > 1, f"row {self.name!r} mixes runs with different examples"))
        return np.stack(nll_MN)


Row = Run | Derived


def mixed_kind(reports: Sequence[Mapping[str, Any]]) -> str:
    """The kind of the nats of a mixture of runs with these reports."""
    unbiased = all(report.get("unbiased", False) for report in reports if report["kind"] == "bound")
    return kind_of_mixture(*(report["kind"] for report in reports), unbiased=unbiased)


def grid(
    config: str,
    values: Mapping[str, Iterable[Any]],
    name: str = "",
    overrides: Mapping[str, Any] | None = None,
    **about: Any,
) -> list[Run]:
    """Returns a run for every combination of values, in the sequence of nested loops over the fields. A field in braces
    in `config` is an argument of the config file, `configs/digits.py:network={network}`; every other one is set in the
    config.

    Args:
      values: of each field, `{"model.ordering": ["raster", "spiral"], "seed": range(3)}`.
      name: of a run, with fields in braces by their whole name or its last part: `{ordering}-{seed}`. Characters that
        no folder may have are replaced. "": the values, in the sequence of the fields.
      overrides: config fields to set in all runs.
      **about: further fields of `Run`, such as `model`, `metric` or `published`; texts may hold fields in braces.
    """
    choices = {field: _choices(field, of_field) for field, of_field in values.items()}
    template = name or "-".join(f"{{{field}}}" for field in choices)
    slugs = {field: _slugs(texts) for field, texts in choices.items()}
    runs: dict[str, Run] = {}
    for texts in itertools.product(*choices.values()):
        point = dict(zip(choices, texts, strict=True))
        parts = {field: slugs[field][text] for field, text in point.items()}
        file, fields = split_fields(config, point)
        words: dict[str, Any] = {
            key: fill_fields(value, point) if isinstance(value, str) else value for key, value in about.items()
        }
        run = Run(fill_fields(template, parts), file, {**(overrides or {}), **fields}, **words)
        twice = f"two runs of the grid are named {run.name!r}: put more of {', '.join(choices)} in its name"
        refuse((run.name in runs, twice))
        runs[run.name] = run
    return list(runs.values())


def split_fields(config: str, point: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The config file with its argument, and the fields to set: those without braces in `config`."""
    in_file = {field for field in point if f"{{{field}}}" in config}
    fields = {field: value for field, value in point.items() if field not in in_file}
    return fill_fields(config, {field: flag_text(point[field]) for field in in_file}), fields


def fill_fields(text: str, point: Mapping[str, str]) -> str:
    """The text with values in place of the fields in braces."""
    known = {field.rpartition(".")[2]: field for field in reversed(list(point))} | {field: field for field in point}

    def value(match: re.Match) -> str:
        if match[0] == WORKDIR and match[1] not in known:
            return WORKDIR
        if match[1] not in known:
            raise UserError(f"{text!r} names the field {match[1]!r}{did_you_mean(match[1], known)}, not in the grid")
        return point[known[match[1]]]

    return re.sub(r"{(\w[\w.]*)}", value, text)


def _choices(field: str, values: Iterable[Any]) -> list[str]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise UserError(f"field {field!r} of the grid needs a list of values, not {values!r}")
    texts = [flag_text(value) for value in values]
    refuse(
        (not texts, f"field {field!r} of the grid has no values"),
        (len(set(texts)) < len(texts), f"field {field!r} of the grid has the same value twice: {', '.join(texts)}"),
    )
    return texts


def _slugs(texts: Sequence[str]) -> dict[str, str]:
    """The values of a field as parts of a folder's name, each another: `random(seed=3)` -> `random-seed=3`."""
    slugs = {}
    for text in texts:
        signed = re.sub(r"(?<!\w)-(?=[\d.])", "minus", text)
        slug = re.sub(r"[^\w.+=-]+", "-", signed).strip("-.+=")
        slugs[text] = slug if 0 < len(slug) <= _LONGEST_VALUE else _hashed(slug[:_LONGEST_VALUE], signed)
    num = collections.Counter(slugs.values())
    return {text: slug if num[slug] == 1 else _hashed(slug, text) for text, slug in slugs.items()}


def _hashed(slug: str, text: str) -> str:
    return f"{slug}-{hashlib.sha256(text.encode()).hexdigest()[:8]}".lstrip("-")


def load_sweep(path: str) -> list[Row]:
    """The rows that `get_sweep()` of a sweep file returns, or `get_sweep(arg)` of `file.py:arg`."""
    name, arg = split_argument(path)
    path = str(find_file(name, SWEEPS, "sweep file"))
    refuse((not path.endswith(".py"), f"a sweep file is a Python file with a function get_sweep(), not {path}"))
    rows = run_user_file(path, "get_sweep", list, *([arg] if arg else []), instead=SEARCHED)
    refuse((not rows, f"get_sweep() in {path} returns no runs"))
    kinds = "arjax.sweep.Run or arjax.sweep.Mean or arjax.sweep.Mixture"
    others = (row for row in rows if not isinstance(row, Run | Derived))
    refuse(*((True, f"get_sweep() in {path} must return {kinds} objects, not {row!r}") for row in others))
    name, num = collections.Counter(row.name for row in rows).most_common(1)[0]
    refuse((num > 1, f"two runs of {path} are named {name!r}"))
    runs = {row.name: row for row in rows if isinstance(row, Run)}
    for row in rows:
        row.check(runs)
    return rows


def select(rows: Sequence[Row], only: str) -> list[Row]:
    """The rows named in a comma-separated list; all of them for ""."""
    by_name = {row.name: row for row in rows}
    chosen = [name for name in map(str.strip, only.split(",")) if name]
    refuse((only and not chosen, f"--only={only} names no run"))
    for name in chosen:
        refuse((name not in by_name, f"there is no run {name!r} in the list{did_you_mean(name, by_name)}"))
    return [by_name[name] for name in chosen] if only else list(rows)


def runs_of(selected: Sequence[Row], rows: Sequence[Row]) -> list[Run]:
    """Returns the runs of the selected rows, and all runs that these read, as the file lists them."""
    runs = [row for row in rows if isinstance(row, Run)]
    members = (row.of if isinstance(row, Derived) else (row.name,) for row in selected)
    names = with_dependencies(itertools.chain(*members), runs)
    return [run for run in runs if run.name in names]


def check_runs(runs: Sequence[Run], path: str) -> None:
    """Raises `UserError` for a config file that does not exist, or a metric that no run has."""
    for run in runs:
        check_metric(run.metric, f"run {run.name!r}")
        try:
            find_file(split_argument(run.config)[0], CONFIGS)
        except UserError as error:
            sentence = f"run {run.name!r} of {path} names a config file that does not exist: {run.config!r}"
            raise UserError(sentence) from error


def groups_of_seeds(runs: Sequence[Run]) -> list[list[Run]]:
    """Returns the runs in groups whose members differ in their name and the override of `seed` alone. A run without
    that override has the seed of its config file, and stands alone.
    """

    def but_seed(run: Run) -> tuple[Hashable, str]:
        others = dict(sorted(run.override_texts()))
        seed = others.pop("seed", "")
        return (repr(dataclasses.replace(run, name="any", overrides=others, pilots=())), bool(seed)), seed

    return group_by_seed(runs, but_seed)


def mean_over_seeds(rows: Sequence[Row]) -> list[Row]:
    """Returns the rows with one `Mean` in place of all listed runs that differ in their seed only."""
    names = {row.name for row in rows}
    groups = groups_of_seeds([row for row in rows if isinstance(row, Run) and row.listed])
    several = {run.name: group for group in groups if len(group) > 1 for run in group}
    listed: list[Row] = []
    for row in rows:
        group = several.get(row.name)
        if not isinstance(row, Run) or group is None:
            listed.append(row)
            continue
        listed.append(dataclasses.replace(row, listed=False))
        if row is group[-1]:
            first, mean = group[0], common_name(group)
            numbered = itertools.chain([mean], (f"{mean}-{number}" for number in itertools.count(2)))
            mean = next(name for name in numbered if name not in names)
            names.add(mean)
            of = [run.name for run in group]
            listed.append(Mean(mean, of, first.model, first.ordering, first.published, first.published_mark))
    return listed


def common_name(runs: Sequence[Run]) -> str:
    """`raster-0`, `raster-1` -> `raster-mean`: the name with `mean` in place of the part in which the runs differ."""
    parts = [re.split(r"([-_/+=])", run.name) for run in runs]
    differ = [len(set(each)) > 1 for each in zip(*parts, strict=False)]
    if len(set(map(len, parts))) > 1 or sum(differ) != 1:
        return f"{runs[0].name}-mean"
    return "".join("mean" if other else part for part, other in zip(parts[0], differ, strict=True))
