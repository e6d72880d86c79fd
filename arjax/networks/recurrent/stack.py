"""Code shared by recurrent networks: a layer made of a cell, a stack of layers, and truncated back-propagation."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.core.options import depth_option, rate_option
from arjax.core.programs import by_rows, gathered, rows_over_all_axes
from arjax.networks.base import fields_from, once, tell_cut
from arjax.networks.layers.causal import join, windows
from arjax.networks.layers.dense import weigh
from arjax.networks.layers.steps import StepNetwork

Carry = Any
#: `times(h, start, stop)` is h W_h for the gates `start` to `stop` (columns of the kernel).
Product = Callable[[jax.Array, int, int], jax.Array]
#: `cell(times, carry, from_x) -> (carry, h)`: the equations of a layer, one step.
Cell = Callable[[Product, Carry, jax.Array], tuple[Carry, jax.Array]]


def elementwise(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """`function(a, b, ...)` of arrays of one shape, elementwise. For its derivatives, of every order and in either
    mode, it keeps only the partial derivatives, one for each argument: dy = (dy/da) da + (dy/db) db + ... A loop over
    time writes and reads what it keeps in every step, so recurrent layers train faster with fewer arrays.
    """
    value = jax.custom_jvp(function)

    @value.defjvp
    def _derivative(arguments: tuple[jax.Array, ...], changes: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        y, pull = jax.vjp(function, *arguments)
        partials = pull(jnp.ones_like(y))  # element i of y reads element i of the arguments alone
        return y, functools.reduce(operator.add, map(operator.mul, partials, changes))

    return value


def _product(kernel: jax.Array, reads: dict[tuple[int, int], jax.Array]) -> Product:
    """Multiplication with the columns of a kernel; records the arrays that were multiplied in `reads`."""

    def times(h: jax.Array, start: int, stop: int) -> jax.Array:
        reads[start, stop] = h
        return h @ kernel[:, start:stop].astype(h.dtype)

    return times


def _scan(cell: Cell, kernel: jax.Array, carry: Carry, from_x_TBG: jax.Array, valid_TB: jax.Array | None):
    """`(carry, h_TBU), reads`: all steps of a cell; an invalid step leaves the carry unchanged."""

    def body(carry: Carry, inputs: tuple[jax.Array, jax.Array | None]):
        from_x, valid_B = inputs
        reads: dict[tuple[int, int], jax.Array] = {}
        new, h = cell(_product(kernel, reads), carry, from_x)
        if valid_B is not None:
            new = jax.tree.map(lambda n, old: jnp.where(valid_B[:, None], n, old), new, carry)
        return new, (h, reads)

    carry, (h_TBU, reads) = jax.lax.scan(body, carry, (from_x_TBG, valid_TB))
    return (carry, h_TBU), reads


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def recurrence(
    cell: Cell, kernel: jax.Array, carry: Carry, from_x_TBG: jax.Array, valid_TB: jax.Array | None
) -> tuple[Carry, jax.Array]:
    """All steps of a cell: `(carry, h_TBU)`. Its derivatives are those of the scan, computed faster: the gates of a
    step are from_x + h W_h, so the gradient of W_h follows from that of from_x in one product over all steps at the
    end, in place of an outer product in every step (1.6 times the speed of training on CPU).
    """
    return _scan(cell, kernel, carry, from_x_TBG, valid_TB)[0]


@recurrence.defjvp
def _recurrence_jvp(cell: Cell, primals: tuple, tangents: tuple):
    kernel, carry, from_x_TBG, valid_TB = primals
    d_kernel, d_carry, d_from_x_TBG, _ = tangents

    def run(carry: Carry, from_x_TBG: jax.Array):
        return _scan(cell, kernel, carry, from_x_TBG, valid_TB)

    out, linear, reads = jax.linearize(run, carry, from_x_TBG, has_aux=True)
    for (start, stop), read_TBU in reads.items():
        part_TBG = weigh(read_TBU, d_kernel[:, start:stop])
        columns = (start, d_from_x_TBG.shape[-1] - stop)
        d_from_x_TBG = d_from_x_TBG + jnp.pad(part_TBG, ((0, 0), (0, 0), columns))
    return out, linear(d_carry, d_from_x_TBG)


class RecurrentLayer(nn.Module):
    """One layer: W_x x + b of all steps in one product, then the cell step by step. The matrices of all gates are
    concatenated in one kernel per input. Subclasses define the static method `cell`, a `Cell` for x_t = W_x x + b, and
    its carry.
    """

    features: int
    hidden_size: int
    dtype: str

    num_gates: ClassVar[int] = 1

    def setup(self):
        gates = self.num_gates * self.hidden_size
        self.input_kernel = self.param("input_kernel", nn.initializers.lecun_normal(), (self.features, gates))
        self.recurrent_kernel = self.param("recurrent_kernel", nn.initializers.orthogonal(), (self.hidden_size, gates))
        self.bias = self.param("bias", self.bias_init, (gates,))

    @staticmethod
    def bias_init(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """The initial biases, [gates * U]."""
        return jnp.zeros(shape)

    def from_input(self, x: jax.Array) -> jax.Array:
        """W_x x + b, [..., gates * U]: it needs no recurrence."""
        return weigh(x.astype(self.dtype), self.input_kernel) + self.bias.astype(self.dtype)

    def start(self, batch_size: int) -> Carry:
        """h_0 = 0, [B, U]."""
        return jnp.zeros((batch_size, self.hidden_size), self.dtype)

    @rows_over_all_axes()
    def run(self, carry: Carry, x_TBE: jax.Array, valid_TB: jax.Array | None = None) -> tuple[Carry, jax.Array]:
        """Steps from a carry: x[T, B, E] -> (carry, h[T, B, U])."""
        carry = jax.tree.map(by_rows, carry)
        from_x_TBG = by_rows(self.from_input(by_rows(x_TBE, 1)), 1)
        carry, h_TBU = recurrence(self.cell, gathered(self.recurrent_kernel), carry, from_x_TBG, valid_TB)
        return carry, by_rows(h_TBU, 1)

    def step(self, carry: Carry, x_BE: jax.Array) -> tuple[Carry, jax.Array]:
        """One step: x[B, E] -> (carry, h[B, U])."""
        return self.cell(self._times, carry, self.from_input(x_BE))

    def _times(self, h: jax.Array, start: int, stop: int) -> jax.Array:
        """h W_h for some gates, whose columns are cut out of the kernel once for all steps."""
        kernel = self.recurrent_kernel
        if stop - start == kernel.shape[1]:
            return h @ kernel.astype(h.dtype)
        return h @ once(self, f"columns_{start}_{stop}", lambda: kernel[:, start:stop].astype(h.dtype))

    def prepare(self) -> None:
        """The columns of the kernel that a step multiplies with."""
        self.step(self.start(1), jnp.zeros((1, self.features)))


class RecurrentCore(nn.Module):
    """A stack of layers, with dropout on the input of each and on the output of the last, never on the recurrence
    (Zaremba, Sutskever & Vinyals, 2014, section 3.2). With `residual` the layers after the first add their input to
    their output (Wu et al., 2016, section 3.1).

    `truncation` k: the state is carried on through the whole sequence, but no gradient crosses the borders between
    chunks of k steps (truncated back-propagation through time: Williams & Peng, 1990). The backward pass recomputes the
    states inside each chunk, so its memory is that of one chunk.
    """

    layer: type[RecurrentLayer]
    features: int
    hidden_size: int
    num_layers: int
    dropout: float
    residual: bool
    truncation: int
    dtype: str

    def setup(self):
        sizes = [self.features] + [self.hidden_size] * (self.num_layers - 1)
        self.layers = [
            self.layer(size, self.hidden_size, self.dtype, name=f"layer_{i}") for i, size in enumerate(sizes)
        ]
        self.drop = nn.Dropout(self.dropout)

    def __call__(self, x_BTE: jax.Array, train: bool) -> jax.Array:
        return self.run(self.start(x_BTE.shape[0]), x_BTE, train)[1]

    def run(
        self, carry: list[Carry], x_BTE: jax.Array, train: bool, valid_BT: jax.Array | None = None
    ) -> tuple[list[Carry], jax.Array]:
        """All steps from a carry: [B, T, E] -> (carry, [B, T, U]); the carry stops where `valid` is False."""
        inputs = jnp.swapaxes(x_BTE, 0, 1), None if valid_BT is None else jnp.swapaxes(valid_BT, 0, 1)
        if 0 < self.truncation < x_BTE.shape[1]:
            carry, h_TBU = self._run_chunks(carry, inputs, train)
        else:
            carry, h_TBU = self._run(carry, inputs, train)
        return carry, jnp.swapaxes(h_TBU, 0, 1)

    def _run(
        self, carry: list[Carry], inputs: tuple[jax.Array, jax.Array | None], train: bool
    ) -> tuple[list[Carry], jax.Array]:
        drop = functools.partial(self.drop, deterministic=not train)
        states, h_TBU = self._through(carry, inputs[0], lambda layer, state, h: layer.run(state, drop(h), inputs[1]))
        return states, drop(h_TBU)

    def _through(self, carry: list[Carry], h: jax.Array, run: Callable[..., Any]) -> tuple[list[Carry], jax.Array]:
        """Runs the layers on top of one another: `run(layer, state, h) -> (state, h)`."""
        states = []
        for i, (layer, state) in enumerate(zip(self.layers, carry, strict=True)):
            state, new = run(layer, state, h)
            states.append(state)
            h = h + new if self.residual and i > 0 else new
        return states, h

    def _run_chunks(
        self, carry: list[Carry], inputs: tuple[jax.Array, jax.Array | None], train: bool
    ) -> tuple[list[Carry], jax.Array]:
        (x_TBE, valid_TB), length, size = inputs, len(inputs[0]), self.truncation
        if length % size and valid_TB is None:  # the padding of the last chunk must not change the last carry
            valid_TB = jnp.ones(x_TBE.shape[:2], bool)

        def chunk(core: RecurrentCore, carry: list[Carry], inputs: tuple[jax.Array, jax.Array | None]):
            return core._run(jax.lax.stop_gradient(carry), inputs, train)

        scan = nn.scan(
            nn.remat(chunk, prevent_cse=False),
            variable_broadcast="params",
            split_rngs={"params": False, "dropout": True},
        )
        chunks = jax.tree.map(lambda leaf: windows(leaf, 0, size), (x_TBE, valid_TB))
        carry, h_CTBU = scan(self, carry, chunks)
        return carry, join(h_CTBU, 0, length)

    def start(self, batch_size: int) -> list[Carry]:
        return [layer.start(batch_size) for layer in self.layers]

    def prepare(self) -> None:
        for layer in self.layers:
            layer.prepare()

    def step(self, carry: list[Carry], x_BE: jax.Array, t: jax.Array) -> tuple[list[Carry], jax.Array]:
        return self._through(carry, x_BE, lambda layer, state, h: layer.step(state, h))


class RecurrentNetwork(StepNetwork):
    """A stack of recurrent layers over the steps of any factorization; y_t = W_hy h_t + b_y where a step is one site.
    Options: `hidden_size` U, `num_layers` L, `dropout` between layers, `residual` connections, `truncation` (steps
    through which gradients flow back; 0: all), `position` ("none", "learned", "sinusoidal").
    """

    num_layers: int = depth_option(1)
    dropout: float = rate_option()
    residual: bool = False
    truncation: int = 0

    TRAITS = StepNetwork.TRAITS | {"unbounded"}
    LAYER: ClassVar[type[RecurrentLayer]] = RecurrentLayer

    def check(self, factorization):
        super().check(factorization)
        tell_cut(self, factorization, truncation=factorization.num_steps)

    def prepare(self):
        self.core.prepare()

    def make_core(self):
        return RecurrentCore(**fields_from(self, RecurrentCore, layer=self.LAYER, features=self.hidden_size))
