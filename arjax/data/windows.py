"""Windows over long sequences: every element is scored once, with the elements before it as context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from arjax.core.batch import Batch
from arjax.core.errors import UserError, refuse


def window_starts(num_elements: int, length: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns windows of `length` elements that together score each of N elements exactly once: the first element of
    each, `starts[W]`, and the number of its leading elements that are context, `skips[W]`, as an earlier window has
    scored them. Each starts `stride` (1 to `length`) after the one before; the last one ends with the sequence. There
    is one window if N <= length.
    """
    wrong = not 1 <= stride <= length
    refuse((wrong, f"the stride of windows must be from 1 to their length {length}, not {stride}"))
    last = max(num_elements - length, 0)
    starts = np.minimum(np.arange(-(-last // stride) + 1) * stride, last)
    skips = np.concatenate([[0], starts[:-1] + length - starts[1:]])
    return starts.astype(np.int32), skips.astype(np.int32)


def cut(sequences: Sequence[np.ndarray], length: int, stride: int) -> dict[str, np.ndarray]:
    """Returns windows of T elements over sequences [T_n, *value], with 0 behind the end of short ones: `x[W, T,
    *value]`, bool `mask[W, T]`, False for padding and context, and `owner[W]`, the sequence of each window.
    Each element is scored in one window, and those of later windows given at least T - `stride` elements before them.
    """
    places = ((n, window_starts(len(sequence), length, stride)) for n, sequence in enumerate(sequences))
    spots = [(n, start, skip) for n, starts_and_skips in places for start, skip in zip(*starts_and_skips, strict=True)]
    x = np.zeros((len(spots), length, *sequences[0].shape[1:]), sequences[0].dtype)
    mask = np.zeros((len(spots), length), bool)
    for row, (n, start, skip) in enumerate(spots):
        part = sequences[n][start : start + length]
        x[row, : len(part)] = part
        mask[row, skip : len(part)] = True
    return {"x": x, "mask": mask, "owner": np.array([n for n, _, _ in spots])}


class RandomWindows:
    """All N - length + 1 windows over one long sequence; the index of a window is the place where it starts."""

    def __init__(self, tokens: np.ndarray, length: int):
        """`tokens` int[N], of any integer type."""
        if not 1 <= length <= len(tokens):
            raise UserError(f"windows of length {length} do not fit in a sequence of {len(tokens)}")
        self.arrays = Batch(tokens)
        self.length = length

    def __len__(self) -> int:
        return len(self.arrays) - self.length + 1

    def __getitems__(self, indices: np.ndarray) -> Batch:
        return self.gather(self.arrays, np.asarray(indices))

    def gather(self, arrays: Batch, indices: Any) -> Batch:
        """Returns the windows `x[B, length]` that start at `indices` in the sequence `arrays.x`, also of jax arrays."""
        return Batch(arrays.x[indices[:, None] + np.arange(self.length)].astype(np.int32))
