"""Finding the columns of a table: the kind of each by its values, its words or its codes, and why it is left out."""

from __future__ import annotations

import collections
import datetime
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from arjax.core.errors import UserError, did_you_mean
from arjax.data.table_files import as_text, is_number
from arjax.tables.columns import Numbers, Words, as_numbers, items_of

#: Different numbers up to which each may have a code, where there are a hundred times as many rows.
_MOST_ALONE = 256
#: Decimals up to which numbers are taken as rounded.
_MOST_DECIMALS = 6
#: Larger numbers are taken as real: in float64 their neighbours are as far from them as whole numbers.
_MOST_STEPS = 2.0**50
#: What a user may say of a column.
KINDS = ("words", "numbers", "date", "skip")
#: A column with another word in each of more rows than these names them.
_FEW_ROWS = 20
_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?")
#: Numbers with separators of thousands or a decimal comma.
_WITH_COMMAS = re.compile(r"[+-]?\d+(,\d+)+(\.\d*)?|[+-]?\d{1,3}(\.\d{3})+,\d+")


def find_columns(
    values: Mapping[str, np.ndarray],
    kinds: Mapping[str, str],
    most_codes: int,
    rows: np.ndarray | None = None,
    tell: Callable[[Words | Numbers], None] = lambda column: None,
) -> tuple[list[Words | Numbers], dict[str, str]]:
    """The columns of a table that are modelled, and the reasons of those that are not, by their names.

    Args:
      values: of each column, as in `arjax.data.frames.Frame`.
      rows: the numbers of the train rows, which have the codes; None: all.
      kinds: "words", "numbers", "date" or "skip" of single columns, in place of what their values say.
      most_codes: of a column of numbers.
      tell: is called with each column as soon as it is found.

    Raises:
      UserError: a kind that there is not, of a column that there is not; words among numbers.
    """
    for name, kind in kinds.items():
        if name not in values:
            hint = did_you_mean(str(name), list(values))
            raise UserError(f"kinds names the column {name!r}, which is not there{hint}")
        if kind not in KINDS:
            hint = did_you_mean(kind, KINDS)
            raise UserError(f"the kind of a column is one of {', '.join(KINDS)}, not {kind!r}{hint}")
    columns: list[Words | Numbers] = []
    left_out: dict[str, str] = {}
    for name, column in values.items():
        kind = kinds.get(name, "")
        from_numbers = _has_numbers(column)
        column = column if kind == "skip" else _of_kind(name, column, kind)
        train = column if rows is None else column[rows]
        reason = "it is skipped" if kind == "skip" else _reason_against(column, kind) or _reason_against(train, "any")
        if reason:
            left_out[name] = reason
        else:
            columns.append(_find_column(name, train, column, most_codes, from_numbers))
            tell(columns[-1])
    if not columns:
        raise UserError(
            "no column of the table is left to model: " + "; ".join(f"{k}: {v}" for k, v in left_out.items())
        )
    return columns, left_out


def _of_kind(name: str, values: np.ndarray, kind: str) -> np.ndarray:
    """The values of a column as its kind has them: words as object, numbers as float64 or int64, dates as datetime64.
    Raises `UserError` at the first value of another kind.
    """
    if values.dtype == object:
        _check_values(name, values)
        if not kind:
            _check_stray(name, values)
            kind = "date" if len(_known(values)) and all(map(_is_date, _known(values).tolist())) else "words"
    if kind == "words":
        return as_texts(values)
    if kind == "date" and values.dtype.kind != "M":
        return as_numbers(name, values, "us").astype("datetime64[us]")
    if kind == "numbers" or values.dtype.kind in "iuf":
        return as_numbers(name, values) if values.dtype.kind not in "iu" else values
    if values.dtype.kind == "M":
        as_numbers(name, values, "us")  # refuses years that Python does not have
    return values


def _reason_against(values: np.ndarray, kind: str) -> str:
    """Why a column cannot be modelled; "" where it can."""
    known = _known(values)
    if not len(known):
        return "it has no value in any row"
    if values.dtype.kind == "M":  # times are known to the second
        known = known.astype("datetime64[s]")
    if (known == known[0]).all():
        return f"it holds {_shown(known[0])} in all rows"
    if kind or len(known) <= _FEW_ROWS:
        return ""
    if values.dtype == object and len(set(known.tolist())) == len(known):
        return f"it names the rows, with another word in each, such as {known[0]!r}"
    if values.dtype.kind in "if" and (np.diff(known) == 1).all():
        return "it counts the rows"
    return ""


def _find_column(
    name: str, values: np.ndarray, every: np.ndarray, most_codes: int, from_numbers: bool
) -> Words | Numbers:
    """The column of train values, and of those of every row, as `_of_kind` returns them: a word or a time of day that
    only validation rows have is known, too, so that the table itself can be completed.
    """
    if values.dtype == object:
        return make_words(name, values.tolist(), every.tolist(), from_numbers)
    if values.dtype.kind == "M":
        unit = _unit_of(_known(every))
        return make_numbers(name, as_numbers(name, values, unit), most_codes, date=unit)
    known = _known(values)
    is_int = bool((known == np.round(known)).all() and np.abs(known).max() <= _MOST_STEPS)
    return make_numbers(name, as_numbers(name, values), most_codes, is_int=is_int)


def make_words(name: str, values: Iterable[Any], others: Iterable[Any] = (), from_numbers: bool = False) -> Words:
    """The column of these values of the train rows, None without one; and of those that only other rows have."""
    counts: dict[Any, int] = collections.Counter(values)
    for value in dict.fromkeys(others):
        counts.setdefault(value, 0)
    counts.pop(None, None)
    order = sorted(counts, key=lambda word: (-counts[word], str(word)))
    return Words(name, tuple(order), tuple(counts[word] for word in order), from_numbers)


def make_numbers(name: str, cells: np.ndarray, most_codes: int, date: str = "", is_int: bool = False) -> Numbers:
    """The column of numbers float64[N] (nan without a value) with at most about `most_codes` codes.

    Of few different numbers, each has a code. Else a number that is at least as frequent as a code has to be has one of
    its own, and the others are cut into intervals of about equally many rows.
    """
    known = np.sort(cells[~np.isnan(cells)])
    step = 1.0 if is_int or date else _step_of(known)
    different, counts = np.unique(known, return_counts=True)
    quarter = np.quantile(known, [0.25, 0.5, 0.75])
    spread = float(max(quarter[2] - quarter[0], step, 1e-6 * (different[-1] - different[0]), 1e-200)) / 2
    about: dict[str, Any] = {
        "centre": float(quarter[1]),
        "spread": spread,
        "num_rows": len(known),
        "date": date,
        "is_int": is_int,
        "is_counted": step == 1,
    }
    num_grid = (different[-1] - different[0]) / step + 1 if step else math.inf
    if step and num_grid <= min(2 * len(different), most_codes):
        grid = different[0] + step * np.arange(round(num_grid))
        return Numbers(name, step, tuple(grid.tolist()), tuple(grid.tolist()), **about)
    few = max(most_codes, min(_MOST_ALONE, len(known) // 100))
    if len(different) <= few and (step or len(different) <= len(known) / 4):
        ends = tuple(different.tolist())
        return Numbers(name, step or _finest(different), ends, ends, **about)
    low, high = _intervals(different, counts, len(known) / most_codes)
    if step:
        return Numbers(name, step, tuple(low.tolist()), tuple(high.tolist()), **about)
    edges = np.unique(np.concatenate([low[:1], (high[:-1] + low[1:]) / 2, high[-1:]]))
    edges[-1] = np.nextafter(edges[-1], math.inf)
    return Numbers(name, 0.0, tuple(edges[:-1].tolist()), tuple(edges[1:].tolist()), **about)


def _intervals(different: np.ndarray, counts: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """First and last number of each code: frequent numbers alone, others together until they are `least` rows."""
    low: list[float] = []
    high: list[float] = []
    inside = 0.0
    for number, count in zip(different.tolist(), counts.tolist(), strict=True):
        if count >= least or not low or inside >= least:
            low.append(number)
            high.append(number)
            inside = math.inf if count >= least else count
        else:
            high[-1] = number
            inside += count
    return np.array(low), np.array(high)


def _step_of(known: np.ndarray) -> float:
    """The largest power of ten, from 1 down, of which all sorted numbers are multiples; 0 for none.

    Numbers may have the rounding of float32, which is the same for equal numbers: two that differ by more than the
    rounding of float64 are not the same multiple.
    """
    for decimals in range(_MOST_DECIMALS + 1):
        scaled = known * 10.0**decimals
        if np.abs(scaled).max() > _MOST_STEPS:
            return 0.0
        whole, least = np.round(scaled), 1e-13 * np.abs(scaled).max()
        noise = np.minimum(1e-6 * np.abs(scaled) + least, 5e-5)
        apart = np.diff(whole) > 0
        if (np.abs(scaled - whole) <= noise).all() and (apart | (np.diff(scaled) <= least)).all():
            return 10.0**-decimals
    return 0.0


def _finest(different: np.ndarray) -> float:
    """A step for real numbers of which there are few: the smallest distance."""
    return float(np.diff(different).min()) if len(different) > 1 else 1.0


def as_texts(values: np.ndarray) -> np.ndarray:
    """Values as words, object[N], None without one: truth values alone stay as they are."""
    items = items_of(values)
    if values.dtype == object and set(map(type, items)) <= {str, type(None)}:
        return values
    if not all(v is None or isinstance(v, bool) for v in items):
        items = [None if v is None else as_text(v) for v in items]
    return np.fromiter(items, object, len(items))


def _known(values: np.ndarray) -> np.ndarray:
    if values.dtype == object:
        return np.array([value for value in values.tolist() if value is not None], object)
    if values.dtype.kind == "M":
        return values[~np.isnat(values)]
    return values[~np.isnan(values)] if values.dtype.kind == "f" else values


def _is_date(value: Any) -> bool:
    return isinstance(value, str) and _DATE.fullmatch(value) is not None


def _unit_of(known: np.ndarray) -> str:
    """The unit of time of dates: days where all are midnights, else seconds."""
    return "D" if (known.astype("datetime64[D]") == known).all() else "s"


def _has_numbers(values: np.ndarray) -> bool:
    """Whether any value is a number, and no text of one."""
    return values.dtype.kind in "iuf" or (
        values.dtype == object and not {int, float}.isdisjoint(map(type, values.tolist()))
    )


def _shown(value: Any) -> str:
    return (
        repr(value) if isinstance(value, str) else as_text(value.tolist() if isinstance(value, np.generic) else value)
    )


def _check_values(name: str, values: np.ndarray) -> None:
    """Raises `UserError` at the first value that is no word, number, truth value or date."""
    fine = (str, bool, int, float, datetime.date, type(None))
    if all(issubclass(kind, fine) for kind in set(map(type, values.tolist()))):
        return
    for row, value in enumerate(values.tolist()):
        if not isinstance(value, fine):
            raise UserError(
                f"row {row} has {value!r} in the column {name!r}, which is no word, number, truth value or date: "
                f"kinds={{{name!r}: 'skip'}} leaves the column out"
            )


def _check_stray(name: str, values: np.ndarray) -> None:
    """Raises `UserError` where most values of a column of words are numbers, or all are numbers with commas."""
    known = _known(values)
    words = {value for value in known.tolist() if isinstance(value, str)}
    strays = {word for word in words if not is_number(word)}
    num = sum(map(strays.__contains__, known.tolist())) if strays else 0
    have_commas = bool(strays) and all(map(_WITH_COMMAS.fullmatch, strays))
    if have_commas or 0 < 2 * num < len(known):
        row, stray = next((n, value) for n, value in enumerate(values.tolist()) if value in strays)
        place = f"row {row} has {stray!r} in the column {name!r}, "
        if have_commas:
            raise UserError(
                f"{place}a number with a comma: numbers are written as 1234.5, or give kinds={{{name!r}: 'words'}}"
            )
        raise UserError(
            f"{place}in which {len(known) - num} others are numbers: name it in missing=(...) where such a cell has no "
            f"value, or give kinds={{{name!r}: 'words'}}"
        )
