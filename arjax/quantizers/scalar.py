"""Quantizers without a codebook: each scalar of a vector is rounded to a few levels, or is the sign of a bit."""

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
from arjax.quantizers.base import QUANTIZERS, Assigned, Grid, Params, Quantizer, mean_by_weight, squared_distances

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
      digits: tokens are vectors of digits at each site, not numbers: for ordinal and `nested` conditionals. Where the
        L_i differ, values of the prior beyond L_i count as the largest digit.
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
        """Returns numbers of codes, or digits; a single digit is ordinal itself."""
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
        """Returns the digits of numbers, [...] -> int32[..., d]."""
        return (numbers[..., None].astype(jnp.int32) // jnp.asarray(self._basis)) % jnp.asarray(self._levels)

    def bounded(self, h: jax.Array) -> jax.Array:
        """Returns f(h), float32[..., d]: rounding gives whole numbers from -floor(L/2) to floor((L-1)/2)."""
        half, offset = (self._levels - 1) * (1 + MARGIN) / 2, np.where(self._levels % 2, 0.0, 0.5)
        shift = jnp.asarray(np.arctanh(offset / half), jnp.float32)
        return jnp.asarray(half) * jnp.tanh(h.astype(jnp.float32) + shift) - offset

    def assign(self, params: Params, h: jax.Array) -> Assigned:
        h = jax.lax.stop_gradient(h).astype(jnp.float32).reshape(len(h), -1, self.width)
        digits = jnp.round(self.bounded(h)).astype(jnp.int32) + self._levels // 2
        digits = jnp.clip(digits, 0, self._levels - 1)
        return Assigned(h, (digits * self._basis).sum(-1).astype(jnp.int32))

    def distances(self, params: Params, h: jax.Array) -> jax.Array:
        """Returns squared distances of f(h) from the codes, in units of levels."""
        digits = self._digits(jnp.arange(self.num_codes)) - self._levels // 2
        return squared_distances(self.bounded(h).reshape(len(h), -1, self.width), digits.astype(jnp.float32))

    def lookup(self, params: Params, numbers: jax.Array, grid: Grid) -> jax.Array:
        z = self._digits(numbers) - self._levels // 2
        return (z / (self._levels // 2)).astype(jnp.float32).reshape(len(numbers), *grid, self.width)

    def passed(self, params: Params, h: jax.Array, codes: jax.Array) -> jax.Array:
        """Returns the codes with the gradient of f(h) / floor(L / 2)."""
        bounded = self.bounded(h) / (self._levels // 2)
        return super().passed(params, bounded, codes)

    def vectors(self, params: Params, numbers: jax.Array, grid: Grid) -> jax.Array:
        half, offset = (self._levels - 1) * (1 + MARGIN) / 2, np.where(self._levels % 2, 0.0, 0.5)
        z: Any = self.lookup(params, numbers, grid) * (self._levels // 2)
        return jnp.arctanh((z + offset) / half) - np.arctanh(offset / half)


#: More codes than 2^20 would not fit as the table of the entropy of their mean.
MOST_BITS = 20


@QUANTIZERS.register("lfq")
@dataclasses.dataclass(frozen=True)
class Lfq(Quantizer):
    """Codes sign(h) of +1 and -1; bit i of the number of a code is 1 where h_i > 0.

    Yu et al., "Language Model Beats Diffusion: Tokenizer is Key to Visual Generation" (2024), section 3 (equations 3
    to 5). Its loss has the entropies E[H(q(c | h))] - H(E[q(c | h)]), which make single assignments certain and all of
    them together even, and the commitment |h - sign(h)|^2. The assignment q(c | h) is proportional to
    exp(-|h - c|^2 / temperature): its bits are independent, with probabilities sigmoid(4 h_i / temperature). The mean
    is over the batch (or micro-batch); its entropy, over all 2^bits codes, is exact.

    Attributes:
      bits: of a code, at most 20; there are 2^bits codes.
      entropy, commitment: weights of these terms of the loss.
      temperature: of q(c | h).
    """

    bits: int = opt(8, most=MOST_BITS)
    entropy: float = opt(0.1, least=0)
    commitment: float = opt(0.25, least=0)
    temperature: float = opt(1.0, above=0)

    @property
    def num_codes(self) -> int:
        return 2**self.bits

    @property
    def width(self) -> int:
        return self.bits

    def assign(self, params: Params, h: jax.Array) -> Assigned:
        h = jax.lax.stop_gradient(h).astype(jnp.float32).reshape(len(h), -1, self.bits)
        return Assigned(h, ((h > 0) * (2 ** np.arange(self.bits))).sum(-1).astype(jnp.int32))

    def distances(self, params: Params, h: jax.Array) -> jax.Array:
        h_BTE = h.astype(jnp.float32).reshape(len(h), -1, self.bits)
        return squared_distances(h_BTE, self.lookup(params, jnp.arange(self.num_codes)[None], (self.num_codes,))[0])

    def lookup(self, params: Params, numbers: jax.Array, grid: Grid) -> jax.Array:
        bits = (numbers[..., None].astype(jnp.int32) >> np.arange(self.bits)) & 1
        return (2.0 * bits - 1.0).astype(jnp.float32).reshape(len(numbers), *grid, self.bits)

    def loss(self, params: Params, h: jax.Array, weight_B: jax.Array) -> jax.Array:
        """Returns entropy (E[H(q)] - H(E[q])) + commitment |h - sign(h)|^2, the latter a mean over scalars; nats."""
        h_BTE = h.astype(jnp.float32).reshape(len(h), -1, self.bits)
        signs_BTE = jnp.where(h_BTE > 0, 1.0, -1.0)
        commitment = self.commitment * mean_by_weight((h_BTE - signs_BTE) ** 2, weight_B)
        if not self.entropy:
            return commitment
        log_on, log_off = (jax.nn.log_sigmoid(s * 4 * h_BTE / self.temperature) for s in (1, -1))
        of_one_BT = -(jnp.exp(log_on) * log_on + jnp.exp(log_off) * log_off).sum(-1)
        mean_K = _mean_assignment(jnp.stack([jnp.exp(log_off), jnp.exp(log_on)], -1), weight_B)
        of_mean = -(mean_K * jnp.log(jnp.where(mean_K > 0, mean_K, 1.0))).sum()
        return commitment + self.entropy * (mean_by_weight(of_one_BT, weight_B) - of_mean)


def _mean_assignment(p_BTE2: jax.Array, weight_B: jax.Array) -> jax.Array:
    """Returns E[q(c)] over examples and sites, float32[2^bits], from the probabilities of bits 0 and 1. The
    probabilities of the higher and the lower bits of a code multiply, so that the mean is one matrix product.
    """
    bits = p_BTE2.shape[2]
    p_NE2 = p_BTE2.reshape(-1, bits, 2)
    low, high = (_products(p_NE2[:, part]) for part in (slice(0, bits // 2), slice(bits // 2, bits)))
    weight_N = jnp.repeat(weight_B, p_BTE2.shape[1])
    total = weight_N.sum()
    weight_N = weight_N / jnp.where(total > 0, total, 1.0)
    return jnp.einsum("nh,nl->hl", weight_N[:, None] * high, low, precision="highest").reshape(-1)


def _products(p_NE2: jax.Array) -> jax.Array:
    """Returns the probabilities of all numbers of some bits, the first bit varies fastest: [N, 2^E]."""
    joint = jnp.ones((len(p_NE2), 1), jnp.float32)
    for i in range(p_NE2.shape[1]):
        joint = (p_NE2[:, i, :, None] * joint[:, None, :]).reshape(len(p_NE2), -1)
    return joint
