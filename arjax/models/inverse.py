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
from arjax.factorization import Factorization
from arjax.networks.base import Carries, Carry, Network
from arjax.samplers import SAMPLERS, Cached, Draw, DrawOptions, FixedPoint, Naive, Sampler, make_sampler


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
    network = WithNoise(
        event=inner.event,
        context_spec=inner.context_spec,
        num_features=inner.num_features + inner.event.value_size,
        dtype=inner.dtype,
        inner=inner,
    )
    model = dataclasses.replace(block, network=network, conditional=GivenNoise(block.conditional), orders=None)
    sampler.check(model)
    canvas = jnp.zeros(noise.shape, jnp.float32)
    return sampler(model, {"inner": params}, keys, canvas, DrawOptions(context={"noise": noise, "context": context}))


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


class WithNoise(Network):
    """A network whose features end with the noise of the site; its context is `{"noise": z, "context": ...}`.

    Attributes:
      inner: the network itself.
    """

    inner: Network

    CHUNK = property(lambda self: self.inner.CHUNK)
    FIRST_LOOP = property(lambda self: self.inner.FIRST_LOOP)
    EXTENDS_LOOP_CARRY = property(lambda self: self.inner.EXTENDS_LOOP_CARRY)

    def __call__(
        self, x: jax.Array, factorization: Factorization, context: Any = None, *, train: bool = False
    ) -> jax.Array:
        """Features [B, *grid, F + v] of all sites."""
        features = self.inner(x, factorization, context["context"], train=train)
        return jnp.concatenate([features, context["noise"].reshape(*features.shape[:-1], -1)], -1)

    def prepare(self) -> None:
        """That of the inner network; so are the other forms."""
        self.inner.prepare()

    def init_carry(self, batch_size: int, factorization: Factorization, context: Any = None) -> Carry:
        """See `prepare`."""
        return self.inner.init_carry(batch_size, factorization, context["context"])

    def loop_carry(self, carry: Carry, n: int, factorization: Factorization, past: Carry | None = None) -> Carry:
        """See `prepare`."""
        return self.inner.loop_carry(carry, n, factorization, past)

    def step(
        self, carry: Carry, canvas: jax.Array, t: jax.Array, factorization: Factorization, context: Any = None
    ) -> tuple[Carry, jax.Array]:
        """Features [B, M, F + v] of the sites of step t."""
        carry, features = self.inner.step(carry, canvas, t, factorization, context["context"])
        return carry, _with_noise(features, factorization, t, context["noise"])

    def extend(
        self, carry: Carry, canvas: jax.Array, t: jax.Array, k: int, factorization: Factorization, context: Any = None
    ) -> tuple[Carries, jax.Array]:
        """Features [B, k, M, F + v] of the sites of k steps."""
        carries, features = self.inner.extend(carry, canvas, t, k, factorization, context["context"])
        step_k = jnp.minimum(t + jnp.arange(k), factorization.num_steps - 1)
        return carries, _with_noise(features, factorization, step_k, context["noise"])

    def keep(self, carries: Carries, n: jax.Array) -> Carry:
        """See `prepare`."""
        return self.inner.keep(carries, n)


def _with_noise(features: jax.Array, factorization: Factorization, steps: jax.Array, noise: jax.Array) -> jax.Array:
    """Features [B, ..., M, F] of the sites of steps int[...], followed by the noise of these sites."""
    sites = jnp.minimum(jnp.asarray(factorization.blocks)[steps], factorization.num_sites - 1)
    flat_BDv = noise.reshape(len(noise), factorization.num_sites, -1)
    return jnp.concatenate([features, flat_BDv[:, sites]], -1)
