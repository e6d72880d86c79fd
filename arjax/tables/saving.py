"""The model of a table in one safetensors file, with its columns."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from arjax.core.errors import UserError
from arjax.core.json_objects import JsonObject
from arjax.data.frames import FORMS
from arjax.data.table_files import NO_VALUE
from arjax.interop.model_file import SavedModel, load_model, save_model
from arjax.models.autoregressive import has_conditionals
from arjax.tables.any_order import AnyOrderTable, Sites
from arjax.tables.columns import Numbers, Words

KEY = "table"


def save_table(path: str | os.PathLike, engine: AnyOrderTable, about: Mapping[str, Any]) -> Path:
    """Writes the model and its columns, which `read_table` reads; raises `UserError` where the disk refuses."""
    columns = [column.described() for column in engine.columns]
    params = jax.tree.map(np.asarray, engine.params)
    about = {"columns": columns, "most_levels": engine.sites.most_levels, **about}
    saved = SavedModel(engine.model, params, None, None, {KEY: about})
    return save_model(path, saved)


def read_table(path: str | os.PathLike) -> dict[str, Any]:
    """The arguments of the `TableModel` in a file. Raises `UserError` as `arjax.load_table`."""
    saved = load_model(path)
    if KEY not in saved.about:
        raise UserError(f"{str(path)!r} does not hold the model of a table: open it with arjax.load")
    try:
        about = JsonObject(saved.about[KEY], KEY)
        columns = [_column(found) for found in about.objects("columns")]
        if len({column.name for column in columns}) < len(columns):
            raise UserError("two of its columns have the same name")
        if not columns or not has_conditionals(saved.model):
            raise UserError("it has no columns, or the model of another kind of data")
        sites = Sites(tuple(column.num_codes for column in columns), about.count("most_levels", 2))
        engine = AnyOrderTable(columns, saved.model, saved.params, sites)
        if engine.sites.event != saved.model.event:
            raise UserError("its columns are not those of the model")
        usual = np.array([_rising(row) for row in about.take("usual", list)], np.float64)
        if usual.ndim != 2 or len(usual) != len(columns):
            raise UserError("table/usual must have a list of numbers for each column")
        rest = {"results": about.take("results", dict), "left_out": about.take("left_out", dict)}
        _check_results(rest["results"], rest["left_out"])
        form, num_orders = about.take("form", str), about.count("num_orders", 1)
        if form not in FORMS:
            raise UserError(f"table/form is one of {', '.join(FORMS)}, not {form!r}")
        rest["missing"] = about.items("missing", str) if "missing" in about else NO_VALUE
        rest["delimiter"] = about.take("delimiter", str, default=",")
        about.end()
    except UserError as error:
        raise UserError(f"{str(path)!r} does not hold a table that this version can open: {error}") from error
    return {"columns": columns, "engine": engine, "usual": usual, "form": form, "num_orders": num_orders} | rest


def _check_results(results: dict[str, Any], left_out: dict[str, Any]) -> None:
    """Raises `UserError` for results or reasons that cannot be shown."""
    for key in ("validation_nats", "validation_stderr"):
        if "validation_nats" in results and not isinstance(results.get(key), int | float):
            raise UserError(f"table/results/{key} must be a number, not {results.get(key)!r}")
    if not all(isinstance(reason, str) for reason in left_out.values()):
        raise UserError("table/left_out must have a text for each column")


def _rising(row: Any) -> list[float]:
    fine = isinstance(row, list) and row and all(isinstance(v, int | float) for v in row)
    if not fine or not (np.isfinite(row).all() and (np.diff(row) >= 0).all()):
        raise UserError("table/usual must have a list of numbers in rising order for each column")
    return row


def _column(found: JsonObject) -> Words | Numbers:
    """A column out of JSON; raises `UserError` for one that cannot be."""
    kind, name = found.take("kind", str), found.take("name", str)
    if kind == "words":
        words = tuple(found.take("words", list))
        if len(words) < 2 or len(set(words)) < len(words) or not all(isinstance(word, str | bool) for word in words):
            raise UserError(f"the words of the column {name!r} must be two or more different texts")
        frequencies = tuple(found.items("frequencies", int))
        found.end()
        return Words(name, words, frequencies)
    if kind != "numbers":
        raise UserError(f"{found.place}/kind is words or numbers, not {kind!r}")
    low, high = (tuple(map(float, found.items(key, float))) for key in ("low", "high"))
    step, centre, spread = (float(found.take(key, float)) for key in ("step", "centre", "spread"))
    num_rows, date, is_int = found.count("num_rows", 1), found.take("date", str), found.take("is_int", bool)
    found.end()
    ends = np.array([low, high]) if len(low) == len(high) else np.zeros((2, 0))
    fine = ends.size and (ends[0] <= ends[1]).all() and (ends[0, 1:] >= ends[1, :-1]).all() and step >= 0 < spread
    fine = fine and (np.diff(ends[0]) > 0).all() and (step > 0 or (ends[0] < ends[1]).all())
    if not fine or date not in ("", "D", "s"):
        raise UserError(f"the codes of the column {name!r} are not intervals in rising order")
    return Numbers(name, step, low, high, centre, spread, num_rows, date, is_int)
