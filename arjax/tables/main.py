"""The command `arjax-table`: models of tables from the shell. JAX is imported by the commands: `--help` is instant."""

from __future__ import annotations

import argparse
import csv
import gzip
import sys
from collections.abc import Callable, Mapping, Sequence
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
  arjax-table next people.safetensors income --given sex=Female age=35
"""

#: The arguments that are more than the name of a file.
_ARGUMENTS: dict[str, Any] = {
    "num": {"type": int, "help": "number of rows"},
    "output": {"help": "a csv file, or - to print the rows"},
    "conditions": {"nargs": "+", "metavar": "CONDITION"},
    "q": {"type": float, "help": "between 0 and 1: 0.5 for the median"},
}
_SEED = {"seed": (0, "seed of the random numbers")}
_ENGINE = ("", "the engine that answers alone, such as products, boosted or any_order; empty: the mixture")
_GIVEN: dict[str, tuple] = {"given": ([], "conditions of the rows", "CONDITION"), "engine": _ENGINE}
_ERROR = {"stderr": (0.0, "draws until the standard error is this small; 0: 2,000 draws")}
_UNKNOWN = {"unknown": ("refuse", "absent columns and new words: refuse them, or count them as missing")}
_COMMANDS: dict[str, Callable[[Any], None]] = {}
_PARSER = Parser(
    prog="arjax-table",
    description="Models of tables: any columns given any others.",
    epilog=_EPILOG,
    formatter_class=argparse.RawDescriptionHelpFormatter,
)
_PARSER.add_argument("--version", action="version", version=f"arjax-table {__version__}")
_PARSERS = _PARSER.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)


def _command(about: str, *arguments: str, **flags: tuple) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Declares a command with its arguments, and flags: default, meaning and, for several values, the form of one."""

    def declare(run: Callable[[Any], None]) -> Callable[[Any], None]:
        name = run.__name__.removeprefix("_")
        parser = _PARSERS.add_parser(name, help=about, description=about)
        for argument in arguments:
            parser.add_argument(argument, **_ARGUMENTS.get(argument, {}))
        for flag, (default, meaning, *form) in flags.items():
            several: dict[str, Any] = {"nargs": "+", "metavar": form[0]} if form else {"type": type(default)}
            several = {"action": "store_true"} if default is False else several
            usual = "" if form else f" [{default}]"
            parser.add_argument(f"--{flag}", default=default, help=f"{meaning}{usual}", **several)
        _COMMANDS[name] = run
        return run

    return declare


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line `argv`; returns the exit code."""
    return launch("arjax-table", _PARSER.parse_args, lambda flags: _COMMANDS[flags.command](flags) or 0, argv)


@_command(
    "trains a model of a csv file and saves it",
    "table",
    "model",
    minutes=(0.0, "minutes of training; 0: 10, or 2 to 10 for fewer than 5,000 rows"),
    steps=(0, "train steps, in place of minutes: the same seed gives the same model; 0: by the minutes"),
    validation=("0.1", "fraction of the rows, or a csv file"),
    kinds=([], "kinds of columns: words, numbers, date or skip", "COLUMN=KIND"),
    missing=([], "more texts that mark a cell without a value", "TEXT"),
    delimiter=(",", "the character between cells"),
    most_codes=(100, "most codes of a column of numbers"),
    **_SEED,
)
def _fit(flags: Any) -> None:
    from arjax.data.frames import NO_VALUE
    from arjax.tables import fit_table

    validation, read = flags.validation, [flags.table]
    try:
        validation = float(validation)
    except ValueError:
        validation = user_path(validation)
        read.append(validation)
    options = {name: getattr(flags, name) for name in ("steps", "delimiter", "most_codes", "seed")}
    options |= {"minutes": flags.minutes or None, "kinds": _by_name(flags.kinds, "--kinds", "zip=words", "kinds")}
    with folder_to_write(user_path(flags.model).parent):
        output = result_file(flags.model, *read)
        table = fit_table(flags.table, validation=validation, missing=(*NO_VALUE, *flags.missing), **options)
        print(table.save(output))


@_command("prints the columns of a model, and its scores", "model")
def _show(flags: Any) -> None:
    print(_opened(flags).in_words())


@_command("draws rows", "model", "num", "output", gaps=(False, "cells are missing as in training"), **_GIVEN, **_SEED)
def _sample(flags: Any) -> None:
    from arjax.data.frames import as_lists

    _check_outputs([flags.output], flags.model)
    table = _opened(flags)
    given = _conditions(table, flags.given)
    _write(flags.output, as_lists(table.sample(flags.num, given=given, seed=flags.seed, gaps=flags.gaps)))


@_command(
    "fills in the missing cells of a csv file",
    "model",
    "table",
    "output",
    num=(0, "of completions, OUTPUT-1.csv and so on; 0: the best guess"),
    **_SEED,
    **_UNKNOWN,
)
def _impute(flags: Any) -> None:
    printed = flags.num and flags.output == "-"
    refuse((printed, "each completion is a file of its own: name OUTPUT, or leave --num out"))
    outputs = [_numbered(flags.output, i) for i in range(1, flags.num + 1)] or [flags.output]
    _check_outputs(outputs, flags.model, flags.table)
    imputed = _opened(flags).impute(user_path(flags.table), num=flags.num, seed=flags.seed, unknown=flags.unknown)
    for path, rows in zip(outputs, imputed if flags.num else [imputed], strict=True):
        _write(path, rows)


@_command(
    "prints the strangest rows of a csv file, and the cell that makes them so",
    "model",
    "table",
    num=(10, "of rows; 0: all"),
    **_UNKNOWN,
)
def _outliers(flags: Any) -> None:
    from arjax.reporting.tables import print_table

    columns = _opened(flags).outliers(user_path(flags.table), num=flags.num, unknown=flags.unknown)
    texts = [[f"{v:.4g}" if isinstance(v, float) else str(v) for v in values] for values in columns.values()]
    rows = list(zip(*texts, strict=True))
    print_table(tuple(columns), rows, "strangest rows", right=("row", "nats", "surprise"))


@_command(
    "prints the mean of -log p of the rows of a csv file in nats, and its standard error", "model", "table", **_UNKNOWN
)
def _score(flags: Any) -> None:
    nats = -_opened(flags).log_prob(user_path(flags.table), unknown=flags.unknown)
    known = len(nats) > 1 and max(nats) < float("inf")
    stderr = nats.std(ddof=1) / len(nats) ** 0.5 if known else float("nan")
    print(f"{nats.mean():.4f} ± {stderr:.4f} nats per row ({len(nats):,} row{'s' * (len(nats) > 1)})")


@_command("prints the probability of conditions", "model", "conditions", **_GIVEN, **_ERROR, **_SEED)
def _query(flags: Any) -> None:
    table, options = _question(flags)
    print(table.probability(_conditions(table, flags.conditions), **options))


@_command("prints the mean of a column", "model", "column", **_GIVEN, **_ERROR, **_SEED)
def _expectation(flags: Any) -> None:
    table, options = _question(flags)
    print(table.expectation(flags.column, **options))


@_command("prints the quantile Q of a column", "model", "column", "q", **_GIVEN, **_ERROR, **_SEED)
def _quantile(flags: Any) -> None:
    table, options = _question(flags)
    print(table.quantile(flags.column, flags.q, **options))


@_command("prints how much each unknown column of a row tells about a column", "model", "target", **_GIVEN, **_SEED)
def _next(flags: Any) -> None:
    table = _opened(flags)
    for name, nats in table.next_question(_conditions(table, flags.given), flags.target, seed=flags.seed):
        print(f"{name}: {nats}")


def _question(flags: Any) -> tuple[Any, dict[str, Any]]:
    """Returns the model, and the options of its answer."""
    table = _opened(flags)
    return table, {"given": _conditions(table, flags.given), "stderr": flags.stderr, "seed": flags.seed}


def _opened(flags: Any) -> Any:
    from arjax.tables import load_table

    table = load_table(flags.model)
    return table.using(flags.engine) if getattr(flags, "engine", "") else table


def _check_outputs(outputs: Sequence[str], *read: str) -> None:
    """Refuses, before any work, a file that cannot be written, or that is read."""
    for path in outputs:
        if path != "-":
            result_file(path, *read)


def _conditions(table: Any, texts: Sequence[str]) -> dict[str, Any]:
    """Returns the conditions of the command line, by the names of their columns."""
    conditions = _by_name(texts, "a condition", "age=30..40", "conditions")
    return {name: table.condition(name, value) for name, value in conditions.items()}


def _by_name(texts: Sequence[str], what: str, example: str, several: str) -> dict[str, str]:
    """Returns the values of texts such as `age=30..40`, by the names of their columns."""
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
    """Returns the path of a completion, `full-1.csv`."""
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
