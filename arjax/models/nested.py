"""Nested models: the conditional of a step is itself an autoregressive model, over the entries of a value or the sites.

p(x_t | x_<t) = prod_d p(x_td | x_t,<d, h_t), where the features h_t of the outer network are the context of the inner
model. An RNN outside and a NADE inside are the RNN-NADE of Boulanger-Lewandowski, Bengio & Vincent, "Modeling Temporal
Dependencies in High-Dimensional Sequences" (2012), section 3.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals.base import CONDITIONALS, Conditional, WithParameters
from arjax.conditionals.blocks import JointConditional, site_log_prob, site_loss, visit_numbers
from arjax.conditionals.numerics import as_temperature
from arjax.conditionals.restricted import Modes
from arjax.core.batch import Batch
from arjax.core.errors import refuse
from arjax.core.spec import DISCRETE_KINDS, ContextSpec, EventSpec
from arjax.core.traits import require
from arjax.models.autoregressive import AutoregressiveModel
from arjax.models.kinds import make_model
from arjax.networks import NETWORKS
from arjax.samplers import Cached, Request, example_keys


@CONDITIONALS.register("nested")
@dataclasses.dataclass(frozen=True, eq=False)
class Nested(WithParameters, JointConditional):
    """An autoregressive model over the entries of a value or, with several sites in a step, over the sites of a block.

    The context of the inner `model` is the features of the site, or those of all indices of the block, concatenated;
    its grid is the shape of a value, or the M = `block_size` sites of the largest step. Values and features at invalid
    indices are 0. These are not scored, and the others are conditioned on a constant there, so the rest is a
    distribution under any inner order.
    """

    model: AutoregressiveModel
    value_shape: tuple[int, ...]
    block_size: int = 1

    def _value(self) -> tuple[Any, ...]:
        arrays = (np.asarray(array).tobytes() for array in jax.tree.leaves(self.model))
        return self.model.network, self.model.conditional, self.value_shape, self.block_size, *arrays

    DATA = (*DISCRETE_KINDS, "real")
    NEEDS = "data of one kind"

    @classmethod
    def for_event(
        cls,
        event: EventSpec,
        network: str = "made",
        features: int = 64,
        ordering: str = "raster",
        partition: str = "sites",
        conditional: str = "",
        block_size: int = 1,
        **options: Any,
    ) -> Nested:
        """Returns a model of the values of an event: `nested(network='nade', hidden_size=100)`. `options` are those of
        the inner network; the outer one passes `features` numbers per site to it. `ordering`, `partition` and
        `conditional`, which may be nested again, are of the entries of a value, or of the M indices of a block.
        """
        wanted = "the conditional 'nested' is for values that are vectors or steps of several sites"
        is_number = not event.value_shape and block_size == 1
        refuse((is_number, f"{wanted}, and here a step is a single number: set model.partition"))
        cls.check_event(event)
        NETWORKS.check_options(network, options)
        grid, value = (event.value_shape, ()) if block_size == 1 else ((block_size,), event.value_shape)
        entries = dataclasses.replace(event, grid_shape=grid, value_shape=value)
        context = ContextSpec("vector", block_size * features)
        choice = {"ordering": ordering, "partition": partition, "conditional": conditional} | options
        inner = make_model(entries, network, context=context, **choice)
        return cls(require(inner, "conditionals", "the conditional 'nested'"), event.value_shape, block_size)

    @property
    def score_kind(self) -> str:  # type: ignore[override]  # a constant of other families
        return self.model.score_kind

    @property
    def training_loss(self) -> str:  # type: ignore[override]
        return self.model.conditional.training_loss

    @property
    def num_params(self) -> int:
        return self.num_context // self.block_size

    @property
    def num_context(self) -> int:
        """Size of the inner model's context: the features of a site, or of all indices of a block."""
        return self.model.context_spec.parts[0][1].value_size

    def init(self, key: jax.Array) -> Any:
        return self.model.init(key)

    def order_in_block(self, block_size: int) -> np.ndarray:
        """Returns the steps of the inner model, and the order within these where its own conditional is joint."""
        return visit_numbers(self.model.conditional, self.model.factorization)

    def transformed(self, change: Callable[[Conditional], Any]) -> Nested:
        inner = dataclasses.replace(self.model, conditional=self.model.conditional.transformed(change))
        return dataclasses.replace(self, model=inner)

    def _block(self, features: jax.Array, value: jax.Array, kept: jax.Array, valid: jax.Array) -> Batch:
        """Returns inner examples [N, M, *value], 0 except at the indices `kept`, and their contexts [N, M * F]."""
        kept = jnp.broadcast_to(kept, features.shape[:-1])
        value = jnp.where(kept.reshape(*kept.shape, *[1] * len(self.value_shape)), value, 0)
        features = jnp.where(valid[..., None], features, 0).reshape(-1, self.num_context)
        return Batch(value.reshape(-1, *self.model.event.shape), {"vector": features.astype(jnp.float32)})

    def block_log_prob(self, features: jax.Array, value: jax.Array, valid: jax.Array) -> jax.Array:
        return self._per_index(site_log_prob, features, value, valid)

    def block_loss(self, features: jax.Array, value: jax.Array, valid: jax.Array) -> jax.Array:
        return self._per_index(site_loss, features, value, valid)

    def _per_index(self, number: Callable[..., jax.Array], features, value, valid) -> jax.Array:
        batch = self._block(features, value, valid, valid)
        values = self.model.per_site(number, self.params, batch, train=self.train, key=self.key)
        return self._over_entries(values, features, valid)

    def _over_entries(self, values: jax.Array, features: jax.Array, valid: jax.Array) -> jax.Array:
        """Returns numbers of the sites of inner examples, added up over the entries of each value, [..., M]."""
        return jnp.where(valid, values.reshape(*features.shape[:-1], -1).sum(-1), 0.0)

    def block_entropy(self, features: jax.Array, value: jax.Array, valid: jax.Array) -> jax.Array:
        _, entropies = self.model.site_scores(self.params, self._block(features, value, valid, valid), self.key)
        return self._over_entries(entropies, features, valid)

    def block_sample(self, key, features, valid, value, given, temperature=1.0):
        """Draws [..., M, *value_shape], index by index; exact where the given indices are visited before all others."""
        return self._draw_block(self.model.conditional, key, features, valid, value, given, temperature)

    def block_mode(self, features, valid, value, given):
        """Returns the most probable value index by index, [..., M, *value_shape]: greedy."""
        head = Modes(self.model.conditional)
        return self._draw_block(head, jax.random.key(0), features, valid, value, given, 1.0)

    def _draw_block(self, conditional: Any, key, features, valid, value, given, temperature) -> jax.Array:
        batch, model = self._block(features, value, valid & given, valid), self.model
        canvas, clamped = batch.x.astype(model.event.dtype), None if self.block_size == 1 else ~valid | given
        request = Request(canvas, clamped, batch.context, temperature=as_temperature(temperature))
        model = dataclasses.replace(model, conditional=conditional)
        drawn = Cached()(model, self.params, example_keys(key, len(canvas)), request).x
        return drawn.reshape(*features.shape[:-1], *self.value_shape)

    def entropy(self, features: jax.Array) -> jax.Array:
        """Returns an unbiased estimate in nats, [...]: the sum of the conditionals' entropies along one drawn value."""
        key = jax.random.key(0) if self.key is None else self.key
        drawn = self.sample(key, features)
        return self._of_one(self.block_entropy, features, drawn)
