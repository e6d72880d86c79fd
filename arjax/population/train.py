"""Training a population, with the train step of a run mapped over its members; their scores and files."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from arjax.config.files import FILE_NAME as CONFIG_NAME
from arjax.config.files import other_results, save_config
from arjax.core.errors import UserError
from arjax.core.options import checked_arguments
from arjax.core.programs import bytes_of, check_memory
from arjax.core.scores import NLL
from arjax.data.batches import train_index_block
from arjax.evaluation.report import report, truth_rows
from arjax.evaluation.splits import Rows
from arjax.evaluation.summaries import summarize_rows
from arjax.objectives import Companions
from arjax.population.population import Population, form, over_members
from arjax.reporting.progress import Progress
from arjax.training.feed import ResidentChunk
from arjax.training.history import History
from arjax.training.loop import Learner, run_training
from arjax.training.record import Record, fingerprint_of_orders, stored
from arjax.training.reporter import Reporter, Silent
from arjax.training.results import set_results_aside, training_entries, write_nats, write_results
from arjax.training.setup import best_store
from arjax.training.state import TrainState, eval_params, fresh_state, with_shardings
from arjax.training.step import MetricSums, compile_chunk, from_named, zero_sums

#: (steps in all, steps done) -> the progress of a training.
Show = Callable[[int, int], Progress]


class PopulationState(flax.struct.PyTreeNode):
    """Train states and, of each member, the best parameters so far (those at the start before any): [O, S, ...]."""

    train: TrainState
    best: Any


class Members(Learner):
    """The train step of a run, mapped over the members of a population."""

    def __init__(
        self, population: Population, workdir: str | os.PathLike, log: Callable[[str], None], show: Show | None = None
    ):
        """`log` is called with a line for every validation, unless progress is shown; metrics go to `workdir`."""
        self.population, self._workdir, self._log, self._show = population, workdir, log, show
        self.setup, self.shape, self.record = population.setup, population.shape, population.record
        seeds_S = jnp.asarray(population.seeds, jnp.uint32)
        split_S2 = jax.vmap(lambda seed: jax.random.split(jax.random.key(seed)))(seeds_S)
        self._init_keys_S, self._keys_S = split_S2[:, 0], split_S2[:, 1]

    def _fresh(self, params: Any) -> PopulationState:
        """Fresh states: one per seed, the same under every order; from `params` where they are given."""
        states = jax.vmap(lambda key: fresh_state(self.setup.spec, key, params))(self._init_keys_S)
        state = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (self.shape[0], *leaf.shape)), states)
        return PopulationState(state, jax.tree.map(jnp.copy, eval_params(state)))

    @property
    def abstract_state(self) -> PopulationState:
        abstract = jax.eval_shape(lambda: self._fresh(None))
        return with_shardings(abstract, jax.tree.map(lambda _: self.population.sharding, abstract))

    def begin(self, companions: Companions, state: PopulationState | None) -> PopulationState:
        self._companions, population = companions, self.population
        for model in population.members:
            self.setup.spec.objective.check_companions(model, companions)
        if state is not None:
            return state
        what = "the parameters and optimizers' states of {} x {} members take".format(*self.shape)
        check_memory(bytes_of(self.abstract_state), what, population.sharding.mesh.size)
        params = self.setup.first_params(population.members) if self.setup.train.init_from else None
        return jax.jit(self._fresh, out_shardings=population.sharding)(params)

    def compile(self, state: PopulationState, step: int, *feed: Any) -> None:
        """Compiles the train program, unless the population has it from an earlier training of such orders."""
        programs, key = self.population.programs, (self.shape, form(self.population.members[0]))
        if key not in programs:
            programs[key] = self._compiled(state, step)
        self._zeros, self._program = programs[key]

    def _compiled(self, state: PopulationState, step: int) -> tuple[MetricSums, jax.stages.Compiled]:
        population, spec = self.population, self.setup.spec
        arrays, gather = population.resident

        def mapped(train_chunk: Callable) -> Callable:
            def steps(train, sums, models, arrays, indices_SKB, n, keys_S, companions):
                def member(model: Any, carry: tuple[TrainState, MetricSums], of_seed: tuple[jax.Array, jax.Array]):
                    chunk = ResidentChunk(arrays, of_seed[0], gather)
                    return train_chunk(*carry, chunk, n, of_seed[1], companions, model)

                return over_members(population.strategy, member)(models, (train, sums), (indices_SKB, keys_S))

            return steps

        arguments = self._arguments(step, 1)
        one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[2:], leaf.dtype), state.train)
        zeros = zero_sums(spec, one, ResidentChunk(arrays, arguments[2][0], gather), self._companions, self.shape)
        sums = jax.device_put(zeros, population.sharding)
        return zeros, compile_chunk(spec, state.train, sums, *arguments, mapped=mapped)

    def _arguments(self, step: int, n: int) -> tuple[Any, ...]:
        population, size = self.population, self.setup.train.batch_size
        indices_SKB = np.zeros((len(population.seeds), self.setup.train.steps_per_dispatch, size), np.int32)
        num_examples = len(self.setup.dataset.splits["train"])
        for row_KB, seed in zip(indices_SKB, population.seeds, strict=True):
            row_KB[:n] = train_index_block(seed, step, n, num_examples, size)
        arrays = population.models, population.resident[0], jnp.asarray(indices_SKB)
        return *arrays, jnp.int32(n), self._keys_S, self._companions

    def sums(self, stored: Mapping[str, Any]) -> MetricSums:
        return jax.device_put(from_named(self._zeros, stored), self.population.sharding)

    def advance(
        self, state: PopulationState, sums: MetricSums, step: int, n: int
    ) -> tuple[PopulationState, MetricSums]:
        train, sums = self._program(state.train, sums, *self._arguments(step, n))
        return state.replace(train=train), sums

    def validate(self, state: PopulationState) -> tuple[np.ndarray, Mapping[str, Any]]:
        values = counted(self.population.rows(eval_params(state.train), "validation"))["nll"].mean(-1)
        return values, {"nll_nats": values}

    def keep(self, state: PopulationState, better: np.ndarray, *scored: Any) -> PopulationState:
        return state.replace(best=_chosen(jnp.asarray(better), eval_params(state.train), state.best))

    def reporter(self, step: int) -> PopulationReporter:
        """The reporter of the members: of lines without a bar, the messages alone are shown."""
        progress = self._show(self.setup.total_steps, step) if self._show else Silent(message=self._log)
        size = "{} orders x {} seeds, all in one program".format(*self.shape)
        return PopulationReporter(self._workdir, self.setup, step, progress, size)


@jax.jit
def _chosen(better_OS: jax.Array, new: Any, old: Any) -> Any:
    def choose(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(better_OS.reshape(*better_OS.shape, *[1] * (new.ndim - 2)), new, old)

    return jax.tree.map(choose, new, old)


class PopulationReporter(Reporter):
    """Reports members together: progress, and `metrics.jsonl` with means over members."""

    def train(self, step: int, sums: MetricSums, learning_rate: float, seconds: float) -> None:
        fine = sums.bad_step < 0
        mean = jax.tree.map(lambda leaf_OS: leaf_OS[fine].mean(dtype=np.float64), sums)
        super().train(step, mean, learning_rate, seconds / fine.size)

    def _in_words(self, scores: Mapping[str, Any]) -> str:
        # a conditional with a loss in the place of log p has no nats
        return f"{scores[NLL]:.4f} nats on average" if NLL in scores else super()._in_words(scores)

    def validation(self, step: int, scores: Mapping[str, Any], history: History) -> None:
        best, lost = history.best_value, int((~history.alive).sum())
        values = scores["nll_nats"][history.alive]
        self._writer.write(step, {"validation/nll_nats": values.mean(), "validation/best_nll_nats": best.min()})
        diverged = f", {lost} members have diverged" if lost else ""
        about = f"step {step:,}/{self._setup.total_steps:,}  validation {best.min():.4f} to {best.max():.4f} nats"
        self.progress.message(about + diverged)


def counted(rows: Rows) -> Rows:
    """The scores of the examples with a scored site; the sites are those of all members."""
    return {name: values[..., rows["sites"][0, 0] > 0] for name, values in rows.items()}


@dataclasses.dataclass(frozen=True)
class Scores:
    """The scores of a population; rows in the order of `orders`, columns in that of `seeds`."""

    validation: np.ndarray  # best nats per example on the validation split, float64[O, S]
    results: list[list[dict[str, Any]]]  # the report of each member, `results[o][s]`, as `arjax` writes it
    notes: list[list[dict[str, Any]]]  # likewise, of the checkpoint of the best parameters
    best_step: np.ndarray  # of these parameters, int[O, S]
    validation_rows: np.ndarray  # nats of each example, float64[O, S, N]
    test_rows: np.ndarray
    num_params: int
    params: Any  # the best ones, [O, S, ...]
    history: History
    code: Mapping[str, Sequence[str]]  # the versions of the user's code that have trained them


@checked_arguments()
def train_population(
    population: Population,
    log: Callable[[str], None] = lambda text: None,
    workdir: str | os.PathLike = "",
    show: Show | None = None,
) -> Scores:
    """Trains all members to the end, each with its own best parameters by validation, and scores them.

    A member with a loss that is not finite keeps its best parameters, and scores infinity without a finite score. A
    member that has not improved for `train.patience` evaluations keeps its parameters; the program ends when that holds
    for all, or with the last step. After SIGTERM or SIGINT the state is saved, and `KeyboardInterrupt` raised. The
    training goes on in `workdir`; with "" nothing is kept. `log` is called with a line for every validation, unless
    progress is shown by `show`, such as `arjax.reporting.progress.Progress`.
    """
    with contextlib.ExitStack() as stack:
        folder = workdir or stack.enter_context(tempfile.TemporaryDirectory())
        run = run_training(Members(population, folder, log, show), folder)
        with np.errstate(invalid="ignore"):  # infinite nats have no standard error
            return _scores(population, run.state, run.history, stored(folder).code)


def _scores(
    population: Population, state: PopulationState, history: History, code: Mapping[str, Sequence[str]]
) -> Scores:
    """Returns the scores of the best parameters of all members; infinite nats if none of its scores was finite."""
    setup, split = population.setup, population.setup.evaluate.split
    valid, test = (counted(population.rows(state.best, name)) for name in ("validation", split))
    test |= truth_rows(setup.scored, split, setup.scoring)
    for rows in (valid, test):
        rows["nll"][~np.isfinite(history.best_value)] = np.inf
    notes: list[list[dict[str, Any]]] = [[] for _ in population.members]
    results: list[list[dict[str, Any]]] = [[] for _ in population.members]
    for o, s in np.ndindex(population.shape):
        of_valid, of_test = (
            {name: values if values.ndim == 1 else values[o, s] for name, values in rows.items()}
            for rows in (valid, test)
        )
        summary = summarize_rows(of_valid, setup.dataset.event, setup.dataset.text_unit)
        notes[o].append({"value": float(history.best_value[o, s]), "scores": summary})
        results[o].append(_result(population, state, history, notes[o][s], of_test, o, s))
    return Scores(
        validation=history.best_value,
        results=results,
        notes=notes,
        best_step=history.best_step,
        validation_rows=valid["nll"],
        test_rows=test["nll"],
        num_params=sum(leaf[0, 0].size for leaf in jax.tree.leaves(state.best)),
        params=state.best,
        history=history,
        code=code,
    )


def _result(
    population: Population, state: PopulationState, history: History, note: dict, test: Rows, o: int, s: int
) -> dict[str, Any]:
    """The report of a member; its seconds are equal parts of those of all."""
    setup, train, best_step = population.setup, population.setup.train, int(history.best_step[o, s])
    params, objective = jax.tree.map(lambda leaf: leaf[o, s], (state.best, state.train.objective))
    where = population.members[o], params, setup.dataset, setup.evaluate.split, setup.evaluate
    seed, timings = population.seeds[s], ("train_seconds", "compile_seconds", "step_seconds")
    scored = report(*where, mesh=None, seed=seed, open_run=setup.open_run, rows=test)
    return scored.scores | training_entries(
        setup,
        (params, best_step, note),
        # A run alone ends with the last step, or out of patience.
        step=min(setup.total_steps, best_step + (train.patience or setup.total_steps) * train.eval_every),
        history={name: getattr(history, name) / history.best_step.size for name in timings},
        objective_state=objective,
        seed=seed,
    )


def write_member(folder: Path, config: ConfigDict, population: Population, scores: Scores, o: int, s: int) -> None:
    """Writes the folder that `arjax` would have made of `config`, the member (o, s); `results.json` comes last."""
    if not scores.history.alive[o, s]:
        raise UserError("the loss was not finite; a lower optimizer.learning_rate or a clip_norm may help")
    if not np.isfinite(scores.validation[o, s]):
        raise UserError("no validation score of this run was finite, so there are no best parameters to test")
    params = jax.device_put(jax.tree.map(lambda leaf: leaf[o, s], scores.params), jax.devices()[0])
    if (folder / CONFIG_NAME).exists() and other_results(config, folder):
        set_results_aside(folder)
    save_config(config, folder)
    orders = fingerprint_of_orders(population.members[o])
    Record(data=population.record.data, orders=orders, code=scores.code).write(folder)
    best_store(folder).save(int(scores.best_step[o, s]), params, scores.notes[o][s])
    test_N, validation_N = scores.test_rows[o, s], scores.validation_rows[o, s]
    write_nats(folder, {"validation": validation_N, config.evaluate.split: test_N})
    write_results(folder, scores.results[o][s])
