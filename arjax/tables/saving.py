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
    patterns: dict[str, int]
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
    """Returns the arguments of the `TableModel` in a file. Types and sizes are compared; its checksum says the rest."""
    saved = load_model(path)
    if KEY not in saved.about:
        raise UserError(f"{str(path)!r} does not hold the model of a table: open it with arjax.load")
    try:
        facts: TableFacts = read_typed(TableFacts, saved.about[KEY], KEY)
        named = [(value, f"{KEY}/columns/{i}") for i, value in enumerate(facts["columns"])]
        columns = [column_from_json((Words, Numbers), *each) for each in named]
        engine = _engine(facts, columns, saved)
        _check_facts(facts, columns)
    except UserError as error:
        raise UserError(f"{str(path)!r} does not hold a table that this version can open: {error}") from error
    usual = np.array(facts["usual"], np.float64)
    frame = Frame({}, facts["form"], facts["missing"], facts["delimiter"])
    as_they_are: Any = {key: facts[key] for key in ("results", "left_out", "num_orders", "patterns")}
    return {"engine": engine, "usual": usual, "frame": frame} | as_they_are


def _check_facts(facts: TableFacts, columns: Sequence[Column]) -> None:
    sizes = [len(row) for row in facts["usual"]]
    refuse(
        (any(len(p) != len(columns) for p in facts["patterns"]), "table/patterns must have a mark for each column"),
        (sizes != sizes[:1] * len(columns), "table/usual must have a list of equally many numbers for each column"),
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
    for kind, some in guesses.items():
        refuse((len(some) != num, f"table/guesses/{kind} must have a weight for each of {num} engines"))
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
        fits = [len(row) for row in rows] == [column.num_codes] * components
        refuse((not fits, f"{place} must have {components} lists of {column.num_codes} numbers"))
        return WordTable(column, np.array(rows))
    return Margin(column, **read_typed(_MarginNumbers, value, place))
