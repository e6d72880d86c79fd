"""A population: O orders x S seeds of one config."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from arjax.config.build import build, build_model
from arjax.config.validate import fields
from arjax.core.batch import Batch
from arjax.core.errors import UserError, refuse
from arjax.core.options import check_seed, checked_arguments
from arjax.evaluation.likelihood import score_likelihood
from arjax.evaluation.splits import Rows, Scoring, SplitScorer, first_batch, split_of
from arjax.models import KINDS, Model
from arjax.models.checks import check_likelihood
from arjax.training.feed import compact_form
from arjax.training.record import Record, fingerprint_of_orders
from arjax.training.setup import Setup

STRATEGIES = ("vmap", "map")


def over_members(strategy: str, member: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Any, Any], Any]:
    """`member(model, state, of_seed)` for all members: from [O, ...], [O, S, ...] and [S, ...] to [O, S, ...]."""
    if strategy == "vmap":
        return jax.vmap(jax.vmap(member, in_axes=(None, 0, 0)), in_axes=(0, 0, None))
    return lambda models, states, of_seeds: jax.lax.map(
        lambda of: jax.lax.map(lambda seed: member(of[0], *seed), (of[1], of_seeds)), (models, states)
    )


@checked_arguments()
class Population:
    """The same config under several orders and seeds; each member is the run that `arjax` would make of it alone.

    Arrays of all members have two more axes in front, [O, S, ...]: O orders and S seeds. Runs of one seed start from
    the same parameters and see the same batches under every order, so they differ in the order alone. The orders are
    spread over as many devices as divide their number; `config.mesh` and `train.data_on_device` are ignored.
    """

    def __init__(
        self,
        config: ConfigDict,
        orders: Sequence[str | np.ndarray],
        seeds: Sequence[int],
        strategy: str = "",
        setup: Setup | None = None,
    ):
        """Builds the members.

        Args:
          config: a whole config; its `model.ordering` and `seed` are replaced by those of the members.
          orders: call strings of orderings, or permutations of the sites.
          seeds: of parameters, batches and noise.
          strategy: "vmap" does one step of all members at once, which fills an accelerator. "map" takes the members one
            after another, many steps each, which is faster on CPU (experiments/order_matters/speed.csv). "": by the
            device.
          setup: `shared_setup(config)`, if it is built already.
        """
        strategies = f"the strategy of a population is one of {', '.join(STRATEGIES)}, not {strategy!r}"
        refuse(
            (len(orders) == 0 or len(seeds) == 0, "a population needs at least one order and one seed"),
            (strategy not in ("", *STRATEGIES), strategies),
        )
        for seed in seeds:
            check_seed(seed, "the seed of a member")
        self.strategy = strategy or ("map" if jax.default_backend() == "cpu" else "vmap")
        self.config, self.seeds = on_one_device(config), tuple(int(seed) for seed in seeds)
        self.setup = shared_setup(config, orders[0]) if setup is None else setup
        self.config.model.ordering = next((order for order in orders if isinstance(order, str)), "raster")
        self.replace_orders(orders)
        dataset = dataclasses.replace(self.setup.scored, transform=None)  # each seed has its own draws of it
        keys_S = jax.vmap(jax.random.key)(jnp.asarray(self.seeds, jnp.uint32))
        self._scorer = SplitScorer(self._score, dataset, Scoring(self.setup.evaluate.batch_size, None, keys_S))
        self.programs: dict[Any, Any] = {}  # the compiled ones, by the number and the form of the members

    def replace_orders(self, orders: Sequence[str | np.ndarray]) -> None:
        """Takes other orders; as many as before are trained by the same compiled program."""
        self.orders, members = orders, [member(self.setup, self.config, order) for order in orders]
        if len({form(model) for model in members}) > 1:
            raise UserError("the orders are cut into different blocks, so they cannot share one program")
        devices = jax.devices()[: math.gcd(len(members), jax.device_count())]  # as many as divide the orders
        self.members = members
        self.sharding = NamedSharding(Mesh(np.array(devices), ("orders",)), PartitionSpec("orders"))
        self.models = jax.device_put(jax.tree.map(lambda *leaves: np.stack(leaves), *members), self.sharding)

    @property
    def shape(self) -> tuple[int, int]:
        """(O, S)."""
        return len(self.members), len(self.seeds)

    @property
    def record(self) -> Record:
        """The identity of the population: that of its config, with all orders and seeds."""
        orders = tuple(order if isinstance(order, str) else tuple(map(int, order)) for order in self.orders)
        of_config = dict(fields(self.config)) | {"model.ordering": orders, "seed": self.seeds}
        return dataclasses.replace(self.setup.record, fields=of_config, orders=fingerprint_of_orders(self.members))

    @functools.cached_property
    def resident(self) -> tuple[Batch, Callable[[Batch, jax.Array], Batch]]:
        """The train split on the devices, and the function that gathers batches from it: see `compact_form`."""
        arrays, gather = compact_form(self.setup.dataset.splits["train"])
        return jax.tree.map(jnp.asarray, arrays), gather

    def rows(self, params: Any, split: str) -> Rows:
        """Scores of the examples of a split by all members, float64[O, S, N] by name: see `Evaluator.rows`."""
        dataset = self.setup.scored
        return self._scorer.rows((self.models, params), split_of(dataset, split), first_batch(dataset, split))

    def _score(self, params: Any, batch: Batch, keys_S: jax.Array, log_scale_D: jax.Array) -> dict[str, jax.Array]:
        dataset = self.setup.dataset

        def scores(model: Model, params: Any, key: jax.Array) -> dict[str, jax.Array]:
            rows = batch if dataset.transform is None else dataset.transform(key, batch, False)
            score = score_likelihood(model, answer=dataset.answer, score_of_draws=dataset.score_of_draws)
            return score(params, rows, key, log_scale_D)

        models, params = params
        return over_members(self.strategy, scores)(models, params, keys_S)


def check_has_order(config: ConfigDict) -> None:
    """Raises `UserError` for a kind of model without the option `ordering`."""
    if "ordering" not in KINDS.get(config.model.kind).CALLS:
        kind = config.model.kind
        raise UserError(f"the members of a population differ in their orders, and the kind {kind!r} has none")


def on_one_device(config: ConfigDict) -> ConfigDict:
    """A copy of the config for a mesh of any size."""
    config = config.copy_and_resolve_references()
    config.mesh.update(data=-1, fsdp=1, tensor=1)
    return config


def shared_setup(config: ConfigDict, order: str | np.ndarray) -> Setup:
    """The parts that all members of a population have, on one device, with the model of one of its orders."""
    check_has_order(config)
    refuse(
        (jax.process_count() > 1, "a population is trained by one process"),
        (config.model.get("orders", ""), "a population has one order per member: leave model.orders empty"),
    )
    for name in ("steps", "exposure"):
        if config.evaluate[name]:
            alone = "a population scores nats alone"
            raise UserError(f"{alone}: leave config.evaluate.{name} at 0, and set it in --mode=evaluate of a member")
    setup = build(_with_order(on_one_device(config), order), jax.devices()[:1])
    check_likelihood(setup.model, "a population")
    for split in ("validation", config.evaluate.split):
        if split not in setup.dataset.splits:
            raise UserError(f"data set {setup.dataset.name!r} has no {split} split, which a population needs")
    return setup


def _with_order(config: ConfigDict, order: str | np.ndarray) -> ConfigDict:
    config = config.copy_and_resolve_references()
    config.model.ordering = order if isinstance(order, str) else f"list(order={tuple(int(site) for site in order)})"
    return config


def member(setup: Setup, config: ConfigDict, order: str | np.ndarray) -> Any:
    """The model of a member: that of a run with this order."""
    return build_model(_with_order(config, order), setup.dataset)


def form(model: Model) -> Any:
    """What the models of a population have in common: all but the values of their arrays."""
    leaves, structure = jax.tree.flatten(model)
    return structure, tuple(np.shape(leaf) for leaf in leaves)
