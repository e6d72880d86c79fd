"""Residual quantization over scales: a coarse grid of codes first, then the rest, scale by scale."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.errors import UserError, refuse
from arjax.core.options import opt
from arjax.core.spec import EventSpec
from arjax.quantizers.base import QUANTIZERS, Assigned, Grid, Params, Quantizer, State, make_quantizer, mean_by_weight

#: The parameters of the quantizer of all scales, and the kernels of the smoothing convolutions.
OF, KERNELS = "of", "kernels"
#: The weight of a convolution beside the codes themselves.
SMOOTHED = 0.5


@QUANTIZERS.register("residual")
@dataclasses.dataclass(frozen=True)
class ResidualQuantizer(Quantizer):
    """Squares of s x s codes for each of the scales s, coarse to fine: each scale quantizes what the ones before left.

    Tian, Jiang, Yuan, Peng & Wang, "Visual Autoregressive Modeling: Scalable Image Generation via Next-Scale
    Prediction" (2024), algorithms 1 and 2: the rest f of the vectors is reduced to s x s means, one quantizer of all
    scales makes codes of these, a bicubic interpolation brings the codes back to the grid, a 3 x 3 convolution (of
    weight 1/2, beside the interpolation itself) smooths them, and they are subtracted from f. Their sum stands for the
    vectors. The tokens of all scales are one sequence: the partition `sizes` cuts it, `sizes(sizes=(1, 4, 16, 49))` for
    these scales. Its loss is the mean over the scales of |sum so far - h|^2, by which the convolutions learn, and
    `commitment` times the same for h.

    Attributes:
      scales: sides of the squares; the last is that of the grid.
      of: the quantizer of every scale; its own loss has no part.
      convolutions: smoothing ones, which neighbouring scales share; 0: none.
      commitment: weight of the gradient for h.
    """

    scales: tuple[int, ...] = opt((1, 2, 4, 7), most=2**12, fewest=1)
    of: str = "vq(codes=512)"
    convolutions: int = opt(4, least=0)
    commitment: float = opt(0.25, least=0)

    #: The codes of a sum need not be the codes that it was made of.
    IDEMPOTENT: ClassVar[bool] = False

    def __post_init__(self):
        falls = any(b <= a for a, b in itertools.pairwise(self.scales))
        nested = "the quantizer 'residual' has one quantizer for all scales, which is no residual one"
        refuse(
            (falls, f"the scales of the quantizer 'residual' must grow from one to the next, not {self.scales}"),
            (isinstance(self.inner, ResidualQuantizer), nested),
        )

    @property
    def inner(self) -> Quantizer:
        return make_quantizer(self.of)

    @property
    def LEARNS(self) -> bool:  # type: ignore[override]  # a constant of other quantizers
        return self.inner.LEARNS

    @property
    def num_codes(self) -> int:
        return self.inner.num_codes

    @property
    def width(self) -> int:
        return self.inner.width

    @property
    def _sizes(self) -> list[int]:
        return [side**2 for side in self.scales]

    def check_grid(self, grid: Grid) -> None:
        if grid != (self.scales[-1],) * 2:
            side = self.scales[-1]
            raise UserError(
                f"the scales {self.scales} of the quantizer 'residual' end with a grid of {side} x {side} vectors, not "
                f"{' x '.join(map(str, grid))}"
            )

    def num_tokens(self, grid: Grid) -> int:
        return sum(self._sizes)

    def token_event(self, grid: Grid) -> EventSpec:
        """Returns one sequence, the coarsest scale first."""
        return self.inner.token_event((self.num_tokens(grid),))

    def numbers_of(self, tokens: jax.Array) -> jax.Array:
        return self.inner.numbers_of(tokens)

    def tokens_of(self, numbers: jax.Array, grid: Grid) -> jax.Array:
        return self.inner.tokens_of(numbers, (self.num_tokens(grid),))

    def init(self, key: jax.Array) -> Params:
        """Returns `of`, and `kernels` [n, 3, 3, E, E]."""
        of_inner, of_kernels = jax.random.split(key)
        params: dict[str, Any] = {OF: self.inner.init(of_inner)}
        if self.convolutions:
            shape = (self.convolutions, 3, 3, self.width, self.width)
            params[KERNELS] = jax.random.normal(of_kernels, shape) / (9 * self.width) ** 0.5
        return params

    def assign(self, params: Params, h: jax.Array) -> Assigned:
        return self._split(params, jax.lax.stop_gradient(h))[0]

    def lookup(self, params: Params, numbers: jax.Array, grid: Grid) -> jax.Array:
        ends = np.cumsum(self._sizes)[:-1]
        parts = jnp.split(numbers, ends, axis=1)
        first, *others = (self._at_grid(params, part, k) for k, part in enumerate(parts))
        return sum(others, first)

    def loss(self, params: Params, h: jax.Array, weight_B: jax.Array) -> jax.Array:
        """Returns the mean over the scales of |sum - h|^2 for the sum, and `commitment` times as much for h."""
        h = h.astype(jnp.float32)
        fixed = jax.lax.stop_gradient(h)
        total = jnp.zeros((), jnp.float32)
        for so_far in self._split(params, fixed)[1]:
            of_codes = mean_by_weight((so_far - fixed) ** 2, weight_B)
            of_h = mean_by_weight((jax.lax.stop_gradient(so_far) - h) ** 2, weight_B)
            total += of_codes + self.commitment * of_h
        return total / len(self.scales)

    def init_state(self, key: jax.Array) -> State:
        return self.inner.init_state(key)

    def collect(self, params: Params, state: State, assigned: Assigned, weight_B: jax.Array, key: jax.Array) -> State:
        return self.inner.collect(params[OF], state, assigned, weight_B, key)

    def follow(self, params: Params, state: State) -> tuple[Params, State]:
        """Lets the quantizer of the scales follow; the convolutions have gradients."""
        of_inner, state = self.inner.follow(params[OF], state)
        return params | {OF: of_inner}, state

    def _split(self, params: Params, h: jax.Array) -> tuple[Assigned, list[jax.Array]]:
        """Returns the codes of all scales without a gradient, and the sums over the first 1, 2, ... scales with one."""
        rest, so_far = h.astype(jnp.float32), jnp.zeros(h.shape, jnp.float32)
        by_scale, sums = [], []
        for k, side in enumerate(self.scales):
            reduced = jnp.einsum("sh,tw,bhwe->bste", *[_means(side, self.scales[-1])] * 2, rest, precision="highest")
            by_scale.append(self.inner.assign(params[OF], reduced))
            added = self._at_grid(params, by_scale[-1].numbers, k)
            so_far = so_far + added
            rest = jax.lax.stop_gradient(rest - added)
            sums.append(so_far)
        return Assigned(*(jnp.concatenate(parts, 1) for parts in zip(*by_scale, strict=True))), sums

    def _at_grid(self, params: Params, numbers: jax.Array, k: int) -> jax.Array:
        """Returns the addend of scale k, [B, *grid, E], from its numbers [B, s * s]."""
        side, full = self.scales[k], self.scales[-1]
        z = self.inner.lookup(params[OF], numbers, (side, side))
        z = jax.image.resize(z, (len(z), full, full, self.width), "cubic")
        if not self.convolutions:
            return z
        last = len(self.scales) - 1
        kernel = params[KERNELS][round(k * (self.convolutions - 1) / last) if last else 0]
        smooth = jax.lax.conv_general_dilated(z, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return (1 - SMOOTHED) * z + SMOOTHED * smooth


def _means(side: int, full: int) -> np.ndarray:
    """Returns means over `side` equal parts of `full` places, float32[side, full]; places on a border are in both."""
    edges = np.arange(side + 1) * full / side
    overlap = np.minimum(edges[1:, None], np.arange(full) + 1) - np.maximum(edges[:-1, None], np.arange(full))
    return (np.maximum(overlap, 0) * side / full).astype(np.float32)
