"""Tables of yours: a csv file, one example per row and one site per column, as real values or as levels."""

from __future__ import annotations

import csv
import numbers
from pathlib import Path

import numpy as np

from arjax.core.errors import UserError
from arjax.core.integers import is_integer
from arjax.core.paths import user_path
from arjax.core.spec import EventSpec
from arjax.data.base import DATASETS, Dataset, from_arrays
from arjax.data.vectors import standardised

LARGEST = float(np.finfo(np.float32).max)
SPLITS = ("train", "validation", "test")


@DATASETS.register("table")
def table(
    *,
    path: str = "",
    header: bool = True,
    columns: tuple = (),
    delimiter: str = ",",
    validation: float = 0.1,
    test: float = 0.1,
    split_seed: int = 0,
    standardise: bool = True,
    levels: int = 0,
    binary_as_real: bool = False,
) -> Dataset:
    """A csv file: numbers, or with `levels` numbers and words.

    Args:
      path: the file.
      header: whether its first row holds the names of the columns.
      columns: those to take and their order, by name or by number from 0; () for all.
      delimiter: between cells.
      validation: part of the rows for the validation split; likewise `test`. Rows that stand in the table twice may
        end up in two splits.
      split_seed: of the permutation of the rows that is cut into splits.
      standardise: real columns get mean 0 and standard deviation 1 on the train split for the network; likelihoods and
        samples stay in data units. False: the network sees the numbers as they are.
      levels: 0 for real values. Else V: every column becomes integers 0 to V - 1, of words their alphabetical place
        (at most V of them), of numbers of at most V different values the place of the value, of other numbers
        which of V parts they lie in, cut where equally many train rows would lie in each (with ties, not all do).
        Which words and values there are is read off all rows. Likelihoods are then those of the levels.
      binary_as_real: real columns may hold nothing but 0 and 1. A density on two points has no meaning (it can be made
        as high as one likes), so such columns are refused unless this says that they are meant.

    Raises:
      UserError: no file, no table, a cell that is not what it should be, or splits without a row.
    """
    names, rows = _read(path, delimiter, header)
    chosen = _chosen(columns, names)
    cells = [[row[i] for row in rows] for i in chosen]
    names = [names[i] for i in chosen]
    parts = _split(len(rows), validation, test, split_seed)
    name = f"table/{Path(path).stem}"
    if not is_integer(levels) or levels < 0 or levels == 1:
        raise UserError(f"levels of a table must be 0 (real values) or a whole number above 1, not {levels!r}")
    if levels:
        return _table_of_levels(name, names, cells, levels, parts)
    x = np.stack([_numbers(*column) for column in zip(names, cells, strict=True)], 1)
    if not binary_as_real:
        _check_not_binary(path, names, x)
    splits = {split: x[part] for split, part in parts.items()}
    if standardise:
        return standardised(name, splits, names)
    return from_arrays(EventSpec((len(names),), kind="real", num_levels=0), name=name, **splits)


def _table_of_levels(
    name: str, names: list[str], cells: list[list[str]], levels: int, parts: dict[str, np.ndarray]
) -> Dataset:
    """The table with each column as integers 0 to `levels` - 1."""
    x = np.stack([_levels(*column, levels, parts["train"]) for column in zip(names, cells, strict=True)], 1)
    event = EventSpec((len(names),), kind="levels" if levels > 2 else "binary", num_levels=levels)
    return from_arrays(event, name=name, **{split: x[part] for split, part in parts.items()})


def _read(path: str, delimiter: str, header: bool) -> tuple[list[str], list[list[str]]]:
    """Names of the columns and the rows, all of one length; without a header the names are "0", "1", ..."""
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
    if header and rows and all(map(_is_number, rows[0])):
        raise UserError(f"the first row of the table {path!r} holds numbers, not names: give header=False")
    names = rows[0] if header and rows else list(map(str, range(len(rows[0]) if rows else 0)))
    rows = rows[1:] if header else rows
    if len(set(names)) < len(names):
        raise UserError(f"two columns of the table {path!r} have the same name: rename one, or give header=False")
    if len(rows) < len(SPLITS):
        raise UserError(f"the table {path!r} needs three rows or more, one for each split, but has {len(rows)}")
    for number, row in enumerate(rows, 2 if header else 1):
        if len(row) != len(names):
            raise UserError(f"row {number} of the table {path!r} has {len(row)} cells, but the first has {len(names)}")
    return names, rows


def _cells(path: Path, delimiter: str) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return [[cell.strip() for cell in row] for row in csv.reader(file, delimiter=delimiter) if row]


def _other_delimiter(path: Path, delimiter: str) -> str:
    """The first usual delimiter that cuts all rows into equally many cells, more than one; "" for none."""
    for other in (",", ";", "\t", "|", " "):
        rows = _cells(path, other) if other != delimiter else []
        are_words = other == " " and rows and not all(map(_is_number, rows[-1]))  # several words may be one cell
        if len({len(row) for row in rows}) == 1 and len(rows[0]) > 1 and not are_words:
            return other
    return ""


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _chosen(columns: tuple, names: list[str]) -> list[int]:
    """The numbers of the columns to take, in their order."""
    if not isinstance(columns, tuple | list):
        raise UserError(f"columns of a table must be a list of names or numbers, not {columns!r}")
    chosen = [_index(column, names) for column in columns] or list(range(len(names)))
    if len(set(chosen)) < len(chosen):
        raise UserError(f"columns of a table names one of them twice: {tuple(columns)!r}")
    return chosen


def _index(column: str | int, names: list[str]) -> int:
    if isinstance(column, str) and column in names:
        return names.index(column)
    if is_integer(column) and 0 <= column < len(names):
        return int(column)
    raise UserError(f"the table has no column {column!r}; there are: {', '.join(names)}")


def _numbers(name: str, cells: list[str]) -> np.ndarray:
    """float64[N]; raises `UserError` at the first cell that is no number, or too large for float32."""
    for cell in cells:
        if not _is_number(cell) or not abs(float(cell)) <= LARGEST:
            raise UserError(
                f"the column {name!r} of the table holds {cell!r}, which is no finite number of float32: leave it "
                "out with `columns`, write it as numbers, or take `levels`, which makes integers of all columns"
            )
    return np.array(cells, np.float64)


def _check_not_binary(path: str, names: list[str], x: np.ndarray) -> None:
    """Raises `UserError` where columns of real values hold nothing but 0 and 1."""
    binary = [name for name, column in zip(names, x.T, strict=True) if np.array_equal(np.unique(column), (0, 1))]
    meant = "binary_as_real=True if densities of them are meant all the same"
    if binary and len(binary) == len(names):
        raise UserError(f"the table {path!r} is binary, all of it is 0 or 1: give levels=2, or {meant}")
    if binary:
        some = ", ".join(map(repr, binary[:5])) + (" and others" if len(binary) > 5 else "")
        raise UserError(
            f"columns of the table hold nothing but 0 and 1, on which a density has no meaning ({some}): leave them "
            f"out with `columns`, take `levels`, which makes integers of all columns, or give {meant}"
        )


def _levels(name: str, cells: list[str], levels: int, train: np.ndarray) -> np.ndarray:
    """int64[N] from 0 to `levels` - 1."""
    is_numeric = all(map(_is_number, cells))
    column = _numbers(name, cells) if is_numeric else np.array(cells)
    values, places = np.unique(column, return_inverse=True)
    if len(values) <= levels:
        return places
    if not is_numeric:
        raise UserError(f"the column {name!r} of the table holds {len(values)} different words, above levels={levels}")
    cuts = np.quantile(column[train], np.arange(1, levels) / levels)
    return np.searchsorted(cuts, column, side="right")


def _split(num: int, validation: float, test: float, seed: int) -> dict[str, np.ndarray]:
    """Which rows are in each split, int[N_split]."""
    if not is_integer(seed) or seed < 0:
        raise UserError(f"split_seed of a table must be a whole number, at least 0, not {seed!r}")
    sizes = {}
    for split, part in (("validation", validation), ("test", test)):
        if isinstance(part, bool) or not isinstance(part, numbers.Real) or not 0 < part < 1:
            raise UserError(f"the part of the rows for {split} must be between 0 and 1, not {part!r}")
        sizes[split] = max(1, round(part * num))
    rest = num - sum(sizes.values())
    if rest < 1:
        raise UserError(f"no rows are left to train on: validation={validation} and test={test} take all {num}")
    rows = np.random.default_rng(seed).permutation(num)
    return dict(zip(SPLITS, np.split(rows, [rest, rest + sizes["validation"]]), strict=True))
