"""Linear recurrences by a kernel for TPUs that keeps a chunk of steps and the state in the fast memory: decays and
scores of pairs of steps never pass through the memory of the chip, states only for a gradient, and then one per chunk.

The kernel walks through the chunks of a few heads in turn. In each it computes the method `chunk` of the recurrence,
the equations of `states` for one example; the kernel of the gradient walks back and differentiates the same method.
Tests interpret both on a CPU. No device has run them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from arjax.core.programs import BATCH_AXES, dividing, inner_jaxprs, program_device

#: The steps of a chunk; the most features of values that the heads of a step of the kernel have, and what they fill.
BLOCK, FEATURES, TILE = 128, 512, 128
#: The last inputs that a convolution in the kernel may read.
LAST = 8
#: The most features of a head: states and their gradients fit into the fast memory.
MOST = 256


def fits(terms: Any) -> bool:
    """Whether the device of the program has the kernel for these terms: on TPUs, for heads of a multiple of 64 features
    up to 256 that fill tiles of 128 together, or with keys for all heads of a multiple of 128.
    """
    if program_device().platform != "tpu" or not hasattr(terms, "chunk") or terms.for_kernel() is None:
        return False
    heads, shared = terms.v.shape[1], terms.q.shape[1] < terms.v.shape[1]
    sizes = terms.q.shape[-1] // (2 if shared else 1), terms.v.shape[-1]
    return all(size % 64 == 0 and size <= MOST and heads * size % TILE == 0 for size in sizes)


def run(terms: Any, first: Any = None) -> jax.Array:
    """The outputs of all steps, [B, N, T, V] in the type of v, from the state `first` of all examples, by default that
    before step 0. Each device of a mesh runs the kernel for its own examples and heads.
    """
    mesh, (batch_size, heads, length) = jax.sharding.get_abstract_mesh(), terms.v.shape[:3]
    terms, kernel = terms.for_kernel(), _outputs
    first = jax.tree.map(lambda x: x[0], terms).start() if first is None else first
    # No step sees later ones, so anything may fill the last chunk.
    rest = -length % BLOCK
    terms = jax.tree.map(lambda x: jnp.pad(x, [(0, 0), (0, 0), (0, rest)] + [(0, 0)] * (x.ndim - 3)), terms)
    rows, parts = dividing(mesh, BATCH_AXES, batch_size) or None, dividing(mesh, ("tensor",), heads) or None
    if rows or parts:
        specs = jax.tree.map(lambda x: PartitionSpec(rows, parts if x.shape[1] == heads else None), terms)
        of_state = jax.tree.map(lambda x: PartitionSpec(parts if x.shape[0] == heads else None), first)
        kernel = jax.shard_map(
            kernel, in_specs=(specs, of_state), out_specs=PartitionSpec(rows, parts), check_vma=False
        )
    return kernel(terms, first)[:, :, :length]


@jax.custom_vjp
def _outputs(terms: Any, first: Any) -> jax.Array:
    return _Kernel(terms, first).forward(keep=False)[0]


def _outputs_and_states(terms: Any, first: Any) -> tuple[jax.Array, Any]:
    out, states = _Kernel(terms, first).forward(keep=True)
    return out, (terms, first, states)


def _gradients(kept: Any, d_out: jax.Array) -> tuple[Any, Any]:
    terms, first, states = kept
    return _Kernel(terms, first).backward(states, d_out)


_outputs.defvjp(_outputs_and_states, _gradients, optimize_remat=True)


def _apart(x: jax.Array, num: int) -> jax.Array:
    """[C, n F] -> [n, C, F]."""
    size = x.shape[-1] // num
    return jnp.stack([x[:, i * size : (i + 1) * size] for i in range(num)])


def _together(x: jax.Array) -> jax.Array:
    """[n, C, F] -> [C, n F]; one number in a step, [n, C], stays."""
    return x if x.ndim == 2 else jnp.concatenate([x[i] for i in range(len(x))], -1)


def _write(refs: Any, values: Any) -> None:
    for ref, x in zip(refs, jax.tree.leaves(values), strict=True):
        ref[...] = _together(x).astype(ref.dtype)


class _Kernel:
    """A grid of [B, N / G, T / C] steps, of G heads and C steps each. In memory the features of all heads lie side by
    side, [B, T, N F]; those of terms that heads share, [B, T, F], have gradients [B, T, N / G F], one for each group.
    """

    def __init__(self, terms: Any, first: Any):
        batch_size, self.heads, length, features = terms.v.shape
        least, most = max(TILE // features, 1), max(FEATURES // features, 1)
        fitting = [num for num in range(least, most + 1) if self.heads % num == 0 and num % least == 0]
        self.group = max(fitting, default=self.heads)
        self.grid = batch_size, self.heads // self.group, length // BLOCK
        self.v, self.leaves = terms.v, jax.tree.leaves(terms)
        self.tree: Any = jax.tree.structure(terms)
        blocks = [jax.ShapeDtypeStruct((self.num(x), BLOCK, *x.shape[3:]), x.dtype) for x in self.leaves]
        self.one = jax.tree.unflatten(self.tree, blocks)
        self.first = jax.tree.leaves(first)
        self.state = jax.tree.map(lambda x: jax.ShapeDtypeStruct((self.num(x[None]), *x.shape[1:]), x.dtype), first)
        self.states = jax.tree.leaves(self.state)

    def num(self, x: jax.Array) -> int:
        """The heads of a term in one step of the kernel."""
        return 1 if x.shape[1] < self.heads else self.group

    def in_memory(self, x: jax.Array) -> jax.Array:
        batch_size, _, length = x.shape[:3]
        if x.ndim == 3:
            return x.reshape(batch_size, -1, self.group, length)
        return jnp.swapaxes(x, 1, 2).reshape(batch_size, length, -1)

    def first_in_memory(self, x: jax.Array) -> jax.Array:
        """The first state of a term, [N, A, F], as [N / G, A, G F]."""
        x = jnp.swapaxes(x.reshape(-1, self.num(x[None]), *x.shape[1:]), 1, 2)
        return x.reshape(*x.shape[:2], -1)

    def gradient_of_first(self, x: jax.Array, like: jax.Array) -> jax.Array:
        x = x.sum(0) if len(like) == self.heads else x.sum((0, 1))[None]  # [N / G, A, G F]
        x = jnp.swapaxes(x.reshape(*x.shape[:2], -1, like.shape[-1]), 1, 2)
        return x.reshape(like.shape)

    def gradient(self, x: jax.Array, like: jax.Array) -> jax.Array:
        """The gradient of a term from that in memory; also the outputs, which are `like` values."""
        if like.ndim == 3:
            return x.reshape(like.shape)
        x = jnp.swapaxes(x.reshape(*x.shape[:2], -1, like.shape[-1]), 1, 2)
        return (x if x.shape == like.shape else x.sum(1, keepdims=True)).astype(like.dtype)

    def specs(self, terms: Any, states: Any = (), reverse: bool = False, apart: bool = False) -> list[Any]:
        """The blocks of terms and of states; those of gradients are `apart` for each group."""
        from jax.experimental import pallas as pl

        at = (lambda c: self.grid[2] - 1 - c) if reverse else (lambda c: c)
        of_numbers = pl.BlockSpec((None, None, self.group, BLOCK), lambda b, n, c: (b, n, 0, at(c)))
        specs = []
        for x in terms:
            features, shared = self.num(x) * x.shape[-1], x.shape[1] < self.heads and not apart
            block, place = (None, BLOCK, features), lambda b, n, c, shared=shared: (b, at(c), 0 if shared else n)
            specs.append(of_numbers if x.ndim == 3 else pl.BlockSpec(block, place))
        blocks = [(None, None, None, *_flat(x).shape) for x in states]
        return specs + [pl.BlockSpec(block, lambda b, n, c: (b, n, at(c), 0, 0)) for block in blocks]

    def first_specs(self) -> list[Any]:
        from jax.experimental import pallas as pl

        places = [
            (lambda b, n, c: (n, 0, 0)) if len(x) == self.heads else (lambda b, n, c: (0, 0, 0)) for x in self.first
        ]
        return [pl.BlockSpec((None, *_flat(x).shape), place) for x, place in zip(self.states, places, strict=True)]

    def call(
        self, body: Callable[..., None], given: list[Any], made: list[Any], function: Callable, *more: Any, **specs
    ):
        """Runs `body` with references to blocks of arrays, given and made, and to the states; each of its runs calls
        `function`, of which the cost is stated.
        """
        from jax.experimental import pallas as pl
        from jax.experimental.pallas import tpu

        work = math.prod(self.grid) * _work(jax.make_jaxpr(function)(self.one, self.state, *more).jaxpr)
        moved = sum(x.size * x.dtype.itemsize for x in (*given, *made))
        return pl.pallas_call(
            lambda *refs: body(pl.program_id(2), *refs),
            grid=self.grid,
            out_shape=made,
            scratch_shapes=[tpu.VMEM(_flat(x).shape, x.dtype) for x in self.states],
            compiler_params=tpu.CompilerParams(dimension_semantics=("parallel", "parallel", "arbitrary")),
            cost_estimate=pl.CostEstimate(flops=int(work[0]), transcendentals=int(work[1]), bytes_accessed=moved),
            **specs,
        )(*given)

    def terms_at(self, refs: Any) -> Any:
        values = (
            ref[...] if len(x.shape) == 2 else _apart(ref[...], len(x))
            for ref, x in zip(refs, jax.tree.leaves(self.one), strict=True)
        )
        return self.tree.unflatten(values)

    def state_at(self, refs: Any) -> Any:
        values = [_apart(ref[...], len(x)) for ref, x in zip(refs, self.states, strict=True)]
        return jax.tree.unflatten(jax.tree.structure(self.state), values)

    def forward(self, keep: bool) -> tuple[jax.Array, list[jax.Array]]:
        """The outputs, and to `keep` the states before all chunks."""
        from jax.experimental import pallas as pl

        num, held = len(self.leaves), -len(self.states)

        def body(index: jax.Array, *refs: Any) -> None:
            start = self.state_at(refs[num : num - held])
            pl.when(index == 0)(lambda: _write(refs[held:], start))
            state = self.state_at(refs[held:])
            if keep:
                _write(refs[num - held + 1 : held], state)
            state, out = self.terms_at(refs[:num]).chunk(state)
            _write((*refs[held:], refs[num - held]), (state, out))

        given, kept = [self.in_memory(x) for x in self.leaves], self.states if keep else ()
        given += [self.first_in_memory(x) for x in self.first]
        made = [jax.eval_shape(self.in_memory, self.v)]
        made += [jax.ShapeDtypeStruct((*self.grid, *_flat(x).shape), x.dtype) for x in kept]
        specs = {"in_specs": self.specs(self.leaves) + self.first_specs(), "out_specs": self.specs([self.v], kept)}
        out, *states = self.call(body, given, made, lambda one, state: one.chunk(state), **specs)
        return self.gradient(out, self.v), states

    def backward(self, states: list[jax.Array], d_out: jax.Array) -> Any:
        """The gradients of the terms by that of the outputs."""
        from jax.experimental import pallas as pl

        num, held = len(self.leaves), -len(self.states)
        out = jax.eval_shape(lambda one, state: one.chunk(state)[1], self.one, self.state)

        def gradients(one: Any, state: Any, d_state: Any, d_out: Any) -> Any:
            return jax.vjp(lambda one, state: one.chunk(state), one, state)[1]((d_state, d_out))

        def body(index: jax.Array, *refs: Any) -> None:
            pl.when(index == 0)(lambda: _write(refs[held:], [jnp.zeros(_flat(x).shape, x.dtype) for x in self.states]))
            d_out = _apart(refs[num][...], self.group).astype(out.dtype)
            before, d_state = self.state_at(refs[num + 1 : num + 1 - held]), self.state_at(refs[held:])
            made, d_state = gradients(self.terms_at(refs[:num]), before, d_state, d_out)
            _write((*refs[num + 1 - held : 2 * held], *refs[held:]), (made, d_state))
            pl.when(index == self.grid[2] - 1)(lambda: _write(refs[2 * held : held], d_state))

        given = [self.in_memory(x) for x in (*self.leaves, d_out)]
        made = [
            jax.ShapeDtypeStruct(a.shape, a.dtype)
            if x.ndim == 3 or x.shape[1] == self.heads
            else jax.ShapeDtypeStruct((*a.shape[:2], self.grid[1] * a.shape[2]), jnp.float32)
            for x, a in zip(self.leaves, given, strict=False)
        ]
        made += [jax.ShapeDtypeStruct((*self.grid[:2], *_flat(x).shape), x.dtype) for x in self.states]
        specs = {
            "in_specs": self.specs([*self.leaves, d_out], self.states, reverse=True),
            "out_specs": self.specs(self.leaves, reverse=True, apart=True)
            + [pl.BlockSpec((None, None, *_flat(x).shape), lambda b, n, c: (b, n, 0, 0)) for x in self.states],
        }
        made = self.call(body, [*given, *states], made, gradients, self.state, out, **specs)
        d_terms = [self.gradient(x, like) for x, like in zip(made, self.leaves, strict=False)]
        d_first = [self.gradient_of_first(x, like) for x, like in zip(made[num:], self.first, strict=True)]
        return self.tree.unflatten(d_terms), jax.tree.unflatten(jax.tree.structure(self.state), d_first)


def _flat(x: Any) -> Any:
    """The shape and type of `_together` of an array."""
    return jax.ShapeDtypeStruct((x.shape[1], x.shape[0] * x.shape[2]), x.dtype)


def _work(jaxpr: Any) -> np.ndarray:
    """FLOPs of the products of a program, those in float32 "highest" counted as the six in bfloat16 that they are, and
    its exponentials.
    """
    work = np.zeros(2)
    for equation in jaxpr.eqns:
        size = math.prod(equation.outvars[0].aval.shape)
        if equation.primitive.name == "dot_general":
            (axes, _), _ = equation.params["dimension_numbers"]
            passes = 1 if equation.params["precision"] is None else 6
            work[0] += 2 * passes * size * math.prod(equation.invars[0].aval.shape[axis] for axis in axes)
        work[1] += size * (equation.primitive.name == "exp")
        work += sum(map(_work, inner_jaxprs(equation.params)), np.zeros(2))
    return work


class Mixed(NamedTuple):
    """Terms whose queries, keys and values are to be silu(convolution(q)), and so on, of short convolutions, if any: in
    the kernel these are a recurrence, too. The state holds that of the terms, the last inputs, and what stays the same:
    kernels and biases, what the values are multiplied by to be added to the outputs, or None, and the scales of the
    RMS norm of the outputs of a head, or None.
    """

    terms: Any

    @property
    def v(self) -> jax.Array:
        return self.terms.v

    def for_kernel(self) -> Mixed:
        return Mixed(self.terms.for_kernel())

    def start(self, kernels: Any, biases: Any, skip: jax.Array | None, scale: jax.Array | None) -> Any:
        """The state before step 0 of the terms of all examples, from kernels [N, K, H] and biases [N, 1, H]."""
        terms = jax.tree.map(lambda x: x[0], self.terms.for_kernel())
        last = [jnp.zeros((len(x), LAST, x.shape[-1]), jnp.float32) for x in (terms.q, terms.k, terms.v)]
        return terms.start(), last[: len(kernels)], kernels, biases, skip, scale

    def chunk(self, state: Any) -> tuple[Any, jax.Array]:
        inner, last, kernels, biases, skip, scale = state
        parts, after = [self.terms.q, self.terms.k, self.v], []
        for i, (x, before, kernel, bias) in enumerate(zip(parts, last, kernels, biases, strict=False)):
            rows, length = jnp.concatenate([before, x.astype(jnp.float32)], 1), x.shape[1]
            taps = (rows[:, LAST - t : LAST - t + length] * kernel[:, t : t + 1] for t in range(kernel.shape[1]))
            parts[i] = jax.nn.silu(sum(taps, bias)).astype(x.dtype)
            after.append(rows[:, length:])
        terms = self.terms._replace(q=parts[0], k=parts[1], v=parts[2])
        inner, out = terms.chunk(inner)
        out = out.astype(jnp.float32) if skip is None else out + skip * terms.v
        if scale is not None:
            out = out * (jax.lax.rsqrt(jnp.square(out).mean(-1, keepdims=True) + 1e-6) * scale)
        return (inner, after, kernels, biases, skip, scale), out
