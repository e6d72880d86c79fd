"""The laws of orderings, distributions over orders and partitions, on grids of several ranks."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from arjax.core.values import parse_call
from arjax.factorization import ORDERINGS, PARTITIONS, Weighted
from arjax.factorization.order_distributions import call_distribution
from arjax.testing.laws import Law, LawTest, refusals, require, require_some

Grid = tuple[int, ...]
GRIDS: tuple[Grid, ...] = ((1,), (7,), (2, 3), (4, 4), (5, 1), (3, 2, 2))


@LawTest
def ordering_laws(call: str, *, grids: Sequence[Grid] = GRIDS) -> list[Law]:
    """A pytest test of a registered ordering; grids that it refuses are skipped, with the refusal as the reason. For
    example `test_my_order = ordering_laws("my_order(size=2)")`.
    """
    return _laws(call, grids, functools.partial(check_ordering, call))


@LawTest
def orders_laws(call: str, *, grids: Sequence[Grid] = GRIDS) -> list[Law]:
    """A pytest test of a registered distribution over orders; grids that it refuses are skipped, with the refusal as
    the reason. For example `test_my_orders = orders_laws("my_orders(num=4)")`.
    """
    return _laws(call, grids, functools.partial(_check_orders, call))


@LawTest
def partition_laws(call: str, *, ordering: str = "raster", grids: Sequence[Grid] = GRIDS) -> list[Law]:
    """A pytest test of a registered partition under an ordering; grids that either refuses are skipped, with the
    refusal as the reason. For example `test_my_blocks = partition_laws("my_blocks(size=2)")`.
    """
    return _laws(call, grids, functools.partial(check_partition, call, ordering))


def _laws(call: str, grids: Sequence[Grid], check: Callable[[Grid], None]) -> list[Law]:
    cases = [functools.partial(check, grid) for grid in grids]
    laws = [Law("fits-something", functools.partial(require_some, cases, f"{call!r} fits no grid"))]
    return laws + [Law(f"grid-{'x'.join(map(str, grid))}", case) for grid, case in zip(grids, cases, strict=True)]


def _order(call: str, grid: Grid) -> Any:
    """Returns the order of a grid, as an ordering returns it, or raises `NotSupported`."""
    reads_data = "data" in inspect.signature(ORDERINGS.get(parse_call(call)[0])).parameters
    data = np.random.default_rng(0).integers(0, 2, (30, math.prod(grid)))
    with refusals():
        return ORDERINGS.call(call, grid, data) if reads_data else ORDERINGS.call(call, grid)


def check_ordering(call: str, grid: Grid) -> None:
    """Every site is visited once, and always in the same order."""
    first, again = (np.asarray(_order(call, grid)) for _ in range(2))
    same = first.shape == (math.prod(grid),) and np.array_equal(np.sort(first), np.arange(math.prod(grid)))
    require(same, f"{call!r} on a grid {grid} is no permutation of its {math.prod(grid)} sites: {first.tolist()}")
    require(np.array_equal(first, again), f"{call!r} on a grid {grid} is another order each time")


def _check_orders(call: str, grid: Grid) -> None:
    """Every order visits every site once, the probabilities add up to 1, and both are always the same."""
    num_sites = math.prod(grid)
    data = np.random.default_rng(0).integers(0, 2, (30, num_sites))
    with refusals():
        orders, again = (call_distribution(call, grid, data) for _ in range(2))
    if orders is None:  # all permutations
        return
    pool, others = (each.pool if isinstance(each, Weighted) else each for each in (orders, again))
    sites = np.arange(num_sites)
    same = len(pool) > 0 and all(np.array_equal(np.sort(np.asarray(order), axis=None), sites) for order in pool)
    require(same, f"{call!r} on a grid {grid} is no list of permutations of its {num_sites} sites")
    require(np.array_equal(pool, others), f"{call!r} on a grid {grid} has other orders each time")
    if isinstance(orders, Weighted):
        weights = np.append(orders.weights, orders.uniform)
        fits = len(weights) == len(pool) + 1 and bool((weights >= 0).all()) and math.isclose(weights.sum(), 1)
        require(fits, f"{call!r} on a grid {grid} has the probabilities {weights.tolist()} of {len(pool)} orders")


def check_partition(call: str, ordering: str, grid: Grid) -> None:
    """The sizes of the blocks are positive whole numbers that add up to the number of sites, always the same."""
    order = np.asarray(_order(ordering, grid))
    with refusals():
        sizes, again = (np.asarray(PARTITIONS.call(call, order, grid)) for _ in range(2))
    positive = sizes.ndim == 1 and np.issubdtype(sizes.dtype, np.integer) and (sizes > 0).all()
    require(positive, f"{call!r} on a grid {grid} has blocks of the sizes {sizes.tolist()}")
    total = int(sizes.sum())
    require(total == order.size, f"{call!r} on a grid {grid} has {total} sites in its blocks, not {order.size}")
    require(np.array_equal(sizes, again), f"{call!r} on a grid {grid} has other blocks each time")
