"""Finite scalar quantization: each scalar of a vector is bounded and rounded to one of a few levels."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.errors import UserError
from arjax.core.options import opt
from arjax.core.spec import MOST_LEVELS, EventSpec
from arjax.quantizers.base import QUANTIZERS, Assigned, Grid, Params, Quantizer, squared_distances

#: The part by which the bound exceeds the outer levels, so that they are reached by finite values.
MARGIN = 1e-3


@QUANTIZERS.register("fsq")
@dataclasses.dataclass(frozen=True)
class Fsq(Quantizer):
    """A code is a vector of small ordinal digits, z_i = round(f(h_i)) with L_i levels: no codebook, no further loss.

    Mentzer, Minnen, Agustsson & Tschannen, "Finite Scalar Quantization: VQ-VAE Made Simple" (2023), section 3.1:
    f(h) = (L - 1)(1 + e)/2 tanh(h + s) - o, where o = 1/2 for even L and 0 for odd ones, and s makes f(0) = 0. The
    codes are z / floor(L / 2), from -1 to 1. The gradient passes through the rounding and reaches h through f. The
    number of a code is that of its digits z_i + floor(L_i / 2) in mixed base, the first digit varies fastest.

    Attributes:
      levels: L_i of each scalar, at least 2; K is their product.
      digits: the tokens are the digits, levels of a vector at each site, in place of one number: for ordinal and
        `nested` conditionals. Where the L_i differ, values of the prior beyond L_i count as the largest digit.
    """

    levels: tuple[int, ...] = opt((8, 6, 5), least=2, most=2**16, fewest=1)
    digits: bool = False

    def __post_init__(self):
        if math.prod(self.levels) > MOST_LEVELS:
            raise UserError(f"the levels {self.levels} of the quantizer 'fsq' make more than {MOST_LEVELS} codes")

    @property
    def num_codes(self) -> int:
        return math.prod(self.levels)

    @property
    def width(self) -> int:
        return len(self.levels)

    def token_event(self, grid: Grid) -> EventSpec:
        """Numbers of codes, or digits; a single digit is ordinal itself."""
        if self.digits:
            return EventSpec(grid, (self.width,), "levels", max(self.levels))
        return EventSpec(grid, (), "levels" if self.width == 1 else "tokens", self.num_codes)

    @property
    def _levels(self) -> np.ndarray:
        return np.asarray(self.levels, np.int32)

    @property
    def _basis(self) -> np.ndarray:
        """The value of each digit in the number of a code."""
        return np.cumprod([1, *self.levels[:-1]]).astype(np.int32)

    def numbers_of(self, tokens: jax.Array) -> jax.Array:
        if not self.digits:
            return super().numbers_of(tokens)
        digits = jnp.minimum(tokens.reshape(len(tokens), -1, self.width), self._levels - 1)
        return (digits * self._basis).sum(-1).astype(jnp.int32)

    def tokens_of(self, numbers: jax.Array, grid: Grid) -> jax.Array:
        if not self.digits:
            return super().tokens_of(numbers, grid)
        return self._digits(numbers).reshape(len(numbers), *self.token_event(grid).shape)

    def _digits(self, numbers: jax.Array) -> jax.Array:
        """[...] -> int32[..., d]."""
        return (numbers[..., None].astype(jnp.int32) // jnp.asarray(self._basis)) % jnp.asarray(self._levels)

    def bounded(self, h: jax.Array) -> jax.Array:
        """f(h), float32[..., d]: rounding gives whole numbers from -floor(L/2) to floor((L-1)/2)."""
        half, offset = (self._levels - 1) * (1 + MARGIN) / 2, np.where(self._levels % 2, 0.0, 0.5)
        shift = jnp.asarray(np.arctanh(offset / half), jnp.float32)
        return jnp.asarray(half) * jnp.tanh(h.astype(jnp.float32) + shift) - offset

    def assign(self, params: Params, h: jax.Array) -> Assigned:
        h = jax.lax.stop_gradient(h).astype(jnp.float32).reshape(len(h), -1, self.width)
        digits = jnp.round(self.bounded(h)).astype(jnp.int32) + self._levels // 2
        digits = jnp.clip(digits, 0, self._levels - 1)
        return Assigned(h, (digits * self._basis).sum(-1).astype(jnp.int32))

    def distances(self, params: Params, h: jax.Array) -> jax.Array:
        """In units of levels: those of f(h) from the whole numbers."""
        digits = self._digits(jnp.arange(self.num_codes)) - self._levels // 2
        return squared_distances(self.bounded(h).reshape(len(h), -1, self.width), digits.astype(jnp.float32))

    def lookup(self, params: Params, numbers: jax.Array, grid: Grid) -> jax.Array:
        z = self._digits(numbers) - self._levels // 2
        return (z / (self._levels // 2)).astype(jnp.float32).reshape(len(numbers), *grid, self.width)

    def passed(self, params: Params, h: jax.Array, codes: jax.Array) -> jax.Array:
        """The gradient is that of f(h) / floor(L / 2)."""
        bounded = self.bounded(h) / (self._levels // 2)
        return super().passed(params, bounded, codes)

    def vectors(self, params: Params, numbers: jax.Array, grid: Grid) -> jax.Array:
        half, offset = (self._levels - 1) * (1 + MARGIN) / 2, np.where(self._levels % 2, 0.0, 0.5)
        z: Any = self.lookup(params, numbers, grid) * (self._levels // 2)
        return jnp.arctanh((z + offset) / half) - np.arctanh(offset / half)
