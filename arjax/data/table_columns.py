"""Columns of tables: from cells to real values or levels, and back to cells."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal

import numpy as np

from arjax.core.errors import UserError, say_once
from arjax.core.spec import EventSpec
from arjax.data.column_form import LARGEST, ColumnForm
from arjax.data.table_files import Cells, is_number

#: From here on float64 does not tell all whole numbers apart.
FIRST_MERGED = 2**53
KINDS = ("binary", "levels", "tokens", "real")
#: What becomes of cells without a value.
MISSING = ("refuse", "level", "hole")
#: Python reads whole numbers of at most 4300 digits.
_WHOLE = re.compile(r"[+-]?\d{1,4000}(\.0*)?")


@dataclasses.dataclass(frozen=True)
class Rule:
    """The options of the data set `table` for columns, given kinds by the numbers of their columns; and the rows of the
    train split.
    """

    levels: int
    mixed: bool
    stated: dict[int, str]
    most_levels: int
    missing: str
    missing_cells: tuple[str, ...]
    train: np.ndarray


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
      form: what its values mean.
      values: float64[N] of a real column; integers from 0 otherwise; float64 with NaN where values are missing.
    """

    form: ColumnForm
    values: np.ndarray

    @property
    def name(self) -> str:
        """Its name."""
        return self.form.name

    @property
    def spec(self) -> EventSpec:
        """Kind and number of levels of its values."""
        return self.form.spec


def real_column(name: str, values: np.ndarray) -> Column:
    """A column of real values float64[N]. As text they get seven digits of their spread: more where they vary little
    around a large number.
    """
    known = values[~np.isnan(values)]
    spread = known.std() if len(known) else 0.0
    digits = 7 + int(np.clip(np.log10(np.abs(known).max() / spread), 0, 10)) if spread else 7
    return Column(ColumnForm(name, EventSpec((), (), "real"), digits=digits), values)


class RawColumn:
    """A column as it stands in the files.

    Attributes:
      cells: of all N rows.
      places: of the rows, such as "row 3 of the table 'my.csv'".
      is_missing: bool[N], the rows without a value in this column.
      rows: the others, int[M].
      values: their cells.
      different: the values, each once.
      is_numeric: whether all values are numbers.
      large_numbers: the different numbers where all are whole numbers, of which some are from 2**53 on; else none.
      merges: whether float64 does not tell all large numbers apart.
    """

    def __init__(self, cells: Cells, i: int, missing_cells: Sequence[str]):
        """The column of that number; `missing_cells` are the texts of cells without a value."""
        self.name, self.cells, self.places = cells.names[i], cells.column(i), cells.places
        self.is_missing = np.isin(self.cells, np.array(missing_cells, str))
        self.rows = np.flatnonzero(~self.is_missing)
        self.values = [self.cells[n] for n in self.rows]
        self.different = set(self.values)
        self.is_numeric = all(map(is_number, self.different))
        are_whole = all(map(_WHOLE.fullmatch, self.different))
        whole = {int(cell.partition(".")[0]) for cell in self.different} if are_whole else set()
        self.large_numbers = whole if max(map(abs, whole), default=0) >= FIRST_MERGED else set()
        # Of the texts: float of a whole number of more than 308 digits is an error, and of its text infinity.
        self.merges = len(set(map(float, map(str, self.large_numbers)))) < len(self.large_numbers)

    def numbers(self) -> np.ndarray:
        """The values as float64[M]; raises `UserError` at the first that is no number, or too large for float32."""
        for cell in self.values:
            if not is_number(cell) or not abs(float(cell)) <= LARGEST:
                raise UserError(
                    f"the column {self.name!r} of the table holds {cell!r}, which is no finite number of float32: "
                    "leave it out with `skip`, write it as numbers, or take mixed=True, with which each column has its "
                    "own kind, or `levels`, which makes integers of all"
                )
        return np.array(self.values, np.float64)

    def in_rows(self, values_M: np.ndarray, missing: float) -> np.ndarray:
        """An array of all rows [N] from one of the rows with a value, and a number for the others."""
        found_N = np.full(len(self.cells), missing, values_M.dtype)
        found_N[self.rows] = values_M
        return found_N

    def levels(self, as_words: bool = False) -> tuple[np.ndarray, tuple[str, ...]]:
        """The place of each cell among the different values, int[N], 0 where it is missing; and a cell of each value.

        `as_words`: cells are other values where they are written otherwise, such as 7 and 007.
        """
        are_numbers = not as_words and self.is_numeric
        if are_numbers:
            self.numbers()  # checks them
        keys = exact_numbers(self.values) if are_numbers else np.array(self.values)
        _, first, place_M = np.unique(keys, return_index=True, return_inverse=True)
        return self.in_rows(place_M.astype(np.int64), 0), tuple(self.values[n] for n in first)


def exact_numbers(cells: Iterable[str]) -> np.ndarray:
    """Numbers of cells that sort and compare as they are written: float64[N] where it holds them, else decimals."""
    cells = list(cells)
    numbers = np.array(cells, np.float64)
    if not len(numbers) or np.abs(numbers).max() < FIRST_MERGED:
        return numbers
    return np.array([Decimal(cell) for cell in cells], object)


def make_column(cells: Cells, i: int, rule: Rule) -> Column:
    """The column of that number; `UserError` for cells that are refused, or not of the kind of the column."""
    column, stated = RawColumn(cells, i, rule.missing_cells), rule.stated.get(i)
    if stated is None:
        if rule.levels or rule.mixed:  # else a word is refused as no number
            _tell_stray_words(column, rule.levels or rule.most_levels)
        _check_no_identifiers(column, rule.most_levels)
        _tell_row_numbers(column, cells.sizes[0], rule.most_levels)
    kind = _kind(column, rule, stated)
    if column.is_missing.any() and (rule.missing == "refuse" or (rule.missing == "level" and kind == "real")):
        n = int(column.is_missing.argmax())
        where = f"{column.places[n]} has no value ({column.cells[n]!r}) in the column {column.name!r}"
        if rule.missing == "level":
            raise UserError(
                f"{where}, which is real and has no level for it: fill it in, leave the column out, or give "
                "missing='hole', which leaves the value out"
            )
        raise UserError(
            f"{where}: fill it in, leave the column out with `skip`, or give missing='hole', which leaves the value "
            "out, or missing='level', which makes a level of it in discrete columns; missing_cells has the texts of "
            "cells without a value"
        )
    if kind == "real":
        return _real_column(column)
    return _level_column(column, rule) if rule.levels else _own_column(column, kind, rule, as_words=stated == "tokens")


def _kind(column: RawColumn, rule: Rule, stated: str | None) -> str:
    """The kind of a column: as stated, that of all columns, or one that its cells have."""
    if not rule.mixed:
        return "levels" if rule.levels else "real"
    if stated is not None:
        return stated
    different = column.different
    num = len(set(exact_numbers(different).tolist())) if column.is_numeric else len(different)
    if num <= 2:
        return "binary"
    if not column.is_numeric:
        return "tokens"
    return "levels" if num <= rule.most_levels and all(float(cell).is_integer() for cell in different) else "real"


def _real_column(column: RawColumn) -> Column:
    name, values = column.name, column.numbers()
    if column.merges:
        raise UserError(
            f"the column {name!r} of the table holds whole numbers such as {max(column.large_numbers, key=abs)}, which "
            "float64 does not tell apart from 2**53 on: give them in other units, or as words with "
            f"kinds=('{name}:tokens',)"
        )
    return real_column(name, column.in_rows(values, np.nan))


def _level_column(column: RawColumn, rule: Rule) -> Column:
    """At most V integers: places of words or numbers, or parts of many numbers with equally many train rows. Cells
    without a value are holes, or the level after them.
    """
    levels, name, gap = rule.levels, column.name, column.is_missing
    places, words = column.levels()
    cuts: tuple[float, ...] = ()
    if len(words) > levels:
        if not column.is_numeric:
            found = f"{len(words)} different words, above levels={levels}"
            raise UserError(f"the column {name!r} of the table holds {found}")
        values = column.in_rows(column.numbers(), np.nan)
        if np.isnan(values[rule.train]).all():
            raise UserError(f"the column {name!r} of the table has no value in any train row: leave it out with `skip`")
        cuts = tuple(np.nanquantile(values[rule.train], np.arange(1, levels) / levels).tolist())
        between = [f"{low:.6g} to {high:.6g}" for low, high in itertools.pairwise(cuts)]
        words = (f"below {cuts[0]:.6g}", *between, f"from {cuts[-1]:.6g}")
        places = np.searchsorted(cuts, values, side="right")
    if not gap.any() or rule.missing == "hole":
        spec = EventSpec((), (), "levels" if levels > 2 else "binary", levels)
        words = words or ("level 0",)  # where no row has a value
        return Column(ColumnForm(name, spec, words, column.is_numeric, cuts), _open(places, gap))
    words = (*words, *(f"level {v}" for v in range(len(words), levels)), "")
    spec = EventSpec((), (), "tokens", levels + 1)
    return Column(ColumnForm(name, spec, words, column.is_numeric, cuts), np.where(gap, levels, places))


def _open(places: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """The places of the levels of a column, float64 with NaN at its gaps where there are any."""
    return np.where(gap, np.nan, places) if gap.any() else places


def _own_column(column: RawColumn, kind: str, rule: Rule, as_words: bool) -> Column:
    """A discrete column with a level for each different value, and holes or one more level for cells without a value.

    Raises `UserError` for one value in all rows, or a binary column of more than two.
    """
    places, words = column.levels(as_words)
    if rule.missing == "hole":
        places = _open(places, column.is_missing)
    elif column.is_missing.any():  # without a place in the order of the others
        kind = "tokens"
        places, words = np.where(column.is_missing, len(words), places), (*words, "")
    num = len(words)
    if num < 2:
        raise UserError(
            f"the column {column.name!r} of the table holds one value in all rows: leave it out with `skip`"
        )
    if kind == "binary" and num > 2:
        raise UserError(f"the column {column.name!r} of the table holds {num} different values: it is not binary")
    spec = EventSpec((), (), "binary" if num == 2 else kind, num)
    return Column(ColumnForm(column.name, spec, words, column.is_numeric and not as_words), places)


def _check_no_identifiers(column: RawColumn, most_levels: int) -> None:
    """Raises `UserError` where the cells of a column that has no stated kind name the rows.

    These are whole numbers from 2**53 on, another one in each row or some that float64 does not tell apart, and words
    of which each row has another one, more than `most_levels` of them.
    """
    name, numbers = column.name, column.large_numbers
    one_each = len(column.different) == len(column.values)
    if numbers and ((one_each and min(map(abs, numbers)) >= FIRST_MERGED) or column.merges):
        found = f"whole numbers such as {max(numbers, key=abs)}, above the 2**53 of float64"
    elif one_each and len(column.values) > most_levels and not column.is_numeric:
        found = f"another word in each row, such as {column.values[0]!r}"
    else:
        return
    raise UserError(
        f"the column {name!r} of the table holds identifiers, {found}, of which there is nothing to learn: leave it "
        f"out with skip=({name!r},), or keep it as words with mixed=True and kinds=('{name}:tokens',)"
    )


def _tell_row_numbers(column: RawColumn, num_rows: int, most_levels: int) -> None:
    """Says on stderr that the cells of the first file, of so many rows, count its rows from 0 or 1."""
    cells = column.cells[:num_rows]
    begins = len(cells) > most_levels and cells[0] in ("0", "1")
    if begins and all(cell == str(n) for n, cell in enumerate(cells, int(cells[0]))):
        say_once(f"the column {column.name!r} of the table counts its rows: leave it out with skip=({column.name!r},)")


def _tell_stray_words(column: RawColumn, most: int) -> None:
    """Says on stderr that words make a column of numbers one of words; with the row of the first of them.

    Raises `UserError` where most cells are numbers, of more than `most` different values.
    """
    words = [n for n, cell in zip(column.rows, column.values, strict=True) if not is_number(cell)]
    num = len(column.values)
    if not words or 2 * len(words) >= num:
        return
    others = f" and {len(words) - 1} more words" if len(words) > 1 else ""
    first, name = words[0], column.name
    where = f"{column.places[first]} holds {column.cells[first]!r} in the column {name!r}{others} among "
    where += f"{num - len(words)} numbers"
    remedy, as_words = "where such a cell has no value, add it to missing_cells", f"kinds=('{name}:tokens',)"
    if len(column.different) > most:
        raise UserError(
            f"{where}, of too many different values to be words: {remedy}; else give the row a number, or keep them as "
            f"words with mixed=True and {as_words}"
        )
    say_once(f"{where}, so all of them are words without an order: {remedy}; {as_words} says it is meant")
