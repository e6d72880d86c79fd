"""The flags of `arjax-sweep`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from arjax.cli.command_line import TRUST_HELP, Parser
from arjax.core.errors import UserError
from arjax.core.values import parse_expression, parse_literal
from arjax.sweep.dry_run import FORMS

_EPILOG = """\
examples:
  arjax-sweep --sweep=experiments/digits/sweep.py --workdir=runs/digits_study --dry_run
  arjax-sweep --sweep=experiments/digits/sweep.py --workdir=runs/digits_study --jobs=2 --seeds=mean
  arjax-sweep --sweep=my_search.py --workdir=runs/my_search --search=optuna --trials=40 --jobs=2
"""


def parse_flags(argv: Sequence[str]) -> argparse.Namespace:
    """Reads the arguments behind the program's name.

    Raises:
      UserError: an unknown flag, one that is missing, or flags that do not go together.
      SystemExit: with code 0, after `--help`.
    """
    flags = _parser().parse_args(list(argv))
    if flags.slurm_options and flags.executor != "slurm":
        raise UserError("--slurm_options goes with --executor=slurm")
    if flags.trials is not None and not flags.search:
        raise UserError("--trials goes with --search=optuna")
    if flags.trials is not None and flags.trials < 1:
        raise UserError(f"--trials must be at least 1, not {flags.trials}")
    if flags.search and (flags.only or flags.seeds != "each"):
        raise UserError(f"--search chooses its runs by itself: it takes no {'--only' if flags.only else '--seeds'}")
    if flags.search and flags.dry_run not in ("", "table"):
        raise UserError(f"--search chooses its runs by itself: it goes with --dry_run, not --dry_run={flags.dry_run}")
    if flags.search and flags.executor == "population":
        raise UserError("--search goes with --executor=local or slurm: its trials differ in more than order and seed")
    if flags.search and flags.jobs is None:
        flags.jobs = 1
    return flags


def _parser() -> Parser:
    parser = Parser(
        prog="arjax-sweep",
        description="Runs all jobs of a sweep file; finished ones are skipped, started ones go on where they were.",
        usage="arjax-sweep --sweep=experiments/NAME/sweep.py --workdir=DIR [--dry_run[=trial|commands]]\n"
        "                   [--seeds=each|mean] [--jobs=N] [--executor=local|population|slurm]\n"
        "                   [--search=optuna [--trials=N]] ...",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--sweep", required=True, metavar="FILE.py", help="file that defines get_sweep(), or get_search()"
    )
    parser.add_argument("--workdir", required=True, metavar="DIR", help="each run gets a folder in it")
    parser.add_argument(
        "--dry_run",
        nargs="?",
        default="",
        const="table",
        choices=FORMS,
        help="print the runs and their minutes, or their commands, and train nothing; trial: time some steps",
    )
    parser.add_argument(
        "--seeds",
        default="each",
        choices=("each", "mean"),
        help="rows of runs that differ in their seed only: one each, or their mean with its standard error [each]",
    )
    parser.add_argument("--only", default="", metavar="NAME,NAME", help="execute these runs only")
    parser.add_argument("--jobs", type=int, metavar="N", help="runs at once; with slurm, in the queue at once [1; all]")
    parser.add_argument(
        "--devices_per_job", type=int, metavar="N", help="devices of its own for each run on this machine"
    )
    parser.add_argument(
        "--executor",
        default="local",
        choices=("local", "population", "slurm"),
        help="a process for each run; one program for runs that differ in order and seed; a cluster [local]",
    )
    parser.add_argument("--trust", action="store_true", help=f"{TRUST_HELP}; each run gets this flag, too")
    parser.add_argument(
        "--slurm_options", default="", metavar="K=V,K=V", help="for submitit, such as slurm_partition=gpu"
    )
    group = parser.add_argument_group("search over the space of get_search(), by the score on validation")
    group.add_argument("--search", default="", choices=("optuna",), help="how the next trial is chosen")
    group.add_argument("--trials", type=int, metavar="N", help="trials in all, earlier ones counted [the file's]")
    return parser


def slurm_options(text: str) -> dict[str, Any]:
    """`slurm_partition=gpu,timeout_min=60` -> {"slurm_partition": "gpu", "timeout_min": 60}."""
    options: dict[str, Any] = {}
    for item in filter(None, text.split(",")):
        key, separator, value = item.partition("=")
        if not separator:
            raise UserError(f"--slurm_options must read key=value,key=value, not {text!r}")
        try:
            options[key] = parse_literal(parse_expression(value))
        except ValueError:
            options[key] = value
    return options
