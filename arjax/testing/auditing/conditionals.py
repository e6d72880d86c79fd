"""Conditionals: each sums to 1, reads nothing but what it is given, and agrees with the others about one joint."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from arjax.testing.auditing.findings import FAILED, NOT_DONE, PASSED, WARNED, Finding, audit_test
from arjax.testing.auditing.subject import UNDERFLOW, Budget, Subject

#: Rows of a batch of prefixes, steps that are tested, sets of sites, and values of a site that are summed over.
ROWS, STEPS, SETS, VALUES = 64, 256, 8, 4096
TABLES = ("conditionals", "conditional_log_prob")
TOO_MANY = Finding(NOT_DONE, "sums over the values of a site are for discrete scalars of at most 4,096 values")


def tabled(subject: Subject, rng: np.random.Generator) -> Subject | None:
    """Returns the subject with tables: those that it has, or of `conditional_log_prob` in a random order; None where a
    site has too many values.
    """
    event = subject.event
    if subject.conditionals is not None:
        return subject
    if not event.is_discrete or event.value_shape or event.num_levels > VALUES:
        return None
    order = rng.permutation(event.num_sites)
    rank = np.argsort(order)

    def conditionals(x: np.ndarray, t: int) -> np.ndarray:
        each = np.repeat(x, event.num_levels, 0)
        each.reshape(len(each), -1)[:, order[t]] = np.tile(np.arange(event.num_levels), len(x))
        return np.exp(subject.queries(each, rank == t, rank < t)).reshape(len(x), -1)

    return dataclasses.replace(subject, log_prob=None, conditionals=conditionals, order=order)


def _steps(subject: Subject, rng: np.random.Generator, budget: Budget, calls: int) -> np.ndarray:
    """Returns the steps that there is time for: all, or some at random, the first and the last among them."""
    num = len(subject.steps)
    most = min(budget.rows(subject, "conditionals", ROWS * calls * STEPS, 0.2) // (ROWS * calls), num)
    return np.arange(num) if most >= num else np.unique([0, num - 1, *rng.permutation(num)[: max(most, 2)]])


def _where(subject: Subject, t: int, **more: Any) -> dict[str, Any]:
    """A step in a witness."""
    return {"step": int(t), **more} | ({} if subject.order is None else {"order": subject.steps})


@audit_test(*TABLES, finds="tables that do not sum to 1: hashed caches, temperature")
def audit_conditionals(subject: Subject, rng: np.random.Generator, budget: Budget) -> Finding:
    """The probabilities of the values of a step sum to 1, after any prefix."""
    if (tables := tabled(subject, rng)) is None:
        return TOO_MANY
    x, worst = tables.examples(rng, ROWS), 0.0
    counted, steps = tables.counted(x), _steps(tables, rng, budget, 1)
    for t in steps:
        sums = tables.tables(x, int(t)).sum(1)
        error = np.where(counted[:, t], np.abs(sums - 1), 0.0)
        n = int(error.argmax())
        worst = max(worst, float(error[n]))
        if worst > subject.tolerance:
            words = f"the probabilities of the values of step {t} sum to {sums[n]:.6g}"
            return Finding(FAILED, words, {"sum": sums[n]}, _where(tables, t, x=x[n], sum=sums[n]))
    words = f"the tables of {len(steps)} of {len(tables.steps)} steps sum to 1, to {worst:.1e}, after {len(x)} prefixes"
    return Finding(PASSED, words, {"error": worst})


@audit_test(*TABLES, finds="conditionals that read their own value or later ones")
def audit_leak(subject: Subject, rng: np.random.Generator, budget: Budget) -> Finding:
    """The table of a step stays the same when its own value, or all later ones, change."""
    if (tables := tabled(subject, rng)) is None:
        return TOO_MANY
    x, worst, steps = tables.examples(rng, ROWS), 0.0, _steps(tables, rng, budget, 3)
    for t in steps:
        before = tables.tables(x, int(t))
        for reads, scalars in (("its own value", tables.steps[t : t + 1]), ("later values", tables.steps[t + 1 :])):
            other = tables.changed(rng, x, scalars)
            after = tables.tables(other, int(t))
            change = np.abs(before - after).max(1)
            n = int(change.argmax())
            worst = max(worst, float(change[n]))
            if worst > subject.tolerance:
                words = f"a probability of step {t} changes by {change[n]:.3g} with {reads}"
                pair = {"x": x[n], "other x": other[n], "p": before[n], "other p": after[n]}
                return Finding(FAILED, words, {"change": worst}, _where(tables, t, **pair))
    words = f"no table of {len(steps)} of {len(tables.steps)} steps changes with its own or later values"
    return Finding(PASSED, f"{words} (by {worst:.1e} at most)", {"change": worst})


def _apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns a - b; where one is impossible, a large number unless the other is so by rounding."""
    impossible = np.where(np.maximum(a, b) > UNDERFLOW, np.where(a > b, -UNDERFLOW, UNDERFLOW), 0.0)
    return np.where(np.isfinite(a) & np.isfinite(b), a - b, impossible)


@audit_test("conditional_log_prob", finds="conditionals of any order that contradict one another")
def audit_order(subject: Subject, rng: np.random.Generator, budget: Budget) -> Finding:
    """p(a | c) p(b | a, c) = p(b | c) p(a | b, c); round three sites, the conditionals of one by another cancel; and
    p(A | c) p(b | A, c) = p(A, b | c), of one site or several A.
    """
    num, p = subject.event.num_sites, subject.queries
    if num < 2 or subject.is_random:
        return Finding(NOT_DONE, "the order matters for two sites or more, and for exact scores")
    rows = max(budget.rows(subject, "conditional_log_prob", ROWS * 12 * SETS, 0.3) // (12 * SETS), 4)
    x, swaps, circles, pairs = subject.examples(rng, rows), [], [], []
    for i in range(SETS):
        order, k = rng.permutation(num), 1 if i == 0 else int(rng.integers(1, num))
        a, b, c = (np.isin(np.arange(num), order[j : j + 1]) for j in range(3))
        given = np.isin(np.arange(num), order[3 : 3 + int(rng.integers(max(num - 2, 1)))])
        swaps.append(_apart(p(x, a, given) + p(x, b, a | given), p(x, b, given) + p(x, a, b | given)) / 2)
        pairs.append((a, b, given))
        some, one = (np.isin(np.arange(num), each) for each in (order[:k], order[k : k + 1]))
        rest = np.isin(np.arange(num), order[k + 1 : k + 1 + int(rng.integers(num - k))])
        whole, parts = p(x, some | one, rest), p(x, some, rest) + p(x, one, some | rest)
        swaps.append(np.where(subject.off(whole, parts), _apart(whole, parts), 0.0))
        pairs.append((some, one, rest))
        if c.any():
            circle = ((a, b), (b, c), (c, a))
            circles.append(sum(p(x, j, i | given) - p(x, i, j | given) for i, j in circle) / 3)
        if not budget.left:
            break
    swap, circle_ = np.stack(swaps), np.where(np.isfinite(circles), circles, 0.0)
    mean, worst = float(np.abs(swap).mean()), float(np.abs(swap).max())
    numbers = {
        "nats per site": mean,
        "most": worst,
        "swaps": swap.ravel().tolist(),
        "circles": circle_.ravel().tolist(),
    }
    words = f"two orders of two sites, or of several, differ by {mean:.2g} nats a site, {worst:.2g} at most"
    words += f", and circles of three by {np.abs(circle_).max(initial=0):.2g}"
    if worst <= 20 * subject.tolerance:
        return Finding(PASSED, words, numbers)
    most, n = np.unravel_index(np.abs(swap).argmax(), swap.shape)
    witness = {"x": x[n]} | dict(zip(("a", "b", "given"), pairs[most], strict=True)) | {"nats": swap[k, n]}
    alone = subject.log_prob is None and subject.conditionals is None
    return Finding(FAILED if alone else WARNED, f"{words}: they belong to no joint distribution", numbers, witness)
