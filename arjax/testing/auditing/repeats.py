"""Equal calls and equal rows: a score is a function of its row alone, wherever and however often it is computed."""

from __future__ import annotations

import numpy as np

from arjax.testing.auditing.findings import FAILED, NOT_DONE, PASSED, Finding, audit_test
from arjax.testing.auditing.subject import Budget, Subject

#: Rows that are scored again, and calls of equal rows.
ROWS, CALLS = 64, 4


def off(subject: Subject, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns by how many nats scores differ beyond the rounding of long sums, [N]; two of -inf do not."""
    with np.errstate(invalid="ignore"):
        difference = np.where(a == b, 0.0, np.abs(a - b))
        return np.where(difference > subject.tolerance * (10 + np.minimum(np.abs(a), np.abs(b))), difference, 0.0)


def _scores(subject: Subject, x: np.ndarray) -> np.ndarray:
    """The scores of examples; without `log_prob`, of their first half given the second, or the first table."""
    if subject.log_prob is not None:
        return subject.scores(x)
    if subject.conditionals is not None:
        tables = subject.tables(x, len(subject.steps) - 1)
        with np.errstate(divide="ignore"):
            return np.log(tables.max(1))
    first = np.arange(subject.event.num_sites) < max(subject.event.num_sites // 2, 1)
    return subject.queries(x, first, ~first)


ANY = ("log_prob", "conditionals", "conditional_log_prob")


@audit_test(*ANY, finds="silent randomness; scores that change with the size of a batch, or on other devices")
def check_reproducibility(subject: Subject, rng: np.random.Generator, budget: Budget) -> Finding:
    """An exact score is the same in equal calls, in a batch of one, and elsewhere; else its spread is measured."""
    x = subject.examples(rng, ROWS)
    calls = np.stack([_scores(subject, x) for _ in range(CALLS)])
    one_by_one = np.concatenate([_scores(subject, row[None]) for row in x[:8]])
    others = {"between equal calls": calls[1:], "in a batch of one": one_by_one[None]}
    if subject.elsewhere is not None:
        others["elsewhere"] = subject.scores(x, "elsewhere")[None]
    numbers = {}
    for name, scores in others.items():
        with np.errstate(invalid="ignore"):
            numbers[name] = float(np.nan_to_num(np.abs(scores - calls[:1, : scores.shape[1]])).max())
    if subject.is_random:
        with np.errstate(invalid="ignore"):
            spread = np.nan_to_num(calls.std(0, ddof=1))
        numbers |= {"spread": spread.tolist()}
        return Finding(PASSED, f"the spread of a score over calls is {spread.mean():.3g} nats", numbers)
    for name, scores in others.items():
        wrong = off(subject, calls[:1, : scores.shape[1]], scores).max(0)
        if wrong.any():
            n = int(wrong.argmax())
            words = f"the score of one example differs by {wrong[n]:.3g} nats {name}: it is not exact"
            return Finding(FAILED, words, numbers, {"x": x[n], "scores": np.unique([calls[0, n], *scores[:, n]])})
    return Finding(PASSED, f"equal rows differ by at most {max(numbers.values()):.2g} nats", numbers)


@audit_test(*ANY, finds="batch statistics, padding of other rows: a score that depends on its neighbours")
def check_neighbours(subject: Subject, rng: np.random.Generator, budget: Budget) -> Finding:
    """A row has the same score beside other rows, in another order, and beside copies of itself."""
    if subject.is_random:
        return Finding(NOT_DONE, "the score is random: its draws may depend on its place in a batch")
    x = subject.examples(rng, ROWS)
    alone, turned = _scores(subject, x), _scores(subject, x[::-1])[::-1]
    half = len(x) // 2
    apart = np.concatenate([x[:half], subject.changed(rng, x[half:], slice(None))])
    other = _scores(subject, apart)[:half]
    same = _scores(subject, np.repeat(x[:1], len(x), 0))[:1]
    for name, scores in (("their order", turned), ("the other rows", other), ("copies of itself", same)):
        wrong = off(subject, alone[: len(scores)], scores)
        if wrong.any():
            n = int(wrong.argmax())
            words = f"the score of a row changes by {wrong[n]:.3g} nats with {name}"
            witness = {"x": x[n], "scores": np.array([alone[n], scores[n]]), "batch": x, "other batch": apart}
            return Finding(FAILED, words, {"nats": float(wrong.max())}, witness)
    return Finding(PASSED, "the score of a row is the same beside other rows, in any order")
