"""Learners of the loop: one run, or several that take their steps together."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import numpy as np

from arjax.core.score_names import score_name
from arjax.evaluation.likelihood import Evaluator
from arjax.objectives import Companions
from arjax.parallel.sharding import replicated, to_mesh
from arjax.reporting.reports import is_number
from arjax.training.feed import as_traced, make_feed
from arjax.training.reporter import Reporter
from arjax.training.setup import Setup, best_store
from arjax.training.state import TrainState, eval_params
from arjax.training.step import MetricSums, compile_chunk, from_named, zero_sums


class Learner(Protocol):
    """Train states of some shape, with the operations to begin, advance, validate and keep them.

    Attributes:
      setup: the parts of the run, or those that the members share.
      shape: of the members; () for one run.
      identity: identifies a population; "" for one run.
      abstract_state: shapes, types and shardings of the state, for checkpoints.
    """

    setup: Setup
    identity: str

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def abstract_state(self) -> Any: ...

    def begin(self, companions: Companions, state: Any | None) -> Any:
        """The state to start from: the one that is given, or a fresh one."""

    def compile(self, state: Any, step: int, steps_from: Callable[[int], int], threads: contextlib.ExitStack) -> None:
        """Prepares the feed and compiles the train program, once for the whole run.

        `steps_from`: the number of steps of the chunk that begins at a step; `threads`: ends the threads of the feed.
        """

    def sums(self, stored: Mapping[str, Any]) -> MetricSums:
        """The sums on the devices, from those stored in a history."""

    def advance(self, state: Any, sums: MetricSums, step: int, n: int) -> tuple[Any, MetricSums]:
        """Dispatches `n` train steps, at most `steps_per_dispatch`."""

    def validate(self, state: Any) -> tuple[np.ndarray, Mapping[str, Any]]:
        """Validation nats of the members with the averaged parameters, and the reported scores."""

    def keep(self, state: Any, better: np.ndarray, step: int, values: np.ndarray, scores: Mapping[str, Any]) -> Any:
        """Keeps the parameters of the members that are better than before, with their scores; returns the state."""

    def reporter(self, step: int) -> contextlib.AbstractContextManager[Any]:
        """A reporter of progress and metrics from `step` on."""


class RunLearner:
    """A run of one set of parameters on a mesh."""

    shape, identity = (), ""

    def __init__(self, setup: Setup, workdir: str | os.PathLike):
        """`setup` holds the parts; the best parameters are kept in `workdir`."""
        self.setup, self._workdir = setup, workdir
        self._best = best_store(workdir)
        self._best.steps()  # raises now where a file is in its place, and not after the first validation
        evaluate = setup.evaluate
        self.evaluator = Evaluator(
            setup.model, setup.scored, evaluate.batch_size, setup.mesh, setup.seed, evaluate.num_orders
        )

    @property
    def abstract_state(self) -> TrainState:
        return self.setup.abstract_state

    def begin(self, companions: Companions, state: TrainState | None) -> TrainState:
        init_key, self._key = self.setup.keys()
        self._companions = companions
        return self.setup.init_state(init_key) if state is None else state

    def compile(
        self, state: TrainState, step: int, steps_from: Callable[[int], int], threads: contextlib.ExitStack
    ) -> None:
        setup, train = self.setup, self.setup.train
        feed = make_feed(
            setup.dataset.splits["train"],
            setup.mesh,
            seed=setup.seed,
            batch_size=train.batch_size,
            max_steps=train.steps_per_dispatch,
            on_device=train.data_on_device,
            steps_from=steps_from,
        )
        self._feed = threads.enter_context(feed)
        chunk = self._feed.chunk(step, 1)
        self._zeros = zero_sums(setup.recipe, state, chunk, self._companions)
        arguments = (chunk, as_traced(1, setup.mesh), self._key, self._companions)
        self._program = compile_chunk(setup.recipe, state, self.sums({}), *arguments)

    def sums(self, stored: Mapping[str, Any]) -> MetricSums:
        whole = replicated(self.setup.mesh)
        return jax.tree.map(lambda leaf: to_mesh(leaf, whole), from_named(self._zeros, stored))

    def advance(self, state: TrainState, sums: MetricSums, step: int, n: int) -> tuple[TrainState, MetricSums]:
        arguments = (as_traced(n, self.setup.mesh), self._key, self._companions)
        return self._program(state, sums, self._feed.chunk(step, n), *arguments)

    def validate(self, state: TrainState) -> tuple[np.ndarray, Mapping[str, Any]]:
        scores = self.evaluator(eval_params(state), "validation")
        return np.asarray(scores[score_name(self.setup.model.kind)], np.float64), scores

    def keep(
        self, state: TrainState, better: np.ndarray, step: int, values: np.ndarray, scores: Mapping[str, Any]
    ) -> TrainState:
        if better:
            numbers = {name: value for name, value in scores.items() if is_number(value)}
            self._best.save(step, eval_params(state), {"value": float(values), "scores": numbers})
        return state

    def reporter(self, step: int) -> Reporter:
        return Reporter(self._workdir, self.setup, step)
