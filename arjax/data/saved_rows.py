"""How rows become examples, as JSON in the files of models, which are opened without the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from arjax.core.errors import UserError
from arjax.core.json_objects import JsonObject
from arjax.core.spec import EventSpec
from arjax.data.column_form import ColumnForm
from arjax.data.rows import Rows
from arjax.data.table_rows import TableRows
from arjax.data.text_rows import StringRows, WindowRows
from arjax.data.vocabulary import Vocabulary


def describe_rows(rows: Rows | None) -> dict[str, Any] | None:
    """The rows as JSON, without what the model file has elsewhere; None for those of other packages."""
    if isinstance(rows, TableRows):
        columns = [column.described() for column in rows.columns]
        own = {"missing": list(rows.missing), "delimiter": rows.delimiter, "header": rows.header}
        return {"of": "table", "columns": columns, **own}
    if isinstance(rows, StringRows):
        return {"of": "strings", "labels": rows.labels, "column": rows.column}
    return {"of": "text", "stride": rows.stride} if isinstance(rows, WindowRows) else None


def restore_rows(
    found: JsonObject,
    event: EventSpec,
    vocabulary: Vocabulary | None,
    classes: Sequence[str],
    shift: np.ndarray | None,
    scale: np.ndarray | None,
) -> Rows:
    """The inverse of `describe_rows`; raises `UserError` where they are not those of such examples."""
    of = found.take("of", str)
    rows: Rows
    if of == "table":
        columns = tuple(map(ColumnForm.restored, found.objects("columns")))
        specs = event.columns or (EventSpec((), (), event.kind, event.num_levels),) * event.num_sites
        if tuple(column.spec for column in columns) != specs or len({c.name for c in columns}) < len(columns):
            raise UserError(f"{found.place} has other columns than {event.in_words}")
        missing = tuple(found.items("missing", str))
        rows = TableRows(
            columns, event, shift, scale, missing, found.take("delimiter", str), found.take("header", bool)
        )
    elif vocabulary is None or len(event.shape) != 1 or (of == "strings") != (vocabulary.end is not None):
        raise UserError(f"{found.place} are rows of {of!r}, and examples are {event.in_words}")
    elif of == "strings":
        labels, column = found.take("labels", str), found.take("column", str)
        rows = StringRows(vocabulary, event.num_sites, labels, column, tuple(classes))
    elif of == "text":
        stride = found.count("stride", 1)
        if stride > event.num_sites:
            raise UserError(f"{found.place}/stride is above the {event.num_sites} of a window")
        rows = WindowRows(vocabulary, event.num_sites, stride)
    else:
        raise UserError(f"{found.place} are rows of an unknown kind, {of!r}")
    found.end()
    return rows
