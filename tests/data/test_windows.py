import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arjax.core.errors import UserError
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
    with pytest.raises(UserError, match="do not fit"):
        RandomWindows(tokens, 11)
    source = RandomWindows(np.arange(10, dtype=np.int32) ** 2, 4)
    indices = np.array([6, 0, 3])
    inside = jax.jit(source.gather)(jax.tree.map(jnp.asarray, source.arrays), indices)
    np.testing.assert_array_equal(inside.x, source.__getitems__(indices).x)


TEXTS = {"train": "to be or not to be", "validation": "to be or not", "test": "not to be"}
