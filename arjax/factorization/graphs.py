"""Dependency graphs: the earlier sites that a site may depend on, where these are not all earlier sites.

Each graph is a function `(factorization, data, ...) -> bool[D, D]`, [i, j] iff there is an edge from site j to site i:
p(x) = prod_i p(x_i | x_parents(i)) (Pearl, "Probabilistic Reasoning in Intelligent Systems", 1988, section 3.3).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from arjax.core.errors import UserError
from arjax.core.options import flat_integers, opt
from arjax.core.registry import Registry
from arjax.core.values import parse_call
from arjax.factorization.data_orderings import chow_liu_tree, pairwise_information
from arjax.factorization.factorization import Factorization

GRAPHS = Registry("dependency graph", hidden=("factorization", "data"))


def with_graph(factorization: Factorization, text: str, data: np.ndarray | None = None) -> Factorization:
    """The factorization with the graph of a call string ("": all edges). Raises `UserError` unless edges go forward."""
    if not text:
        return factorization
    if data is None and graph_needs_data(text):
        raise UserError(f"the graph {text!r} is read off training examples: give them as `data`")
    parents_DD = np.asarray(GRAPHS.call(text, factorization, data), bool)
    wrong = np.argwhere(parents_DD & ~np.asarray(factorization.mask()))
    if len(wrong):
        child, parent = (int(site) for site in wrong[0])
        step_D = np.asarray(factorization.step)
        raise UserError(
            f"the graph has an edge from site {parent}, drawn in step {step_D[parent]}, to site {child}, drawn in "
            f"step {step_D[child]}: use an ordering that visits parents first"
        )
    return dataclasses.replace(factorization, parents=parents_DD, connected=bool(parents_DD.any()))


def graph_needs_data(text: str) -> bool:
    """Returns whether a graph is read off the training examples."""
    return bool(text) and parse_call(text)[0] == "chow_liu_tree"


@GRAPHS.register("window")
def window(factorization: Factorization, data: np.ndarray | None, *, size: int = opt(least=0)) -> np.ndarray:
    """Only the sites of the last `size` steps: a Markov chain of that order along the factorization's order."""
    step_D = np.asarray(factorization.step)
    distance_DD = step_D[:, None] - step_D
    return (distance_DD > 0) & (distance_DD <= size)


@GRAPHS.register("neighbours")
def neighbours(factorization: Factorization, data: np.ndarray | None, distance: int = opt(1, least=0)) -> np.ndarray:
    """Only earlier sites at most so many places away along every axis of the grid, as in Markov mesh models of images
    (Abend, Harley & Kanal, "Classification of Binary Random Patterns", 1965).
    """
    place_DR = np.stack(np.unravel_index(np.arange(factorization.num_sites), factorization.grid_shape), -1)
    near_DD = (np.abs(place_DR[:, None] - place_DR) <= distance).all(-1)
    return near_DD & np.asarray(factorization.mask())


@GRAPHS.register("edges")
def edges(factorization: Factorization, data: np.ndarray | None, arrows: tuple[tuple[int, int], ...]) -> np.ndarray:
    """A Bayesian network from a list of edges (parent, child), as in `edges(arrows=((0, 1), (0, 2)))`."""
    num_sites = factorization.num_sites
    parents_DD = np.zeros((num_sites, num_sites), bool)
    for edge in arrows if isinstance(arrows, tuple | list) else (arrows,):
        pair = flat_integers(edge) if isinstance(edge, tuple | list) else None
        if pair is None or len(pair) != 2 or min(pair) < 0 or max(pair) >= num_sites:
            raise UserError(f"an edge is (parent, child), sites from 0 to {num_sites - 1}, not {edge!r}")
        parents_DD[pair[1], pair[0]] = True
    return parents_DD


@GRAPHS.register("chow_liu_tree")
def tree(factorization: Factorization, data: np.ndarray) -> np.ndarray:
    """The tree of largest total pairwise information among the training examples, along the order (Chow & Liu,
    "Approximating Discrete Probability Distributions with Dependence Trees", 1968). With the ordering `chow_liu` all
    sites but the first have a parent.
    """
    parent_D = chow_liu_tree(pairwise_information(data))
    linked_DD = np.zeros((len(parent_D), len(parent_D)), bool)
    children = np.flatnonzero(parent_D >= 0)
    linked_DD[children, parent_D[children]] = True
    return (linked_DD | linked_DD.T) & np.asarray(factorization.mask())
