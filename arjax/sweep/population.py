"""Runs that differ in order and seed only, trained side by side in one program on this machine."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from arjax.cli.command_line import EXIT_USER_ERROR
from arjax.config.files import FILE_NAME as CONFIG_NAME
from arjax.config.files import check_same_run
from arjax.core.errors import UserError
from arjax.core.files import fingerprint_of, only_run_in, writable_folder, writing
from arjax.evaluation.summaries import grouped
from arjax.population.population import Population, check_has_order, form, member, shared_setup
from arjax.population.train import Scores, train_population, write_member
from arjax.reporting.progress import Progress
from arjax.sweep.executors import add_to_log
from arjax.sweep.runs import Run, all_but_order_and_seed, config_of
from arjax.training.setup import Setup, latest_store

TRAINING = "populations"
#: Of the lines about a population, below the line that names it.
INDENT = "    "


@dataclasses.dataclass(frozen=True)
class Job:
    """A run and its config."""

    run: Run
    config: ConfigDict


@dataclasses.dataclass(frozen=True)
class FullGrid:
    """A population: every order, a call string, with every seed, ascending; `setup` has the parts that all share."""

    orders: tuple[str, ...]
    seeds: tuple[int, ...]
    jobs: Mapping[tuple[str, int], Sequence[Job]]
    setup: Setup | None = None

    @property
    def runs(self) -> list[Run]:
        return [job.run for jobs in self.jobs.values() for job in jobs]

    @property
    def config(self) -> ConfigDict:
        return next(iter(self.jobs.values()))[0].config


class PopulationExecutor:
    """Trains runs that differ in `model.ordering` and `seed` only in one program, population after population. The
    state of a population is in the sweep's workdir until its runs have their results, so that a sweep resumes it.
    """

    def execute(self, runs: Iterable[Run], workdir: Path) -> Iterator[tuple[Run, int]]:
        grids = plan(list(runs), workdir)
        for number, grid in enumerate(grids, start=1):
            size = f"{len(grid.orders)} orders x {len(grid.seeds)} seeds"
            print(f"population {number} of {len(grids)}: {size} of {grid.runs[0].config}", flush=True)
            yield from self._train(grid, workdir)

    def _train(self, grid: FullGrid, workdir: Path) -> list[tuple[Run, int]]:
        """Trains a population and writes the folders of its members; yields the exit code that each would have had."""
        try:
            with contextlib.ExitStack() as locks:
                for run in grid.runs:
                    locks.enter_context(only_run_in(writable_folder(workdir / run.name)))
                    add_to_log(workdir / run.name, f"$ {run.command()}")
                    add_to_log(workdir / run.name, f"trained in a population: orders {grid.orders}, seeds {grid.seeds}")
                population = Population(grid.config, grid.orders, grid.seeds, setup=grid.setup)
                training = workdir / TRAINING / fingerprint_of([repr(population.record.fields).encode()])
                scores = train_population(population, workdir=training, show=partial(Progress, indent=INDENT))
                codes = _write(grid, population, scores, workdir)
                with writing(training):
                    shutil.rmtree(training)
                    if not any(training.parent.iterdir()):
                        training.parent.rmdir()
                return codes
        except UserError as error:  # about its data, its folders or its loss: the other populations are still trained
            _tell(str(error), grid.runs, workdir)
            return [(run, EXIT_USER_ERROR) for run in grid.runs]


def _write(grid: FullGrid, population: Population, scores: Scores, workdir: Path) -> list[tuple[Run, int]]:
    """Writes the folder of each run. A run without results, or with a folder that refuses them, stops no other."""
    codes = []
    for o, s in np.ndindex(population.shape):
        for job in grid.jobs[grid.orders[o], grid.seeds[s]]:
            code = 0
            try:
                write_member(workdir / job.run.name, job.config, population, scores, o, s)
            except UserError as error:
                _tell(str(error), [job.run], workdir)
                code = EXIT_USER_ERROR
            codes.append((job.run, code))
    return codes


def plan(runs: Sequence[Run], workdir: Path) -> list[FullGrid]:
    """Returns the populations of the runs: full grids of orders that are cut alike, and seeds, of one config each."""
    by_config: dict[str, list[Job]] = {}
    for run in runs:
        with _named(run):
            config = config_of(run, workdir)
            check_has_order(config)
            folder = workdir / run.name
            if (folder / CONFIG_NAME).exists():
                check_same_run(config, folder, "train")
            if latest_store(folder).steps():
                raise UserError(f"{folder} holds a run that was begun by itself: finish it so, or delete the folder")
        by_config.setdefault(all_but_order_and_seed(config.to_dict()), []).append(Job(run, config))
    return [grid for jobs in by_config.values() for parts in _cut_alike(jobs) for grid in grids(*parts)]


def grids(jobs: Sequence[Job], setup: Setup | None = None) -> list[FullGrid]:
    """Full grids of orders and seeds that hold all jobs: orders with the same seeds are together."""
    by_place = grouped(((job.config.model.ordering, job.config.seed), job) for job in jobs)
    orders_of = grouped((tuple(sorted(seeds)), order) for order, seeds in grouped(by_place).items())
    return [
        FullGrid(tuple(orders), seeds, {(o, s): by_place[o, s] for o in orders for s in seeds}, setup)
        for seeds, orders in orders_of.items()
    ]


def _cut_alike(jobs: Sequence[Job]) -> list[tuple[list[Job], Setup | None]]:
    """The jobs of one config, apart where their orders are cut into different blocks, with the parts that all share."""
    setup: Setup | None = None
    shapes: dict[str, Any] = {}
    by_shape: dict[Any, list[Job]] = {}
    for job in jobs:
        order = job.config.model.ordering
        with _named(job.run):
            setup = setup or shared_setup(job.config, order)
            if order not in shapes:
                shapes[order] = form(member(setup, job.config, order))
        by_shape.setdefault(shapes[order], []).append(job)
    return [(alike, setup) for alike in by_shape.values()]


@contextlib.contextmanager
def _named(run: Run) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(f"run {run.name!r} cannot be a member of a population: {error}") from error


def _tell(problem: str, runs: Sequence[Run], workdir: Path) -> None:
    """Prints why runs have failed, and notes it in their logs where their folders can be written."""
    names = ", ".join(run.name for run in runs[:3]) + ", ..." * (len(runs) > 3)
    print(f"{INDENT}{names}: {problem}", flush=True)
    for run in runs:
        with contextlib.suppress(UserError):
            add_to_log(workdir / run.name, problem)
