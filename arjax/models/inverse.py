"""Inverses of autoregressive transformations: the values of an autoregressive model under given noise.

With a conditional that transforms noise, x_i = g(z_i; x_<i), an autoregressive model is a map from z to x. Any exact
sampler that takes z_i in place of a random number computes it: step by step with caches, or by Jacobi iteration over
all sites (Song, Meng, Liao & Ermon, "Accelerating Feedforward Computation via Parallel Nonlinear Equation Solving",
2021).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from arjax.conditionals import TransformedNormal
from arjax.core.errors import UserError
from arjax.networks.beside import Beside
from arjax.samplers import SAMPLERS, Cached, Draw, DrawOptions, FixedPoint, Naive, Sampler, make_sampler

#: The part of the context that holds the noise.
NOISE = "noise of the flow"


def inverting_sampler(sampler: str | Sampler) -> Sampler:
    """A sampler that can take given noise; raises `UserError` for one that cannot."""
    found = make_sampler(sampler)
    name = SAMPLERS.name_of(type(found)) or type(found).__name__
    if type(found) not in (Naive, Cached, FixedPoint):  # a subclass may draw something else, as `greedy` does
        raise UserError(f"the sampler {name!r} cannot invert a flow: take naive, cached or fixed_point")
    if isinstance(found, FixedPoint) and found.source is not None:
        raise UserError("fixed_point inverts a flow from the start 'zeros' or 'mode', not from a draft")
    return found


def values_of(block: Any, params: Any, noise: jax.Array, context: Any, sampler: Sampler, keys: jax.Array) -> Draw:
    """The values [B, *grid, *value] of an autoregressive model whose noise is `noise` (of the same shape).

    Args:
      block: an autoregressive model whose conditional is a `TransformedNormal`.
      params: its parameters.
      noise: z.
      context: of B examples, checked, or None.
      sampler: as from `inverting_sampler`.
      keys: B random keys, which have no influence.
    """
    inner = block.network
    spec = block.context_spec.with_part(NOISE, dataclasses.replace(block.event, kind="real", num_levels=0))
    network = Beside.of(inner, NOISE, spec, inner.event.value_size)
    model = dataclasses.replace(block, network=network, conditional=GivenNoise(block.conditional), orders=None)
    sampler.check(model)
    canvas = jnp.zeros(noise.shape, jnp.float32)
    return sampler(model, {"inner": params}, keys, canvas, DrawOptions(context={**(context or {}), NOISE: noise}))


@dataclasses.dataclass(frozen=True)
class GivenNoise:
    """What samplers need of a conditional, with values that are the transformed noise at the end of the features.

    Attributes:
      inner: the transformation.
    """

    inner: TransformedNormal
    joint = False

    @property
    def value_shape(self) -> tuple[int, ...]:
        """Of a value."""
        return self.inner.value_shape

    def bind(self, params: Any, train: bool = False, key: jax.Array | None = None) -> GivenNoise:
        """The family itself: transformations have no parameters of their own."""
        return self

    def at(self, sites: jax.Array) -> GivenNoise:
        """The family itself: it is the same at all sites."""
        return self

    def mode(self, features: jax.Array) -> jax.Array:
        """The value, [..., *value_shape]."""
        raw, noise = jnp.split(features, [self.inner.num_params], axis=-1)
        return self.inner.from_noise(raw, noise.reshape(*raw.shape[:-1], *self.value_shape))

    def sample(self, key: jax.Array, features: jax.Array, temperature: Any) -> jax.Array:
        """The value, [..., *value_shape], whatever the key and the temperature."""
        return self.mode(features)
