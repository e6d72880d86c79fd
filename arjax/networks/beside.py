"""A network whose features are followed by values that are known at each site."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.core.spec import ContextSpec
from arjax.factorization import Factorization
from arjax.networks.base import ChunkedNetwork, Network, chunk_of, context_of, first_loop, form_of


class Beside(ChunkedNetwork):
    """The F features of the network `inner`, and behind them the v values of a part of the context at the same site,
    [..., F + v]. `inner` does not see this `part`, which is on the grid of the event: a conditional reads it, such as
    noise that it transforms, or limits of a value.
    """

    inner: Network
    part: str = ""

    CHUNK = property(lambda self: chunk_of(self.inner))
    FIRST_LOOP = property(lambda self: first_loop(self.inner))

    @staticmethod
    def of(inner: Network, part: str, context: ContextSpec, num_values: int) -> Beside:
        """The network with a part of that many numbers at each site."""
        return Beside(inner.event, context, inner.num_features + num_values, inner.dtype, inner, part)

    @property
    def traits(self):
        return self.inner.traits - {"holes", "unbounded"}

    @nn.nowrap  # in the scope of a module, what a check makes to try it out would become its submodules
    def check(self, factorization):
        self.inner.check(factorization)

    def dependencies(self, factorization):
        return self.inner.dependencies(factorization)

    def __call__(self, x, factorization, context=None, *, train=False):
        features = self.inner(x, factorization, context_of(self.inner, context), train=train)
        return jnp.concatenate([features, context[self.part].reshape(*features.shape[:-1], -1)], -1)

    def prepare(self):
        self.inner.prepare()

    def start(self, batch_size, factorization, context=None):
        return self.inner.start(batch_size, factorization, context_of(self.inner, context))

    def step(self, carry, canvas, t, factorization, context=None):
        carry, features = self.inner.step(carry, canvas, t, factorization, context_of(self.inner, context))
        return carry, self._of_steps(features, factorization, t, context)

    def extend(self, carry, canvas, t, k, factorization, context=None):
        of_inner = context_of(self.inner, context)
        carries, features = form_of(self.inner, "extend")(self.inner, carry, canvas, t, k, factorization, of_inner)
        return carries, self._of_steps(features, factorization, t + jnp.arange(k), context)

    def keep(self, carries, n):
        return form_of(self.inner, "keep")(self.inner, carries, n)

    def loop_carry(self, carry, n, factorization, past=None):
        return form_of(self.inner, "loop_carry")(self.inner, carry, n, factorization, past)

    def ahead(self, carry, canvas, t, k, factorization, context=None):
        of_inner = context_of(self.inner, context)
        features = form_of(self.inner, "ahead")(self.inner, carry, canvas, t, k, factorization, of_inner)
        return self._of_steps(features, factorization, t + jnp.arange(k), context)

    def _of_steps(self, features: jax.Array, factorization: Factorization, steps: jax.Array, context: Any) -> jax.Array:
        """Features [B, ..., M, F] of the sites of steps int[...], followed by the values at these sites."""
        sites = jnp.take(jnp.asarray(factorization.blocks), steps, axis=0, mode="clip")
        values = context[self.part]
        flat_BDv = values.reshape(len(values), factorization.num_sites, -1)
        return jnp.concatenate([features, jnp.take(flat_BDv, sites, axis=1, mode="clip")], -1)
