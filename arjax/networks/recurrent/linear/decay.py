"""The decay of a head by a step of variable length (Gu & Dao, 2023, "Mamba", sections 3.5 and 3.6)."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.networks.layers.dense import Dense

#: The shortest and the longest step at the start.
STEPS = (1e-3, 0.1)


class Decay(nn.Module):
    """exp(A) dt and dt = softplus(W x + b) for each head, in float32: exp(-exp(A) dt) is the decay of a step.

    At the start dt is between 0.001 and 0.1, uniformly in its logarithm, for x = 0, and exp(A) uniform over [1, 16].
    """

    num_heads: int
    dtype: str

    def setup(self):
        def spread(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
            low, high = STEPS
            dt = jnp.exp(jax.random.uniform(key, shape, minval=jnp.log(low), maxval=jnp.log(high)))
            return dt + jnp.log(-jnp.expm1(-dt))  # softplus(b) = dt

        def rates(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
            return jnp.log(jax.random.uniform(key, shape, minval=1.0, maxval=16.0))

        self.step = Dense(self.num_heads, use_bias=False, dtype=self.dtype)
        self.step_bias = self.param("step_bias", spread, (self.num_heads,))
        self.log_rate = self.param("log_rate", rates, (self.num_heads,))

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """x [..., E] -> exp(A) dt and dt, [..., N] each."""
        dt = nn.softplus(self.step(x).astype(jnp.float32) + self.step_bias)
        return jnp.exp(self.log_rate) * dt, dt
