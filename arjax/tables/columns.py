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
from typing import Any, Protocol

import numpy as np

from arjax.core.errors import UserError, did_you_mean
from arjax.data.table_files import as_text, is_code, is_number

#: The code of a cell without a value.
MISSING = -1
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
        items = items_of(values)
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
        values = np.empty(len(cells), object)
        values[:] = [None if math.isnan(cell) else self.words[int(cell)] for cell in cells.tolist()]
        return values

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
        labels = np.empty(len(cells), object)
        gaps = np.isnan(cells)
        whole = np.nan_to_num(cells)
        if self.date:
            shown: list[Any] = whole.round().astype(np.int64).astype(f"datetime64[{self.date}]").tolist()
        else:
            near = self._rounded_decimals(whole)
            whole_numbers = self.is_int and (near == np.round(near)).all()
            shown = [int(v) for v in near.tolist()] if whole_numbers else near.tolist()
        labels[:] = shown
        labels[gaps] = None
        return labels

    def exact(self, values: np.ndarray) -> np.ndarray:
        """Values of a frame as `values` shows them, but with all their digits, object[N], None where there is none."""
        unit = "us" if self.date not in ("", "D") else self.date
        cells, values_out = as_numbers(self.name, values, unit), np.empty(len(values), object)
        gaps, numbers = np.isnan(cells), np.nan_to_num(cells)
        if unit:
            values_out[:] = numbers.astype(np.int64).astype(f"datetime64[{unit}]").tolist()
        else:
            whole = self.is_int and (numbers == np.round(numbers)).all()
            values_out[:] = [int(v) for v in numbers.tolist()] if whole else numbers.tolist()
        values_out[gaps] = None
        return values_out

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
        nats = np.where(known, inside, outside) - self.log_unit
        return np.where(gaps, 0.0, nats), known

    @property
    def log_unit(self) -> float:
        """What is taken from the log of the probability of a rounded number for its density in the unit of the column;
        0 for numbers that are counted, which have probabilities.
        """
        return math.log(self.step) if self.step and not self.is_counted else 0.0

    def draw(self, codes: np.ndarray, rng: np.random.Generator, condition: Condition = None) -> np.ndarray:
        parts = [] if condition is None else self.parts(condition)
        parts = parts or [(-math.inf, math.inf)]
        starts, sizes = (np.stack(part_of)[:, codes] for part_of in zip(*map(self._overlap, parts), strict=True))
        ends = np.cumsum(sizes, 0)
        places = rng.random(len(codes)) * ends[-1]
        part = np.minimum((ends <= places).sum(0), len(parts) - 1)
        start, size, end = (np.take_along_axis(part_of, part[None], 0)[0] for part_of in (starts, sizes, ends))
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
            (number,) = as_numbers(self.name, np.array([value, None], object)[:1], self.date)
        except (UserError, ValueError):
            number = math.nan
        if math.isnan(number):
            what = "date" if self.date else "number"
            raise UserError(
                f"a condition on the column {self.name!r} is a {what}, a list of {what}s or a range (low, high), not "
                f"{value!r}"
            )
        return float(number)


def as_numbers(name: str, values: np.ndarray, date: str = "") -> np.ndarray:
    """Values as float64[N], nan for None; raises `UserError` at the first that is no number (or no date)."""
    if values.dtype == object or (values.dtype.kind == "M") != bool(date):
        return np.array([_as_number(name, row, value, date) for row, value in enumerate(values.tolist())], np.float64)
    if date:
        numbers = np.where(np.isnat(values), np.nan, values.astype(f"datetime64[{date}]").astype(np.float64))
        wrong = ~np.isnat(values) & (values.astype("datetime64[D]") != values) & (date == "D")
        wrong |= (values < _FIRST_DAY) | (values > _LAST_DAY)
    else:
        numbers = values.astype(np.float64)
        wrong = abs(numbers) > _LARGEST
    if wrong.any():
        row = int(wrong.argmax())
        _as_number(name, row, values[row].tolist() if not date else values[row].astype("datetime64[us]").item(), date)
    return numbers


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


def _decimals_of(step: float) -> int:
    return max(0, round(-math.log10(step))) if step else 0


_ISO = re.compile(r"\d{4}(-\d\d(-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?)?)?")


def items_of(values: np.ndarray) -> list[Any]:
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
