"""Conditionals: each sums to 1, reads nothing but what it is given, and agrees with the others about one joint."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from arjax.testing.auditing.findings import FAILED, NOT_DONE, PASSED, WARNED, Finding, audit_test
from arjax.testing.auditing.subject import UNDERFLOW, Subject

#: Rows of a batch of prefixes, steps that are tested, sets of sites, and values of a site that are summed over.
ROWS, STEPS, SETS, VALUES = 64, 256, 8, 4096
TABLES = ("conditionals", "conditional_log_prob")
#: Yields errors [N], the sentence of one, and the arrays [N, ...] of its witness.
Errors = Iterator[tuple[np.ndarray, str, dict[str, np.ndarray]]]


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


def _largest(
    subject: Subject, rng: np.random.Generator, calls: int, errors: Callable[[Subject, np.ndarray, int], Errors]
) -> tuple[Finding | None, str, float]:
    """Returns the finding of the first error that is too large, the steps in words, and the largest error; at all steps
    that there is time for, or at some at random, the first and the last among them.
    """
    if (tables := tabled(subject, rng)) is None:
        words = "sums over the values of a site are for discrete scalars of at most 4,096 values"
        return Finding(NOT_DONE, words), "", 0.0
    num, worst = len(tables.steps), 0.0
    most = tables.rows("conditionals", min(num, STEPS), 0.2, each=ROWS * calls, least=2)
    steps = np.arange(num) if most >= num else np.unique([0, num - 1, *rng.permutation(num)[:most]])
    x = tables.examples(rng, ROWS)
    for t in steps.tolist():
        for error, words, arrays in errors(tables, x, t):
            n = int(error.argmax())
            worst = max(worst, float(error[n]))
            if worst > subject.tolerance:
                witness = {"step": t} | {name: array[n] for name, array in arrays.items()}
                of_order = {} if tables.order is None else {"order": tables.steps}
                return Finding(FAILED, words.format(**witness), {"error": worst}, witness | of_order), "", worst
    return None, f"of {len(steps)} of {num} steps", worst


@audit_test(*TABLES, finds="tables that do not sum to 1: hashed caches, temperature")
def audit_conditionals(subject: Subject, rng: np.random.Generator) -> Finding:
    """The probabilities of the values of a step sum to 1, after any prefix."""

    def errors(tables: Subject, x: np.ndarray, t: int) -> Errors:
        sums = tables.tables(x, t).sum(1)
        words = "the probabilities of the values of step {step} sum to {sum:.6g}"
        yield np.where(tables.counted(x)[:, t], np.abs(sums - 1), 0.0), words, {"x": x, "sum": sums}

    finding, steps, worst = _largest(subject, rng, 1, errors)
    words = f"the tables {steps} sum to 1, to {worst:.1e}, after {ROWS} prefixes"
    return finding or Finding(PASSED, words, {"error": worst})


@audit_test(*TABLES, finds="conditionals that read their own value or later ones")
def audit_leak(subject: Subject, rng: np.random.Generator) -> Finding:
    """The table of a step stays the same when its own value, or all later ones, change."""

    def errors(tables: Subject, x: np.ndarray, t: int) -> Errors:
        p = tables.tables(x, t)
        for reads, scalars in (("its own value", tables.steps[t : t + 1]), ("later values", tables.steps[t + 1 :])):
            other = tables.changed(rng, x, scalars)
            other_p = tables.tables(other, t)
            change = np.abs(p - other_p).max(1)
            words = f"a probability of step {{step}} changes by {{change:.3g}} with {reads}"
            yield change, words, {"x": x, "other x": other, "p": p, "other p": other_p, "change": change}

    finding, steps, worst = _largest(subject, rng, 3, errors)
    words = f"no table {steps} changes with its own or later values (by {worst:.1e} at most)"
    return finding or Finding(PASSED, words, {"change": worst})


def _apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns a - b; where one is impossible, a large number unless the other is so by rounding."""
    impossible = np.where(np.maximum(a, b) > UNDERFLOW, np.where(a > b, -UNDERFLOW, UNDERFLOW), 0.0)
    return np.where(np.isfinite(a) & np.isfinite(b), a - b, impossible)


@audit_test("conditional_log_prob", "in_order", finds="conditionals of any order that contradict one another")
def audit_order(subject: Subject, rng: np.random.Generator) -> Finding:
    """p(a | c) p(b | a, c) = p(b | c) p(a | b, c); round three sites, the conditionals of one by another cancel; and
    p(A | c) p(b | A, c) = p(A, b | c), of one site or several A.
    """
    num, p = subject.event.num_sites, subject.queries
    if num > 1 and subject.in_order is not None and (subject.is_random or subject.conditional_log_prob is None):
        return _of_whole_orders(subject, rng)
    if num < 2 or subject.is_random:
        return Finding(NOT_DONE, "the order matters for two sites or more, and for exact scores")
    x = subject.examples(rng, subject.rows("conditional_log_prob", ROWS, 0.3, each=12 * SETS, least=4))
    swaps, circles, pairs = [], [], []
    for i in range(SETS):
        order, k = rng.permutation(num), 1 if i == 0 else int(rng.integers(1, num))
        others, behind = 3 + int(rng.integers(max(num - 2, 1))), k + 1 + int(rng.integers(num - k))
        parts = order[:1], order[1:2], order[2:3], order[3:others], order[:k], order[k : k + 1], order[k + 1 : behind]
        a, b, c, given, some, one, rest = (np.isin(np.arange(num), part) for part in parts)
        swaps.append(_apart(p(x, a, given) + p(x, b, a | given), p(x, b, given) + p(x, a, b | given)) / 2)
        whole, product = p(x, some | one, rest), p(x, some, rest) + p(x, one, some | rest)
        swaps.append(np.where(subject.off(whole, product), _apart(whole, product), 0.0))
        pairs += [(a, b, given), (some, one, rest)]
        if c.any():
            circle = ((a, b), (b, c), (c, a))
            circles.append(sum(p(x, j, i | given) - p(x, i, j | given) for i, j in circle) / 3)
    swap, circle_ = np.stack(swaps), np.where(np.isfinite(circles), circles, 0.0)
    mean, worst = float(np.abs(swap).mean()), float(np.abs(swap).max())
    lists = {"swaps": swap.ravel().tolist(), "circles": circle_.ravel().tolist()}
    numbers = {"nats per site": mean, "most": worst} | lists
    words = f"two orders of two sites, or of several, differ by {mean:.2g} nats a site, {worst:.2g} at most"
    words += f", and circles of three by {np.abs(circle_).max(initial=0):.2g}"
    if worst <= 20 * subject.tolerance:
        return Finding(PASSED, words, numbers)
    most, n = np.unravel_index(np.abs(swap).argmax(), swap.shape)
    witness = {"x": x[n]} | dict(zip(("a", "b", "given"), pairs[most], strict=True)) | {"nats": swap[most, n]}
    alone = subject.log_prob is None and subject.conditionals is None
    return Finding(FAILED if alone else WARNED, f"{words}: they belong to no joint distribution", numbers, witness)


def _of_whole_orders(subject: Subject, rng: np.random.Generator) -> Finding:
    """All conditionals of a joint distribution multiply to the same p(x) in any order."""
    x = subject.examples(rng, subject.rows("in_order", ROWS, 0.3, each=SETS, least=4))
    scores = np.stack([subject.scores(x, "in_order", number=np.full(len(x), k)) for k in range(SETS)])
    apart = _apart(scores.max(0), scores.min(0)) / subject.event.num_sites
    n = int(apart.argmax())
    numbers = {"nats per site": float(apart.mean()), "most": float(apart[n]), "orders": scores[:, n].tolist()}
    words = f"{SETS} orders of an example differ by {apart.mean():.2g} nats a site, {apart[n]:.2g} at most"
    if apart[n] <= 20 * subject.tolerance:
        return Finding(PASSED, words, numbers)
    witness = {"x": x[n], "in_order": scores[:, n]}
    return Finding(WARNED, f"{words}: they belong to no joint distribution", numbers, witness)
