"""Batches and reading ahead. A train step's batch is a pure function of (seed, step): a resumed run repeats it."""

from __future__ import annotations

import functools
import math
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from arjax.core.batch import Batch
from arjax.core.errors import UserError, refuse
from arjax.core.options import is_integer
from arjax.data.sources import Source

#: Largest set with a shuffled array as its order, which is the same in all versions of this package.
LARGEST_SHUFFLE = 2**20
_ROUNDS = 12
_SPARE = np.uint64(1)  # one bit less than 64, so that a sum does not overflow
Item = TypeVar("Item")
THREAD = "read-ahead"


def train_index_block(seed: int, step: int, k: int, num_examples: int, batch_size: int) -> np.ndarray:
    """Returns the examples of the batches of `step`, ..., `step + k - 1`, int32[K, B] (int64 for sets of more than
    2^31). All epochs, each in its own random order, form one endless stream that is cut into batches: no example is
    dropped at the end of an epoch, and a batch may be larger than the data set.
    """
    refuse((num_examples < 1 or batch_size < 1, f"cannot make batches of {batch_size} from {num_examples} examples"))
    begin, end = step * batch_size, (step + k) * batch_size
    parts = [np.zeros(0, np.int64)]
    while begin < end:
        epoch, offset = divmod(begin, num_examples)
        length = min(num_examples - offset, end - begin)
        parts.append(shuffled(seed, epoch, num_examples, np.arange(offset, offset + length)))
        begin += length
    rows = np.concatenate(parts).reshape(k, batch_size)
    return rows.astype(np.int32) if num_examples <= 2**31 else rows


def shuffled(seed: int, epoch: int, num_examples: int, places: np.ndarray) -> np.ndarray:
    """Returns the examples at places int[...] of the random order of an epoch, int64[...]; pure. Small sets have a
    shuffled array. The order of large sets is a pseudo-random permutation without memory: a generalised Feistel network
    (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002, section 4) over pairs of numbers below a and b,
    with a b just above N. It becomes a permutation of 0, ..., N - 1 by cycle walking (section 3): it is applied again
    until the result is below N.
    """
    if num_examples <= LARGEST_SHUFFLE:
        return _shuffled_array(seed, epoch, num_examples)[places].astype(np.int64)
    return pseudo_random_permutation(round_keys(seed, epoch), num_examples, places)


@functools.lru_cache(maxsize=4)  # a step touches two epochs at most (or many small ones); runs go forward
def _shuffled_array(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(num_examples).astype(np.int32)


@functools.lru_cache(maxsize=4)
def round_keys(seed: int, epoch: int) -> tuple[np.uint64, ...]:
    """Returns the keys of the rounds of the Feistel network."""
    return tuple(np.random.SeedSequence((seed, epoch)).generate_state(_ROUNDS, np.uint64))


def pseudo_random_permutation(keys: tuple[np.uint64, ...], num_examples: int, places: np.ndarray) -> np.ndarray:
    """Returns pi(places), int64[...], for a permutation pi of 0, ..., num_examples - 1 that `keys` choose."""
    a = math.isqrt(num_examples - 1) + 1
    b = -(-num_examples // a)
    places = np.asarray(places)
    numbers = _feistel(keys, a, b, places.ravel().astype(np.uint64))
    while (outside := np.flatnonzero(numbers >= np.uint64(num_examples))).size:
        numbers[outside] = _feistel(keys, a, b, numbers[outside])
    return numbers.astype(np.int64).reshape(places.shape)


def _feistel(keys: tuple[np.uint64, ...], a: int, b: int, x: np.ndarray) -> np.ndarray:
    """x = b left + right: in turn left += f(right, key) modulo a, and right += f(left, key) modulo b."""
    modulus_a, modulus_b = np.uint64(a), np.uint64(b)
    left, right = x // modulus_b, x % modulus_b
    for for_left, for_right in zip(keys[::2], keys[1::2], strict=True):
        left = (left + (_mix(right + for_left) >> _SPARE)) % modulus_a
        right = (right + (_mix(left + for_right) >> _SPARE)) % modulus_b
    return left * modulus_b + right


def _mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, 2014, figure 16), modulo 2^64: all bits depend on all."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def eval_batches(source: Source, batch_size: int, local_rows: np.ndarray | None = None) -> Iterator[Batch]:
    """Yields all examples of a source in order, in batches of one size B, of which the rows `local_rows` (None: all)
    are read. `weight` float32[R] is 0 for copies of the last example that fill up the last batch and for examples of
    weight 0 in the source, else 1.
    """
    if not is_integer(batch_size) or batch_size < 1:
        raise UserError(f"the evaluation batch size must be a whole number, at least 1, not {batch_size!r}")
    local_rows = np.arange(batch_size) if local_rows is None else local_rows
    for begin in range(0, len(source), batch_size):
        rows = begin + local_rows
        weight = (rows < len(source)).astype(np.float32)
        batch = source.__getitems__(np.minimum(rows, len(source) - 1))
        yield batch.replace(weight=weight if batch.weight is None else weight * batch.weight)


def read_ahead(items: Iterator[Item]) -> Generator[Item, None, None]:
    """Yields the same items, each made in a thread while the one before is used. An exception there is raised when its
    item is requested. The thread ends after the last item, or when the generator is closed, after the item in progress.
    """
    end: Any = object()  # comes after the last item
    with ThreadPoolExecutor(1, THREAD) as thread:
        coming = thread.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, items, end)
            yield item
