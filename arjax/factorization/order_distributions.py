"""Distributions over orders: the orders that a model is trained on, and those of them that it is scored on.

One set of parameters then supports many orders. Each distribution is a function `(grid_shape, data, ...) -> pool`: the
orders int64[K, D], all equally probable, or None for all permutations.
"""

from __future__ import annotations

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.errors import UserError
from arjax.core.integers import MOST_ORDERS, is_integer
from arjax.core.registry import Registry, parse_call
from arjax.factorization.factorization import Factorization, check_permutation, from_order, reorder
from arjax.factorization.orderings import Grid, make_order, needs_data
from arjax.factorization.partitions import PARTITIONS

ORDER_DISTRIBUTIONS = Registry("distribution over orders", hidden=("grid_shape", "data"), most={"num": MOST_ORDERS})


@ORDER_DISTRIBUTIONS.register("uniform")
def uniform(grid_shape: Grid, data: np.ndarray | None) -> None:
    """All D! orders, all equally probable."""
    return None


@ORDER_DISTRIBUTIONS.register("pool")
def pool(grid_shape: Grid, data: np.ndarray | None, num: int = 8, seed: int = 0) -> np.ndarray:
    """A fixed set of `num` random orders: on small data, a fresh order in every step underfits badly."""
    for name, value, least in (("num", num, 1), ("seed", seed, 0)):
        if not is_integer(value) or value < least:
            raise UserError(f"the {name} of a pool of orders must be a whole number, at least {least}, not {value!r}")
    return permutations(int(np.prod(grid_shape)), num, seed)


def permutations(num_sites: int, num: int, seed: int) -> np.ndarray:
    """`num` different random orders, int64[num, D]; raises `UserError` when there are not so many."""
    if num_sites < 13 and num > math.factorial(num_sites):
        raise UserError(f"{num_sites} sites have {math.factorial(num_sites)} orders, not {num}")
    rng = np.random.default_rng(seed)
    found: dict[tuple[int, ...], np.ndarray] = {}
    while len(found) < num:
        order = rng.permutation(num_sites)
        found[tuple(order)] = order
    return np.stack(list(found.values()))


@ORDER_DISTRIBUTIONS.register("rasters")
def rasters(grid_shape: Grid, data: np.ndarray | None) -> np.ndarray:
    """Raster order on the grid flipped and transposed in every way: 8 orders of a plane, 2 of a line. Flips of an axis
    of length 1 change nothing and count once.
    """
    rank = len(grid_shape)
    flips = [tuple(f) for n in range(rank + 1) for f in itertools.combinations(range(rank), n)]
    axes = list(itertools.permutations(range(rank)))
    orders = [make_order(f"symmetry(axes={a}, flip={f})", grid_shape) for a in axes for f in flips]
    return np.array(list(dict.fromkeys(map(tuple, orders))))


@ORDER_DISTRIBUTIONS.register("any_of")
def any_of(grid_shape: Grid, data: np.ndarray | None, orderings: tuple[str, ...]) -> np.ndarray:
    """The listed orders, one call string for each: `any_of(orderings=('raster', 'hilbert', 'random(seed=3)'))`."""
    if not isinstance(orderings, tuple | list) or not orderings or any(not isinstance(o, str) for o in orderings):
        raise UserError(f"orderings of any_of must name at least one ordering, each in quotes, not {orderings!r}")
    return np.stack([make_order(text, grid_shape, data) for text in orderings])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Orders:
    """A distribution over factorizations of one block structure; a pytree of integer arrays: the `first`, by which the
    others are cut, and the `pool` of orders int32[K, D], all equally probable, or None for all permutations.
    """

    first: Factorization
    pool: np.ndarray | None = None

    def draw(self, key: jax.Array) -> Factorization:
        """A random factorization; may be jitted."""
        if self.pool is None:
            return reorder(self.first, jax.random.permutation(key, self.first.num_sites))
        return reorder(self.first, jnp.asarray(self.pool)[jax.random.randint(key, (), 0, len(self.pool))])

    def has(self, factorization: Factorization) -> bool:
        """Whether an order is one of these."""
        return self.pool is None or bool((self.pool == np.asarray(factorization.order)).all(1).any())

    def members(self, num: int) -> list[Factorization]:
        """`num` different orders, always the same: the first of the pool, or of a fixed random sequence; raises
        `UserError` where there are not so many.
        """
        if self.pool is None:
            orders = list(permutations(self.first.num_sites, num, seed=0))
        elif num > len(self.pool):
            raise UserError(f"there are {len(self.pool)} orders to score, not {num}")
        else:
            orders = list(self.pool[:num])
        sizes = (np.asarray(self.first.blocks) < self.first.num_sites).sum(1)
        return [from_order(order, sizes, self.first.grid_shape) for order in orders]


def make_orders(text: str, grid_shape: Grid, partition: str = "sites", data: np.ndarray | None = None) -> Orders:
    """The distribution of a call string, such as `uniform` or `pool(num=16)`, over orders cut by a partition; raises
    `UserError` where it cuts the orders into different blocks.
    """
    grid_shape = tuple(grid_shape)
    orders_KD = ORDER_DISTRIBUTIONS.call(text, grid_shape, data)
    num_sites = int(np.prod(grid_shape))
    rng = np.random.default_rng(0)
    some = [rng.permutation(num_sites) for _ in range(8)] if orders_KD is None else orders_KD
    checked = [check_permutation(order, num_sites) for order in some]
    cut = PARTITIONS.read(partition)
    cuts = [tuple(cut.build(order, grid_shape)) for order in checked]
    if len(set(cuts)) > 1:
        raise UserError(f"the partition {partition!r} cuts the orders of {text!r} into different blocks")
    pool_KD = None if orders_KD is None else np.stack(checked).astype(np.int32)
    return Orders(from_order(checked[0], cuts[0], grid_shape), pool_KD)


def orders_need_data(text: str) -> bool:
    """Whether one of the orders is read off the training examples."""
    name, options = parse_call(text)
    named = options.get("orderings", ()) if name == "any_of" else ()
    return isinstance(named, tuple | list) and any(isinstance(o, str) and needs_data(o) for o in named)
