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
from arjax.networks.dense.masked_layers import MaskedLayers, units_by_group
from arjax.networks.layers.embedding import input_mask, seen_inputs


def places(num_units: int, num_sites: int) -> np.ndarray:
    """Where in the order the site of each unit stands, int[U]: all but the first in turn, over and over. The turn is
    spread over the order, and the same for all layers: with fewer units than sites, those of a site are of every layer.
    """
    num = max(num_sites - 1, 1)
    turn = np.argsort(np.arange(num) * 0.6180339887498949 % 1, kind="stable")  # the golden ratio spreads evenly
    return np.minimum(1 + np.argsort(turn)[np.arange(num_units) % num], num_sites - 1)


def feeds(factorization: Factorization) -> jax.Array:
    """bool[D, D]: [s, i] iff units of site s may feed units and outputs of site i: parents(s), of which there are some,
    are all parents of i, and s is not of a later step, so that its units are known by then.
    """
    step_D = jnp.asarray(factorization.step)
    not_later_DD = step_D[:, None] <= step_D
    if factorization.parents is None:  # then the parents of s are those of i, or fewer
        return not_later_DD & (step_D[:, None] > 0)
    parents_DD = factorization.mask().astype(jnp.float32)
    return (parents_DD @ (1 - parents_DD.T) == 0) & not_later_DD & (parents_DD.sum(1)[:, None] > 0)


@NETWORKS.register("structured_made")
class StructuredMADE(MaskedLayers):
    """Masked layers that keep to the edges of a graph: one network for all conditionals of a Bayesian network.

    Where a unit of MADE has a degree, a unit here has a site s, and sees the parents of that site, through the units
    below that see no more. It feeds the outputs of site i iff parents(s) are all parents of i (`feeds`). So sites share
    units as far as they share parents. In a chain nothing is shared: a layer of fewer units than sites leaves some
    sites without, which are linear in their parents then, or blind to them where nothing is `direct`. Without a graph,
    the parents are all sites of earlier steps, and the masks those of MADE with the degrees step[s] - 1.

    The paper searches for masks whose product has the zeros of the graph; these have them by construction, for any
    order, partition and number of layers. `direct` connections follow every edge.

    Options: those of `made`, without the pool of masks.
    """

    SUPPORTS_GRAPHS = True

    def dependencies(self, factorization):
        """All parents if `direct`; else those to which a chain of units leads: few units do not reach every site."""
        mask_DD = np.asarray(factorization.mask())
        if self.direct or not factorization.has_edges:
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
        """Of the hidden layers, the outputs and the direct connections; none without edges."""
        if not factorization.has_edges:
            return []
        reads, feeds_DD = input_mask(self.event, factorization), feeds(factorization)
        sites = [self._sites(size, factorization) for size in self.hidden_sizes]
        between = [feeds_DD[below[:, None], above] for below, above in itertools.pairwise(sites)]
        to_outputs = (jnp.repeat(mask, self.num_features, axis=1) for mask in (feeds_DD[sites[-1]], reads))
        return [reads[:, sites[0]], *between, *to_outputs]

    def init_carry(self, batch_size, factorization, context=None):
        """The hidden units known so far, 0 where still unknown, what the context adds to them, and `feeds`."""
        hidden = [jnp.zeros((batch_size, size), self.dtype) for size in self.hidden_sizes]
        return hidden, self._from_context(context), feeds(factorization)

    def step(self, carry, canvas, t, factorization, context=None):
        """Only the units of the sites of step t become known in it, once each: O(U) of them, of all layers."""
        hidden, from_context, feeds_DD = carry
        sites_M, valid_M = factorization.sites(t)
        sites_M = jnp.minimum(sites_M, factorization.num_sites - 1)
        reads = input_mask(self.event, factorization)
        inputs = seen_inputs(canvas, self.event, self.dtype, t, factorization)
        below, known, num_sites = inputs, [], factorization.num_sites
        from_sites = None
        for i, size in enumerate(self.hidden_sizes):
            (table,), (real,) = units_by_group(places(size, num_sites)[None], num_sites)
            place_M = jnp.asarray(factorization.rank)[sites_M]
            units, new = jnp.asarray(table)[place_M].ravel(), jnp.asarray(real)[place_M] & valid_M[:, None]
            above = self._sites(size, factorization)[units]
            mask = reads[:, above] if from_sites is None else feeds_DD[from_sites[:, None], above]
            values = self._units(i, below, units, mask, from_context)
            below = hidden[i].at[:, jnp.where(new.ravel(), units, size)].set(values, mode="drop")
            known.append(below)
            from_sites = self._sites(size, factorization)
        masks = feeds_DD[from_sites[:, None], sites_M], reads[:, sites_M]
        features = self._outputs(below, inputs, t, factorization, masks, from_context)
        return (known, from_context, feeds_DD), features
