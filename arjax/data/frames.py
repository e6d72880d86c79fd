"""Frames: tables of users from csv files, frames, dicts and lists of rows, and back to the same form."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import datetime
import decimal
import gzip
import itertools
import math
import os
import sys
import time
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import narwhals as nw
import numpy as np

from arjax.core.errors import UserError, did_you_mean, refuse
from arjax.core.files import user_path
from arjax.data.columns import AS_MISSING, are_numbers, is_number, refuse_mixed_zones, row_of_table

#: The texts of cells without a value.
NO_VALUE = ("", "?", "NA", "NaN", "nan")

#: Rows of a csv file that are read at once.
_CHUNK = 10_000
#: Rows of a csv file by which another delimiter is tried.
_FEW_ROWS = 100
#: Seconds until the first line about the progress of reading, and between two lines.
_FIRST_LINE, _BETWEEN_LINES = 1.0, 5.0

#: The first whole number that Python does not write as a text.
_TOO_LONG = 10**4300
#: What a table may be, see `Frame.form`.
FORMS = ("lists", "rows", "pandas", "polars", "pyarrow", "modin", "cudf")
#: Columns by name, [N] each: float64 or datetime64, or object with None for no value: words, and numbers beside them.
Columns = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Frame:
    """A table of a user.

    Attributes:
      columns: the values by the names of the columns.
      form: "lists" for a dict of columns or a csv file, "rows" for a list of rows, else the library, such as "polars".
      missing, delimiter: the texts of cells without a value, and the separator of cells in a csv file.
      file: the path of a csv file, else "".
      first_row: the user's number of the first row: 0, or the line in a csv file, 2 with a header and 1 without.
      types: of the columns of a frame, as from `_type_of`, by the texts of their names.
    """

    columns: Columns
    form: str = "lists"
    missing: tuple[str, ...] = NO_VALUE
    delimiter: str = ","
    file: str = ""
    first_row: int = 0
    types: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

    def place(self, n: int) -> str:
        """Returns the place of a row in messages, by its number from 0."""
        return row_of_table(n + self.first_row) + (f" {self.file!r}" if self.file else "")

    def cells(
        self,
        columns: Sequence[Any],
        unknown: str = "refuse",
        needed: Collection[str] | None = None,
        remedy: str = AS_MISSING,
        rows: np.ndarray | slice = slice(None),
    ) -> np.ndarray:
        """Returns the cells of columns in some rows, float64[N, C], as in `arjax.data.columns`.

        Args:
          columns: of the model, which are found by their names.
          unknown: "refuse" absent columns and words that training never saw, or take them as "missing".
          needed: the names of the columns that are read, nan in the others; None: all.
          remedy: the end of the sentence about what is refused.
        """
        cells_NC = np.full((len(np.arange(len(self))[rows]), len(columns)), np.nan)
        for c, column in enumerate(columns):
            if needed is not None and column.name not in needed:
                continue
            if column.name in self.columns:
                cells_NC[:, c] = column.cells(self.columns[column.name], unknown, self.place, remedy)[rows]
            elif unknown != "missing":
                others = [name for name in self.columns if name not in {other.name for other in columns}]
                hint = did_you_mean(column.name, others, f"; it has: {', '.join(self.columns)}")
                raise UserError(f"the table lacks the column {column.name!r}{hint}{remedy}")
        return cells_NC

    def back(self, columns: Columns, typed: bool = False) -> Any:
        """Returns a table of the same form with other columns; `typed`: with the names and types of its own columns."""
        lists: dict[Any, Any] = {name: values.tolist() for name, values in columns.items()}
        if self.form in ("lists", "rows"):
            if typed:
                lists = {self._label(name): values for name, values in lists.items()}
            rows = self.form == "rows"
            return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)] if rows else lists
        library: Any = self.form
        if self.form == "pandas":  # whose columns of dates are of numpy's
            lists = {name: _as_dates(values) for name, values in lists.items()}
        try:
            made = nw.from_dict(lists, backend=library)
            if not typed:
                return made.to_native()
            made = made.with_columns(_typed(made[name], self.types.get(name, {})) for name in lists)
            return self._named(made.to_native())
        except ModuleNotFoundError as error:
            raise UserError(f"the table was a frame of {self.form}, which is not installed here") from error

    def _named(self, table: Any) -> Any:
        """Returns a frame with the names of its columns as they were, which in pandas may be no texts."""
        if any("name" in about for about in self.types.values()):
            table.columns = [self._label(name) for name in table.columns]
        return table

    def _label(self, name: str) -> Any:
        label = self.types.get(name, {}).get("name", name)
        return tuple(label) if isinstance(label, list) else label

    def beside(self, data: Any, columns: Columns, with_others: bool = True) -> Any:
        """Returns the rows of `data`, of which this is the frame, with these columns in place of its own. Others stay
        as they are, with the column names and the index of a pandas frame, or are left out without `with_others`.
        """
        table = dataclasses.replace(self, types=_without_names(self.types)).back(columns, typed=with_others)
        has_index = self.form in ("pandas", "modin", "cudf")
        if has_index:
            table.index = data.index
        if not with_others:
            return table
        if self.file:
            texts = read_frame(data, ("",), self.delimiter, words=None).columns
            return {name: None if name in columns else _as_written(cells) for name, cells in texts.items()} | table
        if self.form == "lists":
            return _in_place({name: _listed(values) for name, values in data.items()}, table)
        if self.form == "rows":
            return [_in_place(row, new) for row, new in zip(data, table, strict=True)]
        new = nw.from_native(table, eager_only=True)
        if not has_index:
            return nw.from_native(data, eager_only=True).with_columns(*new.iter_columns()).to_native()
        named = data.set_axis(list(map(str, data.columns)), axis=1)
        full = nw.from_native(named, eager_only=True).with_columns(*new.iter_columns()).to_native()
        added = full.columns[len(data.columns) :]
        full.columns = [*data.columns, *added] if len(added) else data.columns
        return full

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))


def read_frame(
    data: Any,
    missing: Sequence[str] = NO_VALUE,
    delimiter: str = ",",
    tell: bool = False,
    words: Collection[str] | None = (),
    header: bool | None = None,
) -> Frame:
    """Returns the table in any form.

    Args:
      data: a frame of pandas, polars or pyarrow; the path of a csv file (or of a csv.gz); a dict of columns; or a list
        of rows, mappings from the names of columns to values.
      missing: the texts of cells without a value; None, nan and NaT have none, too.
      delimiter: of a csv file: a character, or "tab"; "spaces" for columns that are aligned by runs of them.
      tell: whether to print how many rows of a csv file are read, every few seconds.
      words: columns of a csv file whose cells are words, even if all of them read as numbers; None: all.
      header: whether the first row of a csv file names the columns, which else are "0", "1", ...; None: it does, and
        may hold numbers that count. A first row of numbers in which one stands twice is an example.
    """
    gaps = _texts(missing)
    if isinstance(data, str | os.PathLike):
        columns, first_row = _CsvFile(os.fspath(data), delimiter, header, gaps, words).read(tell)
        frame = Frame(columns, file=os.fspath(data), first_row=first_row)
    elif isinstance(data, Mapping):
        frame = Frame(_columns(data.items(), gaps), types={str(name): _name_of(name) for name in data})
    elif isinstance(data, Sequence) and all(isinstance(row, Mapping) for row in data):
        names = list(dict.fromkeys(name for row in data for name in row))
        frame = Frame(
            _columns([(name, [row.get(name) for row in data]) for name in names], gaps),
            "rows",
            types={str(name): _name_of(name) for name in names},
        )
    else:
        frame = _from_library(data, gaps)
    sizes = {name: len(values) for name, values in frame.columns.items()}
    refuse(
        (len(set(sizes.values())) > 1, f"the columns of the table have different lengths: {sizes}"),
        (not len(frame), "the table has no rows"),
    )
    return dataclasses.replace(frame, missing=tuple(sorted(gaps)), delimiter=delimiter)


def _texts(missing: Any) -> frozenset[str]:
    """Returns the texts of cells without a value."""
    if isinstance(missing, Mapping) or not isinstance(missing, Iterable):
        raise UserError(f"missing is a text of cells without a value, or a list of such texts, not {missing!r}")
    return frozenset(map(str, [missing] if isinstance(missing, str) else missing))


def _columns(named: Iterable[tuple[Any, Any]], missing: frozenset[str]) -> Columns:
    """Returns the columns by the texts of their names."""
    columns: Columns = {}
    for key, values in named:
        name = str(key)
        refuse((name in columns, f"the table has two columns of the name {name!r}"))
        columns[name] = _as_column(name, values, missing)
    return columns


def _from_library(data: Any, missing: frozenset[str]) -> Frame:
    try:
        frame = nw.from_native(data, eager_only=True)
    except nw.exceptions.DuplicateError as error:
        raise UserError(f"the table has two columns of one name: {list(map(str, data.columns))}") from error
    except TypeError as error:
        raise UserError(
            "a table is a frame of pandas, polars or pyarrow, the path of a csv file, a dict of columns or a list of "
            f"rows, not {type(data).__name__}"
        ) from error
    columns = ((name, _of_series(s)) for name, s in zip(frame.columns, frame.iter_columns(), strict=True))
    read = _columns(columns, missing)
    types = {name: _type_of(series) for name, series in zip(read, frame.iter_columns(), strict=True)}
    return Frame(read, frame.implementation.value, types=types)


def _type_of(series: nw.Series) -> dict[str, Any]:
    """Returns the type of a column of a frame, as JSON: that of pandas, or of narwhals, with its options or categories;
    and the name if it is no text.
    """
    dtype, about = series.dtype, _name_of(series.name) | {"dtype": type(series.dtype).__name__}
    about |= {key: getattr(dtype, key) for key in ("time_unit", "time_zone", "categories") if hasattr(dtype, key)}
    if series.implementation.is_pandas_like():
        native: Any = series.to_native()
        about = _name_of(series.name) | {"dtype": str(native.dtype)}
        if isinstance(dtype, nw.Categorical | nw.Enum):
            about |= {"categories": native.cat.categories.tolist(), "ordered": bool(native.cat.ordered)}
    if "categories" in about:
        about["categories"] = list(about["categories"])
        about = about if set(map(type, about["categories"])) <= {str, int, float, bool} else _name_of(series.name)
    return about


def _name_of(name: Any) -> dict[str, Any]:
    """Returns the entry of a type for a name that is no text."""
    is_plain = not isinstance(name, str) and set(map(type, name if isinstance(name, tuple) else [name]))
    return (
        {"name": list(name) if isinstance(name, tuple) else name} if is_plain and is_plain <= {str, int, float} else {}
    )


def _without_names(types: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {column: {key: value for key, value in about.items() if key != "name"} for column, about in types.items()}


def _typed(series: nw.Series, about: Mapping[str, Any]) -> nw.Series:
    """Returns a column as one of the type of `_type_of`; as it is where its values do not fit."""
    if about.get("dtype", "object") != "object":
        with contextlib.suppress(Exception):  # of the library, for values that the type does not have
            made = _cast(series, about)
            is_other = made.dtype.is_integer() and (made != series).any()
            return series if is_other or made.null_count() != series.null_count() else made
    return series


def _cast(series: nw.Series, about: Mapping[str, Any]) -> nw.Series:
    kind, kinds = about["dtype"], about.get("categories")
    if zone := about.get("time_zone") or kind.partition(", ")[2].rstrip("]"):
        series = series.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    if not series.implementation.is_pandas_like():
        of_narwhals = getattr(nw, kind)
        assert issubclass(of_narwhals, nw.dtypes.DType)
        return series.cast(of_narwhals(**{key: value for key, value in about.items() if key not in ("dtype", "name")}))
    native: Any = series.to_native()
    if kinds is None:
        return nw.from_native(native.astype(kind), series_only=True)
    texts = {str(each): each for each in kinds}
    marked = native.map(lambda value: texts.get(str(value), value)).astype("category")
    return nw.from_native(marked.cat.set_categories(kinds, ordered=about["ordered"]), series_only=True)


def _of_series(series: nw.Series) -> Any:
    """Returns the values of a column of a frame: an array of numbers, or a list."""
    if series.dtype.is_integer() and not series.null_count() and series.dtype not in (nw.Int128, nw.UInt128):
        return series.to_numpy()
    if series.dtype.is_numeric() and not series.dtype.is_integer():
        return series.cast(nw.Float64).fill_null(math.nan).to_numpy().astype(np.float64, copy=False)
    return series.to_list()


def _as_column(name: str, values: Any, missing: frozenset[str]) -> np.ndarray:
    """Returns the values of a column: float64, int64 or datetime64 where all are, else object with None for gaps."""
    if isinstance(values, np.ma.MaskedArray):
        values = list(values) if np.ma.is_masked(values) else values.data
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "iufM":
        if values.dtype.kind == "M":
            return values.astype("datetime64[us]")
        kind = np.float64 if values.dtype.kind == "f" else np.int64
        if kind == np.float64 or np.abs(values.astype(np.float64)).max(initial=0) < 2**53:
            return _without(values.astype(kind, copy=False), missing)
    one = isinstance(values, str | bytes | Mapping) or (isinstance(values, np.ndarray) and not values.ndim)
    if one or not isinstance(values, Iterable):
        raise UserError(f"the column {name!r} is not a list of values, but {plain_value(values)!r}")
    values = list(values)
    items = [None if type(item) is str and item.strip() in missing else item for item in map(plain_value, values)]
    kinds = {type(item) for item in items if item is not None}
    if kinds and kinds <= {int, float} and all(abs(item) < 2**53 for item in items if type(item) is int):
        return _without(np.array([math.nan if item is None else item for item in items], np.float64), missing)
    if kinds and all(issubclass(kind, datetime.date) for kind in kinds):
        times = (value for value, item in zip(values, items, strict=True) if isinstance(item, datetime.datetime))
        refuse_mixed_zones(name, {getattr(time, "tzinfo", None) is None for time in times})
        return np.array(items, "datetime64[us]")
    if kinds <= {int, float, bool, str} and kinds != {bool}:
        gaps = missing | _numbers_among(missing)
        items = [str(item) if type(item) is bool else item for item in items]
        items = [None if item in gaps else item for item in items]
    return np.fromiter(items, object, len(items))


def plain_value(item: Any) -> Any:
    """Returns a value as Python's own: None without one, times with a time zone as UTC times without one. Equal texts
    are one object, so that a cell takes the memory of a reference.
    """
    if type(item) is str:
        return sys.intern(item)
    if item is np.ma.masked:
        return None
    if isinstance(item, np.datetime64):
        item = item.astype("datetime64[us]")
    if isinstance(item, np.generic):
        item = item.item()
    if isinstance(item, int) and abs(item) >= _TOO_LONG:
        raise UserError("a table holds no whole numbers of more than 4,300 digits, which Python does not write down")
    if isinstance(item, str):  # of a class of its own, such as that of an Enum
        return sys.intern(str.__str__(item))
    if isinstance(item, decimal.Decimal):
        item = None if item.is_nan() else float(item)
    if item is None or type(item).__name__ in ("NAType", "NaTType") or (isinstance(item, float) and math.isnan(item)):
        return None
    if isinstance(item, datetime.datetime) and item.tzinfo is not None:
        try:
            return item.astimezone(datetime.UTC).replace(tzinfo=None)
        except OverflowError as error:
            raise UserError(f"the time {item} lies outside of the years 1 to 9999 in UTC") from error
    return item


def _without(values: np.ndarray, missing: frozenset[str]) -> np.ndarray:
    """Returns numbers with nan for numbers that are named as missing, such as "-999"."""
    gaps = np.isin(values, list(_numbers_among(missing)))
    return np.where(gaps, np.nan, values) if gaps.any() else values


def _numbers_among(texts: Iterable[str]) -> frozenset[float]:
    """Returns the numbers that some of the texts read as, except nan."""
    return frozenset(float(text) for text in texts if is_number(text) and not math.isnan(float(text)))


def _in_place(old: Mapping[Any, Any], new: Mapping[str, Any]) -> dict[Any, Any]:
    """Returns entries of a user, with new ones in place of entries of the same name, or after them."""
    names = set(map(str, old))
    added = {name: value for name, value in new.items() if name not in names}
    return {name: new.get(str(name), value) for name, value in old.items()} | added


def _listed(values: Iterable[Any]) -> list[Any]:
    """Returns values as a list of Python's own; times that Python does not have stay numpy's."""
    items = values.tolist() if isinstance(values, np.ndarray) else list(values)
    are_times = isinstance(values, np.ndarray) and values.dtype.kind in "mM"
    return list(values) if are_times and int in set(map(type, items)) else items


def _as_dates(values: list[Any]) -> Any:
    known = [value for value in values if value is not None]
    return np.array(values, "datetime64[us]") if known and all(isinstance(v, datetime.date) for v in known) else values


def as_lists(table: Any) -> dict[str, list[Any]]:
    """Returns the columns of a table that `Frame.back` has made, as lists."""
    if isinstance(table, Mapping):
        return dict(table)
    if isinstance(table, list):
        return {name: [row[name] for row in table] for name in table[0]}
    return nw.from_native(table, eager_only=True).to_dict(as_series=False)


#: Between the cells of a column in memory: a text takes many more bytes by itself.
_MARK = "\x1e"


def _column_of(chunks: Sequence[str], missing: frozenset[str], as_texts: bool) -> np.ndarray:
    """Returns the values of a column of a csv file, whose cells are joined by marks: numbers if all are, unless
    `as_texts`, or texts. Equal texts are one object.
    """
    cells = _MARK.join(chunks).split(_MARK)
    texts = set(cells)
    texts -= missing
    if texts and not as_texts and are_numbers(texts, with_codes=False):
        del texts  # for their memory
        return np.fromiter((math.nan if cell in missing else float(cell) for cell in cells), np.float64, len(cells))
    words = {text: text for text in texts}
    return np.fromiter(map(words.get, cells), object, len(cells))


@dataclasses.dataclass(frozen=True)
class _CsvFile:
    """A csv file, and how it is read; the arguments are those of `read_frame`."""

    path: str
    delimiter: str
    header: bool | None
    missing: frozenset[str]
    words: Collection[str] | None

    def read(self, tell: bool) -> tuple[Columns, int]:
        """Returns the columns, read piece by piece, and the number of the first row."""
        mark, usual = self._mark(self.delimiter), "one character, such as ';', 'tab' or 'spaces'"
        is_wrong = len(mark) != 1 or mark in '\r\n"'
        refuse((is_wrong, f"the delimiter of a table is {usual}, not {self.delimiter!r}"))
        try:
            columns, first_row = self._read(tell)
        except (OSError, EOFError, zlib.error, csv.Error, UnicodeDecodeError) as error:
            raise UserError(f"cannot read the table {self.path!r}: {error}") from error
        for name, chunks in columns.items():
            columns[name] = _column_of(chunks, self.missing, self.words is None or name in self.words)
        return columns, first_row

    @staticmethod
    def _mark(delimiter: str) -> str:
        return {"tab": "\t", "spaces": " "}.get(delimiter, delimiter)  # these are hard to write on a command line

    @contextlib.contextmanager
    def _rows(self, delimiter: str) -> Iterator[Any]:
        """Opens the file and yields a reader of its rows; a run of spaces cuts once, and not at the ends of a line."""
        path, mark = user_path(self.path), self._mark(delimiter)
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", newline="", encoding="utf-8-sig") as file:
            lines = (line.strip() + "\n" for line in file) if mark == " " else file
            yield csv.reader(lines, delimiter=mark, skipinitialspace=True, strict=True)

    def _read(self, tell: bool) -> tuple[dict[str, Any], int]:
        """Returns the cells of each column, joined in pieces, and the number of the first row."""
        num, next_line = 0, time.monotonic() + _FIRST_LINE
        with self._rows(self.delimiter) as rows:
            first = [cell.strip() for cell in next(filter(None, rows), [])]
            has_names = self._has_names(first)
            names = first if has_names else list(map(str, range(len(first))))
            columns: dict[str, Any] = {name: [] for name in names}
            left = itertools.chain([] if has_names else [first], self._checked(rows, len(first)))
            while chunk := list(itertools.islice(left, _CHUNK)):
                num += len(chunk)
                for chunks, cells in zip(columns.values(), zip(*chunk, strict=True), strict=True):
                    chunks.append(_MARK.join(map(str.strip, cells)))
                    is_marked = chunks[-1].count(_MARK) >= len(cells)
                    refuse((is_marked, f"the table {self.path!r} holds the control character {_MARK!r}"))
                chunk.clear()  # before the next one is read
                if tell and time.monotonic() >= next_line:
                    print(f"read {num:,} rows", flush=True)
                    next_line = time.monotonic() + _BETWEEN_LINES
        refuse((not num, f"the table {self.path!r} has no rows"))
        return columns, 2 if has_names else 1

    def _has_names(self, first: Sequence[str]) -> bool:
        """Returns whether the first row has the names of the columns; refuses one that can have none."""
        if len(first) == 1 and (other := self._other_delimiter()):
            cut = f"the table {self.path!r} has one column when cut at {self.delimiter!r}"
            raise UserError(f"{cut}: give delimiter={other!r}")
        twice = [name for name in first if first.count(name) > 1]
        all_numbers = bool(first) and all(map(is_number, first))
        if self.header is False or (all_numbers and twice):
            return False
        counts = all_numbers and [float(name) - float(first[0]) for name in first] == list(range(len(first)))
        shown = ", ".join(first[:3]) + ", ..." * (len(first) > 3)
        remedy = "give header=False" if self.header else "put a line of names before"
        row = f"the first row of the table {self.path!r} does not name its columns"
        refuse(
            (not any(first), f"{row}: it is empty"),
            (all_numbers and (self.header or not counts), f"{row}, but holds the numbers {shown}: {remedy}"),
            (twice, f"{row}: {', '.join(map(repr, twice[:1]))} stands there twice"),
        )
        return True

    def _other_delimiter(self) -> str:
        """Returns the first usual delimiter that cuts the first rows into equally many cells, more than one, or ""."""
        for other in (",", ";", "\t", "|", " "):
            with self._rows(other) as rows:
                some = list(itertools.islice(filter(None, rows), _FEW_ROWS))
            cells = list(itertools.chain.from_iterable(some[1:]))  # several words may be one cell
            are_words = other == " " and not (cells and all(map(is_number, cells)))
            if len({len(row) for row in some}) == 1 < len(some[0]) and not are_words:
                return other
        return ""

    def _checked(self, rows: Any, num: int) -> Iterator[list[str]]:
        """Yields the rows of a csv reader, each of `num` cells, without empty lines."""
        for row in filter(None, rows):
            if len(row) != num:
                line = f"line {rows.line_num} of the table {self.path!r}"
                raise UserError(f"{line} has {len(row)} cells, but the first has {num}")
            yield row


def _as_written(texts: np.ndarray) -> list[Any]:
    """Returns texts, None for empty ones, as whole numbers or numbers if all are written as Python writes them."""
    cells = texts.tolist()
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            numbers = [None if cell is None else kind(cell) for cell in cells]
            if all(str(number) == cell for number, cell in zip(numbers, cells, strict=True) if cell is not None):
                return numbers
    return cells
