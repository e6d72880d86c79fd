"""The form of one example: the event that a model scores, and the context that it is conditioned on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from arjax.core.errors import UserError
from arjax.core.options import LARGEST_INT32, is_integer, named_arguments

KINDS = ("binary", "levels", "tokens", "real", "columns")
#: The kinds of data whose values are integers.
DISCRETE_KINDS = ("binary", "levels", "tokens")
#: The `num_levels` of kinds that leave no choice.
FIXED_LEVELS = {"binary": 2, "real": 0, "columns": 0}
#: Whole numbers up to this one are told apart by float32, in which values become features.
MOST_LEVELS = 2**24
CONTEXT_KINDS = ("none", "label", "vector", "sequence", "frames")


@named_arguments
@dataclasses.dataclass(frozen=True)
class EventSpec:
    """Shape and kind of one example.

    Real values and those of columns are float32, in which NaN at a site says that its value is missing: see
    `arjax.core.arrays`.

    Attributes:
      grid_shape: the layout of the D sites, such as `(28, 28)` or `(T,)`; `()` for a part of a context that has no
        positions.
      value_shape: shape of the value of one site, `()` for a scalar, `(88,)` for a frame of notes.
      kind: "binary" (0/1), "levels" (ordered integers), "tokens" (unordered integers), "real", or "columns" (each site
        has a kind of its own; values are float32, integers of discrete columns included).
      num_levels: number of distinct integer values; 2 for binary and 0 for real and columns where it is left out.
      columns: of kind "columns", the spec of a value of each site, such as `EventSpec((), (), "tokens", 5)`.
    """

    grid_shape: tuple[int, ...]
    value_shape: tuple[int, ...] = ()
    kind: str = "binary"
    num_levels: int = None  # type: ignore[assignment]  # an int from then on
    columns: tuple[EventSpec, ...] = ()

    def __post_init__(self):
        if not isinstance(self.kind, str) or self.kind not in KINDS:
            raise UserError(f"unknown data kind {self.kind!r} (there are: {', '.join(KINDS)})")
        for name, shape in (("grid_shape", self.grid_shape), ("value_shape", self.value_shape)):
            if not isinstance(shape, tuple) or not all(is_integer(size) for size in shape):
                raise UserError(f"{name} must be a tuple of whole numbers such as (28, 28), not {shape!r}")
        fixed = FIXED_LEVELS.get(self.kind)
        if self.num_levels is None:
            if fixed is None:
                raise UserError(f"{self.kind} data needs num_levels, the number of different values")
            object.__setattr__(self, "num_levels", fixed)
        if not is_integer(self.num_levels):
            raise UserError(f"num_levels must be a whole number, not {self.num_levels!r}")
        fewest = 2 if self.grid_shape else 1
        fits = self.num_levels >= fewest if fixed is None else self.num_levels == fixed
        if not fits:
            hint = "" if fixed is None else ": leave num_levels out"
            raise UserError(f"{self.kind} data cannot have {self.num_levels} levels{hint}")
        if self.num_levels > MOST_LEVELS:
            raise UserError(
                f"{self.kind} data has at most {MOST_LEVELS} levels, which float32 tells apart, not {self.num_levels}: "
                "number the values that there are, or take them as real ones"
            )
        if min(self.grid_shape + self.value_shape, default=1) < 1:
            raise UserError(f"grid {self.grid_shape} with values {self.value_shape} has no sites or an empty dimension")
        if self.num_dims > LARGEST_INT32:
            raise UserError(f"an example of {self.num_dims} numbers is too large: {LARGEST_INT32} are the most")
        self._check_columns()

    def _check_columns(self) -> None:
        """Raises `UserError` unless there is one column per site for data of this kind, and none for others."""
        if not isinstance(self.columns, tuple):
            raise UserError(f"columns must be a tuple with the EventSpec of each site, not {self.columns!r}")
        if self.kind != "columns":
            if self.columns:
                raise UserError(f"{self.kind} data has one kind for all sites: leave columns out")
            return
        scalars = all(isinstance(each, EventSpec) and each.shape == () and not each.columns for each in self.columns)
        if not scalars or self.shape != (len(self.columns),):
            raise UserError(
                f"data of kind columns, here of shape {self.shape}, has the shape (D,) and needs `columns`, a tuple "
                "with the EventSpec of a scalar for each of its D sites, such as EventSpec((), (), 'tokens', 5)"
            )

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
    def is_class(self) -> bool:
        """Whether it is one number of finitely many, such as a label."""
        return not self.shape and self.is_discrete

    @property
    def is_discrete(self) -> bool:
        """Whether all values are integers; mixed columns are not."""
        return self.kind in DISCRETE_KINDS

    @property
    def num_values(self) -> int:
        """V where each site holds one of V whole numbers; 0 for vectors, real values and mixed columns."""
        return 0 if self.value_shape else self.num_levels

    @property
    def most_levels(self) -> int:
        """The largest number of different values of a site; 0 where all are real."""
        return max(self.num_levels, *(column.num_levels for column in self.columns), 0)

    @property
    def top(self) -> int | None:
        """The largest value of discrete data; None for others."""
        return self.num_levels - 1 if self.is_discrete else None

    @property
    def is_text(self) -> bool:
        """Whether examples are sequences of tokens."""
        return self.kind == "tokens" and len(self.shape) == len(self.grid_shape) == 1

    @property
    def has_bits(self) -> bool:
        """Whether scores are probabilities, of which bits are told, too, and no densities."""
        return self.is_discrete

    def check_kind(self, kinds: tuple[str, ...], needs: str) -> None:
        """Raises `UserError` for data of another kind; `needs` begins the sentence, as "a flow is for real data"."""
        if self.kind not in kinds:
            raise UserError(f"{needs}, not {self.kind}")

    @property
    def in_words(self) -> str:
        """The event in a few words: `8 x 8 sites, 17 levels` or `100 sites of 88 scalars, binary`."""
        grid, value = (" x ".join(map(str, shape)) for shape in (self.grid_shape, self.value_shape))
        scalars = f" of {value} scalars" if value else ""
        kind = self.kind if self.kind in ("binary", "real") else f"{self.num_levels} {self.kind}"
        if self.columns:
            kinds = [column.kind for column in self.columns]
            kind = ", ".join(f"{kinds.count(each)} {each}" for each in dict.fromkeys(kinds))
        return f"{grid or 1} sites{scalars}, {kind}"

    @property
    def unit(self) -> str:
        """The unit of a log-likelihood of such data; that of a density depends on the units of the data."""
        if any(not column.is_discrete for column in self.columns):
            return "nats, density of the real columns"
        return "nats, a density" if self.kind == "real" else "nats"

    @property
    def dtype(self) -> np.dtype:
        """`int32` for discrete values, `float32` for real ones and mixed columns."""
        return np.dtype(np.int32 if self.is_discrete else np.float32)


@dataclasses.dataclass(frozen=True, init=False, repr=False)
class ContextSpec:
    """The context of the whole joint distribution: named parts, each described like an event.

    A part may be a class, a vector, a sequence, an image or any grid of values: `ContextSpec(style=class_label(10),
    sketch=EventSpec((28, 28)))`. The kinds that are most used have a short form, a part that is named after its kind:

        ContextSpec("label", C)         label:    a class, int[B] of 0..C-1
        ContextSpec("vector", E)        vector:   float[B, E]
        ContextSpec("sequence", V, L)   sequence: int[B, L], tokens of 0..V-1 and -1 after the end of short ones
        ContextSpec("frames", E, L)     frames:   float[B, L, E], such as a spectrogram

    A part whose grid belongs to that of the event, such as a coarser image, may be *local*: a network reads each of its
    positions at the sites there, `ContextSpec(coarse=EventSpec((14, 14), (), "levels", 16), local=("coarse",))`. Other
    parts are read as a whole.

    Attributes:
      parts: pairs of a name and the spec of one example, sorted by name; none for a model without a context.
      local: the names of the local parts, sorted.
    """

    parts: tuple[tuple[str, EventSpec], ...]
    local: tuple[str, ...] = ()

    def __init__(
        self, kind: str = "none", size: int = 0, length: int = 0, local: tuple[str, ...] = (), **parts: EventSpec
    ):
        """The short form, or named parts; raises `UserError` for parts that cannot be."""
        if not isinstance(kind, str):
            raise UserError(f"the kind of a context is a text, such as 'label', not {kind!r}")
        if parts and kind != "none":
            raise UserError(f"a context has a kind or named parts, not both: {kind!r}, {', '.join(parts)}")
        for name, part in parts.items():
            if not isinstance(part, EventSpec):
                raise UserError(f"the part {name!r} of a context must be an EventSpec, not {part!r}")
        specs = parts or _short_form(kind, size, length)
        for name in local:
            if name not in specs or not specs[name].grid_shape:
                raise UserError(
                    f"the part {name!r} of a context cannot be local: there is no part of this name with a grid"
                )
        object.__setattr__(self, "parts", tuple(sorted(specs.items())))
        object.__setattr__(self, "local", tuple(sorted(set(local))))

    def __bool__(self) -> bool:
        """Whether there is anything to condition on."""
        return bool(self.parts)

    def __repr__(self) -> str:
        local = [f"local={self.local!r}"] if self.local else []
        return f"ContextSpec({', '.join([f'{name}={part!r}' for name, part in self.parts] + local)})"

    def only(self, names: Iterable[str]) -> ContextSpec:
        """The parts of these names."""
        names = set(names)
        kept = dict[str, Any]((name, part) for name, part in self.parts if name in names)
        return ContextSpec(local=tuple(name for name in self.local if name in kept), **kept)

    def with_part(self, name: str, part: EventSpec, *, local: bool = False) -> ContextSpec:
        """The context with one more part."""
        return ContextSpec(local=(*self.local, *([name] if local else [])), **dict[str, Any](self.parts) | {name: part})

    @property
    def at_sites(self) -> ContextSpec:
        """The local parts."""
        return self.only(self.local)

    @property
    def as_whole(self) -> ContextSpec:
        """The parts that are not local."""
        return self.only(name for name, _ in self.parts if name not in self.local)

    @property
    def grids(self) -> ContextSpec:
        """The parts that have positions: sequences, frames, images."""
        return self.only(name for name, part in self.parts if part.grid_shape)

    @property
    def singles(self) -> ContextSpec:
        """The parts without positions: classes and vectors."""
        return self.only(name for name, part in self.parts if not part.grid_shape)


def _short_form(kind: str, size: int, length: int) -> dict[str, EventSpec]:
    """The part that a kind with its size and length stands for."""
    if kind not in CONTEXT_KINDS:
        raise UserError(f"unknown context kind {kind!r} (there are: {', '.join(CONTEXT_KINDS)})")
    if not is_integer(size) or (kind == "none") != (size == 0) or size < 0:
        raise UserError(f"a context of kind {kind!r} cannot have size {size!r}")
    if not is_integer(length) or (kind in ("sequence", "frames")) != (length > 0) or length < 0:
        raise UserError(f"a context of kind {kind!r} cannot have length {length!r}")
    if kind == "none":
        return {}
    grid = (length,) if length else ()
    if kind in ("label", "sequence"):
        return {kind: EventSpec(grid, (), "tokens", size)}
    return {kind: EventSpec(grid, (size,), "real")}


def class_label(num_classes: int) -> EventSpec:
    """A part of a context that is a class: int[B] of 0..C-1."""
    return EventSpec((), (), "tokens", num_classes)


def vector(size: int) -> EventSpec:
    """A part of a context that is a vector: float[B, size]."""
    return EventSpec((), (size,), "real")


#: The context of a model that has none.
NO_CONTEXT = ContextSpec()


def check_spec(value: object, kind: type[EventSpec] | type[ContextSpec]) -> None:
    """Raises `UserError` unless a value is an `EventSpec`, or a `ContextSpec`."""
    if isinstance(value, EventSpec) and not value.grid_shape:
        raise UserError(f"grid () with values {value.value_shape} has no sites or an empty dimension")
    if not isinstance(value, kind):
        example = "EventSpec((28, 28))" if kind is EventSpec else "ContextSpec('label', 10)"
        raise UserError(f"an {kind.__name__} such as {example} belongs here, not {value!r}".replace("an C", "a C"))
