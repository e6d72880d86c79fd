"""MADE: Masked Autoencoder for Distribution Estimation (Germain, Gregor, Murray & Larochelle, 2015)."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from arjax.factorization import Factorization
from arjax.networks.base import NETWORKS
from arjax.networks.dense.masked_layers import MaskedLayers, units_by_group
from arjax.networks.layers.embedding import input_steps


def hidden_degrees(num_units: int, num_steps: int) -> np.ndarray:
    """m(k) of section 3: unit k may read the sites of steps <= m(k). int[U], ascending, spread evenly over 0..S-2."""
    return np.arange(num_units, dtype=np.int64) * max(num_steps - 1, 1) // num_units


@functools.cache
def degree_pool(sizes: tuple[int, ...], num_steps: int, num_masks: int) -> tuple[np.ndarray, ...]:
    """Degrees of the units under each of a fixed pool of masks, int[K, U] per layer (section 4.2).

    Mask 0 has the even ones of `hidden_degrees`. In the others each unit draws its degree uniformly, between the least
    of the layer below and S-2: so it has inputs and outputs.
    """
    rng, last = np.random.default_rng(0), max(num_steps - 2, 0)
    pool = [np.stack([hidden_degrees(size, num_steps)] * num_masks) for size in sizes]
    for k in range(1, num_masks):
        least = 0
        for degrees in pool:
            degrees[k] = rng.integers(least, last + 1, degrees.shape[1])
            least = degrees[k].min()
    return tuple(pool)


@NETWORKS.register("made")
class MADE(MaskedLayers):
    """A fully connected network with weights multiplied by masks in the forward pass (equations 8-13).

    Without `direct` connections, a site is read only along a path of units through all layers. With fewer units than
    steps, the last sites before a site may lack such a path; `dependencies` then leaves them out (for mask 0).

    Any order and any block partition: both enter through the steps of the sites, so one program supports all orders.

    With several masks, each training step draws one of a fixed pool ("connectivity-agnostic" training, section 4.2).
    One set of parameters then holds as many models as there are masks. The argument `mask` of the two forms selects
    one; the default is mask 0. The pool is fixed, as fresh masks in every step underfit.

    Options: `hidden_sizes` (any depth), `direct` connections from inputs to outputs (equation 10, the matrix A),
    `activation`, `dropout` on hidden units, `input_dropout` on the inputs, `num_masks` in the pool,
    `condition_on_masks` (worth its extra weights where one set of weights supports many orders or masks).
    """

    num_masks: int = 1

    def dependencies(self, factorization):
        """The outputs of step t read step s iff some path leads there: s <= m_1 <= ... <= m_L < t (section 3)."""
        if self.direct or not factorization.has_edges:
            return super().dependencies(factorization)
        step_D, least_S = np.asarray(factorization.step), np.arange(factorization.num_steps)
        for pool in self._pool(factorization):
            degrees = np.append(np.sort(pool[0]), factorization.num_steps)  # the last one means "no unit"
            least_S = degrees[np.searchsorted(degrees, least_S)]
        return least_S[step_D][None, :] < step_D[:, None]

    def _pool(self, factorization: Factorization) -> tuple[np.ndarray, ...]:
        """The degrees of the units of each layer under each mask, int[K, U]."""
        return degree_pool(self.hidden_sizes, factorization.num_steps, self.num_masks)

    def __call__(self, x, factorization, context=None, *, train=False, mask: int | jax.Array | None = None):
        """Features of all sites under one mask of the pool; None: a random one in training, mask 0 otherwise."""
        if mask is None:
            random = train and self.num_masks > 1
            mask = jax.random.randint(self.make_rng("dropout"), (), 0, self.num_masks) if random else 0
        return self._features(x, self._masks(factorization, mask), context, train)

    def _masks(self, factorization: Factorization, mask: int | jax.Array) -> list[jax.Array]:
        """Of the hidden layers (equation 12), outputs (13) and direct connections (section 3); none without edges."""
        if not factorization.has_edges:
            return []
        read_steps, masks = input_steps(self.event, factorization), []
        output_steps = jnp.repeat(jnp.asarray(factorization.step), self.num_features)
        below = read_steps
        for pool in self._pool(factorization):
            degrees = jnp.asarray(pool)[mask]
            masks.append(below[:, None] <= degrees)
            below = degrees
        return [*masks, below[:, None] < output_steps, read_steps[:, None] < output_steps]

    def start(self, batch_size, factorization, context=None, mask: int | jax.Array = 0):
        """The hidden units computed so far, 0 for the others; the contributions of the context; and the mask."""
        return self._no_units(batch_size), self._from_context(context), jnp.asarray(mask)

    def step(self, carry, canvas, t, factorization, context=None):
        """Step t computes only the units of degree t-1: O(U) over all steps and per layer, each unit once."""
        hidden, from_context, mask = carry
        seen = input_steps(self.event, factorization) < t
        inputs = jnp.where(seen, self._inputs(canvas), 0)
        below, computed, read = inputs, [], seen[:, None]
        for i, pool in enumerate(self._pool(factorization)):
            place = mask, jnp.maximum(t - 1, 0)
            units, real = (jnp.asarray(table)[place] for table in units_by_group(pool, factorization.num_steps))
            new = jnp.where(real & (t > 0), units, pool.shape[1])
            below = hidden[i].at[:, new].set(self._units(i, below, units, read, from_context), mode="drop")
            computed.append(below)
            read = (jnp.asarray(pool)[mask] < t)[:, None]
        features = self._outputs(below, inputs, t, factorization, (read, seen[:, None]), from_context)
        return (computed, from_context, mask), features
