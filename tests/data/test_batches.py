"""The batches of a train step and of an evaluation, and reading ahead."""

import collections
import threading

import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.data import from_arrays, make_dataset
from arjax.data.batches import THREAD, eval_batches, read_ahead, train_index_block
from arjax.data.windows import RandomWindows, window_starts


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
    with pytest.raises(UserError, match="row 7 is damaged"):
        next(coming)
    assert not threads()


def test_limits_of_windows_and_batches():
    assert len(window_starts(5, 1, 1)[0]) == 5 and len(RandomWindows(np.arange(3), 3)) == 1
    assert len(RandomWindows(np.arange(3), 1)) == 3
    assert train_index_block(0, 0, 1, 1, 1).tolist() == [[0]]
    source = make_dataset("noise", num_examples=3).splits["train"]
    assert [batch.weight.tolist() for batch in eval_batches(source, 2)] == [[1, 1], [1, 0]]
    assert len(list(eval_batches(source, 1))) == 3
    for wrong in (
        lambda: window_starts(5, 0, 1),
        lambda: window_starts(5, 3, 0),
        lambda: window_starts(5, 3, 4),
        lambda: RandomWindows(np.arange(3), 4),
        lambda: RandomWindows(np.arange(3), 0),
        lambda: train_index_block(0, 0, 1, 0, 1),
        lambda: train_index_block(0, 0, 1, 1, 0),
        lambda: next(eval_batches(source, 0)),
        lambda: next(eval_batches(source, 1.5)),
        lambda: next(eval_batches(source, True)),
    ):
        with pytest.raises(UserError):
            wrong()
