"""The examples of a batch: a pure function of (seed, step), so a resumed run needs the step alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.integers import is_integer
from arjax.data.permutation import shuffled
from arjax.data.sources import Source


def train_indices(seed: int, step: int, num_examples: int, batch_size: int) -> np.ndarray:
    """The examples of the batch of one step, int32[B] (int64 where the set has more than 2^31).

    The examples of all epochs, each in its own random order, form one endless stream that is cut into batches: no
    example is dropped at the end of an epoch, and a batch may be larger than the data set. Sets of up to 2^20 examples
    have the orders that they had in all versions of this package, so that published numbers reproduce; larger ones
    have orders that take no memory (see `arjax.data.permutation`).

    Args:
      seed: of the random orders.
      step: 0 for the first.
      num_examples: N.
      batch_size: B.

    Raises:
      UserError: there are no examples, or the batch is empty.
    """
    return train_index_block(seed, step, 1, num_examples, batch_size)[0]


def train_index_block(seed: int, step: int, k: int, num_examples: int, batch_size: int) -> np.ndarray:
    """`train_indices` of the steps `step`, ..., `step + k - 1`, int[K, B]."""
    if num_examples < 1 or batch_size < 1:
        raise UserError(f"cannot make batches of {batch_size} from {num_examples} examples")
    begin, end = step * batch_size, (step + k) * batch_size
    parts = [np.zeros(0, np.int64)]
    while begin < end:
        epoch, offset = divmod(begin, num_examples)
        length = min(num_examples - offset, end - begin)
        parts.append(shuffled(seed, epoch, num_examples, np.arange(offset, offset + length)))
        begin += length
    rows = np.concatenate(parts).reshape(k, batch_size)
    return rows.astype(np.int32) if num_examples <= 2**31 else rows


def eval_batches(source: Source, batch_size: int, own: np.ndarray | None = None) -> Iterator[Batch]:
    """All examples of a source in order, in batches of one size.

    Args:
      source: N examples.
      batch_size: B.
      own: the rows of each batch that are read, int[R] of 0, ..., B - 1; None: all.

    Yields:
      Batches of these rows with `weight` float32[R]: 1, and 0 for the copies of the last example that fill up the last
      batch, and for examples of weight 0 in the source.

    Raises:
      UserError: the batch is empty.
    """
    if not is_integer(batch_size) or batch_size < 1:
        raise UserError(f"the evaluation batch size must be a whole number, at least 1, not {batch_size!r}")
    own = np.arange(batch_size) if own is None else own
    for begin in range(0, len(source), batch_size):
        rows = begin + own
        weight = (rows < len(source)).astype(np.float32)
        batch = source.__getitems__(np.minimum(rows, len(source) - 1))
        yield batch.replace(weight=weight if batch.weight is None else weight * batch.weight)
