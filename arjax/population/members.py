"""The members of a population in the training loop: the train step of a run, mapped over orders and seeds."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.memory import bytes_of, check_memory
from arjax.core.programs import compile_if_it_fits
from arjax.objectives import Companions
from arjax.population.population import Population
from arjax.population.reporter import PopulationReporter, Show
from arjax.population.step import init_population, population_chunk
from arjax.training.feed import ResidentChunk
from arjax.training.state import TrainState, eval_params, with_shardings
from arjax.training.step import Tally, from_named, zero_tally


class PopulationState(flax.struct.PyTreeNode):
    """Train states and the best parameters so far, [O, S, ...].

    Attributes:
      train: the states.
      best: of each member, the parameters with the lowest validation nats; those at the start before there are any.
    """

    train: TrainState
    best: Any


class Members:
    """A `Trainee`: the members of a population."""

    def __init__(
        self, population: Population, workdir: str | os.PathLike, log: Callable[[str], None], show: Show | None = None
    ):
        """`log` is called with a line for every validation, unless progress is shown; metrics go to `workdir`."""
        self.population, self._workdir, self._log, self._show = population, workdir, log, show
        self.setup, self.shape, self.identity = population.setup, population.shape, population.identity
        seeds_S = jnp.asarray(population.seeds, jnp.uint32)
        split_S2 = jax.vmap(lambda seed: jax.random.split(jax.random.key(seed)))(seeds_S)
        self._init_keys_S, self._keys_S = split_S2[:, 0], split_S2[:, 1]
        self._orders = jax.device_put(population.orders, population.sharding)

    def _fresh(self, params: Any) -> PopulationState:
        state = init_population(self.setup.recipe, self.shape[0], self._init_keys_S, params)
        return PopulationState(state, jax.tree.map(jnp.copy, eval_params(state)))

    @property
    def abstract_state(self) -> PopulationState:
        """Shapes, types and shardings: the orders are spread over the devices."""
        abstract = jax.eval_shape(lambda: self._fresh(None))
        return with_shardings(abstract, jax.tree.map(lambda _: self.population.sharding, abstract))

    def begin(self, companions: Companions, state: PopulationState | None) -> PopulationState:
        """The state with which training begins or goes on."""
        self._companions = companions
        orders = self.population.factorizations
        members = [dataclasses.replace(self.setup.model, factorization=order) for order in orders]
        for member in members:
            self.setup.recipe.objective.check_companions(member, companions)
        if state is not None:
            return state
        what = "the parameters and optimizers' states of {} x {} members take".format(*self.shape)
        check_memory(bytes_of(self.abstract_state), what, self.population.sharding.mesh.size)
        params = self.setup.first_params(members) if self.setup.train.init_from else None
        return jax.jit(self._fresh, out_shardings=self.population.sharding)(params)

    def compile(
        self, state: PopulationState, step: int, steps_from: Callable[[int], int], threads: contextlib.ExitStack
    ) -> None:
        """Compiles the train program, unless the population has it from an earlier training."""
        self._zeros, self._program = self.population.compiled(lambda: self._compiled(state, step))

    def _compiled(self, state: PopulationState, step: int) -> tuple[Tally, jax.stages.Compiled]:
        """The tally of no steps, and the train program."""
        population, recipe = self.population, self.setup.recipe
        one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[2:], leaf.dtype), state.train)
        indices = population.indices(step, 1, self.setup.train.steps_per_dispatch)
        chunk = ResidentChunk(population.arrays, indices[0], population.gather)
        zeros = zero_tally(recipe, one, chunk, self._companions, self.shape)
        tally = jax.device_put(zeros, population.sharding)
        shardings = jax.tree.map(lambda leaf: leaf.sharding, (state.train, tally))
        chunk_of_members = functools.partial(population_chunk, recipe, population.strategy, population.gather)
        program = jax.jit(chunk_of_members, donate_argnums=0, out_shardings=shardings)
        arguments = state.train, tally, *self._arguments(step, 1)
        return zeros, compile_if_it_fits("the arrays of the members' train steps", program, *arguments)

    def _arguments(self, step: int, n: int) -> tuple[Any, ...]:
        indices = jnp.asarray(self.population.indices(step, n, self.setup.train.steps_per_dispatch))
        return self._orders, self.population.arrays, indices, jnp.int32(n), self._keys_S, self._companions

    def tally(self, stored: Mapping[str, Any]) -> Tally:
        """A tally of every member."""
        return jax.device_put(from_named(self._zeros, stored), self.population.sharding)

    def advance(self, state: PopulationState, tally: Tally, step: int, n: int) -> tuple[PopulationState, Tally]:
        """Dispatches `n` train steps of every member."""
        train, tally = self._program(state.train, tally, *self._arguments(step, n))
        return state.replace(train=train), tally

    def validate(self, state: PopulationState) -> tuple[np.ndarray, Mapping[str, Any]]:
        """Nats per example of the validation split, [O, S]."""
        rows, _ = self.population.rows(eval_params(state.train), self._orders, "validation")
        values = rows.mean(-1, dtype=np.float64)
        return values, {"nll_nats": values}

    def keep(
        self, state: PopulationState, better: np.ndarray, step: int, values: np.ndarray, scores: Mapping[str, Any]
    ) -> PopulationState:
        """Replaces the best parameters of the members that became better."""
        return state.replace(best=_chosen(jnp.asarray(better), eval_params(state.train), state.best))

    def reporter(self, step: int) -> PopulationReporter:
        """The reporter of the members."""
        return PopulationReporter(self._workdir, self.setup, self.shape, step, self._log, self._show)


@jax.jit
def _chosen(better_OS: jax.Array, new: Any, old: Any) -> Any:
    """The new parameters of the members that became better, the old ones of all others."""

    def choose(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(better_OS.reshape(*better_OS.shape, *[1] * (new.ndim - 2)), new, old)

    return jax.tree.map(choose, new, old)
