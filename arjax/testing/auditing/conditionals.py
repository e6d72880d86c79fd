"""Conditionals: each sums to 1, reads nothing but what it is given, and agrees with the others about one joint."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from arjax.testing.auditing.findings import FAILED, NOT_DONE, PASSED, WARNED, Finding, audit_test
from arjax.testing.auditing.repeats import off
from arjax.testing.auditing.subject import Budget, Subject

#: Rows of a batch of prefixes, and steps that are tested, at most.
ROWS, STEPS = 64, 256
#: Sets of sites, and values of a site, that are queried.
SETS, VALUES = 8, 4096


def steps_of(subject: Subject, rng: np.random.Generator, budget: Budget, calls: int) -> np.ndarray:
    """Returns the steps that there is time for: all, or some at random, the first and the last among them."""
    num = len(subject.steps)
    most = min(budget.rows(subject, "conditionals", 2**40, 0.2) // (ROWS * calls), STEPS, num)
    chosen = rng.permutation(num)[: max(most, 2)]
    return np.arange(num) if most >= num else np.unique([0, num - 1, *chosen])


def _queries(subject: Subject, rng: np.random.Generator, sets: int = SETS) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields random sites of a query and others that are given, bool[D] each."""
    num = subject.event.num_sites
    for _ in range(sets):
        order, (first, last) = rng.permutation(num), np.sort(rng.integers(0, num + 1, 2))
        rank = np.argsort(order)
        yield (rank >= first) & (rank < max(last, first + 1)), rank < first


@audit_test("conditionals", "conditional_log_prob", finds="tables that do not sum to 1: hashed caches, temperature")
def check_conditionals(subject: Subject, rng: np.random.Generator, budget: Budget) -> Finding:
    """The probabilities of the values of a step, or of a site, sum to 1."""
    if subject.conditionals is None:
        return _queried(subject, rng, budget)
    x, sums = subject.examples(rng, ROWS), []
    steps = steps_of(subject, rng, budget, 1)
    for t in steps:
        sums.append(subject.tables(x, int(t)).sum(1)[subject.counted(x)[:, t]])
        wrong = np.abs(sums[-1] - 1) > subject.tolerance
        if wrong.any():
            row = x[subject.counted(x)[:, t]][np.abs(sums[-1] - 1).argmax()]
            worst = sums[-1][np.abs(sums[-1] - 1).argmax()]
            words = f"the probabilities of the values of step {t} sum to {worst:.6g}"
            before = row.reshape(-1)[subject.steps[:t]]
            return Finding(FAILED, words, {"sum": worst}, {"step": int(t), "values before it": before, "sum": worst})
    error = float(np.abs(np.concatenate(sums) - 1).max(initial=0))
    words = (
        f"the tables of {len(steps)} of {len(subject.steps)} steps sum to 1, to {error:.1e}, after {len(x)} prefixes"
    )
    return Finding(PASSED, words, {"error": error})


def _queried(subject: Subject, rng: np.random.Generator, budget: Budget) -> Finding:
    """Sums p(x_i | given) over the values of a site."""
    event = subject.event
    if not event.is_discrete or event.num_levels**event.value_size > VALUES:
        return Finding(NOT_DONE, "the values of a site are too many to be summed over")
    site = np.stack([each.ravel() for each in np.indices((event.num_levels,) * event.value_size)], -1)
    worst, num = 0.0, 0
    for _, given in _queries(subject, rng):
        if given.all() or (num and not budget.left):
            continue
        query = np.arange(event.num_sites) == rng.choice(np.flatnonzero(~given))
        rows = max(1, ROWS // len(site))
        x = np.repeat(subject.examples(rng, rows), len(site), 0).reshape(rows, len(site), event.num_sites, -1)
        x[:, :, query] = site[None, :, None]
        x = x.reshape(-1, *event.shape)
        sums = np.exp(subject.queries(x, query, given)).reshape(rows, -1).sum(1)
        n, num = int(np.abs(sums - 1).argmax()), num + rows
        worst = max(worst, abs(sums[n] - 1))
        if worst > subject.tolerance:
            witness = {"x": x.reshape(rows, len(site), -1)[n, 0], "query": query, "given": given, "sum": sums[n]}
            return Finding(FAILED, f"the probabilities of the values of a site sum to {sums[n]:.6g}", {}, witness)
    return Finding(PASSED, f"p(value of a site | others) sums to 1, to {worst:.1e}, in {num} places", {"error": worst})


@audit_test("conditionals", "conditional_log_prob", finds="conditionals that read their own value or later ones")
def check_leak(subject: Subject, rng: np.random.Generator, budget: Budget) -> Finding:
    """A conditional stays the same when its own value, or values that are not given, change."""
    x = subject.examples(rng, ROWS)
    if subject.conditionals is None:
        return _leak_of_queries(subject, rng, x)
    steps, worst = steps_of(subject, rng, budget, 3), 0.0
    for t, own in itertools.product(steps, (True, False)):  # the value itself, or all later ones
        other = subject.changed(rng, x, subject.steps[t : t + 1] if own else subject.steps[t + 1 :])
        before, after = subject.tables(x, int(t)), subject.tables(other, int(t))
        change = np.abs(before - after).max(1)
        n = int(change.argmax())
        worst = max(worst, float(change[n]))
        if worst > subject.tolerance:
            read = "its own value" if own else "a later value"
            words = f"a probability of step {t} changes by {change[n]:.3g} with {read}"
            witness = {"step": int(t), "x": x[n], "other x": other[n], "p": before[n], "other p": after[n]}
            return Finding(FAILED, words, {"change": worst}, witness)
    words = f"no table of {len(steps)} of {len(subject.steps)} steps changes with its value or later ones"
    return Finding(PASSED, f"{words} (by {worst:.1e} at most)", {"change": worst})


def _leak_of_queries(subject: Subject, rng: np.random.Generator, x: np.ndarray) -> Finding:
    """p(query | given) must not read other sites."""
    size = subject.event.value_size
    for query, given in _queries(subject, rng):
        others = np.flatnonzero(np.repeat(~(query | given), size))
        before = subject.queries(x, query, given)
        other = subject.changed(rng, x, others)
        wrong = off(subject, before, subject.queries(other, query, given))
        if wrong.any():
            n = int(wrong.argmax())
            witness = {"x": x[n], "other x": other[n], "query": query, "given": given}
            words = f"log p(query | given) changes by {wrong[n]:.3g} nats with a site that is neither"
            return Finding(FAILED, words, {"nats": wrong[n]}, witness)
    return Finding(PASSED, "log p(query | given) reads nothing else")


def _finite(nats: Any) -> np.ndarray:
    """Returns 0 in place of differences of impossible examples."""
    return np.where(np.isfinite(nats), nats, 0.0)


@audit_test("conditional_log_prob", finds="conditionals of any order that contradict one another")
def check_order(subject: Subject, rng: np.random.Generator, budget: Budget) -> Finding:
    """p(a | c) p(b | a, c) = p(b | c) p(a | b, c); and round three sites, the conditionals of one by another cancel."""
    num = subject.event.num_sites
    if num < 2 or subject.is_random:
        return Finding(NOT_DONE, "the order matters for two sites or more, and for exact scores")
    x, swaps, circles = subject.examples(rng, ROWS), [], []
    worst, witness = 0.0, {}
    for _ in range(SETS):
        order = rng.permutation(num)
        a, b = (np.isin(np.arange(num), order[[i]]) for i in (0, 1))
        given = np.isin(np.arange(num), order[2 : 2 + int(rng.integers(num - 1))])
        p = subject.queries
        swaps.append(_finite(p(x, a, given) + p(x, b, a | given) - p(x, b, given) - p(x, a, b | given)) / 2)
        n = int(np.abs(swaps[-1]).argmax())
        if abs(swaps[-1][n]) > worst:
            worst = float(abs(swaps[-1][n]))
            witness = {"x": x[n], "a": a, "b": b, "given": given, "nats": 2 * swaps[-1][n]}
        if num > 2:
            c = np.isin(np.arange(num), order[[2]])
            rest = given & ~c
            pairs = ((a, b), (b, c), (c, a))
            circles.append(_finite(sum(p(x, j, i | rest) - p(x, i, j | rest) for i, j in pairs)) / 3)
        if not budget.left:
            break
    nats, circle = np.concatenate(swaps), np.concatenate(circles or [np.zeros(1)])
    numbers = {"nats per site": float(np.abs(nats).mean()), "most": worst, "swaps": nats.tolist()}
    numbers |= {"circulation": float(np.abs(circle).mean()), "circles": circle.tolist()}
    words = f"two orders of two sites differ by {np.abs(nats).mean():.2g} nats a site, {worst:.2g} at most"
    words += f", and circles of three by {np.abs(circle).max():.2g}"
    if worst <= 20 * subject.tolerance:
        return Finding(PASSED, words, numbers)
    alone = subject.log_prob is None and subject.conditionals is None
    words += ": they are the conditionals of no joint distribution"
    return Finding(FAILED if alone else WARNED, words, numbers, witness)
