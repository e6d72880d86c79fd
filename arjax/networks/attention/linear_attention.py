"""Linear attention (Katharopoulos et al., 2020, "Transformers are RNNs")."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from arjax.networks.attention.transformer import AheadBlocks
from arjax.networks.base import NETWORKS
from arjax.networks.layers.attention import MultiHead
from arjax.networks.recurrent.linear.states import Decayed, Pairs, product, read


def positive(x: jax.Array) -> jax.Array:
    """phi(x) = elu(x) + 1 (section 3.2, equation 7), written such that it does not round to 0 for large negative x."""
    return jnp.where(x > 0, x + 1, jnp.exp(jnp.minimum(x, 0)))


def with_one(v: jax.Array) -> jax.Array:
    """[v, 1]: weighted sums of these hold the sum of the weights in their last feature."""
    return jnp.concatenate([v, jnp.ones_like(v[..., :1])], -1)


def quotient(sums: jax.Array) -> jax.Array:
    """[sum w v, sum w] -> sum w v / sum w; an empty sum gives 0 with a finite derivative."""
    return sums[..., :-1] / jnp.maximum(sums[..., -1:], 1e-12)


class LinearAttention(MultiHead):
    """Linear attention over blocks of M tokens: token n attends to all tokens of blocks <= n // M. The result for token
    i is sum_j phi(q_i)' phi(k_j) v_j / sum_j phi(q_i)' phi(k_j) over these j (equations 8 and 9). Chunks of whole
    blocks multiply all pairs inside, and read the earlier ones from S = sum_j phi(k_j) [v_j, 1]' (equations 10 and 11):
    time and memory are linear in T. The step form is the linear recurrence without decays: its state S has the same
    size at any length (section 3.4, equations 16 to 20).
    """

    chunk_size: int = 64

    def _terms(self, x_BTE: jax.Array) -> Decayed:
        """phi(queries) and phi(keys), [B, N, T, H] each, and the values with a one, [B, N, T, H + 1]."""
        q, k, v = self._project(x_BTE)
        return Decayed(positive(q), positive(k), with_one(v))

    def __call__(self, x_BTE: jax.Array, block_size: int) -> jax.Array:
        """All tokens, [B, S*M, E] -> [B, S*M, E]."""
        _, sums = self._terms(x_BTE).run(None, self.chunk_size, block_size)
        return self._merge(quotient(sums))

    def init_cache(self, batch_size: int, num_steps: int, block_size: int) -> jax.Array:
        """The state before step 0: no keys and values, [B, N, H, H + 1]."""
        heads, size = self.kv_shape
        return jnp.zeros((batch_size, heads, size, size + 1), jnp.float32)

    def step(self, state_BNHE: jax.Array, x_BME: jax.Array, t: jax.Array) -> tuple[jax.Array, jax.Array]:
        state_BNHE, sums = self._terms(x_BME).step(state_BNHE)
        return state_BNHE, self._merge(quotient(sums))

    def extend(self, state_BNHE: jax.Array, x_BTE: jax.Array, t: jax.Array, block_size: int):
        """The tokens of the blocks t, t + 1, ...: all pairs of them, and the state before them."""
        terms = self._terms(x_BTE)
        _, sums = terms.run(state_BNHE, self.chunk_size, block_size)
        return (state_BNHE, terms, jnp.arange(x_BTE.shape[1]) // block_size), self._merge(quotient(sums))

    def keep(self, carries: tuple, n: jax.Array) -> jax.Array:
        state_BNHE, terms, block = carries
        return terms.masked(block < n).run(state_BNHE, self.chunk_size)[0]

    def ahead(self, state_BNHE: jax.Array, x_BTE: jax.Array, t: jax.Array, block_size: int) -> jax.Array:
        """Blocks that each come in place of block t: each adds its keys and values to the state."""
        (q, k, v, *_), block = self._terms(x_BTE), jnp.arange(x_BTE.shape[1]) // block_size
        scores = jnp.where(block[:, None] == block, product(q, k.mT), 0)
        return self._merge(quotient(read(Pairs(scores, q.astype(jnp.float32), k, None), v, state_BNHE)))


@NETWORKS.register("linear_attention")
class LinearTransformer(AheadBlocks):
    """Transformer with linear attention: time linear in the number of sites, and in step form a state of fixed size.
    Options: as `BlockNetwork`; `chunk_size`: tokens within which all pairs are compared at once.
    """

    chunk_size: int = 64

    TRAITS = AheadBlocks.TRAITS | {"unbounded"}
    SMALL = {"width": 32, "num_layers": 2, "num_heads": 4, "chunk_size": 4}

    def make_attention(self):
        return self.heads_of(LinearAttention, chunk_size=self.chunk_size)
