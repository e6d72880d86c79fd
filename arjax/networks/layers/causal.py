"""The steps in blocks and in rings, buffers of the last R steps with step s at index s mod R; and causal convolution
over the steps with a queue, as a matrix product, since convolutions in compiled loops are tens of times slower on CPUs.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.networks.layers.weight_norm import normalised


def windows(x: jax.Array, axis: int, size: int, before: int = 0) -> jax.Array:
    """Cuts an axis [T] into blocks of `size`, each with `before` elements before it, zero beyond the ends: two axes
    [ceil(T / size), before + size].
    """
    axis %= x.ndim
    length = x.shape[axis]
    count, reach = -(-length // size), before + size
    pieces = -(-reach // size)
    padding = [(0, 0)] * x.ndim
    padding[axis] = (before, (count + pieces - 1) * size - before - length)
    rows = jnp.pad(x, padding) if padding[axis] != (0, 0) else x
    rows = rows.reshape(*x.shape[:axis], count + pieces - 1, size, *x.shape[axis + 1 :])
    if pieces == 1:
        return rows
    shifted = [jax.lax.slice_in_dim(rows, i, i + count, axis=axis) for i in range(pieces)]
    return jax.lax.slice_in_dim(jnp.concatenate(shifted, axis + 1), 0, reach, axis=axis + 1)


def join(x: jax.Array, axis: int, length: int) -> jax.Array:
    """Joins blocks without overlap to one axis of the given length: the inverse of `windows` without margins."""
    axis %= x.ndim
    flat = x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])
    return jax.lax.slice_in_dim(flat, 0, length, axis=axis)


def ring_steps(t: jax.Array, size: int) -> jax.Array:
    """The step at each index of a ring just before step t, int[R]; below 0 at an index that is still empty."""
    return t - 1 - jnp.mod(t - 1 - jnp.arange(size), size)


def put_in_ring(ring: jax.Array, new: jax.Array, t: jax.Array, n: jax.Array, axis: int) -> jax.Array:
    """The ring with the first n of the new steps t, t + 1, ... in it; `axis` is the axis of the steps in both."""
    size = ring.shape[axis]
    if not size:
        return ring
    step_R = ring_steps(t + n, size)
    fresh = jnp.take(new, step_R - t, axis=axis, mode="clip")
    is_new_R = (step_R >= t).reshape(size, *[1] * (ring.ndim - axis - 1))
    return jnp.where(is_new_R, fresh, ring)


def queue_length(kernel_size: int, dilation: int) -> int:
    """Number of past inputs that a step of a convolution needs."""
    return (kernel_size - 1) * dilation


def all_taps(x_BTE: jax.Array, kernel_size: int, dilation: int) -> list[jax.Array]:
    """x_(t - k d) of all steps t for k = 0 .. K-1, [B, T, E] each: zeros before the start."""
    reach, length = queue_length(kernel_size, dilation), x_BTE.shape[1]
    padded = jnp.pad(x_BTE, ((0, 0), (reach, 0), (0, 0)))
    starts = [reach - k * dilation for k in range(kernel_size)]
    return [padded[:, start : start + length] for start in starts]


def step_taps(
    queue: jax.Array, x_BE: jax.Array, t: jax.Array, kernel_size: int, dilation: int
) -> tuple[jax.Array, list[jax.Array]]:
    """Returns the queue with x_t in it, and x_(t - k d) of step t for k = 0 .. K-1, [B, E] each. The queue
    [B, (K-1) d, E] is a ring, zero before step 0, with x_t at index t mod its length: the cost of a step is independent
    of the length of the sequence (Paine et al., 2016, "Fast Wavenet Generation Algorithm").
    """
    reach, taps = queue_length(kernel_size, dilation), [x_BE]
    for k in range(1, kernel_size):
        place = jnp.mod(t - k * dilation, reach)
        taps.append(jax.lax.dynamic_index_in_dim(queue, place, axis=1, keepdims=False))
    if reach:
        queue = jax.lax.dynamic_update_index_in_dim(queue, x_BE, jnp.mod(t, reach), axis=1)
    return queue, taps


#: A ring before some steps, their inputs, and the first of them: the arguments of `put_in_ring`.
Window = tuple[jax.Array, jax.Array, jax.Array]


def window_taps(
    queue: jax.Array, x_BkE: jax.Array, t: jax.Array, kernel_size: int, dilation: int
) -> tuple[Window, list[jax.Array]]:
    """x_(s - k d) of the steps s = t, t + 1, ... for k = 0 .. K-1, [B, k, E] each, from the queue before them."""
    reach = queue.shape[1]
    past = jnp.take(queue, jnp.mod(t - reach + jnp.arange(reach), max(reach, 1)), axis=1)
    taps = all_taps(jnp.concatenate([past, x_BkE], 1), kernel_size, dilation)
    return (queue, x_BkE, t), [tap[:, reach:] for tap in taps]


class CausalConv1D(nn.Module):
    """y_t = b + sum_k W_k x_(t - k d) over k = 0 .. K-1: kernel size K, dilation d, zeros before the start.
    `weight_norm`: W = g V / ||V|| for each output (Salimans & Kingma, 2016, equation 2), where `kernel` is V and
    `scale` is g.
    """

    in_features: int
    features: int
    kernel_size: int
    dilation: int
    dtype: str
    weight_norm: bool = False

    def setup(self):
        shape = (self.kernel_size * self.in_features, self.features)
        self.kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        if self.weight_norm:
            self.scale = self.param("scale", nn.initializers.ones, (self.features,))
        self.bias = self.param("bias", nn.initializers.zeros, (self.features,))

    def _mix(self, taps: list[jax.Array]) -> jax.Array:
        kernel = self.kernel
        if self.weight_norm:
            kernel = normalised(kernel, self.scale)
        return jnp.concatenate(taps, -1) @ kernel.astype(self.dtype) + self.bias.astype(self.dtype)

    def __call__(self, x_BTE: jax.Array) -> jax.Array:
        """All steps, [B, T, in_features] -> [B, T, features]."""
        return self._mix(all_taps(x_BTE.astype(self.dtype), self.kernel_size, self.dilation))

    def start(self, batch_size: int) -> jax.Array:
        """A queue of zeros, [B, (K-1) d, in_features]."""
        length = queue_length(self.kernel_size, self.dilation)
        return jnp.zeros((batch_size, length, self.in_features), self.dtype)

    def step(self, queue: jax.Array, x_BE: jax.Array, t: jax.Array) -> tuple[jax.Array, jax.Array]:
        """One step, [B, in_features] -> [B, features]."""
        queue, taps = step_taps(queue, x_BE.astype(self.dtype), t, self.kernel_size, self.dilation)
        return queue, self._mix(taps)

    def extend(self, queue: jax.Array, x_BkE: jax.Array, t: jax.Array) -> tuple[Window, jax.Array]:
        """The steps t, ..., t + k - 1: [B, k, in_features] -> [B, k, features]."""
        window, taps = window_taps(queue, x_BkE.astype(self.dtype), t, self.kernel_size, self.dilation)
        return window, self._mix(taps)


def cyclic_dilations(num_layers: int, cycle: int) -> list[int]:
    """Dilations that double and start over after each cycle: 1, 2, ..., 2^(cycle-1), 1, 2, ..."""
    return [2 ** (i % cycle) for i in range(num_layers)]


#: Applies a convolution to one step, some or all: (convolution, x) -> y.
Convolve = Callable[[CausalConv1D, jax.Array], jax.Array]
at_all_steps: Convolve = operator.call


class ConvolutionalCore(nn.Module):
    """A stack of layers with causal convolutions as their only memory: the step form keeps a queue for each of them.
    Subclasses write their equations once, `core(x, train, *condition, convolve)` for one step, some or all, with
    `convolve(conv, x)` for each convolution; the condition may be left out. `width` is that of x.
    """

    width: int
    dtype: str

    def start(self, batch_size: int) -> list[jax.Array]:
        """The empty queues, in the order in which a step uses them."""
        x_B1E = jnp.zeros((batch_size, 1, self.width), self.dtype)
        form = lambda conv, _, x: (conv.start(batch_size), conv(x))  # noqa: E731
        return self._with_queues(form, itertools.repeat(None), x_B1E)[0]

    def step(self, carry: list[jax.Array], x_BE: jax.Array, t: jax.Array, *condition: Any):
        """One step through all layers: (queues, y [B, E'])."""
        return self._with_queues(lambda conv, queue, x: conv.step(queue, x, t), carry, x_BE, *condition)

    def extend(self, carry: list[jax.Array], x_BkE: jax.Array, t: jax.Array, *condition: Any):
        """Several steps through all layers: (windows, y [B, k, E'])."""
        return self._with_queues(lambda conv, queue, x: conv.extend(queue, x, t), carry, x_BkE, *condition)

    def keep(self, windows: list[Window], n: jax.Array) -> list[jax.Array]:
        """The queues after the first n steps of `extend`."""
        return [put_in_ring(queue, x_BkE, t, n, axis=1) for queue, x_BkE, t in windows]

    def _with_queues(
        self, form: Callable[..., tuple[Any, jax.Array]], carry: Iterable[Any], x: jax.Array, *condition: Any
    ):
        """Runs each convolution on its queue, and collects the new queues."""
        queues, after = iter(carry), []

        def convolve(conv: CausalConv1D, x: jax.Array) -> jax.Array:
            new, y = form(conv, next(queues), x)
            after.append(new)
            return y

        y = self(x, False, *condition, convolve=convolve)
        return after, y
