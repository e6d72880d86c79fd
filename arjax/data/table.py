"""Tables of yours: csv files, a row per example and a column per site, as real values, levels or mixed columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from arjax.core.arrays import check_precision
from arjax.core.errors import UserError, did_you_mean, refuse, say_once
from arjax.core.files import digest_of, fingerprint_of, user_path
from arjax.core.options import Option, is_integer, opt, seed_option
from arjax.core.spec import EventSpec
from arjax.data import columns as cells
from arjax.data.base import DATASETS, Dataset, from_splits
from arjax.data.frames import NO_VALUE, Frame, read_frame
from arjax.data.rows import RowsRead, check_unknown
from arjax.data.sources import SPLITS, check_other_files, tell_shared_rows
from arjax.data.vectors import with_noise

KINDS = ("binary", "levels", "tokens", "real")
#: What becomes of cells without a value.
MISSING = ("refuse", "level", "hole")
_OTHER_KINDS = "take mixed=True, with which each column has its own kind, or `levels`, which makes integers of all"


@DATASETS.register("table")
def table(
    *,
    path: str = "",
    validation_path: str = "",
    test_path: str = "",
    header: bool = True,
    columns: tuple = (),
    skip: tuple = (),
    delimiter: str = ",",
    validation: float = 0.1,
    test: float = 0.1,
    split_seed: int = seed_option(),
    standardise: bool = True,
    levels: int = 0,
    mixed: bool = False,
    kinds: tuple = (),
    most_levels: int = 20,
    missing: str = opt("refuse", choices=MISSING),
    missing_cells: tuple = NO_VALUE,
    noise: float = opt(0.0, least=0),
) -> Dataset:
    """A csv file of numbers, or with `levels` or `mixed` of numbers and words.

    Args:
      path: the file; with the next two, that of the train split.
      validation_path, test_path: files of the same columns for these splits; "": cut from the rows of `path`.
      header: whether the first row names the columns. A first row of numbers in which one stands twice is an example.
      columns: those to take and their order, by name or by number from 0; () for all.
      skip: columns to leave out, by name or by number from 0, such as identifiers of the rows.
      delimiter: between cells, a character or "tab"; "spaces" for columns that are aligned by runs of them.
      validation, test: parts of the rows for these splits. Rows that stand in the table twice may end up in two splits.
        Without effect on a split that has a file, which a line says.
      split_seed: of the permutation of the rows that is cut into splits.
      standardise: real columns get mean 0 and standard deviation 1 on the train split for the network; likelihoods and
        samples stay in data units. False: the network sees the numbers as they are.
      levels: 0 for real values. Otherwise V: every column becomes integers 0 to V - 1, the places of its different
        words, by the alphabet, or numbers, by size, in all rows: at most V of them.
      mixed: each column has its own kind: binary with two different values, tokens with more words, levels with whole
        numbers of at most `most_levels` different values, else real. Likelihoods are probabilities of discrete columns
        times densities of real ones.
      kinds: kinds of single mixed columns, instead of those above, such as ("grade:real", "zip:tokens"). Tokens are
        taken as they are written, identifiers and numbers with zeros in front included.
      most_levels: see `mixed`.
      missing: "refuse" cells without a value, make them one more "level" of their column, which is then discrete, or
        leave a "hole": the value is missing (see `arjax.core.arrays`), in real columns, too. A table of levels with
        holes has mixed columns.
      missing_cells: the texts of such cells.
      noise: standard deviation of Gaussian noise on the rows in training, fresh in every step, in the units that the
        network sees; for tables of real values.
    """
    paths = zip(SPLITS, (path, validation_path, test_path), strict=True)
    files = {split: file for split, file in paths if file or split == "train"}
    cut = {"validation": validation, "test": test}
    refuse(
        (not path, "the data set 'table' needs a csv file: give its path, such as config.dataset.path=my.csv"),
        (levels == 1, f"levels of a table must be 0 (real values) or a whole number above 1, not {levels!r}"),
        (levels and mixed, "levels gives all columns of a table the same kind, and mixed each its own: choose one"),
    )
    frames = [read_frame(file, missing_cells, delimiter, words=None, header=header) for file in files.values()]
    texts, place = _joined(frames)
    sizes, names = list(map(len, frames)), list(texts)
    _tell_cut(files, cut, split_seed)
    check_other_files({split: [user_path(file)] for split, file in files.items()})
    parts = _parts(sizes, list(files), cut, split_seed)
    stated = _stated_kinds(kinds, mixed, names)
    rule = _Rule(levels, mixed, most_levels, missing, sizes[0], place)
    made = [_made(names[i], texts[names[i]], rule, stated.get(i, "")) for i in _chosen(columns, skip, names)]
    _check_not_binary(path, mixed, made)
    if len(files) > 1 and any(column.spec.kind == "real" for column in made):  # discrete rows may repeat
        rows_of_all = list(zip(*(column.x.tolist() for column in made), strict=True))
        tell_shared_rows({split: [rows_of_all[n] for n in part] for split, part in parts.items()})
    dataset = _dataset(f"table/{Path(path).stem}", made, parts, standardise)
    forms = tuple(column.form for column in made)
    table_rows = TableRows(forms, dataset.event, dataset.shift, dataset.scale, tuple(missing_cells), delimiter, header)
    fingerprint = fingerprint_of(digest_of(user_path(file)) for file in files.values())
    return with_noise(dataclasses.replace(dataset, rows=table_rows, fingerprint=fingerprint), noise)


def _joined(frames: Sequence[Frame]) -> tuple[dict[str, np.ndarray], cells.Place]:
    """Returns the columns of the rows of all frames, one after another, and the place of a row in messages."""
    first, ends = frames[0], np.cumsum(list(map(len, frames)))
    few = f"the table {first.file!r} needs three rows or more, one for each split, but has {ends[0]}"
    for frame in frames:
        other = f"the table {frame.file!r} has other columns than {first.file!r}: {', '.join(frame.columns)}"
        refuse((list(frame.columns) != list(first.columns), other))
    refuse((len(frames) == 1 and ends[0] < len(SPLITS), few))

    def place(n: int) -> str:
        frame = frames[int((ends <= n).sum())]
        return frame.place(n - int(ends[ends <= n].max(initial=0)))

    return {name: np.concatenate([frame.columns[name] for frame in frames]) for name in first.columns}, place


class _Rule(NamedTuple):
    """The options of `table` for columns, the number of rows of the first file, and places of rows."""

    levels: int
    mixed: bool
    most_levels: int
    missing: str
    num_rows: int
    place: cells.Place

    def numbers(self, name: str, values: np.ndarray) -> np.ndarray:
        """Returns the values as float64[N], nan without one; refuses the first that is not a number of float32."""
        write = " or write it as numbers" if self.mixed or self.levels else f", write it as numbers, or {_OTHER_KINDS}"
        remedy = f": leave the column out with `skip`{write}"
        return cells.as_numbers(name, values, place=self.place, most=cells.LARGEST_FLOAT32, remedy=remedy)


class _Made(NamedTuple):
    """A column of the data set: the meaning of its values, their spec, and `x`: float64[N] of a real column or of one
    with missing values (NaN), otherwise integers from 0.
    """

    form: cells.Words | cells.Reals
    spec: EventSpec
    x: np.ndarray


def _made(name: str, values: np.ndarray, rule: _Rule, stated: str) -> _Made:
    """Returns the column of these texts, object[N], None without a value; `stated` is its kind from the user, or ""."""
    texts, gaps = set(cells.without_gaps(values).tolist()), cells.gaps_of(values)
    from_numbers = stated != "tokens" and cells.are_numbers(texts, with_codes=True)
    if not stated:
        _check_column(name, values, rule, from_numbers)
    kind = stated or _kind(texts, from_numbers, rule)
    where = f"{rule.place(int(gaps.argmax()))} has no value in the column {name!r}" if gaps.any() else ""
    hole = "or give missing='hole', which leaves the value out"
    level = "missing='level', which makes a level of it in discrete columns"
    texts_of_gaps = "missing_cells has the texts of cells without a value"
    no_level = f"{where}, which is real and has no level for it: fill it in, leave the column out, {hole}"
    no_value = f"{where}: fill it in, leave the column out with `skip`, {hole}, or {level}; {texts_of_gaps}"
    refuse(
        (where and rule.missing == "level" and kind == "real", no_level),
        (where and rule.missing == "refuse", no_value),
    )
    if kind != "real":
        return _discrete(name, values, kind, from_numbers, rule)
    x = rule.numbers(name, values)
    apart = f"give them in other units, or as words with kinds=('{name}:tokens',)"
    large = f"the column {name!r} of the table holds whole numbers from 2**53 on, which float64 does not tell apart"
    refuse((cells.merges(texts), f"{large}: {apart}"))
    return _Made(cells.Reals(name, _digits(x)), EventSpec((), (), "real"), x)


def _digits(x: np.ndarray) -> int:
    """Returns how many digits of a real column show seven digits of its spread: more for a large mean."""
    known = cells.without_gaps(x)
    spread = known.std() if len(known) else 0.0
    return 7 + int(np.clip(np.log10(np.abs(known).max() / spread), 0, 10)) if spread else 7


def _kind(texts: set[str], from_numbers: bool, rule: _Rule) -> str:
    """Returns the kind of all columns, or the one that the different texts of a mixed column have."""
    if not rule.mixed:
        return "levels" if rule.levels else "real"
    values = set(map(float, texts)) if from_numbers else texts
    if len(values) <= 2:
        return "binary"
    if not from_numbers:
        return "tokens"
    few = len(values) <= rule.most_levels and all(float(text).is_integer() for text in texts)
    return "levels" if few else "real"


def _discrete(name: str, values: np.ndarray, kind: str, from_numbers: bool, rule: _Rule) -> _Made:
    """Returns a column of integers: the place of each word or number among the different ones. Cells without a value
    are holes, or one more level.
    """
    known, x = cells.without_gaps(values), np.full(len(values), np.nan)
    keys = cells.without_gaps(rule.numbers(name, values)) if from_numbers else known.astype(str)
    _, first, x[~cells.gaps_of(values)] = np.unique(keys, return_index=True, return_inverse=True)
    words, column = tuple(known[first].tolist()), f"the column {name!r} of the table"
    above = f"{column} holds {len(words)} different values, above levels={rule.levels}"
    refuse((len(words) > rule.levels > 0, above))
    words = (*words, *(f"level {v}" for v in range(len(words), rule.levels)))
    if rule.missing == "level" and np.isnan(x).any():  # without a place in the order of the others
        kind, x, words = "tokens", np.where(np.isnan(x), len(words), x), (*words, None)
    num = len(words)
    refuse(
        (num < 2, f"{column} holds one value in all rows: leave it out with `skip`"),
        (kind == "binary" and num > 2, f"{column} holds {num} different values: it is not binary"),
    )
    spec = EventSpec((), (), "binary" if num == 2 else kind, num)
    return _Made(cells.Words(name, words, from_numbers), spec, x if np.isnan(x).any() else x.astype(np.int64))


def _check_column(name: str, values: np.ndarray, rule: _Rule, from_numbers: bool) -> None:
    """Refuses, or notes on stderr, numbers with some words, identifiers and row counts in columns of no stated kind."""
    as_words = f"mixed=True and kinds=('{name}:tokens',)"
    texts = cells.without_gaps(values).tolist()
    if rule.levels or rule.mixed:  # else a word is refused as no number
        _, stray = cells.kind_of(name, values, rule.place, as_words, with_codes=True)
        many = len(set(texts)) > (rule.levels or rule.most_levels)
        unless = "name it in missing_cells where such a cell has no value"
        kept = f"{unless}, or give {as_words}, which keeps all of them as words"
        refuse((stray and many, f"{stray}, too many different ones to be words: {kept}"))
        if stray:
            say_once(f"{stray}, so all of them are words without an order: {unless}; {as_words} says it is meant")
    reason = cells.names_rows(values, rule.most_levels)
    useless = f"the column {name!r} of the table {reason.removeprefix('it ')}: there is nothing to learn from it"
    remedy = f"leave it out with skip=({name!r},), or keep it as words with {as_words}"
    refuse((reason and (not from_numbers or all(map(cells.is_code, texts))), f"{useless}, {remedy}"))
    first = values[: rule.num_rows].tolist()
    begins = len(first) > rule.most_levels and first[0] in ("0", "1")
    if begins and first == list(map(str, range(int(first[0]), int(first[0]) + len(first)))):
        say_once(f"the column {name!r} of the table counts its rows: leave it out with skip=({name!r},)")


def _chosen(columns: tuple, skip: tuple, names: list[str]) -> list[int]:
    """Returns the numbers of the columns to take, in their order: all without `columns`, except skipped ones."""
    taken, left_out = ([index_of(column, names) for column in option] for option in (columns, skip))
    left = [i for i in range(len(names)) if i not in left_out]
    twice = "{} of a table names one of them twice: {!r}"
    refuse(
        (len(set(taken)) < len(taken), twice.format("columns", columns)),
        (len(set(left_out)) < len(left_out), twice.format("skip", skip)),
        (columns and skip, "columns of a table are those to take, and skip those to leave out: give one of the two"),
        (not left, "skip of a table leaves no column"),
    )
    return taken or left


def index_of(column: str | int, names: list[str]) -> int:
    """Returns the number of a column that is given by its name or its number."""
    if isinstance(column, str) and column in names:
        return names.index(column)
    if not isinstance(column, str) and is_integer(column) and 0 <= column < len(names):
        return int(column)
    hint = did_you_mean(str(column), names, f"; there are: {', '.join(names)}")
    raise UserError(f"the table has no column {column!r}{hint}")


def _dataset(name: str, columns: list[_Made], parts: dict[str, np.ndarray], standardise: bool) -> Dataset:
    """Returns the data set of the columns: of one kind where all of them are alike, else of mixed columns."""
    names, specs = [column.form.name for column in columns], tuple(column.spec for column in columns)
    has_holes = any(np.isnan(column.x).any() for column in columns)
    if len(set(specs)) == 1 and (specs[0].kind == "real" or not has_holes):
        event = dataclasses.replace(specs[0], grid_shape=(len(specs),))
    else:
        event = EventSpec((len(specs),), kind="columns", columns=specs)
    x = np.stack([column.x for column in columns], 1)
    splits = {split: x[part] for split, part in parts.items()}
    if standardise and any(spec.kind == "real" for spec in specs):
        return from_splits(event, splits, name=name, standardise="sites", columns=names)
    check_precision(x, f"the rows of {name!r}", "take standardise=True", names)
    return from_splits(event, {split: rows.astype(event.dtype) for split, rows in splits.items()}, name=name)


def _stated_kinds(kinds: tuple, mixed: bool, names: list[str]) -> dict[int, str]:
    """Returns the given kinds, by the numbers of their columns."""
    refuse((kinds and not mixed, "kinds of a table are those of mixed columns: give mixed=True as well"))
    stated = {}
    for text in kinds:
        column, colon, kind = str(text).rpartition(":")
        form = "column:kind, such as 'grade:real'"
        refuse((not colon, f"kinds of a table are written as {form}, not {text!r}"))
        Option(choices=KINDS).check(kind, f"the kind of the column {column!r}")
        stated[index_of(int(column) if column.isdecimal() and column not in names else column, names)] = kind
    return stated


def _check_not_binary(path: str, mixed: bool, columns: list[_Made]) -> None:
    """Refuses columns of real values that hold nothing but 0 and 1."""
    reals = [column for column in columns if column.spec.kind == "real"]
    binary = [column.form.name for column in reals if np.array_equal(np.unique(cells.without_gaps(column.x)), (0, 1))]
    some = ", ".join(map(repr, binary[:5])) + " and others" * (len(binary) > 5)
    no_density = f"columns of the table hold nothing but 0 and 1, on which a density has no meaning ({some})"
    refuse(
        (binary and mixed, f"{no_density}: state no kind of theirs, or binary"),
        (len(binary) == len(columns), f"the table {path!r} is binary, all of it is 0 or 1: give levels=2"),
        (binary, f"{no_density}: leave them out with `skip`, or {_OTHER_KINDS}"),
    )


def _tell_cut(files: Mapping[str, str], cut: Mapping[str, float], seed: int) -> None:
    """Says on stderr that options of cutting a file have no effect on splits that have files of their own."""
    usual = DATASETS.options("table")
    for split, part in cut.items():
        if split in files and part != usual[split]:
            say_once(f"{split}={part!r} of a table has no effect: {split}_path is a file of its own")
    if len(files) == len(SPLITS) and seed != usual["split_seed"]:
        say_once(f"split_seed={seed!r} of a table has no effect: each split is a file of its own")


def _parts(sizes: Sequence[int], given: list[str], cut: dict[str, float], seed: int) -> dict[str, np.ndarray]:
    """Returns the rows of each split, int[N_split]: those of its own file, or some of the first file. `sizes` are the
    rows of each file, one after another, and `given` its split; the first is "train". `cut` is the part of the first
    file for each split without a file, and `seed` chooses the permutation that is cut.
    """
    ends = np.cumsum(sizes)
    parts = {split: np.arange(end - size, end) for split, size, end in zip(given, sizes, ends, strict=True)}
    numbers_of: dict[str, int] = {}
    for split, part in ((split, part) for split, part in cut.items() if split not in parts):
        refuse((not 0 < part < 1, f"the part of the rows for {split} must be between 0 and 1, not {part!r}"))
        numbers_of[split] = max(1, round(part * sizes[0]))
    rest = sizes[0] - sum(numbers_of.values())
    taken = " and ".join(f"{split}={cut[split]}" for split in numbers_of)
    refuse((rest < 1, f"no rows are left to train on: {taken} take all {sizes[0]}"))
    if numbers_of:
        rows = np.random.default_rng(seed).permutation(sizes[0])
        ends = np.cumsum([rest, *numbers_of.values()])[:-1]
        parts |= dict(zip(("train", *numbers_of), np.split(rows, ends), strict=True))
    return {split: parts[split] for split in SPLITS}


@dataclasses.dataclass(frozen=True, eq=False)
class TableRows:
    """The columns of a table, in the order of the sites, that a data set was made of; see `arjax.data.rows.Rows`.
    `shift` and `scale` are those of the data set; `missing`, `delimiter` and `header` describe the files of the table.
    """

    columns: tuple[cells.Words | cells.Reals, ...]
    event: EventSpec
    shift: np.ndarray | None
    scale: np.ndarray | None
    missing: tuple[str, ...]
    delimiter: str
    header: bool

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return [column.name for column in self.columns]

    def to_cells(self, x_ND: np.ndarray) -> list[list[str]]:
        """Returns rows of cells of examples in data units, the names of the columns first."""
        columns = [
            ["" if value is None else cells.as_text(value) for value in column.values(x)]
            for column, x in zip(self.columns, np.asarray(x_ND).T, strict=True)
        ]
        return [self.names, *map(list, zip(*columns, strict=True))]

    def read(
        self, rows: Any, *, unknown: str = "refuse", holes: bool = False, needed: Collection[str] | None = None
    ) -> RowsRead:
        """Returns `x` [N, D] of a table in any form of `read_frame`. Columns are found by their names, in any order;
        others are left out, and those that are not `needed` are 0.
        """
        check_unknown(unknown, holes)
        words = [column.name for column in self.columns if isinstance(column, cells.Words)]
        frame = read_frame(rows, self.missing, self.delimiter, words=words, header=self.header)
        cells_ND = frame.cells(self.columns, unknown, needed, cells.AS_MISSING if holes else "")
        is_needed_D = np.array([needed is None or name in needed for name in self.names])
        for n, i in np.argwhere(np.isnan(cells_ND) & is_needed_D & (not holes))[:1].tolist():
            raise UserError(
                f"{frame.place(n)} has no value in the column {self.names[i]!r}, and this model takes no missing "
                "values: fill it in, or train with missing='hole'"
            )
        x_ND = cells_ND if self.scale is None or self.shift is None else (cells_ND - self.shift) / self.scale
        x_ND = np.where(is_needed_D, x_ND, 0).astype(self.event.dtype)
        return RowsRead({"x": x_ND}, np.arange(len(frame)) + frame.first_row)

    def decode(self, x: np.ndarray) -> dict[str, list[Any]]:
        """Returns the columns by their names: words, numbers in the units of the file, and None for a missing value."""
        x_ND = np.asarray(x, np.float64).reshape(-1, len(self.columns))
        x_ND = x_ND if self.scale is None or self.shift is None else x_ND * self.scale + self.shift
        decoded = {column.name: column.values(x).tolist() for column, x in zip(self.columns, x_ND.T, strict=True)}
        for column in self.columns:
            if isinstance(column, cells.Words) and column.from_numbers:
                values = decoded[column.name]
                decoded[column.name] = [
                    cells.exact(value) if value and cells.is_number(value) else value for value in values
                ]
        return decoded

    def given(self, values: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Returns one row with these values by their columns, as the model sees it, and where they are, bool[D]."""
        for name, value in values.items():
            is_nan = isinstance(value, float | np.floating) and np.isnan(value)
            is_one = not (isinstance(value, set | Mapping) or np.ndim(value) or value is None or is_nan)
            several = "lists and ranges are for models of arjax.fit_table"
            refuse((not is_one, f"given[{name!r}] must be one value, not {value!r}: {several}"))
        observed_D = self.sites(list(values), "given")
        row = self.read([dict(values)], needed=values.keys()).arrays["x"][0] if values else np.zeros(len(self.columns))
        return row, observed_D

    def sites(self, names: Sequence[str], called: str) -> np.ndarray:
        """Returns the sites of columns by their names, bool[D]."""
        is_named_D = np.zeros(len(self.columns), bool)
        for name in names:
            refuse((not isinstance(name, str), f"{called} has the names of columns, not {name!r}"))
            is_named_D[index_of(name, self.names)] = True
        return is_named_D
