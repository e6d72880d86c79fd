"""mLSTM (Beck et al., 2024, "xLSTM: Extended Long Short-Term Memory")."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from arjax.networks.base import NETWORKS
from arjax.networks.layers.causal import join
from arjax.networks.recurrent.linear.mixer import MIXERS, HeadMixer, MixerNetwork
from arjax.networks.recurrent.linear.states import WITHIN_CHUNKS, chunked, product, segment_sums, sums_by_differences

#: Stands for the logarithm of 0: finite, so that a difference of two of them is no NaN.
LOG_ZERO = -1e30
#: The least denominator of an output, times exp(-m), as in the code of the authors: derivatives stay finite.
LEAST = 1e-6
#: m of an empty state: below that of any gate, and far above `LOG_ZERO`.
LOWEST = -1e10


class Scaled(NamedTuple):
    """C exp(-m) and n exp(-m), the sums of k v' [B, N, H, V] and of k [B, N, H] by their gates, and the running
    maximum m [B, N].
    """

    sums: jax.Array
    normaliser: jax.Array
    maximum: jax.Array


def empty(batch_size: int, heads: int, keys: int, values: int) -> Scaled:
    """The state before step 0."""
    shapes = (batch_size, heads, keys, values), (batch_size, heads, keys), (batch_size, heads)
    return Scaled(*(jnp.full(shape, fill, jnp.float32) for shape, fill in zip(shapes, (0, 0, LOWEST), strict=True)))


def bounded(sums: jax.Array, normaliser: jax.Array, maximum: jax.Array) -> jax.Array:
    """C' q / max(|n' q|, 1) from C' q and n' q, both times exp(-m); 0 where exp(-m) is infinite."""
    least = jnp.maximum(jnp.exp(-maximum), LEAST)
    return sums / jnp.maximum(jnp.abs(normaliser), least)[..., None]


class Pairs(NamedTuple):
    """The pairs of steps of a chunk: `inside`, the sums of the steps up to each, [..., C, V], by `weights`,
    [..., C, C], both times exp(-largest); log decays from the `start`; the arguments of `joined` that `update` a state.
    """

    weights: jax.Array
    inside: jax.Array
    largest: jax.Array
    start: jax.Array
    update: tuple[jax.Array, ...]


class Exponential(NamedTuple):
    """C_t = f_t C_(t-1) + i_t k_t v_t',  n_t = f_t n_(t-1) + i_t k_t,  o_t = C_t' q_t / max(|n_t' q_t|, 1).

    Beck et al., "xLSTM: Extended Long Short-Term Memory" (2024), equations 19 to 27 and, for the maximum, 15 to 17: C
    and n are kept times exp(-m_t), with m_t = max(log f_t + m_(t-1), log i_t), so that no gate overflows; m begins
    below all gates. o does not depend on m, so no gradient flows through it. `log_forget` is log f_t, float32[B, N, T],
    and `log_input` is log i_t, of any size.
    """

    q: jax.Array
    k: jax.Array
    v: jax.Array
    log_forget: jax.Array
    log_input: jax.Array

    def run(self, state: Scaled | None, chunk_size: int = 64) -> tuple[Scaled, jax.Array]:
        """All steps from a state, None for that before step 0: (the state after them, o [B, N, T, V] in float32)."""
        length = self.q.shape[2]
        filled = -length % min(chunk_size, length)  # steps without an input: a logarithm of 0 would be one of 1
        log_input = jnp.pad(self.log_input, ((0, 0), (0, 0), (0, filled)), constant_values=LOG_ZERO)
        q, k, v, log_f = chunked(chunk_size, self.q, self.k, self.v, self.log_forget)
        (log_i,) = chunked(min(chunk_size, length), log_input)
        chunks = Exponential(q, k, v, log_f, log_i)
        pairs = chunks.pairs()
        batch_size, heads, _, features = self.k.shape
        state = empty(batch_size, heads, features, self.v.shape[-1]) if state is None else state
        before, after = _carried(state, pairs.update, v.dtype)
        return after, join(chunks.read(pairs, before), 2, length)

    def pairs(self, sums: Callable[[jax.Array], jax.Array] = segment_sums) -> Pairs:
        """Of terms that are chunks, [..., C] in place of the steps."""
        q, k, v, log_f, log_i = self
        step, between = jnp.arange(q.shape[-2]), sums(log_f)
        log_w = jnp.where(step[:, None] >= step, between + log_i[..., None, :], LOG_ZERO)
        largest = jax.lax.stop_gradient(log_w.max(-1))
        with jax.named_scope(WITHIN_CHUNKS):
            weights = product(q, k.mT) * jnp.exp(log_w - largest[..., None])
            inside = product(weights.astype(v.dtype), v)
        # The last row holds the factor of each step in the state after the chunk.
        into = jnp.exp(log_w[..., -1, :] - largest[..., -1:])
        updates = product(k.mT, (v * into[..., None]).astype(v.dtype)), (k * into[..., None]).sum(-2)
        start = between[..., 0] + log_f[..., :1]  # the decays of the state before the chunk
        return Pairs(weights, inside, largest, start, (*updates, largest[..., -1], start[..., -1]))

    def read(self, pairs: Pairs, before: Scaled) -> jax.Array:
        """The outputs of the steps of chunks, [..., C, V], from their pairs and the states before them."""
        held = pairs.start + before.maximum[..., None]
        maximum = jax.lax.stop_gradient(jnp.maximum(held, pairs.largest))
        new, old = (jnp.exp(factor - maximum) for factor in (pairs.largest, held))
        sums = new[..., None] * pairs.inside + old[..., None] * product(self.q, before.sums)
        normaliser = new * pairs.weights.sum(-1) + old * (self.q * before.normaliser[..., None, :]).sum(-1)
        return bounded(sums, normaliser, maximum).astype(self.v.dtype)

    def for_kernel(self) -> Exponential:
        return self

    def start(self) -> Scaled:
        """The state before step 0 of the terms of one example, its arrays [N, A, B]."""
        return _with_axes(Scaled(*(x[0] for x in empty(1, len(self.v), self.k.shape[-1], self.v.shape[-1]))))

    def chunk(self, state: Scaled) -> tuple[Scaled, jax.Array]:
        """All steps of one example at once, q and k [N, T, H], from such a state."""
        state = Scaled(state.sums, state.normaliser[:, 0], state.maximum[:, 0, 0])
        pairs = self.pairs(sums_by_differences)
        before = state._replace(sums=state.sums.astype(self.v.dtype))
        return _with_axes(joined(state, *pairs.update)), self.read(pairs, before)

    def step(self, state: Scaled) -> tuple[Scaled, jax.Array]:
        q, k, v = (x.astype(jnp.float32) for x in (self.q, self.k, self.v))
        update = product(k.mT, v), k.squeeze(2)
        state = joined(state, *update, self.log_input[..., 0], self.log_forget[..., 0])
        normaliser = (q * state.normaliser[..., None, :]).sum(-1)
        return state, bounded(product(q, state.sums), normaliser, state.maximum[..., None])

    def masked(self, valid_T: jax.Array) -> Exponential:
        forget, enter = jnp.where(valid_T, self.log_forget, 0), jnp.where(valid_T, self.log_input, LOG_ZERO)
        return Exponential(self.q, self.k, self.v, forget, enter)


def _with_axes(state: Scaled) -> Scaled:
    return Scaled(state.sums, state.normaliser[:, None], state.maximum[:, None, None])


def joined(state: Scaled, sums: jax.Array, normaliser: jax.Array, largest: jax.Array, decay: jax.Array) -> Scaled:
    """Returns the state times exp(decay) plus its updates times exp(largest)."""
    held = decay + state.maximum
    maximum = jax.lax.stop_gradient(jnp.maximum(held, largest))
    old, new = (jnp.exp(factor - maximum)[..., None] for factor in (held, largest))
    sums = old[..., None] * state.sums + new[..., None] * sums
    return Scaled(sums, old * state.normaliser + new * normaliser, maximum)


def _carried(state: Scaled, chunks: tuple[jax.Array, ...], dtype: DTypeLike) -> tuple[Scaled, Scaled]:
    """The states before all chunks, their sums in the type of products, and the one after the last; of a chunk the
    arguments of `joined`.
    """

    def body(state: Scaled, chunk: tuple[jax.Array, ...]) -> tuple[Scaled, Scaled]:
        return joined(state, *chunk), state._replace(sums=state.sums.astype(dtype))

    after, before = jax.lax.scan(body, state, tuple(jnp.moveaxis(x, 2, 0) for x in chunks))
    return Scaled(*(jnp.moveaxis(x, 0, 2) for x in before)), after


@MIXERS.register("mlstm")
class MLSTMMixer(HeadMixer):
    """An LSTM with a matrix as its memory, head by head:

    C_t = f_t C_(t-1) + i_t v_t k_t',  n_t = f_t n_(t-1) + i_t k_t,  h_t = C_t q_t / max(|n_t' q_t|, 1)

    and y_t = W (sigma(W_o x_t + b_o) * norm(h_t)) (section 2.3, equations 19 to 27): q, k and v are W x + b, with k
    over the root of its size; i = exp(w_i x + b_i) and f = sigma(w_f x + b_f) are one number per head. The norm is the
    RMS of a head, and there is no convolution, as in Beck et al. (2025), "xLSTM 7B", section 3.1.
    """

    def setup(self):
        def open_gates(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
            return jnp.linspace(3.0, 6.0, shape[0], dtype=dtype)  # heads that forget at different rates

        zeros = nn.initializers.zeros
        self.make_convolution(3 * self.width)
        self.read = self.dense(3 * self.width, name="qkv")
        self.input_gate = self.dense(self.num_heads, kernel_init=zeros)
        self.forget = self.dense(self.num_heads, kernel_init=zeros, bias_init=open_gates)
        self.output_gate = self.dense(self.width)
        self.norm = nn.RMSNorm(dtype=jnp.float32)
        self.out = self.make_out()

    def by_part(self, u):
        return tuple(self.by_head(part) for part in jnp.split(u, 3, axis=-1))

    def terms(self, u, rest):
        return self.recurrence(*self.by_part(u), rest)

    def recurrence(self, q, k, v, rest):
        q, k, v = (part.astype(self.dtype) for part in (q, k * k.shape[-1] ** -0.5, v))
        log_i, f = (self.by_head(gate(rest).astype(jnp.float32))[..., 0] for gate in (self.input_gate, self.forget))
        return Exponential(q, k, v, nn.log_sigmoid(f), log_i)

    def gated(self, o_BTU, rest):
        return self.out(nn.sigmoid(self.output_gate(rest).astype(jnp.float32)) * o_BTU)

    def init_state(self, batch_size):
        size = self.width // self.num_heads
        return empty(batch_size, self.num_heads, size, size)


@NETWORKS.register("mlstm")
class MLSTM(MixerNetwork):
    """LSTMs with a matrix as their memory and exponential gates, over the steps of any factorization. Options: those of
    `MixerNetwork`; `num_heads`, `chunk_size`: steps within which all pairs are compared at once.
    """

    SMALL = {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "chunk_size": 4}
    MIXER = MLSTMMixer
