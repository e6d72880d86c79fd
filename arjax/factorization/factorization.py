"""A factorization: an ordering of the sites, cut into the steps in which they are generated."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.arrays import Array
from arjax.core.errors import UserError, refuse
from arjax.core.options import flat_integers

Integers = Sequence[int] | np.ndarray


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Factorization:
    """p(x) = prod_t p(x[blocks[t]] | x[blocks[0]], ..., x[blocks[t-1]]).

    A pytree of integer arrays, so one compiled program supports every order of the same block structure; the grid shape
    and the sizes S, M, D are static. Site i may depend on site j if and only if `step[j] < step[i]` and, where there is
    a graph, j is one of the parents of i.

    Attributes:
      order: int32[D], the site visited n-th.
      rank: int32[D], the position of a site in the order: the inverse permutation of `order`.
      step: int32[D], the step in which a site is generated, 0..S-1.
      blocks: int32[S, M], the sites of each step in order; rows shorter than the largest block are padded with D.
      index_in_blocks: int32[D], the index of a site in `blocks.ravel()`.
      parents: bool[D, D], [i, j] iff there is an edge from site j to site i; None: from every site of an earlier step.
      connected: whether there is any edge in `parents` (static).
    """

    order: Array
    rank: Array
    step: Array
    blocks: Array
    index_in_blocks: Array
    grid_shape: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    parents: Array | None = None
    connected: bool = dataclasses.field(default=True, metadata={"static": True})

    @property
    def num_sites(self) -> int:
        """D."""
        return math.prod(self.grid_shape)

    @property
    def num_steps(self) -> int:
        """S, the number of blocks."""
        return self.blocks.shape[0]

    @property
    def block_size(self) -> int:
        """M, the size of the largest block."""
        return self.blocks.shape[1]

    @property
    def has_edges(self) -> bool:
        """Whether any site may depend on another. If not, networks must leave out earlier sites: XLA's CPU compiler
        (jax 0.10 to 0.12) computes a product with a constant empty mask wrongly when it is fused with a softmax.
        """
        return self.num_steps > 1 and self.connected

    def sites(self, t: int | Array) -> tuple[jax.Array, jax.Array]:
        """The sites of step t, int[M], and bool[M], whether each exists (padding is the out-of-range site D)."""
        sites_M = jnp.asarray(self.blocks)[t]
        return sites_M, sites_M < self.num_sites

    def mask(self) -> jax.Array:
        """bool[D, D]: `mask[i, j]` iff site i may depend on site j. Built on demand only: it is quadratic in D."""
        if self.parents is not None:
            return jnp.asarray(self.parents)
        step_D = jnp.asarray(self.step)
        return step_D[None, :] < step_D[:, None]


def from_order(order: Integers, sizes: Integers, grid_shape: Sequence[int]) -> Factorization:
    """Cuts an ordering, the permutation of 0..D-1 with the site visited n-th, into consecutive blocks of S sizes."""
    grid_shape, num_sites = tuple(grid_shape), math.prod(grid_shape)
    order_D, sizes_S = check_permutation(order, num_sites), flat_integers(sizes)
    if sizes_S is None or (sizes_S < 1).any():
        raise UserError(f"block sizes must be positive integers, not {tuple(sizes)}")
    if sizes_S.sum() != num_sites:
        raise UserError(f"the block sizes add up to {sizes_S.sum()}, but there are {num_sites} sites")
    num_steps, block_size = len(sizes_S), int(sizes_S.max())
    step_of_rank_D = np.repeat(np.arange(num_steps), sizes_S)
    first_rank_S = np.cumsum(sizes_S) - sizes_S
    place_D = np.arange(num_sites) - first_rank_S[step_of_rank_D]
    blocks_SM = np.full((num_steps, block_size), num_sites)
    blocks_SM[step_of_rank_D, place_D] = order_D
    rank_D = np.argsort(order_D)
    fields = {
        "order": order_D,
        "rank": rank_D,
        "step": step_of_rank_D[rank_D],
        "blocks": blocks_SM,
        "index_in_blocks": (step_of_rank_D * block_size + place_D)[rank_D],
    }
    return Factorization(**{k: v.astype(np.int32) for k, v in fields.items()}, grid_shape=grid_shape)


def reorder(like: Factorization, order_D: jax.Array) -> Factorization:
    """Returns another order, int[D], cut as a factorization without a graph; may be jitted, and checks no values."""
    if like.parents is not None:
        raise UserError("a factorization with a dependency graph cannot be reordered: its edges follow its order")
    rank_D = jnp.argsort(order_D).astype(jnp.int32)
    by_rank = {name: jnp.asarray(getattr(like, name))[jnp.asarray(like.order)] for name in ("step", "index_in_blocks")}
    no_site = jnp.full(1, like.num_sites, jnp.int32)
    rank_SM = jnp.concatenate([jnp.asarray(like.rank), no_site])[jnp.asarray(like.blocks)]
    return Factorization(
        order=order_D,
        rank=rank_D,
        step=by_rank["step"][rank_D],
        blocks=jnp.concatenate([order_D, no_site])[rank_SM],
        index_in_blocks=by_rank["index_in_blocks"][rank_D],
        grid_shape=like.grid_shape,
    )


def check_permutation(order: Integers, num_sites: int) -> np.ndarray:
    """Returns the order as int64[D], which visits each of the sites 0..D-1 exactly once."""
    order_D = flat_integers(order)
    if order_D is None:
        raise UserError("an ordering is a flat list of site numbers")
    once = f"it must name each site 0..{num_sites - 1} exactly once"
    refuse(
        (len(order_D) != num_sites, f"the ordering lists {len(order_D)} sites, but there are {num_sites}"),
        (not np.array_equal(np.sort(order_D), np.arange(num_sites)), f"the ordering is not a permutation: {once}"),
    )
    return order_D
