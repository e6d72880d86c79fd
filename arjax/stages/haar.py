"""The integer Haar transform: means of pairs, then their differences in the range that is left."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp

from arjax.core.batch import Array
from arjax.core.spec import NO_CONTEXT, ContextSpec, EventSpec
from arjax.stages.base import COARSE, STAGES, Limits, Stages, stacked_context, stacked_values


@STAGES.register("haar")
@dataclasses.dataclass(frozen=True)
class Haar(Stages):
    """The mean and the difference of two neighbours, floor((a + b) / 2) and a - b, along one axis after another. Exact.

    The two numbers determine a and b, so nothing is lost by the rounding (the integer Haar transform of Calderbank,
    Daubechies, Sweldens & Yeo, "Wavelet Transforms That Map Integers to Integers", 1998, section 2). The means are a
    picture of half the size, with the levels of x. A mean s of levels 0, ..., m leaves the differences of size
    min(2 s + 1, 2 (m - s)) at most to its pair, all of which occur: these are the `limits`. A difference d is the level
    d + m of a part, so equal neighbours have the level in the middle.

    The parts are the coarsest picture and, from coarse to fine, the differences along the first axis, then along the
    second, and so on.

    Attributes:
      levels: number of times that each axis is halved.
    """

    levels: int = 1

    KINDS = ("levels", "binary")

    def __post_init__(self):
        super().__post_init__()
        self.check_grid(2, self.levels)

    @property
    def _top(self) -> int:
        """m, the highest level."""
        return self.event.num_levels - 1

    def _axes(self) -> Iterator[int]:
        """The axis that each part but the first refines, counted from 0, in the order of the parts."""
        for _ in range(self.levels):
            yield from range(len(self.event.grid_shape))

    def _pictures(self) -> list[EventSpec]:
        """The means that each part but the first refines, and x itself."""
        grid = [side // 2**self.levels for side in self.event.grid_shape]
        pictures = [dataclasses.replace(self.event, grid_shape=tuple(grid))]
        for axis in self._axes():
            grid[axis] *= 2
            pictures.append(dataclasses.replace(self.event, grid_shape=tuple(grid)))
        return pictures

    @property
    def events(self) -> tuple[EventSpec, ...]:
        """The coarsest means, then the differences of each pair."""
        means, value, num = self._pictures(), self.event.value_shape, 2 * self._top + 1
        return (means[0], *(EventSpec(each.grid_shape, value, "levels", num) for each in means[:-1]))

    @property
    def contexts(self) -> tuple[ContextSpec, ...]:
        return (NO_CONTEXT, *(stacked_context(each, 1) for each in self._pictures()[:-1]))

    def split(self, x: Array) -> tuple[jax.Array, ...]:
        x = jnp.asarray(x, jnp.int32)
        details: list[jax.Array] = []
        for axis in reversed(list(self._axes())):
            first, second = (jnp.take(x, jnp.arange(i, x.shape[1 + axis], 2), 1 + axis) for i in (0, 1))
            x, details = (first + second) // 2, [first - second + self._top, *details]
        return (x, *details)

    def join(self, parts: Sequence[Array]) -> jax.Array:
        """The picture with these means and differences; with fewer parts, a coarser one."""
        x = jnp.asarray(parts[0])
        for part, axis in zip(parts[1:], self._axes(), strict=False):
            difference = part - self._top
            first = x + (difference + 1) // 2
            pair = jnp.stack([first, first - difference], 2 + axis)
            x = pair.reshape(*x.shape[: 1 + axis], -1, *x.shape[2 + axis :])
        return x

    def context(self, k: int, before: Sequence[Array]) -> dict[str, jax.Array]:
        return stacked_values(self.event, [self.join(before)]) if k else {}

    def limited(self, k: int) -> bool:
        return k > 0

    def limits(self, k: int, before: Sequence[Array], num: int) -> Limits | None:
        """Differences that keep both values of a pair in the range of x."""
        if not k:
            return None
        mean = self.context(k, before)[COARSE]
        most = jnp.minimum(2 * mean + 1, 2 * (self._top - mean))
        return self._top - most, self._top + most
