"""Nested models: the conditional of a value that is a vector is itself an autoregressive model over its entries.

p(x_t | x_<t) = prod_d p(x_td | x_t,<d, h_t), where the features h_t of the outer network are the context of the inner
model: exact, where other conditionals take the entries for independent. An RNN outside and a NADE inside are the
RNN-NADE of Boulanger-Lewandowski, Bengio & Vincent, "Modeling Temporal Dependencies in High-Dimensional Sequences"
(2012), section 3.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from arjax.conditionals import CONDITIONALS, Conditional
from arjax.errors import UserError
from arjax.integers import is_integer
from arjax.models.autoregressive import AutoregressiveModel
from arjax.models.make import make_model
from arjax.networks import BUILDER_FIELDS, NETWORKS
from arjax.spec import ContextSpec, EventSpec


@CONDITIONALS.register("nested")
@dataclasses.dataclass(frozen=True, eq=False)
class Nested(Conditional):
    """An autoregressive model over the entries of a value.

    It has parameters of its own: `bind` them before anything is scored or drawn.

    Attributes:
      model: the inner model; its context is a vector of features.
      value_shape: shape of a value, the grid of the inner model.
      params: those of the inner model; `train` and `key` of its dropout.
    """

    model: AutoregressiveModel
    value_shape: tuple[int, ...]
    params: Any = None
    train: bool = False
    key: jax.Array | None = None

    @classmethod
    def for_event(
        cls,
        event: EventSpec,
        network: str = "made",
        features: int = 64,
        ordering: str = "raster",
        partition: str = "sites",
        conditional: str = "",
        **options: Any,
    ) -> Nested:
        """A model of the values of an event: `nested(network='nade', hidden_size=100)`.

        Args:
          event: has vectors as values.
          network: the inner network; `options` are its options.
          features: how many numbers per site the outer network tells it.
          ordering: of the entries of a value; likewise `partition` and `conditional`, which may be nested again.

        Raises:
          UserError: the values are single numbers, or the inner model cannot be made.
        """
        if not event.value_shape:
            raise UserError("the conditional 'nested' is for values that are vectors, and these are single numbers")
        if not is_integer(features) or features < 1:
            raise UserError(
                f"features of the conditional 'nested' must be a whole number, at least 1, not {features!r}"
            )
        NETWORKS.check_options(network, options, hidden=BUILDER_FIELDS)
        entries = EventSpec(event.value_shape, (), event.kind, event.num_levels)
        choice = {"ordering": ordering, "partition": partition, "conditional": conditional} | options
        return cls(make_model(entries, network, context=ContextSpec("vector", features), **choice), event.value_shape)

    @property
    def num_params(self) -> int:
        """The size of the inner model's context."""
        return self.model.context_spec.size

    def init(self, key: jax.Array) -> Any:
        """Fresh parameters of the inner model."""
        return self.model.init(key)

    def bind(self, params: Any, train: bool = False, key: jax.Array | None = None) -> Nested:
        """The same conditional with these parameters."""
        return dataclasses.replace(self, params=params, train=train, key=key)

    def transformed(self, change: Callable[[Conditional], Any]) -> Nested:
        """With the inner model's conditional changed."""
        inner = dataclasses.replace(self.model, conditional=self.model.conditional.transformed(change))
        return dataclasses.replace(self, model=inner)

    def _rows(self, features: jax.Array) -> jax.Array:
        """[..., F] -> [N, F], the contexts of as many inner examples."""
        return features.reshape(-1, self.num_params).astype(jnp.float32)

    def log_prob(self, features: jax.Array, value: jax.Array) -> jax.Array:
        """log p(value | features) in nats, [...]: the inner model's, with teacher forcing."""
        value = jnp.broadcast_to(value, (*features.shape[:-1], *self.value_shape))
        flat = value.reshape(-1, *self.value_shape)
        more = {"context": self._rows(features), "train": self.train, "key": self.key}
        return self.model.log_prob(self.params, flat, **more).reshape(features.shape[:-1])

    def sample(self, key: jax.Array, features: jax.Array, temperature: float | jax.Array = 1.0) -> jax.Array:
        """Draws values [..., *value_shape], entry by entry."""
        return self._draw(self.model.conditional, key, features, temperature)

    def mode(self, features: jax.Array) -> jax.Array:
        """Entry by entry the most probable, [..., *value_shape]: greedy, which need not be the most probable whole."""
        return self._draw(_Greedy(self.model.conditional), jax.random.key(0), features, 1.0)

    def _draw(self, conditional: Conditional, key: jax.Array, features: jax.Array, temperature: Any) -> jax.Array:
        from arjax.samplers.cached import cached  # samplers know models

        rows, model = self._rows(features), self.model
        canvas, _ = model.dummy_batch(len(rows))
        free = jnp.zeros(model.event.num_sites, bool)
        drawn = cached(
            model.network, conditional, self.params, model.factorization, key, canvas, free, rows, temperature
        )
        return drawn.reshape(*features.shape[:-1], *self.value_shape)

    def entropy(self, features: jax.Array) -> jax.Array:
        """An estimate without bias, in nats, [...]: the entropies of the entries' conditionals along one drawn value
        each, always with the same key. The exact sum over all values is out of reach.
        """
        drawn = self.sample(jax.random.key(0), features).reshape(-1, *self.value_shape)
        _, entropy = self.model.conditionals(self.params, drawn, context=self._rows(features))
        return entropy.reshape(*features.shape[:-1], -1).sum(-1)


@dataclasses.dataclass(frozen=True)
class _Greedy:
    """A conditional whose draws are its modes."""

    inner: Conditional

    def bind(self, params: Any, train: bool = False, key: jax.Array | None = None) -> _Greedy:
        return _Greedy(self.inner.bind(params, train, key))

    def sample(self, key: jax.Array, features: jax.Array, temperature: Any) -> jax.Array:
        return self.inner.mode(features)
