"""Measurements of studies: their tables on pages, their arrays, and curves over a logarithmic axis."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arjax.core.errors import UserError
from arjax.core.files import read_arrays, reading, write_arrays, write_text
from arjax.reporting.figures import save_figure
from arjax.sweep.plots import panels_of_curves

#: Around the table of a page that a measurement writes.
BEGIN, END = "<!-- measured -->\n", "<!-- end measured -->"


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], right: Sequence[str] = ()) -> str:
    """A GitHub table with columns padded to equal width; columns named in `right` are aligned to the right."""
    cells = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    widths = [max(3, len(name), *(len(row[i]) for row in cells)) for i, name in enumerate(columns)]
    aligned_right = [name in right for name in columns]

    def line(row: Sequence[str]) -> str:
        padded = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, aligned_right, strict=True))
        return f"| {' | '.join(padded)} |"

    rule = ["-" * (w - 1) + ":" if r else "-" * w for w, r in zip(widths, aligned_right, strict=True)]
    return "\n".join([line(columns), line(rule), *map(line, cells)])


def measured_rows(page: Path, columns: Sequence[str]) -> list[list[str]]:
    """The cells of the measured table of a page, without its head; none where there is no table yet. Raises `UserError`
    as `write_measured`, or the table has other columns.
    """
    head, *rows = measured_table(page) or [list(columns)]
    if head != list(columns):
        raise UserError(f"the table of {page} has other columns: empty it first")
    return rows


def measured_table(page: Path) -> list[list[str]]:
    """The names of the columns of the measured table of a page, and the cells of its rows; [] where there is none yet.
    Raises `UserError` as `write_measured`, or a row has more or fewer cells than the table has columns.
    """
    _, inside, _ = _around_table(page)
    lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in inside.splitlines()]
    cells = [[cell.strip().replace("\\|", "|") for cell in line] for line in lines]
    if any(len(row) != len(cells[0]) for row in cells):
        raise UserError(f"a row of the table of {page} has more or fewer cells than the table has columns")
    return cells[:1] + cells[2:]


def write_measured(page: Path, table: str) -> None:
    """Puts a table of `markdown_table` between `<!-- measured -->` and `<!-- end measured -->` of a page. Raises
    `UserError`: there is no such page, it has no such markers, or the disk refuses.
    """
    before, _, after = _around_table(page)
    write_text(page, f"{before}{BEGIN}{table}\n{END}{after}")


def renew_measured(
    page: Path,
    columns: Sequence[str],
    found: Sequence[Sequence[str]],
    order: Sequence[tuple[str, ...]],
    right: Sequence[str] = (),
) -> list[list[str]]:
    """Puts lines into the measured table of a page, each in place of the one with the same first cells, and prints it.

    Args:
      columns, right: as of `markdown_table`.
      found: the cells of the new lines; the table keeps all others that are in `order`.
      order: the first cells of all lines that there may be, in their sequence.

    Returns the cells of all lines; raises `UserError` as `measured_rows`.
    """
    size = len(order[0])
    lines = {tuple(cells[:size]): list(cells) for cells in [*measured_rows(page, columns), *found]}
    rows = [lines[key] for key in dict.fromkeys(order) if key in lines]
    table = markdown_table(columns, rows, right)
    print(table)
    write_measured(page, table)
    return rows


def _around_table(page: Path) -> tuple[str, str, str]:
    """The text before the first marker, between the two, and after the second one."""
    with reading(page):
        text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    inside, end, after = rest.partition(END)
    if not (begin and end):
        raise UserError(f"{page} has no place for a table: {BEGIN.strip()} and {END} on lines of their own")
    return before, inside, after


def keep_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Puts arrays into an .npz file beside those that it has, in place of those of their names; returns all of them.

    Raises `UserError` when the file is damaged, or the disk refuses.
    """
    kept = (read_arrays(path) if path.exists() else {}) | dict(arrays)
    write_arrays(path, kept)
    return kept


def log_curves(
    path: str | os.PathLike,
    panels: Sequence[tuple[str, str, Mapping[str, tuple[Sequence[float], Sequence[float]]]]],
    xlabel: str,
    log_y: bool = True,
) -> None:
    """Draws panels of named curves over a logarithmic axis, or two, with one legend. `panels`: (title, label of the y
    axis, {name: (x, y)}) of each; a name has the same colour in all panels. `log_y`: whether the other one is, too.
    """
    figure = panels_of_curves(panels, xlabel)
    for axis in figure.axes:
        axis.set_xscale("log", base=2)
        axis.set_yscale("log" if log_y else "linear")
    save_figure(figure, path)
