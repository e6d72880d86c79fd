"""Training a population, and its scores."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import tempfile
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from arjax.core.arguments import named_arguments
from arjax.evaluation.summaries import summarize
from arjax.evaluation.truths import OF_TRUTH, beside_truth, example_nats
from arjax.population.members import Members, PopulationState
from arjax.population.population import Population
from arjax.population.reporter import Show
from arjax.training.history import History
from arjax.training.loop import fit
from arjax.training.state import own_of


@dataclasses.dataclass(frozen=True)
class Scores:
    """The scores of a population; rows in the order of `orders`, columns in that of `seeds`.

    Attributes:
      validation: best nats per example on the validation split, float64[O, S].
      results: the report of each member about the split of `config.evaluate.split`, as `arjax` writes it:
        `results[o][s]`.
      validation_results: likewise about the validation split.
      best_step: the step they are of, int[O, S].
      validation_rows: nats of each example, float32[O, S, N].
      test_rows: likewise of the other split.
      seconds: of training, without compilation.
      num_params: of one member.
      params: the best parameters of all members, [O, S, ...].
      history: the members' progress, and the seconds that all of them took together.
      reports: the report of the objective about each member at the end: `reports[o][s]`.
    """

    validation: np.ndarray
    results: list[list[dict[str, Any]]]
    validation_results: list[list[dict[str, Any]]]
    best_step: np.ndarray
    validation_rows: np.ndarray
    test_rows: np.ndarray
    seconds: float
    num_params: int
    params: Any
    history: History
    reports: list[list[dict[str, Any]]]


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
        run = fit(Members(population, folder, log, show), folder)
        return _scores(population, run.state, run.history)


def _scores(population: Population, state: PopulationState, history: History) -> Scores:
    """The scores of the best parameters of all members; members that never had a finite score have none."""
    dataset, split, best = population.setup.dataset, population.config.evaluate.split, history.best_value
    params, objective = state.best, population.setup.recipe.objective
    orders = jax.device_put(population.orders, population.sharding)
    valid_rows, valid_sites_N = population.rows(params, orders, "validation")
    test_rows, sites_N = population.rows(params, orders, split)
    for rows in (valid_rows, test_rows):
        rows[~np.isfinite(best)] = np.inf

    def score(nll_N: np.ndarray, sites_N: np.ndarray) -> dict[str, float]:
        finite = np.isfinite(nll_N)
        nll = np.where(finite, nll_N, 0).astype(np.float64)
        scores = summarize(nll, sites_N, dataset.event, text=dataset.text_unit)
        return scores if finite.all() else dict.fromkeys(scores, math.inf)

    truth_N = None if dataset.truth is None else _truth_nats(population, split)

    def of_split(nll_N: np.ndarray) -> dict[str, float]:
        scores = score(nll_N, sites_N)
        if truth_N is not None:
            finite = np.isfinite(nll_N).all()
            scores |= beside_truth(nll_N, truth_N) if finite else dict.fromkeys(OF_TRUTH, math.inf)
        return scores

    def report(o: int, s: int) -> dict[str, Any]:
        own = jax.tree.map(lambda leaf: leaf[o, s], state.train.own)
        return objective.report(own_of(state.train.replace(own=own)))

    num_orders, num_seeds = population.shape
    return Scores(
        validation=best,
        results=[[of_split(nll_N) for nll_N in of_order] for of_order in test_rows],
        validation_results=[[score(nll_N, valid_sites_N) for nll_N in of_order] for of_order in valid_rows],
        best_step=history.best_step,
        validation_rows=valid_rows,
        test_rows=test_rows,
        seconds=history.step_seconds,
        num_params=sum(leaf[0, 0].size for leaf in jax.tree.leaves(params)),
        params=params,
        history=history,
        reports=[[report(o, s) for s in range(num_seeds)] for o in range(num_orders)],
    )


def _truth_nats(population: Population, split: str) -> np.ndarray:
    """The nats of each example of a split under the truth of the data, float[N]."""
    setup = population.setup
    truth, batch_size = setup.truth(), setup.evaluate.batch_size
    return example_nats(truth.model, truth.params, setup.dataset, split, batch_size=batch_size, mesh=setup.mesh)
