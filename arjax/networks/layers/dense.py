"""Products of many rows with one matrix, and the layer that is such a product."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from arjax.networks.layers.bilinear import BilinearProduct


@BilinearProduct
def weigh(x: jax.Array, kernel_EU: jax.Array) -> jax.Array:
    """x W, [..., E] -> [..., U], in the type of x."""
    return x @ kernel_EU.astype(x.dtype)


@BilinearProduct
def correlate(x: jax.Array, y: jax.Array, dtype: str) -> jax.Array:
    """The sum over all rows of x' y, [..., E] and [..., U] -> [E, U]: a long sum, so at least in float32.

    XLA's CPU compiler transposes both arrays for this product. It would join the transposition with the operations that
    compute them, and these would then write column by column: without that, Transformers train by a tenth to a quarter
    faster. It also lacks some products of bfloat16 with a sum in float32, which Jacobians need.
    """
    rows, wide = tuple(range(x.ndim - 1)), _wide(x.dtype)

    def product(x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.tensordot(x, y, (rows, rows), preferred_element_type=wide)

    def of_computed(x: jax.Array, y: jax.Array) -> jax.Array:
        return product(*jax.lax.optimization_barrier((x.astype(wide), y.astype(wide))))

    return jax.lax.platform_dependent(x, y, cpu=of_computed, default=product).astype(dtype)


def _wide(dtype: DTypeLike) -> jnp.dtype:
    """The type of a long sum."""
    return jnp.promote_types(dtype, jnp.float32)


weigh.transposes(
    lambda dy, kernel_EU: weigh(dy, kernel_EU.T),
    lambda dy, x: correlate(x, dy, _wide(x.dtype).name),
)
correlate.transposes(
    lambda d_kernel_EU, y, dtype: weigh(y, d_kernel_EU.T),
    lambda d_kernel_EU, x, dtype: weigh(x, d_kernel_EU),
)


class Dense(nn.Module):
    """y = x W + b, [..., E] -> [..., features]: the parameters of `nn.Dense`, and a gradient that is faster on CPUs."""

    features: int
    use_bias: bool = True
    dtype: str = "float32"
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    bias_init: nn.initializers.Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = weigh(x.astype(self.dtype), self.param("kernel", self.kernel_init, (x.shape[-1], self.features)))
        if self.use_bias:
            y = y + self.param("bias", self.bias_init, (self.features,)).astype(self.dtype)
        return y
