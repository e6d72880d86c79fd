"""Rewrites the result tables of the pages from the csv files they name; numbers are never typed.

A table stands between two markers, the first of which names its csv file from the root of the repository:

    <!-- table: experiments/uci/results.csv -->
    <!-- end table -->

With `seeds=mean` behind the file, rows that differ in their seed only are one line: means, with errors over the seeds.
With `column=value` only the rows that have the value are shown, or one of several values: `dataset=adult|dna`. Several
options are separated by semicolons.

A summary names several files, or one of the data sets of a file, and has one line for each: the best result by its
metric beside the best published number.

    <!-- best: experiments/digits/results.csv experiments/uci/results.csv:dna -->
    <!-- end table -->

An index has one line for each of the studies that it names: its title, one or two sentences of the paragraph of its
page that begins with **Result.**, and the kinds of its numbers.

    <!-- studies: experiments/digits experiments/uci -->
    <!-- end table -->

Run: python scripts/update_tables.py [--check]      (--check writes nothing and exits with 1 on a stale table)
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from measured import markdown_table

from arjax.cli.command_line import Parser, tell_mistakes
from arjax.core.errors import UserError
from arjax.evaluation.summaries import mean_over_runs
from arjax.sweep.results import (
    best_by_validation,
    lower_is_better,
    published_number,
    read_csv,
    readable_columns,
    score_of,
)

TABLE = re.compile(r"(<!-- (table|best|studies): (\S+(?: \S+)*) -->\n)(.*?)(<!-- end table -->)", flags=re.DOTALL)

#: A line of an index has the second sentence of a result if both have no more words.
WORDS = 32


def render(text: str, root: Path, page: Path) -> str:
    """The text of a page with every table between markers made anew from its csv file, or from the pages of studies.

    Raises:
      UserError: a csv file is missing or no results table, a study lacks a paragraph, or a marker has no end.
    """

    def table(match: re.Match) -> str:
        if match[2] == "best":
            lines = [_best(name, root) for name in match[3].split()]
            made = markdown_table(
                ["study", "data", "metric", "model", "ours", "published", "kind", "minutes"], lines, ["ours", "minutes"]
            )
        elif match[2] == "studies":
            made = _index(match[3].split(), root, page)
        else:
            name, _, options = match[3].partition(" ")
            rows, seeds = _chosen(_rows(name, root), name, options)
            made = _on_a_page(*readable_columns(_over_seeds(rows) if seeds else rows))
        return f"{match[1]}{made}\n{match[5]}"

    if len(re.findall(r"<!-- (?:table|best|studies):", text)) != len(TABLE.findall(text)):
        kinds = "'<!-- table: FILE -->', '<!-- best: FILE -->' or '<!-- studies: FOLDERS -->'"
        raise UserError(f"a {kinds} marker has no '<!-- end table -->' after it")
    return TABLE.sub(table, text)


def _on_a_page(names: list[str], cells: list[list[str]], right: list[str]) -> str:
    """The table without the names of runs where other columns tell rows apart, which the csv file has, and without
    columns that are the same in all of three rows or more: a line below the table states these.
    """
    columns = dict(zip(names, map(list, zip(*cells, strict=True)), strict=True))
    told_apart = [name for name in ("dataset", "model", "ordering", "seed", "metric") if name in columns]
    if len(set(zip(*(columns[name] for name in told_apart), strict=True))) == len(cells):
        columns.pop("name", None)
    same = {
        name: column[0] for name, column in columns.items() if len(set(column)) == 1 and name not in ("ours", "kind")
    }
    same = {} if len(cells) < 3 or "model" in same else {name: cell for name, cell in same.items() if cell}
    kept = {name: column for name, column in columns.items() if name not in same}
    table = markdown_table(list(kept), [list(row) for row in zip(*kept.values(), strict=True)], right)
    return table + ("\n\nAll rows: " + ", ".join(f"{name} {cell}" for name, cell in same.items()) + "." if same else "")


def _chosen(rows: list[dict[str, str]], name: str, options: str) -> tuple[list[dict[str, str]], bool]:
    """The rows that the options of a table ask for, and whether seeds are averaged."""
    chosen = dict(option.strip().partition("=")[::2] for option in options.split(";") if option.strip())
    seeds = chosen.pop("seeds", "")
    columns = [column for column in chosen if column not in rows[0]]
    if columns or seeds not in ("", "mean"):
        raise UserError(f"a table of {name} has the option {options!r}; options are 'seeds=mean' and 'column=value'")
    for column, values in chosen.items():
        rows = [row for row in rows if row[column] in values.split("|")]
    if not rows:
        raise UserError(f"{name} has no rows with {options!r}")
    return rows, bool(seeds)


def _index(folders: Sequence[str], root: Path, page: Path) -> str:
    """A table of studies, with links that are relative to `page`."""
    lines = []
    for readme in (root / folder / "README.md" for folder in folders):
        if not readme.is_file():
            raise UserError(f"an index names the study {readme.parent.relative_to(root)}, which does not exist")
        text = readme.read_text(encoding="utf-8")
        found = re.search(r"^\*\*Result\.\*\* (.+)$", text, flags=re.M)
        if not found:
            raise UserError(f"{readme.relative_to(root)} has no paragraph that begins with **Result.**")
        first, second = [*re.split(r"(?<=[.?]) (?=[A-Z])", found[1]), ""][:2]
        both = f"{first} {second}".strip()
        result = (both if len(both.split()) <= WORDS else first).replace("|", "\\|")
        link = Path(os.path.relpath(readme, page.parent)).as_posix()
        title = text.partition("\n")[0].removeprefix("# ")
        lines.append(f"| [{title}]({link}) | {result} | {_kinds(text, result)} |")
    return "\n".join(["| study | result | kind |", "|--|--|--|", *lines])


def _kinds(text: str, result: str) -> str:
    """The kinds of the numbers of a study, by the cells of its tables and the words of its result: `exact, bound`."""
    cells = re.findall(r"\| *(\w+) *(?=\|)", text)
    found = [kind for kind in ("exact", "bound", "estimate") if kind in cells or re.search(rf"\b{kind}", result)]
    return ", ".join(found) or "measured"


def _rows(name: str, root: Path) -> list[dict[str, str]]:
    if not (root / name).is_file():
        raise UserError(f"a table names {name}, which does not exist")
    return read_csv(root / name)


def _best(name: str, root: Path) -> list[str]:
    """The line of a summary: the best result in the first metric of a data set, by default that of the first row.

    The best is chosen on validation where each row has a score there, else by its value; rows of several seeds are one.
    """
    name, _, dataset = name.partition(":")
    rows = _rows(name, root)
    rows = [row for row in rows if not dataset or row["dataset"].rpartition("/")[2] == dataset]
    if not rows:
        raise UserError(f"{name} has no rows{f' about {dataset}' if dataset else ''}")
    rows = [row for row in rows if all(row[key] == rows[0][key] for key in ("dataset", "metric"))]
    rows = _over_seeds(rows)
    marked = [row for row, best in zip(rows, best_by_validation(rows), strict=True) if best]
    choose = min if lower_is_better(rows[0]["metric"]) else max
    best = marked[0] if marked else choose(rows, key=lambda row: float(row["value"]))
    study = Path(name).parent
    title = (root / study / "README.md").read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
    return [
        f"[{title}]({study.as_posix()}/README.md)",
        best["dataset"],
        best["metric"],
        best["model"],
        score_of(best),
        published_number(best),
        best.get("kind", ""),
        best["train_minutes"],
    ]


def _over_seeds(rows: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """The rows, those that differ in their seed as one: means, and standard errors over the seeds."""
    groups: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in rows:
        alike = ("dataset", "model", "ordering", "metric", "stderr_over")
        groups.setdefault(tuple(row.get(key, "") for key in alike), []).append(row)
    made = []
    for group in groups.values():
        row = dict(group[0])
        if len({other["seed"] for other in group}) == len(group) > 1:
            for column in ("value", "validation"):
                if all(other.get(column) for other in group):
                    mean, stderr = mean_over_runs([float(other[column]) for other in group])
                    row |= {column: f"{mean:.6g}", f"{column}_stderr": f"{stderr:.6g}"}
                else:
                    row[column] = ""
            for column in ("train_minutes", "sites_per_second"):
                known = [float(other[column]) for other in group if other.get(column)]
                row[column] = f"{sum(known) / len(known):.3g}" if known else ""
            made.append(row | {"stderr_over": "seeds", "seed": ", ".join(other["seed"] for other in group)})
        else:
            made += group
    return made


def update(root: Path, check: bool) -> int:
    """Updates all pages below `root`; with `check` only counts the stale ones. Returns the exit code."""
    stale = []
    for path in [root / "README.md", *sorted(root.glob("docs/*.md")), *sorted(root.glob("experiments/*/README.md"))]:
        if not path.is_file() or path.name == "sweeps.md":  # the page that shows how markers are written
            continue
        text = path.read_text(encoding="utf-8")
        new = render(text, root, path)
        if new == text:
            continue
        stale.append(path.relative_to(root))
        if not check:
            path.write_text(new, encoding="utf-8")
    for path in stale:
        print(f"{path} {'is stale: run python scripts/update_tables.py' if check else 'updated'}")
    return 1 if stale and check else 0


def main(argv: Sequence[str]) -> int:
    """Reads the flags and updates or checks the tables."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 on a stale table")
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1], help="root of the repository")
    flags = parser.parse_args(argv)
    return update(flags.root, flags.check)


if __name__ == "__main__":
    sys.exit(tell_mistakes("update_tables", lambda: main(sys.argv[1:])))
