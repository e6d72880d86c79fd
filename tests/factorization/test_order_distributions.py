"""Distributions over orders: what they draw, what is scored of them, and that a drawn order is cut like any other."""

from __future__ import annotations

import collections
import math

import jax
import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.factorization import (
    ORDER_DISTRIBUTIONS,
    PARTITIONS,
    make_factorization,
    make_orders,
    orders_need_data,
    reorder,
)

CALLS = ["uniform", "pool(num=3)", "rasters", "any_of(orderings=('raster', 'reversed', 'random(seed=3)'))"]


def test_every_distribution_is_tested():
    assert {call.partition("(")[0] for call in CALLS} == set(ORDER_DISTRIBUTIONS.names())


@pytest.mark.parametrize("partition", ["sites", "blocks(size=2)", "sizes(sizes=(1, 3, 2))"])
def test_a_new_order_is_cut_like_the_first(partition):
    first = make_factorization((2, 3), "random(seed=4)", partition)
    like = jax.jit(reorder)
    for seed in range(5):
        expected = make_factorization((2, 3), f"random(seed={seed})", partition)
        jax.tree.map(np.testing.assert_array_equal, like(first, expected.order), expected)


@pytest.mark.parametrize("partition", ["sites", "blocks(size=3)"])
@pytest.mark.parametrize("text", CALLS)
def test_draws_and_members_are_factorizations_of_the_partition(text, partition):
    orders = make_orders(text, (2, 3), partition)
    members = orders.members(2)
    together = jax.tree.map(np.asarray, jax.jit(jax.vmap(orders.draw))(jax.random.split(jax.random.key(0), 20)))
    drawn = [jax.tree.map(lambda leaf, i=i: leaf[i], together) for i in range(20)]
    for factorization in [*members, *drawn]:
        again = make_factorization((2, 3), f"list(order={tuple(np.asarray(factorization.order).tolist())})", partition)
        jax.tree.map(np.testing.assert_array_equal, factorization, again)
    assert any((members[0].order != factorization.order).any() for factorization in drawn)
    for before, after in zip(members, make_orders(text, (2, 3), partition).members(2), strict=True):
        jax.tree.map(np.testing.assert_array_equal, before, after)


@pytest.mark.parametrize(("text", "expected"), [("uniform", 6), ("pool(num=2)", 2), ("rasters", 2)])
def test_orders_are_equally_probable(text, expected):
    draw = jax.vmap(lambda key: make_orders(text, (3,)).draw(key).order)
    drawn = np.asarray(jax.jit(lambda key: draw(jax.random.split(key, 3000)))(jax.random.key(0)))
    counts = collections.Counter(map(tuple, drawn.tolist()))
    assert len(counts) == expected
    p = 1 / expected
    assert all(abs(n - 3000 * p) < 5 * math.sqrt(3000 * p * (1 - p)) for n in counts.values())


@pytest.mark.parametrize(("grid", "number"), [((4,), 2), ((3, 3), 8), ((2, 3), 8), ((1, 3), 2), ((2, 3, 2), 48)])
def test_rasters_are_those_of_the_symmetries(grid, number):
    pool = make_orders("rasters", grid).pool
    assert len(pool) == number
    names = {"raster", "reversed", "column_major"}
    assert {tuple(make_factorization(grid, name).order) for name in names} <= set(map(tuple, pool.tolist()))


def test_mistakes_are_told():
    with pytest.raises(UserError, match="there are 2 orders to score, not 3"):
        make_orders("rasters", (3,)).members(3)
    with pytest.raises(UserError, match="the num of a pool of orders must be a whole number, at least 1, not 0"):
        make_orders("pool(num=0)", (3,))
    with pytest.raises(UserError, match="2 sites have 2 orders, not 3"):
        make_orders("uniform", (2,)).members(3)
    with pytest.raises(UserError, match="must name at least one ordering"):
        make_orders("any_of(orderings=())", (3,))
    with pytest.raises(UserError, match="unknown distribution over orders 'unifrom', did you mean 'uniform'"):
        make_orders("unifrom", (3,))
    with pytest.raises(UserError, match="needs an ordering that goes row by row"):
        make_orders("uniform", (3, 2), "rows")
    with pytest.raises(UserError, match="is read off the training data"):
        make_orders("any_of(orderings=('variance',))", (3,))


def test_orders_that_a_partition_cuts_differently_are_refused(monkeypatch):
    """One program draws them all: their blocks must have one structure. Partitions may be those of other packages."""
    monkeypatch.setattr(PARTITIONS, "_entries", dict(PARTITIONS._entries))
    PARTITIONS.register("first_alone")(lambda order, grid_shape: [1, 3] if order[0] == 0 else [2, 2])
    with pytest.raises(UserError, match="cuts the orders of 'rasters' into different blocks"):
        make_orders("rasters", (4,), "first_alone")
    assert make_orders("any_of(orderings=('raster',))", (4,), "first_alone").first.num_steps == 2


def test_which_distributions_read_data():
    assert orders_need_data("any_of(orderings=('raster', 'reversed(of=\"variance\")'))")
    assert not orders_need_data("any_of(orderings=('raster',))") and not orders_need_data("uniform")
