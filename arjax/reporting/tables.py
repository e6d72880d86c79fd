"""Tables for the terminal and for README files."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

from arjax.core.errors import UserError
from arjax.core.files import reading, write_text

#: Around the table of a page that a measurement writes.
BEGIN, END = "<!-- measured -->\n", "<!-- end measured -->"


def format_count(number: float) -> str:
    """A large count with three digits and a suffix: `1.31B`, `784k`, `12`."""
    scaled, suffix = _with_unit(number, 1000, ("", "k", "M", "B", "T", "P"))
    return scaled + suffix


def format_bytes(number: float) -> str:
    """A size in bytes with three digits (or four) and a binary unit, such as `1.95 GiB`, `1010 KiB`."""
    return " ".join(_with_unit(round(number), 1024, ("B", "KiB", "MiB", "GiB", "TiB")))


def _with_unit(number: float, base: int, units: Sequence[str]) -> tuple[str, str]:
    """A number of at least three digits in the unit in which it is below the base when it is rounded, and this unit."""
    place = 0
    while float(_digits(number)) >= base and place < len(units) - 1:
        number, place = number / base, place + 1
    return _digits(number), units[place]


def _digits(number: float) -> str:
    """Three digits, or all of a number of more."""
    return f"{number:.0f}" if number >= 999.5 else f"{number:.3g}"


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


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    title: str = "",
    right: Sequence[str] = (),
    stream: TextIO | None = None,
) -> None:
    """Prints a table with rich; long cells are folded, none is cut."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    class PipedConsole(Console):
        def on_broken_pipe(self) -> None:  # that of rich ends the process, with the exit code of a failure
            raise  # the error that rich has caught

    table = Table(box=box.SIMPLE_HEAD)
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    stream = sys.stdout if stream is None else stream
    # A pipe has no width: the usual 80 columns would fold every row of a table that goes to a file.
    console = PipedConsole(file=stream, width=None if stream.isatty() else 200)
    if title:  # a title of the table itself would be folded to the table's width
        console.print(Text(title, style="bold"))
    console.print(table)
