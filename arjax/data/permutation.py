"""The random order of the examples in each epoch, evaluated at given places.

Small sets: a shuffled array. Large sets: a pseudo-random permutation, which needs no memory. It is a generalised
Feistel network (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002, section 4) over pairs of numbers
below a and b, with a b just above N, made to permute 0, ..., N - 1 by cycle walking (section 3): it is applied again
until the result is below N.
"""

from __future__ import annotations

import functools
import math

import numpy as np

#: Largest set with a shuffled array as its order. Runs on such sets reproduce those of all versions of this package.
LARGEST_SHUFFLE = 2**20
_ROUNDS = 12
_SPARE = np.uint64(1)  # one bit less than 64, so that a sum does not overflow


def shuffled(seed: int, epoch: int, num_examples: int, places: np.ndarray) -> np.ndarray:
    """The examples at some places of the random order of an epoch, int64[...]; pure, each epoch its own order.

    Args:
      seed: of the orders of all epochs.
      epoch: 0 for the first.
      num_examples: N; sets of more than 2^20 take constant memory.
      places: int[...], 0 to N - 1.
    """
    if num_examples <= LARGEST_SHUFFLE:
        return _shuffled_array(seed, epoch, num_examples)[places].astype(np.int64)
    return pseudo_random_permutation(round_keys(seed, epoch), num_examples, places)


@functools.lru_cache(maxsize=4)  # a step touches two epochs at most (or many small ones); runs go forward
def _shuffled_array(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    order = np.random.default_rng((seed, epoch)).permutation(num_examples).astype(np.int32)
    order.flags.writeable = False
    return order


@functools.lru_cache(maxsize=4)
def round_keys(seed: int, epoch: int) -> tuple[np.uint64, ...]:
    """The keys of the rounds of the Feistel network."""
    return tuple(np.random.SeedSequence((seed, epoch)).generate_state(_ROUNDS, np.uint64))


def pseudo_random_permutation(keys: tuple[np.uint64, ...], num_examples: int, places: np.ndarray) -> np.ndarray:
    """pi(places) int64[...] of a permutation pi of 0, ..., num_examples - 1 that `keys` choose."""
    a = math.isqrt(num_examples - 1) + 1
    b = -(-num_examples // a)
    places = np.asarray(places)
    found = _feistel(keys, a, b, places.ravel().astype(np.uint64))
    while (outside := np.flatnonzero(found >= np.uint64(num_examples))).size:
        found[outside] = _feistel(keys, a, b, found[outside])
    return found.astype(np.int64).reshape(places.shape)


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
