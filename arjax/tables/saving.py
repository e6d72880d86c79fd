"""The model of a table in one safetensors file, with its columns: the model of the first engine as that of the file,
those of the others as its parts. The entry `engines` of its facts says how each of them reads the columns.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

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
from arjax.tables.boosted import BoostedTable
from arjax.tables.columns import Column, Numbers
from arjax.tables.engine import RowEngine, TableEngine
from arjax.tables.gaussian import GaussianTable, Margin, WordTable
from arjax.tables.mixed import MixedTable
from arjax.tables.point_masses import PointMassTable, SplitColumns
from arjax.tables.products import ProductsTable

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
    types: NotRequired[dict[str, dict]]


class _Engine(TypedDict):
    weight: float


class _AnyOrder(_Engine):
    most_levels: int
    frequencies: NotRequired[tuple[tuple[float, ...], ...]]


class _Gaussian(_Engine):
    margins: tuple[dict, ...]


class _Boosted(_Engine):
    orders: tuple[tuple[int, ...], ...]


class _MarginNumbers(TypedDict):
    shift: float
    scale: float
    power: float
    mean: float
    spread: float


class _WordNumbers(TypedDict):
    words: tuple[tuple[float, ...], ...]


def save_table(path: str | os.PathLike, engine: TableEngine, rows: RowEngine, about: Mapping[str, Any]) -> Path:
    """Writes the model of all questions, that of whole rows, and their columns, which `read_table` reads."""
    mixed = engine if isinstance(engine, MixedTable) else MixedTable([engine], [1.0])
    of_rows = [] if rows is engine else [rows]
    engines: list[Any] = [*mixed.engines, *of_rows]
    weights = [*mixed.weights.tolist(), *[0.0] * len(of_rows)]
    facts = {
        "columns": [column_as_json(column) for column in engine.columns],
        "engines": [_engine_as_json(*pair) for pair in zip(engines, weights, strict=True)],
        "guesses": {kind: weights.tolist() for kind, weights in mixed.guess_weights.items()},
        **about,
    }
    first, *others = (SavedModel(each.model, jax.tree.map(np.asarray, each.params), None, None, {}) for each in engines)
    return save_model(path, first._replace(about={KEY: facts}, parts=tuple(others)))


def _engine_as_json(engine: Any, weight: float) -> dict[str, Any]:
    """Returns how an engine with one model, or with arrays, reads the columns."""
    if isinstance(engine, PointMassTable):
        return _engine_as_json(engine.engine, weight)
    if isinstance(engine, ProductsTable | BoostedTable):
        about = {"orders": engine.orders} if isinstance(engine, BoostedTable) else {}
        return {"kind": engine.kind, "weight": weight, **about}
    if isinstance(engine, AnyOrderTable):
        more = {"most_levels": engine.sites.most_levels, "frequencies": [p_V.tolist() for p_V in engine.frequencies]}
        return {"kind": "any_order", "weight": weight, **more}
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
    refuse((KEY not in saved.about, f"{str(path)!r} does not hold the model of a table: open it with arjax.load"))
    try:
        facts: TableFacts = read_typed(TableFacts, saved.about[KEY], KEY)
        named = [(value, f"{KEY}/columns/{i}") for i, value in enumerate(facts["columns"])]
        columns = [column_from_json((Words, Numbers), *each) for each in named]
        engine, rows = _engines(facts, columns, saved)
        _check_facts(facts, columns)
    except UserError as error:
        raise UserError(f"{str(path)!r} does not hold a table that this version can open: {error}") from error
    usual = np.array(facts["usual"], np.float64)
    frame = Frame({}, facts["form"], facts["missing"], facts["delimiter"], types=facts.get("types", {}))
    as_they_are: Any = {key: facts[key] for key in ("results", "left_out", "num_orders", "patterns")}
    return {"engine": engine, "rows": rows, "usual": usual, "frame": frame} | as_they_are


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


def _engines(facts: TableFacts, columns: Sequence[Column], saved: SavedModel) -> tuple[TableEngine, RowEngine]:
    """Returns the engine of a table, and that of whole rows, which must fit its columns."""
    models = [saved, *saved.parts]
    num = len(models)
    refuse((len(facts["engines"]) != num, f"table/engines must have as many entries as there are models, {num}"))
    engines: list[Any] = []
    weights = []
    for i, (value, model) in enumerate(zip(facts["engines"], models, strict=True)):
        types = {kind: entry for kind, (entry, _) in _KINDS.items()}
        kind, entry = read_one_of(types, value, f"{KEY}/engines/{i}")
        refuse(((model.model is None) != (kind in _OF_ARRAYS), "it has the model of another kind of data"))
        weights.append(entry["weight"])
        engines.append(_KINDS[kind][1](entry, columns, model))
    num_all = sum(isinstance(engine, TableEngine) for engine in engines)
    of_all, of_rows = engines[:num_all], engines[num_all:]
    fits = of_all and len(of_rows) <= 1 and all(isinstance(engine, TableEngine) for engine in of_all)
    refuse((not fits, "table/engines must answer questions, but for one at the end that may draw whole rows"))
    guesses: Any = facts["guesses"]
    for kind, some in guesses.items():
        refuse((len(some) != len(of_all), f"table/guesses/{kind} must have a weight for each of {len(of_all)} engines"))
    engine = of_all[0] if len(of_all) == 1 else MixedTable(of_all, weights[: len(of_all)], guesses)
    return engine, of_rows[0] if of_rows else engine


def _any_order(entry: _AnyOrder, columns: Sequence[Column], saved: SavedModel) -> TableEngine:
    model: Any = saved.model
    sites = Sites(tuple(column.num_codes for column in columns), entry["most_levels"])
    frequencies = [np.array(p_V) for p_V in entry.get("frequencies", ())]
    fits = not frequencies or tuple(map(len, frequencies)) == sites.sizes
    fits &= all((p_V > 0).all() for p_V in frequencies)
    refuse(
        ("conditionals" not in model.traits, "it has the model of another kind of data"),
        (not fits, "the frequencies of an engine must be a number above 0 for each code of each column"),
        (entry["most_levels"] < 2, "most_levels of an engine must be at least 2"),
        (entry["most_levels"] >= 2 and sites.event != model.event, "its columns are not those of the model"),
    )
    return AnyOrderTable(columns, model, saved.params, sites, frequencies)


def _products(entry: _Engine, columns: Sequence[Column], saved: SavedModel) -> TableEngine:
    shapes = [saved.params[name].shape for name in ("log_weights", "log_p") if name in saved.params]
    num_codes = sum(column.num_codes for column in columns)
    fits = len(shapes) == 2 and len(shapes[0]) == 1 and shapes[1] == (*shapes[0], num_codes)
    refuse((not fits, "its columns are not those of the mixture of products"))
    return ProductsTable(columns, saved.params)


def _boosted(entry: _Boosted, columns: Sequence[Column], saved: SavedModel) -> RowEngine:
    are_orders = all(sorted(order) == list(range(len(columns))) for order in entry["orders"])
    refuse((not entry["orders"] or not are_orders, "the orders of its boosted trees are not those of its columns"))
    return BoostedTable.from_params(columns, entry["orders"], saved.params)


def _gaussian(entry: _Gaussian, columns: Sequence[Column], saved: SavedModel) -> TableEngine:
    split = SplitColumns(columns)
    columns, model = split.columns, saved.model
    num_numbers = sum(isinstance(column, Numbers) for column in columns)
    refuse((not is_gaussian_mixture(model), "it has the model of another kind of data"))
    fits = model.event.num_dims == num_numbers and len(columns) == len(entry["margins"])
    refuse((not fits, "its columns are not those of the model"))
    pairs = zip(columns, entry["margins"], strict=True)
    margins = [_margin(column, value, model.components) for column, value in pairs]
    return split.joined(GaussianTable(margins, model, saved.params))


def _margin(column: Column, value: Any, components: int) -> Margin | WordTable:
    """Returns how a mixture of Gaussians reads a column."""
    place = f"the margin of the column {column.name!r}"
    if isinstance(column, Words):
        rows = read_typed(_WordNumbers, value, place)["words"]
        fits = [len(row) for row in rows] == [column.num_codes] * components
        refuse((not fits, f"{place} must have {components} lists of {column.num_codes} numbers"))
        return WordTable(column, np.array(rows))
    return Margin(column, **read_typed(_MarginNumbers, value, place))


#: Kinds of engines: the type of their entries, and the maker from an entry, the columns and the saved model.
_KINDS: dict[str, tuple[Any, Callable[[Any, Sequence[Column], SavedModel], RowEngine]]] = {
    "any_order": (_AnyOrder, _any_order),
    "gaussian": (_Gaussian, _gaussian),
    "products": (_Engine, _products),
    "boosted": (_Boosted, _boosted),
}
#: The kinds of engines without a model.
_OF_ARRAYS = ("products", "boosted")
