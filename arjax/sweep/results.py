"""Finished runs, their rows, and a table of rows: what is compared in it, as a file and as people read it."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arjax.core.errors import UserError, did_you_mean, refuse
from arjax.core.files import read_json_object, replacing
from arjax.evaluation.summaries import grouped, paired_difference
from arjax.reporting.reports import is_json_number, read_report
from arjax.sweep.runs import Run
from arjax.training.record import CONFIG_NAME

FILE_NAME = "results.csv"
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


def read_results(folder: Path) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Returns report and config of a run that has ended with scores of the split of its config; None if there are none,
    or a file lacks an entry that the tables or the curves need.
    """
    report, config = read_report(folder), read_json_object(folder / CONFIG_NAME)
    match config:
        case {
            "model": {},
            "network": {"name": str()},
            "evaluate": {"split": str(split), "examples": int()},
            "train": {"batch_size": int()},
        } if report and config and report["split"] == split:
            return report, config
    return None


@dataclasses.dataclass(frozen=True)
class Finished:
    """A run that has ended with scores of the split that its config asks for."""

    run: Run
    folder: Path
    report: Mapping[str, Any]
    config: Mapping[str, Any]

    @classmethod
    def read(cls, run: Run, folder: Path) -> Finished | None:
        results = read_results(folder) if folder.is_dir() else None
        return None if results is None else cls(run, folder, *results)

    @property
    def data(self) -> str:
        """The data set of the metric, with the split unless it is "test", and the number of examples if
        `evaluate.examples` chose some: rows of other examples are not compared.
        """
        split, chosen = self.config["evaluate"]["split"], self.config["evaluate"]["examples"]
        about = [f"{split} split"] if split != "test" else []
        about += [f"{self.report['num_examples']:,} examples scored"] if chosen else []
        return (self.run.dataset or self.report["dataset"]) + (f" ({', '.join(about)})" if about else "")

    @property
    def model(self) -> str:
        """The model in words: that of the row, or the network, or the kind where its parts have networks."""
        return self.run.model or self.config["network"]["name"] or self.config["model"]["kind"]

    @property
    def ordering(self) -> str:
        """The ordering; "" for kinds of models without one."""
        ordering = self.config["model"].get("ordering")
        return self.run.ordering or (ordering if isinstance(ordering, str) else "")

    def validation(self) -> tuple[float, float]:
        """The metric of the best parameters on validation, and its standard error; nan if unknown."""
        name = f"validation_{self.run.metric}"
        return self.report[name] if is_json_number(self.report.get(name)) else math.nan, stderr_in(self.report, name)

    def nats(self) -> np.ndarray | None:
        """The nats of each example of the scored split, [N], where the run has left them in its folder."""
        from arjax.api.comparing import stored_nats

        return stored_nats(self.folder, self.report).get(self.report["split"])

    def row(self) -> dict[str, Any]:
        run, report = self.run, self.report
        numbers = [name for name, value in report.items() if is_json_number(value)]
        if run.metric not in numbers:
            raise UserError(f"run {run.name!r} reports no {run.metric!r}{did_you_mean(run.metric, numbers)}")
        stderr = stderr_in(report, run.metric)
        is_bound, of_judge = "bound" in run.metric or "elbo" in run.metric, run.metric.startswith("judge_")
        speed = report.get("train_sites_per_second", math.nan)
        return {
            "name": run.name,
            "dataset": self.data,
            "model": self.model,
            "ordering": self.ordering,
            "seed": report["seed"],
            "metric": run.metric,
            **stderr_cells("value", report[run.metric], stderr),
            "published": number(run.published),
            "published_mark": run.published_mark,
            "num_params": report["num_params"],
            "train_minutes": number(report["train_seconds"] / 60, digits=3),
            "device": report["device"],
            "command": run.command(),
            "sites_per_second": number(speed if is_json_number(speed) else math.nan, digits=3),
            # Of the likelihood, unless the metric is a bound by its name, or is of the likelihood of a judge.
            "kind": "bound" if is_bound else report["judge_kind" if of_judge else "kind"],
            **stderr_cells("validation", *self.validation()),
            "best_step": report["best_step"],
            "stderr_over": "" if math.isnan(stderr) else error_over(run.metric),
        }


def error_over(metric: str) -> str:
    """The population that the standard error of a metric in a report is over."""
    metric = metric.removeprefix("validation_")
    return next((population for start, population in POPULATIONS.items() if metric.startswith(start)), "examples")


def stderr_in(report: Mapping[str, Any], name: str) -> float:
    """The standard error of a number of a report: `X_stderr` of X, or of X_nats; nan where the report has none."""
    names = [f"{name}_stderr", f"{name.removesuffix('_nats')}_stderr"]
    return next((report[each] for each in names if is_json_number(report.get(each))), math.nan)


def best_by_validation(rows: Sequence[Mapping[str, Any]]) -> list[bool]:
    """For each row, whether it is the best of several of its data set and metric on validation, if all have a score."""
    best = set()
    for metric, group in _groups(rows):
        if len(group) > 1 and all(rows[i]["validation"] for i in group):
            choose = min if lower_is_better(metric) else max
            best.add(choose(group, key=lambda i: float(rows[i]["validation"])))
    return [i in best for i in range(len(rows))]


def _groups(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[int]]]:
    groups = grouped(((row["dataset"], row["metric"]), i) for i, row in enumerate(rows))
    return [(metric, group) for (_, metric), group in groups.items()]


def ties(rows: Sequence[Mapping[str, Any]], nats: Sequence[np.ndarray | None]) -> list[str]:
    """Returns for each row "tie" if it ties with the best row of its data set and metric, "best" for that row if it was
    compared with another one, or "". The best row is that on validation, or else by its value. A tie is a paired
    difference of the `nats` of the same examples, [S, N] of each row under S seeds or None, within two standard errors
    of 0.
    """
    on_validation, marks = best_by_validation(rows), [""] * len(rows)
    for metric, group in _groups(rows):
        if not metric.startswith(OF_NATS):
            continue
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


def stderr_cells(name: str, value: Any, stderr: Any) -> dict[str, str]:
    """The two cells of a number and its standard error."""
    return {name: number(float(value)), f"{name}_stderr": number(float(stderr), digits=3)}


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = COLUMNS) -> None:
    """Writes the rows at once: a reader never sees half a table."""
    with replacing(path) as replacement, replacement.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a results table."""
    refuse((not path.is_file(), f"there is no results table {path}"))
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise UserError(f"{path} is no results table: it has no column {missing[0]!r}")
        return list(reader)


def readable_columns(rows: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]], list[str]]:
    """Returns column names, cells, and the names of the columns to align right. The best on validation and ties are
    marked; the command, and columns that no row fills, are left to the csv file.
    """
    columns = {name: [str(row[name]) for row in rows] for name in ("name", "dataset", "model", "ordering", "seed")}
    marks = [" (best)" if best else "" for best in best_by_validation(rows)]
    columns |= {
        "metric": [row["metric"] for row in rows],
        "ours": [score_of(row) + " (tie)" * (row["tie"] == "tie") for row in rows],
        "published": [published_number(row) for row in rows],
        "kind": [row["kind"] for row in rows],
        "validation": [cell_with_stderr(row, "validation") + mark for row, mark in zip(rows, marks, strict=True)],
        "parameters": [f"{int(row['num_params']):,}" if row["num_params"] else "" for row in rows],
        "minutes": [str(row["train_minutes"]) for row in rows],
        "sites/s": [f"{float(row['sites_per_second']):,.0f}" if row["sites_per_second"] else "" for row in rows],
        "device": [row["device"] for row in rows],
    }
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
