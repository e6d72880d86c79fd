"""Orderings that are read off the training data: known walks, information counted by hand, and refusals."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.factorization import make_order, needs_data
from arjax.factorization.data_orderings import chow_liu_tree, pairwise_information

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
    """White paper: most examples have the largest value at a site. Two values are as many levels, in either direction;
    values below a frequent one stay apart from it.
    """
    bits = (RNG.random((4000, 3)) < [0.95, 0.5, 0.02]).astype(np.int32)
    bits[:, 2] |= 1 - bits[:, 0]
    found = pairwise_information((1.0 - bits) if turned else bits.astype(float))
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
        with pytest.raises(UserError, match="is read off the training data, and there is none"):
            make_order(text, (2, 2))
    with pytest.raises(UserError, match="one number per site, not vectors"):
        make_order("chow_liu", (2,), np.zeros((3, 2, 2)))
    for options in ("axes=((0, 1), (1,))", "flip=((0, 1), (1,))", "axes=(0, 0)", "flip=3"):
        with pytest.raises(UserError, match=r"symmetry.* must"):
            make_order(f"symmetry({options})", (2, 2))
