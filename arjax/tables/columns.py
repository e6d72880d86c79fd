"""Columns of a table as codes: the contents of a column, the code of each value, and the values of each code.

A model of tables predicts a code for each cell: a word, a number that is frequent, or an interval of numbers. Within an
interval all numbers are equally probable. A real number that is in many rows, such as 0 millimetres of rain, is a point
mass: its code has a probability, where the others have densities.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np

from arjax.core.errors import UserError, did_you_mean, refuse
from arjax.core.options import Option
from arjax.data.columns import (
    AS_MISSING,
    MISSING,
    Condition,
    Place,
    Words,
    as_numbers,
    as_text,
    items_of,
    kind_of,
    names_rows,
    refuse_odd_types,
    row_of_table,
    without_gaps,
)

#: Different numbers up to which each may have a code, where there are a hundred times as many rows.
_MOST_ALONE = 256
#: Decimals up to which numbers are taken as rounded.
_MOST_DECIMALS = 6
#: The part of the rows from which on a number is a point mass, if its neighbours have so many times fewer rows.
_MASS, _STEEP = 0.02, 5
#: The part of the rows that are rounded in a column that is nearly always rounded.
_NEARLY = 0.8
#: Numbers recur where fewer rows than this part have a number of their own, and more draws would have a new one.
_FEW_NEW, _MANY_NEW = 0.05, 0.1
#: Larger numbers are taken as real: in float64 their neighbours are as far from them as whole numbers.
_MOST_STEPS = 2.0**50
#: What a user may say of a column.
KINDS = ("words", "numbers", "date", "skip")
#: A column with another word in each of more rows than these names them.
_FEW_ROWS = 20


@dataclasses.dataclass(frozen=True)
class Numbers:
    """A column of numbers: intervals [low, high] of numbers that are rounded to `step`, or of real numbers.

    Whole numbers stay whole. A number within an interval has the probability of the interval over the number of its
    values, or over its length for real numbers; a real number with a code of its own, low = high, is a point mass and
    has the probability of its code. A number between two decimals has the density of the nearer one. One in
    `num_rows` + 1 values is a number that training never saw, with the density of a Cauchy distribution around the
    median; draws leave it out, so they stay within the range of the training rows.

    Attributes:
      step: distance of two neighbouring numbers, 1 for whole ones; 0 for real numbers.
      low, high: float64[V], the first and the last number of each code, in rising order; [low, high) for real numbers.
      centre, spread: the median of the training rows, and half of their interquartile range.
      num_rows: the number of training rows with a value.
      date: "", or the unit of time since 1970 that the numbers count.
      is_int: whether numbers are shown without decimals.
      is_counted: whether p is a probability, as for whole numbers and dates, and not a density.
      masses: the numbers, in rising order, that have a code of their own and far more rows than their neighbours.
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
    masses: tuple[float, ...] = ()

    @property
    def num_codes(self) -> int:
        return len(self.low)

    @functools.cached_property
    def lows(self) -> np.ndarray:
        """The first number of each code, float64[V]."""
        return np.array(self.low)

    @functools.cached_property
    def highs(self) -> np.ndarray:
        """The last number of each code, float64[V]."""
        return np.array(self.high)

    @functools.cached_property
    def points(self) -> np.ndarray:
        """Whether a code is that of a single real number, bool[V]."""
        return (self.lows == self.highs) & (not self.step)

    def cells(
        self, values: np.ndarray, unknown: str = "refuse", place: Place = row_of_table, remedy: str = AS_MISSING
    ) -> np.ndarray:
        """Returns the cells of values of a frame, float64[N]."""
        return as_numbers(self.name, values, self.date, place)

    def values(self, cells: np.ndarray) -> np.ndarray:
        """Returns cells as values of a frame, object[N], None without a value; numbers near a step are put on it."""
        if self.date:
            cells = cells.round()
        elif self._has_decimals:
            near = cells.round(_decimals_of(self.step))
            cells = np.where(abs(near - cells) <= 1e-4 * self.step, near, cells)  # nan stays
        return self._shown(cells, self.date)

    def exact(self, values: np.ndarray) -> np.ndarray:
        """Returns values of a frame as `values` shows them, but with all their digits."""
        unit = "us" if self.date not in ("", "D") else self.date
        return self._shown(as_numbers(self.name, values, unit), unit)

    def _shown(self, cells: np.ndarray, unit: str) -> np.ndarray:
        gaps, numbers, values = np.isnan(cells), np.nan_to_num(cells), np.empty(len(cells), object)
        if unit:
            values[:] = numbers.astype(np.int64).astype(f"datetime64[{unit}]").tolist()
        else:
            whole = self.is_int and (numbers == np.round(numbers)).all()
            values[:] = [int(number) for number in numbers.tolist()] if whole else numbers.tolist()
        values[gaps] = None
        return values

    @property
    def _has_decimals(self) -> bool:
        """Whether the step is a power of ten; in a column of a few real numbers it is the smallest distance of two."""
        return self.step > 0 and math.isclose(self.step, 10.0 ** -_decimals_of(self.step))

    def codes(self, cells: np.ndarray) -> np.ndarray:
        """Returns the codes of cells, int[N]: the nearest for a number that no code has, MISSING without a value."""
        gaps, cells = np.isnan(cells), np.nan_to_num(cells)
        # numbers that are rounded in binary lie a tenth of a step higher, above the low end of their code
        code = np.clip(np.searchsorted(self.lows, cells + 0.1 * self.step, side="right") - 1, 0, None)
        after, ends = np.minimum(code + 1, self.num_codes - 1), self.highs[code]
        nearer = (cells - ends > self.lows[after] - cells) & (cells > ends)  # of a number between two codes
        return np.where(gaps, MISSING, np.where(nearer, after, code))

    def never(self, cells: np.ndarray) -> np.ndarray:
        """Returns which cells the column never has, fractions of whole numbers, bool[N]."""
        return self.is_counted & (abs(cells - np.round(cells)) > 1e-4)  # nan is none

    def log_within(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns log p(value | code) in nats, or log p(value) where no code has the value, float64[N], 0 without a
        value; and whether a code has the value, bool[N].
        """
        gaps, cells = np.isnan(cells), np.nan_to_num(cells)
        code = self.codes(cells)
        low, high = self.lows[code], self.highs[code]
        has_density = self._has_decimals and not self.is_counted
        slack = (0.5 if has_density else 0.1) * self.step
        steps = (cells - low) / self.step if self.step else np.zeros(len(cells))
        on_grid = has_density | (abs(steps - np.round(steps)) <= 1e-4)
        known = gaps | ((cells >= low - slack) & (cells <= high + slack) & on_grid)
        size = (high - low) / self.step + 1 if self.step else np.where(self.points[code], 1.0, high - low)
        novel = 1 / (self.num_rows + 1)
        inside = np.log1p(-novel) - np.log(size)
        z = (cells - self.centre) / self.spread
        outside = np.log(novel) - math.log(math.pi * self.spread) - 2 * np.log(np.hypot(1, z))
        outside += math.log(self.step) if self.step else 0
        nats = np.where(known, inside, outside) - self.log_unit
        return np.where(gaps, 0.0, nats), known

    @property
    def log_unit(self) -> float:
        """log(step), by which log p of a rounded number is above its log-density; 0 for real and counted numbers."""
        return math.log(self.step) if self.step and not self.is_counted else 0.0

    def draw(self, codes: np.ndarray, rng: np.random.Generator, condition: Condition = None) -> np.ndarray:
        """Returns cells with these codes, float64[N], that fulfil a condition; None: no condition."""
        parts = [] if condition is None else self.parts(condition)
        parts = parts or [(-math.inf, math.inf)]
        starts, sizes = (np.stack(part_of)[:, codes] for part_of in zip(*map(self._overlap, parts), strict=True))
        ends = np.cumsum(sizes, 0)
        places = rng.random(len(codes)) * ends[-1]
        part = np.minimum((ends <= places).sum(0), len(parts) - 1)
        start, size, end = (np.take_along_axis(part_of, part[None], 0)[0] for part_of in (starts, sizes, ends))
        inside = np.clip(places - (end - size), 0, size)
        if not self.step:
            return np.where(self.points[codes], self.lows[codes], start + inside)
        steps = np.minimum(np.floor(inside), np.maximum(size - 1, 0))
        return self.lows[codes] + self.step * (start + steps)

    def weights(self, condition: Condition) -> np.ndarray:
        """Returns the part of each code that a condition allows, float64[V] in [0, 1]."""
        whole = self._overlap((-math.inf, math.inf))[1]
        allowed = sum((self._overlap(part)[1] for part in self.parts(condition)), np.zeros(self.num_codes))
        return np.minimum(allowed / whole, 1)

    def _overlap(self, ends: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
        """Returns the first number that a range and each code share, in steps from the low end of the code if there are
        steps, and how many numbers they share, or their length for real numbers, 1 for a point mass, float64[V] each.
        """
        low, high = self.lows, self.highs
        if not self.step:
            start = np.maximum(low, ends[0])
            is_in = (ends[0] <= low) & (low <= ends[1])
            return start, np.where(self.points, is_in, np.clip(np.minimum(high, ends[1]) - start, 0, None))
        start = np.maximum(np.ceil((ends[0] - low) / self.step - 1e-4), 0)
        last = np.minimum(np.floor((ends[1] - low) / self.step + 1e-4), np.round((high - low) / self.step))
        return start, np.clip(last - start + 1, 0, None)

    def parts(self, condition: Condition) -> list[tuple[float, float]]:
        """Returns the ranges of a condition in rising order, merged where they overlap."""
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
        return (self.lows + self.highs) / 2

    def rounded(self, cells: np.ndarray) -> np.ndarray:
        """Returns the nearest numbers that the column can have."""
        if not self.step:
            return cells
        if not self._has_decimals:  # a few real numbers
            return self.lows[abs(cells[:, None] - self.lows).argmin(1)]
        return np.round(cells, _decimals_of(self.step))

    @property
    def labels(self) -> tuple[str, ...]:
        """The codes in words, V of them."""
        low, high = (self.values(ends).tolist() for ends in (self.lows, self.highs))
        return tuple(f"{a}" if a == b else f"{a} to {b}" for a, b in zip(low, high, strict=True))

    def in_words(self) -> str:
        """Returns the column in a line."""
        kind = "dates" if self.date else "whole numbers" if self.is_int else "numbers"
        first, last = self.values(np.array([self.low[0], self.high[-1]]))
        return f"{self.name}: {kind} from {first} to {last}, {self.num_codes} codes"

    def ends(self, condition: Condition) -> tuple[float, float]:
        """Returns the ends of a range, or a number twice."""
        if not isinstance(condition, tuple):
            end = self._end(condition)
            return end, end
        no_range = f"a range of the column {self.name!r} is (low, high), None for no end, not {condition!r}"
        refuse((len(condition) != 2, no_range))
        first, last = self._end(condition[0], -math.inf), self._end(condition[1], math.inf)
        refuse((first > last, f"the range {condition!r} of the column {self.name!r} ends before it begins"))
        return first, last

    def _end(self, value: Any, open_end: float = math.nan) -> float:
        """Returns an end of a range, or a number where `open_end` is nan."""
        if not math.isnan(open_end) and (value is None or (isinstance(value, float) and value == open_end)):
            return open_end
        try:
            (number,) = as_numbers(self.name, np.array([value, None], object)[:1], self.date)
        except (UserError, ValueError):
            number = math.nan
        what = "date" if self.date else "number"
        kinds = f"a {what}, a list of {what}s or a range (low, high)"
        refuse((math.isnan(number), f"a condition on the column {self.name!r} is {kinds}, not {value!r}"))
        return float(number)


#: A column of a table, which has the same methods in each form.
Column: TypeAlias = Words | Numbers


def find_columns(
    values: Mapping[str, np.ndarray],
    kinds: Mapping[str, str],
    most_codes: int,
    rows: np.ndarray | None = None,
    place: Place = row_of_table,
) -> tuple[list[Column], dict[str, str]]:
    """Returns the columns to model, each printed as soon as it is found, and the reasons against the others, by name.

    Args:
      values: of each column, as in `arjax.data.frames.Frame`.
      kinds: "words", "numbers", "date" or "skip" of single columns, in place of what their values say.
      most_codes: of a column of numbers.
      rows: the numbers of the train rows, which determine the codes; None: all.
      place: the place of a row in messages.
    """
    for name, kind in kinds.items():
        is_column = f"kinds names the column {name!r}, which is not there{did_you_mean(str(name), list(values))}"
        refuse((name not in values, is_column))
        Option(choices=KINDS).check(str(kind), f"the kind of the column {name!r}")
    columns: list[Column] = []
    left_out: dict[str, str] = {}
    for name, column in values.items():
        kind = kinds.get(name, "")
        from_numbers = _has_numbers(column)
        column = column if kind == "skip" else _of_kind(name, column, kind, place)
        train = column if rows is None else column[rows]
        reason = "it is skipped" if kind == "skip" else _reason_against(column, kind) or _reason_against(train, "any")
        if reason:
            left_out[name] = reason
        else:
            columns.append(_find_column(name, train, column, most_codes, from_numbers))
            print(f"  {columns[-1].in_words()}", flush=True)
    reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
    refuse((not columns, f"no column of the table is left to model: {reasons}"))
    return columns, left_out


def _of_kind(name: str, values: np.ndarray, kind: str, place: Place) -> np.ndarray:
    """Returns a column as its kind has it: words object, numbers float64 or int64, dates datetime64; refuses others."""
    refuse_odd_types(name, values, place, f": kinds={{{name!r}: 'skip'}} leaves the column out")
    if not kind:
        as_words = f"kinds={{{name!r}: 'words'}}"
        kind, stray = kind_of(name, values, place, as_words)
        refuse((stray, f"{stray}: name it in missing=(...) where such a cell has no value, or give {as_words}"))
    if kind == "words":
        return as_texts(values)
    if kind == "date":
        times = as_numbers(name, values, "us", place)  # refuses years that Python does not have
        return values if values.dtype.kind == "M" else times.astype("datetime64[us]")
    return values if values.dtype.kind in "iu" else as_numbers(name, values, place=place)


def _reason_against(values: np.ndarray, kind: str) -> str:
    """Returns why a column cannot be modelled; "" where it can."""
    known = without_gaps(values)
    if not len(known):
        return "it has no value in any row"
    if values.dtype.kind == "M":  # times are known to the second
        known = known.astype("datetime64[s]")
    if (known == known[0]).all():
        only = known[:1].tolist()[0]
        return f"it holds {only!r} in all rows" if isinstance(only, str) else f"it holds {as_text(only)} in all rows"
    if kind or len(known) <= _FEW_ROWS:
        return ""
    if values.dtype.kind in "if" and (np.diff(known) == 1).all():
        return "it counts the rows"
    return names_rows(values, _FEW_ROWS)


def _find_column(name: str, values: np.ndarray, every: np.ndarray, most_codes: int, from_numbers: bool) -> Column:
    """Returns the column of train values, as from `_of_kind`. Words and times of day that only other rows have are
    known, too, so that the table itself can be completed.
    """
    if values.dtype == object:
        return make_words(name, values.tolist(), every.tolist(), from_numbers)
    if values.dtype.kind == "M":
        days = without_gaps(every).astype("datetime64[D]")
        unit = "D" if (days == without_gaps(every)).all() else "s"  # days where all are midnights
        return make_numbers(name, as_numbers(name, values, unit), most_codes, date=unit)
    known = without_gaps(values)
    is_int = bool((known == np.round(known)).all() and np.abs(known).max() <= _MOST_STEPS)
    return make_numbers(name, as_numbers(name, values), most_codes, is_int=is_int)


def make_words(name: str, values: Iterable[Any], others: Iterable[Any] = (), from_numbers: bool = False) -> Words:
    """Returns the column of the values of train rows, None without one, and of words that only other rows have."""
    counts: dict[Any, int] = collections.Counter(values)
    for value in dict.fromkeys(others):
        counts.setdefault(value, 0)
    counts.pop(None, None)
    order = sorted(counts, key=lambda word: (-counts[word], str(word)))
    return Words(name, tuple(order), from_numbers)


def make_numbers(name: str, cells: np.ndarray, most_codes: int, date: str = "", is_int: bool = False) -> Numbers:
    """Returns the column of numbers float64[N] (nan without a value) with at most about `most_codes` codes. Of few
    different numbers, and of numbers that recur, each has a code; otherwise frequent numbers have one each, and the
    others are cut into intervals of about equally many rows. Numbers that are nearly all rounded are taken as rounded.
    """
    known = np.sort(cells[~np.isnan(cells)])
    step = 1.0 if is_int or date else _step_of(known)
    is_counted, is_exact = step == 1, step > 0
    different, counts = np.unique(known, return_counts=True)
    is_mass = _are_masses(counts)
    others = known[~np.isin(known, different[is_mass])]
    if not step and len(others) and (step := _step_of(others, _NEARLY)):
        known = np.sort(np.append(known[np.isin(known, different[is_mass])], others.round(_decimals_of(step))))
        different, counts = np.unique(known, return_counts=True)
        is_mass = _are_masses(counts)
    first, centre, third = np.quantile(known, [0.25, 0.5, 0.75]).tolist()
    spread = float(max(third - first, step, 1e-6 * (different[-1] - different[0]), 1e-200)) / 2
    num_grid = (different[-1] - different[0]) / step + 1 if step else math.inf
    few = max(most_codes, min(_MOST_ALONE, len(known) // 100))
    low = high = different
    if step and is_exact and num_grid <= min(2 * len(different), most_codes):
        low = high = different[0] + step * np.arange(round(num_grid))
    elif len(different) <= few and (step or len(different) <= len(known) / 4):
        step = step or (float(np.diff(different).min()) if len(different) > 1 else 1.0)
    else:
        low, high = _intervals(different, counts, len(known) / most_codes, is_mass)
        if _recur(different, counts, low, high, step):
            low = high = different
            step = step or float(np.diff(different).min())
        else:
            low, high = _without_gaps(low, high, step) if step else _real_ends(low, high, different[is_mass])
    ends = tuple(low.tolist()), tuple(high.tolist())
    masses = tuple(different[is_mass].tolist())
    return Numbers(name, step, *ends, centre, spread, len(known), date, is_int, is_counted, masses)


def _are_masses(counts: np.ndarray) -> np.ndarray:
    """Returns which numbers are point masses, bool[V]: in many rows, and in many times more than the median of their
    three neighbours on each side; at least two numbers are none.
    """
    is_mass = counts > max(2, _MASS * counts.sum())
    for i in np.flatnonzero(is_mass).tolist():
        beside = np.append(counts[max(i - 3, 0) : i], counts[i + 1 : i + 4])
        is_mass[i] = counts[i] > _STEEP * np.median(beside) if len(beside) else False
    return is_mass & ((~is_mass).sum() >= 2)


def _intervals(
    different: np.ndarray, counts: np.ndarray, least: float, is_mass: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns first and last number of each code: point masses and frequent numbers alone, others together up to
    `least` rows.
    """
    low: list[float] = []
    high: list[float] = []
    inside = 0.0
    for number, count, alone in zip(different.tolist(), counts.tolist(), is_mass | (counts >= least), strict=True):
        if alone or not low or inside >= least:
            low.append(number)
            high.append(number)
            inside = math.inf if alone else count
        else:
            high[-1] = number
            inside += count
    return np.array(low), np.array(high)


def _real_ends(low: np.ndarray, high: np.ndarray, masses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ends of the codes of real numbers: point masses, and intervals that end half-way between two."""
    edges = np.concatenate([low[:1], (high[:-1] + low[1:]) / 2, [np.nextafter(high[-1], math.inf)]])
    is_mass = np.isin(low, masses)
    first, last = np.where(is_mass, low, edges[:-1]), np.where(is_mass, high, edges[1:])
    kept = is_mass | (first < last)
    return first[kept], last[kept]


def _without_gaps(low: np.ndarray, high: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns intervals of rounded numbers with the numbers between them, each up to a quarter of its length longer:
    new rows have such numbers as often as others. Single numbers stay alone.
    """
    most, gap = np.floor((high - low) / (4 * step) + 0.1), np.round((low[1:] - high[:-1]) / step) - 1
    up = np.minimum(np.ceil(gap / 2), most[:-1])
    down = np.minimum(gap - up, most[1:])
    ends = np.append(low[:1], low[1:] - step * down), np.append(high[:-1] + step * up, high[-1:])
    return ends[0].round(_decimals_of(step)), ends[1].round(_decimals_of(step))


def _recur(different: np.ndarray, counts: np.ndarray, low: np.ndarray, high: np.ndarray, step: float) -> bool:
    """Returns whether few new rows, as many as the rows with a number of their own (Good, "The population frequencies
    of species and the estimation of population parameters", Biometrika 1953), would have a number that is new, but many
    draws from the intervals [low, high] would.
    """
    start, num = np.searchsorted(different, low), counts.sum()
    filled = np.diff(np.append(start, len(different))) / ((high - low) / step + 1 if step else np.inf)
    is_new = np.where(low == high, 0.0, 1 - filled)
    many = len(different) <= num / 4 and (counts == 1).sum() <= _FEW_NEW * num
    return bool(many and np.add.reduceat(counts, start) @ is_new > _MANY_NEW * num)


def _step_of(known: np.ndarray, part: float = 1.0) -> float:
    """Returns the largest power of ten, from 1 down, of which this part of the sorted numbers, or more, are multiples;
    0 for none. Numbers may have the rounding of float32, but two that differ by more than float64 rounds are not the
    same multiple.
    """
    for decimals in range(_MOST_DECIMALS + 1):
        scaled = known * 10.0**decimals
        if np.abs(scaled).max() > _MOST_STEPS:
            return 0.0
        whole, least = np.round(scaled), 1e-13 * np.abs(scaled).max()
        noise = np.minimum(1e-6 * np.abs(scaled) + least, 5e-5)
        near = np.abs(scaled - whole) <= noise
        apart = np.diff(whole[near]) > 0
        if near.mean() >= part and (apart | (np.diff(scaled[near]) <= least)).all():
            return 10.0**-decimals
    return 0.0


def as_texts(values: np.ndarray) -> np.ndarray:
    """Returns values as words, object[N], None without one; if all are truth values, they stay truth values."""
    items = items_of(values)
    if not all(v is None or isinstance(v, bool) for v in items):
        items = [None if v is None else as_text(v) for v in items]
    return np.fromiter(items, object, len(items))


def _has_numbers(values: np.ndarray) -> bool:
    """Returns whether any value is a number, not the text of one."""
    types = set(map(type, values.tolist())) if values.dtype == object else set()
    return values.dtype.kind in "iuf" or bool({int, float} & types)


def _decimals_of(step: float) -> int:
    return max(0, round(-math.log10(step))) if step else 0
