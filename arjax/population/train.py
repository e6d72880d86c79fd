"""Training a population, its scores, and the files of its members."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from arjax.api.mixtures import write_nats
from arjax.config.files import save_config
from arjax.core.arguments import named_arguments
from arjax.core.errors import UserError
from arjax.data import Dataset
from arjax.evaluation.report import report, truth_rows
from arjax.evaluation.splits import Rows
from arjax.evaluation.summaries import summarize_rows
from arjax.population.members import Members, PopulationState, Show, counted
from arjax.population.population import Population
from arjax.training.history import History
from arjax.training.loop import run_training
from arjax.training.results import training_entries, write_results
from arjax.training.setup import best_store
from arjax.training.state import own_of
from arjax.training.workdir import remember_data


@dataclasses.dataclass(frozen=True)
class Scores:
    """The scores of a population; rows in the order of `orders`, columns in that of `seeds`.

    Attributes:
      validation: best nats per example on the validation split, float64[O, S].
      results: the report of each member about the split of `config.evaluate.split`, as `arjax` writes it:
        `results[o][s]`.
      notes: the note of the checkpoint of the best parameters of each member: `notes[o][s]`.
      best_step: the step they are of, int[O, S].
      validation_rows: nats of each example, float64[O, S, N].
      test_rows: likewise of the other split.
      seconds: of training, without compilation.
      num_params: of one member.
      params: the best parameters of all members, [O, S, ...].
      history: the members' progress, and the seconds that all of them took together.
    """

    validation: np.ndarray
    results: list[list[dict[str, Any]]]
    notes: list[list[dict[str, Any]]]
    best_step: np.ndarray
    validation_rows: np.ndarray
    test_rows: np.ndarray
    seconds: float
    num_params: int
    params: Any
    history: History


@named_arguments
def train_population(
    population: Population,
    log: Callable[[str], None] = lambda text: None,
    workdir: str | os.PathLike = "",
    show: Show | None = None,
) -> Scores:
    """Trains all members to the end, each with its own best parameters by validation, and scores them.

    A member with a loss that is not finite keeps its best parameters, and scores infinity without a finite score. One
    that has not improved for `train.patience` evaluations keeps its parameters; the program ends when that holds
    for all, or with the last step.

    Args:
      population: the members.
      log: called with a line for every validation, where no progress is shown.
      show: (steps in all, steps done) -> the progress that is shown, such as `arjax.reporting.progress.Progress`.
      workdir: folder of the training, which goes on there when it was interrupted; "": nothing is kept.

    Raises:
      UserError: as `arjax.training.loop.train`; or the workdir holds another population.
      TrainingDiverged: no member had a finite loss.
      KeyboardInterrupt: the training was interrupted by SIGTERM or SIGINT; its state is saved.
    """
    with contextlib.ExitStack() as stack:
        folder = workdir or stack.enter_context(tempfile.TemporaryDirectory())
        run = run_training(Members(population, folder, log, show), folder)
        with np.errstate(invalid="ignore"):  # infinite nats have no standard error
            return _scores(population, run.state, run.history)


def _scores(population: Population, state: PopulationState, history: History) -> Scores:
    """The scores of the best parameters of all members; members that never had a finite score have none."""
    setup, num_orders, num_seeds = population.setup, *population.shape
    split = setup.evaluate.split
    valid, test = (counted(population.rows(state.best, name)) for name in ("validation", split))
    test |= truth_rows(setup.scored, split, batch_size=setup.evaluate.batch_size, mesh=setup.mesh)
    for rows in (valid, test):
        rows["nll"][~np.isfinite(history.best_value)] = np.inf
    scores = Scores(
        validation=history.best_value,
        results=[],
        notes=[[_note(setup.dataset, valid, history, o, s) for s in range(num_seeds)] for o in range(num_orders)],
        best_step=history.best_step,
        validation_rows=valid["nll"],
        test_rows=test["nll"],
        seconds=history.step_seconds,
        num_params=sum(leaf[0, 0].size for leaf in jax.tree.leaves(state.best)),
        params=state.best,
        history=history,
    )
    for o in range(num_orders):
        scores.results.append([_result(population, state, scores, test, o, s) for s in range(num_seeds)])
    return scores


def _note(dataset: Dataset, valid: Rows, history: History, o: int, s: int) -> dict[str, Any]:
    """The note of the checkpoint of the best parameters of a member."""
    scores = summarize_rows(_of_member(valid, o, s), dataset.event, dataset.text_unit)
    return {"value": float(history.best_value[o, s]), "scores": scores}


def _of_member(rows: Rows, o: int, s: int) -> Rows:
    return {name: values if values.ndim == 1 else values[o, s] for name, values in rows.items()}


def _result(population: Population, state: PopulationState, scores: Scores, test: Rows, o: int, s: int) -> dict:
    """The report of a member; its seconds are equal parts of those of all."""
    setup, history, best_step = population.setup, scores.history, int(scores.best_step[o, s])
    train, own = setup.train, jax.tree.map(lambda leaf: leaf[o, s], state.train.own)
    best = jax.tree.map(lambda leaf: leaf[o, s], state.best), best_step, scores.notes[o][s]
    where = population.members[o], best[0], setup.dataset, setup.evaluate.split, setup.evaluate
    options: dict[str, Any] = {"mesh": None, "seed": population.seeds[s], "open_run": setup.open_run}
    timings = ("train_seconds", "compile_seconds", "step_seconds")
    return report(*where, rows=_of_member(test, o, s), **options).scores | training_entries(
        setup,
        best,
        # A run alone ends with the last step, or out of patience.
        step=min(setup.total_steps, best_step + (train.patience or setup.total_steps) * train.eval_every),
        history={name: getattr(history, name) / scores.best_step.size for name in timings},
        objective_state=own_of(state.train.replace(own=own)),
        seed=population.seeds[s],
    )


def write_member(folder: Path, config: ConfigDict, population: Population, scores: Scores, o: int, s: int) -> None:
    """Writes `config.json`, the best parameters, `rows.npz` and, last, `results.json` of the member (o, s): the folder
    that `arjax` would have made of its order and seed.

    `config` is that of the run, with its own order and seed.

    Raises:
      UserError: the member has no results, or the disk refuses.
    """
    if not scores.history.alive[o, s]:
        raise UserError("the loss was not finite; a lower optimizer.learning_rate or a clip_norm may help")
    if not np.isfinite(scores.validation[o, s]):
        raise UserError("no validation score of this run was finite, so there are no best parameters to test")
    params = jax.device_put(jax.tree.map(lambda leaf: leaf[o, s], scores.params), jax.devices()[0])
    save_config(config, folder)
    remember_data(population.setup.dataset, folder)
    best_store(folder).save(int(scores.best_step[o, s]), params, scores.notes[o][s])
    test_N, validation_N = scores.test_rows[o, s], scores.validation_rows[o, s]
    write_nats(folder, {"validation": validation_N, config.evaluate.split: test_N})
    write_results(folder, scores.results[o][s])
