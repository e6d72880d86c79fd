"""Convolutional LSTMs: cells that read a neighbourhood of states (van den Oord, Kalchbrenner & Kavukcuoglu, "Pixel
Recurrent Neural Networks", 2016, equation 3), step by step, with a gradient that needs little memory.

Shape letters here: N positions that are computed together, R states read by the gates of a position, G = 4U gates.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

#: Gathers the states that the gates of a step read: [..., N, U] -> [..., N, R].
ReadStates = Callable[[jax.Array], jax.Array]


def lstm_cell(z: jax.Array, c: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Equation 3: the gates o, f, i, g from their inputs z [..., 4U], and the cell c [..., U] -> (c, h).

    The cell is a long sum, and a forget gate near 1 would round to 1: both are float32 in any compute type.
    """
    size, gates = c.shape[-1], z.astype(jnp.float32)
    o, f, i = jnp.split(nn.sigmoid(gates[..., : 3 * size]), 3, axis=-1)
    c = f * c + i * jnp.tanh(gates[..., 3 * size :])
    return c, (o * jnp.tanh(c)).astype(z.dtype)


def _step(read: ReadStates, kernel: jax.Array, c: jax.Array, h: jax.Array, z: jax.Array):
    return lstm_cell(z + read(h) @ kernel.astype(z.dtype), c)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def lstm_scan(read: ReadStates, kernel: jax.Array, z_TNG: jax.Array) -> jax.Array:
    """All steps of a convolutional LSTM that starts from zeros: the states [T, ..., N, U].

    The gates are z + read(h) K. The backward pass recomputes them from the states: they are cheap. Keeping them would
    take several times the memory and, on CPU, more time (1.4 times as much for a whole gradient).
    """
    return _scan(read, kernel, z_TNG)[1]


def _scan(read: ReadStates, kernel: jax.Array, z_TNG: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The cells and the states."""

    def body(state, z_NG):
        state = _step(read, kernel, *state, z_NG)
        return state, state

    return jax.lax.scan(body, _zeros(z_TNG), z_TNG)[1]


def _zeros(z_TNG: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The cells and states before the first step."""
    shape = (*z_TNG.shape[1:-1], z_TNG.shape[-1] // 4)
    return jnp.zeros(shape, jnp.float32), jnp.zeros(shape, z_TNG.dtype)


@lstm_scan.defjvp
def _lstm_scan_jvp(read: ReadStates, primals: tuple, tangents: tuple):
    (kernel, z_TNG), (d_kernel, d_z_TNG) = primals, tangents
    cells, states = _scan(read, kernel, z_TNG)
    start = _zeros(z_TNG)
    before = [jnp.concatenate([zero[None], all[:-1]]) for zero, all in zip(start, (cells, states), strict=True)]

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def body(tangent, inputs):
        c, h, z, d_z = inputs
        _, tangent = jax.jvp(functools.partial(_step, read), (kernel, c, h, z), (d_kernel, *tangent, d_z))
        return tangent, tangent[1]

    _, d_states = jax.lax.scan(body, start, (*before, z_TNG, d_z_TNG))
    return states, d_states


def gate_bias(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """0, and 1 for the forget gate (the second of four), so that a new cell remembers (Jozefowicz et al., 2015)."""
    size = shape[-1] // 4
    return jnp.zeros(shape).at[..., size : 2 * size].set(1.0)
