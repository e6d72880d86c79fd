"""The model of a table in one safetensors file, with its columns: the model of the first engine as that of the file,
those of the others as its parts. The entry `engines` of its facts says how each of them reads the columns.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import jax
import numpy as np

from arjax.core.errors import UserError, refuse
from arjax.core.options import MOST_ORDERS, Option
from arjax.core.values import read_one_of, read_typed
from arjax.data.columns import Words, column_as_json, column_from_json
from arjax.data.frames import FORMS, Frame
from arjax.interop.model_file import SavedModel, load_model, save_model
from arjax.models.gaussian_mixture import is_gaussian_mixture
from arjax.tables.any_order import AnyOrderTable, Sites
from arjax.tables.columns import Column, Numbers
from arjax.tables.engine import TableEngine
from arjax.tables.gaussian import GaussianTable, Margin, WordTable
from arjax.tables.mixed import MixedTable

KEY = "table"


class _Guesses(TypedDict, total=False):
    numbers: tuple[float, ...]
    words: tuple[float, ...]


class TableFacts(TypedDict):
    """The facts of a file about its table; columns and engines have an entry `kind`."""

    columns: tuple[dict, ...]
    engines: tuple[dict, ...]
    guesses: _Guesses
    usual: tuple[tuple[float, ...], ...]
    results: dict
    left_out: dict[str, str]
    form: str
    num_orders: int
    missing: tuple[str, ...]
    delimiter: str


class _AnyOrder(TypedDict):
    weight: float
    most_levels: int


class _Gaussian(TypedDict):
    weight: float
    margins: tuple[dict, ...]


class _MarginNumbers(TypedDict):
    shift: float
    scale: float
    power: float
    mean: float
    spread: float


class _WordNumbers(TypedDict):
    words: tuple[tuple[float, ...], ...]


def save_table(path: str | os.PathLike, engine: TableEngine, about: Mapping[str, Any]) -> Path:
    """Writes the model and its columns, which `read_table` reads."""
    mixed = engine if isinstance(engine, MixedTable) else MixedTable([engine], [1.0])
    engines: list[Any] = list(mixed.engines)
    facts = {
        "columns": [column_as_json(column) for column in engine.columns],
        "engines": [_engine_as_json(*pair) for pair in zip(engines, mixed.weights.tolist(), strict=True)],
        "guesses": {kind: weights.tolist() for kind, weights in mixed.guess_weights.items()},
        **about,
    }
    first, *others = (SavedModel(each.model, jax.tree.map(np.asarray, each.params), None, None, {}) for each in engines)
    return save_model(path, first._replace(about={KEY: facts}, parts=tuple(others)))


def _engine_as_json(engine: Any, weight: float) -> dict[str, Any]:
    """Returns how an engine with one model reads the columns."""
    if isinstance(engine, AnyOrderTable):
        return {"kind": "any_order", "weight": weight, "most_levels": engine.sites.most_levels}
    margins = [
        {"words": margin.p.tolist()}
        if isinstance(margin, WordTable)
        else {name: getattr(margin, name) for name in _MarginNumbers.__required_keys__}
        for margin in engine.margins
    ]
    return {"kind": "gaussian", "weight": weight, "margins": margins}


def read_table(path: str | os.PathLike) -> dict[str, Any]:
    """Returns the arguments of the `TableModel` in a file."""
    saved = load_model(path)
    if KEY not in saved.about:
        raise UserError(f"{str(path)!r} does not hold the model of a table: open it with arjax.load")
    try:
        facts: TableFacts = read_typed(TableFacts, saved.about[KEY], KEY)
        columns = [_column(value, f"{KEY}/columns/{i}") for i, value in enumerate(facts["columns"])]
        engine = _engine(facts, columns, saved)
        _check_facts(facts, columns)
    except UserError as error:
        raise UserError(f"{str(path)!r} does not hold a table that this version can open: {error}") from error
    usual = np.array(facts["usual"], np.float64)
    frame = Frame({}, facts["form"], facts["missing"], facts["delimiter"])
    as_they_are: Any = {key: facts[key] for key in ("results", "left_out", "num_orders")}
    return {"engine": engine, "usual": usual, "frame": frame} | as_they_are


def _check_facts(facts: TableFacts, columns: Sequence[Column]) -> None:
    usual = facts["usual"]
    are_different = 0 < len(columns) == len({column.name for column in columns})
    are_rising = len(usual) == len(columns) and len({len(row) for row in usual}) == 1 and bool(usual[0])
    are_rising = are_rising and bool((np.diff(np.array(usual), axis=1) >= 0).all())
    refuse(
        (not are_different, "two of its columns have the same name, or there are none"),
        (not are_rising, "table/usual must have a list of numbers in rising order for each column"),
        (facts["form"] not in FORMS, f"table/form is one of {', '.join(FORMS)}, not {facts['form']!r}"),
    )
    Option(least=1, most=MOST_ORDERS).check(facts["num_orders"], "table/num_orders")
    for key in ("validation_nats", "validation_stderr"):
        if "validation_nats" in facts["results"]:
            read_typed(float, facts["results"].get(key), f"table/results/{key}")


def _engine(facts: TableFacts, columns: Sequence[Column], saved: SavedModel) -> TableEngine:
    """Returns the engine of a table, which must fit its columns."""
    models = [saved, *saved.parts]
    num = len(models)
    refuse((len(facts["engines"]) != num, f"table/engines must have as many entries as there are models, {num}"))
    engines, weights = [], []
    for i, (value, model) in enumerate(zip(facts["engines"], models, strict=True)):
        kind, entry = read_one_of({"any_order": _AnyOrder, "gaussian": _Gaussian}, value, f"{KEY}/engines/{i}")
        weights.append(entry["weight"])
        engines.append((_any_order if kind == "any_order" else _gaussian)(entry, columns, model))
    guesses: Any = facts["guesses"]
    for place, some in (("engines", weights), *((f"guesses/{kind}", some) for kind, some in guesses.items())):
        are_parts = min(some, default=0) >= 0 and abs(sum(some) - 1) <= 1e-6
        refuse(
            (len(some) != num, f"table/{place} must have a weight for each of {num} engines"),
            (not are_parts, f"the weights of table/{place} must be numbers of at least 0 that add up to 1"),
        )
    return engines[0] if num == 1 else MixedTable(engines, weights, guesses)


def _any_order(entry: _AnyOrder, columns: Sequence[Column], saved: SavedModel) -> TableEngine:
    model: Any = saved.model
    sites = Sites(tuple(column.num_codes for column in columns), entry["most_levels"])
    refuse(
        ("conditionals" not in model.traits, "it has the model of another kind of data"),
        (entry["most_levels"] < 2, "most_levels of an engine must be at least 2"),
        (entry["most_levels"] >= 2 and sites.event != model.event, "its columns are not those of the model"),
    )
    return AnyOrderTable(columns, model, saved.params, sites)


def _gaussian(entry: _Gaussian, columns: Sequence[Column], saved: SavedModel) -> TableEngine:
    model, num_numbers = saved.model, sum(isinstance(column, Numbers) for column in columns)
    if not is_gaussian_mixture(model):
        raise UserError("it has the model of another kind of data")
    fits = model.event.num_dims == num_numbers and len(columns) == len(entry["margins"])
    refuse((not fits, "its columns are not those of the model"))
    pairs = zip(columns, entry["margins"], strict=True)
    return GaussianTable([_margin(column, value, model.components) for column, value in pairs], model, saved.params)


def _margin(column: Column, value: Any, components: int) -> Margin | WordTable:
    """Returns how a mixture of Gaussians reads a column."""
    place = f"the margin of the column {column.name!r}"
    if isinstance(column, Words):
        rows = read_typed(_WordNumbers, value, place)["words"]
        fine = len(rows) == components and all(len(row) == column.num_codes and min(row) > 0 for row in rows)
        fine = fine and all(abs(sum(row) - 1) <= 1e-6 for row in rows)
        form = f"{components} lists of {column.num_codes} positive numbers that add up to 1"
        refuse((not fine, f"{place} must have {form}"))
        return WordTable(column, np.array(rows))
    numbers: _MarginNumbers = read_typed(_MarginNumbers, value, place)
    refuse((min(numbers["scale"], numbers["spread"]) <= 0, f"{place} must have a scale and a spread above 0"))
    return Margin(column, **numbers)


def _column(value: Any, place: str) -> Column:
    column = column_from_json((Words, Numbers), value, place)
    if isinstance(column, Words):
        are_words = 2 <= len(column.words) == len(set(column.words))
        refuse((not are_words, f"the words of the column {column.name!r} must be two or more different texts"))
        return column
    ends = np.array([column.low, column.high]) if len(column.low) == len(column.high) else np.zeros((2, 0))
    fine = bool(ends.size) and (ends[0] <= ends[1]).all() and (ends[0, 1:] >= ends[1, :-1]).all()
    fine = fine and (np.diff(ends[0]) > 0).all() and (column.step > 0 or (ends[0] < ends[1]).all())
    fine = fine and column.step >= 0 < column.spread and column.num_rows >= 1 and column.date in ("", "D", "s")
    refuse((not fine, f"the codes of the column {column.name!r} are not intervals in rising order"))
    return column
