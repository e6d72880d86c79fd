"""The laws of orderings and partitions: permutations of the sites, and sizes of blocks, on grids of several ranks."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from arjax.core.errors import UserError
from arjax.core.registry import parse_call
from arjax.factorization import ORDERINGS, PARTITIONS
from arjax.testing.laws import Law, LawBroken, NotSupported, as_test, check_laws, require

Grid = tuple[int, ...]
GRIDS: tuple[Grid, ...] = ((1,), (7,), (2, 3), (4, 4), (5, 1), (3, 2, 2))


def ordering_laws(call: str, *, grids: Sequence[Grid] = GRIDS) -> Callable[[Law], None]:
    """A pytest test of a registered ordering:

        test_my_order = ordering_laws("my_order(size=2)")

    Grids that the ordering refuses are skipped, with the refusal as the reason.
    """
    return as_test(_laws(call, grids, functools.partial(check_ordering, call)))


def partition_laws(call: str, *, ordering: str = "raster", grids: Sequence[Grid] = GRIDS) -> Callable[[Law], None]:
    """A pytest test of a registered partition, under an ordering that it fits:

        test_my_blocks = partition_laws("my_blocks(size=2)")

    Grids that either refuses are skipped, with the refusal as the reason.
    """
    return as_test(_laws(call, grids, functools.partial(check_partition, call, ordering)))


def check_ordering_laws(call: str, *, grids: Sequence[Grid] = GRIDS) -> dict[str, str]:
    """The laws of an ordering without pytest: returns "kept", or the sentence of a refusal, by the name of each law.

    Raises:
      LawBroken: with the law and the grid.
    """
    return check_laws(_laws(call, grids, functools.partial(check_ordering, call)))


def check_partition_laws(call: str, *, ordering: str = "raster", grids: Sequence[Grid] = GRIDS) -> dict[str, str]:
    """The laws of a partition without pytest, as `check_ordering_laws`."""
    return check_laws(_laws(call, grids, functools.partial(check_partition, call, ordering)))


def _laws(call: str, grids: Sequence[Grid], check: Callable[[Grid], None]) -> list[Law]:
    laws = [Law("fits-something", functools.partial(_fits_something, call, grids, check))]
    return laws + [Law(f"grid-{'x'.join(map(str, grid))}", functools.partial(check, grid)) for grid in grids]


def _fits_something(call: str, grids: Sequence[Grid], check: Callable[[Grid], None]) -> None:
    refusals = []
    for grid in grids:
        try:
            check(grid)
            return
        except NotSupported as refusal:
            refusals.append(str(refusal))
    raise LawBroken(f"{call!r} fits no grid: {refusals[0]}")


def _order(call: str, grid: Grid) -> Any:
    """The order of a grid, as an ordering returns it; `NotSupported` where it refuses the grid."""
    reads_data = "data" in inspect.signature(ORDERINGS.get(parse_call(call)[0])).parameters
    data = np.random.default_rng(0).integers(0, 2, (30, math.prod(grid)))
    try:
        return ORDERINGS.call(call, grid, data) if reads_data else ORDERINGS.call(call, grid)
    except UserError as refusal:
        raise NotSupported(str(refusal)) from refusal


def check_ordering(call: str, grid: Grid) -> None:
    """Every site is visited once, and always in the same order.

    Raises:
      LawBroken: it is not.
    """
    first, again = (np.asarray(_order(call, grid)) for _ in range(2))
    same = first.shape == (math.prod(grid),) and np.array_equal(np.sort(first), np.arange(math.prod(grid)))
    require(same, f"{call!r} on a grid {grid} is no permutation of its {math.prod(grid)} sites: {first.tolist()}")
    require(np.array_equal(first, again), f"{call!r} on a grid {grid} is another order each time")


def check_partition(call: str, ordering: str, grid: Grid) -> None:
    """The sizes of the blocks are positive whole numbers that add up to the number of sites, always the same.

    Raises:
      LawBroken: they are not.
    """
    order = np.asarray(_order(ordering, grid))
    try:
        sizes, again = (np.asarray(PARTITIONS.call(call, order, grid)) for _ in range(2))
    except UserError as refusal:
        raise NotSupported(str(refusal)) from refusal
    positive = sizes.ndim == 1 and np.issubdtype(sizes.dtype, np.integer) and (sizes > 0).all()
    require(positive, f"{call!r} on a grid {grid} has blocks of the sizes {sizes.tolist()}")
    total = int(sizes.sum())
    require(total == order.size, f"{call!r} on a grid {grid} has {total} sites in its blocks, not {order.size}")
    require(np.array_equal(sizes, again), f"{call!r} on a grid {grid} has other blocks each time")
