"""MADE: Masked Autoencoder for Distribution Estimation (Germain, Gregor, Murray & Larochelle, 2015)."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from arjax.factorization import Factorization
from arjax.networks.base import NETWORKS, Network, activation, check_sizes
from arjax.networks.embedding import ContextEncoder, flat_inputs, input_steps, numeric_size


def hidden_degrees(num_units: int, num_steps: int) -> np.ndarray:
    """m(k) of section 3: unit k may see the sites of steps <= m(k). int[U], ascending, spread evenly over 0..S-2."""
    return np.arange(num_units, dtype=np.int64) * max(num_steps - 1, 1) // num_units


@functools.cache
def degree_pool(sizes: tuple[int, ...], num_steps: int, num_masks: int, seed: int) -> tuple[np.ndarray, ...]:
    """Degrees of the units under each of a fixed pool of masks, int[K, U] per layer (section 4.2).

    Mask 0 has the even ones of `hidden_degrees`. In the others each unit draws its degree uniformly, between the least
    of the layer below and S-2: so it sees something, and something sees it.
    """
    rng, last = np.random.default_rng(seed), max(num_steps - 2, 0)
    pool = [np.stack([hidden_degrees(size, num_steps)] * num_masks) for size in sizes]
    for k in range(1, num_masks):
        least = 0
        for degrees in pool:
            degrees[k] = rng.integers(least, last + 1, degrees.shape[1])
            least = degrees[k].min()
    return tuple(pool)


def units_by_degree(degrees_KU: np.ndarray, num_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The units of each degree under each mask, int[K, S, n] padded to the largest number, and which are real, bool."""
    counts_KS = np.stack([np.bincount(degrees, minlength=num_steps) for degrees in degrees_KU])
    real_KSn = np.arange(counts_KS.max()) < counts_KS[..., None]
    units_KSn = np.zeros(real_KSn.shape, np.int32)
    units_KSn[real_KSn] = np.argsort(degrees_KU, axis=1, kind="stable").ravel()
    return units_KSn, real_KSn


@NETWORKS.register("made")
class MADE(Network):
    """A fully connected network whose weights are multiplied by masks in the forward pass (equations 8-13).

    Without `direct` connections, a site is read only where some unit of every layer passes it on: with fewer units than
    steps, the last ones before a site may be missing, and `dependencies` says so (for mask 0).

    Any order and any block partition: both enter through the steps of the sites, so one program serves all orders.

    With several masks, each training step draws one of a fixed pool ("connectivity-agnostic" training, section 4.2).
    One set of parameters then holds as many models as there are masks: `mask` in the two forms says which one is meant,
    mask 0 if nothing does. The pool is fixed, as fresh masks in every step underfit.

    Options: `hidden_sizes` (any depth), `direct` connections from inputs to outputs (equation 10, the matrix A),
    `activation`, `dropout` on hidden units, `input_dropout` on the inputs, `num_masks` in the pool, `mask_seed`.
    """

    hidden_sizes: tuple[int, ...] = (500,)
    direct: bool = True
    activation: str = "relu"
    dropout: float = 0.0
    input_dropout: float = 0.0
    num_masks: int = 1
    mask_seed: int = 0

    MAY_BE_ZERO = ("mask_seed",)
    SMALL = {"hidden_sizes": (48, 40)}

    @classmethod
    def check(cls, event, factorization, options):
        check_sizes("hidden_sizes", options["hidden_sizes"])
        activation(options["activation"])

    def setup(self):
        num_inputs = self.event.num_sites * numeric_size(self.event)
        num_outputs = self.event.num_sites * self.num_features
        kernel, zeros = nn.initializers.lecun_normal(), nn.initializers.zeros
        sizes = [num_inputs, *self.hidden_sizes]
        self.kernels = [
            self.param(f"hidden_{i}_kernel", kernel, (sizes[i], sizes[i + 1])) for i in range(len(self.hidden_sizes))
        ]
        self.biases = [self.param(f"hidden_{i}_bias", zeros, (size,)) for i, size in enumerate(self.hidden_sizes)]
        self.out_kernel = self.param("out_kernel", kernel, (sizes[-1], num_outputs))
        self.out_bias = self.param("out_bias", zeros, (num_outputs,))
        if self.direct:
            self.direct_kernel = self.param("direct_kernel", kernel, (num_inputs, num_outputs))
        if self.context_spec.kind != "none":
            # The context reaches the outputs directly too: no hidden unit may feed the outputs of step 0.
            self.hidden_context = ContextEncoder(self.context_spec, self.hidden_sizes[0], self.dtype)
            self.out_context = ContextEncoder(self.context_spec, num_outputs, self.dtype)
        self.drop = nn.Dropout(self.dropout)
        self.input_drop = nn.Dropout(self.input_dropout)

    def dependencies(self, factorization):
        """The outputs of step t read step s iff some path leads there: s <= m_1 <= ... <= m_L < t (section 3)."""
        if self.direct or factorization.num_steps == 1:
            return super().dependencies(factorization)
        step_D, least_S = np.asarray(factorization.step), np.arange(factorization.num_steps)
        for pool in self._pool(factorization):
            degrees = np.append(np.sort(pool[0]), factorization.num_steps)  # the last stands for "no unit"
            least_S = degrees[np.searchsorted(degrees, least_S)]
        return least_S[step_D][None, :] < step_D[:, None]

    def _inputs(self, x: jax.Array) -> jax.Array:
        """x[B, *grid, *value] -> [B, D * n]."""
        return flat_inputs(x, self.event, self.dtype)

    def _input_steps(self, factorization: Factorization) -> jax.Array:
        """The step of each input, int[D * n]."""
        return input_steps(self.event, factorization)

    def _masked(self, kernel: jax.Array, mask: jax.Array) -> jax.Array:
        return jnp.where(mask, kernel, 0.0).astype(self.dtype)

    def _pool(self, factorization: Factorization) -> tuple[np.ndarray, ...]:
        """The degrees of the units of each layer under each mask, int[K, U]."""
        return degree_pool(self.hidden_sizes, factorization.num_steps, self.num_masks, self.mask_seed)

    def __call__(self, x, factorization, context=None, *, train=False, mask: int | jax.Array | None = None):
        """Features of all sites under one mask of the pool; None: a random one in training, mask 0 otherwise."""
        if mask is None:
            random = train and self.num_masks > 1
            mask = jax.random.randint(self.make_rng("dropout"), (), 0, self.num_masks) if random else 0
        from_context = self._from_context(context)
        out = jnp.broadcast_to(self.out_bias.astype(self.dtype), (x.shape[0], *self.out_bias.shape))
        if factorization.num_steps > 1:
            out = out + self._from_earlier(x, factorization, from_context, train, mask)
        if from_context is not None:
            out = out + from_context[1]
        return out.reshape(-1, *self.event.grid_shape, self.num_features).astype(jnp.float32)

    def _from_context(self, context: jax.Array | None) -> tuple[jax.Array, jax.Array] | None:
        """What the context adds to the first hidden layer and to the outputs."""
        return None if context is None else (self.hidden_context(context), self.out_context(context))

    def _from_earlier(self, x, factorization, from_context, train, mask) -> jax.Array:
        """What the sites of earlier steps add to the outputs, [B, D * F].

        Not called where there is one step: all masks into the outputs are empty then, and XLA's CPU compiler (jax 0.10
        to 0.12) computes the product with such a constant wrongly when it fuses it with a softmax.
        """
        inputs = self.input_drop(self._inputs(x), deterministic=not train)
        input_steps = self._input_steps(factorization)
        output_steps = jnp.repeat(jnp.asarray(factorization.step), self.num_features)
        act = activation(self.activation)

        below, below_degrees = inputs, input_steps
        layers = zip(self.kernels, self.biases, self._pool(factorization), strict=True)
        for i, (kernel, bias, pool) in enumerate(layers):
            degrees = jnp.asarray(pool)[mask]
            hidden = below @ self._masked(kernel, below_degrees[:, None] <= degrees) + bias.astype(self.dtype)
            if i == 0 and from_context is not None:
                hidden = hidden + from_context[0]
            below, below_degrees = self.drop(act(hidden), deterministic=not train), degrees

        out = below @ self._masked(self.out_kernel, below_degrees[:, None] < output_steps)
        if self.direct:
            out = out + inputs @ self._masked(self.direct_kernel, input_steps[:, None] < output_steps)
        return out

    def init_carry(self, batch_size, factorization, context=None, mask: int | jax.Array = 0):
        """The hidden units known so far, 0 where still unknown, what the context adds to them, and the mask."""
        hidden = [jnp.zeros((batch_size, size), self.dtype) for size in self.hidden_sizes]
        return hidden, self._from_context(context), jnp.asarray(mask)

    def step(self, carry, canvas, t, factorization, context=None):
        """Only the units of degree t-1 become known in step t: O(U) of them per layer are computed, once each."""
        hidden, from_context, mask = carry
        seen = self._input_steps(factorization) < t
        inputs = jnp.where(seen, self._inputs(canvas), 0)
        below, known = inputs, []
        for i, (kernel, bias, pool) in enumerate(
            zip(self.kernels, self.biases, self._pool(factorization), strict=True)
        ):
            place = mask, jnp.maximum(t - 1, 0)
            units, real = (jnp.asarray(table)[place] for table in units_by_degree(pool, factorization.num_steps))
            new = real & (t > 0)
            pre = below @ kernel[:, units].astype(self.dtype) + bias[units].astype(self.dtype)
            if i == 0 and from_context is not None:
                pre = pre + from_context[0][:, units]
            # Units not yet known are 0, so the masks between hidden layers hold by themselves.
            value = activation(self.activation)(pre)
            below = hidden[i].at[:, jnp.where(new, units, kernel.shape[1])].set(value, mode="drop")
            known.append(below)
        return (known, from_context, mask), self._outputs(below, inputs, t, factorization, from_context)

    def _outputs(self, below, inputs, t, factorization, from_context):
        """Features [B, M, F] of the sites of step t from the units and inputs of earlier steps."""

        def columns(array: jax.Array) -> jax.Array:  # [..., D * F] -> [..., M * F]
            by_site = array.reshape(*array.shape[:-1], self.event.num_sites, self.num_features)
            return by_site[..., sites_M, :].reshape(*array.shape[:-1], -1)

        sites_M = jnp.minimum(factorization.sites(t)[0], self.event.num_sites - 1)
        out = columns(self.out_bias).astype(self.dtype)
        out = jnp.broadcast_to(out, (below.shape[0], *out.shape))
        if factorization.num_steps > 1:  # else nothing is earlier; see _from_earlier
            out = out + below @ columns(self.out_kernel).astype(self.dtype)
            if self.direct:
                out = out + inputs @ columns(self.direct_kernel).astype(self.dtype)
        if from_context is not None:
            out = out + columns(from_context[1])
        return out.reshape(out.shape[0], -1, self.num_features).astype(jnp.float32)
