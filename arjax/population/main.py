"""The command `arjax-population`: trains the populations of a study file and writes their table and picture."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from arjax.cli.command_line import (
    EXIT_USER_ERROR,
    Parser,
    only_run_in,
    tell_mistakes,
    unknown_argument,
    writable_folder,
)
from arjax.core.errors import UserError
from arjax.core.user_files import select
from arjax.population.jobs import PopulationJob, check_jobs, finished, load_study, run_job
from arjax.population.report import draw_orders, rows
from arjax.reporting.tables import print_table
from arjax.sweep.results import FILE_NAME, readable_columns, write_csv

PICTURE_NAME = "orders.png"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the study; 0 when all is done, 2 on a mistake in the command, the file or a config."""
    return tell_mistakes("arjax-population", lambda: _study(_parse(sys.argv[1:] if argv is None else argv)))


def run() -> None:
    """Entry point of the console script."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog="arjax-population",
        description="Trains each population of a study (one config, many orders and seeds) in one program; finished "
        "populations are skipped.",
        usage="arjax-population --study=experiments/NAME/study.py --workdir=DIR [--only=NAME,NAME]",
        allow_abbrev=False,
    )
    parser.add_argument("--study", required=True, metavar="FILE.py", help="file that defines get_populations()")
    parser.add_argument("--workdir", required=True, metavar="DIR", help="each population gets a folder in it")
    parser.add_argument("--only", default="", metavar="NAME,NAME", help="train these populations only")
    flags, unknown = parser.parse_known_args(list(argv))
    if unknown:
        raise UserError(unknown_argument(unknown[0], parser))
    return flags


def _study(flags: argparse.Namespace) -> int:
    jobs = load_study(flags.study)
    selected = select(jobs, flags.only, "population")
    check_jobs(selected)
    workdir = writable_folder(flags.workdir)
    failed = []
    with only_run_in(workdir):
        for number, job in enumerate(selected, start=1):
            place = f"[{number}/{len(selected)}] {job.name}"
            try:
                if finished(job, workdir / job.name):
                    print(f"{place}: trained before", flush=True)
                    continue
                print(f"{place}: {len(job.orders)} orders x {len(job.seeds)} seeds", flush=True)
                run_job(job, workdir / job.name, say=lambda text: print(f"    {text}", flush=True))
            except UserError as error:  # of its data or its folder: the other populations are trained all the same
                failed.append(str(error))
            _write(jobs, workdir, flags.study)
        _write(jobs, workdir, flags.study)
    _report(jobs, workdir, flags.study)
    for sentence in failed:
        print(f"arjax-population: {' '.join(sentence.split())}", file=sys.stderr)
    return EXIT_USER_ERROR if failed else 0


def _studied(jobs: Sequence[PopulationJob], workdir: Path) -> Iterator[tuple[PopulationJob, dict]]:
    for job in jobs:
        try:
            about = finished(job, workdir / job.name)
        except UserError:  # a population that was not selected may have a mistake in its config
            continue
        if about is not None:
            yield job, about


def _write(jobs: Sequence[PopulationJob], workdir: Path, study: str) -> None:
    """Table and picture of what is done so far."""
    studied = list(_studied(jobs, workdir))
    write_csv(workdir / FILE_NAME, [row for job, found in studied for row in rows(job, found, study)])
    draw_orders(workdir / PICTURE_NAME, studied)


def _report(jobs: Sequence[PopulationJob], workdir: Path, study: str) -> None:
    table = [row for job, found in _studied(jobs, workdir) for row in rows(job, found, study)]
    if table:
        columns, cells, right = readable_columns(table)
        print_table(columns, cells, right=right)
    print(f"{len(table)} rows in {workdir / FILE_NAME}")


if __name__ == "__main__":
    run()
