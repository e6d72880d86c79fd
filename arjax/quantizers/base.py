"""The contract of a quantizer: vectors on a grid become codes with numbers, and numbers become codes again."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from arjax.core.errors import UserError
from arjax.core.registry import Registry
from arjax.core.spec import EventSpec

Params = Any
State = Any
Grid = tuple[int, ...]
#: Classes of quantizers, by the names of call strings such as `fsq(levels=(8, 6, 5))`.
QUANTIZERS = Registry("quantizer")


class Assigned(NamedTuple):
    """Vectors float32[B, T, E] of B examples, and the numbers of the codes that they became, int32[B, T]."""

    vectors: jax.Array
    numbers: jax.Array


@dataclasses.dataclass(frozen=True)
class Quantizer:
    """Vectors [B, *grid, E] as T codes of K each; G is the grid, such as (7, 7). Subclasses are frozen dataclasses
    whose fields are options of a call string.

    A *code* is a vector, its *number* is a whole number from 0 to K - 1, and *tokens* are the numbers in the form of
    the event that a prior models. All methods are pure, compute in float32 and hold no arrays: trained codes are among
    the parameters of a model, their statistics in the state of the objective that trains them.
    """

    #: Whether the codes of some tokens become the same tokens again, and every combination of codes can occur.
    IDEMPOTENT: ClassVar[bool] = True
    #: Whether the codes follow the vectors by statistics that an objective keeps, see `init_state`.
    LEARNS: ClassVar[bool] = False

    def __str__(self) -> str:
        return f"the quantizer {QUANTIZERS.name_of(type(self))!r}"

    @property
    def num_codes(self) -> int:
        """K."""
        raise NotImplementedError

    @property
    def width(self) -> int:
        """E, the scalars of a vector."""
        raise NotImplementedError

    def check_grid(self, grid: Grid) -> None:
        """Refuses a grid of vectors that it cannot quantize."""

    def num_tokens(self, grid: Grid) -> int:
        """Returns T."""
        return math.prod(grid)

    def token_event(self, grid: Grid) -> EventSpec:
        """Returns the event of the tokens of an example."""
        return EventSpec(grid, (), "tokens", self.num_codes)

    def numbers_of(self, tokens: jax.Array) -> jax.Array:
        """Returns the numbers of codes in tokens [B, *token event], int32[B, T]."""
        return tokens.reshape(len(tokens), -1).astype(jnp.int32)

    def tokens_of(self, numbers: jax.Array, grid: Grid) -> jax.Array:
        """Returns the inverse: tokens int32[B, *token event] of numbers [B, T]."""
        return numbers.reshape(len(numbers), *self.token_event(grid).shape).astype(jnp.int32)

    def init(self, key: jax.Array) -> Params:
        """Returns fresh parameters, float32; none for fixed codes."""
        return {}

    def assign(self, params: Params, h: jax.Array) -> Assigned:
        """Returns the nearest codes of vectors h [B, *grid, E], without a gradient."""
        raise NotImplementedError

    def distances(self, params: Params, h: jax.Array) -> jax.Array:
        """Returns squared distances of vectors h [B, *grid, E] to all codes, float32[B, T, K]; only h has gradients."""
        raise UserError(f"{self} has no distances of vectors to its codes")

    def lookup(self, params: Params, numbers: jax.Array, grid: Grid) -> jax.Array:
        """Returns the codes of numbers int32[B, T] on the grid, float32[B, *grid, E]."""
        raise NotImplementedError

    def passed(self, params: Params, h: jax.Array, codes: jax.Array) -> jax.Array:
        """Returns the codes of the vectors h, as from `lookup`, with the gradient for h: by default that of the
        identity (the straight-through estimator; Bengio, Leonard & Courville, "Estimating or Propagating Gradients
        Through Stochastic Neurons", 2013).
        """
        h = h.astype(jnp.float32)
        return jax.lax.stop_gradient(codes) + (h - jax.lax.stop_gradient(h))  # the codes to the bit

    def vectors(self, params: Params, numbers: jax.Array, grid: Grid) -> jax.Array:
        """Returns vectors float32[B, *grid, E] that become these numbers, where the quantizer is `IDEMPOTENT`."""
        return self.lookup(params, numbers, grid)

    def loss(self, params: Params, h: jax.Array, weight_B: jax.Array) -> jax.Array:
        """Returns its loss of the vectors of a batch, float32[], a mean over examples by weight; 0 by default."""
        return jnp.zeros((), jnp.float32)

    def init_state(self, key: jax.Array) -> State:
        """Returns the statistics of codes that follow the vectors (`LEARNS`), a dict of float32 arrays."""
        return {}

    def collect(self, params: Params, state: State, assigned: Assigned, weight_B: jax.Array, key: jax.Array) -> State:
        """Returns the statistics with one more batch, or micro-batch; `key` chooses the vectors that are kept."""
        return state

    def follow(self, params: Params, state: State) -> tuple[Params, State]:
        """Returns the parameters and the statistics after a train step, whose batches were collected."""
        return params, state


def make_quantizer(text: str) -> Quantizer:
    """Returns the quantizer of a call string, such as `fsq(levels=(8, 6, 5))`."""
    return QUANTIZERS.call(text)


def squared_distances(v_BTE: jax.Array, codes_KE: jax.Array) -> jax.Array:
    """Returns |v - e_k|^2, float32[B, T, K]."""
    dots_BTK = jnp.einsum("bte,ke->btk", v_BTE, codes_KE, precision="highest")
    return (v_BTE**2).sum(-1, keepdims=True) - 2 * dots_BTK + (codes_KE**2).sum(-1)


def mean_by_weight(values_B: jax.Array, weight_B: jax.Array) -> jax.Array:
    """Returns the mean of [B, ...] over the examples by their weights, and over all other axes; 0 without weights."""
    by_example_B = values_B.reshape(len(values_B), -1).mean(-1)
    total = weight_B.sum()
    return jnp.where(weight_B > 0, weight_B * by_example_B, 0.0).sum() / jnp.where(total > 0, total, 1.0)
