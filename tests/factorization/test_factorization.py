"""The arrays of a factorization fit together; how an order is cut, and what cannot be."""

from __future__ import annotations

import itertools
import time

import jax
import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.factorization import from_order, make_factorization, make_orders, order_name

CASES = [
    ((6,), "raster", "sites"),
    ((2, 3), "random(seed=4)", "blocks(size=2)"),
    ((3, 4), "snake", "rows"),
    ((2, 2, 3), "column_major", "sizes(sizes=(1, 5, 4, 2))"),
    ((7,), "random(seed=2)", "sizes(sizes=(3, 1, 3))"),
    ((1,), "raster", "sites"),
    ((1, 4), "reversed", "rows"),
]


mask_of = jax.jit(lambda factorization: factorization.mask())
sites_of = jax.jit(lambda factorization, t: factorization.sites(t))


@pytest.fixture(params=CASES, ids=str)
def factorization(request):
    return make_factorization(*request.param)


def test_mask_is_the_definition(factorization):
    """Site i may depend on site j iff the block of j stands before the block of i."""
    rows = factorization.blocks.tolist()
    block_of = {site: t for t, row in enumerate(rows) for site in row if site < factorization.num_sites}
    sites = range(factorization.num_sites)
    expected = [[block_of[j] < block_of[i] for j in sites] for i in sites]
    mask = mask_of(factorization)
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, expected)


def test_blocks_cut_the_order_and_are_padded_at_the_end(factorization):
    assert {leaf.dtype for leaf in jax.tree.leaves(factorization)} == {np.dtype(np.int32)}
    num_sites, blocks = factorization.num_sites, factorization.blocks
    assert blocks.shape == (factorization.num_steps, factorization.block_size)
    exists = blocks < num_sites
    assert (blocks[~exists] == num_sites).all()
    assert (np.diff(exists.astype(int), axis=1) <= 0).all()  # no site after padding
    assert exists.any(1).all()  # no empty step
    assert exists.all(1).any()  # no wider than the largest block
    np.testing.assert_array_equal(blocks[exists], factorization.order)


def test_rank_step_and_index_in_blocks_are_inverse_to_order_and_blocks(factorization):
    sites = np.arange(factorization.num_sites)
    np.testing.assert_array_equal(factorization.order[factorization.rank], sites)
    np.testing.assert_array_equal(factorization.rank[factorization.order], sites)
    np.testing.assert_array_equal(factorization.blocks.ravel()[factorization.index_in_blocks], sites)
    np.testing.assert_array_equal(factorization.index_in_blocks // factorization.block_size, factorization.step)
    assert (np.diff(factorization.step[factorization.order]) >= 0).all()
    assert sorted(set(factorization.step.tolist())) == list(range(factorization.num_steps))


def test_sites_of_a_step_by_number_and_inside_jit(factorization):
    forms = [sites_of, type(factorization).sites] if factorization.grid_shape == (2, 3) else [sites_of]
    for t in range(factorization.num_steps):
        for sites, valid in (form(factorization, t) for form in forms):
            np.testing.assert_array_equal(sites, factorization.blocks[t])
            np.testing.assert_array_equal(valid, factorization.blocks[t] < factorization.num_sites)


def test_one_compilation_serves_all_orders_of_a_block_structure():
    traces = []

    @jax.jit
    def mask(factorization):
        traces.append(factorization.num_steps)  # a Python int even while traced
        return factorization.mask()

    for ordering in ("raster", "reversed", "random(seed=1)", "random(seed=2)", "list(order=(5, 4, 0, 1, 3, 2))"):
        factorization = make_factorization((6,), ordering, "blocks(size=2)")
        np.testing.assert_array_equal(mask(factorization), mask_of(factorization))
    assert traces == [3]
    mask(make_factorization((6,), "raster", "sites"))  # another number of steps
    mask(make_factorization((2, 3), "raster", "blocks(size=2)"))  # another grid
    assert traces == [3, 6, 3]
    several = [make_factorization((4,), f"random(seed={seed})") for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *several)
    np.testing.assert_array_equal(jax.jit(jax.vmap(lambda f: f.mask()))(stacked), [mask_of(f) for f in several])


@pytest.mark.parametrize("ordering", ["raster", "random(seed=1)", "spiral", "snake", "diagonal"])
def test_a_long_factorization_is_cheap(ordering):
    begin = time.perf_counter()
    factorization = make_factorization((256, 256), ordering)
    assert time.perf_counter() - begin < 1  # measured: 0.01 s
    assert factorization.num_steps == 65_536
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(factorization)) == 5 * 4 * 65_536  # linear in D: no mask


def test_an_order_can_be_an_array_or_a_list():
    a, b = from_order([2, 0, 1], (1, 2), [3]), from_order(np.array([2, 0, 1]), np.array([1, 2]), (3,))
    jax.tree.map(np.testing.assert_array_equal, a, b)
    assert a.grid_shape == b.grid_shape == (3,)
    assert from_order([0, 1], [1, 1], (2,)).has_edges and not from_order([0, 1], [2], (2,)).has_edges


def compositions(total: int) -> list[tuple[int, ...]]:
    """All ways to cut so many sites into blocks."""
    if total == 0:
        return [()]
    return [(first, *rest) for first in range(1, total + 1) for rest in compositions(total - first)]


def test_exact_conditionals_give_back_the_joint_under_every_order_and_partition():
    """p(x) = prod_t p(x_t | x_<t), with tables for the conditionals: 24 orders x 8 partitions of four sites."""
    joint = np.random.default_rng(0).dirichlet(np.ones(16)).reshape(2, 2, 2, 2)
    for order in itertools.permutations(range(4)):
        for sizes in compositions(4):
            factorization = make_factorization((2, 2), f"list(order={order})", f"sizes(sizes={sizes})")
            product, seen = np.ones_like(joint), []
            for row in factorization.blocks:
                before, seen = seen, seen + row[row < 4].tolist()
                of_both, of_past = (joint.sum(tuple(set(range(4)) - set(s)), keepdims=True) for s in (seen, before))
                product = product * of_both / of_past
            np.testing.assert_allclose(product, joint, atol=1e-12)


def test_the_name_of_an_order_is_read_off_the_order():
    names = {
        ("raster", "sites"): "raster order",
        ("snake", "rows"): "snake order, 4 steps",
        ("random(seed=5)", "sites"): None,
        ("symmetry(axes=(1, 0))", "blocks(size=2)"): "column_major order, 8 steps",
    }
    for (ordering, partition), name in names.items():
        factorization = make_factorization((4, 4), ordering, partition)
        first = ", ".join(map(str, factorization.order[:5]))
        assert order_name(factorization) == (name or f"({first}, ...) order")
    assert order_name(make_factorization((4,), "list(order=(2, 0, 3, 1))")) == "(2, 0, 3, 1) order"
    assert order_name(make_factorization((9,), "random")) == "random(seed=0) order"
    assert order_name(make_factorization((3,), graph="window(size=1)")) == "raster order, a dependency graph"
    seen = []
    jax.jit(lambda f: seen.append(order_name(f)))(make_factorization((3,)))
    assert seen == ["a traced order"]


def blocks(*args: str | tuple[int, ...]) -> list[list[int]]:
    """The sites of each step, without padding."""
    factorization = make_factorization(*args)
    return [[site for site in row if site < factorization.num_sites] for row in factorization.blocks.tolist()]


@pytest.mark.parametrize(
    ("grid", "ordering", "partition", "expected"),
    [
        ((3,), "reversed", "sites", [[2], [1], [0]]),
        ((2, 3), "raster", "rows", [[0, 1, 2], [3, 4, 5]]),
        ((2, 3), "snake", "rows", [[0, 1, 2], [5, 4, 3]]),
        ((2, 3), "reversed", "rows", [[5, 4, 3], [2, 1, 0]]),
        ((2, 2, 2), "raster", "rows", [[0, 1], [2, 3], [4, 5], [6, 7]]),
        ((4,), "raster", "rows", [[0, 1, 2, 3]]),
        ((2, 2), "list(order=(3, 2, 0, 1))", "rows", [[3, 2], [0, 1]]),
        ((3, 3), "multiscale", "scales", [[0, 2, 6, 8], [1, 3, 4, 5, 7]]),
        ((5,), "multiscale(factor=2, levels=2)", "scales(factor=2, levels=2)", [[0, 4], [2], [1, 3]]),
        ((5,), "multiscale(factor=3)", "scales(factor=3)", [[0, 3], [1, 2, 4]]),
        (
            (4, 4),
            "multiscale(interleave=2)",
            "scales(interleave=2)",
            [[0, 2, 8, 10], [1, 3, 9, 11], [4, 6, 12, 14], [5, 7, 13, 15]],
        ),
        (
            (4, 4),
            "subscale",
            "scales(interleave=2, by_site=1)",
            [[0], [2], [8], [10], [1, 3, 9, 11], [4, 6, 12, 14], [5, 7, 13, 15]],
        ),
        ((8,), "multiscale(levels=2, interleave=2)", "scales(levels=2, by_site=2)", [[0], [4], [2], [6], [1, 3, 5, 7]]),
        (
            (4, 4),
            "multiscale(levels=2, interleave=2)",
            "scales(levels=2, interleave=2)",
            [[0], [2], [8], [10], [1, 3, 9, 11], [4, 6, 12, 14], [5, 7, 13, 15]],
        ),
        ((8,), "multiscale(interleave=4)", "scales(interleave=4)", [[0, 2, 4, 6], [1, 5], [3, 7]]),
        ((3, 2), "multiscale", "scales(by_site=2)", [[0], [4], [1], [2], [3], [5]]),
        ((2, 3), "column_major", "blocks(size=2)", [[0, 3], [1, 4], [2, 5]]),
        ((5,), "raster", "blocks(size=5)", [[0, 1, 2, 3, 4]]),
        ((6,), "raster", "sizes(sizes=(1, 3, 2))", [[0], [1, 2, 3], [4, 5]]),
        ((6,), "raster", "sizes(sizes=[4, 2])", [[0, 1, 2, 3], [4, 5]]),
        ((3,), "raster", "sizes(sizes=(3,))", [[0, 1, 2]]),
    ],
)
def test_blocks(grid, ordering, partition, expected):
    assert blocks(grid, ordering, partition) == expected


@pytest.mark.parametrize("ordering", ["column_major", "diagonal", "spiral", "random(seed=1)"])
def test_rows_and_scales_need_their_orders(ordering):
    with pytest.raises(UserError, match=r"^the partition 'rows' needs an ordering that goes row by row, such as "):
        make_factorization((3, 4), ordering, "rows")
    assert blocks((3, 1), ordering, "rows") == blocks((3, 1), ordering, "sites")
    for other in (ordering, "raster", "multiscale(factor=2, levels=2)"):
        with pytest.raises(UserError, match=r"^the partition 'scales' needs model.ordering=multiscale\(factor=2"):
            make_factorization((8, 8), other, "scales")


@pytest.mark.parametrize("sizes", [(), (1, 2), (3, 3, 1), (7,)])
def test_sizes_add_up(sizes):
    with pytest.raises(UserError, match=rf"^the block sizes add up to {sum(sizes)}, but there are 6 sites$"):
        make_factorization((6,), "raster", f"sizes(sizes={sizes})")


@pytest.mark.parametrize("sizes", ["(7, -1)", "(5, 1.0)", "('3', '3')", "((1, 2), (3,))", "(True, 5)", "6", "None"])
def test_sizes_are_positive_integers(sizes):
    with pytest.raises(UserError, match=r"^the option 'sizes' of the partition 'sizes' must be "):
        make_factorization((6,), "raster", f"sizes(sizes={sizes})")
    with pytest.raises(UserError, match=r"^block sizes must be positive integers, not "):
        make_factorization((6,), "raster", "sizes(sizes=(6, 0))")


@pytest.mark.parametrize(
    ("orders", "sentence"),
    [
        ([((0, 1), (2,)), 3, (0.0, 1, 2), ("0", "1", "2")], "an ordering is a flat list of site numbers"),
        ([(), (0,), (0, 1), (0, 1, 2, 3)], r"the ordering lists \d sites, but there are 3$"),
        ([(0, 1, 1), (0, 1, 3), (1, 2, 3), (0, 1, 2**20)], "the ordering is not a permutation: it must name each site"),
    ],
)
def test_an_order_is_a_permutation_of_the_sites(orders, sentence):
    for order in orders:
        with pytest.raises(UserError, match=f"^{sentence}"):
            from_order(order, [1, 1, 1], (3,))


def test_numbers_have_a_limit():
    for ordering, partition in ((f"list(order=(0, 1, {2**70}))", "sites"), ("raster", f"sizes(sizes=({2**70},))")):
        with pytest.raises(UserError, match=f"must be at most 10000000, not {2**70}"):
            make_factorization((3,), ordering, partition)


GRID = (4, 6)
EDGE, MUST = "an edge is", "must (be|name)"
#: What is called, the call, the values that it takes, those that it refuses, and the sentence.
LIMITS = [
    ("ordering", "symmetry(axes={})", ("()", "(1, 0)"), ("(0, 0)", "(0,)", "(1, 2)", "'x'"), MUST),
    ("ordering", "symmetry(flip={})", ("()", "(1,)", "(0, 1)"), ("(0, 0)", "(2,)", "(-1,)"), MUST),
    ("partition", "blocks(size={})", ("1", "24"), ("5", "25"), r"blocks of \d+ do not divide 24 sites; give unequal"),
    ("partition", "scales(by_site={})", ("0", "2"), ("3",), "by_site of the partition 'scales' must be from 0 to 2"),
    ("partition", "scales(interleave={})", ("1",), ("2",), r"multiscale\(factor=2, levels=1, interleave=2\)"),
    ("graph", "edges(arrows=({},))", ("(0, 23)", "(0, 1)"), ("(0, 24)", "(-1, 2)", "(0, 1, 2)", "(1,)", "3"), EDGE),
    ("orders", "weighted(of=('raster', 'uniform'), weights={})", ("(1, 2.5)", "(1e-9, 1)"), ("(1,)", "2", "()"), "we"),
    ("orders", "weighted(of={}, weights=(1,))", ("('raster',)", "('pool',)"), ("()", "'raster'", "('unifrom',)"), ""),
    ("orders", "any_of(orderings={})", ("('raster',)", "('raster', 'hilbert')"), ("('raster', 3)", "'raster'"), ""),
]


@pytest.mark.parametrize(("what", "call", "taken", "refused", "sentence"), LIMITS, ids=[row[1] for row in LIMITS])
def test_limits(what, call, taken, refused, sentence):
    def make(value):
        text = call.format(value)
        ordering = "multiscale" if text.startswith("scales") else "raster"
        return (
            make_orders(text, GRID)
            if what == "orders"
            else make_factorization(GRID, **{"ordering": ordering, what: text})
        )

    for value in taken:
        make(value)
    for value in refused:
        with pytest.raises(UserError, match=sentence or None):
            make(value)
