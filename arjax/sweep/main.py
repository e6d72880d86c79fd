"""The command arjax-sweep: runs all jobs of a sweep file and writes the table of their results."""

from __future__ import annotations

import importlib.util
import itertools
import shlex
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

from arjax.cli.command_line import leave
from arjax.cli.flags import Flag, help_of, launch, read_flags
from arjax.core.errors import UserError, refuse
from arjax.core.files import folder_to_write, only_run_in, user_path
from arjax.core.plugins import trusting
from arjax.core.values import parse_expression, parse_literal
from arjax.evaluation.summaries import grouped
from arjax.reporting.progress import format_duration
from arjax.reporting.tables import print_table
from arjax.sweep.dependencies import check_dependencies, dependencies, in_stages, print_changes
from arjax.sweep.executors import Executor, LocalExecutor, execute, failure, tell_failures
from arjax.sweep.plots import CURVES_NAME, ORDERS_NAME, RESULTS_NAME, draw_curves, draw_orders, draw_results
from arjax.sweep.queued import QueuedExecutor
from arjax.sweep.results import readable_columns
from arjax.sweep.rows import check_runs, load_sweep, mean_over_seeds, runs_of, select
from arjax.sweep.runs import Run
from arjax.sweep.search import run_search
from arjax.sweep.slurm import SlurmExecutor
from arjax.sweep.table import Table
from arjax.training.record import CONFIG_NAME

EXECUTORS = ("local", "population", "ray", "slurm")
#: Beginnings of fields that hardly change the duration of a run.
SAME_COST = ("seed", "model.ordering", "optimizer.", "sample.", "inpaint.", "suggest.")
_ABOUT = "Runs all jobs of a sweep file; finished ones are skipped, interrupted ones resume."
_USAGE = """\
arjax-sweep --sweep=experiments/NAME/sweep.py --workdir=DIR [--dry_run[=commands]]
                   [--seeds=each|mean] [--jobs=N] [--executor=local|population|ray|slurm]
                   [--detach | --status] [--search=optuna [--trials=N]] ..."""
_EPILOG = """\
examples:
  arjax-sweep --sweep=experiments/digits/sweep.py --workdir=runs/digits_study --dry_run
  arjax-sweep --sweep=experiments/digits/sweep.py --workdir=runs/digits_study --jobs=2 --seeds=mean
  arjax-sweep --sweep=my_search.py --workdir=runs/my_search --search=optuna --trials=40 --jobs=2"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the sweep; 0 when all runs have results, 1 when some failed, 2 on a mistake in the command or the file."""
    return launch("arjax-sweep", sweep_flags, _run, argv)


def _run(flags: SimpleNamespace) -> int:
    with trusting():  # the user has named the sweep file, and it names the runs
        return run_search(flags, _executor) if flags.search else _sweep(flags)


def run() -> None:
    """Entry point of the console script."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end the jobs as on Ctrl-C instead of leaving them alone
    leave(main())


def _sweep(flags: SimpleNamespace) -> int:
    rows = load_sweep(flags.sweep)
    rows = mean_over_seeds(rows) if flags.seeds == "mean" else rows
    chosen = select(rows, flags.only)
    selected = runs_of(chosen, rows)
    check_runs(selected, flags.sweep)
    options = ["--executor=population"] if flags.executor == "population" else []
    options += ["--seeds=mean"] if flags.seeds == "mean" else []
    table = Table(rows, user_path(flags.workdir), flags.sweep, options)
    all_runs = [row for row in rows if isinstance(row, Run)]
    check_dependencies([run for run in selected if table.outcome(run) is None], all_runs, table.workdir)
    if flags.dry_run:
        return print_runs(selected, table, flags.dry_run)
    if flags.status:
        return _status(flags, selected, table)
    with folder_to_write(flags.workdir) as workdir, only_run_in(workdir):
        table = Table(rows, workdir, flags.sweep, options)
        waiting = [run for run in selected if table.outcome(run) is None]
        largest = max(map(len, in_stages(waiting, dependencies(waiting))), default=0)
        executor = _executor(flags, workdir, largest)
        print(f"{len(selected)} runs, {len(selected) - len(waiting)} of them already finished", flush=True)
        for name, fields in table.outdated.items():
            if fields and name in {run.name for run in waiting}:
                print(f"    {name} was finished with other fields: {fields}", flush=True)
        failed: list[str] = []
        stages = itertools.islice(_stages(waiting, table, failed), 1 if flags.detach else None)
        for _, _, problem in execute(executor, stages, len(waiting), table):
            failed += [problem] if problem else []
            table.write(table.made(derived=False)[0])
        failed += table.complaints(selected)
        not_made = _report(table)
        if flags.detach:
            later = [run.name for stage in in_stages(waiting, dependencies(waiting))[1:] for run in stage]
            print("the jobs continue; the same command with --status shows their state")
            for name in later:
                print(f"    {name} reads others: the same command submits it once they have ended")
    failed += [not_made[row.name] for row in chosen if row.name in not_made]
    return tell_failures(failed)


def _status(flags: SimpleNamespace, selected: Sequence[Run], table: Table) -> int:
    """Prints what the jobs of the runs do, and the table so far; the exit code, 1 if jobs have failed."""
    left = {run.name: run for run in selected if table.outcome(run) is None}
    executor = _executor(flags, table.workdir, 0)
    assert isinstance(executor, QueuedExecutor), "sweep_flags refuses the others"
    active, ended = executor.progress([*left.values()], table.workdir)
    failures = {name: failure(left[name], code, table.workdir) for name, code in ended.items()}
    print_runs(selected, table, "table", active | {name: how for name, (how, _) in failures.items()})
    _report(table)
    return tell_failures([sentence for _, sentence in failures.values()])


def _stages(runs: Sequence[Run], table: Table, failed: list[str]) -> Iterator[list[Run]]:
    """The runs of each stage, when those before have ended; `failed` gets those that read a run without results."""
    needs, by_name = dependencies(runs), {run.name: run for run in runs}
    for stage in in_stages(runs, needs):
        ready = []
        for run in stage:
            lacks = [name for name in sorted(needs[run.name]) if table.finished(by_name[name]) is None]
            if lacks:
                failed.append(f"{run.name} was not started: it reads {lacks[0]}, which has no results")
            elif (run := table.resolved(run)).pilots:
                failed.append(f"{run.name} was not started: its pilots have no score on validation")
            else:
                ready.append(run)
        yield ready


def _executor(flags: SimpleNamespace, workdir: Path, most: int) -> Executor:
    if flags.executor == "local":
        return LocalExecutor(1 if flags.jobs is None else flags.jobs, flags.devices_per_job, most=most)
    if flags.executor == "population":
        from arjax.sweep.population import PopulationExecutor  # with JAX, which would take the devices of other runs

        return PopulationExecutor()
    queue: dict[str, Any] = {"jobs": flags.jobs, "detach": flags.detach}
    if flags.executor == "slurm":
        return SlurmExecutor(workdir, engine_options("--slurm_options", flags.slurm_options), **queue)
    refuse((not importlib.util.find_spec("ray"), "--executor=ray needs ray: pip install 'arjax[ray]'"))
    from arjax.sweep.on_ray import RayExecutor  # with Ray

    options = engine_options("--ray_options", flags.ray_options)
    return RayExecutor(options, leaves=flags.detach or flags.status, **queue)


def _report(table: Table) -> dict[str, str]:
    """Writes the whole table and its plots; returns, by name, the reasons of missing rows."""
    rows, not_made = table.made()
    path = table.write(rows)
    if rows:
        columns, cells, right = readable_columns(rows)
        print_table(columns, cells, right=right)
    listed = [row for row in table.rows if not isinstance(row, Run) or row.listed]
    print(f"{len(rows)} of {len(listed)} rows in {path}")
    finished = table.all_finished()
    print_changes([ended.run for ended in finished], table.workdir)
    for name, what, draw, drawn in (
        (RESULTS_NAME, "scores of all rows", draw_results, (rows,)),
        (CURVES_NAME, "learning curves", draw_curves, (finished,)),
        (ORDERS_NAME, "scores by order", draw_orders, (finished,)),
    ):
        if draw(table.workdir / name, *drawn):
            print(f"{what} in {table.workdir / name}")
    return not_made


def sweep_flags(arguments: Sequence[str]) -> SimpleNamespace:
    """Returns the flags of a command line, checked."""
    declared = _declared()
    flags = read_flags("arjax-sweep", arguments, declared, lambda: help_of(_USAGE, _ABOUT, declared, f"\n{_EPILOG}"))
    on_slurm, on_ray, in_population = (flags.executor == name for name in ("slurm", "ray", "population"))
    left = [f"--{name}" for name in ("detach", "status", "dry_run") if getattr(flags, name)]
    together = " and ".join(left)
    alone, shares, on_cluster = "--search chooses its runs by itself: it", flags.devices_per_job, on_slurm or on_ray
    of_processes = "--jobs and --devices_per_job are for --executor=local: a population is one program"
    clusters = "--executor=ray or slurm: other runs end with their sweep"
    of_search = "local, ray or slurm: its trials differ in more than order and seed"
    on_clusters = "on SLURM use --slurm_options=gpus_per_node=N, and on Ray --ray_options=num_gpus=N"
    refuse(
        *((not getattr(flags, flag.name), f"arjax-sweep needs {flag.usage}") for flag in declared[:2]),
        (len(left) > 1, f"{together} are two commands"),
        (flags.slurm_options and not on_slurm, "--slurm_options goes with --executor=slurm"),
        (flags.ray_options and not on_ray, "--ray_options goes with --executor=ray"),
        ((flags.detach or flags.status) and not on_cluster, f"{together} goes with {clusters}"),
        (flags.detach and flags.jobs is not None, "--detach submits all jobs at once: it takes no --jobs"),
        (flags.search and (flags.detach or flags.status), f"{alone} takes no --detach and no --status"),
        (flags.trials is not None and not flags.search, "--trials goes with --search=optuna"),
        (flags.search and flags.only, f"{alone} takes no --only"),
        (flags.search and flags.seeds != "each", f"{alone} takes no --seeds"),
        (flags.search and flags.dry_run == "commands", f"{alone} goes with --dry_run, not --dry_run=commands"),
        (flags.search and in_population, f"--search goes with --executor={of_search}"),
        (in_population and (flags.jobs not in (None, 1) or shares), of_processes),
        (on_cluster and shares, f"--devices_per_job is for this machine; {on_clusters}"),
    )
    if flags.search and flags.jobs is None:
        flags.jobs = 1
    return flags


def _declared() -> list[Flag]:
    seeds = "rows of runs that differ in their seed only: one each, or their mean with its standard error [each]"
    executor = "a process for each run; one program for runs that differ in order and seed; a cluster [local]"
    dry_run = "print the runs and their minutes, or their commands, and train nothing"
    return [
        Flag("sweep", "FILE.py", "file that defines get_sweep(), or get_search()"),
        Flag("workdir", "DIR", "each run gets a folder in it"),
        Flag("dry_run", "", dry_run, choices=("table", "commands"), bare="table"),
        Flag("seeds", "each|mean", seeds, "each", ("each", "mean")),
        Flag("only", "NAME,NAME", "execute these runs only, and those that they read"),
        Flag("jobs", "N", "runs at once; with ray and slurm, in the queue at once [1; all]", None, least=1),
        Flag("devices_per_job", "N", "devices that each run on this machine gets", None, least=1),
        Flag("executor", "NAME", f"{', '.join(EXECUTORS)}: {executor}", "local", EXECUTORS),
        Flag("slurm_options", "K=V,K=V", "for submitit, such as slurm_partition=gpu"),
        Flag("ray_options", "K=V,K=V", "num_cpus, num_gpus and others of a process, processes, max_restarts"),
        Flag("detach", "", "submit the jobs to Ray or SLURM and end; the same command, later, collects", False),
        Flag("status", "", "print the state of the jobs on Ray or SLURM, and the table so far", False),
        Flag("search", "optuna", "how the next point of the space of get_search() is chosen", choices=("optuna",)),
        Flag("trials", "N", "trials of the search in all, with the earlier ones [the file's]", None, least=1),
    ]


def engine_options(flag: str, text: str) -> dict[str, Any]:
    """`slurm_partition=gpu,timeout_min=60` -> {"slurm_partition": "gpu", "timeout_min": 60}."""
    options: dict[str, Any] = {}
    for item in filter(None, text.split(",")):
        key, separator, value = item.partition("=")
        refuse((not separator, f"{flag} must read key=value,key=value, not {text!r}"))
        try:
            options[key] = parse_literal(parse_expression(value))
        except ValueError:
            options[key] = value
    return options


def print_runs(runs: Sequence[Run], table: Table, form: str, jobs: Mapping[str, str] = MappingProxyType({})) -> int:
    """Prints each run's name, state (that in `jobs`, if any), minutes and the fields in which the runs differ, or its
    command in the form `commands`, and writes nothing. Returns the exit code.
    """
    runs = [table.resolved(run) for run in runs]
    commands = [shlex.join(["arjax", *run.arguments(table.workdir)]) for run in runs]
    if form == "commands":
        print(*commands, sep="\n")
        return 0
    states = {run.name: jobs.get(run.name) or state(run, table) for run in runs}
    print_changes([run for run in runs if states[run.name] == "finished"], table.workdir)
    ended = [ended for run in runs if states[run.name] == "finished" and (ended := table.finished(run))]
    measured = {each.run.name: each.report["train_seconds"] / 60 for each in ended}
    expected = expected_minutes(runs, measured)
    minutes = {name: f"{'' if name in measured else '~'}{each:.3g}" for name, each in expected.items()}
    points = [{"config": run.config} | dict(run.override_texts()) for run in runs]
    fields = list(dict.fromkeys(field for point in points for field in point))
    fields = [field for field in fields if len({point.get(field, "") for point in points}) > 1]
    cells = [
        [run.name, states[run.name], minutes.get(run.name, "?"), *(point.get(field, "") for field in fields)]
        for run, point in zip(runs, points, strict=True)
    ]
    print_table(["run", "state", "minutes", *fields], cells, right=["minutes"])
    for run in runs:
        if run.pilots:
            pilots = ", ".join(run.pilots)
            print(f"{run.name} takes, too, the fields of the best of {pilots} on validation, once they end")
    print(f"the first one: {commands[0]}" if runs else "no runs")
    to_come = [expected[run.name] for run in runs if run.name in expected and run.name not in measured]
    about = f"; {len(to_come)} of the others take about {format_duration(60 * sum(to_come))}, one after another"
    print(f"{len(runs)} runs, {len(ended)} of them already finished{about if to_come else ''}")
    return 0


def state(run: Run, table: Table) -> str:
    """`finished`, `started`, `changed` (finished with other fields) or `new`; or the reason why it has no row."""
    outcome = table.outcome(run)
    if outcome is not None:
        return str(outcome) if isinstance(outcome, UserError) else "finished"
    if table.outdated.get(run.name):
        return "changed"
    return "started" if (table.workdir / run.name / CONFIG_NAME).exists() else "new"


def expected_minutes(runs: Sequence[Run], measured: Mapping[str, float]) -> dict[str, float]:
    """Returns the minutes of runs by name: a run's own, or the mean of runs of its config file whose overrides differ
    in `SAME_COST` alone; a run without either is left out.
    """

    def kind(run: Run) -> str:
        return repr((run.config, sorted(each for each in run.override_texts() if not each[0].startswith(SAME_COST))))

    alike = grouped((kind(run), measured[run.name]) for run in runs if run.name in measured)
    means = {kind: sum(minutes) / len(minutes) for kind, minutes in alike.items()}
    expected = {run.name: measured.get(run.name, means.get(kind(run))) for run in runs}
    return {name: minutes for name, minutes in expected.items() if minutes is not None}


if __name__ == "__main__":
    run()
