"""Which examples form a batch: a pure function of (seed, step), so the step is all that a resumed run needs."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.integers import is_integer
from arjax.data.base import Source


def train_indices(seed: int, step: int, num_examples: int, batch_size: int) -> np.ndarray:
    """The examples of the batch of one step, int32[B].

    The examples of all epochs, each in its own random order, form one endless stream that is cut into batches: no
    example is dropped at the end of an epoch, and a batch may be larger than the data set.

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
    """`train_indices` of the steps `step`, ..., `step + k - 1`, int32[K, B]."""
    if num_examples < 1 or batch_size < 1:
        raise UserError(f"cannot make batches of {batch_size} from {num_examples} examples")
    begin, end = step * batch_size, (step + k) * batch_size
    parts = []
    while begin < end:
        epoch, offset = divmod(begin, num_examples)
        length = min(num_examples - offset, end - begin)
        parts.append(_permutation(seed, epoch, num_examples)[offset : offset + length])
        begin += length
    return np.concatenate(parts).reshape(k, batch_size) if parts else np.zeros((0, batch_size), np.int32)


@functools.lru_cache(maxsize=4)  # a step touches two epochs at most (or many small ones); runs go forward
def _permutation(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    order = np.random.default_rng((seed, epoch)).permutation(num_examples).astype(np.int32)
    order.flags.writeable = False
    return order


def eval_batches(source: Source, batch_size: int) -> Iterator[Batch]:
    """All examples of a source in order, in batches of one size.

    Yields:
      Batches with `weight` float32[B]: 1, and 0 for the copies of the last example that fill up the last batch, and
      for examples whose weight in the source is 0.

    Raises:
      UserError: the batch is empty.
    """
    if not is_integer(batch_size) or batch_size < 1:
        raise UserError(f"the evaluation batch size must be a whole number, at least 1, not {batch_size!r}")
    for begin in range(0, len(source), batch_size):
        rows = np.arange(begin, begin + batch_size)
        weight = (rows < len(source)).astype(np.float32)
        batch = source.__getitems__(np.minimum(rows, len(source) - 1))
        yield batch.replace(weight=weight if batch.weight is None else weight * batch.weight)


def process_slice(batch_size: int, process_index: int, process_count: int) -> slice:
    """The rows of a global batch that one of several processes loads.

    Raises:
      UserError: the batch does not divide over the processes.
    """
    if batch_size % process_count:
        raise UserError(f"a batch of {batch_size} does not divide over {process_count} processes")
    own = batch_size // process_count
    return slice(process_index * own, (process_index + 1) * own)
