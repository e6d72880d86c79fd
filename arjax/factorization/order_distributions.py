"""Distributions over orders: the orders that a model is trained on, and those of them that it is scored on.

Each is a function `(grid_shape, ...) -> pool`: the orders int64[K, D], all equally probable, None for all permutations,
or `Weighted` for other probabilities. A parameter `data` takes training examples [N, D] or [N, D, value].
"""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import math
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.errors import UserError, did_you_mean, refuse
from arjax.core.options import MOST_ORDERS, opt, seed_option
from arjax.core.registry import Registry, import_installed
from arjax.core.values import parse_call
from arjax.factorization.factorization import Factorization, check_permutation, from_order, reorder
from arjax.factorization.orderings import ORDERINGS, Grid, make_order, needs_data
from arjax.factorization.partitions import PARTITIONS

ORDER_DISTRIBUTIONS = Registry("distribution over orders", hidden=("grid_shape", "data"))
#: Those made of orderings and of other distributions, which read training examples where one of these does.
MADE_OF_OTHERS = ("any_of", "weighted")


class Weighted(NamedTuple):
    """A distribution over orders: some of them with probabilities of their own, and the rest over all permutations."""

    pool: np.ndarray  # int64[K, D], the listed orders
    weights: np.ndarray  # float64[K], their probabilities
    uniform: float  # the probability that an order is drawn from all permutations, in place of the listed ones


@ORDER_DISTRIBUTIONS.register("uniform")
def uniform(grid_shape: Grid) -> None:
    """All D! orders, all equally probable."""
    return None


@ORDER_DISTRIBUTIONS.register("pool")
def pool(grid_shape: Grid, num: int = opt(8, most=MOST_ORDERS), seed: int = seed_option()) -> np.ndarray:
    """A fixed set of `num` random orders: on small data, a fresh order in every step underfits badly."""
    return permutations(int(np.prod(grid_shape)), num, seed)


def permutations(num_sites: int, num: int, seed: int, besides: Collection[tuple[int, ...]] = ()) -> np.ndarray:
    """Returns `num` different random orders, int64[num, D], none of which is one of `besides`."""
    if num > num_permutations(num_sites) - len(besides):
        raise UserError(f"{num_sites} sites have {math.factorial(num_sites)} orders, not {num + len(besides)}")
    rng = np.random.default_rng(seed)
    orders: dict[tuple[int, ...], np.ndarray] = {}
    while len(orders) < num:
        order = rng.permutation(num_sites)
        if tuple(order) not in besides:
            orders[tuple(order)] = order
    return np.stack(list(orders.values()))


def num_permutations(num_sites: int) -> float:
    """D!, or infinity for more than 12 sites."""
    return math.factorial(num_sites) if num_sites < 13 else math.inf


@ORDER_DISTRIBUTIONS.register("rasters")
def rasters(grid_shape: Grid) -> np.ndarray:
    """Raster order on the grid flipped and transposed in every different way: 8 orders of a plane, 2 of a line."""
    rank = len(grid_shape)
    flips = [tuple(f) for n in range(rank + 1) for f in itertools.combinations(range(rank), n)]
    axes = list(itertools.permutations(range(rank)))
    orders = [make_order(f"symmetry(axes={a}, flip={f})", grid_shape) for a in axes for f in flips]
    return np.array(list(dict.fromkeys(map(tuple, orders))))


@ORDER_DISTRIBUTIONS.register("any_of")
def any_of(grid_shape: Grid, data: np.ndarray | None, *, orderings: tuple[str, ...] = opt(fewest=1)) -> np.ndarray:
    """The listed orders, one call string for each: `any_of(orderings=('raster', 'hilbert', 'random(seed=3)'))`."""
    return np.stack([make_order(text, grid_shape, data) for text in orderings])


@ORDER_DISTRIBUTIONS.register("weighted")
def weighted(
    grid_shape: Grid,
    data: np.ndarray | None,
    *,
    of: tuple[str, ...] = opt(fewest=1),
    weights: tuple[float, ...] = opt(above=0, fewest=1),
) -> Weighted | None:
    """Distributions over orders and single orders, mixed: `weighted(of=('raster', 'uniform'), weights=(0.5, 0.5))`.

    The k-th of the call strings is drawn in proportion to its weight; it may be `weighted` itself.
    """
    if len(weights) != len(of):
        raise UserError(f"weighted needs one weight for each of its {len(of)} entries, not {weights!r}")
    shares = np.array(weights, np.float64) / max(weights)
    uniform, pool = 0.0, dict[tuple[int, ...], float]()
    for text, share in zip(of, shares / shares.sum(), strict=True):
        part = _part(text, grid_shape, data)
        uniform += share * part.uniform
        for order, weight in zip(part.pool, part.weights, strict=True):
            pool[tuple(order)] = pool.get(tuple(order), 0.0) + share * weight
    return Weighted(np.array(list(pool)), np.array(list(pool.values())), uniform) if pool else None


def _part(text: str, grid_shape: Grid, data: np.ndarray | None) -> Weighted:
    """Returns the distribution of a call string, which may name a single ordering."""
    if not _is_distribution(text):
        return Weighted(make_order(text, grid_shape, data)[None], np.ones(1), 0.0)
    distribution = call_distribution(text, grid_shape, data)
    if isinstance(distribution, Weighted):
        return distribution
    if distribution is None:
        return Weighted(np.zeros((0, int(np.prod(grid_shape))), np.int64), np.zeros(0), 1.0)
    return Weighted(distribution, np.full(len(distribution), 1 / len(distribution)), 0.0)


def _is_distribution(text: str) -> bool:
    """Returns whether a call string names a distribution over orders, and not an ordering."""
    name, _ = parse_call(text)
    if name not in ORDER_DISTRIBUTIONS and name not in ORDERINGS:
        import_installed()
    if name not in ORDER_DISTRIBUTIONS and name not in ORDERINGS:
        known = [*ORDER_DISTRIBUTIONS.names(), *ORDERINGS.names()]
        raise UserError(f"there is no distribution over orders and no ordering {name!r}{did_you_mean(name, known)}")
    return name in ORDER_DISTRIBUTIONS


class Shares(NamedTuple):
    """How much each of K orders counts for in their mixture."""

    weights: np.ndarray  # float64[K], which add up to 1
    drawn: np.ndarray  # bool[K], whether an order was drawn from all permutations and stands for those that were not
    population: float = math.inf  # of which orders the drawn ones are some; where none is drawn, all the listed ones

    def first(self, num: int) -> np.ndarray:
        """Returns the shares of the first `num` orders in a mixture of these alone, float64[num]."""
        drawn, weights = self.drawn[:num], self.weights[:num].copy()
        if drawn.any():
            weights[drawn] = self.weights[self.drawn].sum() / drawn.sum()
        return weights / weights.sum()


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Orders:
    """A distribution over factorizations of one block structure; a pytree of arrays: the `first` factorization, by
    which the others are cut, and the `pool` of orders int32[K, D], or None for all permutations, all equally probable
    unless there are `weights`: float32[K], or float32[K + 1], where the last is the probability of all permutations.
    """

    first: Factorization
    pool: np.ndarray | None = None
    weights: np.ndarray | None = None

    @property
    def has_all(self) -> bool:
        """Whether every permutation may be drawn."""
        return self.pool is None or (self.weights is not None and len(self.weights) > len(self.pool))

    @property
    def listed(self) -> np.ndarray:
        """The orders that have probabilities of their own, int32[K, D]; there may be none."""
        return np.zeros((0, self.first.num_sites), np.int32) if self.pool is None else np.asarray(self.pool)

    def draw(self, key: jax.Array) -> Factorization:
        """Returns a random factorization; may be jitted."""
        return self.draw_with_source(key)[0]

    def draw_of_all(self, key: jax.Array) -> Factorization:
        """Returns a random factorization of all permutations, which are equally probable; may be jitted."""
        return reorder(self.first, jax.random.permutation(key, self.first.num_sites))

    def draw_with_source(self, key: jax.Array) -> tuple[Factorization, bool | jax.Array]:
        """Returns a random factorization, and whether it was drawn from all permutations; may be jitted."""
        if self.pool is None:
            return self.draw_of_all(key), True
        pool_KD, num = jnp.asarray(self.pool), len(self.pool)
        if self.weights is None:
            return reorder(self.first, pool_KD[jax.random.randint(key, (), 0, num)]), False
        choice_key, key = jax.random.split(key)
        k = jax.random.categorical(choice_key, jnp.log(jnp.asarray(self.weights)))
        if not self.has_all:
            return reorder(self.first, pool_KD[k]), False
        order_D = jnp.where(k == num, self.draw_of_all(key).order, pool_KD[jnp.minimum(k, num - 1)])
        return reorder(self.first, order_D), k == num

    def has(self, factorization: Factorization) -> bool:
        """Returns whether an order is one of these."""
        return self.has_all or bool((self.listed == np.asarray(factorization.order)).all(1).any())

    def members(self, num: int) -> list[Factorization]:
        """Returns `num` different orders, always the same: the first of the pool, or of a fixed random sequence. With
        weights, each next one is the listed order, or the random one, with the largest share.
        """
        places = self._places(num)
        drawn = sum(place < 0 for place in places)
        listed = set(map(tuple, self.listed.tolist()))
        random: Iterator[np.ndarray] = iter(
            permutations(self.first.num_sites, drawn, seed=0, besides=listed) if drawn else self.listed
        )
        return [self._cut(next(random) if place < 0 else self.listed[place]) for place in places]

    def shares(self, num: int) -> Shares:
        """The weights of the `members`, sum 1: random ones share the probability of all unlisted orders equally."""
        listed_K, uniform = self._probabilities()
        places, num_listed = np.array(self._places(num)), len(listed_K)
        drawn, each = places < 0, math.exp(-math.lgamma(self.first.num_sites + 1))  # 1 / D!
        of_others = uniform * max(1 - num_listed * each, 0.0) / max(drawn.sum(), 1)
        weights = np.where(drawn, of_others, np.append(listed_K + uniform * each, 0.0)[places])
        population = num_permutations(self.first.num_sites) - num_listed if drawn.any() else num_listed
        return Shares(weights / weights.sum(), drawn, population)

    def representatives(self) -> list[Factorization]:
        """Returns all listed orders, and one of all permutations where these may be drawn."""
        random = permutations(self.first.num_sites, 1, seed=0) if self.has_all else self.listed[:0]
        return [self._cut(order) for order in [*self.listed, *random]]

    def _probabilities(self) -> tuple[np.ndarray, float]:
        """Returns the probabilities of the listed orders, float64[K], and of a draw from all permutations, all of them
        up to a factor.
        """
        num = len(self.listed)
        weights = np.ones(max(num, 1)) if self.weights is None else np.asarray(self.weights, np.float64)
        return weights[:num], float(weights[num:].sum())

    def _places(self, num: int) -> list[int]:
        """Where each of the `members` stands in the pool; -1: it is a random one."""
        listed_K, uniform = self._probabilities()
        left = num_permutations(self.first.num_sites) - len(listed_K) if self.has_all else 0
        if num > len(listed_K) + left:
            if self.has_all:
                raise UserError(f"{self.first.num_sites} sites have {len(listed_K) + left} orders, not {num}")
            raise UserError(f"there are {len(listed_K)} orders to score, not {num}")
        by_weight = np.argsort(-listed_K, kind="stable").tolist()
        places: list[int] = []
        drawn = 0
        for n in range(num):
            there = n - drawn < len(by_weight)
            if there and (drawn >= left or listed_K[by_weight[n - drawn]] >= uniform / (drawn + 1)):
                places.append(by_weight[n - drawn])
            else:
                places.append(-1)
                drawn += 1
        return places

    def _cut(self, order: np.ndarray) -> Factorization:
        sizes = (np.asarray(self.first.blocks) < self.first.num_sites).sum(1)
        return from_order(order, sizes, self.first.grid_shape)


def make_orders(text: str, grid_shape: Grid, partition: str = "sites", data: np.ndarray | None = None) -> Orders:
    """The distribution of a call string, such as `uniform` or `pool(num=16)`, over orders cut by a partition."""
    grid_shape = tuple(grid_shape)
    distribution, num_sites = call_distribution(text, grid_shape, data), int(np.prod(grid_shape))
    is_weighted, rng = isinstance(distribution, Weighted), np.random.default_rng(0)
    listed = () if distribution is None else distribution.pool if is_weighted else distribution
    has_all = distribution is None or (is_weighted and bool(distribution.uniform > 0))
    orders = [check_permutation(order, num_sites) for order in listed]
    refuse((not orders and not has_all, f"the distribution over orders {text!r} has no order"))
    pool_KD = np.stack(orders).astype(np.int32) if orders else None
    orders += [rng.permutation(num_sites) for _ in range(8 * has_all)]
    cut = PARTITIONS.read(partition)
    cuts = [tuple(cut.build(order, grid_shape)) for order in orders]
    several = len(set(cuts)) > 1
    refuse((several, f"the partition {partition!r} cuts the orders of {text!r} into different blocks"))
    first = from_order(orders[0], cuts[0], grid_shape)
    if not is_weighted:
        return Orders(first, pool_KD)
    weights = [*distribution.weights, distribution.uniform] if has_all else distribution.weights
    return Orders(first, pool_KD, np.asarray(weights, np.float32))


def call_distribution(text: str, grid_shape: Grid, data: np.ndarray | None) -> Any:
    """The orders that the function of a call string returns; one with a parameter `data` gets training examples."""
    name, _ = parse_call(text)
    takes_data = "data" in _parameters(name)
    lacks_data = takes_data and data is None and name not in MADE_OF_OTHERS
    off_data = "is read off the training data, and there is none: give `data`"
    refuse((lacks_data, f"the distribution over orders {name!r} {off_data}"))
    return ORDER_DISTRIBUTIONS.call(text, grid_shape, *([data] if takes_data else []))


def _parameters(name: str) -> Collection[str]:
    return inspect.signature(ORDER_DISTRIBUTIONS.get(name)).parameters


def orders_need_data(text: str) -> bool:
    """Whether a distribution over orders or an ordering, or one that it is made of, is read off training examples."""
    name, options = parse_call(text)
    if not _is_distribution(text):
        return needs_data(text)
    if name not in MADE_OF_OTHERS:
        return "data" in _parameters(name)
    lists = (value for value in options.values() if isinstance(value, tuple | list))
    return any(orders_need_data(part) for parts in lists for part in parts if isinstance(part, str))
