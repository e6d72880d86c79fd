"""Pictures from coarse to fine: sub-sampled sites, means of cells, and the integer Haar transform."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp

from arjax.core.batch import Array
from arjax.core.errors import UserError
from arjax.core.options import opt
from arjax.core.spec import NO_CONTEXT, ContextSpec, EventSpec
from arjax.stages import base


@base.STAGES.register("subsampled")
@dataclasses.dataclass(frozen=True)
class Subsampled(base.Stages):
    """c_1: the sites with coordinates that are multiples of factor^levels; then those of factor^(levels - 1) that are
    not among them, and so on to all sites. Exact: a site belongs to one part.

    The finer sites of a scale lie on the grid of the coarser one, with the factor^rank - 1 new sites of a cell along a
    last axis, as the channels of an image: in a plane, the order `symmetry(axes=(2, 0, 1))` with blocks draws them set
    by set, and the partition `whole` at once. With `apart` each of these sets, a small image, is a stage of its own
    (Menick & Kalchbrenner, "Subscale Pixel Networks", 2019, section 3.1), which reads the sets before it.

    Attributes:
      factor: between one scale and the next, along each axis.
      levels: number of scales beside the coarsest.
      apart: whether each set of sites that are `factor` apart is a stage.
    """

    factor: int = opt(2, least=2)
    levels: int = 1
    apart: bool = False

    def __post_init__(self):
        super().__post_init__()
        self.check_grid(self.factor, self.levels)
        if not self.apart and self._rank != 2 and self.factor**self._rank > 2:
            raise UserError(
                f"the new sites of a cell are the channels of an image: on a grid of {self._rank} axes take "
                "subsampled(apart=True), or on a line the factor 2"
            )

    @property
    def _rank(self) -> int:
        return len(self.event.grid_shape)

    @property
    def _finer(self) -> int:
        """The number of sites of a cell that are not on the coarser grid."""
        return self.factor**self._rank - 1

    def _pictures(self) -> Iterator[EventSpec]:
        """Yields the coarsest scale, and the coarser grid of each further one."""
        for level in range(self.levels, 0, -1):
            yield base.coarser(self.event, self.factor**level)

    @property
    def events(self) -> tuple[EventSpec, ...]:
        """The coarsest picture, then the other sites of each scale."""
        parts = [next(self._pictures())]
        for picture in self._pictures():
            if self.apart:
                parts += [picture] * self._finer
            else:
                axis = (self._finer,) if self._finer > 1 else ()
                parts.append(dataclasses.replace(picture, grid_shape=(*picture.grid_shape, *axis)))
        return tuple(parts)

    @property
    def contexts(self) -> tuple[ContextSpec, ...]:
        """The coarser picture and, where sets are apart, the sets before, at the same site."""
        sets = range(1, self._finer + 1) if self.apart else (1,)
        contexts = [base.stacked_context(picture, num) for picture in self._pictures() for num in sets]
        return (base.stacked_context(self.event, 0), *contexts)

    def _parts_of(self, x: Array) -> tuple[jax.Array, ...]:
        """Returns the parts of values, or of marks of sites."""
        x, axis = jnp.asarray(x), 1 + self._rank
        parts: list[jax.Array] = []
        for _ in range(self.levels):
            cells = base.to_cells(x, self._rank, self.factor)
            x, finer = jnp.take(cells, 0, axis), jnp.delete(cells, 0, axis, assume_unique_indices=True)
            if self.apart or self._finer == 1:
                parts = [*(jnp.take(finer, i, axis) for i in range(self._finer)), *parts]
            else:
                parts = [finer, *parts]
        return (x, *parts)

    def split(self, x: Array) -> tuple[jax.Array, ...]:
        return self._parts_of(jnp.asarray(x, self.event.dtype))

    def join(self, parts: Sequence[Array]) -> jax.Array:
        x, *rest = map(jnp.asarray, parts)
        axis = 1 + self._rank
        while rest:  # the next scale
            num = self._finer if self.apart else 1
            finer, rest = rest[:num], rest[num:]
            if not self.apart and self._finer > 1:
                finer = [jnp.take(finer[0], i, axis) for i in range(self._finer)]
            x = base.from_cells(jnp.stack([x, *finer], axis), self._rank, self.factor)
        return x

    def context(self, k: int, before: Sequence[Array]) -> dict[str, jax.Array]:
        if not k:
            return {}
        num = self._finer if self.apart else 1
        whole = (k - 1) // num * num  # the parts of finished scales beside the coarsest
        return base.stacked_values(self.event, [self.join(before[: whole + 1]), *before[whole + 1 :]])

    def masks(self, mask: Array) -> tuple[jax.Array, ...]:
        return self._parts_of(mask)


@base.STAGES.register("averaged")
@dataclasses.dataclass(frozen=True)
class Averaged(base.Stages):
    """c_n = x, and each c_(k-1) the means of c_k over cells of `factor` sites a side, rounded to levels. A bound.

    The coarser pictures are functions of x, so the parts of x are one of many ways to draw it: log p(c_1) + log p(c_2 |
    c_1) + ... is at most log p(x), the logarithm of the sum over all coarser pictures, and on average below it by the
    nats that the model spends on finer pictures with other means. Cascades of Ho et al., "Cascaded Diffusion Models for
    High Fidelity Image Generation" (2022).

    Attributes:
      factor: between one scale and the next, along each axis.
      levels: number of scales beside x.
    """

    factor: int = opt(2, least=2)
    levels: int = 1

    exact = False
    KINDS = ("levels", "binary")

    def __post_init__(self):
        super().__post_init__()
        self.check_grid(self.factor, self.levels)

    @property
    def events(self) -> tuple[EventSpec, ...]:
        return tuple(base.coarser(self.event, self.factor**level) for level in range(self.levels, -1, -1))

    @property
    def contexts(self) -> tuple[ContextSpec, ...]:
        """The next coarser picture; the ones before it are functions of that."""
        return (NO_CONTEXT, *(base.stacked_context(event, 1) for event in self.events[:-1]))

    def split(self, x: Array) -> tuple[jax.Array, ...]:
        rank = len(self.event.grid_shape)
        size, stages = self.factor**rank, [jnp.asarray(x, jnp.int32)]
        for _ in range(self.levels):
            total = base.to_cells(stages[0], rank, self.factor).sum(1 + rank)
            stages = [(total + size // 2) // size, *stages]
        return tuple(stages)

    def join(self, parts: Sequence[Array]) -> jax.Array:
        return jnp.asarray(parts[-1])

    def context(self, k: int, before: Sequence[Array]) -> dict[str, jax.Array]:
        return base.stacked_values(self.event, before[-1:]) if k else {}


@base.STAGES.register("haar")
@dataclasses.dataclass(frozen=True)
class Haar(base.Stages):
    """The mean and the difference of two neighbours, floor((a + b) / 2) and a - b, along one axis after another. Exact.

    The two numbers determine a and b, so nothing is lost by the rounding (the integer Haar transform of Calderbank,
    Daubechies, Sweldens & Yeo, "Wavelet Transforms That Map Integers to Integers", 1998, section 2). The means are a
    picture of half the size, with the levels of x. A mean s of levels 0, ..., m leaves its pair all differences of size
    up to min(2 s + 1, 2 (m - s)): these are the `limits`. A difference d is the level d + m of a part, so equal
    neighbours have the level in the middle. The parts are the coarsest picture and, from coarse to fine, the
    differences along the first axis, then along the second, and so on. Each axis is halved `levels` times.
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
        """Yields the axis, counted from 0, that each part but the first refines."""
        for _ in range(self.levels):
            yield from range(len(self.event.grid_shape))

    def _pictures(self) -> list[EventSpec]:
        """Returns the means that each part but the first refines, and x itself."""
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
        return (NO_CONTEXT, *(base.stacked_context(each, 1) for each in self._pictures()[:-1]))

    def split(self, x: Array) -> tuple[jax.Array, ...]:
        x = jnp.asarray(x, jnp.int32)
        details: list[jax.Array] = []
        for axis in reversed(list(self._axes())):
            first, second = (jnp.take(x, jnp.arange(i, x.shape[1 + axis], 2), 1 + axis) for i in (0, 1))
            x, details = (first + second) // 2, [first - second + self._top, *details]
        return (x, *details)

    def join(self, parts: Sequence[Array]) -> jax.Array:
        """Returns the picture with these means and differences; with fewer parts, a coarser one."""
        x = jnp.asarray(parts[0])
        for part, axis in zip(parts[1:], self._axes(), strict=False):
            difference = part - self._top
            first = x + (difference + 1) // 2
            pair = jnp.stack([first, first - difference], 2 + axis)
            x = pair.reshape(*x.shape[: 1 + axis], -1, *x.shape[2 + axis :])
        return x

    def context(self, k: int, before: Sequence[Array]) -> dict[str, jax.Array]:
        return base.stacked_values(self.event, [self.join(before)]) if k else {}

    def limited(self, k: int) -> bool:
        return k > 0

    def limits(self, k: int, before: Sequence[Array], num: int) -> base.Limits | None:
        """Returns the differences that keep both values of a pair in the range of x."""
        if not k:
            return None
        mean = self.context(k, before)[base.COARSE]
        most = jnp.minimum(2 * mean + 1, 2 * (self._top - mean))
        return self._top - most, self._top + most
