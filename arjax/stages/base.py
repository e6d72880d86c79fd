"""The contract of stages: how an example is cut into parts from coarse to fine, and put together again."""

from __future__ import annotations

import abc
import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp

from arjax.core.batch import Array
from arjax.core.errors import UserError
from arjax.core.registry import Registry
from arjax.core.spec import NO_CONTEXT, ContextSpec, EventSpec

STAGES = Registry("stages", hidden=("event",))
#: Parts of the context: the earlier parts and, where one model has all stages, the number of the stage.
COARSE, STAGE = "coarse", "stage"
#: The lowest and the highest value of each scalar, int[B, *grid, *value] each.
Limits = tuple[jax.Array, jax.Array]


@dataclasses.dataclass(frozen=True)
class Stages(abc.ABC):
    """Cuts an example x into c_1, ..., c_n, from coarse to fine. Subclasses are frozen dataclasses.

    Where the cut is `exact`, it is a bijection between the examples and the parts that `limits` allows:
    log p(x) = sum_k log p(c_k | c_<k). Otherwise c_n is x itself and the earlier parts are functions of it; then
    p(x) = sum over c_<n of p(c_1, ..., c_n) is at least the one term with the parts of x, so the sum above is a bound.

    Stages are numbered from 0 here. All methods are pure and may be jitted.
    """

    event: EventSpec

    #: Whether the cut is a bijection.
    exact: ClassVar[bool] = True
    KINDS: ClassVar[tuple[str, ...]] = ("binary", "levels", "tokens", "real")

    def __post_init__(self):
        self.event.check_kind(self.KINDS, f"the stages {self.name!r} are for {' and '.join(self.KINDS)}")

    def check_grid(self, factor: int, levels: int) -> None:
        """Refuses a grid that cannot be made coarser by the factor `levels` times."""
        grid = self.event.grid_shape
        too_often = math.log(factor) * levels > math.log(max(grid)) + 1e-9
        if too_often or any(side % factor**levels for side in grid):
            raise UserError(
                f"the stages {self.name!r} make each side of the grid {levels} times smaller by the factor {factor}, "
                f"and a grid of {grid} cannot be: take fewer levels or another factor"
            )

    @property
    @abc.abstractmethod
    def events(self) -> tuple[EventSpec, ...]:
        """Shape and kind of each part."""

    @property
    @abc.abstractmethod
    def contexts(self) -> tuple[ContextSpec, ...]:
        """The local context that the model of each part reads, of earlier parts; empty for the first."""

    @abc.abstractmethod
    def split(self, x: Array) -> tuple[jax.Array, ...]:
        """Returns the parts of x [B, *event.shape], [B, *events[k].shape] each."""

    @abc.abstractmethod
    def join(self, parts: Sequence[Array]) -> jax.Array:
        """Returns x from its parts, the inverse of `split`."""

    @abc.abstractmethod
    def context(self, k: int, before: Sequence[Array]) -> dict[str, jax.Array]:
        """Returns the values of `contexts[k]`, from the k earlier parts."""

    def limited(self, k: int) -> bool:
        """Returns whether earlier parts exclude values of the event of part k."""
        return False

    def limits(self, k: int, before: Sequence[Array], num: int) -> Limits | None:
        """Returns the lowest and the highest value of each scalar of part k, int[B, *events[k].shape], that the k
        earlier parts leave to B = `num` examples; each value between them occurs. None: all values of the event,
        whatever the earlier parts.
        """
        return None

    def masks(self, mask: Array) -> tuple[jax.Array, ...]:
        """Returns the sites of parts that belong to sites of x, [B, *grid] -> [B, *grid of part k] each, where each
        site of a part belongs to one site of x; by default refuses.
        """
        raise UserError(
            f"the stages {self.name!r} mix the sites of an example: they have no mask of single sites, and no sites "
            "that are observed while others are drawn"
        )

    @property
    def name(self) -> str:
        """The registered name."""
        return STAGES.name_of(type(self)) or type(self).__name__

    @property
    def call(self) -> str:
        """The call string with all options, which makes them again."""
        options = {name: getattr(self, name) for name in STAGES.options(self.name)}
        return f"{self.name}({', '.join(f'{name}={value!r}' for name, value in options.items())})"

    @functools.cached_property
    def shared_context(self) -> ContextSpec:
        """The context of one model for all stages: all parts but the last, stacked as the first axis of a value, where
        `events[0].num_levels` stands for a part that is not known yet; and the number of the stage as a class.
        """
        first, num = self.events[0], len(self.events)
        if any(event != first for event in self.events) or not first.num_levels:
            raise UserError(
                f"one model for all stages needs parts that are alike, of whole numbers, and those of {self.name!r} "
                "are not: give each stage a part of its own"
            )
        stack = EventSpec(first.grid_shape, (num - 1, *first.value_shape), "levels", first.num_levels + 1)
        return NO_CONTEXT.with_part(COARSE, stack, local=True).with_part(STAGE, EventSpec((), (), "tokens", num))

    def context_of_shared(self, k: int, before: Sequence[Array], num: int) -> dict[str, jax.Array]:
        """Returns the values of `shared_context` of B examples at stage k."""
        first, axis = self.events[0], 1 + len(self.events[0].grid_shape)
        unknown = jnp.full((num, *first.shape), first.num_levels, jnp.int32)
        slots = [*before, *[unknown] * (len(self.events) - 1 - k)][: len(self.events) - 1]
        return {COARSE: jnp.stack(slots, axis), STAGE: jnp.full(num, k, jnp.int32)}


def make_stages(text: str, event: EventSpec) -> Stages:
    """Returns the stages of a call string, such as `digits(base=16)`, for an event."""
    return STAGES.call(text, event)


def stacked_context(event: EventSpec, num: int) -> ContextSpec:
    """Returns the context of `num` pictures of an event at the same sites: the picture, or a stack as its value."""
    if not num:
        return NO_CONTEXT
    if num > 1:
        event = dataclasses.replace(event, value_shape=(num, *event.value_shape))
    return NO_CONTEXT.with_part(COARSE, event, local=True)


def stacked_values(event: EventSpec, pictures: Sequence[Array]) -> dict[str, jax.Array]:
    """Returns the values of `stacked_context`."""
    if not pictures:
        return {}
    return {COARSE: jnp.asarray(pictures[0]) if len(pictures) == 1 else jnp.stack(pictures, 1 + len(event.grid_shape))}


def to_cells(x: Array, rank: int, factor: int) -> jax.Array:
    """[B, *grid, ...] -> [B, *coarse grid, factor^rank, ...]: the sites of each cell, `factor` a side, by rows."""
    grid = x.shape[1 : 1 + rank]
    split = [size for side in grid for size in (side // factor, factor)]
    cut = jnp.asarray(x).reshape(len(x), *split, *x.shape[1 + rank :])
    cut = jnp.moveaxis(cut, range(2, 2 + 2 * rank, 2), range(1 + rank, 1 + 2 * rank))
    coarse = tuple(side // factor for side in grid)
    return cut.reshape(len(x), *coarse, factor**rank, *x.shape[1 + rank :])


def from_cells(cells: jax.Array, rank: int, factor: int) -> jax.Array:
    """Inverts `to_cells`."""
    coarse, rest = cells.shape[1 : 1 + rank], cells.shape[2 + rank :]
    cut = cells.reshape(len(cells), *coarse, *[factor] * rank, *rest)
    cut = jnp.moveaxis(cut, range(1 + rank, 1 + 2 * rank), range(2, 2 + 2 * rank, 2))
    return cut.reshape(len(cells), *(side * factor for side in coarse), *rest)


def coarser(event: EventSpec, factor: int) -> EventSpec:
    """Returns the event on a grid that is coarser by a factor."""
    return dataclasses.replace(event, grid_shape=tuple(side // factor for side in event.grid_shape))
