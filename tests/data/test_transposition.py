"""Transposed music: whole pieces in another key, in training only."""

import jax
import numpy as np
import pytest

from arjax.data import make_dataset
from arjax.data.music import NUM_NOTES, Transposition
from arjax.errors import UserError


def test_each_piece_moves_as_a_whole_and_every_interval_is_used():
    rng = np.random.default_rng(0)
    x = np.zeros((300, 4, NUM_NOTES), np.int32)
    x[:, :, 10:-10] = rng.integers(0, 2, (300, 4, NUM_NOTES - 20))
    batch = {"x": x, "mask": np.ones((300, 4), np.float32)}
    moved = jax.jit(Transposition(2), static_argnums=2)(jax.random.key(0), batch, True)
    np.testing.assert_array_equal(moved["mask"], batch["mask"])
    intervals = []
    for before, after in zip(x, np.asarray(moved["x"]), strict=True):
        (interval,) = [k for k in range(-2, 3) if (np.roll(before, k, axis=-1) == after).all()]
        intervals.append(interval)
    assert set(intervals) == {-2, -1, 0, 1, 2}


def test_notes_that_leave_the_keyboard_are_dropped():
    batch = {"x": np.ones((50, 1, NUM_NOTES), np.int32)}
    moved = np.asarray(Transposition(3)(jax.random.key(0), batch, True)["x"])
    assert moved.sum(-1).min() == NUM_NOTES - 3
    assert moved[:, 0, 3:-3].all()


def test_validation_and_test_are_not_moved():
    batch = {"x": np.ones((2, 1, NUM_NOTES), np.int32)}
    assert Transposition(3)(jax.random.key(0), batch, False) is batch


@pytest.mark.parametrize("semitones", [-1, 88])
def test_intervals_that_no_keyboard_has(semitones):
    with pytest.raises(
        UserError, match=f"^the data set option 'transpose' must be 0 to 87 semitones, not {semitones}$"
    ):
        make_dataset("poly_music", transpose=semitones)
