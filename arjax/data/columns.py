"""Columns of tables: the values of a frame as cells of float64 and back, one spelling of a value, and its mistakes.

Cells are numbers as they are, words by their numbers, and nan without a value.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import functools
import math
import re
from collections.abc import Callable, Collection, Iterable
from decimal import Decimal
from typing import Any, NoReturn, TypeAlias

import numpy as np

from arjax.core.errors import UserError, did_you_mean, refuse
from arjax.core.values import read_one_of

#: The code of a cell without a value.
MISSING = -1
#: A condition on a column: one value, a list of values, or a range (low, high) of numbers, None for no end.
Condition: TypeAlias = Any
#: The place of a row in messages, by its number from 0.
Place: TypeAlias = Callable[[int], str]
#: Larger numbers are refused: their squares would leave the range of float64.
LARGEST = 1e100
LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
#: The end of sentences about words that training never saw, where models take missing values.
AS_MISSING = " (with unknown='missing' it counts as missing)"
#: From here on float64 does not tell all whole numbers apart.
_FIRST_MERGED = 2**53
#: Dates of Python have the years 1 to 9999.
_FIRST_DAY, _LAST_DAY = np.datetime64("0001-01-01"), np.datetime64("9999-12-31T23:59:59.999999")
#: Words that are dates without being named as such; and all texts that a column of dates may have.
_TIME = r"([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(?P<zone>Z|[+-]\d\d:\d\d)?)?"
_DATE = re.compile(rf"\d{{4}}-\d\d-\d\d{_TIME}")
_ISO = re.compile(rf"\d{{4}}(-\d\d(-\d\d{_TIME})?)?")
#: Numbers with separators of thousands or a decimal comma.
_WITH_COMMAS = re.compile(r"[+-]?\d+(,\d+)+(\.\d*)?|[+-]?\d{1,3}(\.\d{3})+,\d+")


def row_of_table(n: int) -> str:
    """Returns the place of a row in memory."""
    return f"row {n} of the table"


@dataclasses.dataclass(frozen=True)
class Words:
    """A column in which each different value is a code, such as one of words.

    Attributes:
      words: the values; None where cells without a value are one of them.
      from_numbers: whether the table had numbers in this column: then the text of a number is its word, however it is
        written. Otherwise texts are words as they are, and 1.10 is not 1.1.
    """

    name: str
    words: tuple[str | bool | None, ...]
    from_numbers: bool = False

    @property
    def num_codes(self) -> int:
        return len(self.words)

    def cells(
        self, values: np.ndarray, unknown: str = "refuse", place: Place = row_of_table, remedy: str = AS_MISSING
    ) -> np.ndarray:
        """Returns the cells of values, float64[N]; `unknown`: "refuse" words that training lacks, or "missing"."""
        items, missing = items_of(values), self._by_text.get(None, math.nan)
        of_texts = {item: self.place(item) for item in {item for item in items if type(item) is str}}
        places = [
            of_texts[item] if type(item) is str else missing if item is None else self.place(item) for item in items
        ]
        cells = np.array(places, np.float64)
        if (cells == -1).any():
            refuse_odd_types(self.name, values, place)
            if unknown == "refuse":
                row = int((cells == -1).argmax())
                text = as_text(items[row])
                alike = [label for label in self.labels if label.lower() == text.lower()]
                hint = did_you_mean(alike[0] if alike else text, self.labels, "")
                refuse_value(self.name, row, items[row], place, f"which training never saw{hint}{remedy}")
            cells[cells == -1] = np.nan
        return cells

    def place(self, value: Any) -> int:
        """Returns the number of the word that spells the value, or of the only one that reads as its number; or -1."""
        for text in spellings(value):
            if text in self._by_text:
                return self._by_text[text]
        if isinstance(value, str) and not self.from_numbers:
            return -1
        number = self._number(as_text(value))
        return self._by_number.get(number, -1)

    @functools.cached_property
    def _by_text(self) -> dict[str | None, int]:
        return {None if word is None else str(word): i for i, word in enumerate(self.words)}

    @functools.cached_property
    def _by_number(self) -> dict[float | None, int]:
        """The places of words by the numbers that no other word reads as."""
        numbers = {i: self._number(text) for text, i in self._by_text.items() if text is not None}
        counts = collections.Counter(numbers.values())
        return {number: i for i, number in numbers.items() if number is not None and counts[number] == 1}

    def _number(self, text: str) -> float | None:
        """Returns the number that a text reads as; None for texts without one, and for digits that may be a code."""
        number = float(text) if is_number(text) and (self.from_numbers or not is_code(text)) else math.nan
        return number if math.isfinite(number) else None

    def values(self, cells: np.ndarray) -> np.ndarray:
        """Returns cells as values of a frame, object[N], None without a value."""
        values = (None if math.isnan(cell) else self.words[int(cell)] for cell in cells.tolist())
        return np.fromiter(values, object, len(cells))

    def codes(self, cells: np.ndarray) -> np.ndarray:
        """Returns the codes of cells, int[N], MISSING without a value."""
        return np.where(np.isnan(cells), MISSING, np.nan_to_num(cells)).astype(np.int64)

    def never(self, cells: np.ndarray) -> np.ndarray:
        """Returns that the column may have every cell, bool[N]."""
        return np.zeros(len(cells), bool)

    def log_within(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns log p(value | code), which is 0, and that every value has a code."""
        return np.zeros(len(cells)), np.ones(len(cells), bool)

    def draw(self, codes: np.ndarray, rng: np.random.Generator, condition: Condition = None) -> np.ndarray:
        """Returns the cells with these codes, float64[N]."""
        return codes.astype(np.float64)

    def weights(self, condition: Condition) -> np.ndarray:
        """Returns 1 for each word that a condition allows, float64[V]."""
        words = condition if isinstance(condition, list) else [condition]
        places = [-1 if word is None else self.place(word) for word in words]
        never = [word for word, place in zip(words, places, strict=True) if place == -1]
        no_range = "holds words, which have no ranges: a condition is a word or a list of words, not"
        refuse(
            (isinstance(condition, tuple), f"the column {self.name!r} {no_range} {condition!r}"),
            *(
                (never, f"the column {self.name!r} never has {word!r}{did_you_mean(str(word), self.labels)}")
                for word in never
            ),
        )
        return np.isin(np.arange(self.num_codes), places).astype(np.float64)

    @property
    def labels(self) -> tuple[str, ...]:
        """The words as texts, V of them."""
        return tuple("" if word is None else str(word) for word in self.words)

    def in_words(self) -> str:
        """Returns the column in a line."""
        return f"{self.name}: {self.num_codes} words, such as {', '.join(self.labels[:3])}"


@dataclasses.dataclass(frozen=True)
class Reals:
    """A column of numbers that float32 holds; values are shown with `digits` digits."""

    name: str
    digits: int = 7

    def cells(
        self, values: np.ndarray, unknown: str = "refuse", place: Place = row_of_table, remedy: str = ""
    ) -> np.ndarray:
        """Returns the cells of values of a frame, float64[N]."""
        return as_numbers(self.name, values, place=place, most=LARGEST_FLOAT32)

    def values(self, cells: np.ndarray) -> np.ndarray:
        """Returns cells as values of a frame, object[N], None without a value."""
        values = (None if math.isnan(cell) else float(f"{cell:.{self.digits}g}") for cell in cells.tolist())
        return np.fromiter(values, object, len(cells))


def holds(name: str, row: int, value: Any, place: Place) -> str:
    """Returns the beginning of a sentence about the value of a row."""
    return f"{place(row)} holds {value!r} in the column {name!r}"


def refuse_value(name: str, row: int, value: Any, place: Place, fault: str) -> NoReturn:
    """Refuses the value of a row."""
    raise UserError(f"{holds(name, row, value, place)}, {fault}")


def is_number(text: str) -> bool:
    """Returns whether a text reads as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text  # which Python reads in numbers, and tables have in words


def is_code(text: str) -> bool:
    """Returns whether a text of digits may be no number: 007, or whole numbers that float64 may not tell apart."""
    digits = text.lstrip("+-")
    is_padded, is_long = len(digits) > 1 and digits[0] == "0", len(digits) > 16
    return digits.isdecimal() and (is_padded or is_long or int(digits) >= _FIRST_MERGED)


def as_text(value: Any) -> str:
    """Returns a value as the text of a cell: 7.0 as 7."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def spellings(value: Any) -> tuple[str, ...]:
    """Returns the ways in which a value may be written, the usual one first: a day with its midnight or without."""
    if isinstance(value, bool):
        return str(value), str(value).lower(), str(value).upper(), str(int(value))
    if isinstance(value, datetime.datetime):
        day = [str(value.date())] if value.time() == datetime.time() else []
        return str(value), *day, value.isoformat()
    if isinstance(value, datetime.date):
        return str(value), f"{value} {datetime.time()}"
    return (value, value.strip()) if isinstance(value, str) else (as_text(value),)


def exact(text: str) -> int | float:
    """Returns the number of a text, whole ones with all their digits."""
    number = Decimal(text)
    return int(number) if number == number.to_integral_value() else float(text)


def items_of(values: np.ndarray) -> list[Any]:
    """Returns values as Python's own, None without one."""
    items = values.astype("datetime64[us]").tolist() if values.dtype.kind == "M" else values.tolist()
    return [None if v is None or (isinstance(v, float) and math.isnan(v)) else v for v in items]


def gaps_of(values: np.ndarray) -> np.ndarray:
    """Returns where values are missing, bool[N]."""
    if values.dtype == object:
        return np.fromiter((value is None for value in values.tolist()), bool, len(values))
    if values.dtype.kind == "M":
        return np.isnat(values)
    return np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), bool)


def without_gaps(values: np.ndarray) -> np.ndarray:
    """Returns the values that are not missing."""
    return values[~gaps_of(values)]


def merges(texts: Iterable[str]) -> bool:
    """Returns whether float64 does not tell some large whole numbers apart."""
    large = {text for text in texts if is_code(text) and abs(float(text)) >= _FIRST_MERGED}
    return len(set(map(float, large))) < len({text.lstrip("+0") for text in large})


def refuse_odd_types(name: str, values: np.ndarray, place: Place = row_of_table, remedy: str = "") -> None:
    """Refuses the first value that is not a word, number, truth value or date."""
    fine = (str, bool, int, float, datetime.date, type(None))
    for row, value in enumerate(values.tolist() if values.dtype == object else ()):
        if not isinstance(value, fine):
            refuse_value(name, row, value, place, f"which is no word, number, truth value or date{remedy}")


def are_numbers(texts: Collection[str], with_codes: bool) -> bool:
    """Returns whether all texts are numbers that float64 tells apart. Digits that may be a code, such as 007, count as
    numbers in the data set `table`, `with_codes`, and as words in the tables of `fit_table`.
    """
    return all(map(is_number, texts)) and not (merges(texts) if with_codes else any(map(is_code, texts)))


def kind_of(name: str, values: np.ndarray, place: Place, as_words: str, with_codes: bool = False) -> tuple[str, str]:
    """Returns the kind of a column, "numbers", "date" or "words"; and for numbers with a few words among them a
    sentence about the first word, otherwise "". Refuses numbers with commas; `as_words` says how to take them as words.
    Texts are numbers only in tables `with_codes`: elsewhere, `Frame` has read them.
    """
    if values.dtype != object:
        return "date" if values.dtype.kind == "M" else "numbers", ""
    known = without_gaps(values).tolist()
    texts = {value for value in set(known) if isinstance(value, str)}
    if with_codes and are_numbers(texts, with_codes):
        return "numbers", ""
    dates = [_DATE.fullmatch(value) if isinstance(value, str) else None for value in known]
    if not with_codes and dates and all(dates):
        refuse_mixed_zones(name, {date["zone"] is None for date in dates if date})
        return "date", ""
    strays = {text for text in texts if not is_number(text)}
    num = sum(map(strays.__contains__, known))
    have_commas = bool(strays) and all(map(_WITH_COMMAS.fullmatch, strays))
    if not have_commas and not 0 < 2 * num < len(known):
        return "words", ""
    row, stray = next((row, value) for row, value in enumerate(values.tolist()) if value in strays)
    if have_commas:
        fault = f"a number with a comma: numbers are written as 1234.5, or give {as_words}"
        refuse_value(name, row, stray, place, fault)
    more = f" and {num - 1} more words" if num > 1 else ""
    return "words", f"{holds(name, row, stray, place)}{more}, in which {len(known) - num} others are numbers"


def refuse_mixed_zones(name: str, are_local: set[bool]) -> None:
    """Refuses times of a column of which some have a time zone, and would be those of UTC, and others have none."""
    fault = f"some times in the column {name!r} have a time zone, and others have none: give all of them one, or none"
    refuse((len(are_local) > 1, fault))


def names_rows(values: np.ndarray, few: int) -> str:
    """Returns why a column of words names the rows, of which there are more than `few`; "" if it does not."""
    known = without_gaps(values)
    if values.dtype != object or len(known) <= few or len(set(known.tolist())) < len(known):
        return ""
    return f"it names the rows, with another word in each, such as {known[0]!r}"


def as_numbers(
    name: str, values: np.ndarray, date: str = "", place: Place = row_of_table, most: float = LARGEST, remedy: str = ""
) -> np.ndarray:
    """Returns values as float64[N], nan for None; refuses values that are not numbers up to `most`, or not dates.
    `date` is the unit of time since 1970 of dates, "" for numbers.
    """

    def number(row: int, value: Any) -> float:
        try:
            return _as_time(value, date) if date else _as_number(value, most)
        except ValueError as error:
            refuse_value(name, row, value, place, f"which {error}{remedy}")

    if values.dtype == object or (values.dtype.kind == "M") != bool(date):
        return np.array([number(row, value) for row, value in enumerate(items_of(values))], np.float64)
    if date:
        numbers = np.where(np.isnat(values), np.nan, values.astype(f"datetime64[{date}]").astype(np.float64))
        wrong = ~np.isnat(values) & (values.astype("datetime64[D]") != values) & (date == "D")
        wrong |= (values < _FIRST_DAY) | (values > _LAST_DAY)
    else:
        numbers = values.astype(np.float64)
        wrong = abs(numbers) > most
    for row in np.flatnonzero(wrong).tolist():
        number(row, values[row].astype("datetime64[us]").item() if date else values[row].item())
    return numbers


def _as_number(value: Any, most: float) -> float:
    """Returns a number, nan for None; raises `ValueError` with the fault of anything but a number up to `most`."""
    if value is None:
        return math.nan
    if isinstance(value, str) and not is_number(value):
        raise ValueError("is no number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    except (TypeError, ValueError) as error:
        raise ValueError("is no number") from error
    if not math.isfinite(number):
        raise ValueError("is no finite number")
    if abs(number) > most:
        raise ValueError(f"is above {most:.2g}, so scale it down".replace("e+", "e"))
    return number


def _as_time(value: Any, unit: str) -> float:
    """Returns the units of time since 1970, nan for None; raises `ValueError` with the fault of anything but a date."""
    if value is None:
        return math.nan
    no_date = ValueError("is no date such as 2024-05-31")
    if not isinstance(value, datetime.date) and not (isinstance(value, str) and _ISO.fullmatch(value)):
        raise no_date
    try:
        if isinstance(value, str) and (date := _ISO.fullmatch(value)) and date["zone"]:
            value = datetime.datetime.fromisoformat(value).astimezone(datetime.UTC).replace(tzinfo=None)
        time = np.array(value, "datetime64[us]")
    except (ValueError, OverflowError) as error:
        raise no_date from error
    if not isinstance(time.item(), datetime.date):  # the years 1 to 9999
        raise no_date
    if unit == "D" and time.astype("datetime64[D]") != time:
        raise ValueError("has days without a time")
    return float(time.astype(f"datetime64[{unit}]").astype(np.int64))


def column_as_json(column: Any) -> dict[str, Any]:
    """Returns a column as JSON."""
    return {"kind": type(column).__name__.lower(), **dataclasses.asdict(column)}


def column_from_json(families: Iterable[type], value: Any, place: str) -> Any:
    """Returns the column of `column_as_json`, which is in one of the families."""
    return read_one_of({family.__name__.lower(): family for family in families}, value, place)[1]
