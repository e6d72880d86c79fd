"""Equal calls and equal rows: a score is a function of its row alone, wherever and however often it is computed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from arjax.testing.auditing.findings import FAILED, NOT_DONE, PASSED, Finding, audit_test
from arjax.testing.auditing.subject import Subject

#: Rows that are scored again, those that are scored alone, and calls.
ROWS, ALONE, CALLS = 64, 8, 4
ANY = ("log_prob", "conditionals", "conditional_log_prob")


def _examples(subject: Subject, rng: np.random.Generator) -> np.ndarray:
    """Returns as many examples as there is time for, or a few."""
    name = next(name for name in ANY if getattr(subject, name) is not None)
    return subject.examples(rng, subject.rows(name, ROWS, 0.2, each=CALLS, least=ALONE))


def _scores(subject: Subject, x: np.ndarray) -> np.ndarray:
    """The scores of examples; without `log_prob`, the largest of the last table, or that of the first half given the
    others.
    """
    if subject.log_prob is not None:
        return subject.scores(x)
    if subject.conditionals is not None:
        return np.log(np.maximum(subject.tables(x, len(subject.steps) - 1).max(1), 1e-300))
    first = np.arange(subject.event.num_sites) < max(subject.event.num_sites // 2, 1)
    return subject.queries(x, first, ~first)


def _compared(subject: Subject, x: np.ndarray, scores: np.ndarray, others: Mapping[str, np.ndarray]) -> Finding:
    """Compares scores [N] with others of the same first rows."""
    gaps = {name: subject.off(scores[: len(other)], other) for name, other in others.items()}
    numbers = {name: float(gap.max()) for name, gap in gaps.items()}
    worst = max(numbers, key=lambda name: numbers[name])
    if not numbers[worst]:
        return Finding(PASSED, f"the score of a row is the same {', '.join(others)}")
    n = int(gaps[worst].argmax())
    words = f"the score of a row differs by {gaps[worst][n]:.3g} nats {worst}"
    return Finding(FAILED, words, numbers, {"x": x[n], "scores": np.array([scores[n], others[worst][n]]), "batch": x})


@audit_test(*ANY, finds="silent randomness; scores that change with the size of a batch, or on other devices")
def audit_reproducibility(subject: Subject, rng: np.random.Generator) -> Finding:
    """An exact score is the same in equal calls, in a batch of one, and elsewhere; else its spread is measured."""
    x = _examples(subject, rng)
    calls = np.stack([_scores(subject, x) for _ in range(CALLS)])
    if subject.is_random:
        spread = np.where(np.isfinite(calls).all(0), calls.std(0, ddof=1), 0.0)
        return Finding(PASSED, f"its spread over calls is {spread.mean():.3g} nats", {"spread": spread.tolist()})
    others = {"in another call": np.where(subject.off(calls[0], calls[1]), calls[1], calls[-1])}
    others["in a batch of one"] = np.concatenate([_scores(subject, row[None]) for row in x[:ALONE]])
    if subject.elsewhere is not None:
        others["elsewhere"] = subject.scores(x, "elsewhere")
    return _compared(subject, x, calls[0], others)


@audit_test(*ANY, finds="batch statistics, padding of other rows: a score that depends on its neighbours")
def audit_neighbours(subject: Subject, rng: np.random.Generator) -> Finding:
    """A row has the same score beside other rows, in another order, and beside copies of itself."""
    if subject.is_random:
        return Finding(NOT_DONE, "the score is random: its draws may depend on its place in a batch")
    x = _examples(subject, rng)
    half = len(x) // 2
    others = np.concatenate([x[:half], subject.changed(rng, x[half:], slice(None))])
    variants = {
        "in another order": _scores(subject, x[::-1])[::-1],
        "beside other rows": _scores(subject, others)[:half],
        "beside copies of itself": _scores(subject, np.repeat(x[:1], len(x), 0))[:1],
    }
    return _compared(subject, x, _scores(subject, x), variants)
