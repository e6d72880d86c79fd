"""The last values that options of data sets take, and the first that they refuse, and what a drawn set is."""

import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.data import make_dataset
from arjax.data.base import split_sizes
from arjax.data.batches import eval_batches, train_index_block
from arjax.data.text import ends_of_parts
from arjax.data.windows import RandomWindows, window_starts

SMALL = {"num_examples": 40}


def test_limits_of_levels_and_contexts():
    for levels in (255, 256):
        make_dataset("markov_chain", levels=levels, **SMALL)
    for name, options in (("markov_chain", {"levels": 65537}), ("noise", {"context_length": 3})):
        with pytest.raises(UserError):
            make_dataset(name, **SMALL, **options)


def test_events_of_drawn_sets():
    """Eight symbols, a blank and a sign; T numbers and their sum; points of the plane."""
    copies = make_dataset("copy_memory", delay=3, **SMALL).event
    assert (copies.kind, copies.num_levels, copies.shape) == ("tokens", 10, (23,))
    adding = make_dataset("adding", length=5, **SMALL).event
    assert (adding.kind, adding.shape) == ("real", (6,))
    for name in ("markov_chain", "hidden_markov"):
        event = make_dataset(name, levels=3, length=7, **SMALL).event
        assert (event.kind, event.num_levels, event.shape) == ("tokens", 3, (7,))
    for name in ("two_moons", "eight_gaussians", "checkerboard"):
        event = make_dataset(name, **SMALL).event
        assert (event.kind, event.shape, event.value_shape) == ("real", (2,), ())
    for kind, levels in (("tokens", 5), ("levels", 5)):
        assert make_dataset("noise", grid=(2, 3), kind=kind, num_levels=5, **SMALL).event.num_levels == levels


def test_splits_of_drawn_sets():
    assert split_sizes(40) == {"train": 40, "validation": 10, "test": 10}
    assert split_sizes(40, 10) == {"train": 40, "validation": 4, "test": 4}
    for name, rest in (("copy_memory", 4), ("adding", 4), ("markov_chain", 10), ("hidden_markov", 10)):
        sizes = {split: len(source) for split, source in make_dataset(name, **SMALL).splits.items()}
        assert sizes == {"train": 40, "validation": rest, "test": rest}
    for name in ("copy_memory", "adding", "markov_chain", "hidden_markov", "two_moons", "noise"):
        parts = {}
        for split, source in make_dataset(name, **SMALL).splits.items():
            parts[split] = np.asarray(source.__getitems__(np.arange(4)).x)
        assert not np.array_equal(parts["train"], parts["test"])
        assert not np.array_equal(parts["validation"], parts["test"])


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
