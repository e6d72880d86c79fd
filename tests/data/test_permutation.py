"""The order of an epoch that takes no memory: a permutation, uniform, another one for each seed and epoch."""

import math

import numpy as np
import pytest

from arjax.data.batches import LARGEST_SHUFFLE, pseudo_random_permutation, round_keys, shuffled, train_index_block

LARGE = LARGEST_SHUFFLE + 5


def excess(counts, expected):
    """Chi-square over the cells, as standard deviations above its mean."""
    degrees = counts.size - 1
    return (np.square(counts - expected).sum() / expected - degrees) / math.sqrt(2 * degrees)


@pytest.mark.parametrize("num_examples", [1, 2, 3, 4, 7, 16, 17, 1000, 4097])
def test_it_is_a_permutation(num_examples):
    for epoch in range(3):
        order = pseudo_random_permutation(round_keys(5, epoch), num_examples, np.arange(num_examples))
        assert order.dtype == np.int64
        np.testing.assert_array_equal(np.sort(order), np.arange(num_examples))


@pytest.mark.parametrize("num_examples", [4, pytest.param(5, marks=pytest.mark.slow)])
def test_all_orders_of_small_sets_are_equally_frequent(num_examples):
    # Domains this small need more rounds to mix, which keys may be given for.
    rng, counts, draws = np.random.default_rng(0), {}, 20 * math.factorial(num_examples)
    for keys in rng.integers(2**64, size=(draws, 24), dtype=np.uint64):
        order = tuple(pseudo_random_permutation(tuple(keys), num_examples, np.arange(num_examples)))
        counts[order] = counts.get(order, 0) + 1
    counts = np.array([*counts.values()] + [0] * (math.factorial(num_examples) - len(counts)))
    assert abs(excess(counts, 20)) < 4


def test_every_example_may_stand_anywhere():
    n, epochs = 500, 200
    orders = np.stack([pseudo_random_permutation(round_keys(3, epoch), n, np.arange(n)) for epoch in range(epochs)])
    places = np.tile(np.arange(n), (epochs, 1))
    for follows in (orders, np.roll(orders, 1, axis=1) - orders):  # also: neighbours have nothing to do with each other
        counts = np.histogram2d(places.ravel(), follows.ravel() % n, bins=20)[0]
        assert abs(excess(counts, n * epochs / 400)) < 4
    assert 0.7 < (orders == places).sum() / epochs < 1.3  # one example stays in its place, on average


def test_epochs_and_seeds_have_orders_of_their_own():
    places = np.arange(1000)
    orders = [shuffled(seed, epoch, LARGE, places) for seed, epoch in [(0, 0), (0, 1), (1, 0), (2**32 - 1, 10**6)]]
    for i, left in enumerate(orders):
        assert all((left == right).mean() < 0.01 for right in orders[:i])


def test_places_are_computed_one_by_one():
    places = np.random.default_rng(0).integers(LARGE, size=(3, 50))
    whole = shuffled(7, 2, LARGE, np.arange(LARGE))
    np.testing.assert_array_equal(shuffled(7, 2, LARGE, places), whole[places])
    np.testing.assert_array_equal(np.sort(whole), np.arange(LARGE))


def test_orders_are_those_of_all_versions():
    np.testing.assert_array_equal(shuffled(0, 0, 10, np.arange(10)), [4, 6, 2, 7, 3, 5, 9, 0, 8, 1])
    order = np.random.default_rng((3, 1)).permutation(LARGEST_SHUFFLE)
    np.testing.assert_array_equal(shuffled(3, 1, LARGEST_SHUFFLE, np.arange(9)), order[:9])
    wanted = [463567924648, 123263859976, 694088968803, 974029133073]
    np.testing.assert_array_equal(shuffled(0, 0, 2**40, np.arange(4)), wanted)


def test_sets_above_2_to_the_31():
    num_examples = 5 * 2**31
    block = train_index_block(0, 10**9, 2, num_examples, 600)
    assert block.dtype == np.int64 and block.shape == (2, 600)
    assert block.min() >= 0 and block.max() < num_examples and (block >= 2**31).mean() > 0.7
    assert len(np.unique(block)) == block.size
    assert train_index_block(0, 0, 1, LARGE, 5).dtype == np.int32
