"""Training a population: O orders x S seeds of one config in one compiled program."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from arjax.config.build import build
from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.integers import is_integer
from arjax.data.ahead import read_ahead
from arjax.data.batches import eval_batches, train_index_block
from arjax.evaluation.likelihood import summarize
from arjax.factorization import Factorization, graph_needs_data, make_factorization, needs_data
from arjax.models.make import check_network
from arjax.population.step import WAYS, init_population, population_steps, score_population, stack
from arjax.training.durations import next_pause
from arjax.training.feed import compact_form
from arjax.training.setup import Setup
from arjax.training.state import TrainState, eval_params
from arjax.training.stopping import TrainingDiverged


@dataclasses.dataclass(frozen=True)
class Scores:
    """What a population scores; rows in the order of `orders`, columns in that of `seeds`.

    Attributes:
      validation: best nats per example on the validation split, float64[O, S].
      results: what `arjax` would write for each member about the split of `config.evaluate.split`, [O][S] dicts.
      best_step: the step they are of, int[O, S].
      validation_rows: nats of each example, float32[O, S, N].
      test_rows: likewise of the other split.
      seconds: of training, without compilation.
      num_params: of one member.
    """

    validation: np.ndarray
    results: list[list[dict[str, Any]]]
    best_step: np.ndarray
    validation_rows: np.ndarray
    test_rows: np.ndarray
    seconds: float
    num_params: int


class Population:
    """The same config under several orders and seeds; each member is the run that `arjax` would make of it alone.

    The orders are spread over as many devices as divide their number; `config.mesh` and `train.data_on_device` play no
    part. A data set that transforms its examples at random is scored on the same draws for all members.
    """

    def __init__(self, config: ConfigDict, orders: Sequence[str | np.ndarray], seeds: Sequence[int], way: str = ""):
        """Builds the members.

        Args:
          config: a whole config; its `model.ordering` and `seed` give way to those of the members.
          orders: call strings of orderings, or permutations of the sites.
          seeds: of parameters, batches and noise.
          way: "vmap", "map", or "" for the one that suits the device; see `arjax.population.step`.

        Raises:
          UserError: no order or seed, orders that the network does not serve, orders that are cut into different
            blocks, a data set without a validation split, or several processes.
        """
        if len(orders) == 0 or len(seeds) == 0:
            raise UserError("a population needs at least one order and one seed")
        if any(not is_integer(seed) or not 0 <= seed < 2**32 for seed in seeds):
            raise UserError(f"seeds are whole numbers from 0 to 2^32 - 1, not {tuple(seeds)!r}")
        if way not in ("", *WAYS):
            raise UserError(f"the way through a population is one of {', '.join(WAYS)}, not {way!r}")
        self.way = way or ("map" if jax.default_backend() == "cpu" else "vmap")
        if jax.process_count() > 1:
            raise UserError("a population is trained by one process")
        if config.model.orders:
            raise UserError("a population has one order per member: leave model.orders empty")
        self.config, self.seeds = config.copy_and_resolve_references(), tuple(int(seed) for seed in seeds)
        self.config.model.ordering = next((order for order in orders if isinstance(order, str)), "raster")
        self.config.mesh.update(data=-1, fsdp=1, tensor=1)
        self.setup: Setup = build(self.config, jax.devices()[:1])
        for split in ("validation", config.evaluate.split):
            if split not in self.setup.dataset.splits:
                raise UserError(f"data set {self.setup.dataset.name!r} has no {split} split, which a population needs")
        self.replace_orders(orders)
        source = self.setup.dataset.splits["train"]
        self.num_examples = len(source)
        arrays, self.gather = compact_form(source)
        self.arrays = jax.tree.map(jnp.asarray, arrays)
        self._score = jax.jit(self._score_batch)
        steps = functools.partial(population_steps, self.setup.recipe, self.way, self.gather)
        self._steps = jax.jit(steps, donate_argnums=0)

    def replace_orders(self, orders: Sequence[str | np.ndarray]) -> None:
        """Takes other orders; as many as before are trained by the same compiled program."""
        factorizations = [self._factorization(order) for order in orders]
        if len({f.blocks.shape for f in factorizations}) > 1:
            raise UserError("the orders are cut into different blocks, so they cannot share one program")
        self.factorizations, self.orders = factorizations, stack(factorizations)
        self.sharding = member_sharding(len(factorizations))

    def _factorization(self, order: str | np.ndarray) -> Factorization:
        setup, model = self.setup, self.setup.model
        text = order if isinstance(order, str) else f"list(order={tuple(int(site) for site in order)})"
        grid = model.event.grid_shape
        choice = self.config.model
        data = self._examples(text, choice.graph)
        factorization = make_factorization(grid, text, choice.partition, data, choice.graph)
        options = {field.name: getattr(model.network, field.name) for field in dataclasses.fields(model.network)}
        check_network(self.config.network.name, setup.dataset.event, factorization, options)
        return factorization

    def _examples(self, ordering: str, graph: str) -> np.ndarray | None:
        if not needs_data(ordering) and not graph_needs_data(graph):
            return None
        x, event = self.setup.dataset.some_examples("train"), self.setup.dataset.event
        return x.reshape(len(x), event.num_sites, -1)

    def _score_batch(self, params: Any, orders: Factorization, batch: Batch, key: jax.Array):
        dataset = self.setup.dataset
        if dataset.transform is not None:
            batch = dataset.transform(key, batch, False)
        return score_population(self.setup.model, self.way, orders, params, batch, dataset.log_scale_D)

    def init(self) -> tuple[TrainState, jax.Array, Factorization]:
        """Fresh states [O, S, ...], the keys of the S runs, and the orders, spread over the devices."""
        seeds_S = jnp.asarray(self.seeds, jnp.uint32)
        split_S2 = jax.vmap(lambda seed: jax.random.split(jax.random.key(seed)))(seeds_S)
        init = functools.partial(init_population, self.setup.recipe, len(self.factorizations))
        state = jax.jit(init, out_shardings=self.sharding)(split_S2[:, 0])
        return state, split_S2[:, 1], jax.device_put(self.orders, self.sharding)

    def indices(self, step: int, n: int, most: int) -> np.ndarray:
        """Rows of the train split for n steps, int32[S, most, B]: those that a run of each seed sees."""
        size = self.config.train.batch_size
        indices = np.zeros((len(self.seeds), most, size), np.int32)
        for row, seed in zip(indices, self.seeds, strict=True):
            row[:n] = train_index_block(seed, step, n, self.num_examples, size)
        return indices

    def advance(self, state: TrainState, keys: jax.Array, orders: Factorization, step: int, until: int):
        """Trains from `step` to `until`; returns the state and whether all losses were finite, bool[O, S]."""
        fine, most = True, self.config.train.steps_per_dispatch
        while step < until:
            n = min(most, until - step)
            state, now = self._steps(state, orders, self.arrays, self.indices(step, n, most), np.int32(n), keys)
            fine = fine & now
            step += n
        return state, np.asarray(fine)

    def rows(self, params: Any, orders: Factorization, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Nats of every example of a split under every member, float32[O, S, N], and its number of scored sites [N].

        Examples of which no site is scored are left out.
        """
        dataset = self.setup.dataset
        if split not in dataset.splits:
            raise UserError(f"data set {dataset.name!r} has no {split} split")
        parts, key = [], jax.random.key(self.config.seed)
        batches = eval_batches(dataset.splits[split], self.config.evaluate.batch_size)
        with contextlib.closing(read_ahead(batches)) as coming:
            for i, batch in enumerate(coming):
                counts_B, batch, key_i = batch.weight > 0, batch.replace(weight=None), jax.random.fold_in(key, i)
                nll_OSB, sites_B = (np.asarray(a) for a in self._score(params, orders, batch, key_i))
                keep_B = counts_B & (sites_B > 0)
                parts.append((nll_OSB[..., keep_B], sites_B[keep_B]))
        nll, sites = zip(*parts, strict=True)
        return np.concatenate(nll, axis=-1), np.concatenate(sites)


def member_sharding(num_orders: int) -> NamedSharding:
    """Orders over devices, as many as divide their number."""
    devices = jax.devices()
    used = math.gcd(num_orders, len(devices))
    return NamedSharding(Mesh(np.array(devices[:used]), ("orders",)), PartitionSpec("orders"))


@jax.jit
def _keep(better_OS: jax.Array, new: Any, old: Any) -> Any:
    """The new parameters of the members that became better, the old ones of all others."""

    def choose(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(better_OS.reshape(*better_OS.shape, *[1] * (new.ndim - 2)), new, old)

    return jax.tree.map(choose, new, old)


def train_population(population: Population, say: Callable[[str], None] = lambda text: None) -> Scores:
    """Trains all members to the end, each with its own best parameters by validation, and scores them.

    A member whose loss is no number keeps its best parameters; one that never had a finite score scores infinity. One
    that has not improved for `train.patience` evaluations keeps what it has; the program ends when that holds
    for all, or with the last step.
    """
    config, total = population.config, population.setup.total_steps
    state, keys, orders = population.init()
    shape = (len(population.factorizations), len(population.seeds))
    best, bad, best_step = np.full(shape, np.inf), np.zeros(shape, int), np.zeros(shape, int)
    best_params, alive = jax.tree.map(jnp.copy, eval_params(state)), np.ones(shape, bool)
    step, seconds, patience = 0, 0.0, config.train.patience
    while step < total and not (patience and (bad >= patience).all()):
        pause, started = next_pause(step, total, config.train.eval_every), time.monotonic()
        state, fine = population.advance(state, keys, orders, step, pause)
        seconds += time.monotonic() - started
        step = pause
        alive &= fine
        valid = population.rows(eval_params(state), orders, "validation")[0].mean(-1, dtype=np.float64)
        better = alive & (valid < best) & ~((bad >= patience) if patience else np.zeros(shape, bool))
        best_params = _keep(jnp.asarray(better), eval_params(state), best_params)
        best, best_step = np.where(better, valid, best), np.where(better, step, best_step)
        bad = np.where(better, 0, bad + 1)
        lost = f", {(~alive).sum()} members have diverged" if not alive.all() else ""
        say(f"step {step:,}/{total:,}  validation {best.min():.4f} to {best.max():.4f} nats{lost}")
        if not alive.any():
            raise TrainingDiverged(
                f"no loss of the population was finite before step {step}: a lower optimizer.learning_rate or a "
                "clip_norm may help"
            )
    return _scores(population, best_params, orders, best, best_step, seconds)


def _scores(
    population: Population, params: Any, orders: Factorization, best: np.ndarray, best_step: np.ndarray, seconds: float
) -> Scores:
    """What the best parameters of all members score; members that never had a finite score have none."""
    dataset, split = population.setup.dataset, population.config.evaluate.split
    valid_rows, _ = population.rows(params, orders, "validation")
    test_rows, sites_N = population.rows(params, orders, split)
    for rows in (valid_rows, test_rows):
        rows[~np.isfinite(best)] = np.inf

    def score(nll_N: np.ndarray) -> dict[str, float]:
        finite = np.isfinite(nll_N)
        nll = np.where(finite, nll_N, 0).astype(np.float64)
        scores = summarize(nll, sites_N, dataset.event, text=dataset.decode is not None)
        return scores if finite.all() else dict.fromkeys(scores, math.inf)

    return Scores(
        validation=best,
        results=[[score(nll_N) for nll_N in of_order] for of_order in test_rows],
        best_step=best_step,
        validation_rows=valid_rows,
        test_rows=test_rows,
        seconds=seconds,
        num_params=sum(leaf[0, 0].size for leaf in jax.tree.leaves(params)),
    )
