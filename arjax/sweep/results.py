"""Rows of a results table: those of finished runs, and those computed from several, means and mixtures."""

from __future__ import annotations

import csv
import dataclasses
import math
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arjax.core.errors import UserError, did_you_mean
from arjax.core.files import read_json_object, replacing
from arjax.core.options import checked_arguments
from arjax.core.scores import WEIGHTS, kind_of_mixture, mixed_nats, weakest
from arjax.evaluation.summaries import group_by_seed, mean_over_runs, paired_difference, stderr_of
from arjax.reporting.reports import is_number, read_report
from arjax.sweep.runs import Run, check_folder_name, check_published

FILE_NAME = "results.csv"
CONFIG_NAME = "config.json"
COLUMNS = (
    *("name", "dataset", "model", "ordering", "seed", "metric", "value", "published", "published_mark"),
    *("num_params", "train_minutes", "device", "command", "value_stderr", "sites_per_second"),
    *("kind", "validation", "validation_stderr", "best_step", "stderr_over", "tie"),
)
#: Beginnings of the names of metrics that follow the nats.
OF_NATS = ("nll_nats", "bits_per_", "perplexity")
#: What the standard errors of some metrics are over, by the beginnings of their names; all others: the examples.
POPULATIONS = {"negative_elbo": "orders", "exposure_": "rollouts", "judge_own_": "rollouts"}
#: Words in the names of losses.
LOSSES = ("nats", "bits", "error", "excess", "perplexity", "sample_score")


def read_config(folder: Path) -> dict[str, Any] | None:
    """`config.json` of a run; None when there is none, or it lacks a field that the tables or the curves need."""
    match config := read_json_object(folder / CONFIG_NAME):
        case {
            "model": {},
            "network": {"name": str()},
            "evaluate": {"split": str(), "examples": int()},
            "train": {"batch_size": int()},
        }:
            return config
    return None


def read_results(folder: Path) -> dict[str, Any] | None:
    """`results.json` of a run that has ended with scores of the split its config asks for; None when there is none."""
    results, config = read_report(folder), read_config(folder)
    return results if results and config and results["split"] == config["evaluate"]["split"] else None


def result_row(run: Run, folder: Path) -> dict[str, Any]:
    """The row of a finished run."""
    results, config = read_results(folder), read_config(folder)
    assert results is not None and config is not None, f"{folder} is not finished"
    numbers = [name for name, value in results.items() if is_number(value)]
    if run.metric not in numbers:
        raise UserError(f"run {run.name!r} reports no {run.metric!r}{did_you_mean(run.metric, numbers)}")
    stderr = stderr_in(results, run.metric)
    validation, validation_stderr = validation_of(run.metric, results)
    is_bound, of_judge = "bound" in run.metric or "elbo" in run.metric, run.metric.startswith("judge_")
    speed = results.get("train_sites_per_second", math.nan)
    return {
        "name": run.name,
        "dataset": scored_data(run, results, config),
        "model": run.model or model_of(config),
        "ordering": run.ordering or ordering_of(config),
        "seed": results["seed"],
        "metric": run.metric,
        "value": number(results[run.metric]),
        "published": number(run.published),
        "published_mark": run.published_mark,
        "num_params": results["num_params"],
        "train_minutes": number(results["train_seconds"] / 60, digits=3),
        "device": results["device"],
        "command": run.command(),
        "value_stderr": number(stderr, digits=3),
        "sites_per_second": number(speed if is_number(speed) else math.nan, digits=3),
        # Of the likelihood, unless the metric is a bound by its name, or is of the likelihood of a judge.
        "kind": "bound" if is_bound else results["judge_kind" if of_judge else "kind"],
        "validation": number(validation),
        "validation_stderr": number(validation_stderr, digits=3),
        "best_step": results["best_step"],
        "stderr_over": "" if math.isnan(stderr) else error_over(run.metric),
    }


def error_over(metric: str) -> str:
    """The population that the standard error of a metric in a report is over."""
    metric = metric.removeprefix("validation_")
    return next((population for start, population in POPULATIONS.items() if metric.startswith(start)), "examples")


def scored_data(run: Run, results: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The data that the metric of a run is of: the data set; its split, where it is not that of the test; and, where
    `evaluate.examples` chose some examples, their number. Rows of other examples are not compared with one another.
    """
    split, chosen = config["evaluate"]["split"], config["evaluate"]["examples"]
    about = [f"{split} split"] if split != "test" else []
    about += [f"{results['num_examples']:,} examples scored"] if chosen else []
    return (run.dataset or results["dataset"]) + (f" ({', '.join(about)})" if about else "")


def model_of(config: Mapping[str, Any]) -> str:
    """The network of a run, or its kind of model where its parts have networks."""
    return config["network"]["name"] or config["model"]["kind"]


def ordering_of(config: Mapping[str, Any]) -> str:
    """The ordering of a run, "" for kinds of models without one."""
    ordering = config["model"].get("ordering")
    return ordering if isinstance(ordering, str) else ""


def validation_of(metric: str, results: Mapping[str, Any]) -> tuple[float, float]:
    """The metric of the best parameters on validation, and its standard error over the examples; nan where unknown."""
    name = f"validation_{metric}"
    return results[name] if is_number(results.get(name)) else math.nan, stderr_in(results, name)


def stderr_in(report: Mapping[str, Any], name: str) -> float:
    """The standard error of a number of a report: `X_stderr` of X, or of X_nats; nan where the report has none."""
    names = [f"{name}_stderr", f"{name.removesuffix('_nats')}_stderr"]
    return next((report[each] for each in names if is_number(report.get(each))), math.nan)


def best_by_validation(rows: Sequence[Mapping[str, Any]]) -> list[bool]:
    """For each row, whether it is the best on validation among the rows of its data set and metric.

    None is the best where one of these rows has no validation score, or where there is one row only.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault((row["dataset"], row["metric"]), []).append(i)
    best = set()
    for (_, metric), group in groups.items():
        if len(group) > 1 and all(rows[i]["validation"] for i in group):
            choose = min if lower_is_better(metric) else max
            best.add(choose(group, key=lambda i: float(rows[i]["validation"])))
    return [i in best for i in range(len(rows))]


def ties(rows: Sequence[Mapping[str, Any]], nats: Sequence[np.ndarray | None]) -> list[str]:
    """For each row "tie", where it ties with the best row of its data set and metric, "best" for that row where it was
    compared with another one, or "".

    The best row is that on validation, or else by its value. A tie is a paired difference of the nats of the same
    examples within two standard errors of 0, see `arjax.evaluation.summaries`.

    Args:
      rows: of a results table.
      nats: of the examples of each row, [S, N] under S seeds; None where they are not known.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for i, row in enumerate(rows):
        if row["metric"].startswith(OF_NATS):
            groups.setdefault((row["dataset"], row["metric"]), []).append(i)
    on_validation, marks = best_by_validation(rows), [""] * len(rows)
    for group in groups.values():
        best = min(group, key=lambda i: (not on_validation[i], float(rows[i]["value"])))
        first = nats[best]
        if first is None:
            continue
        for i in group:
            other = nats[i]
            if i == best or other is None or other.shape[1] != first.shape[1]:
                continue
            marks[best] = "best"
            if paired_difference(first, other).is_tie:
                marks[i] = "tie"
    return marks


def lower_is_better(metric: str) -> bool:
    """Whether a metric is a loss: nats, bits, errors and the like are; accuracies and speeds are not."""
    return any(word in metric for word in LOSSES)


def number(value: float, digits: int = 6) -> str:
    """A number as in the table; "" for nan."""
    return "" if math.isnan(value) else f"{value:.{digits}g}"


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = COLUMNS) -> None:
    """Writes the rows at once: a reader never sees half a table."""
    with replacing(path) as replacement, replacement.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a results table."""
    if not path.is_file():
        raise UserError(f"there is no results table {path}")
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise UserError(f"{path} is no results table: it has no column {missing[0]!r}")
        return list(reader)


def readable_columns(rows: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]], list[str]]:
    """The readable form of a table: (column names, cells, names of the columns to align right).

    A value is joined with its standard error, a published number with its mark; the row that is best on validation is
    marked, and so are the rows that tie with the best one. The command is left to the csv file, and so are columns that
    no row fills.
    """
    columns = {
        name: [str(row[name]) for row in rows] for name in ("name", "dataset", "model", "ordering", "seed", "metric")
    }
    columns["kind"] = [row["kind"] for row in rows]
    marks = [" (best)" if best else "" for best in best_by_validation(rows)]
    columns["validation"] = [cell_with_stderr(row, "validation") + mark for row, mark in zip(rows, marks, strict=True)]
    columns["ours"] = [score_of(row) + " (tie)" * (row["tie"] == "tie") for row in rows]
    columns["published"] = [published_number(row) for row in rows]
    columns["parameters"] = [f"{int(row['num_params']):,}" if row["num_params"] else "" for row in rows]
    columns["minutes"] = [str(row["train_minutes"]) for row in rows]
    speeds = [row["sites_per_second"] for row in rows]
    columns["sites/s"] = [f"{float(speed):,.0f}" if speed else "" for speed in speeds]
    columns["device"] = [row["device"] for row in rows]
    hidden = {name for name in ("name", "kind", "validation", "published", "sites/s") if not any(columns[name])}
    if len(set(columns["seed"])) == 1:
        hidden.add("seed")
    names = [name for name in columns if name not in hidden]
    right = ["validation", "ours", "published", "parameters", "minutes", "sites/s"]
    return names, [list(cells) for cells in zip(*(columns[name] for name in names), strict=True)], right


def cell_with_stderr(row: Mapping[str, Any], name: str) -> str:
    """`79.81 ± 0.51`: a value with its standard error in two digits, where the row has one."""
    value, stderr = row.get(name) or "", float(row.get(f"{name}_stderr") or 0)
    if not value or not stderr:
        return str(value)
    decimals = max(0, 1 - math.floor(math.log10(stderr)))
    return f"{float(value):.{decimals}f} ± {stderr:.{decimals}f}"


def score_of(row: Mapping[str, Any]) -> str:
    """`79.81 ± 0.51 over seeds`: the value, and the population of its standard error where that is not the examples."""
    over = row["stderr_over"] or "examples"
    return cell_with_stderr(row, "value") + ("" if over == "examples" else f" over {over}")


def published_number(row: Mapping[str, Any]) -> str:
    """`88.4 (Germain et al. 2015, table 6)`: the published number of a row with its source; "" for none."""
    mark = f" ({row['published_mark']})" if row["published_mark"] else ""
    return f"{row['published']}{mark}".strip()


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """A finished run as a member of another row, with its folder, its report and its own row."""

    run: Run
    folder: Path
    results: Mapping[str, Any]
    row: Mapping[str, Any]

    def nats(self) -> np.ndarray | None:
        """The nats of each example of the scored split, [N], where the run has left them in its folder."""
        from arjax.api.comparing import stored_nats

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
        check_folder_name(self.name, "a row")
        of = self.of
        names = isinstance(of, tuple | list) and all(isinstance(name, str) for name in of)
        if not names or not 0 < len(set(of)) == len(of):
            raise UserError(f"row {self.name!r} needs the names of its runs, each once, of=('a', 'b', ...), not {of!r}")
        check_published(self.published, f"row {self.name!r}")

    def check(self, runs: Mapping[str, Run]) -> None:
        """Raises `UserError` unless all members of the row are `runs` of the sweep, and fit one another."""
        for name in self.of:
            if name not in runs:
                raise UserError(f"row {self.name!r} is made of {name!r}, which is no run{did_you_mean(name, runs)}")

    def row(self, members: Sequence[FinishedRun]) -> dict[str, Any]:
        """The row, from its finished members."""
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
        fields = self._row(members)
        models = " and ".join(dict.fromkeys(member.row["model"] for member in members))
        return common | fields | {"model": self.model or f"{models}, {fields['model']}"}

    def _row(self, members: Sequence[FinishedRun]) -> dict[str, Any]:
        """The fields that depend on the operation; `model` describes it in words."""
        raise NotImplementedError

    def nats(self, members: Sequence[FinishedRun]) -> np.ndarray | None:
        """The nats of each example of the scored split, [S, N] under S seeds; None where they are not known."""
        raise NotImplementedError


@checked_arguments(published=None)
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

    def _row(self, members: Sequence[FinishedRun]) -> dict[str, Any]:
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

    def nats(self, members: Sequence[FinishedRun]) -> np.ndarray | None:
        known = [nats_N for member in members if (nats_N := member.nats()) is not None]
        alike = len(known) == len(members) and len(set(map(len, known))) == 1
        return np.stack(known) if alike else None


@checked_arguments(published=None)
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

    def _row(self, members: Sequence[FinishedRun]) -> dict[str, Any]:
        weights_M, nll_N, validation_N = self._mixed(members)
        how = f"{int((weights_M > 0).sum())} of them chosen" if self.weights == "chosen" else f"{self.weights} weights"
        validation = {}
        if validation_N is not None:
            validation = _with_stderr("validation", validation_N.mean(), stderr_of(validation_N))
        return validation | {
            "kind": self.kind(members),
            "model": f"{len(members)} mixed, {how}",
            "metric": "nll_nats",
            **_with_stderr("value", nll_N.mean(), stderr_of(nll_N)),
            "stderr_over": "examples",
            "num_params": sum(member.results["num_params"] for member in members),
            "train_minutes": number(sum(member.results["train_seconds"] for member in members) / 60, digits=3),
        }

    def kind(self, members: Sequence[FinishedRun]) -> str:
        """The kind of the nats of the mixture."""
        reports = [member.results for member in members]
        unbiased = all(report.get("unbiased", False) for report in reports if report["kind"] == "bound")
        return kind_of_mixture(*(report["kind"] for report in reports), unbiased=unbiased)

    def nats(self, members: Sequence[FinishedRun]) -> np.ndarray | None:
        return self._mixed(members)[1][None]

    def _mixed(self, members: Sequence[FinishedRun]) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """The weights [M], and the nats of the mixture of each example, [N], of the scored split and of validation."""
        nll_MN = self._nats(members, members[0].results["split"])
        validated = all(is_number(member.results.get("validation_nll_nats")) for member in members)
        if not validated and self.weights == "equal":
            weights_M = WEIGHTS[self.weights](nll_MN)
            return weights_M, mixed_nats(nll_MN, weights_M), None
        validation_MN = self._nats(members, "validation")
        weights_M = WEIGHTS[self.weights](validation_MN)
        return weights_M, mixed_nats(nll_MN, weights_M), mixed_nats(validation_MN, weights_M)

    def _nats(self, members: Sequence[FinishedRun], split: str) -> np.ndarray:
        """The nats of each example under each member, [M, N]."""
        from arjax.api.comparing import nats_of_run

        if self.weights != "equal" and members[0].results["split"] == "validation":
            raise UserError(f"the weights of row {self.name!r} are {self.weights} on validation: score another split")
        nll_MN = []
        for member in members:
            nats = nats_of_run(member.folder, member.results)
            if split not in nats:
                raise UserError(f"row {self.name!r}: run {member.run.name!r} has no {split} split to fit weights on")
            nll_MN.append(nats[split])
        if len({len(nll_N) for nll_N in nll_MN}) > 1:
            raise UserError(f"row {self.name!r} mixes runs with different examples")
        return np.stack(nll_MN)


def _with_stderr(name: str, value: Any, stderr: Any) -> dict[str, str]:
    return {name: number(float(value)), f"{name}_stderr": number(float(stderr), digits=3)}


def member(run: Run, folder: Path) -> FinishedRun:
    """A finished run as a member of other rows."""
    results = read_results(folder)
    assert results is not None, f"{folder} is not finished"
    return FinishedRun(run, folder, results, result_row(run, folder))


def groups_of_seeds(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs in groups: those of a group differ in their name and the override of `seed`, and in nothing else.

    A run without that override has the seed of its config file, and stands alone.
    """

    def but_seed(run: Run) -> tuple[Hashable, str]:
        others = dict(sorted(run.override_texts()))
        seed = others.pop("seed", "")
        return (repr(dataclasses.replace(run, name="any", overrides=others, pilots=())), bool(seed)), seed

    return group_by_seed(runs, but_seed)


def mean_over_seeds(rows: Sequence[Run | Derived]) -> list[Run | Derived]:
    """The rows with one `Mean` for all listed runs that differ in their seed only, which lose their own rows."""
    taken = {row.name for row in rows}
    groups = groups_of_seeds([row for row in rows if isinstance(row, Run) and row.listed])
    several = {run.name: group for group in groups if len(group) > 1 for run in group}
    listed: list[Run | Derived] = []
    for row in rows:
        if not isinstance(row, Run) or row.name not in several:
            listed.append(row)
            continue
        listed.append(dataclasses.replace(row, listed=False))
        if row is several[row.name][-1]:
            listed.append(mean_of(_free(common_name(several[row.name]), taken), several[row.name]))
    return listed


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
