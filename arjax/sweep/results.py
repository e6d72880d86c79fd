"""From finished runs to a results table."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from arjax.core.errors import UserError
from arjax.core.files import read_json_object, replacing
from arjax.core.registry import did_you_mean
from arjax.reporting.reports import is_number, read_report
from arjax.sweep.runs import Run

FILE_NAME = "results.csv"
COLUMNS = (
    "dataset",
    "model",
    "ordering",
    "seed",
    "metric",
    "value",
    "published",
    "published_mark",
    "num_params",
    "train_minutes",
    "device",
    "command",
    "value_stderr",
    "sites_per_second",
    "kind",
)
#: Columns that older tables lack.
OPTIONAL = ("value_stderr", "sites_per_second", "kind")
# The standard error that belongs to a metric; those that are a function of nll_nats have none of their own.
STDERR_OF = {"nll_nats": "nll_stderr"}
#: Fields of a config that the tables and the curves need.
_FIELDS = (
    ("network", "name", str),
    ("model", "ordering", str),
    ("evaluate", "split", str),
    ("train", "batch_size", int),
)


def read_config(folder: Path) -> dict[str, Any] | None:
    """`config.json` of a run; None when there is none, or it lacks a field that the tables or the curves need."""
    config = read_json_object(folder / "config.json") or {}
    for section, field, kind in _FIELDS:
        if not isinstance(config.get(section), dict) or not isinstance(config[section].get(field), kind):
            return None
    return config


def read_results(folder: Path) -> dict[str, Any] | None:
    """`results.json` of a run that has ended with scores of the split its config asks for; None when there is none.

    Raises:
      UserError: it cannot be read.
    """
    results, config = read_report(folder), read_config(folder)
    return results if results and config and results["split"] == config["evaluate"]["split"] else None


def result_row(run: Run, folder: Path) -> dict[str, Any]:
    """The row of a finished run.

    Raises:
      UserError: when its `results.json` lacks the metric of the row.
    """
    results, config = read_results(folder), read_config(folder)
    assert results is not None and config is not None, f"{folder} is not finished"
    numbers = [name for name, value in results.items() if is_number(value)]
    if run.metric not in numbers:
        raise UserError(f"run {run.name!r} reports no {run.metric!r}{did_you_mean(run.metric, numbers)}")
    stderr = results[STDERR_OF[run.metric]] if STDERR_OF.get(run.metric) in results else math.nan
    speed = results.get("train_sites_per_second")
    values = {
        "dataset": run.dataset or results["dataset"],
        "model": run.model or config["network"]["name"],
        "ordering": run.ordering or config["model"]["ordering"],
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
        "kind": results["kind"],
    }
    return {name: values[name] for name in COLUMNS}


def number(value: float, digits: int = 6) -> str:
    """A number as it stands in the table; "" for nan."""
    return "" if math.isnan(value) else f"{value:.{digits}g}"


def write_csv(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Writes the rows at once: a reader never sees half a table. Raises `UserError` where the disk refuses."""
    with replacing(path) as replacement, replacement.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a results table; raises `UserError` when its columns are not those of one."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ()) and name not in OPTIONAL]
        if missing:
            raise UserError(f"{path} is no results table: it has no column {missing[0]!r}")
        return list(reader)


def readable_columns(rows: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]], list[str]]:
    """What people read of a table: (column names, cells, names of the columns to align right).

    A value is joined with its standard error, a published number with its mark; the command is left to the csv file.
    Rows that are no runs, such as ratios of speeds, have no parameters and no minutes.
    """
    names = ["dataset", "model", "ordering", "metric", "ours", "published", "parameters", "minutes", "device"]
    cells = []
    for row in rows:
        mark = f" ({row['published_mark']})" if row["published_mark"] else ""
        cells.append(
            [
                row["dataset"],
                row["model"],
                row["ordering"],
                row["metric"],
                _with_stderr(row),
                f"{row['published']}{mark}".strip(),
                f"{int(row['num_params']):,}" if row["num_params"] else "",
                str(row["train_minutes"]),
                row["device"],
            ]
        )
    if any(row.get("kind") for row in rows):
        names.insert(4, "kind")
        for row, cell in zip(rows, cells, strict=True):
            cell.insert(4, row.get("kind") or "")
    if len({str(row["seed"]) for row in rows}) > 1:
        names.insert(3, "seed")
        for row, cell in zip(rows, cells, strict=True):
            cell.insert(3, str(row["seed"]))
    if any(row.get("sites_per_second") for row in rows):
        names.insert(-1, "sites/s")
        for row, cell in zip(rows, cells, strict=True):
            cell.insert(-1, f"{float(row['sites_per_second']):,.0f}" if row.get("sites_per_second") else "")
    return names, cells, ["ours", "published", "parameters", "minutes", "sites/s"]


def _with_stderr(row: Mapping[str, Any]) -> str:
    """`79.81 ± 0.51`: a value with its standard error in two digits, where the row has one."""
    if not row.get("value_stderr"):
        return str(row["value"])
    stderr = float(row["value_stderr"])
    decimals = max(0, 1 - math.floor(math.log10(stderr))) if stderr > 0 else 0
    return f"{float(row['value']):.{decimals}f} ± {stderr:.{decimals}f}"
