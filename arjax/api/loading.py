"""A model out of a file."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from arjax.api.trained_model import Fitted, Settings
from arjax.core.errors import UserError, refuse
from arjax.core.options import MOST_ORDERS, checked_arguments
from arjax.core.spec import EventSpec
from arjax.core.values import read_one_of, read_typed
from arjax.data import Dataset
from arjax.data.columns import Reals, Words, column_from_json
from arjax.data.rows import Rows
from arjax.data.table import TableRows
from arjax.data.text_rows import StringRows, WindowRows
from arjax.data.vocabulary import UNITS, Vocabulary
from arjax.evaluation.report import Measures
from arjax.interop.model_file import SavedModel, load_model
from arjax.reporting.reports import is_report


@checked_arguments()
def load(path: str | os.PathLike) -> Fitted:
    """The model in a file that `save` has written, with its parameters: no workdir, config or data are needed."""
    saved = load_model(path)
    refuse(("table" in saved.about, f"{str(path)!r} holds the model of a table: open it with arjax.load_table"))
    try:
        return _fitted(saved)
    except UserError as error:
        raise UserError(f"{str(path)!r} does not hold what arjax writes about a model: {error}") from error


class DataFacts(TypedDict):
    """What a file tells of the data set."""

    name: str
    examples: dict[str, int]
    vocabulary: Vocabulary | None
    classes: tuple[str, ...]
    rows: dict | None


class Facts(TypedDict):
    """What a file tells of a model beside its recipe; there may be more."""

    data: DataFacts
    results: dict | None
    commit: str
    num_orders: int


class _TableRows(TypedDict):
    columns: tuple[dict, ...]
    missing: tuple[str, ...]
    delimiter: str
    header: bool


class _StringRows(TypedDict):
    labels: str
    column: str


class _WindowRows(TypedDict):
    stride: int


def _fitted(saved: SavedModel) -> Fitted:
    facts: Facts = read_typed(Facts, {name: saved.about[name] for name in _FACTS & saved.about.keys()}, "about")
    refuse((saved.model is None, "it has no model"))
    model, data, results = saved.model, facts["data"], facts["results"]
    if data["vocabulary"] is not None:
        _check_vocabulary(data["vocabulary"], model.event)
    classes, num_orders, context = data["classes"], facts["num_orders"], model.context_spec
    misfit = classes and [part.num_levels for _, part in context.parts] != [len(classes)]
    several = not 1 <= num_orders <= MOST_ORDERS or (num_orders > 1 and model.orders is None)
    refuse(
        (results is not None and not is_report(results), "about/results is no report of a run"),
        (misfit, f"about/data/classes are {len(classes)}, and the context is {context}"),
        (several, f"this model is not scored under {num_orders} orders"),
    )
    form: dict[str, Any] = {"scale": saved.scale, "shift": saved.shift, "classes": classes}
    dataset = Dataset(data["name"], model.event, context, {}, vocabulary=data["vocabulary"], **form)
    if data["rows"] is not None:
        dataset = dataclasses.replace(dataset, rows=rows_from_json(data["rows"], dataset))
    settings = Settings(measures=Measures(num_orders=num_orders), about=saved.about)
    return Fitted(model, saved.params, dataset, settings, results)


_FACTS = Facts.__required_keys__


def _check_vocabulary(vocabulary: Vocabulary, event: EventSpec) -> None:
    special = (vocabulary.end, vocabulary.unknown)
    symbols = [symbol for token, symbol in enumerate(vocabulary.symbols) if token not in special]
    fine = vocabulary.unit in UNITS.values() and len(vocabulary) == event.num_levels
    fine &= 0 < len(symbols) == len(set(symbols))
    fine &= all(token is None or 0 <= token < len(vocabulary) for token in special)
    if not fine or (vocabulary.unit == "char" and any(len(symbol) != 1 for symbol in symbols)):
        raise UserError(f"about/data/vocabulary is not one of {event.num_levels} tokens")


def rows_from_json(value: Mapping[str, Any], dataset: Dataset, place: str = "about/data/rows") -> Rows:
    """Returns the rows of `rows_as_json` of a data set, which they must fit."""
    event, vocabulary = dataset.event, dataset.vocabulary
    kind, entries = read_one_of({"table": _TableRows, "strings": _StringRows, "text": _WindowRows}, value, place)
    if kind == "table":
        named = [(column, f"{place}/columns/{i}") for i, column in enumerate(entries.pop("columns"))]
        columns = [column_from_json((Words, Reals), *each) for each in named]
        _check_columns(columns, event, place)
        return TableRows(tuple(columns), event, dataset.shift, dataset.scale, **entries)
    if vocabulary is None or len(event.shape) != 1 or (kind == "strings") != (vocabulary.end is not None):
        raise UserError(f"{place} are rows of {kind!r}, and examples are {event.in_words}")
    if kind == "strings":
        return StringRows(vocabulary, event.num_sites, classes=tuple(dataset.classes), **entries)
    if not 1 <= entries["stride"] <= event.num_sites:
        raise UserError(f"{place}/stride must be from 1 to {event.num_sites}, the tokens of a window")
    return WindowRows(vocabulary, event.num_sites, **entries)


def _check_columns(columns: Sequence[Words | Reals], event: EventSpec, place: str) -> None:
    if len(columns) != event.num_sites or len({column.name for column in columns}) < len(columns):
        raise UserError(f"{place} has other columns than {event.in_words}")
    for column, spec in zip(columns, event.each_site, strict=True):
        if isinstance(column, Reals):
            fine = not spec.num_levels and column.digits >= 1
        else:
            fine = len(column.words) == spec.num_levels
        refuse((not fine, f"{place}/columns: {column.name!r} is no column of {spec.num_levels} levels"))
