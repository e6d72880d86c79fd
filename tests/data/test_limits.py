"""The last values that options of data sets take, and the first that they refuse, and what a drawn set is."""

import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.data import make_dataset
from arjax.data.batches import eval_batches, train_index_block
from arjax.data.text import ends_of_parts
from arjax.data.windows import RandomWindows, window_starts

SMALL = {"num_examples": 40}


def test_parts_of_a_file():
    assert ends_of_parts((0.5, 0.25, 0.25), 8, "lines") == (4, 6)
    assert ends_of_parts((0.4, 0.3, 0.3), 3, "lines") == (1, 2)
    for wrong in ((0.5, 0.5), (1.0, 0.0, 0.0), (0.5, 0.3, 0.3), (0.5, 0.6, -0.1), (0.5, 0.25, 0.2501)):
        with pytest.raises(UserError, match="three parts above 0"):
            ends_of_parts(wrong, 100, "lines")
    for num in (0, 1, 2):
        with pytest.raises(UserError, match=f"^{num} lines are too few for train"):
            ends_of_parts((0.5, 0.25, 0.25), num, "lines")


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
