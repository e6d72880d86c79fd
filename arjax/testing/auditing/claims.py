"""The claims about a number: its kind beside the conditionals and the samples, its unit, a known truth; samples that
follow it; and proof by file: data are coded by the conditionals and decoded, and the bytes are their probability.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from arjax.coding.entropy import Chooser, Decoder, Encoder, coder_version
from arjax.core.errors import UserError, refuse
from arjax.core.values import parse_call
from arjax.data import make_dataset
from arjax.data.sources import read_all
from arjax.evaluation.report import truth_rows
from arjax.evaluation.splits import Scoring
from arjax.testing.auditing.findings import FAILED, NOT_DONE, PASSED, UNDECIDED, Finding, audit_test
from arjax.testing.auditing.subject import ALPHA, SIGMAS, UNDERFLOW, Subject, divisors, looks_like
from arjax.testing.examples import all_values
from arjax.testing.statistics import chi_square

#: Rows whose scores and conditionals are compared, or that are in a file; draws whose frequencies bounds do not exceed.
ROWS, DRAWS = 64, 4096
#: The relative error of a reported number by rounding.
ROUNDED = 0.005
#: Samples, and examples whose probabilities are all compared with their frequencies.
SAMPLES, MOST_CELLS = 8192, 4096
#: Variance of a class of pairs, the largest weight of a pair, and sizes of the changes of real values.
LEAST_VARIANCE, HEAVIEST, SIZES = 30.0, 4.0, (0.03, 0.1, 0.3, 1.0, 2.0)
#: Bits of a file beyond the claim: of its words, of each symbol and of each bit, as tables have 24 bits.
WORDS, PER_SYMBOL, PER_BIT = 96, 0.01, 0.002


def chain(subject: Subject, x: np.ndarray) -> np.ndarray:
    """Returns the sum of the logarithms of the conditionals of examples, float64[N]."""
    flat, counted = x.reshape(len(x), -1), subject.counted(x)
    total = np.zeros(len(x))
    for t, scalar in enumerate(subject.steps):
        log_p = np.log(subject.tables(x, t)[np.arange(len(x)), flat[:, scalar]])
        total += np.where(counted[:, t], log_p, 0.0)
    return total


@audit_test("log_prob conditionals", "log_prob sample", finds="a bound that is none, or is printed as exact")
def audit_kind(subject: Subject, rng: np.random.Generator) -> Finding:
    """An exact score is the product of the conditionals; a bound is below it, or below the frequencies of samples."""
    if subject.conditionals is None:
        return _against_frequencies(subject, rng)
    rows = subject.rows("log_prob", ROWS, 0.3)
    x = subject.examples(rng, subject.rows("conditionals", rows, 0.3, each=len(subject.steps)))
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


def _against_frequencies(subject: Subject, rng: np.random.Generator) -> Finding:
    """No bounds exceed the frequency of their examples, which a first batch of samples chooses, in a second batch."""
    from scipy.stats import binom  # takes long to import

    if not subject.is_random:
        return Finding(NOT_DONE, "an exact score is compared with samples by the test `draws`")
    if not subject.event.is_discrete or subject.claim != "bound":
        return Finding(NOT_DONE, "frequencies are those of discrete examples, and a bound never exceeds them")
    first, second = (subject.draws(DRAWS, int(seed)).reshape(DRAWS, -1) for seed in rng.integers(2**31, size=2))
    x, counts = np.unique(first, axis=0, return_counts=True)
    some = np.argsort(-counts)[: subject.rows("log_prob", len(x), 0.3, least=16)]
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


@audit_test("reported log_prob data", finds="bits called nats, numbers per token, per dimension, per byte")
def audit_units(subject: Subject, rng: np.random.Generator) -> Finding:
    """A reported number is the mean of the scores of the data, in its unit."""
    assert subject.data is not None and subject.reported is not None, "the test needs them"
    num, unit, reported = len(subject.data), subject.unit, subject.reported
    nll = -subject.mean_scores(subject.data[: subject.rows("log_prob", num, 0.3)])[0]
    units = divisors(subject.event, subject.num_bytes)
    means = {name: float(nll.mean() / divisor) for name, divisor in units.items()}
    stderr = 0.0 if num == len(nll) else float(nll.std() / len(nll) ** 0.5 / units[unit])
    words = f"the mean of -log_prob is {means[unit]:.5g} {unit}, and {reported:.5g} is reported"
    if abs(means[unit] - reported) <= ROUNDED * abs(reported) + SIGMAS * stderr:
        return Finding(PASSED, words, means)
    others = [name for name, mean in means.items() if abs(mean - reported) <= ROUNDED * abs(reported)]
    words += "".join(f": the number is in {name}" for name in others)
    return Finding(FAILED, words, means, {"mean": means[unit], "reported": reported})


@audit_test(
    "log_prob data truth", "fit truth", finds="scores better than the truth: bounds that are none, training rows"
)
def audit_truth(subject: Subject, rng: np.random.Generator) -> Finding:
    """Under the truth, the expectation of p(x) / truth(x) is at most 1, so that rows have N nats fewer than under the
    truth with a probability of at most exp(-N) (Markov's inequality); an entropy is compared by standard errors.
    """
    if subject.fit is not None:
        subject = _trained(subject)
    x, truth = np.asarray(subject.data), np.asarray(subject.truth, np.float64)
    x = x[: subject.rows("log_prob", min(len(x), 20_000), 0.4)]
    truth = truth[: len(x)] if truth.ndim else truth
    if not truth.ndim and len(x) < 2:
        return Finding(UNDECIDED, "an entropy is compared with the scores of several examples")
    score, stderr = subject.mean_scores(x)
    gain = truth + score  # nats below the truth
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


def _trained(subject: Subject) -> Subject:
    """Returns the model trained on a data set whose distribution is known, with its test split and the truth of it."""
    name, options = parse_call(subject.truth)
    dataset = make_dataset(name, **options)
    refuse((dataset.truth is None, f"the distribution of the data set {subject.truth!r} is not known"))
    train, test = (np.asarray(read_all(dataset.splits[split]).x, dataset.event.dtype) for split in ("train", "test"))
    log_prob, truth = subject.given("fit", train), truth_rows(dataset, "test", Scoring())["truth"]
    return dataclasses.replace(subject, event=dataset.event, log_prob=log_prob, data=test, truth=truth, fit=None)


@audit_test("sample log_prob", finds="samplers of another distribution: temperature, top-k, wrong caches")
def audit_draws(subject: Subject, rng: np.random.Generator) -> Finding:
    """Two batches of samples must both be improbable at the square root of the level of a false alarm."""
    event, level = subject.event, ALPHA**0.75
    if subject.is_random:
        return Finding(NOT_DONE, "samples of a bound or an estimate are compared by the test `kind`")
    cells = event.is_discrete and event.num_dims * np.log(event.num_levels) <= np.log(MOST_CELLS)
    compare = _cells if cells else _pairs
    scored = SAMPLES if cells else subject.rows("log_prob", SAMPLES, 0.4, each=8)  # twice, each beside its changed copy
    num = subject.rows("sample", max(scored, 64), 0.2, least=64)
    for _ in range(2):
        x = subject.draws(num, int(rng.integers(2**31)))
        p_value, words = compare(subject, rng, x)
        numbers = {"p-value": p_value, "samples": num}
        if p_value >= level:
            return Finding(PASSED, f"{num:,} samples {words} (p = {p_value:.2g})", numbers)
    words = f"twice {num:,} samples do not follow the scores: they {words}"
    return Finding(FAILED, words, numbers, {"samples": x[:100]})


def _cells(subject: Subject, rng: np.random.Generator, x: np.ndarray) -> tuple[float, str]:
    """Returns the p-value of the frequencies of all examples."""
    every = all_values(subject.event)
    codes = subject.event.num_levels ** np.arange(subject.event.num_dims, dtype=np.int64)[::-1]
    counts = np.bincount(x.reshape(len(x), -1) @ codes, minlength=len(every))
    p, ended = np.zeros(len(every)), subject.are_ended(every)
    p[ended] = np.exp(subject.scores(every[ended]))
    expected = len(x) * p / p.sum()
    worst = int(np.abs(counts - expected).argmax())
    words = f"have {every[worst].tolist()} {counts[worst]} times where {expected[worst]:.1f} are expected"
    return chi_square(counts, p / p.sum()), words


def _pairs(subject: Subject, rng: np.random.Generator, x: np.ndarray) -> tuple[float, str]:
    """Returns the p-value of pairs of a sample and a copy with one scalar changed, by a symmetric proposal. Given the
    pair, the sample is the more probable one of them with the probability s = 1 / (1 + exp(-|log p - log p'|)). The
    first samples choose the size of the changes of real values.
    """
    from scipy.stats import chi2, norm  # takes long to import

    if (subject.scores(x) == -np.inf).any():
        return 0.0, "are impossible under the scores"
    first, x = np.split(x, [len(x) // 8])
    gaps = {size: _gaps(subject, rng, first, size) for size in (SIZES if (subject.levels == 0).any() else SIZES[:1])}
    gap = _gaps(subject, rng, x, max(gaps, key=lambda size: _variance(gaps[size]).sum()))
    gap = gap[np.argsort(np.abs(gap), kind="stable")]
    sure, weight = 1 / (1 + np.exp(-np.abs(gap))), np.minimum(np.abs(gap), HEAVIEST)
    variance, excess = sure * (1 - sure), (gap > 0) - sure
    classes = int(min(8, variance.sum() // LEAST_VARIANCE))
    words = f"are the more probable of a pair {(gap > 0).sum():,} times where {sure.sum():,.0f} are expected"
    if classes < 1:
        return 1.0, f"{words}; too few to tell"
    number = np.minimum((np.cumsum(variance) / variance.sum() * classes).astype(int), classes - 1)
    sums = np.bincount(number, excess, classes) ** 2 / np.bincount(number, variance, classes)
    warmer = (weight * excess).sum() / _variance(gap).sum() ** 0.5  # the score test of a temperature
    return float(min(1.0, 2 * min(chi2.sf(sums.sum(), classes), 2 * norm.sf(abs(warmer))))), words


def _gaps(subject: Subject, rng: np.random.Generator, x: np.ndarray, size: float) -> np.ndarray:
    """Returns log p(x) - log p(x') of samples and changed copies, without those that are equal or no example."""
    changed = subject.one_changed(rng, x, size)
    kept = subject.are_ended(changed)
    gap = subject.scores(x[kept]) - subject.scores(changed[kept])
    return gap[gap != 0]


def _variance(gap: np.ndarray) -> np.ndarray:
    """Returns the variance of |gap| times which of a pair is the sample; 0 at an infinite gap."""
    return np.minimum(np.abs(gap), HEAVIEST) ** 2 * np.exp(-np.abs(gap)) / (1 + np.exp(-np.abs(gap))) ** 2


@audit_test("conditionals", finds="numbers that no compressed file of the data can reach")
def audit_file(subject: Subject, rng: np.random.Generator) -> Finding:
    """The probabilities that code a value see zeros in place of it and of all later values."""
    try:
        coder_version()
    except UserError as refusal:
        return Finding(NOT_DONE, str(refusal))
    rows = subject.rows("conditionals", ROWS, 0.5, each=3 * len(subject.steps))
    x = subject.examples(rng, rows) if subject.data is None else subject.data[rng.permutation(len(subject.data))[:rows]]
    score = chain(subject, x) if subject.log_prob is None else subject.mean_scores(x)[0]
    claimed, counted = float(-score.sum() / math.log(2)), subject.counted(x)
    if not np.isfinite(claimed):
        return Finding(UNDECIDED, "an example has the probability 0, and no file")
    try:
        encoder = Encoder()
        _code(subject, encoder, len(x), x)
        data = encoder.words().tobytes()
        again = _code(subject, Decoder(np.frombuffer(data, np.uint32)), len(x), None)
    except UserError as refusal:
        return Finding(UNDECIDED, str(refusal))
    numbers = {"bits of the file": 8 * len(data), "bits of the claim": claimed, "examples": len(x)}
    words = f"{len(x)} examples are a file of {len(data):,} bytes, where the scores say {claimed / 8:,.1f}"
    if 8 * len(data) > claimed + WORDS + PER_SYMBOL * counted.sum() + PER_BIT * abs(claimed):
        return Finding(FAILED, f"{words}: fewer than the conditionals need", numbers, {"x": x, "log_prob": score})
    if not np.array_equal(again, x):
        return Finding(UNDECIDED, "the file decodes to other data: the conditionals are not deterministic", numbers)
    return Finding(PASSED, f"{words}, and decodes to the same examples", numbers, proves=True)


def _code(subject: Subject, chooser: Chooser, num: int, x: np.ndarray | None) -> np.ndarray:
    """Returns the examples of a file, from their values or from the file."""
    canvas = np.zeros((num, subject.event.num_dims), subject.event.dtype)
    known, end, goes_on = canvas if x is None else x.reshape(num, -1), subject.end, np.ones(num, bool)
    for t, scalar in enumerate(subject.steps):
        table = subject.tables(canvas.reshape(num, *subject.event.shape), t).astype(np.float32)[:, None]
        values = np.where(goes_on, known[:, scalar], end or 0).astype(np.int32)
        canvas[:, scalar] = chooser(table, goes_on[:, None], values[:, None])[:, 0]
        goes_on &= end is None or canvas[:, scalar] != end
    return canvas.reshape(num, *subject.event.shape)
