"""A network that remembers the past as the mean of its tokens."""

import flax.linen as nn
import jax.numpy as jnp

from arjax.networks import NETWORKS
from arjax.networks.layers.steps import StepNetwork


class MeanCore(nn.Module):
    """h_t = gelu(W (u_0 + ... + u_t) / (t + 1) + b), where u_t is the token that step t reads."""

    width: int
    dtype: str

    def setup(self):
        self.hidden = nn.Dense(self.width, dtype=self.dtype)

    def __call__(self, u_BTE, train):
        """All steps: [B, T, E] -> [B, T, E]."""
        count_T1 = jnp.arange(1, u_BTE.shape[1] + 1, dtype=jnp.float32)[:, None]
        # Sums of many terms are kept in float32, whatever the compute type.
        return nn.gelu(self.hidden(jnp.cumsum(u_BTE.astype(jnp.float32), axis=1) / count_T1))

    def start(self, batch_size):
        """The sum of no tokens, [B, E]."""
        return jnp.zeros((batch_size, self.width), jnp.float32)

    def step(self, total_BE, u_BE, t):
        """One step; the carry is the sum of the tokens so far."""
        total_BE = total_BE + u_BE
        return total_BE, nn.gelu(self.hidden(total_BE / (t + 1.0)))


@NETWORKS.register("running_mean")
class RunningMean(StepNetwork):
    """Remembers the mean of all tokens read.

    Options: `hidden_size` E, `position` ("none", "learned", "sinusoidal").
    """

    position: str = "learned"  # the mean alone would forget where a value stood

    SMALL = {"hidden_size": 24}

    def make_core(self):
        """The sequence model; embedding, positions, context and readout are those of `StepNetwork`."""
        return MeanCore(self.hidden_size, self.dtype)
