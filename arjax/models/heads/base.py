"""The part that all heads share: the network with its parameters, rows of values and contexts, and refusals."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from arjax.conditionals.base import WithParameters
from arjax.conditionals.numerics import as_temperature
from arjax.core.errors import refuse
from arjax.core.spec import ContextSpec, EventSpec, vector
from arjax.models.base import init_network
from arjax.networks.base import apply
from arjax.networks.denoisers import TIME, Denoiser, make_denoiser
from arjax.samplers import OWN_NUMBERS

#: The part of the context of the network that holds the features of a site.
FEATURES = "vector"
#: The highest temperature of the noise: further ones would only make numbers that no network reads, up to infinity.
MOST_NOISE = 1e3


@dataclasses.dataclass(frozen=True, eq=False)
class Head(WithParameters):
    """A conditional of real vectors with a network of its own, an `adaptive_mlp` (Li et al., 2024).

    Without a random key in `bind`, the numbers that need noise are computed with the same key each time.

    Attributes:
      features: numbers per site that the network of the model passes to the head.
      draws: of noise for each value in a train step, at no cost to the network of the model (Li et al., take 4).
    """

    value_shape: tuple[int, ...]
    features: int = 64
    width: int = 128
    layers: int = 3
    draws: int = 4

    DATA = ("real",)
    NEEDS = "real values"
    #: Options of the network that are not those of a user.
    NETWORK: ClassVar[dict[str, Any]] = {}

    @classmethod
    def check_event(cls, event: EventSpec) -> None:
        super().check_event(event)
        several = f"the conditional {cls.name()!r} is for values of several real numbers"
        remedy = "here a site has one: take gaussian_mixture or spline, whose densities are exact"
        refuse((event.value_size == 1, f"{several}, and {remedy}"))

    @property
    def num_params(self) -> int:
        return self.features

    @property
    def size(self) -> int:
        return math.prod(self.value_shape)

    @property
    def network(self) -> Denoiser:
        """Reads noisy values [N, 1, *value_shape], times [N] and the features of their sites."""
        return denoiser_of(self.value_shape, self.features, self.width, self.layers, tuple(self.NETWORK.items()))

    def init(self, key: jax.Array) -> Any:
        rows = jnp.zeros((1, 1, *self.value_shape))
        contexts = self.contexts(jnp.zeros((1, self.features)))
        return init_network(self.network, key, rows, None, {**contexts, TIME: jnp.zeros(1)})

    @property
    def noise_key(self) -> jax.Array:
        """The key of `bind`, or always the same."""
        return jax.random.key(0) if self.key is None else self.key

    def contexts(self, features: jax.Array) -> dict[str, jax.Array]:
        """[..., F] -> [N, F], the contexts of as many rows."""
        return {FEATURES: features.reshape(-1, self.features).astype(jnp.float32)}

    def rows(self, features: jax.Array, value: jax.Array) -> jax.Array:
        """Returns values [..., *value_shape] as examples of one site, float32[N, 1, *value_shape]."""
        value = jnp.broadcast_to(value, (*features.shape[:-1], *self.value_shape))
        return value.reshape(-1, 1, *self.value_shape).astype(jnp.float32)

    def apply(self, x: jax.Array, t_N: jax.Array, contexts: dict[str, jax.Array]) -> jax.Array:
        """Returns the output of the network for rows [N, 1, *value_shape], of the same shape."""
        return apply(self.network, self.params, None, x, None, {**contexts, TIME: t_N}).reshape(x.shape)

    def noise(self, key: jax.Array, features: jax.Array, temperature: float | jax.Array) -> jax.Array:
        """Returns standard normal rows times the temperature, [N, 1, *value_shape]."""
        shape = (math.prod(features.shape[:-1]), 1, *self.value_shape)
        return temperature * jax.random.normal(key, shape)

    def drawn(self, features: jax.Array, rows: jax.Array) -> jax.Array:
        """Returns rows as values, [..., *value_shape]."""
        return rows.reshape(*features.shape[:-1], *self.value_shape)

    def sample(self, key: jax.Array, features: jax.Array, temperature: float | jax.Array = 1.0) -> jax.Array:
        """Draws values [..., *value_shape]; the temperature scales the noise, and above `MOST_NOISE` draws as there."""
        return self.scaled_draw(key, features, jnp.minimum(as_temperature(temperature), MOST_NOISE))

    def scaled_draw(self, key: jax.Array, features: jax.Array, temperature: float | jax.Array) -> jax.Array:
        """As `sample`, by noise times a temperature up to `MOST_NOISE`."""
        raise NotImplementedError(f"{type(self).__name__} defines no scaled_draw")

    def mode(self, features: jax.Array) -> jax.Array:
        """Returns the value that is drawn without noise, [..., *value_shape]: typical, but perhaps not the mode."""
        return self.scaled_draw(jax.random.key(0), features, 0.0)

    def entropy(self, features: jax.Array) -> jax.Array:
        """Returns an estimate in nats, [...]: -log p of one drawn value each, whose noise is not that of the score."""
        return -self.log_prob(features, self.sample(jax.random.fold_in(self.noise_key, OWN_NUMBERS), features))


@functools.lru_cache(maxsize=64)
def denoiser_of(
    value_shape: tuple[int, ...], features: int, width: int, layers: int, network: tuple[tuple[str, Any], ...] = ()
) -> Denoiser:
    """Returns the network of a head: the features of a site are its context."""
    event = EventSpec((1,), value_shape, "real")
    options = {"width": width, "num_layers": layers} | dict(network)
    context = ContextSpec().with_part(FEATURES, vector(features))
    return make_denoiser("adaptive_mlp", event, context, event.value_size, "float32", **options)
