"""Columns of a table as codes: what a column holds, the code of each value, and the values of each code.

A model of tables predicts a code for each cell: a word, a number that is frequent, or an interval of numbers. Within an
interval all numbers are equally probable.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import functools
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import numpy as np

from arjax.core.errors import UserError
from arjax.core.registry import did_you_mean
from arjax.data.table_files import as_text, is_code, is_number

#: Different numbers up to which each may have a code, where there are a hundred times as many rows.
_MOST_ALONE = 256
#: The code of a cell without a value.
MISSING = -1
#: Decimals up to which numbers are taken as rounded.
_MOST_DECIMALS = 6
#: Larger numbers are taken as real: in float64 their neighbours are as far from them as whole numbers.
_MOST_STEPS = 2.0**50
#: A condition on a column: one value, a set of values, or a range (low, high) of numbers, None for no end.
Condition = Any


class Column(Protocol):
    """A column and its codes 0, ..., V - 1.

    Cells are float64: numbers as they are, words by their numbers, nan without a value.

    Attributes:
      name: as in the frame.
      num_codes: V.
    """

    @property
    def name(self) -> str: ...

    @property
    def num_codes(self) -> int: ...

    def cells(self, values: np.ndarray, unseen: str = "refuse") -> np.ndarray:
        """Values of a frame (object[N], None without a value) as cells, float64[N].

        `unseen`: "refuse" values that the column cannot have, or take them as "missing".
        """

    def values(self, cells: np.ndarray) -> np.ndarray:
        """Cells as values of a frame, object[N], None where there is none."""

    def codes(self, cells: np.ndarray) -> np.ndarray:
        """The codes of cells, int[N]: the nearest for a number that no code has, MISSING without a value."""

    def log_within(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """log p(value | code) in nats, float64[N], 0 without a value; and whether the value has a code, bool[N]: that
        of another number is its log-probability, whatever the code.
        """

    def draw(self, codes: np.ndarray, rng: np.random.Generator, condition: Condition = None) -> np.ndarray:
        """Cells with these codes, float64[N], that fulfil a condition; None: no condition."""

    def weights(self, condition: Condition) -> np.ndarray:
        """The part of each code that a condition allows, float64[V] in [0, 1]; raises `UserError` for a condition that
        the column cannot have.
        """

    @property
    def labels(self) -> tuple[str, ...]:
        """The codes in words, V of them."""

    def in_words(self) -> str:
        """The column in a line."""

    def described(self) -> dict[str, Any]:
        """The column as JSON, which `arjax.tables.saving` reads."""


@dataclasses.dataclass(frozen=True)
class Words:
    """A column of words or truth values, in which each different one is a code.

    Attributes:
      words: the values, the most frequent first.
      frequencies: how often each was there in training; 0 for words of validation rows alone.
      from_numbers: whether the training table had numbers in this column: then the text of a number is its word,
        however it is written. Else texts are words as they are, and 1.10 is not 1.1.
    """

    name: str
    words: tuple[str | bool, ...]
    frequencies: tuple[int, ...]
    from_numbers: bool = False

    @property
    def num_codes(self) -> int:
        return len(self.words)

    def cells(self, values: np.ndarray, unseen: str = "refuse") -> np.ndarray:
        items = _items(values)
        places = {text: self._place(text) for text in {item for item in items if type(item) is str}}
        cells = np.array(
            [np.nan if item is None else places[item] if type(item) is str else self._place(item) for item in items],
            np.float64,
        )
        if (cells == -1).any():
            row = int((cells == -1).argmax())
            if unseen == "refuse":
                text = as_text(items[row])
                hint = did_you_mean(text, self.labels)
                raise UserError(
                    f"row {row} has {text!r} in the column {self.name!r}, which training never saw{hint}: with "
                    "unknown='missing' such a cell counts as one without a value"
                )
            cells[cells == -1] = np.nan
        return cells

    def _place(self, value: Any) -> int:
        """The number of the word that a value is, -1 for none: the one that is written in the same way; of a number,
        else, the only one that reads as this number.
        """
        by_text, by_number = self._places
        for text in _spellings(value):
            if text in by_text:
                return by_text[text]
        if isinstance(value, str) and not self.from_numbers:
            return -1
        number = _number_of(as_text(value))
        return -1 if number is None else by_number.get(number, -1)

    @functools.cached_property
    def _places(self) -> tuple[dict[str, int], dict[float, int]]:
        """The numbers of the words by their texts, and by the number that no other word reads as."""
        by_text = {str(word): i for i, word in enumerate(self.words)}
        numbers = {text: _number_of(text) for text in by_text}
        counts = collections.Counter(numbers.values())
        alone = {number: by_text[text] for text, number in numbers.items() if counts[number] == 1}
        return by_text, {number: i for number, i in alone.items() if number is not None}

    def values(self, cells: np.ndarray) -> np.ndarray:
        found = np.empty(len(cells), object)
        found[:] = [None if math.isnan(cell) else self.words[int(cell)] for cell in cells.tolist()]
        return found

    def codes(self, cells: np.ndarray) -> np.ndarray:
        return np.where(np.isnan(cells), MISSING, np.nan_to_num(cells)).astype(np.int64)

    def log_within(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(len(cells)), np.ones(len(cells), bool)

    def draw(self, codes: np.ndarray, rng: np.random.Generator, condition: Condition = None) -> np.ndarray:
        return codes.astype(np.float64)

    def weights(self, condition: Condition) -> np.ndarray:
        if isinstance(condition, tuple):
            raise UserError(
                f"the column {self.name!r} holds words, which have no ranges: a condition is a word or a list of "
                f"words, not {condition!r}"
            )
        wanted = condition if isinstance(condition, list) else [condition]
        places = [-1 if word is None else self._place(word) for word in wanted]
        for word, place in zip(wanted, places, strict=True):
            if place == -1:
                raise UserError(f"the column {self.name!r} never has {word!r}{did_you_mean(str(word), self.labels)}")
        return np.isin(np.arange(self.num_codes), places).astype(np.float64)

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(map(str, self.words))

    def in_words(self) -> str:
        return f"{self.name}: {self.num_codes} words, such as {', '.join(map(str, self.words[:3]))}"

    def described(self) -> dict[str, Any]:
        return {"kind": "words", **dataclasses.asdict(self)}


@dataclasses.dataclass(frozen=True)
class Numbers:
    """A column of numbers: intervals [low, high] of numbers that are rounded to `step`, or of real numbers.

    Whole numbers stay whole. The probability of a number within an interval is that of the interval over the number of
    its values, or over its length for real numbers. One in `num_rows` + 1 values is a number that training never saw,
    with the density of a Cauchy distribution around the median; draws leave it out, so they stay within the range of
    the training rows.

    Attributes:
      step: distance of two neighbouring numbers, 1 for whole ones; 0 for real numbers.
      low, high: float64[V], the first and the last number of each code, in rising order. Real numbers have neighbouring
        intervals, [low, high).
      centre, spread: the median of the training rows, and half of their interquartile range.
      num_rows: of them.
      date: "", or the unit of time since 1970 that the numbers count.
      is_int: whether numbers are shown without decimals.
      is_counted: whether log p is that of a probability, as for whole numbers and dates, and no density.
    """

    name: str
    step: float
    low: tuple[float, ...]
    high: tuple[float, ...]
    centre: float
    spread: float
    num_rows: int
    date: str = ""
    is_int: bool = False
    is_counted: bool = False

    @property
    def num_codes(self) -> int:
        return len(self.low)

    def cells(self, values: np.ndarray, unseen: str = "refuse") -> np.ndarray:
        return as_numbers(self.name, values, self.date)

    def values(self, cells: np.ndarray) -> np.ndarray:
        found = np.empty(len(cells), object)
        gaps = np.isnan(cells)
        whole = np.nan_to_num(cells)
        if self.date:
            shown: list[Any] = whole.round().astype(np.int64).astype(f"datetime64[{self.date}]").tolist()
        else:
            near = self._rounded_decimals(whole)
            whole_numbers = self.is_int and (near == np.round(near)).all()
            shown = [int(v) for v in near.tolist()] if whole_numbers else near.tolist()
        found[:] = shown
        found[gaps] = None
        return found

    def _rounded_decimals(self, cells: np.ndarray) -> np.ndarray:
        """Numbers without the noise of binary fractions; those between two steps as they are."""
        if not self.step:
            return cells
        near = cells.round(_decimals_of(self.step))
        return np.where(abs(near - cells) <= 1e-4 * self.step, near, cells)

    def codes(self, cells: np.ndarray) -> np.ndarray:
        gaps, cells = np.isnan(cells), np.nan_to_num(cells)
        low, high = np.array(self.low), np.array(self.high)
        code = np.clip(np.searchsorted(low, self._on_grid(cells), side="right") - 1, 0, None)
        after = np.minimum(code + 1, len(low) - 1)  # a number between two codes has the nearer one
        nearer = (cells - high[code] > low[after] - cells) & (cells > high[code])
        return np.where(gaps, MISSING, np.where(nearer, after, code))

    def _on_grid(self, cells: np.ndarray) -> np.ndarray:
        """Numbers a tenth of a step higher: those that are rounded in binary lie above the low end of their code."""
        return cells + 0.1 * self.step

    def log_within(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        gaps, cells = np.isnan(cells), np.nan_to_num(cells)
        code = self.codes(cells)
        low, high = np.array(self.low)[code], np.array(self.high)[code]
        slack = 0.1 * self.step
        steps = (cells - low) / self.step if self.step else np.zeros(len(cells))
        off_grid = abs(steps - np.round(steps)) > 1e-4
        known = (cells >= low - slack) & (cells <= high + slack) & ~off_grid
        known |= gaps
        size = (high - low) / self.step + 1 if self.step else high - low
        novel = 1 / (self.num_rows + 1)
        inside = np.log1p(-novel) - np.log(size)
        z = (cells - self.centre) / self.spread
        outside = (
            np.log(novel)
            - math.log(math.pi * self.spread)
            - 2 * np.log(np.hypot(1, z))
            + (math.log(self.step) if self.step else 0)
        )
        found = np.where(known, inside, outside) - self.log_unit
        return np.where(gaps, 0.0, found), known

    @property
    def log_unit(self) -> float:
        """What is taken from the log of the probability of a rounded number for its density in the unit of the column;
        0 for numbers that are counted, which have probabilities.
        """
        return math.log(self.step) if self.step and not self.is_counted else 0.0

    def draw(self, codes: np.ndarray, rng: np.random.Generator, condition: Condition = None) -> np.ndarray:
        parts = [] if condition is None else self.parts(condition)
        parts = parts or [(-math.inf, math.inf)]
        starts, sizes = (np.stack(found)[:, codes] for found in zip(*map(self._overlap, parts), strict=True))
        ends = np.cumsum(sizes, 0)
        places = rng.random(len(codes)) * ends[-1]
        part = np.minimum((ends <= places).sum(0), len(parts) - 1)
        start, size, end = (np.take_along_axis(found, part[None], 0)[0] for found in (starts, sizes, ends))
        inside = np.clip(places - (end - size), 0, size)
        if not self.step:
            return start + inside
        steps = np.minimum(np.floor(inside), np.maximum(size - 1, 0))
        return np.array(self.low)[codes] + self.step * (start + steps)

    def weights(self, condition: Condition) -> np.ndarray:
        whole = self._overlap((-math.inf, math.inf))[1]
        return np.minimum(
            sum((self._overlap(part)[1] for part in self.parts(condition)), np.zeros(len(whole))) / whole, 1
        )

    def _overlap(self, ends: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
        """What a range has in common with each code, float64[V] each: the first number (that of a grid is counted from
        the low end of the code), and how many, or the length for real numbers.
        """
        low, high = np.array(self.low), np.array(self.high)
        if not self.step:
            start = np.maximum(low, ends[0])
            return start, np.clip(np.minimum(high, ends[1]) - start, 0, None)
        start = np.maximum(np.ceil((ends[0] - low) / self.step - 1e-4), 0)
        last = np.minimum(np.floor((ends[1] - low) / self.step + 1e-4), np.round((high - low) / self.step))
        return start, np.clip(last - start + 1, 0, None)

    def parts(self, condition: Condition) -> list[tuple[float, float]]:
        """The ranges of a condition in rising order, where no two of them overlap."""
        parts: list[tuple[float, float]] = []
        for first, last in sorted(map(self.ends, condition if isinstance(condition, list) else [condition])):
            if parts and first <= parts[-1][1] + 2e-4 * self.step:
                parts[-1] = (parts[-1][0], max(last, parts[-1][1]))
            else:
                parts.append((first, last))
        return parts

    @property
    def middles(self) -> np.ndarray:
        """The mean of the numbers of each code, float64[V]."""
        return (np.array(self.low) + np.array(self.high)) / 2

    def rounded(self, cells: np.ndarray) -> np.ndarray:
        """The nearest numbers that the column can have."""
        if not self.step:
            return cells
        if not math.isclose(self.step, 10.0 ** -_decimals_of(self.step)):  # a few real numbers
            low = np.array(self.low)
            return low[abs(cells[:, None] - low).argmin(1)]
        return np.round((cells - self.low[0]) / self.step) * self.step + self.low[0]

    @property
    def labels(self) -> tuple[str, ...]:
        low, high = (self.values(np.array(ends)).tolist() for ends in (self.low, self.high))
        return tuple(f"{a}" if a == b else f"{a} to {b}" for a, b in zip(low, high, strict=True))

    def in_words(self) -> str:
        kind = "dates" if self.date else "whole numbers" if self.is_int else "numbers"
        first, last = self.values(np.array([self.low[0], self.high[-1]]))
        return f"{self.name}: {kind} from {first} to {last}, {self.num_codes} codes"

    def ends(self, condition: Condition) -> tuple[float, float]:
        """The ends of a range, or a number twice; raises `UserError` for anything but numbers in order, or None as an
        end.
        """
        if isinstance(condition, tuple) and len(condition) != 2:
            raise UserError(f"a range of the column {self.name!r} is (low, high), None for no end, not {condition!r}")
        if isinstance(condition, tuple):
            first, last = self._end(condition[0], -math.inf), self._end(condition[1], math.inf)
        else:
            first = last = self._end(condition)
        if first > last:
            raise UserError(f"the range {condition!r} of the column {self.name!r} ends before it begins")
        return first, last

    def _end(self, value: Any, open_end: float = math.nan) -> float:
        """An end of a range, or a number, where `open_end` is nan."""
        if not math.isnan(open_end) and (value is None or (isinstance(value, float) and value == open_end)):
            return open_end
        try:
            (found,) = as_numbers(self.name, np.array([value, None], object)[:1], self.date)
        except (UserError, ValueError):
            found = math.nan
        if math.isnan(found):
            what = "date" if self.date else "number"
            raise UserError(
                f"a condition on the column {self.name!r} is a {what}, a list of {what}s or a range (low, high), not "
                f"{value!r}"
            )
        return float(found)

    def described(self) -> dict[str, Any]:
        return {"kind": "numbers", **dataclasses.asdict(self)}


def as_numbers(name: str, values: np.ndarray, date: str = "") -> np.ndarray:
    """Values as float64[N], nan for None; raises `UserError` at the first that is no number (or no date)."""
    if values.dtype == object or (values.dtype.kind == "M") != bool(date):
        return np.array([_as_number(name, row, value, date) for row, value in enumerate(values.tolist())], np.float64)
    if date:
        found = np.where(np.isnat(values), np.nan, values.astype(f"datetime64[{date}]").astype(np.float64))
        wrong = ~np.isnat(values) & (values.astype("datetime64[D]") != values) & (date == "D")
        wrong |= (values < _FIRST_DAY) | (values > _LAST_DAY)
    else:
        found = values.astype(np.float64)
        wrong = abs(found) > _LARGEST
    if wrong.any():
        row = int(wrong.argmax())
        _as_number(name, row, values[row].tolist() if not date else values[row].astype("datetime64[us]").item(), date)
    return found


#: Dates of Python are those of the years 1 to 9999.
_FIRST_DAY, _LAST_DAY = np.datetime64("0001-01-01"), np.datetime64("9999-12-31T23:59:59.999999")
#: Larger numbers are refused: their squares would leave the range of float64.
_LARGEST = 1e100


def _as_number(name: str, row: int, value: Any, date: str) -> float:
    """A value as a number, nan for None; raises `UserError` for one that is not, which names the row."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return math.nan
    place = f"row {row} has {value!r} in the column {name!r}, which"
    try:
        if date:
            return _as_time(value, date)
        number = float(value)
    except OverflowError:
        number = math.inf
    except (TypeError, ValueError) as error:
        kind = "date such as 2024-05-31" if date else "number"
        fault = str(error) if str(error).startswith("has days") else f"is no {kind}"
        raise UserError(f"{place} {fault}") from error
    if abs(number) <= _LARGEST:
        return number
    if math.isnan(number):
        return number
    raise UserError(f"{place} is no finite number" if math.isinf(number) else f"{place} is above 1e100: scale it down")


def _as_time(value: Any, unit: str) -> float:
    """The units of time since 1970; raises `ValueError` or `TypeError` for what is no date."""
    if not isinstance(value, datetime.date) and not (isinstance(value, str) and _ISO.fullmatch(value)):
        raise ValueError("is no date")
    time = np.array(value, "datetime64[us]")
    if not isinstance(time.item(), datetime.date):  # the years 1 to 9999
        raise ValueError("is no date")
    if unit == "D" and time.astype("datetime64[D]") != time:
        raise ValueError("has days without a time")
    return float(time.astype(f"datetime64[{unit}]").astype(np.int64))


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


def _decimals_of(step: float) -> int:
    return max(0, round(-math.log10(step))) if step else 0


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


#: What a user may say of a column.
KINDS = ("words", "numbers", "date", "skip")
#: A column with another word in each of more rows than these names them.
_FEW_ROWS = 20
_ISO = re.compile(r"\d{4}(-\d\d(-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?)?)?")
_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?")


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


def as_texts(values: np.ndarray) -> np.ndarray:
    """Values as words, object[N], None without one: truth values alone stay as they are."""
    found = _items(values)
    if values.dtype == object and set(map(type, found)) <= {str, type(None)}:
        return values
    if not all(v is None or isinstance(v, bool) for v in found):
        found = [None if v is None else as_text(v) for v in found]
    return np.fromiter(found, object, len(found))


def _items(values: np.ndarray) -> list[Any]:
    """Values as Python's own, None without one."""
    items = values.astype("datetime64[us]").tolist() if values.dtype.kind == "M" else values.tolist()
    return [None if v is None or (isinstance(v, float) and math.isnan(v)) else v for v in items]


def _spellings(value: Any) -> tuple[str, ...]:
    """The ways in which a value may be written, the usual one first: a day with its midnight or without."""
    if isinstance(value, datetime.datetime):
        return (str(value), str(value.date())) if value.time() == datetime.time() else (str(value),)
    if isinstance(value, datetime.date):
        return str(value), f"{value} {datetime.time()}"
    return (as_text(value),)


def _number_of(text: str) -> float | None:
    """The number that a text reads as, None for none: digits that float64 may not tell from others are none."""
    number = float(text) if is_number(text) and not is_code(text) else math.nan
    return number if math.isfinite(number) else None


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


#: Numbers with separators of thousands or a decimal comma.
_WITH_COMMAS = re.compile(r"[+-]?\d+(,\d+)+(\.\d*)?|[+-]?\d{1,3}(\.\d{3})+,\d+")
