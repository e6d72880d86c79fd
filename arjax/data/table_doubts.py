"""Columns of tables that are not what they look like: identifiers, and numbers with a stray word among them."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from decimal import Decimal

import numpy as np

from arjax.core.errors import UserError
from arjax.core.output import say_once
from arjax.data.table_files import is_number

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
