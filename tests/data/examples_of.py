"""The examples of data sets, and texts of tables."""

import numpy as np

from arjax.data.sources import read_all


def x_of(dataset, *splits: str) -> np.ndarray:
    """The values of some splits, one after another; of all without any."""
    return np.concatenate([np.asarray(read_all(dataset.splits[split]).x) for split in splits or dataset.splits])


def text_of(rows, header: str) -> str:
    """A csv file of these rows."""
    return header + "".join(",".join(map(str, row)) + "\n" for row in rows)
