"""Rows of users, in files, frames and lists, that become examples of a data set."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from arjax.core.errors import refuse
from arjax.core.options import Option

#: What to do with values that training never saw.
UNKNOWN = ("refuse", "missing")


class RowsRead(NamedTuple):
    """Rows as the arrays of a split: `x` [N, *event.shape] as the model sees it, and possibly `mask` and `context`; and
    the user's number of each row, int[N].
    """

    arrays: dict[str, Any]
    numbers: np.ndarray


class Rows(Protocol):
    """How rows of the user become examples of a data set, and examples such rows."""

    def read(
        self, rows: Any, *, unknown: str = "refuse", holes: bool = False, needed: Collection[str] | None = None
    ) -> RowsRead:
        """Reads rows from memory, or from the path of a file like that of the training.

        Args:
          unknown: "refuse" what training never saw, or take it as "missing".
          holes: whether the model takes missing values.
          needed: the names of the columns that are read; None: all.
        """

    def decode(self, x: np.ndarray) -> Any:
        """Returns examples [N, *event.shape] as the model sees them, as rows of the user in memory."""


def is_rows(x: Any) -> bool:
    """Returns whether it is rows of a user, not an array: a path, a frame, a dict, or a list of texts or of dicts."""
    if isinstance(x, str | os.PathLike | Mapping) or hasattr(x, "column_names"):
        return True
    if isinstance(x, list | tuple):
        return bool(x) and isinstance(x[0], str | Mapping)
    return hasattr(x, "columns")


def check_unknown(unknown: str, holes: bool) -> None:
    """Refuses a choice that is not in `UNKNOWN`, or that the model cannot take."""
    Option(choices=UNKNOWN).check(unknown, "unknown")
    no_holes = "unknown='missing' is for models that take missing values, and this one does not"
    refuse((unknown == "missing" and not holes, no_holes))
