"""Recurrences whose state is a vector h [R] and whose A_t is diagonal: h_t = a_t h_(t-1) + b_t, feature by feature."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp


def linear_recurrence(a_BTR: jax.Array, b_BTR: jax.Array) -> jax.Array:
    """h_t = a_t h_(t-1) + b_t from h_(-1) = 0, all steps in O(log T) parallel ones."""

    def after(first: tuple[jax.Array, jax.Array], second: tuple[jax.Array, jax.Array]):
        return first[0] * second[0], second[0] * first[1] + second[1]

    return jax.lax.associative_scan(after, (a_BTR, b_BTR), axis=1)[1]


class Diagonal(NamedTuple):
    """The terms of all steps, float32[B, T, R] each, with the methods of the recurrences of `matrix_states`."""

    a: jax.Array
    b: jax.Array

    def run(self, state: jax.Array | None, chunk_size: int = 64) -> tuple[jax.Array, jax.Array]:
        """All steps from a state [B, R], None for 0: (the state after them, h [B, T, R])."""
        b = self.b if state is None else self.b.at[:, 0].add(self.a[:, 0] * state)
        h_BTR = linear_recurrence(self.a, b)
        return h_BTR[:, -1], h_BTR

    def step(self, state: jax.Array) -> tuple[jax.Array, jax.Array]:
        """One step, the only one of these terms."""
        state = self.a[:, 0] * state + self.b[:, 0]
        return state, state[:, None]

    def masked(self, valid_T: jax.Array) -> Diagonal:
        """The steps that are not valid leave the state alone."""
        return Diagonal(jnp.where(valid_T[:, None], self.a, 1), jnp.where(valid_T[:, None], self.b, 0))
