"""Rewrites the result tables of the README files from the csv files they name; numbers are never typed.

A table stands between two markers, the first of which names its csv file from the root of the repository:

    <!-- table: experiments/uci/results.csv -->
    <!-- end table -->

Run: python scripts/update_readme_tables.py [--check]      (--check writes nothing and exits with 1 on a stale table)
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from arjax.cli.command_line import Parser, tell_mistakes
from arjax.core.errors import UserError
from arjax.reporting.tables import markdown_table
from arjax.sweep.results import read_csv, readable_columns

TABLE = re.compile(r"(<!-- table: (\S+) -->\n)(.*?)(<!-- end table -->)", flags=re.DOTALL)


def render(text: str, root: Path) -> str:
    """The text with every table between markers made anew from its csv file.

    Raises:
      UserError: a csv file is missing or no results table, or a marker has no end.
    """

    def table(match: re.Match) -> str:
        path = root / match[2]
        if not path.is_file():
            raise UserError(f"a table names {match[2]}, which does not exist")
        columns, cells, right = readable_columns(read_csv(path))
        return f"{match[1]}{markdown_table(columns, cells, right)}\n{match[4]}"

    if text.count("<!-- table:") != len(TABLE.findall(text)):
        raise UserError("a '<!-- table: FILE -->' marker has no '<!-- end table -->' after it")
    return TABLE.sub(table, text)


def update(root: Path, check: bool) -> int:
    """Updates all README files below `root`; with `check` only counts the stale ones. Returns the exit code."""
    stale = []
    for path in [root / "README.md", *sorted(root.glob("experiments/*/README.md"))]:
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8")
        new = render(text, root)
        if new == text:
            continue
        stale.append(path.relative_to(root))
        if not check:
            path.write_text(new, encoding="utf-8")
    for path in stale:
        print(f"{path} {'is stale: run python scripts/update_readme_tables.py' if check else 'updated'}")
    return 1 if stale and check else 0


def main(argv: Sequence[str]) -> int:
    """Reads the flags and updates or checks the tables."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 on a stale table")
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1], help="root of the repository")
    flags = parser.parse_args(argv)
    return update(flags.root, flags.check)


if __name__ == "__main__":
    sys.exit(tell_mistakes("update_readme_tables", lambda: main(sys.argv[1:])))
