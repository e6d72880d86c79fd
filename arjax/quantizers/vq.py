"""Vector quantization: codes are learned vectors, each the running mean of the vectors that it stands for."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from arjax.core.options import opt
from arjax.core.spec import MOST_LEVELS
from arjax.quantizers import base

#: The codes among the parameters, float32[K, E].
CODEBOOK = "codebook"
#: Vectors of a step that are kept for each code: the codes begin as their means, and dead ones begin again at one.
KEPT = 4
#: Rounds of k-means on the vectors of the first step.
ROUNDS = 10
#: Hits below which a code keeps its place: its mean would be 0 / 0.
FEWEST = 1e-5


@base.QUANTIZERS.register("vq")
@dataclasses.dataclass(frozen=True)
class Vq(base.Quantizer):
    """The nearest of K learned codes e_k. Their running means follow the vectors, and no gradient moves them.

    van den Oord, Vinyals & Kavukcuoglu, "Neural Discrete Representation Learning" (2017): equations 1 and 2, the
    commitment |h - e|^2 of equation 3 (a mean over scalars here), and the moving averages of appendix A.1,
    N_k <- g N_k + (1 - g) n_k and m_k <- g m_k + (1 - g) (the sum of the n_k vectors), e_k = m_k / N_k. The codes begin
    as the means of k-means on the vectors of the first step. A code with N_k below a part of the mean over all codes is
    dead, and begins again at a random vector of the step (Dhariwal et al., "Jukebox", 2020, section 3.1).

    Attributes:
      codes: K.
      dims: E, the scalars of a vector.
      commitment: the weight of the commitment, beta in the paper.
      decay: g.
      expiry: the part of the mean number of hits below which a code is dead; 0: none is.
    """

    codes: int = opt(512, least=2, most=MOST_LEVELS)
    dims: int = opt(64, most=2**16)
    commitment: float = opt(0.25, least=0)
    decay: float = opt(0.99, least=0, most=1)
    expiry: float = opt(0.1, least=0, most=1)

    LEARNS: ClassVar[bool] = True

    @property
    def num_codes(self) -> int:
        return self.codes

    @property
    def width(self) -> int:
        return self.dims

    def init(self, key: jax.Array) -> base.Params:
        """Returns normal vectors, which stand until the first train step."""
        return {CODEBOOK: jax.random.normal(key, (self.codes, self.dims), jnp.float32)}

    def assign(self, params: base.Params, h: jax.Array) -> base.Assigned:
        h = jax.lax.stop_gradient(h).astype(jnp.float32).reshape(len(h), -1, self.dims)
        return base.Assigned(h, _nearest(h, params[CODEBOOK]))

    def distances(self, params: base.Params, h: jax.Array) -> jax.Array:
        h_BTE = h.astype(jnp.float32).reshape(len(h), -1, self.dims)
        return base.squared_distances(h_BTE, jax.lax.stop_gradient(params[CODEBOOK]))

    def lookup(self, params: base.Params, numbers: jax.Array, grid: base.Grid) -> jax.Array:
        codebook_KE = jax.lax.stop_gradient(params[CODEBOOK])
        return jnp.take(codebook_KE, numbers, axis=0, mode="clip").reshape(len(numbers), *grid, self.dims)

    def loss(self, params: base.Params, h: jax.Array, weight_B: jax.Array) -> jax.Array:
        codes = self.lookup(params, self.assign(params, h).numbers, h.shape[1:-1])
        return self.commitment * base.mean_by_weight((h.astype(jnp.float32) - codes) ** 2, weight_B)

    def init_state(self, key: jax.Array) -> base.State:
        """Returns `hits` N_k and `sums` m_k, both also for the batches of this step alone; the vectors that are kept of
        it, those of the largest priorities; and whether the codes have begun.
        """
        zeros_K, zeros_KE = jnp.zeros(self.codes), jnp.zeros((self.codes, self.dims))
        kept = {"kept": jnp.zeros((KEPT * self.codes, self.dims)), "priority": jnp.full(KEPT * self.codes, -1.0)}
        step = {"step_hits": zeros_K, "step_sums": zeros_KE}
        return {"hits": zeros_K, "sums": zeros_KE, "begun": jnp.zeros(()), **step, **kept}

    def collect(
        self, params: base.Params, state: base.State, assigned: base.Assigned, weight_B: jax.Array, key: jax.Array
    ) -> base.State:
        """Adds the hits and the vectors of a batch; examples of weight 0 do not count."""
        vectors_NE = assigned.vectors.reshape(-1, self.dims)
        weight_N = jnp.repeat(weight_B.astype(jnp.float32), assigned.numbers.shape[1])
        vectors_NE = jnp.where(weight_N[:, None] > 0, vectors_NE, 0.0)
        one_NK = weight_N[:, None] * jax.nn.one_hot(assigned.numbers.reshape(-1), self.codes)
        priority_N = jnp.where(weight_N > 0, jax.random.uniform(key, weight_N.shape), -1.0)
        priority, rows = jax.lax.top_k(jnp.concatenate([state["priority"], priority_N]), KEPT * self.codes)
        return state | {
            "step_hits": state["step_hits"] + one_NK.sum(0),
            "step_sums": state["step_sums"] + jnp.einsum("nk,ne->ke", one_NK, vectors_NE, precision="highest"),
            "kept": jnp.concatenate([state["kept"], vectors_NE])[rows],
            "priority": priority,
        }

    def follow(self, params: base.Params, state: base.State) -> tuple[base.Params, base.State]:
        """Returns the codes after a step: k-means after the first, then moving averages, and dead codes revived."""

        def begin() -> tuple[jax.Array, jax.Array]:
            centres_KE, hits_K = k_means(state["kept"], state["priority"] >= 0, self.codes)
            hits_K = hits_K * state["step_hits"].sum() / jnp.maximum(hits_K.sum(), 1.0)
            return hits_K, hits_K[:, None] * centres_KE

        def move() -> tuple[jax.Array, jax.Array]:
            return tuple(self.decay * state[n] + (1 - self.decay) * state[f"step_{n}"] for n in ("hits", "sums"))

        def after() -> tuple[base.Params, base.State]:
            hits_K, sums_KE = jax.lax.cond(state["begun"] > 0, move, begin)
            codebook_KE, hits_K, sums_KE = self._revived(params[CODEBOOK], hits_K, sums_KE, state)
            kept = {"hits": hits_K, "sums": sums_KE, "begun": jnp.ones(())}
            return params | {CODEBOOK: codebook_KE}, fresh | kept

        fresh = self.init_state(jax.random.key(0))
        nothing = fresh | {name: state[name] for name in ("hits", "sums", "begun")}
        return jax.lax.cond(state["step_hits"].sum() > 0, after, lambda: (dict(params), nothing))

    def _revived(
        self, codebook_KE: jax.Array, hits_K: jax.Array, sums_KE: jax.Array, state: base.State
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns the codes e = m / N, their hits and sums; dead codes move to kept vectors, with the fewest hits."""
        means_KE = sums_KE / jnp.maximum(hits_K, FEWEST)[:, None]
        codebook_KE = jnp.where(hits_K[:, None] >= FEWEST, means_KE, codebook_KE)
        least = self.expiry * hits_K.mean()
        dead_K = hits_K < least
        number_K = (jnp.cumsum(dead_K) - 1) % jnp.maximum((state["priority"] >= 0).sum(), 1)
        codebook_KE = jnp.where(dead_K[:, None], state["kept"][number_K], codebook_KE)
        hits_K = jnp.where(dead_K, least, hits_K)
        return codebook_KE, hits_K, jnp.where(dead_K[:, None], hits_K[:, None] * codebook_KE, sums_KE)


def _nearest(h: jax.Array, codebook_KE: jax.Array) -> jax.Array:
    """Returns argmin_k |h - e_k|^2 of vectors [..., E], int32[...]."""
    products = jnp.einsum("...e,ke->...k", h, codebook_KE, precision="highest")
    return jnp.argmin((codebook_KE**2).sum(-1) - 2 * products, axis=-1).astype(jnp.int32)


def k_means(vectors_ME: jax.Array, counts_M: jax.Array, num: int) -> tuple[jax.Array, jax.Array]:
    """Returns the means of `num` clusters [num, E] of the vectors [M, E] that count, and their sizes, after some rounds
    (Lloyd, "Least Squares Quantization in PCM", 1982). The first vectors are the first means, repeated if they are few.
    """
    valid_M = counts_M.astype(jnp.float32)
    first = vectors_ME[jnp.arange(num) % jnp.maximum(counts_M.sum(), 1)]

    def assigned(means_KE: jax.Array) -> tuple[jax.Array, jax.Array]:
        one_MK = valid_M[:, None] * jax.nn.one_hot(_nearest(vectors_ME, means_KE), num)
        return one_MK.sum(0), jnp.einsum("mk,me->ke", one_MK, vectors_ME, precision="highest")

    def one(_: int, means_KE: jax.Array) -> jax.Array:
        sizes_K, sums_KE = assigned(means_KE)
        return jnp.where(sizes_K[:, None] > 0, sums_KE / jnp.maximum(sizes_K, 1.0)[:, None], means_KE)

    means_KE = jax.lax.fori_loop(0, ROUNDS, one, first)
    return means_KE, assigned(means_KE)[0]
