"""Rows of texts: strings, possibly with labels, and windows of a long text."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import os
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from arjax.core.arrays import up_to_end
from arjax.core.errors import UserError, did_you_mean, refuse, say_once
from arjax.core.files import reading, user_path
from arjax.data.columns import is_number
from arjax.data.rows import RowsRead, check_unknown
from arjax.data.vocabulary import Vocabulary, padded
from arjax.data.windows import cut


class Line(NamedTuple):
    """A string of a file, with the number of its line, from 1, and the label of its class, None without one."""

    text: str
    number: int
    label: str | None = None


class TextFile(NamedTuple):
    """The contents of a file of text, and a digest of them."""

    text: str
    digest: bytes


def read_text(path: str | os.PathLike, tokens: str) -> TextFile:
    """Reads a file of text. Characters are read as UTF-8, with every kind of line ending as a newline. Bytes that are
    not UTF-8 pass as surrogates (PEP 383), which a vocabulary of bytes writes back as they were.
    """
    with reading(f"the text file {str(path)!r}"):
        content = user_path(path).read_bytes()
    try:
        if tokens == "bytes":
            text = content.decode("utf-8", "surrogateescape")
        else:
            text = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        remedy = "convert it, or take tokens=bytes"
        raise UserError(f"the file {str(path)!r} is no UTF-8 text (byte {error.start}): {remedy}") from error
    return TextFile(text, hashlib.sha256(content).digest())


def lines_of(text: str) -> list[Line]:
    """Returns the lines of a text that have a character."""
    lines = (line.removesuffix("\r") for line in text.split("\n"))
    return [Line(line, number) for number, line in enumerate(lines, 1) if line]


def labelled_lines(text: str, path: str, labels: str, column: str, needed: bool = True) -> list[Line]:
    """Returns the strings and labels of a csv file with a header, or of one with tabs, whose name then ends in .tsv.
    Rows whose string has no character are left out. Unless the labels are `needed`, some may be missing.
    """
    rows = csv.reader(io.StringIO(text, newline=""), delimiter="\t" if path.endswith(".tsv") else ",")
    lines = []
    try:
        names = [name.strip() for name in next(rows, [])]
        columns = [column, *([labels] if needed or labels in names else [])]
        for name in columns:
            hint = did_you_mean(name, names, f"; there are: {', '.join(names)}")
            refuse((name not in names, f"the file {path!r} has no column {name!r}{hint}"))
        where = {name: names.index(name) for name in columns}
        for row in rows:
            line = f"line {rows.line_num} of {path!r} has"
            refuse((row and len(row) != len(names), f"{line} {len(row)} cells, but the first has {len(names)}"))
            if not row or not row[where[column]]:
                continue
            label = row[where[labels]].strip() if labels in where else None
            refuse((needed and not label, f"{line} no label in the column {labels!r}"))
            lines.append(Line(row[where[column]], rows.line_num, label or None))
    except csv.Error as error:
        raise UserError(f"cannot read the table {path!r}: {error}") from error
    return lines


def sorted_classes(labels: Iterable[str]) -> tuple[str, ...]:
    """Returns the different labels, numbers by size and words by their letters."""
    classes = set(labels)
    return tuple(sorted(classes, key=lambda label: (float(label), label) if all(map(is_number, classes)) else label))


def class_numbers(labels: Sequence[Any], classes: Sequence[str], place: str = "") -> np.ndarray:
    """Returns the numbers of labels, int32[N]. `place` begins the sentence."""
    known = {name: number for number, name in enumerate(classes)}
    for label in labels:
        if str(label) not in known:
            hint = did_you_mean(str(label), classes)
            raise UserError(f"{place}{label!r} is none of the {len(classes)} classes of the training{hint}")
    return np.array([known[str(label)] for label in labels], np.int32)


def say_unknown(vocabulary: Vocabulary, text: str) -> None:
    """Says which characters of a text of the user share the unknown token."""
    if vocabulary.unknown is None or not (missing := vocabulary.missing(text)):
        return
    shown = ", ".join(map(repr, missing[:5])) + (", ..." if len(missing) > 5 else "")
    say_once(f"the text has characters that were rare or absent in training, scored as the unknown token: {shown}")


@dataclasses.dataclass(frozen=True)
class _TokenRows:
    """Rows of tokens, of a string with its end or of a window of this length; see `arjax.data.rows.Rows`."""

    vocabulary: Vocabulary
    length: int

    def decode(self, x: np.ndarray) -> list[str]:
        """Returns the texts of examples."""
        return [self.vocabulary.decode(x_T) for x_T in np.asarray(x).reshape(-1, np.shape(x)[-1])]


@dataclasses.dataclass(frozen=True)
class StringRows(_TokenRows):
    """Strings with an end. `labels` and `column` are the columns of labels and of strings in a csv file, "" for files
    with a string in each line; `classes` are the names of the labels.
    """

    labels: str = ""
    column: str = ""
    classes: tuple[str, ...] = ()

    def read(
        self, rows: Any, *, unknown: str = "refuse", holes: bool = False, needed: Collection[str] | None = None
    ) -> RowsRead:
        """Returns `x` and `mask` [N, T] of a file or a list of strings, and `context` if a file has labels."""
        check_unknown(unknown, holes)
        if isinstance(rows, str | os.PathLike):
            path = os.fspath(rows)
            if isinstance(rows, str) and not user_path(path).exists():
                raise UserError(f"there is no text file {path!r}; strings are a list, also a single one: [{path!r}]")
            text = read_text(path, self.vocabulary.units).text
            lines = labelled_lines(text, path, self.labels, self.column, False) if self.labels else lines_of(text)
        elif isinstance(rows, list | tuple) and all(isinstance(text, str) for text in rows):
            lines = [Line(text, number) for number, text in enumerate(rows)]
        else:
            kind = type(rows).__name__
            if isinstance(rows, list | tuple):
                kind += f" with a {next(type(text).__name__ for text in rows if not isinstance(text, str))}"
            raise UserError(f"strings are a list of texts, or the path of a file, not a {kind}")
        refuse((not lines, f"{str(rows)!r} has no string"))
        say_unknown(self.vocabulary, "".join(line.text for line in lines))
        for line in lines:
            if self.vocabulary.num_tokens(line.text) >= self.length:
                units = f"{self.length - 1} {self.vocabulary.units}"
                raise UserError(f"the string of number {line.number} is longer than the {units} of the model")
        assert self.vocabulary.end is not None, "strings have an end"
        x_NT = padded(self.vocabulary, [line.text for line in lines], self.length, self.vocabulary.end)
        arrays = {"x": x_NT.astype(np.int32), "mask": up_to_end(x_NT, self.vocabulary.end)}
        labels = [line.label for line in lines]
        if self.classes and all(labels):
            arrays["context"] = class_numbers(labels, self.classes, f"{str(rows)!r}: the label ")
        return RowsRead(arrays, np.array([line.number for line in lines]))


@dataclasses.dataclass(frozen=True)
class WindowRows(_TokenRows):
    """A long text in windows that score every token once, each `stride` tokens behind the one before."""

    stride: int

    def read(
        self, rows: Any, *, unknown: str = "refuse", holes: bool = False, needed: Collection[str] | None = None
    ) -> RowsRead:
        """Returns `x` and `mask` [N, T] of the windows of a file."""
        check_unknown(unknown, holes)
        if not isinstance(rows, str | os.PathLike):
            raise UserError("a model of a long text reads the path of a text file, not a list of texts")
        text = read_text(rows, self.vocabulary.units).text
        say_unknown(self.vocabulary, text)
        tokens = self.vocabulary.encode(text)
        if len(tokens) < self.length:
            units = self.vocabulary.units
            raise UserError(f"{str(rows)!r} has {len(tokens)} {units}, fewer than the {self.length} of a window")
        arrays = cut([tokens], self.length, self.stride)
        return RowsRead({name: arrays[name] for name in ("x", "mask")}, np.arange(len(arrays["x"])))
