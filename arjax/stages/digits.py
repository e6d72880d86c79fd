"""Digits of a value: first all leading digits, then the next ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from arjax.core.batch import Array
from arjax.core.errors import UserError
from arjax.core.options import opt
from arjax.core.spec import ContextSpec, EventSpec
from arjax.stages.base import STAGES, Limits, Stages, stacked_context, stacked_values


@STAGES.register("digits")
@dataclasses.dataclass(frozen=True)
class Digits(Stages):
    """x = sum_k c_k base^(n - k): the n digits of each scalar, the leading one first. Exact.

    256 levels are 8 digits of base 2, 4 of base 4 or 2 of base 16. A model of 65,536 levels needs as many logits for
    each site; one of its digits needs `base`. Upscaling of Hoogeboom et al., "Autoregressive Diffusion Models" (2022),
    section 3.3; the depth of Menick & Kalchbrenner, "Subscale Pixel Networks" (2019), section 3.2. Where the number of
    levels is not a power of the base, `limits` leaves out the digits of missing values.
    """

    base: int = opt(16, least=2)

    KINDS = ("levels", "tokens")

    def __post_init__(self):
        super().__post_init__()
        if self.event.num_levels <= self.base:
            raise UserError(f"{self.event.num_levels} values have one digit of base {self.base}: take a smaller base")

    @property
    def num_digits(self) -> int:
        """n, the least number of digits that write all values."""
        n = 1
        while self.base**n < self.event.num_levels:
            n += 1
        return n

    @property
    def _digit(self) -> EventSpec:
        digit = dataclasses.replace(self.event, num_levels=self.base)
        return dataclasses.replace(digit, kind="binary") if self.base == 2 else digit

    @property
    def events(self) -> tuple[EventSpec, ...]:
        return (self._digit,) * self.num_digits

    @property
    def contexts(self) -> tuple[ContextSpec, ...]:
        return tuple(stacked_context(self._digit, k) for k in range(self.num_digits))

    def _place(self, k: int) -> int:
        """Returns the value of a one in digit k."""
        return self.base ** (self.num_digits - 1 - k)

    def split(self, x: Array) -> tuple[jax.Array, ...]:
        x = jnp.asarray(x, jnp.int32)
        return tuple(x // self._place(k) % self.base for k in range(self.num_digits))

    def join(self, parts: Sequence[Array]) -> jax.Array:
        return sum((jnp.asarray(part) * self._place(k) for k, part in enumerate(parts)), jnp.zeros_like(parts[0]))

    def context(self, k: int, before: Sequence[Array]) -> dict[str, jax.Array]:
        return stacked_values(self.event, before)

    def limited(self, k: int) -> bool:
        """Returns whether the largest value has a smaller digit here than base - 1."""
        return (self.event.num_levels - 1) // self._place(k) % self.base < self.base - 1

    def limits(self, k: int, before: Sequence[Array], num: int) -> Limits | None:
        """Returns all digits; behind the leading digits of the largest value, only digits up to its own."""
        if not self.limited(k):
            return None
        largest = self.event.num_levels - 1
        is_largest = jnp.ones((num, *self.event.shape), bool)
        for i, part in enumerate(before):
            is_largest = is_largest & (part == largest // self._place(i) % self.base)
        high = jnp.where(is_largest, largest // self._place(k) % self.base, self.base - 1)
        return jnp.zeros_like(high), high

    def masks(self, mask: Array) -> tuple[jax.Array, ...]:
        return (jnp.asarray(mask),) * self.num_digits
