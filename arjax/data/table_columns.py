"""Columns of tables: from cells to real values or levels, and back to cells."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Collection, Sequence
from decimal import Decimal

import numpy as np

from arjax.core.errors import UserError
from arjax.core.output import say_once
from arjax.core.spec import EventSpec
from arjax.data.table_files import Cells, is_number

#: From here on float64 does not tell all whole numbers apart.
FIRST_MERGED = 2**53
_WHOLE = re.compile(r"[+-]?\d+(\.0*)?")


def exact_numbers(cells: Sequence[str]) -> np.ndarray:
    """Numbers of cells that sort and compare as they are written: float64[N] where it holds them, else decimals."""
    numbers = np.array(cells, np.float64)
    if not len(numbers) or np.abs(numbers).max() < FIRST_MERGED:
        return numbers
    return np.array([Decimal(cell) for cell in cells], object)


def check_no_identifiers(name: str, cells: Sequence[str], most_levels: int) -> None:
    """Raises `UserError` where the cells of a column that has no stated kind name the rows.

    These are whole numbers from 2**53 on, another one in each row or some that float64 does not tell apart, and words
    of which each row has another one, more than `most_levels` of them.
    """
    different = set(cells)
    if numbers := _large_numbers(different):
        is_other = len(different) == len(cells) and min(map(abs, numbers)) >= FIRST_MERGED
        if is_other or _merges(numbers):
            raise _identifiers(name, f"whole numbers such as {max(numbers, key=abs)}, above the 2**53 of float64")
    elif len(different) == len(cells) > most_levels and not all(map(is_number, different)):
        raise _identifiers(name, f"another word in each row, such as {cells[0]!r}")


def check_told_apart(name: str, cells: Collection[str]) -> None:
    """Raises `UserError` where float64 does not tell apart whole numbers of a column that is stated to be real."""
    numbers = _large_numbers(set(cells))
    if _merges(numbers):
        raise UserError(
            f"the column {name!r} of the table holds whole numbers such as {max(numbers, key=abs)}, which float64 does "
            f"not tell apart from 2**53 on: give them in other units, or as words with kinds=('{name}:tokens',)"
        )


def tell_row_numbers(name: str, cells: Sequence[str], most_levels: int) -> None:
    """Says on stderr that the cells of a file, from its first row to its last, count its rows from 0 or 1."""
    begins = len(cells) > most_levels and cells[0] in ("0", "1")
    if begins and all(cell == str(n) for n, cell in enumerate(cells, int(cells[0]))):
        say_once(f"the column {name!r} of the table counts its rows: leave it out with skip=({name!r},)")


def _large_numbers(different: set[str]) -> set[int]:
    """The numbers of cells that are all whole numbers, of which some are from 2**53 on; else none."""
    if not all(map(_WHOLE.fullmatch, different)):
        return set()
    numbers = {int(cell.partition(".")[0]) for cell in different}
    return numbers if numbers and max(map(abs, numbers)) >= FIRST_MERGED else set()


def _merges(numbers: set[int]) -> bool:
    return len(set(map(float, numbers))) < len(numbers)


def _identifiers(name: str, found: str) -> UserError:
    return UserError(
        f"the column {name!r} of the table holds identifiers, {found}, of which there is nothing to learn: leave it "
        f"out with skip=({name!r},), or keep it as words with mixed=True and kinds=('{name}:tokens',)"
    )


def tell_stray_words(name: str, cells: Sequence[str], places: Sequence[str], most: int) -> None:
    """Says on stderr that words make a column of numbers one of words; with the row of the first of them.

    Args:
      name: of the column.
      cells: those that have a value.
      places: of their rows, such as "row 3 of the table 'my.csv'".
      most: the most different words that such a column may hold.

    Raises:
      UserError: most cells are numbers, of more different values.
    """
    words = [k for k, cell in enumerate(cells) if not is_number(cell)]
    if not words or 2 * len(words) >= len(cells):
        return
    others = f" and {len(words) - 1} more words" if len(words) > 1 else ""
    where = f"{places[words[0]]} holds {cells[words[0]]!r} in the column {name!r}{others} among "
    where += f"{len(cells) - len(words)} numbers"
    remedy = "where such a cell has no value, add it to missing_cells"
    if len(set(cells)) > most:
        raise UserError(
            f"{where}, of too many different values to be words: {remedy}; else give the row a number, or keep them as "
            f"words with mixed=True and kinds=('{name}:tokens',)"
        )
    say_once(f"{where}, so all of them are words without an order: {remedy}; kinds=('{name}:tokens',) says it is meant")


LARGEST = float(np.finfo(np.float32).max)
KINDS = ("binary", "levels", "tokens", "real")


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
      name: its name.
      spec: kind and number of levels of its values.
      values: float64[N] of a real column; integers from 0 otherwise.
      words: the meaning of each level; () for a real column.
    """

    name: str
    spec: EventSpec
    values: np.ndarray
    words: tuple[str, ...] = ()

    def text(self, values: np.ndarray) -> list[str]:
        """Values in data units as cells; a level that no row has is written as its number.

        Real values get seven digits of their spread: more where they vary little around a large number.
        """
        if not self.words:
            digits = self._digits
            return [f"{value:.{digits}g}" for value in values]
        return [self.words[v] if v < len(self.words) else f"level {v}" for v in np.asarray(values).round().astype(int)]

    @property
    def _digits(self) -> int:
        """Significant digits of a real value, 7 to 17."""
        largest, spread = np.abs(self.values).max(), self.values.std()
        return 7 + int(np.clip(np.log10(largest / spread), 0, 10)) if largest and spread else 7


def to_cells(columns: Sequence[Column]) -> Callable[[np.ndarray], list[list[str]]]:
    """The function that makes rows of cells of examples [N, D] in data units, the names of the columns first."""

    def write(x_ND: np.ndarray) -> list[list[str]]:
        texts = [column.text(values) for column, values in zip(columns, np.asarray(x_ND).T, strict=True)]
        return [[column.name for column in columns], *map(list, zip(*texts, strict=True))]

    return write


@dataclasses.dataclass(frozen=True)
class Rule:
    """The options of the data set `table` for columns.

    Attributes:
      levels: V for all columns, or 0.
      mixed: whether each has its own kind.
      stated: given kinds, by the numbers of their columns.
      most_levels: whole numbers of more different values are real.
      missing: "refuse" or "level".
      missing_cells: cells without a value.
      train: the rows of the train split.
    """

    levels: int
    mixed: bool
    stated: dict[int, str]
    most_levels: int
    missing: str
    missing_cells: tuple[str, ...]
    train: np.ndarray


def make_column(cells: Cells, i: int, rule: Rule) -> Column:
    """The column of that number.

    Raises:
      UserError: a cell without a value that is refused, or cells that are not of the kind of the column.
    """
    name, own = cells.names[i], cells.column(i)
    gap = np.isin(own, np.array(rule.missing_cells, str))
    if i not in rule.stated:
        _tell_doubts(cells, i, gap, rule)
    kind = _kind(own, gap, rule, i)
    if gap.any() and (rule.missing == "refuse" or kind == "real"):
        where = f"{cells.places[int(gap.argmax())]} has no value ({own[int(gap.argmax())]!r}) in the column {name!r}"
        if rule.missing == "level":
            raise UserError(f"{where}, which is real and has no level for it: fill it in, or leave the column out")
        raise UserError(
            f"{where}: fill it in, leave the column out with `skip`, or give missing='level', which makes a level "
            "of it in discrete columns; missing_cells has the texts of cells without a value"
        )
    if kind == "real":
        column = Column(name, EventSpec((), (), "real"), _numbers(name, own))
        check_told_apart(name, own)
        return column
    as_words = rule.stated.get(i) == "tokens"
    return level_column(name, own, gap, rule) if rule.levels else own_column(name, own, gap, kind, as_words)


def _tell_doubts(cells: Cells, i: int, gap: np.ndarray, rule: Rule) -> None:
    """Says or refuses that a column without a stated kind is not what it looks like."""
    there, own = np.flatnonzero(~gap), cells.column(i)
    name, words = cells.names[i], [own[n] for n in there]
    if rule.levels or rule.mixed:  # else a word is refused as no number
        tell_stray_words(name, words, [cells.places[n] for n in there], rule.levels or rule.most_levels)
    check_no_identifiers(name, words, rule.most_levels)
    tell_row_numbers(name, own[: cells.sizes[0]], rule.most_levels)


def _kind(own: list[str], gap: np.ndarray, rule: Rule, i: int) -> str:
    """The kind of a column: as stated, that of all columns, or one that its cells have."""
    if not rule.mixed:
        return "levels" if rule.levels else "real"
    if i in rule.stated:
        return rule.stated[i]
    there = {cell for cell, is_gap in zip(own, gap, strict=True) if not is_gap}
    numeric = all(map(is_number, there))
    num = len(set(exact_numbers(sorted(there)).tolist())) if numeric else len(there)
    if num <= 2:
        return "binary"
    if not numeric:
        return "tokens"
    return "levels" if num <= rule.most_levels and all(float(cell).is_integer() for cell in there) else "real"


def level_column(name: str, cells: list[str], gap: np.ndarray, rule: Rule) -> Column:
    """At most V integers: places of words or numbers, or parts of many numbers with equally many train rows. Cells
    without a value, bool[N], are the level after them.
    """
    levels = rule.levels
    places, words = _places(name, cells, gap)
    if len(words) > levels:
        if not all(map(is_number, words)):
            raise UserError(
                f"the column {name!r} of the table holds {len(words)} different words, above levels={levels}"
            )
        there = np.flatnonzero(~gap)
        values = np.full(len(cells), np.nan)
        values[there] = _numbers(name, [cells[n] for n in there])
        cuts = np.nanquantile(values[rule.train], np.arange(1, levels) / levels)
        places, words = np.searchsorted(cuts, values, side="right"), _parts(cuts)
    if not gap.any():
        return Column(name, EventSpec((), (), "levels" if levels > 2 else "binary", levels), places, words)
    words = (*words, *(f"level {v}" for v in range(len(words), levels)), "")
    return Column(name, EventSpec((), (), "tokens", levels + 1), np.where(gap, levels, places), words)


def own_column(name: str, cells: list[str], gap: np.ndarray, kind: str, as_words: bool = False) -> Column:
    """A discrete column with a level for each different value, and one more for cells without a value, bool[N].

    `as_words`: cells are other values where they are written otherwise, such as 7 and 007.

    Raises:
      UserError: one value in all rows, or a binary column of more than two.
    """
    places, words = _places(name, cells, gap, as_words)
    if gap.any():  # without a place in the order of the others
        kind = "tokens"
        places, words = np.where(gap, len(words), places), (*words, "")
    num = len(words)
    if num < 2:
        raise UserError(f"the column {name!r} of the table holds one value in all rows: leave it out with `skip`")
    if kind == "binary" and num > 2:
        raise UserError(f"the column {name!r} of the table holds {num} different values: it is not binary")
    return Column(name, EventSpec((), (), "binary" if num == 2 else kind, num), places, words)


def _places(name: str, cells: list[str], gap: np.ndarray, as_words: bool = False) -> tuple[np.ndarray, tuple[str, ...]]:
    """The place of each cell among the different values, int[N], 0 where it is missing; and a cell of each value."""
    there = np.flatnonzero(~gap)
    own = [cells[i] for i in there]
    are_numbers = not as_words and all(map(is_number, own))
    if are_numbers:
        _numbers(name, own)  # checks them
    keys = exact_numbers(own) if are_numbers else np.array(own)
    _, first, place = np.unique(keys, return_index=True, return_inverse=True)
    places = np.zeros(len(cells), np.int64)
    places[there] = place
    return places, tuple(own[i] for i in first)


def _parts(cuts: np.ndarray) -> tuple[str, ...]:
    """The intervals between cuts, in words."""
    between = [f"{low:.6g} to {high:.6g}" for low, high in itertools.pairwise(cuts)]
    return (f"below {cuts[0]:.6g}", *between, f"from {cuts[-1]:.6g}")


def _numbers(name: str, cells: list[str]) -> np.ndarray:
    """float64[N]; raises `UserError` at the first cell that is no number, or too large for float32."""
    for cell in cells:
        if not is_number(cell) or not abs(float(cell)) <= LARGEST:
            raise UserError(
                f"the column {name!r} of the table holds {cell!r}, which is no finite number of float32: leave it out "
                "with `skip`, write it as numbers, or take mixed=True, with which each column has its own kind, or "
                "`levels`, which makes integers of all"
            )
    return np.array(cells, np.float64)
