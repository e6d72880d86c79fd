"""A compiled program that asks the program around it for values, in the middle of a loop."""

from __future__ import annotations

import itertools
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback
from jax.experimental.buffer_callback import buffer_callback

#: (table float32[B, k, V], t, j) -> values int32[B, k] of the scalars j, ..., j + k - 1 of step t. It is called by the
#: thread of a program that waits for it, so it must not call jax.
Choose = Callable[[np.ndarray, int, int], np.ndarray]


class Asked:
    """Whom the loop of a program asks for values: a program is compiled once, and calls `choose` of this call by its
    number.

    What `choose` raises is kept until the program has ended, as is what the handler of Ctrl-C raises: inside of a
    callback, an error would be one of the program. A second Ctrl-C acts as usual.
    """

    _waiting: dict[int, Asked] = {}
    _numbers = itertools.count()

    def __init__(self, choose: Choose):
        self.number, self._choose = next(self._numbers) % 2**31, choose
        self._error: BaseException | None = None
        self._handler: Any = None

    def __enter__(self) -> Asked:
        self._waiting[self.number] = self
        handler = signal.getsignal(signal.SIGINT)
        # Python allows handlers in the main thread only, where it calls them.
        if callable(handler) and threading.current_thread() is threading.main_thread():
            self._handler = handler
            signal.signal(signal.SIGINT, self._interrupted)
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._restore()
        del self._waiting[self.number]
        if kind is None:
            self.check()

    def _restore(self) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)
            self._handler = None

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        try:
            self._handler(number, frame)
        except BaseException as error:  # of any kind, as it is raised later
            self._error = error
            self._restore()

    def check(self) -> None:
        """Raises what `choose`, or the handler of Ctrl-C, has raised."""
        if self._error is not None:
            raise self._error

    @classmethod
    def values(cls, who: np.ndarray, table_BkV: np.ndarray) -> np.ndarray:
        """The values int32[B, k]; `who` is [number, t, j]."""
        number, t, j = who.tolist()
        call = cls._waiting[number]
        try:
            if call._error is None:
                return _checked(call._choose(table_BkV, t, j), table_BkV.shape[:2])
        except BaseException as error:  # a program cannot be left from inside: the rest of its steps is made with zeros
            call._error = error
        return np.zeros(table_BkV.shape[:2], np.int32)


def _checked(values: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Chosen values, which are whole numbers of this shape; raises `TypeError` for others."""
    chosen = np.asarray(values)
    if chosen.shape != shape or chosen.dtype.kind not in "iu":
        raise TypeError(f"chosen values must be whole numbers {shape}, not {chosen.dtype} {chosen.shape}")
    return chosen.astype(np.int32, copy=False)


def _answer(_: Any, out: Any, who: Any, table_BkV: Any) -> None:
    """`Asked.values` on the memory of the program."""
    np.asarray(out)[...] = Asked.values(np.asarray(who), np.asarray(table_BkV))


def ask_for_values(number: jax.Array, t: jax.Array, j: int | jax.Array, table_BkV: jax.Array) -> jax.Array:
    """The values int32[B, k] of the scalars j, ... of step t, which the program outside chooses."""
    who = jnp.stack([number, t, jnp.asarray(j, jnp.int32)])
    shape = jax.ShapeDtypeStruct(table_BkV.shape[:2], jnp.int32)
    if jax.default_backend() == "cpu":  # 6 us a call, where `io_callback` takes 150
        return buffer_callback(_answer, shape, has_side_effect=True)(who, table_BkV)
    return io_callback(lambda *given: Asked.values(*map(np.asarray, given)), shape, who, table_BkV, ordered=True)
