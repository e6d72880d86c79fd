"""Tables of yours: csv files, one example per row and one site per column, as real values, levels or mixed columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from arjax.core.arrays import check_precision
from arjax.core.errors import UserError, say_once
from arjax.core.files import user_path
from arjax.core.options import Option, opt, seed_option
from arjax.core.spec import EventSpec
from arjax.data.base import DATASETS, Dataset, from_splits
from arjax.data.sources import SPLITS, check_other_files, tell_shared_rows
from arjax.data.table_columns import KINDS, MISSING, Column, Rule, make_column
from arjax.data.table_files import NO_VALUE, chosen, index_of, read_tables
from arjax.data.table_rows import TableRows
from arjax.data.vectors import with_noise


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
    binary_as_real: bool = False,
    noise: float = opt(0.0, least=0),
) -> Dataset:
    """A csv file of numbers, or with `levels` or `mixed` of numbers and words.

    Args:
      path: the file; with the next two, that of the train split.
      validation_path: a file of the same columns for the validation split; "": it is cut from the rows of `path`.
      test_path: likewise.
      header: whether the first row of a file holds the names of the columns. A first row of numbers in which one stands
        twice is an example.
      columns: those to take and their order, by name or by number from 0; () for all.
      skip: columns to leave out, by name or by number from 0, such as identifiers of the rows.
      delimiter: between cells, a character or "tab"; "spaces" for columns that are aligned by runs of them.
      validation: part of the rows for the validation split; likewise `test`. Rows that stand in the table twice may
        end up in two splits. Without effect on a split that has a file, which a line says.
      split_seed: of the permutation of the rows that is cut into splits.
      standardise: real columns get mean 0 and standard deviation 1 on the train split for the network; likelihoods and
        samples stay in data units. False: the network sees the numbers as they are.
      levels: 0 for real values. Else V: every column becomes integers 0 to V - 1, of words their alphabetical place
        (at most V of them), of numbers of at most V different values the place of the value, of other numbers
        one of V intervals, cut where equally many train rows would lie in each (with ties, not all do).
        The words and values are those of all rows. Likelihoods are then those of the levels.
      mixed: each column has a kind of its own: binary with two different values, tokens with more words, levels with
        whole numbers of at most `most_levels` different values, else real. Likelihoods are probabilities of discrete
        columns times densities of real ones.
      kinds: kinds of single mixed columns, instead of those above, such as ("grade:real", "zip:tokens"). Words that are
        stated are taken as they are written, identifiers and numbers with zeros in front included.
      most_levels: see `mixed`.
      missing: "refuse" cells without a value, make them one more "level" of their column, which is then discrete, or
        leave a "hole": the value is missing (see `arjax.core.arrays`), in real columns, too. A table of levels with
        holes has mixed columns.
      missing_cells: the texts of such cells.
      binary_as_real: real columns may hold nothing but 0 and 1. A density on two points has no meaning (it can be made
        arbitrarily high), so such columns are refused unless this is True.
      noise: standard deviation of Gaussian noise on the rows in training, fresh in every step, in the units that the
        network sees; for tables of real values.

    Raises:
      UserError: no file, no table, a cell of another kind than its column, a column of identifiers, two splits of one
        file, or splits without a row.
    """
    paths = zip(SPLITS, (path, validation_path, test_path), strict=True)
    files = {split: file for split, file in paths if file or split == "train"}
    cut = {"validation": validation, "test": test}
    cells = read_tables(list(files.values()), delimiter, header, least=3 if len(files) == 1 else 1)
    _tell_cut(files, cut, split_seed)
    check_other_files({split: [user_path(file)] for split, file in files.items()})
    taken = chosen(columns, skip, cells.names)
    parts = _parts(cells.sizes, list(files), cut, split_seed)
    if levels == 1:
        raise UserError(f"levels of a table must be 0 (real values) or a whole number above 1, not {levels!r}")
    if levels and mixed:
        raise UserError("levels gives all columns of a table the same kind, and mixed each its own: choose one")
    stated = _stated_kinds(kinds, mixed, cells.names)
    rule = Rule(levels, mixed, stated, most_levels, missing, tuple(missing_cells), parts["train"])
    made = [make_column(cells, i, rule) for i in taken]
    if not binary_as_real:
        _check_not_binary(path, made)
    if len(files) > 1 and any(column.spec.kind == "real" for column in made):  # discrete rows may repeat
        tell_shared_rows({split: [cells.rows[n] for n in part] for split, part in parts.items()})
    dataset = _dataset(f"table/{Path(path).stem}", made, parts, standardise)
    written = tuple(missing_cells), delimiter, header
    rows = TableRows(tuple(column.form for column in made), dataset.event, dataset.shift, dataset.scale, *written)
    dataset = dataclasses.replace(dataset, rows=rows, fingerprint=cells.fingerprint)
    return with_noise(dataset, noise)


def _dataset(name: str, columns: list[Column], parts: dict[str, np.ndarray], standardise: bool) -> Dataset:
    """The data set of the columns: of one kind where all of them are alike, else of mixed columns."""
    names, specs = [column.name for column in columns], tuple(column.spec for column in columns)
    has_holes = any(np.isnan(column.values).any() for column in columns)
    if len(set(specs)) == 1 and (specs[0].kind == "real" or not has_holes):
        event = EventSpec((len(specs),), kind=specs[0].kind, num_levels=specs[0].num_levels)
    else:
        event = EventSpec((len(specs),), kind="columns", columns=specs)
    x = np.stack([column.values for column in columns], 1)
    splits = {split: x[part] for split, part in parts.items()}
    if standardise and any(spec.kind == "real" for spec in specs):
        return from_splits(event, splits, name=name, standardise="sites", columns=names)
    check_precision(x, f"the rows of {name!r}", "take standardise=True", names)
    return from_splits(event, {split: rows.astype(event.dtype) for split, rows in splits.items()}, name=name)


def _stated_kinds(kinds: tuple, mixed: bool, names: list[str]) -> dict[int, str]:
    """The given kinds, by the numbers of their columns."""
    if kinds and not mixed:
        raise UserError("kinds of a table are those of mixed columns: give mixed=True as well")
    stated = {}
    for text in kinds:
        column, colon, kind = str(text).rpartition(":")
        if not colon:
            raise UserError(f"kinds of a table are written as column:kind, such as 'grade:real', not {text!r}")
        Option(choices=KINDS).check(kind, f"the kind of the column {column!r}")
        stated[index_of(int(column) if column.isdecimal() and column not in names else column, names)] = kind
    return stated


def _check_not_binary(path: str, columns: list[Column]) -> None:
    """Raises `UserError` where columns of real values hold nothing but 0 and 1."""
    real = [column for column in columns if column.spec.kind == "real"]
    binary = [column.name for column in real if _is_binary(column.values)]
    meant = "binary_as_real=True if densities of them are meant all the same"
    if binary and len(binary) == len(columns):
        raise UserError(f"the table {path!r} is binary, all of it is 0 or 1: give levels=2, or {meant}")
    if binary:
        some = ", ".join(map(repr, binary[:5])) + " and others" * (len(binary) > 5)
        raise UserError(
            f"columns of the table hold nothing but 0 and 1, on which a density has no meaning ({some}): leave them "
            "out with `skip`, take mixed=True, with which each column has its own kind, or `levels`, which makes "
            f"integers of all, or give {meant}"
        )


def _is_binary(values: np.ndarray) -> bool:
    """Whether the values are 0 and 1, apart from missing ones."""
    return np.array_equal(np.unique(values[~np.isnan(values)]), (0, 1))


def _tell_cut(files: Mapping[str, str], cut: Mapping[str, float], seed: int) -> None:
    """Says on stderr that options of cutting a file have no effect on splits that have files of their own."""
    usual = DATASETS.options("table")
    for split, part in cut.items():
        if split in files and part != usual[split]:
            say_once(f"{split}={part!r} of a table has no effect: {split}_path is a file of its own")
    if len(files) == len(SPLITS) and seed != usual["split_seed"]:
        say_once(f"split_seed={seed!r} of a table has no effect: each split is a file of its own")


def _parts(sizes: tuple[int, ...], given: list[str], cut: dict[str, float], seed: int) -> dict[str, np.ndarray]:
    """The rows of each split, int[N_split]: those of its own file, or some of the first file.

    `sizes` are the rows of each file, one after another, and `given` its split; the first is "train". `cut` is the part
    of the rows of the first file for each split that has no file, and `seed` chooses the permutation that is cut.
    """
    ends = np.cumsum(sizes)
    parts = {split: np.arange(end - size, end) for split, size, end in zip(given, sizes, ends, strict=True)}
    numbers_of: dict[str, int] = {}
    for split, part in ((split, part) for split, part in cut.items() if split not in parts):
        if not 0 < part < 1:
            raise UserError(f"the part of the rows for {split} must be between 0 and 1, not {part!r}")
        numbers_of[split] = max(1, round(part * sizes[0]))
    rest = sizes[0] - sum(numbers_of.values())
    if rest < 1:
        taken = " and ".join(f"{split}={cut[split]}" for split in numbers_of)
        raise UserError(f"no rows are left to train on: {taken} take all {sizes[0]}")
    if numbers_of:
        rows = np.random.default_rng(seed).permutation(sizes[0])
        ends = np.cumsum([rest, *numbers_of.values()])[:-1]
        parts |= dict(zip(("train", *numbers_of), np.split(rows, ends), strict=True))
    return {split: parts[split] for split in SPLITS}
