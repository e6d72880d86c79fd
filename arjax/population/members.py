"""The members of a population in the training loop: the train step of a run, mapped over orders and seeds."""

from __future__ import annotations

import contextlib
import os
import types
from collections.abc import Callable, Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.memory import bytes_of, check_memory
from arjax.evaluation.splits import Rows
from arjax.objectives import Companions
from arjax.population.population import Population, over_members
from arjax.reporting.progress import Progress
from arjax.training.feed import ResidentChunk
from arjax.training.history import History
from arjax.training.reporter import Reporter
from arjax.training.state import TrainState, eval_params, fresh_state, with_shardings
from arjax.training.step import MetricSums, compile_chunk, from_named, zero_sums


class PopulationState(flax.struct.PyTreeNode):
    """Train states and the best parameters so far, [O, S, ...].

    Attributes:
      train: the states.
      best: of each member, the parameters with the lowest validation nats; those at the start before there are any.
    """

    train: TrainState
    best: Any


class Members:
    """A `Learner`: the train step of a run, mapped over the members of a population."""

    def __init__(
        self, population: Population, workdir: str | os.PathLike, log: Callable[[str], None], show: Show | None = None
    ):
        """`log` is called with a line for every validation, unless progress is shown; metrics go to `workdir`."""
        self.population, self._workdir, self._log, self._show = population, workdir, log, show
        self.setup, self.shape, self.identity = population.setup, population.shape, population.identity
        seeds_S = jnp.asarray(population.seeds, jnp.uint32)
        split_S2 = jax.vmap(lambda seed: jax.random.split(jax.random.key(seed)))(seeds_S)
        self._init_keys_S, self._keys_S = split_S2[:, 0], split_S2[:, 1]

    def _fresh(self, params: Any) -> PopulationState:
        """Fresh states: one per seed, the same under every order; from `params` where they are given."""
        states = jax.vmap(lambda key: fresh_state(self.setup.recipe, key, params))(self._init_keys_S)
        state = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (self.shape[0], *leaf.shape)), states)
        return PopulationState(state, jax.tree.map(jnp.copy, eval_params(state)))

    @property
    def abstract_state(self) -> PopulationState:
        """Shapes, types and shardings: the orders are spread over the devices."""
        abstract = jax.eval_shape(lambda: self._fresh(None))
        return with_shardings(abstract, jax.tree.map(lambda _: self.population.sharding, abstract))

    def begin(self, companions: Companions, state: PopulationState | None) -> PopulationState:
        """The state with which training begins or goes on."""
        self._companions, population = companions, self.population
        for model in population.members:
            self.setup.recipe.objective.check_companions(model, companions)
        if state is not None:
            return state
        what = "the parameters and optimizers' states of {} x {} members take".format(*self.shape)
        check_memory(bytes_of(self.abstract_state), what, population.sharding.mesh.size)
        params = self.setup.first_params(population.members) if self.setup.train.init_from else None
        return jax.jit(self._fresh, out_shardings=population.sharding)(params)

    def compile(
        self, state: PopulationState, step: int, steps_from: Callable[[int], int], threads: contextlib.ExitStack
    ) -> None:
        """Compiles the train program, unless the population has it from an earlier training."""
        self._zeros, self._program = self.population.compiled(lambda: self._compiled(state, step))

    def _compiled(self, state: PopulationState, step: int) -> tuple[MetricSums, jax.stages.Compiled]:
        """The sums of no steps, and the train program."""
        population, recipe = self.population, self.setup.recipe
        arrays, gather = population.resident

        def mapped(train_chunk: Callable) -> Callable:
            def steps(train, sums, models, arrays, indices_SKB, n, keys_S, companions):
                def member(model: Any, carry: tuple[TrainState, MetricSums], of_seed: tuple[jax.Array, jax.Array]):
                    chunk = ResidentChunk(arrays, of_seed[0], gather)
                    return train_chunk(*carry, chunk, n, of_seed[1], companions, model)

                return over_members(population.strategy, member)(models, (train, sums), (indices_SKB, keys_S))

            return steps

        one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[2:], leaf.dtype), state.train)
        chunk = ResidentChunk(arrays, self._indices(step, 1)[0], gather)
        zeros = zero_sums(recipe, one, chunk, self._companions, self.shape)
        sums = jax.device_put(zeros, population.sharding)
        return zeros, compile_chunk(recipe, state.train, sums, *self._arguments(step, 1), mapped=mapped)

    def _indices(self, step: int, n: int) -> np.ndarray:
        return self.population.indices(step, n, self.setup.train.steps_per_dispatch)

    def _arguments(self, step: int, n: int) -> tuple[Any, ...]:
        indices = jnp.asarray(self._indices(step, n))
        population = self.population
        return population.models, population.resident[0], indices, jnp.int32(n), self._keys_S, self._companions

    def sums(self, stored: Mapping[str, Any]) -> MetricSums:
        """The sums of every member."""
        return jax.device_put(from_named(self._zeros, stored), self.population.sharding)

    def advance(
        self, state: PopulationState, sums: MetricSums, step: int, n: int
    ) -> tuple[PopulationState, MetricSums]:
        """Dispatches `n` train steps of every member."""
        train, sums = self._program(state.train, sums, *self._arguments(step, n))
        return state.replace(train=train), sums

    def validate(self, state: PopulationState) -> tuple[np.ndarray, Mapping[str, Any]]:
        """Nats per example of the validation split, [O, S]."""
        values = counted(self.population.rows(eval_params(state.train), "validation"))["nll"].mean(-1)
        return values, {"nll_nats": values}

    def keep(
        self, state: PopulationState, better: np.ndarray, step: int, values: np.ndarray, scores: Mapping[str, Any]
    ) -> PopulationState:
        """Replaces the best parameters of the members that became better."""
        return state.replace(best=_chosen(jnp.asarray(better), eval_params(state.train), state.best))

    def reporter(self, step: int) -> PopulationReporter:
        """The reporter of the members."""
        progress: Any = types.SimpleNamespace(message=self._log, at=_nothing, update=_nothing, close=_nothing)
        if self._show is not None:
            progress = self._show(self.setup.total_steps, step)
        return PopulationReporter(self, self._workdir, step, progress)


def _nothing(*args: Any) -> None:
    """Shows nothing: of lines without a bar, the messages alone are shown."""


@jax.jit
def _chosen(better_OS: jax.Array, new: Any, old: Any) -> Any:
    """The new parameters of the members that became better, the old ones of all others."""

    def choose(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(better_OS.reshape(*better_OS.shape, *[1] * (new.ndim - 2)), new, old)

    return jax.tree.map(choose, new, old)


def counted(rows: Rows) -> Rows:
    """The scores of the examples with a scored site; the sites are those of all members."""
    return {name: values[..., rows["sites"][0, 0] > 0] for name, values in rows.items()}


#: (steps in all, steps done) -> the progress of a training.
Show = Callable[[int, int], Progress]


class PopulationReporter(Reporter):
    """Reports members together: progress, and `metrics.jsonl` with means over members."""

    def __init__(self, members: Members, workdir: str | os.PathLike, step: int, progress: Any):
        """Starts at `step`: metrics of later steps, left by a killed run, are removed."""
        super().__init__(workdir, members.setup, step, progress)
        self._shape, self._total = members.shape, members.setup.total_steps

    def start(self) -> None:
        """Prints the first lines: those of a run of one member, and the number of members."""
        super().start()
        self.log("{} orders x {} seeds, all in one program".format(*self._shape))

    def train(self, step: int, sums: MetricSums, learning_rate: float, seconds: float) -> None:
        """Reports means over the members, without those that have diverged."""
        fine = sums.bad_step < 0
        mean = jax.tree.map(lambda leaf_OS: leaf_OS[fine].mean(dtype=np.float64), sums)
        super().train(step, mean, learning_rate, seconds / fine.size)

    def _in_words(self, scores: Mapping[str, Any]) -> str:
        return f"{scores['nll_nats']:.4f} nats on average"

    def validation(self, step: int, scores: Mapping[str, Any], history: History) -> None:
        """Reports the range of the best scores so far."""
        best, lost = history.best_value, int((~history.alive).sum())
        values = scores["nll_nats"][history.alive]
        if self._writer is not None:
            self._writer.write(step, {"validation/nll_nats": values.mean(), "validation/best_nll_nats": best.min()})
        diverged = f", {lost} members have diverged" if lost else ""
        self.log(f"step {step:,}/{self._total:,}  validation {best.min():.4f} to {best.max():.4f} nats{diverged}")
