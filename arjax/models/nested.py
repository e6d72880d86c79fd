"""Nested models: the conditional of a step is itself an autoregressive model, over the entries of a value or the sites.

p(x_t | x_<t) = prod_d p(x_td | x_t,<d, h_t), where the features h_t of the outer network are the context of the inner
model. This is exact, while other conditionals assume that the values of a step are independent. An RNN outside and a
NADE inside are the RNN-NADE of Boulanger-Lewandowski, Bengio & Vincent, "Modeling Temporal Dependencies in
High-Dimensional Sequences" (2012), section 3.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals import CONDITIONALS, Conditional, JointConditional
from arjax.conditionals.blocks import site_log_prob, site_loss, visit_numbers
from arjax.conditionals.numerics import as_temperature
from arjax.conditionals.restricted import Modes
from arjax.core.batch import Batch
from arjax.core.errors import refuse
from arjax.core.spec import DISCRETE_KINDS, ContextSpec, EventSpec
from arjax.core.traits import require
from arjax.models.autoregressive import AutoregressiveModel, over_sites
from arjax.models.base import dummy_batch
from arjax.models.kinds import make_model
from arjax.networks import NETWORKS
from arjax.samplers import Cached, Request, example_keys


@CONDITIONALS.register("nested")
@dataclasses.dataclass(frozen=True, eq=False)
class Nested(JointConditional):
    """An autoregressive model over the entries of a value or, with several sites in a step, over the sites of a block.

    The context of the inner model is the features of the site, or those of all indices of the block, concatenated.
    Values and features at invalid indices are 0. These are not scored, and the others are conditioned on a constant
    there, so the rest is a distribution under any inner order.

    It has parameters of its own: `bind` them before anything is scored or drawn.

    Attributes:
      model: the inner model.
      value_shape: shape of a value: the grid of the inner model where a step has one site.
      block_size: M, sites of the largest step: the grid of the inner model where these are several.
    """

    model: AutoregressiveModel
    value_shape: tuple[int, ...]
    block_size: int = 1
    params: Any = None
    train: bool = False
    key: jax.Array | None = None

    def _value(self) -> tuple:
        """All that makes two of them equal; once parameters are bound, each equals itself alone."""
        arrays = jax.tree.leaves(self.model)
        inner = (self.model.network, self.model.conditional, *(np.asarray(array).tobytes() for array in arrays))
        return (*inner, self.value_shape, self.block_size) if self.params is None else (id(self),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Nested) and self._value() == other._value()

    def __hash__(self) -> int:
        return hash(self._value())

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
        """Returns a model of the values of an event: `nested(network='nade', hidden_size=100)`.

        `options` are those of the inner network, to which the outer one passes `features` numbers per site. `ordering`,
        `partition` and `conditional` are those of the entries of a value, or of the M = `block_size` indices of a
        block; the conditional may be nested again.
        """
        wanted = "the conditional 'nested' is for values that are vectors or steps of several sites"
        is_number = not event.value_shape and block_size == 1
        refuse((is_number, f"{wanted}, and here a step is a single number: set model.partition"))
        cls.check_event(event)
        NETWORKS.check_options(network, options)
        entries = _entries(event, block_size)
        context = ContextSpec("vector", block_size * features)
        choice = {"ordering": ordering, "partition": partition, "conditional": conditional} | options
        inner = make_model(entries, network, context=context, **choice)
        return cls(require(inner, "conditionals", "the conditional 'nested'"), event.value_shape, block_size)

    @property
    def score_kind(self) -> str:
        return self.model.score_kind

    @property
    def training_loss(self) -> str:
        return self.model.conditional.training_loss

    @property
    def num_params(self) -> int:
        """Number of features of each site in the inner model's context."""
        return self.num_context // self.block_size

    @property
    def num_context(self) -> int:
        """Size of the inner model's context: the features of a site, or of all indices of a block."""
        return self.model.context_spec.parts[0][1].value_size

    def init(self, key: jax.Array) -> Any:
        return self.model.init(key)

    def bind(self, params: Any, train: bool = False, key: jax.Array | None = None) -> Nested:
        return dataclasses.replace(self, params=params, train=train, key=key)

    def order_in_block(self, block_size: int) -> np.ndarray:
        """The steps of the inner model, and the order within these where its own conditional is joint."""
        return visit_numbers(self.model.conditional, self.model.factorization)

    def transformed(self, change: Callable[[Conditional], Any]) -> Nested:
        inner = dataclasses.replace(self.model, conditional=self.model.conditional.transformed(change))
        return dataclasses.replace(self, model=inner)

    def _context(self, features: jax.Array) -> dict[str, jax.Array]:
        """[..., F] or, for blocks, [..., M, F] -> [N, M * F], the contexts of as many inner examples."""
        return {"vector": features.reshape(-1, self.num_context).astype(jnp.float32)}

    def _block(self, features: jax.Array, value: jax.Array, kept: jax.Array, valid: jax.Array) -> tuple[Any, Any]:
        """Inner examples [N, M, *value], 0 except at the indices `kept`, and their contexts [N, M * F]."""
        kept = jnp.broadcast_to(kept, features.shape[:-1])
        value = jnp.where(kept.reshape(*kept.shape, *[1] * len(self.value_shape)), value, 0)
        return value.reshape(-1, *self.model.event.shape), self._context(jnp.where(valid[..., None], features, 0))

    def block_log_prob(self, features: jax.Array, value: jax.Array, valid: jax.Array) -> jax.Array:
        return self._per_index(site_log_prob, features, value, valid)

    def block_loss(self, features: jax.Array, value: jax.Array, valid: jax.Array) -> jax.Array:
        return self._per_index(site_loss, features, value, valid)

    def _per_index(self, number: Callable[..., jax.Array], features, value, valid) -> jax.Array:
        rows, context = self._block(features, value, valid, valid)
        values = self._per_site(number, rows, context)
        return jnp.where(valid, values.reshape(features.shape[:-1]), 0.0)

    def _per_site(self, number: Callable[..., jax.Array], rows: jax.Array, context: dict[str, jax.Array]) -> jax.Array:
        """`number` of each site of inner examples, see `AutoregressiveModel.per_site`."""
        return self.model.per_site(number, self.params, Batch(rows, context), train=self.train, key=self.key)

    def block_entropy(self, features: jax.Array, value: jax.Array, valid: jax.Array) -> jax.Array:
        rows, context = self._block(features, value, valid, valid)
        _, per_index = self.model.site_scores(self.params, Batch(rows, context), self.key)
        return jnp.where(valid, per_index.reshape(features.shape[:-1]), 0.0)

    def block_sample(self, key, features, valid, value, given, temperature=1.0):
        """Draws [..., M, *value_shape], index by index; exact where the given indices are visited before all others."""
        return self._draw_block(self.model.conditional, key, features, valid, value, given, temperature)

    def block_mode(self, features, valid, value, given):
        """The most probable value index by index, [..., M, *value_shape]: greedy."""
        head = Modes(self.model.conditional)
        return self._draw_block(head, jax.random.key(0), features, valid, value, given, 1.0)

    def _draw_block(self, conditional, key, features, valid, value, given, temperature):
        canvas, context = self._block(features, value, valid & given, valid)
        canvas = canvas.astype(self.model.event.dtype)
        drawn = self._fill(conditional, key, canvas, ~valid | given, context, temperature)
        return drawn.reshape(*features.shape[:-1], *self.value_shape)

    def _fill(self, conditional: Any, key, canvas, clamped, context, temperature) -> jax.Array:
        """Draws the sites of inner examples that are not clamped; None: all."""
        model = dataclasses.replace(self.model, conditional=conditional)
        request = Request(canvas, clamped, context, temperature=as_temperature(temperature))
        return Cached()(model, self.params, example_keys(key, len(canvas)), request).x

    def log_prob(self, features: jax.Array, value: jax.Array) -> jax.Array:
        """log p(value | features) in nats, [...]: the inner model's, with teacher forcing."""
        return self._summed(site_log_prob, features, value)

    def loss(self, features: jax.Array, value: jax.Array) -> jax.Array:
        return self._summed(site_loss, features, value)

    def _summed(self, number: Callable[..., jax.Array], features: jax.Array, value: jax.Array) -> jax.Array:
        value = jnp.broadcast_to(value, (*features.shape[:-1], *self.value_shape))
        values = self._per_site(number, value.reshape(-1, *self.value_shape), self._context(features))
        return over_sites(values).reshape(features.shape[:-1])

    def sample(self, key: jax.Array, features: jax.Array, temperature: float | jax.Array = 1.0) -> jax.Array:
        return self._draw(self.model.conditional, key, features, temperature)

    def mode(self, features: jax.Array) -> jax.Array:
        """Entry by entry the most probable, [..., *value_shape]: greedy, which need not be the most probable whole."""
        return self._draw(Modes(self.model.conditional), jax.random.key(0), features, 1.0)

    def _draw(self, conditional: Any, key: jax.Array, features: jax.Array, temperature: Any) -> jax.Array:
        context = self._context(features)
        canvas = dummy_batch(self.model, len(context["vector"])).x
        drawn = self._fill(conditional, key, canvas, None, context, temperature)
        return drawn.reshape(*features.shape[:-1], *self.value_shape)

    def entropy(self, features: jax.Array) -> jax.Array:
        """An estimate without bias, in nats, [...]: the entropies of the entries' conditionals along one drawn value
        each, by the key of `bind` or always the same. The exact sum over all values is out of reach.
        """
        key = jax.random.key(0) if self.key is None else self.key
        drawn = self.sample(key, features).reshape(-1, *self.value_shape)
        _, entropy = self.model.site_scores(self.params, Batch(drawn, self._context(features)), self.key)
        return entropy.reshape(*features.shape[:-1], -1).sum(-1)


def _entries(event: EventSpec, block_size: int) -> EventSpec:
    """The entries of a value, or of a block of several sites, as the sites of an event."""
    grid, value = (event.value_shape, ()) if block_size == 1 else ((block_size,), event.value_shape)
    return dataclasses.replace(event, grid_shape=grid, value_shape=value)
