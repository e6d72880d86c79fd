"""The form of one example: the event that a model scores, and the context that it is conditioned on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from arjax.core.errors import UserError, refuse
from arjax.core.options import LARGEST_INT32, checked_arguments, is_integer

KINDS = ("binary", "levels", "tokens", "real", "columns")
DISCRETE_KINDS = ("binary", "levels", "tokens")
#: The `num_levels` of kinds that leave no choice.
FIXED_LEVELS = {"binary": 2, "real": 0, "columns": 0}
#: Whole numbers up to this one are told apart by float32, in which values become features.
MOST_LEVELS = 2**24
CONTEXT_KINDS = ("none", "label", "vector", "sequence", "frames")


@checked_arguments(num_levels=None)
@dataclasses.dataclass(frozen=True)
class EventSpec:
    """Shape and kind of one example. Real values and those of columns are float32, in which NaN marks a site as
    missing: see `arjax.core.arrays`.

    Attributes:
      grid_shape: the layout of the D sites, such as `(28, 28)` or `(T,)`; `()` for a context part without positions.
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
        shapes = {"grid_shape": self.grid_shape, "value_shape": self.value_shape}
        fits = {name: isinstance(shape, tuple) and all(map(is_integer, shape)) for name, shape in shapes.items()}
        bad = next((name for name in shapes if not fits[name]), "")
        is_kind = isinstance(self.kind, str) and self.kind in KINDS
        refuse(
            (not is_kind, f"unknown data kind {self.kind!r} (there are: {', '.join(KINDS)})"),
            (bad, f"{bad} must be a tuple of whole numbers such as (28, 28), not {shapes.get(bad)!r}"),
            (not isinstance(self.columns, tuple), f"columns must be a tuple of EventSpecs, not {self.columns!r}"),
        )
        fixed, kind = FIXED_LEVELS.get(self.kind), f"{self.kind} data"
        if self.num_levels is None:
            object.__setattr__(self, "num_levels", fixed)
        self._check_levels(fixed, kind)
        is_scalar = (isinstance(each, EventSpec) and each.shape == () and not each.columns for each in self.columns)
        of_columns = all(is_scalar) and self.shape == (len(self.columns),)
        scalars = "the shape (D,) and needs `columns`, a tuple with the EventSpec of a scalar for each of its D sites, "
        scalars += "such as EventSpec((), (), 'tokens', 5)"
        refuse(
            (self.kind != "columns" and self.columns, f"{kind} has one kind for all sites: leave columns out"),
            (self.kind == "columns" and not of_columns, f"{kind}, here of shape {self.shape}, has {scalars}"),
        )

    def _check_levels(self, fixed: int | None, kind: str) -> None:
        levels, grid, value = self.num_levels, self.grid_shape, self.value_shape
        refuse(
            (levels is None, f"{kind} needs num_levels, the number of different values"),
            (not is_integer(levels), f"num_levels must be a whole number, not {levels!r}"),
        )
        few, most = levels < (2 if grid else 1), f"at most {MOST_LEVELS} levels, which float32 tells apart"
        refuse(
            (fixed is None and few, f"{kind} cannot have {levels} levels"),
            (fixed not in (None, levels), f"{kind} cannot have {levels} levels: leave num_levels out"),
            (levels > MOST_LEVELS, f"{kind} has {most}, not {levels}: number the values, or take them as real ones"),
            (min(grid + value, default=1) < 1, f"grid {grid} with values {value} has no sites or an empty dimension"),
            (self.num_dims > LARGEST_INT32, f"an example has at most {LARGEST_INT32} numbers, not {self.num_dims}"),
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
        """Whether it is one of finitely many numbers, such as a label."""
        return not self.shape and self.is_discrete

    @property
    def is_discrete(self) -> bool:
        """Whether all values are integers; mixed columns are not."""
        return self.kind in DISCRETE_KINDS

    @property
    def reals(self) -> np.ndarray:
        """Which scalars of an example are real numbers, bool[*shape]."""
        kinds = np.array([column.kind for column in self.columns] or self.kind)
        return np.broadcast_to(kinds == "real", self.shape)

    @property
    def num_values(self) -> int:
        """V where each site holds one of V whole numbers, otherwise 0."""
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
    def with_mask(self) -> EventSpec:
        """The event of examples with masked values: V + 1 tokens, of which the last is the mask; other data: itself."""
        return EventSpec(self.grid_shape, self.value_shape, "tokens", self.num_levels + 1) if self.is_discrete else self

    @property
    def is_sequence(self) -> bool:
        """Whether the sites follow one another in a line, and are not the columns of a table."""
        return len(self.grid_shape) == 1 and self.kind != "columns"

    @property
    def is_text(self) -> bool:
        """Whether examples are sequences of tokens."""
        return self.kind == "tokens" and self.is_sequence and not self.value_shape

    @property
    def has_bits(self) -> bool:
        """Whether scores are probabilities, which are also reported in bits, and not densities."""
        return self.is_discrete

    @property
    def each_site(self) -> tuple[EventSpec, ...]:
        """The spec of the value of each of the D sites."""
        return self.columns or (EventSpec((), self.value_shape, self.kind, self.num_levels),) * self.num_sites

    @property
    def may_lack_values(self) -> bool:
        """Whether NaN can mark a value as missing, which integers cannot."""
        return self.dtype.kind == "f"

    def noise(self, rng: np.random.Generator, num: int) -> np.ndarray:
        """Returns examples of independent uniform or, for real data, standard normal values, `[num, *grid, *value]`."""
        size = (num, *self.shape)
        x = rng.integers(self.num_levels, size=size) if self.is_discrete else rng.normal(size=size)
        return x.astype(self.dtype)

    def check_kind(self, kinds: tuple[str, ...], needs: str) -> None:
        """Refuses data of another kind; `needs` begins the sentence, as "a flow is for real data"."""
        refuse((self.kind not in kinds, f"{needs}, not {self.kind}"))

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
        """The unit of a log-likelihood of such data; for densities it depends on the units of the data."""
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
    sketch=EventSpec((28, 28)))`. The most common kinds have a short form, a part that is named after its kind:

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
        """Takes the short form, or named parts."""
        wrong = next((name for name, part in parts.items() if not isinstance(part, EventSpec)), "")
        refuse(
            (not isinstance(kind, str), f"the kind of a context is a text, such as 'label', not {kind!r}"),
            (parts and kind != "none", f"a context has a kind or named parts, not both: {kind!r}, {', '.join(parts)}"),
            (wrong, f"the part {wrong!r} of a context must be an EventSpec, not {parts.get(wrong)!r}"),
        )
        specs = parts or _short_form(kind, size, length)
        no_grid = set(local) - {name for name, part in specs.items() if part.grid_shape}
        for name in no_grid:
            raise UserError(f"the part {name!r} of a context cannot be local: no part of this name has a grid")
        object.__setattr__(self, "parts", tuple(sorted(specs.items())))
        object.__setattr__(self, "local", tuple(sorted(set(local))))

    def __bool__(self) -> bool:
        """Returns whether there is anything to condition on."""
        return bool(self.parts)

    def __repr__(self) -> str:
        local = [f"local={self.local!r}"] if self.local else []
        return f"ContextSpec({', '.join([f'{name}={part!r}' for name, part in self.parts] + local)})"

    def only(self, names: Iterable[str]) -> ContextSpec:
        """Returns the context with the parts of these names."""
        names = set(names)
        kept = dict[str, Any]((name, part) for name, part in self.parts if name in names)
        return ContextSpec(local=tuple(name for name in self.local if name in kept), **kept)

    def with_part(self, name: str, part: EventSpec, *, local: bool = False) -> ContextSpec:
        """Returns the context with one more part."""
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


def _short_form(kind: str, size: int, length: int) -> dict[str, EventSpec]:
    """Returns the part that a kind with its size and length stands for."""
    is_sized = is_integer(size) and (size > 0 if kind != "none" else size == 0)
    is_long = is_integer(length) and (length > 0 if kind in ("sequence", "frames") else length == 0)
    refuse(
        (kind not in CONTEXT_KINDS, f"unknown context kind {kind!r} (there are: {', '.join(CONTEXT_KINDS)})"),
        (not is_sized, f"a context of kind {kind!r} cannot have size {size!r}"),
        (not is_long, f"a context of kind {kind!r} cannot have length {length!r}"),
    )
    if kind == "none":
        return {}
    grid = (length,) if length else ()
    if kind in ("label", "sequence"):
        return {kind: EventSpec(grid, (), "tokens", size)}
    return {kind: EventSpec(grid, (size,), "real")}


def class_label(num_classes: int) -> EventSpec:
    """Returns a part of a context that is a class: int[B] of 0..C-1."""
    return EventSpec((), (), "tokens", num_classes)


def vector(size: int) -> EventSpec:
    """Returns a part of a context that is a vector: float[B, size]."""
    return EventSpec((), (size,), "real")


NO_CONTEXT = ContextSpec()


def check_spec(value: object, kind: type[EventSpec] | type[ContextSpec]) -> None:
    """Refuses a value that is not an `EventSpec` with a grid, or a `ContextSpec`."""
    example = "an EventSpec such as EventSpec((28, 28))"
    example = example if kind is EventSpec else "a ContextSpec such as ContextSpec('label', 10)"
    if isinstance(value, EventSpec) and not value.grid_shape:
        raise UserError(f"grid () with values {value.value_shape} has no sites or an empty dimension")
    refuse((not isinstance(value, kind), f"{example} belongs here, not {value!r}"))
