"""MADE for any dependency graph (Chen, Shi, Gao, Baptista & Krishnan, "Structured Neural Networks for Density
Estimation and Causal Inference", 2023).
"""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from arjax.factorization import Factorization
from arjax.networks.base import NETWORKS
from arjax.networks.dense.made import MaskedLayers, units_by_group
from arjax.networks.layers.embedding import input_mask, seen_inputs


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

    The paper searches for masks with a product that has the zeros of the graph. The masks here have them by
    construction, for any order, partition and number of layers. `direct` connections follow every edge.

    Options: as `made`, without the pool of masks.
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
        """The site of each unit of a layer, int[U]."""
        return jnp.asarray(factorization.order)[places(size, factorization.num_sites)]

    def __call__(self, x, factorization, context=None, *, train=False):
        return self._features(x, self._masks(factorization), context, train)

    def _masks(self, factorization: Factorization) -> list[jax.Array]:
        """Masks of the hidden layers, the outputs and the direct connections; none without edges."""
        if not factorization.has_edges:
            return []
        reads, feeds_DD = input_mask(self.event, factorization), feeds(factorization)
        sites = [self._sites(size, factorization) for size in self.hidden_sizes]
        between = [feeds_DD[below[:, None], above] for below, above in itertools.pairwise(sites)]
        to_outputs = (jnp.repeat(mask, self.num_features, axis=1) for mask in (feeds_DD[sites[-1]], reads))
        return [reads[:, sites[0]], *between, *to_outputs]

    def start(self, batch_size, factorization, context=None):
        """The hidden units computed so far, 0 for the others; the contributions of the context; and `feeds`."""
        return self._no_units(batch_size), self._from_context(context), feeds(factorization)

    def step(self, carry, canvas, t, factorization, context=None):
        """Step t computes only the units of its sites: O(U) over all steps and layers, each unit once."""
        hidden, from_context, feeds_DD = carry
        sites_M, valid_M = factorization.sites(t)
        sites_M = jnp.minimum(sites_M, factorization.num_sites - 1)
        reads = input_mask(self.event, factorization)
        inputs = seen_inputs(canvas, self.event, self.dtype, t, factorization)
        below, computed, num_sites = inputs, [], factorization.num_sites
        from_sites = None
        for i, size in enumerate(self.hidden_sizes):
            (table,), (real,) = units_by_group(places(size, num_sites)[None], num_sites)
            place_M = jnp.asarray(factorization.rank)[sites_M]
            units, new = jnp.asarray(table)[place_M].ravel(), jnp.asarray(real)[place_M] & valid_M[:, None]
            above = self._sites(size, factorization)[units]
            mask = reads[:, above] if from_sites is None else feeds_DD[from_sites[:, None], above]
            values = self._units(i, below, units, mask, from_context)
            below = hidden[i].at[:, jnp.where(new.ravel(), units, size)].set(values, mode="drop")
            computed.append(below)
            from_sites = self._sites(size, factorization)
        masks = feeds_DD[from_sites[:, None], sites_M], reads[:, sites_M]
        features = self._outputs(below, inputs, t, factorization, masks, from_context)
        return (computed, from_context, feeds_DD), features
