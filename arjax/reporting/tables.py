"""Tables for the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any


def format_count(number: float) -> str:
    """A large count with three digits and a suffix: `1.31B`, `784k`, `12`."""
    scaled, suffix = _with_unit(number, 1000, ("", "k", "M", "B", "T", "P"))
    return scaled + suffix


def format_bytes(number: float) -> str:
    """A size in bytes with three digits (or four) and a binary unit, such as `1.95 GiB`, `1010 KiB`."""
    return " ".join(_with_unit(round(number), 1024, ("B", "KiB", "MiB", "GiB", "TiB")))


def _with_unit(number: float, base: int, units: Sequence[str]) -> tuple[str, str]:
    """Returns a number in the unit in which it is below the base when rounded to three digits or more, and the unit."""
    place = 0
    while float(_digits(number)) >= base and place < len(units) - 1:
        number, place = number / base, place + 1
    return _digits(number), units[place]


def _digits(number: float) -> str:
    return f"{number:.0f}" if number >= 999.5 else f"{number:.3g}"


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "", right: Sequence[str] = ()
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
    # A pipe has no width: the usual 80 columns would fold every row of a table that goes to a file.
    console = PipedConsole(file=sys.stdout, width=None if sys.stdout.isatty() else 200)
    if title:  # a title of the table itself would be folded to the table's width
        console.print(Text(title, style="bold"))
    console.print(table)
