"""The batches of a train step and of an evaluation, windows, reading ahead, and the order of an epoch."""

import collections
import math
import threading

import numpy as np
import pytest
from refusals import refusal

from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.data import from_arrays, make_dataset
from arjax.data.batches import (
    LARGEST_SHUFFLE,
    THREAD,
    eval_batches,
    pseudo_random_permutation,
    read_ahead,
    round_keys,
    shuffled,
    train_index_block,
)
from arjax.data.windows import RandomWindows, cut, window_starts


@pytest.mark.parametrize("num_elements", [1, 2, 7, 8, 9, 15, 16, 17, 40, 41])
@pytest.mark.parametrize(("length", "stride"), [(8, 8), (8, 4), (8, 3), (8, 1), (8, 7), (1, 1)])
def test_windows_score_every_element_once(num_elements, length, stride):
    starts, skips = window_starts(num_elements, length, stride)
    counts = np.zeros(num_elements, int)
    for start, skip in zip(starts, skips, strict=True):
        assert start >= 0 and start + length <= max(num_elements, length)
        assert skip < length
        counts[start + skip : start + length] += 1
    np.testing.assert_array_equal(counts, 1)
    assert skips[0] == 0
    assert (skips[1:] >= length - stride).all()  # the context that was asked for


@pytest.mark.parametrize(("length", "stride"), [(4, 4), (4, 2), (4, 3), (20, 10)])
def test_cut_scores_every_frame_of_every_sequence_once(length, stride):
    sequences = [np.arange(100 * n, 100 * n + size, dtype=np.int32) + 1 for n, size in enumerate([1, 4, 5, 11])]
    places = cut(sequences, length, stride)
    assert places["x"].shape == (len(places["owner"]), length)
    np.testing.assert_array_equal(np.sort(places["x"][places["mask"]]), np.concatenate(sequences))
    owners = (places["x"] - 1) // 100
    padding = places["x"] == 0
    np.testing.assert_array_equal(owners[~padding], np.broadcast_to(places["owner"][:, None], padding.shape)[~padding])
    assert not places["mask"][padding].any()


def test_cut_keeps_vector_values():
    sequences = [np.arange(6, dtype=np.uint8).reshape(3, 2), np.ones((1, 2), np.uint8)]
    places = cut(sequences, 3, 3)
    np.testing.assert_array_equal(places["x"], [[[0, 1], [2, 3], [4, 5]], [[1, 1], [0, 0], [0, 0]]])
    np.testing.assert_array_equal(places["mask"], [[1, 1, 1], [1, 0, 0]])


def test_random_windows_are_all_windows():
    tokens = np.arange(10, dtype=np.int32)
    source = RandomWindows(tokens, 4)
    assert len(source) == 7
    x = source.__getitems__(np.arange(7)).x
    np.testing.assert_array_equal(x, np.arange(7)[:, None] + np.arange(4))
    assert "do not fit" in refusal(RandomWindows, tokens, 11)


def train_indices(seed, step, num_examples, batch_size):
    (rows,) = train_index_block(seed, step, 1, num_examples, batch_size)
    return rows


@pytest.mark.parametrize(("num_examples", "batch_size"), [(10, 3), (10, 10), (3, 8), (1, 2), (1000, 7)])
def test_every_epoch_holds_every_example_once(num_examples, batch_size):
    steps = 4 * num_examples
    stream = np.concatenate([train_indices(5, step, num_examples, batch_size) for step in range(steps)])
    epochs = stream[: len(stream) // num_examples * num_examples].reshape(-1, num_examples)
    assert len(epochs) >= 4
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(num_examples), (len(epochs), 1)))


@pytest.mark.parametrize(("num_examples", "batch_size"), [(10, 3), (3, 8)])
def test_a_batch_depends_on_seed_and_step_alone(num_examples, batch_size):
    wanted = [train_indices(7, step, num_examples, batch_size) for step in range(20)]
    for step in (19, 3, 11, 0):  # in another order, with other seeds and sizes in between
        train_indices(8, step, num_examples + 1, batch_size)
        np.testing.assert_array_equal(train_indices(7, step, num_examples, batch_size), wanted[step])


def test_a_block_is_its_steps():
    block = train_index_block(3, 11, 6, 10, 4)
    assert block.shape == (6, 4) and block.dtype == np.int32
    for k in range(6):
        np.testing.assert_array_equal(block[k], train_indices(3, 11 + k, 10, 4))
    assert train_index_block(3, 11, 0, 10, 4).shape == (0, 4)
    assert train_indices(0, 10**9, 100, 64).max() < 100


@pytest.mark.parametrize("batch_size", [1, 3, 7, 10])
def test_evaluation_sees_every_example_once(batch_size):
    x = np.arange(7, dtype=np.int32)[:, None]
    source = from_arrays(EventSpec((1,), kind="tokens", num_levels=7), train=x).splits["train"]
    counts = collections.Counter()
    for batch in eval_batches(source, batch_size):
        assert batch.x.shape == (batch_size, 1) and batch.weight.dtype == np.float32
        for value, weight in zip(batch.x[:, 0], batch.weight, strict=True):
            counts[int(value)] += float(weight)
    assert counts == dict.fromkeys(range(7), 1.0)


def test_processes_read_their_own_rows_of_a_batch():
    x = np.arange(7, dtype=np.int32)[:, None]
    arrays = {"x": x, "weight": x[:, 0] != 2}
    source = from_arrays(EventSpec((1,), kind="tokens", num_levels=7), train=arrays).splits["train"]
    parts = [list(eval_batches(source, 4, own)) for own in (np.array([0, 3]), np.array([1, 2]))]
    assert [[batch.x[:, 0].tolist() for batch in part] for part in parts] == [[[0, 3], [4, 6]], [[1, 2], [5, 6]]]
    assert [[batch.weight.tolist() for batch in part] for part in parts] == [[[1, 1], [1, 0]], [[1, 0], [1, 1]]]


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith(THREAD)]


def test_items_come_in_order_from_a_thread_that_ends_with_them():
    def items():
        for i in range(20):
            assert threading.current_thread().name.startswith(THREAD)
            yield i

    assert list(read_ahead(items())) == list(range(20))
    assert not threads() and list(read_ahead(iter(()))) == []


def test_one_item_is_made_while_another_is_used():
    made, go = [], threading.Event()

    def items():
        for i in range(9):
            made.append(i)
            if i == 1:
                go.set()
            yield i

    coming = read_ahead(items())
    assert next(coming) == 0
    assert go.wait(10), "the second is made although nobody has asked for it"
    assert made == [0, 1]
    coming.close()
    assert made == [0, 1] and not threads()


def test_what_goes_wrong_in_the_thread_is_told_where_the_item_is_asked_for():
    def items():
        yield 1
        raise UserError("row 7 is damaged")

    coming = read_ahead(items())
    assert next(coming) == 1
    assert "row 7 is damaged" in refusal(next, coming)
    assert not threads()


def test_limits_of_windows_and_batches():
    assert len(window_starts(5, 1, 1)[0]) == 5 and len(RandomWindows(np.arange(3), 3)) == 1
    assert len(RandomWindows(np.arange(3), 1)) == 3
    assert train_index_block(0, 0, 1, 1, 1).tolist() == [[0]]
    source = make_dataset("noise", num_examples=3).splits["train"]
    assert [batch.weight.tolist() for batch in eval_batches(source, 2)] == [[1, 1], [1, 0]]
    assert len(list(eval_batches(source, 1))) == 3
    for call, *arguments in (
        *((window_starts, 5, *rest) for rest in ((0, 1), (3, 0), (3, 4))),
        *((RandomWindows, np.arange(3), length) for length in (0, 4)),
        *((train_index_block, 0, 0, 1, *rest) for rest in ((0, 1), (1, 0))),
        *((lambda size: next(eval_batches(source, size)), size) for size in (0, 1.5, True)),
    ):
        assert refusal(call, *arguments)


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
