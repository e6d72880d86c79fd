"""The form of a column: from cells of any row to numbers in data units, and back."""

from __future__ import annotations

import bisect
import dataclasses
import datetime
import functools
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from arjax.core.errors import UserError, did_you_mean
from arjax.core.spec import EventSpec
from arjax.data.table_files import is_number

LARGEST = float(np.finfo(np.float32).max)


@dataclasses.dataclass(frozen=True)
class ColumnForm:
    """What the values of a column mean.

    Attributes:
      spec: kind and number of levels of its values.
      words: the meaning of each level; () for a real column.
      is_numeric: whether the words are numbers, which may be written in several ways, or intervals of numbers.
      cuts: the numbers from which on each interval after the first begins; () where there are none.
      digits: of a real number as text.
    """

    name: str
    spec: EventSpec
    words: tuple[str, ...] = ()
    is_numeric: bool = False
    cuts: tuple[float, ...] = ()
    digits: int = 7

    def text(self, values: np.ndarray) -> list[str]:
        """Values in data units as cells; a level that no row has as its number, and a missing value as ""."""
        return ["" if np.isnan(value) else self._cell(value) for value in values]

    def _cell(self, value: float) -> str:
        if self.words:
            level = round(float(value))
            return self.words[level] if level < len(self.words) else f"level {level}"
        return f"{value:.{self.digits}g}"

    def cells(self, values: np.ndarray) -> list[Any]:
        """Values in data units as a user has them: words, numbers, and None for a missing one."""
        texts = self.text(values)
        if self.words and (self.cuts or not self.is_numeric):
            return [text or None for text in texts]
        as_number = _exact if self.words else float
        return [as_number(text) if is_number(text) else text or None for text in texts]

    def read(self, cells: Sequence[Any], place: Callable[[int], str], unknown: str, remedy: str) -> np.ndarray:
        """Cells of other rows in data units, float64[N]: numbers, or the levels of words; nan for None, unless the
        column has a level for it.

        Args:
          cells: texts, numbers and truth values.
          place: of a row in words, for messages.
          unknown: "refuse" a word that no row of the training had, or take it as "missing".
          remedy: the end of the sentence about such a word.

        Raises:
          UserError: such a word, or something else than a number in a column of numbers.
        """
        seen: dict[Any, float | None] = {None: self._levels.get("", np.nan)}
        found = np.empty(len(cells))
        for n, cell in enumerate(cells):
            key = (type(cell), cell) if cell is not None else None  # True is 1 for a dict
            try:
                known = key in seen
            except TypeError as error:  # a list, say
                where = f"{place(n)} holds {cell!r} in the column {self.name!r}"
                raise UserError(f"{where}, which is no single value") from error
            if not known:
                seen[key] = self._level(cell) if self.words else _number(cell)
            value = seen[key]
            if value is None and not self.words:
                raise UserError(f"{place(n)} holds {cell!r} in the column {self.name!r}, which is of finite numbers")
            if value is None and unknown == "refuse":
                where = f"{place(n)} holds {cell!r} in the column {self.name!r}"
                raise UserError(f"{where}, which training never saw{self._hint(str(cell))}{remedy}")
            found[n] = np.nan if value is None else value
        return found

    def _hint(self, text: str) -> str:
        """The word that is meant, perhaps."""
        alike = [word for word in self.words if word.lower() == text.lower()]
        return f", did you mean {alike[0]!r}?" if alike else did_you_mean(text, self.words, "")

    def _level(self, cell: Any) -> int | None:
        """The level of a cell; None where it is no value of the column."""
        texts = _texts(cell)
        level = next((self._levels[text] for text in texts if text in self._levels), None)
        if level is None and self.is_numeric and (number := _number(texts[-1])) is not None:
            return bisect.bisect_right(self.cuts, number) if self.cuts else self._levels.get(Decimal(texts[-1]))
        return level

    @functools.cached_property
    def _levels(self) -> dict[Any, int]:
        """The level of each word, of its number where it is one, and of levels that no row has."""
        found: dict[Any, int] = {f"level {v}": v for v in range(len(self.words), self.spec.num_levels)}
        found |= {word: level for level, word in enumerate(self.words)}
        if self.is_numeric and not self.cuts:
            found |= {Decimal(word): level for level, word in enumerate(self.words) if is_number(word)}
        return found


def _texts(cell: Any) -> list[str]:
    """The ways in which a cell may be written in a file, a number last."""
    if isinstance(cell, bool):
        return [str(cell), str(cell).lower(), str(cell).upper(), str(int(cell))]
    if isinstance(cell, datetime.datetime):
        day = [str(cell.date())] if cell.time() == datetime.time() else []
        return [*day, cell.isoformat(), str(cell)]
    if isinstance(cell, float):
        return [str(int(cell)) if cell.is_integer() else repr(cell)]
    return [str(cell).strip()]


def _exact(text: str) -> int | float:
    """The number of a text, whole numbers with all their digits."""
    number = Decimal(text)
    return int(number) if number == number.to_integral_value() else float(text)


def _number(cell: Any) -> float | None:
    """The number that a cell is, where float32 holds it."""
    if isinstance(cell, str) and not is_number(cell):
        return None
    try:
        return float(cell) if abs(float(cell)) <= LARGEST else None
    except (TypeError, ValueError, OverflowError):
        return None
