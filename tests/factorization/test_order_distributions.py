"""Distributions over orders: what they draw, what is scored of them, and that a drawn order is cut like any other."""

from __future__ import annotations

import collections
import itertools
import math

import jax
import numpy as np
import pytest
from refusals import refusal

from arjax.core.errors import UserError
from arjax.factorization import (
    ORDER_DISTRIBUTIONS,
    ORDERINGS,
    PARTITIONS,
    make_factorization,
    make_orders,
    order_distributions,
    orders_need_data,
    reorder,
)

MIXED = "weighted(of=('raster', 'uniform'), weights=(0.5, 0.5))"
NESTED = f"weighted(of=({MIXED!r}, 'reversed', 'any_of(orderings=(\"raster\", \"reversed\"))'), weights=(2, 1, 1))"
CALLS = [
    "uniform",
    "pool(num=3)",
    "rasters",
    "any_of(orderings=('raster', 'reversed', 'random(seed=3)'))",
    "weighted(of=('raster', 'pool(num=3)'), weights=(1, 3))",
    MIXED,
]


def test_every_distribution_is_tested():
    assert {call.partition("(")[0] for call in CALLS} == set(ORDER_DISTRIBUTIONS.names())


@pytest.mark.parametrize("partition", ["sites", "blocks(size=2)", "sizes(sizes=(1, 3, 2))"])
def test_a_new_order_is_cut_like_the_first(partition):
    first = make_factorization((2, 3), "random(seed=4)", partition)
    like = jax.jit(reorder)
    for seed in range(5):
        expected = make_factorization((2, 3), f"random(seed={seed})", partition)
        jax.tree.map(np.testing.assert_array_equal, like(first, expected.order), expected)


@pytest.mark.parametrize("partition", [pytest.param("sites", marks=pytest.mark.slow), "blocks(size=3)"])
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


def drawn_counts(text: str, num: int) -> collections.Counter:
    draw = jax.vmap(lambda key: make_orders(text, (3,)).draw(key).order)
    drawn = np.asarray(jax.jit(lambda key: draw(jax.random.split(key, num)))(jax.random.key(0)))
    return collections.Counter(map(tuple, drawn.tolist()))


@pytest.mark.parametrize(("text", "expected"), [("uniform", 6), ("pool(num=2)", 2), ("rasters", 2)])
def test_orders_are_equally_probable(text, expected):
    counts, p = drawn_counts(text, 3000), 1 / expected
    assert len(counts) == expected
    assert all(abs(n - 3000 * p) < 5 * math.sqrt(3000 * p * (1 - p)) for n in counts.values())


@pytest.mark.parametrize(
    ("text", "raster", "reverse", "other"),
    [
        ("weighted(of=('raster', 'reversed'), weights=(1, 3))", 1 / 4, 3 / 4, 0),
        (MIXED, 1 / 2 + 1 / 12, 1 / 12, 1 / 12),
        (NESTED, 1 / 4 + 1 / 8 + 1 / 24, 1 / 4 + 1 / 8 + 1 / 24, 1 / 24),
        ("weighted(of=('uniform', 'uniform'), weights=(1, 2))", 1 / 6, 1 / 6, 1 / 6),
    ],
)
def test_weighted_orders_have_their_probabilities(text, raster, reverse, other):
    """The members too: of all orders, their shares are these probabilities."""
    expected = dict.fromkeys(itertools.permutations(range(3)), other) | {(0, 1, 2): raster, (2, 1, 0): reverse}
    expected = {order: p for order, p in expected.items() if p}
    counts, num = drawn_counts(text, 4000), 4000
    assert set(counts) == set(expected)
    assert all(abs(counts[order] - num * p) < 5 * math.sqrt(num * p * (1 - p)) for order, p in expected.items())
    orders = make_orders(text, (3,))
    members, shares = orders.members(len(expected)), orders.shares(len(expected))
    found = {tuple(member.order.tolist()): share for member, share in zip(members, shares.weights, strict=True)}
    assert found == pytest.approx(expected, rel=1e-5)
    assert "orders" in refusal(orders.members, len(expected) + 1)


def test_shares_tell_of_how_many_orders_the_scored_ones_are_some():
    """Of random orders the permutations that are not listed, and else the list."""
    for text, num, population in (("uniform", 3, 6), ("pool(num=4)", 3, 4), ("rasters", 2, 2), (MIXED, 3, 5)):
        assert make_orders(text, (3,)).shares(num).population == population
    assert make_orders("uniform", (4, 4)).shares(3).population == np.inf


def test_members_of_weighted_orders_come_by_their_shares():
    """The next one is the listed order or the random one with the largest share, and random ones are no listed ones."""
    orders = make_orders("weighted(of=('raster', 'reversed', 'uniform'), weights=(0.25, 0.05, 0.7))", (6,))
    members = [tuple(member.order.tolist()) for member in orders.members(5)]
    assert members.index((0, 1, 2, 3, 4, 5)) == 2 and len(set(members)) == 5 and (5, 4, 3, 2, 1, 0) not in members
    assert members[:3] == [tuple(member.order.tolist()) for member in orders.members(3)]
    shares, each = orders.shares(5), 0.7 * (1 - 2 / 720)
    assert shares.drawn.tolist() == [True, True, False, True, True]
    expected = np.array([each / 4, each / 4, 0.25 + 0.7 / 720, each / 4, each / 4])
    np.testing.assert_allclose(shares.weights, expected / expected.sum(), rtol=1e-5)
    np.testing.assert_allclose(shares.first(3), orders.shares(3).weights, rtol=1e-5)
    for text, num in (("uniform", 3), ("pool(num=4)", 3)):
        np.testing.assert_allclose(make_orders(text, (6,)).shares(num).weights, np.full(num, 1 / num))


@pytest.mark.parametrize("text", ["pool(num=3)", MIXED])
def test_orders_on_a_device_are_the_same(text):
    """A model is a pytree: after `jax.device_put` its orders are arrays of jax."""
    orders = make_orders(text, (4,))
    moved = jax.device_put(orders)
    for found, expected in (
        (moved.members(2), orders.members(2)),
        (moved.representatives(), orders.representatives()),
        (moved.shares(2).weights, orders.shares(2).weights),
    ):
        jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_which_weighted_orders_have_all():
    all_of_them = make_orders(MIXED, (4,))
    some = make_orders("weighted(of=('raster', 'reversed'), weights=(1, 3))", (4,))
    snake = make_factorization((4,), "list(order=(1, 0, 2, 3))")
    assert all_of_them.has(snake) and all_of_them.has_all and not some.has(snake) and not some.has_all
    assert some.has(make_factorization((4,), "reversed"))
    assert len(all_of_them.representatives()) == 2 == len(some.representatives())
    assert make_orders("weighted(of=('uniform',), weights=(2,))", (4,)).pool is None
    source = jax.jit(jax.vmap(lambda key: all_of_them.draw_with_source(key)[1]))
    told = np.asarray(source(jax.random.split(jax.random.key(0), 1000)))
    assert abs(told.mean() - 0.5) < 0.08


@pytest.mark.parametrize(("grid", "number"), [((4,), 2), ((3, 3), 8), ((2, 3), 8), ((1, 3), 2), ((2, 3, 2), 48)])
def test_rasters_are_those_of_the_symmetries(grid, number):
    pool = make_orders("rasters", grid).pool
    assert len(pool) == number
    names = {"raster", "reversed", "column_major"}
    assert {tuple(make_factorization(grid, name).order) for name in names} <= set(map(tuple, pool.tolist()))


def test_mistakes_are_told():
    for text, grid, num in (("rasters", (3,), 2), ("uniform", (2,), 2)):
        with pytest.raises(UserError, match=f"{num} orders"):
            make_orders(text, grid).members(num + 1)
    assert "needs an ordering that goes row by row" in refusal(make_orders, "uniform", (3, 2), "rows")
    for text, sentence in (
        ("weighted(of=('raster', 'uniform'), weights=(1,))", r"one weight for each of its 2 entries, not \(1,\)"),
        ("weighted(of=('unifrom',), weights=(1,))", "over orders and no ordering 'unifrom', did you mean 'uniform'"),
        ("unifrom", "unknown distribution over orders 'unifrom', did you mean 'uniform'"),
        ("any_of(orderings=('variance',))", "is read off the training data"),
    ):
        with pytest.raises(UserError, match=sentence):
            make_orders(text, (3,))


def test_orders_that_a_partition_cuts_differently_are_refused(scope):
    """One program draws them all: their blocks must have one structure. Partitions may be those of other packages."""
    scope(PARTITIONS)
    PARTITIONS.register("first_alone")(lambda order, grid_shape: [1, 3] if order[0] == 0 else [2, 2])
    assert "cuts the orders of 'rasters' into different blocks" in refusal(make_orders, "rasters", (4,), "first_alone")
    assert make_orders("any_of(orderings=('raster',))", (4,), "first_alone").first.num_steps == 2


def test_packages_are_asked_for_names_that_nobody_knows(monkeypatch, scope):
    """And only then: they may register a distribution or an ordering."""
    asked = []
    monkeypatch.setattr(order_distributions, "import_installed", lambda: asked.append(0))
    assert not orders_need_data("raster") and not orders_need_data("uniform") and not asked
    assert "no ordering 'mine'" in refusal(orders_need_data, "mine") and len(asked) == 1
    scope(ORDERINGS)
    register = lambda: ORDERINGS.register("mine")(lambda grid_shape, data: np.argsort(data.mean(0)))  # noqa: E731
    monkeypatch.setattr(order_distributions, "import_installed", register)
    assert orders_need_data("mine")


def test_a_graph_follows_its_order():
    factorization = make_factorization((3,), graph="window(size=1)")
    assert "dependency graph cannot be reordered: its edges follow" in refusal(reorder, factorization, np.arange(3))


def test_which_distributions_read_data():
    assert orders_need_data("any_of(orderings=('raster', 'reversed(of=\"variance\")'))")
    assert not orders_need_data("any_of(orderings=('raster',))") and not orders_need_data("uniform")
    inner = "any_of(orderings=('variance',))"
    assert orders_need_data("weighted(of=('uniform', 'variance'), weights=(1, 1))")
    assert orders_need_data(f"weighted(of=('raster', {inner!r}), weights=(1, 1))")
    assert not orders_need_data(NESTED)


def test_a_distribution_of_a_user_reads_data_if_it_says_so(scope):
    """With a parameter `data`, as an ordering; without one it is called with the grid alone."""
    scope(ORDER_DISTRIBUTIONS)
    ORDER_DISTRIBUTIONS.register("turned")(lambda grid_shape, by: np.stack([np.roll(np.arange(4), by), np.arange(4)]))
    ORDER_DISTRIBUTIONS.register("by_mean")(lambda grid_shape, data: np.argsort(data.mean(0))[None])
    ORDER_DISTRIBUTIONS.register("none")(lambda grid_shape: np.zeros((0, 4), int))
    assert not orders_need_data("turned(by=1)") and orders_need_data("by_mean")
    assert orders_need_data("weighted(of=('by_mean', 'uniform'), weights=(1, 1))")
    assert make_orders("turned(by=1)", (4,)).listed.tolist() == [[3, 0, 1, 2], [0, 1, 2, 3]]
    data = np.array([[3, 1, 2, 0], [3, 1, 2, 0]])
    assert make_orders("by_mean", (4,), data=data).listed.tolist() == [[3, 1, 2, 0]]
    assert "'by_mean' is read off the training data, and there is none" in refusal(make_orders, "by_mean", (4,))
    assert "the distribution over orders 'none' has no order" in refusal(make_orders, "none", (4,))
