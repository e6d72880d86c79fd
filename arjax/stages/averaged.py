"""Averaged scales: a small picture of means first, then the picture itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from arjax.core.batch import Array
from arjax.core.options import opt
from arjax.core.spec import NO_CONTEXT, ContextSpec, EventSpec
from arjax.stages.base import STAGES, Stages, coarser, stacked_context, stacked_values, to_cells


@STAGES.register("averaged")
@dataclasses.dataclass(frozen=True)
class Averaged(Stages):
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
        return tuple(coarser(self.event, self.factor**level) for level in range(self.levels, -1, -1))

    @property
    def contexts(self) -> tuple[ContextSpec, ...]:
        """The next coarser picture; the ones before it are functions of that."""
        return (NO_CONTEXT, *(stacked_context(event, 1) for event in self.events[:-1]))

    def split(self, x: Array) -> tuple[jax.Array, ...]:
        rank = len(self.event.grid_shape)
        size, stages = self.factor**rank, [jnp.asarray(x, jnp.int32)]
        for _ in range(self.levels):
            total = to_cells(stages[0], rank, self.factor).sum(1 + rank)
            stages = [(total + size // 2) // size, *stages]
        return tuple(stages)

    def join(self, parts: Sequence[Array]) -> jax.Array:
        return jnp.asarray(parts[-1])

    def context(self, k: int, before: Sequence[Array]) -> dict[str, jax.Array]:
        return stacked_values(self.event, before[-1:]) if k else {}
