"""A population: O orders x S seeds of one config."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from arjax.config.build import build
from arjax.config.files import to_json
from arjax.core.arguments import named_arguments
from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.integers import check_seed
from arjax.data.ahead import read_ahead
from arjax.data.batches import eval_batches, train_index_block
from arjax.factorization import Factorization, graph_needs_data, make_factorization, needs_data
from arjax.models.autoregressive import check_network
from arjax.population.step import STRATEGIES, score_population, stack
from arjax.training.feed import compact_form
from arjax.training.setup import Setup


@named_arguments
class Population:
    """The same config under several orders and seeds; each member is the run that `arjax` would make of it alone.

    The orders are spread over as many devices as divide their number; `config.mesh` and `train.data_on_device` are
    ignored.
    """

    def __init__(
        self, config: ConfigDict, orders: Sequence[str | np.ndarray], seeds: Sequence[int], strategy: str = ""
    ):
        """Builds the members.

        Args:
          config: a whole config; its `model.ordering` and `seed` are replaced by those of the members.
          orders: call strings of orderings, or permutations of the sites.
          seeds: of parameters, batches and noise.
          strategy: "vmap", "map", or "" for the one that suits the device; see `arjax.population.step`.

        Raises:
          UserError: no order or seed, orders that the network does not support, orders that are cut into different
            blocks, a data set without a validation split, or several processes.
        """
        if len(orders) == 0 or len(seeds) == 0:
            raise UserError("a population needs at least one order and one seed")
        for seed in seeds:
            check_seed(seed, "the seed of a member")
        if strategy not in ("", *STRATEGIES):
            raise UserError(f"the strategy of a population is one of {', '.join(STRATEGIES)}, not {strategy!r}")
        self.strategy = strategy or ("map" if jax.default_backend() == "cpu" else "vmap")
        check_autoregressive(config)
        self.config, self.seeds = config.copy_and_resolve_references(), tuple(int(seed) for seed in seeds)
        self.config.model.ordering = next((order for order in orders if isinstance(order, str)), "raster")
        self.config.mesh.update(data=-1, fsdp=1, tensor=1)
        self.setup = shared_setup(self.config)
        self.replace_orders(orders)
        source = self.setup.dataset.splits["train"]
        self.num_examples = len(source)
        arrays, self.gather = compact_form(source)
        self.arrays = jax.tree.map(jnp.asarray, arrays)
        self._score = jax.jit(self._score_batch)
        self._compiled: dict[Any, Any] = {}

    def replace_orders(self, orders: Sequence[str | np.ndarray]) -> None:
        """Takes other orders; as many as before are trained by the same compiled program."""
        factorizations = [factorization_of(self.setup, self.config, order) for order in orders]
        if len({f.blocks.shape for f in factorizations}) > 1:
            raise UserError("the orders are cut into different blocks, so they cannot share one program")
        self.factorizations, self.orders = factorizations, stack(factorizations)
        self.sharding = member_sharding(len(factorizations))

    @property
    def shape(self) -> tuple[int, int]:
        """(O, S)."""
        return len(self.factorizations), len(self.seeds)

    @property
    def identity(self) -> str:
        """Tells this population from others: a digest of its config, orders and seeds."""
        digest = hashlib.sha256(f"{to_json(self.config)}{self.seeds}".encode())
        for leaf in jax.tree.leaves(self.orders):
            digest.update(np.asarray(leaf).tobytes())
        return digest.hexdigest()

    def compiled(self, make: Callable[[], Any]) -> Any:
        """The train program: that of an earlier call where the orders are as many and cut alike, else `make()`."""
        key = (len(self.factorizations), self.factorizations[0].blocks.shape)
        if key not in self._compiled:
            self._compiled[key] = make()
        return self._compiled[key]

    def _score_batch(self, params: Any, orders: Factorization, batch: Batch, keys_S: jax.Array):
        dataset = self.setup.dataset

        def batch_of(key: jax.Array) -> Batch:
            return batch if dataset.transform is None else dataset.transform(key, batch, False)

        return score_population(self.setup.model, self.strategy, orders, params, batch_of, keys_S, dataset.log_scale_D)

    def indices(self, step: int, n: int, most: int) -> np.ndarray:
        """Rows of the train split for n steps, int32[S, most, B]: those that a run of each seed sees."""
        size = self.config.train.batch_size
        indices = np.zeros((len(self.seeds), most, size), np.int32)
        for row, seed in zip(indices, self.seeds, strict=True):
            row[:n] = train_index_block(seed, step, n, self.num_examples, size)
        return indices

    def rows(self, params: Any, orders: Factorization, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Nats of every example of a split under every member, float32[O, S, N], and its number of scored sites [N].

        Examples of which no site is scored are left out.
        """
        dataset = self.setup.dataset
        if split not in dataset.splits:
            raise UserError(f"data set {dataset.name!r} has no {split} split")
        parts, keys_S = [], jax.vmap(jax.random.key)(jnp.asarray(self.seeds, jnp.uint32))
        batches = eval_batches(dataset.splits[split], self.config.evaluate.batch_size)
        with contextlib.closing(read_ahead(batches)) as coming:
            for i, batch in enumerate(coming):
                counts_B, batch = batch.weight > 0, batch.replace(weight=None)
                keys_of_batch_S = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys_S, i)
                nll_OSB, sites_B = (np.asarray(a) for a in self._score(params, orders, batch, keys_of_batch_S))
                keep_B = counts_B & (sites_B > 0)
                parts.append((nll_OSB[..., keep_B], sites_B[keep_B]))
        nll, sites = zip(*parts, strict=True)
        return np.concatenate(nll, axis=-1), np.concatenate(sites)


def check_autoregressive(config: ConfigDict) -> None:
    """Raises `UserError` for a kind of model without an order."""
    if config.model.kind != "autoregressive":
        raise UserError(
            f"the members of a population differ in their orders, and the kind {config.model.kind!r} has none"
        )


def shared_setup(config: ConfigDict) -> Setup:
    """The parts that all members of a population have, on one device.

    Raises:
      UserError: a mistake in the config, several orders in each member, a data set without a validation split,
        further scores that members do not have, or several processes.
    """
    if jax.process_count() > 1:
        raise UserError("a population is trained by one process")
    if config.model.orders:
        raise UserError("a population has one order per member: leave model.orders empty")
    for name in ("steps", "exposure"):
        if config.evaluate[name]:
            raise UserError(
                f"a population scores the nats of its members alone: leave config.evaluate.{name} at 0, and set it in "
                "--mode=evaluate of a member"
            )
    setup = build(config, jax.devices()[:1])
    for split in ("validation", config.evaluate.split):
        if split not in setup.dataset.splits:
            raise UserError(f"data set {setup.dataset.name!r} has no {split} split, which a population needs")
    return setup


def factorization_of(setup: Setup, config: ConfigDict, order: str | np.ndarray) -> Factorization:
    """The factorization of a member: its order, cut into blocks by the partition of the config.

    Raises:
      UserError: no such order, or one that the network does not support.
    """
    model, event, choice = setup.model, setup.dataset.event, config.model
    text = order if isinstance(order, str) else f"list(order={tuple(int(site) for site in order)})"
    data = None
    if needs_data(text) or graph_needs_data(choice.graph):
        data = setup.dataset.some_examples("train")
        data = data.reshape(len(data), event.num_sites, -1)
    factorization = make_factorization(model.event.grid_shape, text, choice.partition, data, choice.graph)
    options = {field.name: getattr(model.network, field.name) for field in dataclasses.fields(model.network)}
    check_network(config.network.name, event, factorization, options)
    return factorization


def member_sharding(num_orders: int) -> NamedSharding:
    """Orders over devices, as many as divide their number."""
    devices = jax.devices()
    used = math.gcd(num_orders, len(devices))
    return NamedSharding(Mesh(np.array(devices[:used]), ("orders",)), PartitionSpec("orders"))
