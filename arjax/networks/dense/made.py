"""MADE: Masked Autoencoder for Distribution Estimation (Germain, Gregor, Murray & Larochelle, 2015); and the same for
any dependency graph (Chen et al., "Structured Neural Networks for Density Estimation and Causal Inference", 2023).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.options import opt, rate_option
from arjax.factorization import Factorization
from arjax.networks.base import ACTIVATIONS, NETWORKS, Context, Network
from arjax.networks.layers.embedding import flat_inputs, input_mask, input_steps, numeric_size, seen_inputs
from arjax.networks.layers.local_context import feature_encoder, summary_encoder


def units_by_group(group_U: np.ndarray, num_groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the units of each group (step or site), int[G, n] with padding, and bool[G, n], whether each exists."""
    counts_G = np.bincount(group_U, minlength=num_groups)
    real_Gn = np.arange(counts_G.max()) < counts_G[:, None]
    units_Gn = np.zeros(real_Gn.shape, np.int32)
    units_Gn[real_Gn] = np.argsort(group_U, kind="stable")
    return units_Gn, real_Gn


class MaskedLayers(Network):
    """Hidden layers, outputs and, if `direct`, connections from inputs to outputs (MADE, equations 8-13). Subclasses
    define `_masks(factorization)`, a list of the masks of hidden layers, outputs and direct connections; it is empty if
    no site reads another.

    `condition_on_masks` (mask conditioning) adds (U * M) 1 to every (W * M) h, with further weights U, as an option of
    the authors' code: a unit reads its row of the mask, so one set of weights distinguishes orders. The sum is divided
    by its number of terms: a step of Adam changes all weights equally, which would add up.
    """

    hidden_sizes: tuple[int, ...] = opt((500,), fewest=1)
    direct: bool = True
    activation: str = opt("relu", choices=ACTIVATIONS)
    dropout: float = rate_option()
    input_dropout: float = rate_option()
    condition_on_masks: bool = False

    READOUT = ("out_kernel", "out_bias", "out_mask_kernel", "direct_kernel")
    SMALL = {"hidden_sizes": (48, 40)}

    def setup(self):
        num_inputs = self.event.num_sites * numeric_size(self.event)
        num_outputs = self.event.num_sites * self.num_features
        kernel, zeros = nn.initializers.lecun_normal(), nn.initializers.zeros
        sizes = [num_inputs, *self.hidden_sizes]
        shapes = list(itertools.pairwise(sizes))
        self.kernels = [self.param(f"hidden_{i}_kernel", kernel, shape) for i, shape in enumerate(shapes)]
        self.biases = [self.param(f"hidden_{i}_bias", zeros, (size,)) for i, size in enumerate(self.hidden_sizes)]
        self.out_kernel = self.param("out_kernel", kernel, (sizes[-1], num_outputs))
        # Not zero: the first site reads nothing else, and the components of a mixture there would stay equal.
        self.out_bias = self.param("out_bias", nn.initializers.normal(0.05), (num_outputs,))
        if self.direct:
            self.direct_kernel = self.param("direct_kernel", kernel, (num_inputs, num_outputs))
        if self.condition_on_masks:
            self.mask_kernels = [self.param(f"hidden_{i}_mask_kernel", zeros, shape) for i, shape in enumerate(shapes)]
            self.out_mask_kernel = self.param("out_mask_kernel", zeros, (sizes[-1], num_outputs))
        if self.context_spec:
            # The context reaches the outputs directly too: no hidden unit may feed the outputs of step 0.
            self.hidden_context = summary_encoder(self.context_spec, self.event, self.hidden_sizes[0], self.dtype)
            self.out_context = feature_encoder(self.context_spec, self.event, self.num_features, self.dtype)
        self.drop = nn.Dropout(self.dropout)
        self.input_drop = nn.Dropout(self.input_dropout)

    def _masked(self, kernel: jax.Array, mask: jax.Array) -> jax.Array:
        return jnp.where(mask, kernel, 0.0).astype(self.dtype)

    def _from_context(self, context: Context | None) -> tuple[jax.Array, jax.Array] | None:
        """The contributions of the context to the first hidden layer and to the outputs."""
        return None if context is None else (self.hidden_context(context), self.out_context(context))

    def __call__(self, x, factorization, context=None, *, train=False):
        below = inputs = self.input_drop(flat_inputs(x, self.event, self.dtype), deterministic=not train)
        from_context, masks = self._from_context(context), self._masks(factorization)
        for i, mask in enumerate(masks[:-2]):
            below = self.drop(self._units(i, below, slice(None), mask, from_context), deterministic=not train)
        features_BDF = self._outputs(below, inputs, slice(None), masks[-2:], from_context)
        return features_BDF.reshape(-1, *self.event.grid_shape, self.num_features)

    def _units(self, i: int, below: jax.Array, units: jax.Array | slice, mask, from_context) -> jax.Array:
        """The values of some units of layer i, [B, n], from the units of the layer below, under a mask."""
        pre = below @ self._masked(self.kernels[i][:, units], mask) + self.biases[i][units].astype(self.dtype)
        if self.condition_on_masks:
            pre = pre + self._masked(self.mask_kernels[i][:, units], mask).mean(0)
        if i == 0 and from_context is not None:
            pre = pre + from_context[0][:, units]
        return ACTIVATIONS[self.activation](pre)

    def _outputs(self, below, inputs, sites: jax.Array | slice, masks: Sequence[jax.Array], from_context) -> jax.Array:
        """Features [B, M, F] of some sites, under the masks [*, M] of the connections from units and from inputs."""

        def columns(array: jax.Array, mask: jax.Array | None = None) -> jax.Array:  # [..., D * F] -> [..., M * F]
            by_site = array.reshape(*array.shape[:-1], self.event.num_sites, self.num_features)[..., sites, :]
            by_site = by_site if mask is None else self._masked(by_site, mask[..., None])
            return by_site.reshape(*array.shape[:-1], -1)

        out = columns(self.out_bias).astype(self.dtype)
        out = jnp.broadcast_to(out, (below.shape[0], *out.shape))
        if masks:
            out = out + below @ columns(self.out_kernel, masks[0])
            if self.condition_on_masks:
                out = out + columns(self.out_mask_kernel, masks[0]).mean(0)
            if self.direct:
                out = out + inputs @ columns(self.direct_kernel, masks[1])
        if from_context is not None:
            out = out + columns(from_context[1])
        return out.reshape(out.shape[0], -1, self.num_features).astype(jnp.float32)

    def _computed(self, hidden: list[jax.Array], inputs: jax.Array, news: Iterable[tuple], from_context) -> list[Any]:
        """The hidden units of each layer with the `news` of a step: (units, whether they exist, mask of inputs)."""
        below, computed = inputs, []
        for i, (units, exist, mask) in enumerate(news):
            values = self._units(i, below, units, mask, from_context)
            below = hidden[i].at[:, jnp.where(exist, units, self.hidden_sizes[i])].set(values, mode="drop")
            computed.append(below)
        return computed

    def start(self, batch_size, factorization, context=None):
        """The hidden units computed so far, 0 for the others, and the contributions of the context."""
        hidden = [jnp.zeros((batch_size, size), self.dtype) for size in self.hidden_sizes]
        return hidden, self._from_context(context)


def hidden_degrees(num_units: int, num_steps: int) -> np.ndarray:
    """m(k) of section 3: unit k may read the sites of steps <= m(k). int[U], ascending, spread evenly over 0..S-2."""
    return np.arange(num_units, dtype=np.int64) * max(num_steps - 1, 1) // num_units


@NETWORKS.register("made")
class MADE(MaskedLayers):
    """A fully connected network with weights multiplied by masks in the forward pass (equations 8-13). Any order and
    any block partition enter through the steps of the sites, so one program supports all orders. Without `direct`
    connections, a site is read only along a path of units through all layers. With fewer units than steps, the last
    sites before a site may lack such a path; `dependencies` then leaves them out.

    Options: `hidden_sizes` (any depth), `direct` connections from inputs to outputs (equation 10, the matrix A),
    `activation`, `dropout` on hidden units, `input_dropout` on the inputs, `condition_on_masks` (worth its extra
    weights where one set of weights supports many orders).
    """

    def dependencies(self, factorization):
        """The outputs of step t read step s iff some path leads there: s <= m_1 <= ... <= m_L < t (section 3)."""
        if self.direct or not factorization.has_edges:
            return super().dependencies(factorization)
        step_D, least_S = np.asarray(factorization.step), np.arange(factorization.num_steps)
        for degrees in self._degrees(factorization):
            degrees = np.append(degrees, factorization.num_steps)  # the last one means "no unit"
            least_S = degrees[np.searchsorted(degrees, least_S)]
        return least_S[step_D][None, :] < step_D[:, None]

    def _degrees(self, factorization: Factorization) -> list[np.ndarray]:
        return [hidden_degrees(size, factorization.num_steps) for size in self.hidden_sizes]

    def _masks(self, factorization):
        """Equations 12 and 13, and section 3."""
        if not factorization.has_edges:
            return []
        read_steps, masks = input_steps(self.event, factorization), []
        step_D, below = jnp.asarray(factorization.step), read_steps
        for degrees in map(jnp.asarray, self._degrees(factorization)):
            masks.append(below[:, None] <= degrees)
            below = degrees
        return [*masks, below[:, None] < step_D, read_steps[:, None] < step_D]

    def step(self, carry, canvas, t, factorization, context=None):
        """Step t computes only the units of degree t-1: O(U) over all steps and per layer, each unit once."""
        (hidden, from_context), degrees = carry, self._degrees(factorization)
        seen = input_steps(self.event, factorization) < t
        reads, news = [seen[:, None], *((jnp.asarray(each) < t)[:, None] for each in degrees)], []
        for each, read in zip(degrees, reads[:-1], strict=True):
            tables = units_by_group(each, factorization.num_steps)
            units, exist = (jnp.asarray(table)[jnp.maximum(t - 1, 0)] for table in tables)
            news.append((units, exist & (t > 0), read))
        inputs = seen_inputs(canvas, self.event, self.dtype, t, factorization)
        hidden, sites_M = self._computed(hidden, inputs, news, from_context), factorization.sites(t)[0]
        sites_M = jnp.minimum(sites_M, self.event.num_sites - 1)
        masks = (reads[-1], seen[:, None]) if factorization.has_edges else ()
        return (hidden, from_context), self._outputs(hidden[-1], inputs, sites_M, masks, from_context)


def places(num_units: int, num_sites: int) -> np.ndarray:
    """The rank of the site of each unit, int[U]: cycles through all ranks but the first, in a sequence that is spread
    over the order. The sequence is the same for all layers, so with fewer units than sites all layers use equal sites.
    """
    num = max(num_sites - 1, 1)
    spread = np.argsort(np.arange(num) * 0.6180339887498949 % 1, kind="stable")  # the golden ratio spreads evenly
    return np.minimum(1 + np.argsort(spread)[np.arange(num_units) % num], num_sites - 1)


def feeds(factorization: Factorization) -> jax.Array:
    """bool[D, D]: [s, i] iff units of site s may feed units and outputs of site i: parents(s) is not empty and a subset
    of parents(i), and s is not of a later step, so that its units are computed by then.
    """
    step_D = jnp.asarray(factorization.step)
    not_later_DD = step_D[:, None] <= step_D
    if factorization.parents is None:  # then all parents of s are parents of i
        return not_later_DD & (step_D[:, None] > 0)
    parents_DD = factorization.mask().astype(jnp.float32)
    return (parents_DD @ (1 - parents_DD.T) == 0) & not_later_DD & (parents_DD.sum(1)[:, None] > 0)


@NETWORKS.register("structured_made")
class StructuredMADE(MaskedLayers):
    """Masked layers that follow the edges of a graph: one network for all conditionals of a Bayesian network.

    A unit of MADE has a degree; a unit here has a site s, and reads the parents of that site, through units below that
    read no other sites. It feeds the outputs of site i iff parents(s) are all parents of i (`feeds`). So sites share
    units as far as they share parents. In a chain no unit is shared: with fewer units than sites in a layer, some sites
    have none. These are linear in their parents, or independent of them without `direct`. Without a graph, the parents
    are all sites of earlier steps, and the masks are those of MADE with the degrees step[s] - 1.

    The paper searches for masks with a product that has the zeros of the graph; these masks have them by construction,
    for any order, partition and number of layers. `direct` connections follow every edge. Options: as `made`.
    """

    TRAITS = MaskedLayers.TRAITS | {"graphs"}

    def dependencies(self, factorization):
        """All parents if `direct`; else those that a chain of units connects: few units do not connect every site."""
        mask_DD = np.asarray(factorization.mask())
        if self.direct:
            return mask_DD
        feeds_DD, order_D = np.asarray(feeds(factorization)), np.asarray(factorization.order)
        reached_DD = np.eye(factorization.num_sites, dtype=bool)  # [s, i]: units of s lead to the outputs of i
        for size in reversed(self.hidden_sizes):
            has_units_D = np.isin(np.arange(len(order_D)), order_D[places(size, len(order_D))])
            reached_DD = (feeds_DD @ reached_DD) & has_units_D[:, None]
        return (mask_DD.T @ reached_DD).T

    def _sites(self, size: int, factorization: Factorization) -> jax.Array:
        return jnp.asarray(factorization.order)[places(size, factorization.num_sites)]

    def _masks(self, factorization):
        if not factorization.has_edges:
            return []
        reads, feeds_DD = input_mask(self.event, factorization), feeds(factorization)
        sites = [self._sites(size, factorization) for size in self.hidden_sizes]
        between = [feeds_DD[below[:, None], above] for below, above in itertools.pairwise(sites)]
        return [reads[:, sites[0]], *between, feeds_DD[sites[-1]], reads]

    def start(self, batch_size, factorization, context=None):
        """The same with `feeds`."""
        return *super().start(batch_size, factorization, context), feeds(factorization)

    def step(self, carry, canvas, t, factorization, context=None):
        """Step t computes only the units of its sites: O(U) over all steps and layers, each unit once."""
        hidden, from_context, feeds_DD = carry
        sites_M, valid_M = factorization.sites(t)
        num_sites, reads = factorization.num_sites, input_mask(self.event, factorization)
        sites_M = jnp.minimum(sites_M, num_sites - 1)
        place_M, news, below_U = jnp.asarray(factorization.rank)[sites_M], [], None
        for size in self.hidden_sizes:
            table, real = units_by_group(places(size, num_sites), num_sites)
            units, exist = jnp.asarray(table)[place_M].ravel(), jnp.asarray(real)[place_M] & valid_M[:, None]
            sites_U = self._sites(size, factorization)
            above = sites_U[units]
            news.append(
                (units, exist.ravel(), reads[:, above] if below_U is None else feeds_DD[below_U[:, None], above])
            )
            below_U = sites_U
        inputs = seen_inputs(canvas, self.event, self.dtype, t, factorization)
        hidden = self._computed(hidden, inputs, news, from_context)
        masks = (feeds_DD[below_U[:, None], sites_M], reads[:, sites_M]) if factorization.has_edges else ()
        return (hidden, from_context, feeds_DD), self._outputs(hidden[-1], inputs, sites_M, masks, from_context)
