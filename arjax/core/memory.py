"""Work that is too large for the memory of the devices or of the machine."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import jax

from arjax.core.errors import UserError

#: Words of XLA's errors for it. A full disk is an error of another type.
MARKS = ("resource_exhausted", "out of memory")


@contextlib.contextmanager
def within_memory(sentence: Callable[[], str]) -> Iterator[None]:
    """Raises a `UserError` with this sentence instead of the error of an allocator; other errors pass."""
    try:
        yield
    except MemoryError as error:
        raise UserError(sentence()) from error
    except jax.errors.JaxRuntimeError as error:
        if not any(mark in str(error).lower() for mark in MARKS):
            raise
        raise UserError(sentence()) from error
