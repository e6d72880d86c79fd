"""What one example looks like: the event a model scores, and the context it is conditioned on."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from arjax.core.errors import UserError
from arjax.core.integers import is_integer

KINDS = ("binary", "levels", "tokens", "real")
CONTEXT_KINDS = ("none", "label", "vector", "sequence", "frames")


@dataclasses.dataclass(frozen=True)
class EventSpec:
    """Shape and kind of one example.

    Attributes:
      grid_shape: how the D sites are laid out, such as `(28, 28)` or `(T,)`.
      value_shape: shape of what one site holds, `()` for a scalar, `(88,)` for a frame of notes.
      kind: "binary" (0/1), "levels" (ordered integers), "tokens" (unordered integers) or "real".
      num_levels: number of distinct integer values; 2 for binary and 0 for real where it is left out.
    """

    grid_shape: tuple[int, ...]
    value_shape: tuple[int, ...] = ()
    kind: str = "binary"
    num_levels: int = None  # type: ignore[assignment]  # an int from then on

    def __post_init__(self):
        if self.kind not in KINDS:
            raise UserError(f"unknown data kind {self.kind!r} (there are: {', '.join(KINDS)})")
        if self.num_levels is None:
            usual = {"binary": 2, "real": 0}
            if self.kind not in usual:
                raise UserError(f"{self.kind} data needs num_levels, the number of different values")
            object.__setattr__(self, "num_levels", usual[self.kind])
        if not is_integer(self.num_levels):
            raise UserError(f"num_levels must be a whole number, not {self.num_levels!r}")
        expected = {"binary": self.num_levels == 2, "real": self.num_levels == 0}.get(self.kind, self.num_levels >= 2)
        if not expected:
            hint = ": leave num_levels out" if self.kind in ("binary", "real") else ""
            raise UserError(f"{self.kind} data cannot have {self.num_levels} levels{hint}")
        for name, shape in (("grid_shape", self.grid_shape), ("value_shape", self.value_shape)):
            if not isinstance(shape, tuple) or not all(is_integer(size) for size in shape):
                raise UserError(f"{name} must be a tuple of whole numbers such as (28, 28), not {shape!r}")
        if not self.grid_shape or min(self.grid_shape + self.value_shape) < 1:
            raise UserError(f"grid {self.grid_shape} with values {self.value_shape} has no sites or an empty dimension")

    @property
    def num_sites(self) -> int:
        """D, the number of sites."""
        return math.prod(self.grid_shape)

    @property
    def value_size(self) -> int:
        """Number of scalars in the value of one site."""
        return math.prod(self.value_shape)

    @property
    def num_dims(self) -> int:
        """Number of scalars in one example: the divisor of bits per dimension."""
        return self.num_sites * self.value_size

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example, `(*grid, *value)`."""
        return self.grid_shape + self.value_shape

    @property
    def is_discrete(self) -> bool:
        """Whether values are integers."""
        return self.kind != "real"

    @property
    def dtype(self) -> np.dtype:
        """`int32` for discrete values, `float32` for real ones."""
        return np.dtype(np.int32 if self.is_discrete else np.float32)


@dataclasses.dataclass(frozen=True)
class ContextSpec:
    """What the whole joint is conditioned on.

    Attributes:
      kind: "none", "label" (context is int[B], a class), "vector" (float[B, size]), "sequence" (int[B, length], tokens,
        with -1 after the end of short ones) or "frames" (float[B, length, size], such as a spectrogram).
      size: number of classes or tokens, or length of a vector or frame; 0 for none.
      length: L, of sequences and frames; 0 for the other kinds.
    """

    kind: str = "none"
    size: int = 0
    length: int = 0

    def __post_init__(self):
        if self.kind not in CONTEXT_KINDS:
            raise UserError(f"unknown context kind {self.kind!r} (there are: {', '.join(CONTEXT_KINDS)})")
        if not is_integer(self.size) or (self.kind == "none") != (self.size == 0) or self.size < 0:
            raise UserError(f"a context of kind {self.kind!r} cannot have size {self.size!r}")
        if not is_integer(self.length) or self.is_sequence != (self.length > 0) or self.length < 0:
            raise UserError(f"a context of kind {self.kind!r} cannot have length {self.length!r}")

    @property
    def is_sequence(self) -> bool:
        """Whether the context has a time axis."""
        return self.kind in ("sequence", "frames")

    @property
    def is_discrete(self) -> bool:
        """Whether the context is made of integers."""
        return self.kind in ("label", "sequence")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the context of one example."""
        return {"vector": (self.size,), "sequence": (self.length,), "frames": (self.length, self.size)}.get(
            self.kind, ()
        )

    @property
    def dtype(self) -> np.dtype:
        """`int32` for integers, `float32` for reals."""
        return np.dtype(np.int32 if self.is_discrete else np.float32)


#: The context of a model that has none.
NO_CONTEXT = ContextSpec()


def check_spec(value: object, kind: type[EventSpec] | type[ContextSpec]) -> None:
    """Raises `UserError` unless a value is an `EventSpec`, or a `ContextSpec`."""
    if not isinstance(value, kind):
        example = "EventSpec((28, 28))" if kind is EventSpec else "ContextSpec('label', 10)"
        raise UserError(f"an {kind.__name__} such as {example} belongs here, not {value!r}".replace("an C", "a C"))
