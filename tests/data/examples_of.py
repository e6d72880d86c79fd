"""The examples of data sets."""

import numpy as np

from arjax.data.sources import read_all


def x_of(dataset, *splits: str) -> np.ndarray:
    """The values of some splits, one after another; of all without any."""
    return np.concatenate([np.asarray(read_all(dataset.splits[split]).x) for split in splits or dataset.splits])
