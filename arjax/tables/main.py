"""The command `arjax-table`: models of tables from the shell. JAX is imported by the commands: `--help` is instant."""

from __future__ import annotations

import argparse
import csv
import gzip
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arjax.cli.command_line import Parser, leave
from arjax.cli.flags import launch
from arjax.core import __version__
from arjax.core.errors import refuse
from arjax.core.files import folder_to_write, replacing, result_file, user_path

_EPILOG = """\
conditions:
  sex=Female    one value          age=30..40    a range          job=Sales|Tech-support    one of several
                                   age=30..      from 30 on       age=..40                  up to 40

examples:
  arjax-table fit people.csv people.safetensors --minutes=10
  arjax-table sample people.safetensors 1000 drawn.csv --given sex=Female
  arjax-table impute people.safetensors new.csv full.csv
  arjax-table outliers people.safetensors new.csv --num=10
  arjax-table query people.safetensors age=30..40 hours=50.. --given sex=Female
"""

_OUTPUT = "a csv file, or - to print the rows"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line `argv`; returns the exit code."""
    return launch("arjax-table", _parser().parse_args, lambda flags: _COMMANDS[flags.command](flags), argv)


def _parser() -> Parser:
    parser = Parser(
        prog="arjax-table",
        description="Models of tables: any columns given any others.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"arjax-table {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)

    def add(name: str, about: str, *files: str) -> Parser:
        command: Parser = commands.add_parser(name, help=about, description=about)
        for file in files:
            command.add_argument(file)
        return command

    fit = add("fit", "trains a model of a csv file and saves it", "table", "model")
    fit.add_argument("--minutes", type=float, default=10.0, help="of training [10]")
    fit.add_argument("--validation", default="0.1", help="part of the rows, or a csv file [0.1]")
    fit.add_argument("--kinds", nargs="+", default=[], metavar="COLUMN=KIND", help="words, numbers, date or skip")
    fit.add_argument("--missing", nargs="+", default=[], metavar="TEXT", help="a cell without a value")
    fit.add_argument("--delimiter", default=",", help="between cells [,]")
    fit.add_argument("--most_codes", type=int, default=100, help="of a column of numbers [100]")
    fit.add_argument("--seed", type=int, default=0)
    add("show", "prints the columns of a model, and its scores", "model")
    sample = add("sample", "draws rows", "model")
    sample.add_argument("num", type=int)
    sample.add_argument("output", help=_OUTPUT)
    _with_given(sample)
    impute = add("impute", "fills in the missing cells of a csv file", "model", "table")
    impute.add_argument("output", help=_OUTPUT)
    impute.add_argument("--num", type=int, default=0, help="of completions, OUTPUT-1.csv and so on [the best guess]")
    outliers = add(
        "outliers", "prints the strangest rows of a csv file, and the cell that makes them so", "model", "table"
    )
    outliers.add_argument("--num", type=int, default=10, help="of rows [10]")
    score = add(
        "score", "prints the mean of -log p of the rows of a csv file in nats, and its standard error", "model", "table"
    )
    query = add("query", "prints the probability of conditions", "model")
    query.add_argument("conditions", nargs="+", metavar="CONDITION")
    _with_given(query)
    for command in (sample, impute, query):
        command.add_argument("--seed", type=int, default=0)
    for command in (impute, outliers, score):
        help = "absent columns, and words that training never saw: refuse, or take as missing [refuse]"
        command.add_argument("--unknown", default="refuse", help=help)
    return parser


def _with_given(command: Parser) -> None:
    command.add_argument("--given", nargs="+", default=[], metavar="CONDITION", help="of the rows")


def _fit(flags: Any) -> int:
    from arjax.data.frames import NO_VALUE
    from arjax.tables import fit_table

    validation, read = flags.validation, [flags.table]
    try:
        validation = float(validation)
    except ValueError:
        validation = user_path(validation)
        read.append(validation)
    kinds = _by_name(flags.kinds, "--kinds", "zip=words", "kinds")
    with folder_to_write(user_path(flags.model).parent):
        output = result_file(flags.model, *read)
        table = fit_table(
            flags.table,
            minutes=flags.minutes,
            validation=validation,
            kinds=kinds,
            missing=(*NO_VALUE, *flags.missing),
            delimiter=flags.delimiter,
            most_codes=flags.most_codes,
            seed=flags.seed,
        )
        print(table.save(output))
    return 0


def _show(flags: Any) -> int:
    print(_opened(flags).in_words())
    return 0


def _sample(flags: Any) -> int:
    from arjax.data.frames import as_lists

    _check_outputs([flags.output], flags.model)
    table = _opened(flags)
    rows = table.sample(flags.num, given=_conditions(table, flags.given), seed=flags.seed)
    _write(flags.output, as_lists(rows))
    return 0


def _impute(flags: Any) -> int:
    printed = flags.num and flags.output == "-"
    refuse((printed, "each completion is a file of its own: name OUTPUT, or leave --num out"))
    outputs = [_numbered(flags.output, i) for i in range(1, flags.num + 1)]
    _check_outputs(outputs or [flags.output], flags.model, flags.table)
    imputed = _opened(flags).impute(user_path(flags.table), num=flags.num, seed=flags.seed, unknown=flags.unknown)
    for path, rows in zip(outputs, imputed, strict=True) if outputs else [(flags.output, imputed)]:
        _write(path, rows)
    return 0


def _outliers(flags: Any) -> int:
    from arjax.reporting.tables import print_table

    unlikely = _opened(flags).outliers(user_path(flags.table), num=flags.num, unknown=flags.unknown)
    columns = {
        name: [f"{v:.4g}" if isinstance(v, float) else str(v) for v in values] for name, values in unlikely.items()
    }
    print_table(
        tuple(columns), list(zip(*columns.values(), strict=True)), "strangest rows", right=("row", "nats", "surprise")
    )
    return 0


def _score(flags: Any) -> int:
    nats = -_opened(flags).log_prob(user_path(flags.table), unknown=flags.unknown)
    stderr = nats.std(ddof=1) / len(nats) ** 0.5 if len(nats) > 1 else float("nan")
    print(f"{nats.mean():.4f} ± {stderr:.4f} nats per row ({len(nats):,} rows)")
    return 0


def _query(flags: Any) -> int:
    table = _opened(flags)
    event, given = (_conditions(table, texts) for texts in (flags.conditions, flags.given))
    print(table.probability(event, given=given, seed=flags.seed))
    return 0


_COMMANDS = {
    "fit": _fit,
    "show": _show,
    "sample": _sample,
    "impute": _impute,
    "outliers": _outliers,
    "score": _score,
    "query": _query,
}


def _opened(flags: Any) -> Any:
    from arjax.tables import load_table

    return load_table(flags.model)


def _check_outputs(outputs: Sequence[str], *read: str) -> None:
    """Refuses, before any work, a file that cannot be written, or is one of those that are read."""
    for path in outputs:
        if path != "-":
            result_file(path, *read)


def _conditions(table: Any, texts: Sequence[str]) -> dict[str, Any]:
    """The conditions of the command line, by the names of their columns."""
    conditions = _by_name(texts, "a condition", "age=30..40", "conditions")
    return {name: table.condition(name, value) for name, value in conditions.items()}


def _by_name(texts: Sequence[str], what: str, example: str, several: str) -> dict[str, str]:
    """What texts such as `age=30..40` say, by the names of their columns."""
    by_name: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        refuse(
            (not equals or not name, f"{what} is written as {example}, not {text!r}"),
            (name in by_name, f"the column {name!r} has two {several}"),
        )
        by_name[name] = value
    return by_name


def _numbered(path: str, number: int) -> str:
    """The path of a completion, `full-1.csv`."""
    output = Path(path)
    refuse((output.name in ("", ".."), f"{path!r} is a folder, and the result is a file: name one in it"))
    name, *ends = output.name.rsplit(".", 2 if output.name.endswith(".gz") else 1)
    return str(output.with_name(".".join([f"{name}-{number}", *ends])))


def _write(path: str, columns: Mapping[str, Sequence[Any]]) -> None:
    """Writes a csv file, at once, and prints its path; prints the rows for the path "-"."""
    cells = [["" if value is None or value != value else value for value in values] for values in columns.values()]
    rows = [list(columns), *zip(*cells, strict=True)]
    if path == "-":
        csv.writer(sys.stdout, lineterminator="\n").writerows(rows)
        return
    target = user_path(path)
    opened = gzip.open if target.suffix == ".gz" else open
    with replacing(target) as part, opened(part, "wt", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    print(target)


def run() -> None:
    """Entry point of the console script."""
    leave(main())


if __name__ == "__main__":
    run()
