"""The delta rule over a matrix S [H, V] of each head, in chunks: a state that replaces what it has stored for a key.

Layouts, methods and types are those of `matrix_states`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from arjax.core.triangular import solve_unit_lower
from arjax.networks.layers.windows import join
from arjax.networks.recurrent.linear.matrix_states import chunked, pairs, product, read, transposed

#: Of a chunk of the delta rule: its decays (None: there are none), keys, values, and what its values lose of the state.
OfChunk = tuple[jax.Array | None, jax.Array, jax.Array, jax.Array]


class Delta(NamedTuple):
    """The delta rule: S forgets what it has stored for the key k_t, and stores a part beta_t of v_t for it instead,

    S_t = a_t (1 - beta_t k_t k_t') S_(t-1) + beta_t k_t v_t', or u_t = beta_t (v_t - a_t S_(t-1)' k_t), A_t = a_t.

    For keys of length 1 the eigenvalues of A_t are a_t and a_t (1 - beta_t): negative ones for beta_t above 1. Within a
    chunk the u solve a triangular system (Yang et al., "Parallelizing Linear Transformers with the Delta Rule over
    Sequence Length", 2024, section 3.2; with decays "Gated Delta Networks", 2025, section 3.3):

    (1 + diag(beta) L) U = diag(beta) (V - K_a S)  with  L_ij = k_i' (a_i ... a_(j+1)) k_j for j < i

    and the rows (a_i ... a_1) k_i' of K_a.

    Attributes:
      q: [B, N, T, H]; [B, N, T / R, H] where the state is read after every R-th rule alone.
      beta: in [0, 2], float32[B, N, T].
      log_decay: log a_t, float32[B, N, T]; None for a_t = 1.
    """

    q: jax.Array
    k: jax.Array
    v: jax.Array
    beta: jax.Array
    log_decay: jax.Array | None = None

    def run(self, state: jax.Array | None, chunk_size: int = 64) -> tuple[jax.Array, jax.Array]:
        """All steps from a state, None for 0: (the state after them, o in float32, with the axes of q)."""
        every = self.k.shape[2] // self.q.shape[2]
        num_queries = max(chunk_size // every, 1)
        (q,) = chunked(num_queries, self.q)
        k, v, beta = chunked(num_queries * every, self.k, self.v, self.beta)
        log_decay = None if self.log_decay is None else chunked(num_queries * every, self.log_decay)[0]
        by_query, by_key = pairs(q, k, log_decay), pairs(k, k, log_decay)
        size, reads = v.shape[-1], by_key.queries.astype(jnp.float32)
        reads = jnp.broadcast_to(reads, (*v.shape[:-1], reads.shape[-1]))  # heads may have the same keys
        right = beta[..., None] * jnp.concatenate([v.astype(jnp.float32), reads], -1)
        # Of the matrix only what is below its diagonal is read: that is taken to be one.
        solved = solve_unit_lower(beta[..., None] * by_key.scores, right)
        values, reads = solved[..., :size], solved[..., size:]
        if state is None:
            state = jnp.zeros((*v.shape[:2], k.shape[-1], size), jnp.float32)

        def body(state: jax.Array, chunk: OfChunk) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
            total, keys, values, reads = chunk
            u = values - product(reads, state)
            kept = state if total is None else total * state
            return kept + product(transposed(keys), u), (state, u)

        terms = (by_query.total, by_query.keys.astype(jnp.float32), values, reads)
        chunks = jax.tree.map(lambda x: jnp.moveaxis(x, 2, 0), terms)
        after, (before, u) = jax.lax.scan(body, state, chunks)
        out = read(by_query, jnp.moveaxis(u, 0, 2), jnp.moveaxis(before, 0, 2))
        return after, join(out, 2, self.q.shape[2])

    def step(self, state: jax.Array) -> tuple[jax.Array, jax.Array]:
        """One step, the only one of these terms."""
        if self.log_decay is not None:
            state = state * jnp.exp(self.log_decay)[..., None]
        k = self.k.astype(jnp.float32)
        u = self.beta[..., None] * (self.v - product(k, state))
        state = state + product(transposed(k), u)
        return state, product(self.q.astype(jnp.float32), state)

    def masked(self, valid_T: jax.Array) -> Delta:
        """The steps that are not valid leave the state alone."""
        decay = None if self.log_decay is None else jnp.where(valid_T, self.log_decay, 0)
        return Delta(self.q, self.k, self.v, jnp.where(valid_T, self.beta, 0), decay)


class DeltaProduct(NamedTuple):
    """R delta rules in each step, one after another; the state is read after the last of them (Siems et al.,
    "DeltaProduct: Improving State-Tracking in Linear RNNs via Householder Products", 2025, section 3):

    S <- (1 - beta_tj k_tj k_tj') S + beta_tj k_tj v_tj'  for j = 1, ..., R, from a_t S_(t-1) to S_t.

    With beta = 2 each factor is a reflection. Products of at most R reflections are the orthogonal maps that leave a
    subspace of all but R dimensions fixed.

    Attributes:
      q: [B, N, T, H].
      k, v: [B, N, T, R, H] and [B, N, T, R, V].
      beta: in [0, 2], float32[B, N, T, R].
      log_decay: log a_t, float32[B, N, T]; None for a_t = 1.
    """

    q: jax.Array
    k: jax.Array
    v: jax.Array
    beta: jax.Array
    log_decay: jax.Array | None = None

    def rules(self) -> Delta:
        """The delta rules as T R steps of one each: the decay is of the first rule of a step, the query of the last."""
        decay = self.log_decay
        if decay is not None:
            decay = jnp.pad(decay[..., None], (*((0, 0),) * 3, (0, self.beta.shape[3] - 1)))
        k, v, beta, decay = jax.tree.map(
            lambda x: x.reshape(*x.shape[:2], -1, *x.shape[4:]), (self.k, self.v, self.beta, decay)
        )
        return Delta(self.q, k, v, beta, decay)

    def run(self, state: jax.Array | None, chunk_size: int = 64) -> tuple[jax.Array, jax.Array]:
        """All steps from a state, None for 0: (the state after them, o [B, N, T, V]). A chunk has at most `chunk_size`
        rules, but at least those of one step.
        """
        return self.rules().run(state, chunk_size)

    def step(self, state: jax.Array) -> tuple[jax.Array, jax.Array]:
        """One step, the only one of these terms."""
        q, *rules = self.rules()
        for j in range(self.beta.shape[3]):
            state, o = Delta(q, *jax.tree.map(lambda x, j=j: x[:, :, j : j + 1], rules)).step(state)
        return state, o

    def masked(self, valid_T: jax.Array) -> DeltaProduct:
        """The steps that are not valid leave the state alone."""
        decay = None if self.log_decay is None else jnp.where(valid_T, self.log_decay, 0)
        return self._replace(beta=jnp.where(valid_T[:, None], self.beta, 0), log_decay=decay)
