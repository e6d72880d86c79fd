"""The last values that options of orders, partitions and graphs take, and the first that they refuse.

The functions are called without their registries, which refuse values of other types before a function sees them.
"""

from __future__ import annotations

import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.core.registry import parse_call
from arjax.factorization import make_factorization, make_order, make_orders
from arjax.factorization.graphs import GRAPHS
from arjax.factorization.order_distributions import ORDER_DISTRIBUTIONS, permutations
from arjax.factorization.orderings import ORDERINGS
from arjax.factorization.partitions import PARTITIONS

GRID = (4, 6)
#: Option by option: the call, the last values that it takes, the first that it refuses.
ORDERINGS_TAKE = [
    ("tiles(height={})", ("1", "9"), ("0", "1.5", "'2'")),
    ("tiles(width={})", ("1", "9"), ("0", "2.5", "'2'")),
    ("multiscale(factor={})", ("2",), ("1", "2.5")),
    ("multiscale(levels={})", ("1",), ("0", "1.5")),
    ("multiscale(interleave={})", ("1",), ("0", "1.5")),
    ("subscale(factor={})", ("2", "99"), ("1", "2.5")),
    ("random(seed={})", ("0",), ("-1", "1.5")),
    ("symmetry(axes={})", ("()", "(1, 0)"), ("(0, 0)", "(0,)", "(1, 2)", "'x'")),
    ("symmetry(flip={})", ("()", "(1,)", "(0, 1)"), ("(0, 0)", "(2,)", "(-1,)", "'x'")),
    ("shuffled_within(size={})", ("1",), ("0", "1.5")),
    ("shuffled_within(seed={})", ("0",), ("-1", "1.5")),
]
PARTITIONS_TAKE = [
    ("blocks(size={})", ("1", "24"), ("0", "1.5", "5", "'2'")),
]
SCALES = [("scales(by_site={})", ("0", "2"), ("-1", "3", "0.5"))]
GRAPHS_TAKE = [
    ("window(size={})", ("0", "23"), ("-1", "1.5")),
    ("neighbours(distance={})", ("0", "6"), ("-1", "1.5")),
    ("edges(arrows=({},))", ("(0, 23)", "(0, 1)"), ("(0, 24)", "(-1, 2)", "(0, 1, 2)", "(1,)", "3")),
]


POOLS_TAKE = [
    ("pool(num={})", ("1", "9"), ("0", "1.5")),
    ("pool(num=2, seed={})", ("0",), ("-1", "1.5")),
]
ORDERS_TAKE = [
    ("weighted(of=('raster', 'uniform'), weights={})", ("(1, 2.5)",), ("(1,)", "(1, 0)", "(1, -1)", "(1, '2')", "2")),
    ("weighted(of=('raster', 'uniform'), weights={})", ("(1e-9, 1)",), ("(True, 1)", "(1e999, 1)", "(0, 0)", "()")),
    ("weighted(of={}, weights=(1,))", ("('raster',)", "('pool',)"), ("()", "(3,)", "'raster'", "('unifrom',)")),
    ("any_of(orderings={})", ("('raster',)", "('raster', 'hilbert')"), ("()", "(3,)", "('raster', 3)", "'raster'")),
]
ORDER, COARSE = np.arange(24), make_order("multiscale", GRID)
CASES = [
    *((ORDERINGS, (GRID,), *row) for row in ORDERINGS_TAKE),
    *((PARTITIONS, (ORDER, GRID), *row) for row in PARTITIONS_TAKE),
    *((PARTITIONS, (COARSE, GRID), *row) for row in SCALES),
    *((GRAPHS, (make_factorization(GRID), None), *row) for row in GRAPHS_TAKE),
    *((ORDER_DISTRIBUTIONS, (GRID,), *row) for row in POOLS_TAKE),
    *((ORDER_DISTRIBUTIONS, (GRID, None), *row) for row in ORDERS_TAKE),
]


@pytest.mark.parametrize(("registry", "arguments", "call", "taken", "refused"), CASES, ids=[case[2] for case in CASES])
def test_limits(registry, arguments, call, taken, refused):
    def make(value):
        name, options = parse_call(call.format(value))
        return registry.get(name)(*arguments, **options)

    for value in taken:
        make(value)
    for value in refused:
        with pytest.raises(UserError):
            make(value)


def test_sizes_are_those_of_all_sites():
    for sizes in ((24,), (23, 1)):
        assert make_factorization(GRID, partition=f"sizes(sizes={sizes})").num_steps == len(sizes)
    for sizes in ((24, 0), (23,), (25, -1), ()):
        with pytest.raises(UserError):
            make_factorization(GRID, partition=f"sizes(sizes={sizes})")


def test_there_are_as_many_orders_as_permutations():
    assert len({tuple(order) for order in permutations(3, 6, 0)}) == 6
    with pytest.raises(UserError, match="3 sites have 6 orders, not 7"):
        permutations(3, 7, 0)
    members = make_orders("pool(num=3)", GRID).members(3)
    assert len(members) == 3 and all(member.num_steps == 24 for member in members)
    with pytest.raises(UserError, match="there are 3 orders to score, not 4"):
        make_orders("pool(num=3)", GRID).members(4)


def test_no_seed_is_another_one():
    for call in ("random(seed={})", "shuffled_within(seed={})"):
        zero, one = (make_order(call.format(seed), GRID) for seed in (0, 1))
        assert sorted(zero) == sorted(one) and not np.array_equal(zero, one)
