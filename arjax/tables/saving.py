"""The model of a table in one safetensors file, with its columns.

A mixture of engines has the model of each: the first one as that of the file, the others as its parts. An entry
`engines` says how each of them reads the columns; a file without it holds one network for all orders.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from arjax.core.errors import UserError
from arjax.core.json_objects import JsonObject
from arjax.data.frames import FORMS
from arjax.data.table_files import NO_VALUE
from arjax.interop.model_file import SavedModel, load_model, save_model
from arjax.models.gaussian_mixture import is_gaussian_mixture
from arjax.tables.any_order import AnyOrderTable, Sites
from arjax.tables.columns import Numbers, Words
from arjax.tables.engine import TableEngine
from arjax.tables.gaussian import GaussianTable
from arjax.tables.margins import MARGIN_NUMBERS, Margin, WordTable
from arjax.tables.mixed import GUESSED, MixedTable

KEY = "table"


def save_table(path: str | os.PathLike, engine: TableEngine, about: Mapping[str, Any]) -> Path:
    """Writes the model and its columns, which `read_table` reads; raises `UserError` where the disk refuses."""
    about = {"columns": [column.described() for column in engine.columns], **about}
    if isinstance(engine, AnyOrderTable):
        about["most_levels"] = engine.sites.most_levels
        return save_model(path, _saved(engine)._replace(about={KEY: about}))
    engines, weights, guesses = [engine], [1.0], {}
    if isinstance(engine, MixedTable):
        engines, weights = list(engine.engines), engine.weights.tolist()
        guesses = {kind: weights.tolist() for kind, weights in engine.guess_weights.items()}
    about["engines"] = [
        {"weight": weight, **_described(engine)} for engine, weight in zip(engines, weights, strict=True)
    ]
    if guesses:
        about["guesses"] = guesses
    parts = tuple(_saved(engine) for engine in engines[1:])
    return save_model(path, _saved(engines[0])._replace(about={KEY: about}, parts=parts))


def _saved(engine: TableEngine) -> SavedModel:
    assert isinstance(engine, AnyOrderTable | GaussianTable), "an engine with one model"
    return SavedModel(engine.model, jax.tree.map(np.asarray, engine.params), None, None, {})


def _described(engine: TableEngine) -> dict[str, Any]:
    """How an engine reads the columns, as JSON."""
    if isinstance(engine, AnyOrderTable):
        return {"kind": "any_order", "most_levels": engine.sites.most_levels}
    assert isinstance(engine, GaussianTable), "an engine with one model"
    return {"kind": "gaussian", "margins": [margin.described() for margin in engine.margins]}


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
        engine = _engine(about, columns, saved)
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


def _engine(about: JsonObject, columns: Sequence[Words | Numbers], saved: SavedModel) -> TableEngine:
    """The engine of a table; raises `UserError` for one that does not fit its columns."""
    if not columns:
        raise UserError("it has no columns")
    if "engines" not in about:
        return _any_order(about, columns, saved)
    entries, models = about.objects("engines"), [saved, *saved.parts]
    if len(entries) != len(models):
        raise UserError(f"table/engines must have as many entries as there are models, {len(models)}")
    engines, weights = [], []
    for entry, model in zip(entries, models, strict=True):
        weights.append(float(entry.take("weight", float)))
        kind = entry.take("kind", str)
        if kind not in _ENGINES:
            raise UserError(f"{entry.place}/kind is one of {', '.join(_ENGINES)}, not {kind!r}")
        engines.append(_ENGINES[kind](entry, columns, model))
        entry.end()
    guesses = _guesses(about, len(engines))
    _check_weights(weights, "table/engines")
    return engines[0] if len(engines) == 1 else MixedTable(engines, weights, guesses)


def _guesses(about: JsonObject, num: int) -> dict[str, list[float]]:
    """The weights of the engines in best guesses, for each kind of columns; raises `UserError` for what is none."""
    if "guesses" not in about:
        return {}
    entry = about.object("guesses")
    guess_weights = {kind: list(map(float, entry.items(kind, float))) for kind in GUESSED if kind in entry}
    entry.end()
    for kind, weights in guess_weights.items():
        if len(weights) != num:
            raise UserError(f"{entry.place}/{kind} must have a weight for each of {num} engines")
        _check_weights(weights, f"{entry.place}/{kind}")
    return guess_weights


def _check_weights(weights: Sequence[float], place: str) -> None:
    if min(weights) < 0 or abs(sum(weights) - 1) > 1e-6:
        raise UserError(f"the weights of {place} must be numbers of at least 0 that add up to 1")


def _any_order(about: JsonObject, columns: Sequence[Words | Numbers], saved: SavedModel) -> TableEngine:
    model: Any = saved.model
    if "conditionals" not in model.traits:
        raise UserError("it has the model of another kind of data")
    sites = Sites(tuple(column.num_codes for column in columns), about.count("most_levels", 2))
    if sites.event != model.event:
        raise UserError("its columns are not those of the model")
    return AnyOrderTable(columns, model, saved.params, sites)


def _gaussian(about: JsonObject, columns: Sequence[Words | Numbers], saved: SavedModel) -> TableEngine:
    if not is_gaussian_mixture(saved.model):
        raise UserError("it has the model of another kind of data")
    entries, numbers = about.objects("margins"), [column for column in columns if isinstance(column, Numbers)]
    if saved.model.event.num_dims != len(numbers) or len(columns) != len(entries):
        raise UserError("its columns are not those of the model")
    margins = [_margin(column, entry, saved.model.components) for column, entry in zip(columns, entries, strict=True)]
    return GaussianTable(margins, saved.model, saved.params)


def _margin(column: Words | Numbers, entry: JsonObject, components: int) -> Margin | WordTable:
    """How a mixture of Gaussians reads a column; raises `UserError` for what cannot be."""
    if isinstance(column, Words):
        p_KV = np.array([_probabilities(row, column.num_codes) for row in entry.take("words", list)])
        if len(p_KV) != components:
            raise UserError(f"{entry.place}/words must have a list for each of {components} components")
        entry.end()
        return WordTable(column, p_KV)
    numbers = {name: float(entry.take(name, float)) for name in MARGIN_NUMBERS}
    entry.end()
    if min(numbers["scale"], numbers["spread"]) <= 0:
        raise UserError(f"{entry.place} must be of a column of numbers, with a scale and a spread above 0")
    return Margin(column, **numbers)


def _probabilities(row: Any, num: int) -> list[float]:
    fine = isinstance(row, list) and len(row) == num and all(isinstance(p, float) and 0 < p <= 1 for p in row)
    if not fine or abs(sum(row) - 1) > 1e-6:
        raise UserError(f"the probabilities of words must be lists of {num} positive numbers that add up to 1")
    return row


_ENGINES = {"any_order": _any_order, "gaussian": _gaussian}


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


def _column(entry: JsonObject) -> Words | Numbers:
    """A column out of JSON; raises `UserError` for one that cannot be."""
    kind, name = entry.take("kind", str), entry.take("name", str)
    if kind == "words":
        words = tuple(entry.take("words", list))
        if len(words) < 2 or len(set(words)) < len(words) or not all(isinstance(word, str | bool) for word in words):
            raise UserError(f"the words of the column {name!r} must be two or more different texts")
        frequencies = tuple(entry.items("frequencies", int))
        from_numbers = entry.take("from_numbers", bool)
        entry.end()
        return Words(name, words, frequencies, from_numbers)
    if kind != "numbers":
        raise UserError(f"{entry.place}/kind is words or numbers, not {kind!r}")
    low, high = (tuple(map(float, entry.items(key, float))) for key in ("low", "high"))
    step, centre, spread = (float(entry.take(key, float)) for key in ("step", "centre", "spread"))
    num_rows, date, is_int = entry.count("num_rows", 1), entry.take("date", str), entry.take("is_int", bool)
    is_counted = entry.take("is_counted", bool)
    entry.end()
    ends = np.array([low, high]) if len(low) == len(high) else np.zeros((2, 0))
    fine = ends.size and (ends[0] <= ends[1]).all() and (ends[0, 1:] >= ends[1, :-1]).all() and step >= 0 < spread
    fine = fine and (np.diff(ends[0]) > 0).all() and (step > 0 or (ends[0] < ends[1]).all())
    if not fine or date not in ("", "D", "s"):
        raise UserError(f"the codes of the column {name!r} are not intervals in rising order")
    return Numbers(name, step, low, high, centre, spread, num_rows, date, is_int, is_counted)
