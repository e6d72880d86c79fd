"""Orders that are found by a search over orders that are trained side by side.

The score of a candidate is the validation nats after a short training under it. Local search keeps the best orders and
changes them a little; random search, the baseline, draws as many orders and keeps the best.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from arjax.core.errors import UserError
from arjax.population.population import Population
from arjax.population.train import train_population


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """The best order, int64[D], its validation nats, the number of trainings, and the best nats after each round."""

    order: np.ndarray
    validation: float
    trained: int
    best_by_round: tuple[float, ...]


def random_search(
    population: Population, rounds: int, seed: int = 0, log: Callable[[str], None] = lambda text: None
) -> SearchResult:
    """The best of rounds x O random orders, O those of the population."""
    rng, orders = np.random.default_rng((seed, 1)), orders_of(population)
    return _search(population, rounds, lambda best: [rng.permutation(len(order_D)) for order_D in orders], log)


def local_search(
    population: Population, rounds: int, parents: int = 2, seed: int = 0, log: Callable[[str], None] = lambda text: None
) -> SearchResult:
    """Starts from the orders of the population, which the first round trains; each further round changes the `parents`
    best ones so far, each by one random move. Validation nats are means over the seeds of the population.
    """
    rng, start = np.random.default_rng(seed), orders_of(population)
    seen: set[tuple[int, ...]] = set()
    if not 1 <= parents <= len(start):
        raise UserError(f"the parents must be 1 to {len(start)}, as many as there are orders, not {parents!r}")

    def changed(order_D: np.ndarray) -> np.ndarray:
        """An order that has not been tried; after a hundred failures, any."""
        for _ in range(100):
            other_D = move(order_D, rng)
            if tuple(other_D) not in seen:
                break
        seen.add(tuple(other_D))
        return other_D

    def propose(best: Sequence[tuple[float, np.ndarray]]) -> list[np.ndarray]:
        if best:
            return [changed(best[i % min(parents, len(best))][1]) for i in range(len(start))]
        seen.update(map(tuple, start))
        return start

    return _search(population, rounds, propose, log)


def move(order_D: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One of three changes: a stretch of the order is reversed or moved elsewhere, or two sites change places."""
    num = len(order_D)
    if num < 2:
        return order_D
    length = int(rng.integers(1, max(2, num // 4)))
    begin = int(rng.integers(0, num - length + 1))
    stretch, rest = order_D[begin : begin + length], np.delete(order_D, np.s_[begin : begin + length])
    kind = rng.integers(3)
    if kind == 0 and length > 1:
        return np.concatenate([rest[:begin], stretch[::-1], rest[begin:]])
    if kind == 1:
        place = int(rng.integers(0, len(rest) + 1))
        return np.concatenate([rest[:place], stretch, rest[place:]])
    changed, (a, b) = order_D.copy(), rng.choice(num, 2, replace=False)
    changed[[a, b]] = changed[[b, a]]
    return changed


def _search(population: Population, rounds: int, propose: Callable, log: Callable[[str], None]) -> SearchResult:
    if rounds < 1:
        raise UserError(f"a search needs at least one round, not {rounds!r}")
    best: list[tuple[float, np.ndarray]] = []
    by_round: list[float] = []
    before = orders_of(population)
    for number in range(1, rounds + 1):
        orders = propose(best)
        population.replace_orders(orders)
        nats_O = train_population(population).validation.mean(1)
        best = sorted([*best, *zip(nats_O.tolist(), orders, strict=True)], key=lambda pair: pair[0])[: len(orders)]
        by_round.append(best[0][0])
        log(f"round {number}/{rounds}: {nats_O.min():.4f} to {nats_O.max():.4f} nats, best so far {best[0][0]:.4f}")
    population.replace_orders(before)
    return SearchResult(np.asarray(best[0][1]), best[0][0], rounds * len(before), tuple(by_round))


def orders_of(population: Population) -> list[np.ndarray]:
    """The orders of the members, each int64[D]."""
    return [np.asarray(model.factorization.order) for model in population.members]
