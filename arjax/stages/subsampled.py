"""Sub-sampled scales: every factor-th site first, then the sites between."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp

from arjax.core.batch import Array
from arjax.core.errors import UserError
from arjax.core.options import opt
from arjax.core.spec import ContextSpec, EventSpec
from arjax.stages.base import STAGES, Stages, coarser, from_cells, stacked_context, stacked_values, to_cells


@STAGES.register("subsampled")
@dataclasses.dataclass(frozen=True)
class Subsampled(Stages):
    """c_1: the sites with coordinates that are multiples of factor^levels; then those of factor^(levels - 1) that are
    not among them, and so on to all sites. Exact: a site belongs to one part.

    The finer sites of a scale lie on the grid of the coarser one, with the factor^rank - 1 new sites of a cell along a
    last axis, as the channels of an image: of a plane, the order `symmetry(axes=(2, 0, 1))` with blocks draws them set
    by set, and the partition `whole` at once.
    With `apart` each of these sets, a small image, is a stage of its own (Menick & Kalchbrenner, "Subscale Pixel
    Networks", 2019, section 3.1), which reads the sets before it.

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
        """The coarsest scale, and the coarser grid of each further one."""
        for level in range(self.levels, 0, -1):
            yield coarser(self.event, self.factor**level)

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
        contexts = [stacked_context(picture, num) for picture in self._pictures() for num in sets]
        return (stacked_context(self.event, 0), *contexts)

    def _parts_of(self, x: Array) -> tuple[jax.Array, ...]:
        """Of values, or of marks of sites."""
        x, axis = jnp.asarray(x), 1 + self._rank
        parts: list[jax.Array] = []
        for _ in range(self.levels):
            cells = to_cells(x, self._rank, self.factor)
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
            x = from_cells(jnp.stack([x, *finer], axis), self._rank, self.factor)
        return x

    def context(self, k: int, before: Sequence[Array]) -> dict[str, jax.Array]:
        if not k:
            return {}
        num = self._finer if self.apart else 1
        whole = (k - 1) // num * num  # the parts of finished scales beside the coarsest
        return stacked_values(self.event, [self.join(before[: whole + 1]), *before[whole + 1 :]])

    def masks(self, mask: Array) -> tuple[jax.Array, ...]:
        return self._parts_of(mask)
