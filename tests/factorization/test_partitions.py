"""Partitions: how an order is cut, and the sentences for cuts, orders and graphs that cannot be."""

from __future__ import annotations

import pytest

from arjax.core.errors import UserError
from arjax.factorization import from_order, make_factorization, make_orders


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
    with pytest.raises(
        UserError, match=r"^the partition 'rows' needs an ordering that goes row by row, such as raster"
    ):
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
