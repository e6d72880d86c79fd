"""Integers from users: `True`, 1.0 and "1" are mistakes, not numbers to be converted silently."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np

from arjax.core.errors import UserError

#: The largest integer of an option, unless a registry or a component names another one for it. Larger sizes are slips
#: of the pen: what they make would not fit into any memory, or take for ever.
LARGEST = 10_000_000
#: The largest number of things that Python builds one after another, such as layers.
DEEPEST = 1000
#: The largest number of orders that are listed one by one.
MOST_ORDERS = 10_000
#: The largest seed: JAX reads 32 bits of it, and would take two larger ones for one.
LARGEST_SEED = 2**32 - 1
#: The largest integer on devices.
LARGEST_INT32 = 2**31 - 1


def check_size(value: Any, most: int, name: str) -> None:
    """Raises `UserError` for an integer above `most`; `name` begins the sentence."""
    if is_integer(value) and value > most:
        raise UserError(f"{name} must be at most {most}, not {value}")


def is_integer(value: Any) -> TypeGuard[int]:
    """Whether a value is an integer of Python or numpy; truth values are not."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def check_seed(seed: Any, name: str = "the seed") -> None:
    """Raises `UserError` unless it is a seed."""
    if not is_integer(seed) or not 0 <= seed <= LARGEST_SEED:
        raise UserError(f"{name} must be a whole number from 0 to 2^32 - 1, not {seed!r}")


def flat_integers(values: Sequence[Any] | np.ndarray) -> np.ndarray | None:
    """The values as int64[N], or None when they are not a flat sequence of integers of at most 64 bits."""
    if isinstance(values, np.ndarray):
        return values.astype(np.int64) if values.ndim == 1 and np.issubdtype(values.dtype, np.integer) else None
    if not isinstance(values, (list, tuple, range)) or not all(map(is_integer, values)):
        return None
    limit = np.iinfo(np.int64).max
    return np.array(values, np.int64) if all(-limit <= value <= limit for value in values) else None
