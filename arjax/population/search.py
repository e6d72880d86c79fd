"""Orders that are found: by a search over orders that are trained side by side, or learned with the model.

The score of a candidate is the validation nats after a short training under it. Local search keeps the best orders and
changes them a little; random search, the baseline, draws as many orders and keeps the best.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Callable, Sequence

import jax
import numpy as np
from ml_collections import ConfigDict

from arjax.config.build import build
from arjax.config.files import FILE_NAME as CONFIG_NAME
from arjax.config.files import check_same_run, save_config
from arjax.core.errors import UserError
from arjax.core.files import writable_folder
from arjax.core.options import is_integer
from arjax.objectives.likelihood import SCORES
from arjax.population.population import Population, check_has_order, on_one_device
from arjax.population.train import train_population
from arjax.reporting.writers import read_metrics
from arjax.training.loop import Learner, run_training


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
    return [np.asarray(factorization.order) for factorization in population.factorizations]


@dataclasses.dataclass(frozen=True)
class PolicyResult:
    """The most probable order, int64[D], the scores of the sites, float32[D], the nats of each tenth, and the steps."""

    order: np.ndarray
    scores: np.ndarray
    nats: tuple[float, ...]
    steps: int


def learn_order(
    config: ConfigDict,
    orders_per_step: int = 4,
    learning_rate: float = 0.05,
    seed: int | None = None,
    workdir: str | os.PathLike = "",
) -> PolicyResult:
    """Trains model and policy for the steps of the config, under `orders_per_step` orders in every step. After SIGTERM
    or SIGINT the state is saved, and `KeyboardInterrupt` raised.

    Args:
      config: a whole config; the network must support any order. Its partition cuts the orders.
      learning_rate: of the scores (Adam); that of the model is in the config.
      seed: of parameters, batches and orders; None: that of the config.
      workdir: folder of the run, which goes on there if it was interrupted; "": nothing is kept.
    """
    if not is_integer(orders_per_step) or orders_per_step < 2:
        raise UserError(f"a policy needs at least 2 orders per step to compare, not {orders_per_step!r}")
    check_has_order(config, "orders")
    if config.model.graph:
        raise UserError("an order cannot be learned under a dependency graph: its edges follow the order")
    config = on_one_device(config)
    config.seed = config.seed if seed is None else seed
    config.model.orders = "uniform"  # checks that the network supports all orders and reads the next site's position
    config.objective = f"learned_order(orders_per_step={orders_per_step}, learning_rate={float(learning_rate)})"
    setup = build(config, jax.devices()[:1])
    tenth = -(-setup.total_steps // 10)
    options = dataclasses.replace(setup.train, log_every=tenth, eval_every=setup.total_steps, patience=0)
    with contextlib.ExitStack() as stack:
        folder = writable_folder(workdir or stack.enter_context(tempfile.TemporaryDirectory()))
        if (folder / CONFIG_NAME).exists() and any((folder / "checkpoints").glob("*/*")):
            check_same_run(config, folder, "train")
        save_config(config, folder)
        state = run_training(Learner(dataclasses.replace(setup, train=options), folder), folder).state
        lines = read_metrics(folder)
    scores = np.asarray(state.objective.params[SCORES])
    nats = tuple(line["train/order_nats"] for line in lines if "train/order_nats" in line)
    return PolicyResult(np.argsort(-scores, kind="stable"), scores, nats, setup.total_steps)
