"""Orderings that are read off N training examples, `data` [N, D] or [N, D, value] of integers or reals."""

from __future__ import annotations

import numpy as np

from arjax.core.errors import UserError
from arjax.factorization.orderings import ORDERINGS, Grid

#: A real value counts as one of so many levels, each equally frequent, where information is counted.
LEVELS_OF_REALS = 8
#: Information is counted on so many examples at most.
MOST_EXAMPLES = 20_000


@ORDERINGS.register("variance")
def variance(grid_shape: Grid, data: np.ndarray) -> np.ndarray:
    """By the variance of each site over the training examples, added up over its entries, largest first."""
    variance_D = np.asarray(data, np.float64).var(0).reshape(data.shape[1], -1).sum(1)
    return np.argsort(-variance_D, kind="stable")


@ORDERINGS.register("mutual_information")
def mutual_information(grid_shape: Grid, data: np.ndarray, nearest: bool = True) -> np.ndarray:
    """Greedy: the site with the largest entropy, then always the site with the largest mutual information with any site
    visited before it (`nearest=False`: the smallest such maximum, so that early sites are nearly independent).
    """
    information_DD = pairwise_information(data)
    order = [int(np.argmax(np.diag(information_DD)))]
    left_D = np.ones(len(information_DD), bool)
    best_D = information_DD[order[0]].copy()
    while len(order) < len(left_D):
        left_D[order[-1]] = False
        candidates_D = np.where(left_D, best_D if nearest else -best_D, -np.inf)
        order.append(int(np.argmax(candidates_D)))
        best_D = np.maximum(best_D, information_DD[order[-1]])
    return np.asarray(order)


@ORDERINGS.register("chow_liu")
def chow_liu(grid_shape: Grid, data: np.ndarray) -> np.ndarray:
    """A walk through the tree of largest total pairwise information (Chow & Liu, 1968) from the site with the largest
    entropy: every site comes after its parent, children in order of their information about it.
    """
    information_DD = pairwise_information(data)
    parent_D, root = chow_liu_tree(information_DD), int(np.argmax(np.diag(information_DD)))
    order, waiting = [], [root]
    while waiting:
        site = waiting.pop()
        order.append(site)
        children = np.flatnonzero(parent_D == site)
        children = children[np.argsort(-information_DD[site, children], kind="stable")]
        waiting.extend(children[::-1])
    return np.asarray(order)


def chow_liu_tree(information_DD: np.ndarray) -> np.ndarray:
    """Parents int[D] in the maximum spanning tree (Prim, 1957); -1: the root, the site with the largest entropy."""
    num_sites = len(information_DD)
    site = int(np.argmax(np.diag(information_DD)))
    parent_D, best_D = np.full(num_sites, -1), np.full(num_sites, -np.inf)
    inside_D = np.zeros(num_sites, bool)
    for _ in range(num_sites - 1):
        inside_D[site] = True
        nearer_D = ~inside_D & (information_DD[site] > best_D)
        best_D[nearer_D], parent_D[nearer_D] = information_DD[site, nearer_D], site
        site = int(np.argmax(np.where(inside_D, -np.inf, best_D)))
    return parent_D


def pairwise_information(data: np.ndarray) -> np.ndarray:
    """Returns the mutual information of all pairs of sites in nats, float64[D, D], with entropies on the diagonal, by
    frequencies among at most 20,000 examples, evenly spaced. Reals count as one of eight levels of equal frequency.
    """
    if data.ndim > 2 and data[0, 0].size > 1:
        raise UserError("an ordering by mutual information needs one number per site, not vectors")
    data = data.reshape(data.shape[:2])
    levels_ND = _as_levels(data[:: -(-len(data) // MOST_EXAMPLES)])
    num, num_sites = levels_ND.shape
    information_DD = np.zeros((num_sites, num_sites))
    levels = np.unique(levels_ND)
    for i, here in enumerate(levels):
        here_ND = (levels_ND == here).astype(np.float32)
        for there in levels[i:]:
            there_ND = (levels_ND == there).astype(np.float32)
            joint_DD = (here_ND.T @ there_ND).astype(np.float64) / num
            product_DD = here_ND.mean(0, dtype=np.float64)[:, None] * there_ND.mean(0, dtype=np.float64)
            ratio_DD = np.divide(joint_DD, product_DD, out=np.ones_like(joint_DD), where=joint_DD > 0)
            terms_DD = joint_DD * np.log(ratio_DD)
            information_DD += terms_DD if here == there else terms_DD + terms_DD.T
    return np.maximum((information_DD + information_DD.T) / 2, 0.0)


def _as_levels(data: np.ndarray) -> np.ndarray:
    """int[N, D] of at most a few dozen levels: reals and finer levels become eight, of equal frequency as far as equal
    values allow. All edges are below the largest value of a site, even where that is frequent.
    """
    if data.dtype.kind in "iub" and len(np.unique(data)) <= 4 * LEVELS_OF_REALS:
        return data.astype(np.int64)
    edges_ED = np.quantile(data, np.arange(1, LEVELS_OF_REALS) / LEVELS_OF_REALS, axis=0)
    edges_ED = np.where(edges_ED < data.max(0), edges_ED, np.nextafter(edges_ED, -np.inf))
    return (data[None] > edges_ED[:, None]).sum(0)
