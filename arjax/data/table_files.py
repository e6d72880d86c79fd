"""Files of tables: cells as text, the names of the columns, and the places of rows."""

from __future__ import annotations

import csv
import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from arjax.core.errors import UserError, did_you_mean
from arjax.core.files import digest_of, fingerprint_of, user_path
from arjax.core.options import is_integer

#: The texts of cells without a value.
NO_VALUE = ("", "?", "NA", "NaN", "nan")


@dataclasses.dataclass(frozen=True)
class Cells:
    """The names of the columns and the cells of the rows of one file or more.

    Attributes:
      numbers: of each row, as users count the lines of its file.
      places: of each row, such as "row 3 of the table 'my.csv'".
      sizes: the number of rows of each file.
      fingerprint: of the contents of all files.
    """

    names: list[str]
    rows: list[list[str]]
    numbers: list[int]
    places: list[str]
    sizes: tuple[int, ...]
    fingerprint: str

    def column(self, i: int) -> list[str]:
        """The cells of a column."""
        return [row[i] for row in self.rows]


def read_tables(paths: Sequence[str], delimiter: str, header: bool, least: int) -> Cells:
    """The rows of all files, one after another; each has at least `least` of them.

    Raises `UserError` for a file that cannot be read, is no table or too short, or files with different columns.
    """
    delimiter = {"spaces": " ", "tab": "\t"}.get(delimiter, delimiter)  # these are hard to write on a command line
    parts = [_read(path, delimiter, header, least) for path in paths]
    for path, (names, _) in zip(paths, parts, strict=True):
        if names != parts[0][0]:
            raise UserError(f"the table {path!r} has other columns than {paths[0]!r}: {', '.join(names)}")
    numbers, rows = (list(each) for each in zip(*(row for _, numbered in parts for row in numbered), strict=True))
    places = [f"row {n} of the table {path!r}" for path, (_, found) in zip(paths, parts, strict=True) for n, _ in found]
    fingerprint = fingerprint_of(digest_of(user_path(path)) for path in paths)
    sizes = tuple(len(found) for _, found in parts)
    return Cells(parts[0][0], rows, numbers, places, sizes, fingerprint)


def as_text(value: Any) -> str:
    """A value as the text of a cell: 7.0 as 7."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def is_number(cell: str) -> bool:
    """Whether a cell reads as a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def is_code(text: str) -> bool:
    """Whether a text of digits is no number: 007, or a whole number that float64 does not tell from others."""
    digits = text.lstrip("+-")
    return digits.isdigit() and ((len(digits) > 1 and digits[0] == "0") or len(digits) > 16 or int(digits) >= 2**53)


def chosen(columns: tuple, skip: tuple, names: list[str]) -> list[int]:
    """The numbers of the columns to take, in their order: all without `columns`, but for those to leave out."""
    found = {}
    for option, given in (("columns", columns), ("skip", skip)):
        found[option] = [index_of(column, names) for column in given]
        if len(set(found[option])) < len(found[option]):
            raise UserError(f"{option} of a table names one of them twice: {tuple(given)!r}")
    if columns and skip:
        raise UserError("columns of a table are those to take, and skip those to leave out: give one of the two")
    left = [i for i in range(len(names)) if i not in found["skip"]]
    if not left:
        raise UserError("skip of a table leaves no column")
    return found["columns"] or left


def index_of(column: str | int, names: list[str]) -> int:
    """The number of a column that is given by its name or its number."""
    if isinstance(column, str) and column in names:
        return names.index(column)
    if not isinstance(column, str) and is_integer(column) and 0 <= column < len(names):
        return int(column)
    hint = did_you_mean(str(column), names, f"; there are: {', '.join(names)}")
    raise UserError(f"the table has no column {column!r}{hint}")


def _read(path: str, delimiter: str, header: bool, least: int) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Names of the columns and the rows with their numbers; without a header the names are "0", "1", ..."""
    if not path:
        raise UserError("the data set 'table' needs a csv file: give its path, such as config.dataset.path=my.csv")
    if len(delimiter) != 1:
        raise UserError(f"the delimiter of a table must be one character, not {delimiter!r}")
    file = user_path(path)
    try:
        rows = _cells(file, delimiter)
        better = _other_delimiter(file, delimiter) if rows and len(rows[0]) == 1 else ""
    except (OSError, ValueError, csv.Error) as error:  # ValueError: bytes that are no text, or no delimiter
        raise UserError(f"cannot read the table {path!r}: {error}") from error
    if better:
        raise UserError(f"the table {path!r} has one column when cut at {delimiter!r}: give delimiter={better!r}")
    first = rows[0] if rows else []
    if header and first and all(map(is_number, first)):
        if len(set(first)) == len(first):
            raise UserError(f"the first row of the table {path!r} holds numbers, not names: give header=False")
        header = False  # a number stands twice: it is an example, as in binary tables
    names, rows = (first, rows[1:]) if header else (list(map(str, range(len(first)))), rows)
    if len(set(names)) < len(names):
        raise UserError(f"two columns of the table {path!r} have the same name: rename one, or give header=False")
    if len(rows) < least:
        why = "three rows or more, one for each split" if least > 1 else "a row or more"
        raise UserError(f"the table {path!r} needs {why}, but has {len(rows)}")
    numbered = list(enumerate(rows, 2 if header else 1))
    for number, row in numbered:
        if len(row) != len(names):
            raise UserError(f"row {number} of the table {path!r} has {len(row)} cells, but the first has {len(names)}")
    return names, numbered


def _cells(path: Path, delimiter: str) -> list[list[str]]:
    """The cells of each row that is not empty; a run of spaces cuts once, and those at the ends of a line do not."""
    aligned = delimiter == " "
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = (line.strip() + "\n" for line in file) if aligned else file
        rows = csv.reader(lines, delimiter=delimiter, skipinitialspace=aligned)
        return [[cell.strip() for cell in row] for row in rows if row]


def _other_delimiter(path: Path, delimiter: str) -> str:
    """The first usual delimiter that cuts all rows into equally many cells, more than one; "" for none."""
    for other in (",", ";", "\t", "|", " "):
        rows = _cells(path, other) if other != delimiter else []
        cells = list(itertools.chain.from_iterable(rows[1:]))  # several words may be one cell
        are_words = other == " " and not (cells and all(map(is_number, cells)))
        if len({len(row) for row in rows}) == 1 and len(rows[0]) > 1 and not are_words:
            return other
    return ""
