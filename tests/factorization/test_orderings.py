"""Orderings: permutations on every grid, known walks, and those that are read off the training data."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from refusals import refusal

from arjax.core.errors import UserError
from arjax.factorization import ORDERINGS, make_factorization, make_order, needs_data
from arjax.factorization.data_orderings import chow_liu_tree, pairwise_information
from arjax.factorization.orderings import order_name

GRIDS = [
    *((1,), (2,), (7,), (1, 1), (1, 5), (5, 1), (3, 4), (4, 3), (5, 5)),
    *((2, 3, 4), (1, 3, 1), (3, 1, 2), (2, 1, 3, 2)),
]
#: The orderings that every grid has; `list` needs one that is written for it.
CALLS = [name for name in ORDERINGS.names() if name != "list"]
CALLS += [f"reversed(of={name!r})" for name in ("hilbert", "mutual_information", "chow_liu")]
CALLS += ["random(seed=5)", "symmetry(of='snake', flip=(0,))"]


def examples(grid: tuple[int, ...], num: int = 50) -> np.ndarray:
    """Bits that resemble those before them, more or less, [num, D]."""
    rng = np.random.default_rng(0)
    walk = rng.integers(0, 2, (num, math.prod(grid))).cumsum(1) % 3
    return (walk + rng.integers(0, 2, walk.shape)) % 2


def order(text: str, grid: tuple[int, ...]) -> list[int]:
    return make_order(text, grid, examples(grid)).tolist()


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("text", CALLS)
def test_every_ordering_is_a_permutation_of_every_grid(text, grid):
    assert sorted(order(text, grid)) == list(range(math.prod(grid)))
    np.testing.assert_array_equal(make_factorization(grid, text, data=examples(grid)).order, order(text, grid))


@pytest.mark.parametrize(
    ("text", "grid", "expected"),
    [
        # 0 1 2 3 / 4 5 6 7 / 8 9 10 11
        ("raster", (3, 4), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
        ("reversed", (3, 4), [11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
        ("column_major", (3, 4), [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]),
        ("snake", (3, 4), [0, 1, 2, 3, 7, 6, 5, 4, 8, 9, 10, 11]),
        ("diagonal", (3, 4), [0, 1, 4, 2, 5, 8, 3, 6, 9, 7, 10, 11]),
        ("spiral", (3, 4), [0, 1, 2, 3, 7, 11, 10, 9, 8, 4, 5, 6]),
        ("tiles(height=2, width=3)", (3, 4), [0, 1, 2, 4, 5, 6, 3, 7, 8, 9, 10, 11]),
        ("tiles", (3, 4), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
        ("multiscale", (3, 4), [0, 2, 8, 10, 1, 3, 4, 5, 6, 7, 9, 11]),
        ("multiscale(factor=3)", (3, 4), [0, 3, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11]),
        ("multiscale(levels=2)", (3, 5), [0, 4, 2, 10, 12, 14, 1, 3, 5, 6, 7, 8, 9, 11, 13]),
        ("list(order=(2, 0, 1))", (3,), [2, 0, 1]),
        ("subscale", (3, 4), [0, 2, 8, 10, 1, 3, 9, 11, 4, 6, 5, 7]),
        ("hilbert", (2, 2), [0, 2, 3, 1]),
        ("hilbert", (4, 4), [0, 1, 5, 4, 8, 12, 13, 9, 10, 14, 15, 11, 7, 6, 2, 3]),
        ("hilbert", (2, 1, 3), [0, 1, 2, 3, 4, 5]),
        # of sides that are odd, or twice an odd number: columns or rows of two, and three parts that are no squares
        ("hilbert", (3, 5), [0, 5, 10, 11, 6, 1, 2, 7, 12, 13, 14, 9, 8, 3, 4]),
        ("hilbert", (5, 3), [0, 1, 2, 5, 4, 3, 6, 7, 8, 11, 14, 13, 10, 9, 12]),
        ("hilbert", (2, 7), [0, 7, 8, 1, 2, 9, 10, 3, 4, 11, 12, 13, 6, 5]),
        ("reversed(of='spiral')", (3, 4), [6, 5, 4, 8, 9, 10, 11, 7, 3, 2, 1, 0]),
        ("reversed(of='reversed')", (3,), [0, 1, 2]),
        ("symmetry(axes=(1, 0))", (3, 4), [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]),
        ("symmetry(flip=(1,))", (3, 4), [3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8]),
        ("symmetry(axes=(1, 0), flip=(0,))", (3, 4), [8, 4, 0, 9, 5, 1, 10, 6, 2, 11, 7, 3]),
        ("symmetry(of='snake', flip=(0,))", (2, 2), [2, 3, 1, 0]),
        ("symmetry(axes=(2, 0, 1))", (2, 2, 3), [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]),  # channel by channel
        # a line
        ("snake", (4,), [0, 1, 2, 3]),
        ("column_major", (4,), [0, 1, 2, 3]),
        ("diagonal", (4,), [0, 1, 2, 3]),
        ("spiral", (4,), [0, 3, 1, 2]),
        ("spiral", (5,), [0, 4, 1, 3, 2]),
        ("reversed(of='spiral')", (5,), [2, 3, 1, 4, 0]),
        ("multiscale(levels=2)", (6,), [0, 4, 2, 1, 3, 5]),
        ("multiscale(interleave=2)", (4, 2), [0, 4, 1, 5, 2, 6, 3, 7]),
        # a cube: 0 1 / 2 3, then 4 5 / 6 7
        ("column_major", (2, 2, 2), [0, 4, 2, 6, 1, 5, 3, 7]),
        ("snake", (2, 2, 2), [0, 1, 3, 2, 6, 7, 5, 4]),
        ("diagonal", (2, 2, 2), [0, 1, 2, 4, 3, 5, 6, 7]),
        ("spiral", (2, 2, 2), [0, 1, 3, 2, 4, 5, 7, 6]),
        ("tiles(height=2, width=1)", (2, 2, 2), [0, 2, 1, 3, 4, 6, 5, 7]),
        # pure functions of the seed, the same on every machine and in every year
        ("random", (8,), [2, 4, 3, 6, 5, 0, 1, 7]),
        ("random(seed=3)", (2, 4), [6, 7, 2, 1, 4, 5, 3, 0]),
    ],
)
def test_known_orders(text, grid, expected):
    assert order(text, grid) == expected


@pytest.mark.parametrize("grid", [(2, 3), (2,) * 6])
def test_larger_numbers_of_sets_make_no_difference(grid):
    largest = [make_order(f"multiscale(interleave={number})", grid) for number in (max(grid), 10_000_000)]
    np.testing.assert_array_equal(*largest)


@pytest.mark.parametrize("grid", [(2, 9), (6, 6), (5, 5), (3, 7), (6, 10), (9, 11)])
def test_each_site_of_a_space_filling_curve_neighbours_the_one_before(grid):
    """Where no diagonal step is needed."""
    places = np.stack(np.unravel_index(make_order("hilbert", grid), grid), 1)
    assert (np.abs(np.diff(places, axis=0)).sum(1) == 1).all() and places[0].tolist() == [0, 0]


@pytest.mark.parametrize("grid", [grid for grid in GRIDS if len(grid) > 1])
def test_each_site_of_a_snake_neighbours_the_one_before(grid):
    places = np.stack(np.unravel_index(make_order("snake", grid), grid), 1)
    assert (np.abs(np.diff(places, axis=0)).sum(1) == 1).all()


@pytest.mark.parametrize("grid", [(1, 5), (5, 1), (3, 4), (4, 3), (5, 5), (6, 2)])
def test_a_spiral_walks_to_neighbours_and_outside_before_inside(grid):
    places = np.stack(np.unravel_index(make_order("spiral", grid), grid), 1)
    assert (np.abs(np.diff(places, axis=0)).sum(1) == 1).all()
    ring = np.minimum(places, np.array(grid) - 1 - places).min(1)  # distance to the nearest edge
    assert (np.diff(ring) >= 0).all()


def test_random_orders_differ_by_seed_and_visit_uniformly():
    orders = np.stack([make_order(f"random(seed={seed})", (4,)) for seed in range(400)])
    assert len(np.unique(orders, axis=0)) == math.factorial(4)
    counts = np.stack([np.bincount(column, minlength=4) for column in orders.T])
    assert (np.abs(counts - 100) < 5 * math.sqrt(400 * 0.25 * 0.75)).all()  # each site in each place, 5 sigma


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(("factor", "levels"), [(2, 1), (2, 3), (3, 2)])
def test_each_scale_is_a_subsampled_grid_that_comes_before_the_rest(grid, factor, levels):
    walk = make_order(f"multiscale(factor={factor}, levels={levels})", grid)
    sites, known = np.arange(math.prod(grid)).reshape(grid), []
    for level in reversed(range(levels + 1)):
        scale = sites[tuple(slice(None, None, factor**level) for _ in grid)].ravel().tolist()
        known += [site for site in scale if site not in known]  # raster order within a scale
        assert walk[: len(scale)].tolist() == known


def test_an_order_has_a_name_though_another_ordering_fails(monkeypatch):
    """One of a user may be for planes alone, and fail on other grids in its own way."""

    def fails(text, *args):
        if text == "snake":
            raise ValueError("not enough values to unpack")
        return make_order(text, *args)

    monkeypatch.setattr("arjax.factorization.orderings.make_order", fails)
    assert order_name(make_factorization((3,), "list(order=(1, 0, 2))")) == "(1, 0, 2) order"


def test_orders_are_named_apart():
    """No two names mean the same order on a grid where they could differ."""
    walks = {text: tuple(order(text, (4, 5, 6))) for text in CALLS if text != "symmetry"}
    same = [(a, b) for a, b in itertools.combinations(walks, 2) if walks[a] == walks[b]]
    assert not same


@pytest.mark.parametrize("of", ["raster", "spiral"])
def test_shuffled_within_only_moves_sites_near_by(of):
    walk, plain = order(f"shuffled_within(of={of!r}, size=4)", (5, 6)), order(of, (5, 6))
    assert list(walk) != list(plain)
    for start in range(0, 30, 4):
        assert set(walk[start : start + 4]) == set(plain[start : start + 4])
    assert list(order(f"shuffled_within(of={of!r}, size=1)", (5, 6))) == list(plain)


RNG = np.random.default_rng(0)


def chain(num: int = 4000) -> np.ndarray:
    """A tree of bits: 2 -> 0, 2 -> 3, 3 -> 1, each a copy of its parent but for one in ten (1: one in five)."""
    flips = RNG.random((num, 4)) < [0.1, 0.2, 0.5, 0.15]
    two = flips[:, 2]
    three = two ^ flips[:, 3]
    return np.stack([two ^ flips[:, 0], three ^ flips[:, 1], two, three], 1).astype(np.int32)


def test_variance_comes_in_descending_order_and_ties_in_raster_order():
    data = np.array([[0, 0, 5, 1], [0, 9, 0, 0], [0, 0, 5, 1]])
    assert make_order("variance", (4,), data).tolist() == [1, 2, 3, 0]
    assert make_order("variance", (2,), data.reshape(3, 2, 2)).tolist() == [0, 1]  # vectors: 18 and 5.8
    many = np.zeros((2, 99))  # so many equal ones that a sort that is not stable moves them
    many[0, 50] = 1
    others = [site for site in range(99) if site != 50]
    assert make_order("variance", (99,), many).tolist() == [50, *others]


def test_information_is_that_of_the_frequencies_of_pairs():
    data = RNG.integers(0, 3, (500, 3)) * RNG.integers(0, 2, (500, 1))
    information = pairwise_information(data)
    for i, j in itertools.product(range(3), repeat=2):
        joint = np.zeros((3, 3))
        np.add.at(joint, (data[:, i], data[:, j]), 1 / 500)
        rows, columns = joint.sum(1, keepdims=True), joint.sum(0, keepdims=True)
        seen = joint > 0
        expected = (joint[seen] * np.log(joint[seen] / (rows * columns)[seen])).sum()
        np.testing.assert_allclose(information[i, j], expected, atol=1e-6)
    np.testing.assert_array_equal(pairwise_information(data[..., None]), information)  # vectors of one number


def test_information_of_reals_is_invariant_to_monotonous_changes():
    x = RNG.normal(size=(2000, 2)) @ np.array([[1.0, 0.9], [0.0, 0.4]])
    information = pairwise_information(x)
    np.testing.assert_allclose(pairwise_information(np.exp(x)), information, atol=1e-6)
    assert information[0, 1] > 0.5
    np.testing.assert_allclose(np.diag(information), np.log(8), atol=1e-3)


@pytest.mark.parametrize("turned", [False, True])
def test_information_of_reals_with_a_frequent_end(turned):
    """As in white paper: two values are two levels in either direction, and values below a frequent one stay apart."""
    bits = (RNG.random((4000, 3)) < [0.95, 0.5, 0.02]).astype(np.int32)
    bits[:, 2] |= 1 - bits[:, 0]
    found = pairwise_information((1.0 - bits) if turned else bits / 2)
    np.testing.assert_allclose(found, pairwise_information(bits), atol=1e-9)
    x = RNG.normal(size=(4000, 1)).clip(None, 0)
    information = pairwise_information(np.concatenate([x, x == x.max()], 1))
    np.testing.assert_allclose(information[0, 1], np.log(2), atol=1e-2)  # which examples have it is known


def test_the_tree_of_a_tree_is_that_tree():
    data = chain()
    information = pairwise_information(data)
    parent = chow_liu_tree(information)
    edges = {frozenset((site, int(up))) for site, up in enumerate(parent) if up >= 0}
    assert edges == {frozenset(pair) for pair in [(2, 0), (2, 3), (3, 1)]}
    order = make_order("chow_liu", (2, 2), data).tolist()
    assert all(up < 0 or order.index(up) < order.index(site) for site, up in enumerate(parent))


def test_the_greedy_walk_goes_to_what_it_knows_most_about():
    data, information = chain(), pairwise_information(chain())
    order = make_order("mutual_information", (4,), data).tolist()
    assert order[0] == int(np.argmax(np.diag(pairwise_information(data))))
    for n in range(1, 4):
        known = pairwise_information(data)[order[:n]].max(0)
        assert known[order[n]] == max(known[site] for site in order[n:])
    far = make_order("mutual_information(nearest=False)", (4,), data).tolist()
    assert far[0] == order[0] and far[1] != order[1]
    assert information.shape == (4, 4)


def test_orders_need_their_data():
    assert needs_data("variance") and needs_data("reversed(of='chow_liu')") and not needs_data("reversed(of='snake')")
    assert needs_data("symmetry(of=\"reversed(of='variance')\")")
    for text in ("variance", "reversed(of='variance')"):
        assert "is read off the training data, and there is none" in refusal(make_order, text, (2, 2))
    assert "one number per site, not vectors" in refusal(make_order, "chow_liu", (2,), np.zeros((3, 2, 2)))
    for options in ("axes=((0, 1), (1,))", "flip=((0, 1), (1,))", "axes=(0, 0)", "flip=3"):
        with pytest.raises(UserError, match=r"symmetry.* must"):
            make_order(f"symmetry({options})", (2, 2))
