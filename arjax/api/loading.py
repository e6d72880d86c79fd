"""A model out of a file."""

from __future__ import annotations

import os

from arjax.api.trained_model import Fitted, Settings
from arjax.core.arguments import checked_arguments
from arjax.core.errors import UserError
from arjax.core.json_objects import JsonObject, checked
from arjax.core.spec import EventSpec
from arjax.data import Dataset
from arjax.data.saved_rows import restore_rows
from arjax.data.vocabulary import UNITS, Vocabulary
from arjax.evaluation.report import Measures
from arjax.interop.model_file import SavedModel, load_model
from arjax.parallel.sharding import make_mesh
from arjax.reporting.reports import is_report


@checked_arguments()
def load(path: str | os.PathLike) -> Fitted:
    """The model in a file that `save` has written, with its parameters: no workdir, config or data are needed.

    Raises:
      UserError: there is no such file; it is damaged or was not written by arjax; or the model has a component, such
        as a network, that is not registered here.
    """
    saved = load_model(path)
    if "table" in saved.about:
        raise UserError(f"{str(path)!r} holds the model of a table: open it with arjax.load_table")
    try:
        return _fitted(saved)
    except UserError as error:
        raise UserError(f"{str(path)!r} does not say of its model what arjax says: {error}") from error


def _fitted(saved: SavedModel) -> Fitted:
    """The model with the facts about it; raises `UserError` where one of these is missing or of another type."""
    model, about = saved.model, JsonObject(saved.about, "about")
    data, results = about.object("data"), about.take("results", dict, type(None))
    words = data.take("vocabulary", dict, type(None))
    vocabulary = None if words is None else _vocabulary(JsonObject(words, "about/data/vocabulary"), model.event)
    for split, num in data.take("examples", dict).items():
        checked(num, f"about/data/examples/{split}", int)
    if results is not None and not is_report(results):
        raise UserError("about/results is no report of a run")
    about.take("commit", str)
    name = data.take("name", str)
    classes = tuple(data.items("classes", str)) if "classes" in data else ()
    if classes and [part.num_levels for _, part in model.context_spec.parts] != [len(classes)]:
        raise UserError(f"about/data/classes are {len(classes)}, and the context is {model.context_spec}")
    rows = data.take("rows", dict, type(None), default=None)
    if rows is not None:
        of_rows = model.event, vocabulary, classes, saved.shift, saved.scale
        rows = restore_rows(JsonObject(rows, "about/data/rows"), *of_rows)
    dataset = Dataset(
        name,
        model.event,
        model.context_spec,
        {},
        vocabulary=vocabulary,
        scale=saved.scale,
        shift=saved.shift,
        rows=rows,
        classes=classes,
    )
    num_orders = about.count("num_orders", 1)
    if num_orders > 1 and model.orders is None:
        raise UserError(f"a model of one order is not scored under {num_orders}")
    settings = Settings(make_mesh(), Measures(num_orders=num_orders), about=saved.about)
    return Fitted(model, saved.params, dataset, settings, results)


def _vocabulary(words: JsonObject, event: EventSpec) -> Vocabulary:
    """The vocabulary of a text; raises `UserError` unless it is one of the tokens of the event."""
    symbols, unit = tuple(words.items("symbols", str)), words.take("unit", str)
    end, unknown = (words.take(name, int, type(None)) for name in ("end", "unknown"))
    words.end()
    plain_symbols = [symbol for token, symbol in enumerate(symbols) if token not in (end, unknown)]
    fine = unit in UNITS.values() and len(symbols) == event.num_levels and len(set(plain_symbols)) == len(plain_symbols)
    fine &= all(token is None or 0 <= token < len(symbols) for token in (end, unknown))
    if not fine or not plain_symbols or (unit == "char" and any(len(symbol) != 1 for symbol in plain_symbols)):
        raise UserError(f"{words.place} is none of {event.num_levels} tokens")
    return Vocabulary(symbols, unit, end, unknown)
