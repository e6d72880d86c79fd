"""The context of each step, for networks with a context in every layer."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.spec import ContextSpec
from arjax.networks.layers.embedding import ContextEncoder, SequenceEncoder


class StepConditioning(nn.Module):
    """The context as one vector per step, for cores that take it in every layer.

    Global: classes, vectors and the summaries of grids, the same in every step. Local: the positions of the first grid
    are spread over the steps and added, step s of S reads position floor(s L / S) (van den Oord et al., 2016,
    "WaveNet", section 2.5, with the upsampling by repetition).
    """

    spec: ContextSpec
    width: int
    dtype: str

    def setup(self):
        self.whole = ContextEncoder(self.spec, self.width, self.dtype)
        if self.spec.grids:
            first = ContextSpec(**dict(self.spec.grids.parts[:1]))
            self.positions = SequenceEncoder(first, self.width, self.dtype)

    def __call__(self, context: jax.Array) -> jax.Array:
        """The encoded context, the same array for all steps: [B, L, E], of length 1 where all steps read the same."""
        whole_B1E = self.whole(context)[:, None]
        if not self.spec.grids:
            return whole_B1E
        encoded_BLE, valid_BL = self.positions(context)
        return whole_B1E + jnp.where(valid_BL[..., None], encoded_BLE, 0)


def read_positions(length: int, num_steps: int) -> np.ndarray:
    """The position, out of `length`, that each step reads, int32[S]: floor(s L / S)."""
    return (np.arange(num_steps, dtype=np.int64) * length // num_steps).astype(np.int32)


def at_steps(encoded: jax.Array | None, step_k: jax.Array | np.ndarray, num_steps: int) -> jax.Array | None:
    """The encoded context of some of S steps, [B, k, E]; [B, 1, E] where it is the same in all steps."""
    if encoded is None or encoded.shape[1] == 1:
        return encoded
    positions = jnp.asarray(read_positions(encoded.shape[1], num_steps))
    return jnp.take(encoded, jnp.take(positions, step_k, mode="clip"), axis=1)


def at_step(encoded: jax.Array | None, t: jax.Array, num_steps: int) -> jax.Array | None:
    """That of step t, [B, E]."""
    if encoded is None:
        return None
    position = jnp.asarray(read_positions(encoded.shape[1], num_steps))[t]
    return jax.lax.dynamic_index_in_dim(encoded, position, axis=1, keepdims=False)
