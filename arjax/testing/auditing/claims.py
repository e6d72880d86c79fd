"""The claims about a number: its kind beside the conditionals and the samples, its unit, and a known truth."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from arjax.core.errors import refuse
from arjax.core.values import parse_call
from arjax.data import make_dataset
from arjax.data.sources import read_all
from arjax.evaluation.report import truth_rows
from arjax.evaluation.splits import Scoring
from arjax.testing.auditing.findings import FAILED, NOT_DONE, PASSED, UNDECIDED, Finding, audit_test
from arjax.testing.auditing.repeats import ROWS
from arjax.testing.auditing.subject import ALPHA, REPEATS, SIGMAS, UNDERFLOW, Budget, Subject
from arjax.testing.auditing.units import UNITS, looks_like

#: Draws whose frequencies are compared with bounds.
DRAWS = 4096


def chain(subject: Subject, x: np.ndarray) -> np.ndarray:
    """Returns the sum of the logarithms of the conditionals of examples, float64[N]."""
    flat, counted = x.reshape(len(x), -1), subject.counted(x)
    total = np.zeros(len(x))
    for t, scalar in enumerate(subject.steps):
        log_p = np.log(subject.tables(x, t)[np.arange(len(x)), flat[:, scalar]])
        total += np.where(counted[:, t], log_p, 0.0)
    return total


@audit_test("log_prob conditionals", "log_prob sample", finds="a bound that is none, or is printed as exact")
def audit_kind(subject: Subject, rng: np.random.Generator, budget: Budget) -> Finding:
    """An exact score is the product of the conditionals; a bound is below it, or below the frequencies of samples."""
    if subject.conditionals is None:
        return _against_frequencies(subject, rng, budget)
    num = len(subject.steps)
    calls = REPEATS if subject.is_random else 1
    scored = budget.rows(subject, "log_prob", ROWS * calls, 0.3) // calls
    rows = min(budget.rows(subject, "conditionals", ROWS * num, 0.3) // num, scored)
    if not rows:
        return Finding(UNDECIDED, f"there is no time for {num} steps: raise budget_s")
    x = subject.examples(rng, rows)
    score, stderr = subject.mean_scores(x)
    product = chain(subject, x)
    wrong = subject.off(score, np.where((product == -np.inf) & (score < UNDERFLOW), score, product))
    if subject.is_random:
        wrong = np.where(score - SIGMAS * stderr > product, wrong, 0.0)
    if not wrong.any():
        words = "equal to" if subject.claim == "exact" else "never above"
        return Finding(PASSED, f"log_prob is {words} the product of the conditionals, on {len(x)} examples")
    n = int(wrong.argmax())
    words = f"log_prob is {score[n]:.6g} where the conditionals multiply to {product[n]:.6g} nats"
    words += looks_like(subject.event, lambda factor: np.allclose(factor * score, product, 1e-3))
    witness = {"x": x[n], "log_prob": score[n], "log p of the conditionals": product[n]}
    return Finding(FAILED, words, {"difference": float(wrong[n])}, witness)


def _against_frequencies(subject: Subject, rng: np.random.Generator, budget: Budget) -> Finding:
    """No bounds exceed the frequency of their examples, which a first batch of samples chooses, in a second batch."""
    from scipy.stats import binom  # takes long to import

    if not subject.is_random:
        return Finding(NOT_DONE, "an exact score is compared with samples by the test `draws`")
    if not subject.event.is_discrete or subject.claim != "bound":
        return Finding(NOT_DONE, "frequencies are those of discrete examples, and a bound never exceeds them")
    first, second = (subject.draws(DRAWS, int(seed)).reshape(DRAWS, -1) for seed in rng.integers(2**31, size=2))
    x, counts = np.unique(first, axis=0, return_counts=True)
    some = np.argsort(-counts)[: max(budget.rows(subject, "log_prob", 4096 * REPEATS, 0.3) // REPEATS, 16)]
    score, stderr = subject.mean_scores(x[some].reshape(-1, *subject.event.shape))
    high = np.exp(score) > counts[some] / DRAWS
    chosen, bound = x[some][high], min(np.exp((score - SIGMAS * stderr)[high]).sum(), 1.0)
    count = int((second[:, None] == chosen[None]).all(-1).sum())
    p_value = float(binom.cdf(count, DRAWS, bound)) if high.any() else 1.0
    words = f"{len(chosen)} examples, whose bounds sum to {bound:.4g}, are {count} of {DRAWS} samples"
    if p_value < ALPHA:
        witness = {"x": chosen.reshape(-1, *subject.event.shape), "log_prob": score[high]}
        return Finding(FAILED, f"{words}: fewer than these say", {"p-value": p_value}, witness)
    return Finding(PASSED, f"{words}: enough", {"p-value": p_value})


@audit_test("reported log_prob data", finds="bits called nats, numbers per token, per dimension")
def audit_units(subject: Subject, rng: np.random.Generator, budget: Budget) -> Finding:
    """A reported number is the mean of the scores of the data, in its unit."""
    assert subject.data is not None and subject.reported is not None, "the test needs them"
    num = min(len(subject.data), budget.rows(subject, "log_prob", 2**40, 0.3))
    nll, _ = subject.mean_scores(subject.data[:num])
    means = {name: float(-nll.mean() / divisor(subject.event)) for name, divisor in UNITS.items()}
    stderr = 0.0 if num == len(subject.data) else float(nll.std() / num**0.5 / UNITS[subject.unit](subject.event))
    words = f"the mean of -log_prob is {means[subject.unit]:.5g} {subject.unit}, and {subject.reported:.5g} is reported"
    if abs(means[subject.unit] - subject.reported) <= 0.005 * abs(subject.reported) + SIGMAS * stderr:
        return Finding(PASSED, words, means)
    for name, mean in means.items():
        if abs(mean - subject.reported) <= 0.005 * abs(subject.reported):
            words += f": the number is in {name}"
    return Finding(FAILED, words, means, {"mean": means[subject.unit], "reported": subject.reported})


@audit_test(
    "log_prob data truth", "fit truth", finds="scores better than the truth: bounds that are none, training rows"
)
def audit_truth(subject: Subject, rng: np.random.Generator, budget: Budget) -> Finding:
    """Under the truth, the expectation of p(x) / truth(x) is at most 1, so that rows have N nats fewer than under the
    truth with a probability of at most exp(-N) (Markov's inequality); an entropy is compared by standard errors.
    """
    if subject.fit is not None:
        trained, x, truth = _trained(subject)
        score, stderr = trained.mean_scores(x)
    else:
        assert subject.data is not None, "the test needs data"
        num = min(len(subject.data), budget.rows(subject, "log_prob", 20_000, 0.4))
        x, truth = subject.data[:num], np.asarray(subject.truth, np.float64)
        truth = truth[:num] if truth.ndim else truth
        score, stderr = subject.mean_scores(x)
    gain = truth + score  # nats below the truth
    if not truth.ndim and len(x) < 2:
        return Finding(UNDECIDED, "an entropy is compared with the scores of several examples")
    numbers = {"nats": float(-score.mean()), "truth": float(truth.mean()), "examples": len(x)}
    words = f"{-score.mean():.5g} nats on {len(x)} examples, whose truth is {truth.mean():.5g}"
    if truth.ndim:
        better, most = float(gain.sum() - SIGMAS * math.sqrt((stderr**2).sum())), -math.log(ALPHA)
    else:
        better, most = float(gain.mean()), SIGMAS * float(gain.std(ddof=1)) / len(x) ** 0.5
    if not better > most:
        return Finding(PASSED, f"{words}: not better than the truth", numbers)
    words += ": better than the truth, as no model can be expected to be"
    words += looks_like(subject.event, lambda factor: abs(1 + factor * score.mean() / truth.mean()) < 0.02)
    best = np.argsort(-gain)[:100] if truth.ndim else np.arange(min(100, len(x)))
    return Finding(FAILED, words, numbers, {"x": x[best], "log_prob": score[best]})


def _trained(subject: Subject) -> tuple[Subject, np.ndarray, np.ndarray]:
    """Returns the model trained on a data set whose distribution is known, the rows of its test split, and their nats
    under this distribution.
    """
    name, options = parse_call(subject.truth)
    dataset = make_dataset(name, **options)
    refuse((dataset.truth is None, f"the distribution of the data set {subject.truth!r} is not known"))
    train, test = (np.asarray(read_all(dataset.splits[split]).x, dataset.event.dtype) for split in ("train", "test"))
    trained = dataclasses.replace(subject, event=dataset.event, log_prob=subject.given("fit", train))
    return trained, test, truth_rows(dataset, "test", Scoring())["truth"]
