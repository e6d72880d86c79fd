"""Recurrences whose state is a vector h [R] and whose A_t is diagonal: h_t = a_t h_(t-1) + b_t, feature by feature."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp


def linear_recurrence(a_BTR: jax.Array, b_BTR: jax.Array) -> jax.Array:
    """h_t = a_t h_(t-1) + b_t from h_(-1) = 0.

    h solves a linear system, h - a * before(h) = b, whose transpose is the same recurrence from the last step to the
    first one: gradients need no values but a and h.
    """

    def before(x_BTR: jax.Array) -> jax.Array:
        return jnp.pad(x_BTR[:, :-1], ((0, 0), (1, 0), (0, 0)))

    def after(x_BTR: jax.Array) -> jax.Array:
        return jnp.pad(x_BTR[:, 1:], ((0, 0), (0, 1), (0, 0)))

    return jax.lax.custom_linear_solve(
        lambda h_BTR: h_BTR - a_BTR * before(h_BTR),
        b_BTR,
        lambda _, b_BTR: _run(a_BTR, b_BTR),
        lambda _, g_BTR: _run(after(a_BTR), g_BTR, reverse=True),
    )


def in_turn(a_BTR: jax.Array, b_BTR: jax.Array, reverse: bool = False) -> jax.Array:
    """The recurrence, or the one from the last step to the first, step by step."""

    def body(h_BR: jax.Array, terms: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        h_BR = terms[0] * h_BR + terms[1]
        return h_BR, h_BR

    steps = jnp.moveaxis(a_BTR, 1, 0), jnp.moveaxis(b_BTR, 1, 0)
    return jnp.moveaxis(jax.lax.scan(body, jnp.zeros_like(b_BTR[:, 0]), steps, reverse=reverse)[1], 0, 1)


def at_once(a_BTR: jax.Array, b_BTR: jax.Array, reverse: bool = False) -> jax.Array:
    """The same in O(log T) parallel steps."""

    def joined(first: tuple[jax.Array, jax.Array], second: tuple[jax.Array, jax.Array]):
        return first[0] * second[0], second[0] * first[1] + second[1]

    return jax.lax.associative_scan(joined, (a_BTR, b_BTR), reverse=reverse, axis=1)[1]


def _run(a_BTR: jax.Array, b_BTR: jax.Array, reverse: bool = False) -> jax.Array:
    """One of both: on CPUs the gradient of steps in turn takes .45 to .7 of the time, and .2 to .4 to compile."""
    cpu, default = (functools.partial(form, reverse=reverse) for form in (in_turn, at_once))
    return jax.lax.platform_dependent(a_BTR, b_BTR, cpu=cpu, default=default)


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
