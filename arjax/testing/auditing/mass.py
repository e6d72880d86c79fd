"""Total mass: the probabilities of all examples sum, or the density integrates, to 1; those of a bound to at most 1."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from arjax.core.spec import EventSpec
from arjax.testing.auditing.findings import FAILED, PASSED, UNDECIDED, Finding, audit_test
from arjax.testing.auditing.subject import MOST_ENUMERATED, REPEATS, SIGMAS, Budget, Subject

#: False alarms of a random test, at most.
ALPHA = 1e-6
#: Nodes of an integral and their largest distance in the unit of arsinh, by the number of scalars.
NODES, REACH = {1: 8001, 2: 701}, {1: 9.0, 2: 6.0}
#: Error of an integral that counts as none.
INTEGRAL = 2e-3
#: Points of a proposal, draws from it, its operations, and the largest ratio p/q that counts.
POINTS, DRAWS, OPERATIONS, MOST_RATIO = 200, 20_000, 10**8, 20.0
#: The relative effective sample size and the standard error by which draws from a proposal decide.
LEAST_SIZE, MOST_ERROR = 0.03, 0.02
#: Examples of a witness that are shown.
SHOWN = 1000


@audit_test("log_prob", finds="scores that sum to more or less than 1: caches, ensembles, wrong padding, wrong units")
def check_mass(subject: Subject, rng: np.random.Generator, budget: Budget) -> Finding:
    """Sums over all examples, else over a witness; integrates; or draws from a proposal."""
    event = subject.event
    if event.is_discrete:
        most, events = _most(subject, budget), [*subject.smaller, event]
        small = [each for each in events if _number(each) <= most]
        if small:
            return _enumerated(subject, sorted(small, key=_number), budget)
        witness = _witness(subject, rng, budget)
        if witness is not None:
            return witness
    elif event.num_dims <= 2 and not event.columns and not subject.is_random:
        finding = _integrated(subject, rng, budget)
        if finding.status != UNDECIDED:
            return finding
    return _sampled(subject, rng, budget)


def _number(event: EventSpec) -> float:
    """The number of examples of a discrete event."""
    log_number = event.num_dims * math.log(event.num_levels)
    return event.num_levels**event.num_dims if log_number < 40 else math.inf


def _most(subject: Subject, budget: Budget) -> int:
    calls = REPEATS if subject.is_random else 1
    return max(budget.rows(subject, "log_prob", MOST_ENUMERATED * calls, 0.5) // calls, 16)


def _enumerated(subject: Subject, events: list[EventSpec], budget: Budget) -> Finding:
    """Sums over all examples of each event."""
    masses: list[float] = []
    for event in events:
        x = dataclasses.replace(subject, event=event).every(event)
        budget.tell(subject, "log_prob", len(x), f"the mass of {len(x):,} examples")
        log_p, stderr = subject.mean_scores(
            x, max(REPEATS, budget.rows(subject, "log_prob", 20 * REPEATS * len(x)) // len(x))
        )
        with np.errstate(over="ignore"):
            p = np.exp(log_p)
        masses.append(float(p.sum()))
        noise = SIGMAS * math.sqrt(((p * stderr) ** 2).sum()) + float((p * stderr**2).sum())
        numbers = {"mass": masses[-1], "examples": len(x), "mass by size": masses}
        words = f"the probabilities of all {len(x):,} examples of {event.in_words} sum to {masses[-1]:.6g}"
        if masses[-1] > 1 + subject.tolerance + noise:
            return Finding(FAILED, words + unit_of(subject, log_p, event), numbers, _smallest(x, log_p, subject))
        if subject.claim == "exact" and masses[-1] < 1 - subject.tolerance - noise:
            least = ": no likelihood, though a bound from below"
            words += unit_of(subject, log_p, event) or least
            return Finding(FAILED, words, numbers, {"x": x[:SHOWN], "log_prob": log_p[:SHOWN]})
    whole = subject.event in events
    cut = "" if whole else "; the event itself is too large"
    return Finding(PASSED, words + cut, numbers, proves=True)


def unit_of(subject: Subject, log_p: np.ndarray, event: EventSpec) -> str:
    """Returns by which factor scores become log-probabilities that sum to 1, in words; "" if by none of the usual."""
    units = itertools.product(
        (("log p", 1.0), ("-log p", -1.0)),
        (("", 1.0), (" in bits", math.log(2)), (" divided by ln 2 twice", 1 / math.log(2))),
        (("", 1.0), (" for each dimension", float(event.num_dims))),
    )
    for unit in units:
        factor = math.prod(each for _, each in unit)
        with np.errstate(over="ignore"):
            is_unit = factor != 1 and abs(np.exp(factor * log_p).sum() - 1) < 1e-3
        if is_unit:
            name = "".join(word for word, _ in unit)
            return f"; times {factor:.4g} the scores sum to 1: `log_prob` returns {name}, not nats"
    return ""


def _smallest(x: np.ndarray, log_p: np.ndarray, subject: Subject) -> dict[str, Any]:
    """The fewest examples whose probabilities sum to more than 1."""
    order = np.argsort(-log_p)
    with np.errstate(over="ignore"):
        above = np.cumsum(np.exp(log_p[order])) > 1 + subject.tolerance
    num = int(np.argmax(above)) + 1 if above.any() else len(x)
    shown = order[: min(num, SHOWN)]
    sums = {} if num <= SHOWN else {"examples of the sum": num}
    return {"x": x[shown], "log_prob": log_p[shown]} | sums


def _witness(subject: Subject, rng: np.random.Generator, budget: Budget) -> Finding | None:
    """Looks for distinct examples whose probabilities sum to more than 1: neighbours of the most probable ones."""
    x = subject.examples(rng, min(1024, max(budget.rows(subject, "log_prob", 1024, 0.05), 8)))
    known: dict[bytes, tuple[np.ndarray, float]] = {}
    while True:
        log_p, stderr = subject.mean_scores(x)
        known |= {row.tobytes(): (row, score) for row, score in zip(x, log_p - SIGMAS * stderr, strict=True)}
        rows, scores = np.stack([row for row, _ in known.values()]), np.array([score for _, score in known.values()])
        with np.errstate(over="ignore"):
            mass = float(np.exp(scores).sum())
        if mass > 1 + subject.tolerance:
            witness = _smallest(rows, scores, subject)
            words = f"the probabilities of {len(witness['x'])} distinct examples sum to more than 1"
            return Finding(FAILED, words, {"mass": mass}, witness)
        best = rows[np.argsort(-scores)[:4]]
        x = np.concatenate([_neighbours(subject, row) for row in best])[:4096]
        x = np.stack([row for row in x if row.tobytes() not in known] or [rows[0]])
        if len(x) < 2 or len(known) + len(x) > budget.rows(subject, "log_prob", 20_000, 0.1):
            return None


def _neighbours(subject: Subject, row: np.ndarray) -> np.ndarray:
    """Returns the examples that differ from one in one scalar; at most 1,024, spread over the scalars."""
    levels, num = subject.event.num_levels, subject.event.num_dims
    places = np.array([(d, v) for d in range(num) for v in range(min(levels, max(2, 1024 // num)))])[:1024]
    x = np.repeat(row.reshape(1, -1), len(places), 0)
    x[np.arange(len(places)), places[:, 0]] = places[:, 1]
    return subject.ended(x.reshape(-1, *row.shape))


def _centre(subject: Subject, rng: np.random.Generator) -> np.ndarray:
    """Examples of the model by which integrals and proposals are placed."""
    known = subject.sample is not None or subject.data is not None
    x = subject.examples(rng, 3 * POINTS) if known else subject.event.noise(rng, POINTS)
    return x[np.isfinite(subject.scores(x))] if known else x


def _integrated(subject: Subject, rng: np.random.Generator, budget: Budget) -> Finding:
    """Integrates a density of one or two scalars on two grids; not decidable where these, or their middles, differ."""
    num = subject.event.num_dims
    points = _centre(subject, rng).reshape(-1, num).astype(np.float64)
    low, middle, high = np.quantile(points, (0.05, 0.5, 0.95), axis=0)
    scale = np.maximum((high - low) / 2, 1e-3)
    most = budget.rows(subject, "log_prob", 2**40, 0.4) / 2
    nodes = int(min(NODES[num], most ** (1 / num))) | 1
    width = 2 * REACH[num] / (nodes - 1)
    budget.tell(subject, "log_prob", 2 * nodes**num, f"the integral over {nodes**num:,} points")
    masses = []
    for shift in (0.0, 0.5):
        t = (np.arange(nodes) + shift) * width - REACH[num]
        grid = np.stack(np.meshgrid(*[t] * num, indexing="ij"), -1).reshape(-1, num)
        x = (middle + scale * np.sinh(grid)).astype(np.float32)
        weights = np.exp(np.log(np.cosh(grid) * width * scale).sum(1))
        p = weights * np.exp(subject.scores(x.reshape(-1, *subject.event.shape)))
        masses += [float(p.sum()), float(p[(np.abs(grid) < 0.8 * REACH[num]).all(1)].sum())]
    mass = masses[0]
    numbers = {"mass": mass, "points": len(x)}
    words = f"the density integrates to {mass:.5g} over {len(x):,} points"
    if max(masses) - min(masses) > INTEGRAL * mass or not np.isfinite(mass):
        return Finding(UNDECIDED, f"{words}, which is not precise", numbers)
    if mass > 1 + 2 * INTEGRAL or (subject.claim == "exact" and mass < 1 - 2 * INTEGRAL):
        return Finding(FAILED, words, numbers, {"middle": middle, "scale": scale, "nodes": nodes, "reach": REACH[num]})
    return Finding(PASSED, words, numbers, proves=True)


class _Proposal(NamedTuple):
    """A mixture of kernels around points: of discrete scalars, which are kept or drawn anew, and of the real ones a
    multivariate Student distribution of 4 degrees of freedom.
    """

    points: np.ndarray  # [K, D]
    levels: np.ndarray  # [D], 0 of real scalars
    factor: np.ndarray  # [R, R], of the covariance of a kernel
    keeps: tuple[float, ...] = (0.5, 0.8, 0.95)
    sizes: tuple[float, ...] = (0.3, 1.0, 2.5)

    def draw(self, rng: np.random.Generator, num: int) -> np.ndarray:
        x = self.points[rng.integers(len(self.points), size=num)].copy()
        kind = rng.integers(3, size=num)
        discrete, real = np.flatnonzero(self.levels), np.flatnonzero(self.levels == 0)
        anew = rng.random((num, len(discrete))) > np.array(self.keeps)[kind][:, None]
        x[:, discrete] = np.where(anew, rng.integers(self.levels[discrete], size=anew.shape), x[:, discrete])
        noise = rng.normal(size=(num, len(real))) * np.sqrt(4 / rng.chisquare(4, size=(num, 1)))
        x[:, real] += np.array(self.sizes)[kind][:, None] * (noise @ self.factor.T)
        return x

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        return np.concatenate([self._log_prob(part) for part in np.array_split(x, max(1, len(x) // 500))])

    def _log_prob(self, x: np.ndarray) -> np.ndarray:
        discrete, real = np.flatnonzero(self.levels), np.flatnonzero(self.levels == 0)
        same = x[:, None, discrete] == self.points[None, :, discrete]
        square, num = np.zeros(same.shape[:2]), len(real)
        if num:
            centred = (
                np.linalg.solve(self.factor, (x[:, real]).T).T,
                np.linalg.solve(self.factor, self.points[:, real].T).T,
            )
            square = ((centred[0][:, None] - centred[1][None]) ** 2).sum(-1)
        student = math.lgamma(2 + num / 2) - math.lgamma(2) - num / 2 * math.log(4 * math.pi)
        student -= float(np.log(np.abs(np.diag(self.factor))).sum())
        parts = []
        for keep, size in zip(self.keeps, self.sizes, strict=True):
            anew = (1 - keep) / np.maximum(self.levels[discrete], 1)
            log_q = np.where(same, np.log(keep + anew), np.log(anew)).sum(-1)
            parts.append(log_q + student - num * math.log(size) - (2 + num / 2) * np.log1p(square / size**2 / 4))
        log_q = np.logaddexp.reduce(np.concatenate(parts, 1), axis=1)
        return log_q - math.log(3 * len(self.points))


def _proposal(subject: Subject, rng: np.random.Generator) -> _Proposal:
    event = subject.event
    levels = np.array([column.num_levels for column in event.each_site]).repeat(event.value_size)
    points = _centre(subject, rng)[:POINTS].reshape(-1, event.num_dims).astype(np.float64)
    real = points[:, levels == 0]
    factor = np.eye(real.shape[1])
    if len(real) > 2 and real.shape[1]:
        width = 0.7 * len(real) ** (-1 / (real.shape[1] + 4))
        covariance = np.atleast_2d(np.cov(real.T))
        factor = width * np.linalg.cholesky(
            covariance + (1e-6 * np.trace(covariance) + 1e-12) * np.eye(len(covariance))
        )
    return _Proposal(points, levels, factor)


def _sampled(subject: Subject, rng: np.random.Generator, budget: Budget) -> Finding:
    """Importance sampling from a proposal whose density is known. More than 1 is refused by a bound that holds for any
    number of draws (Maurer & Pontil 2009, theorem 4), of the ratios up to 20: the rest only adds to the mass.
    """
    if subject.end is not None or subject.is_random:
        return Finding(UNDECIDED, "the event is too large to be enumerated: give a smaller one")
    proposal = _proposal(subject, rng)
    num = budget.rows(subject, "log_prob", min(DRAWS, OPERATIONS // max(proposal.points.size, 1)), 0.3)
    if num < 100 or not len(proposal.points):
        return Finding(UNDECIDED, f"the time is enough for {num} examples of a proposal: raise budget_s")
    budget.tell(subject, "log_prob", num, f"the mass by {num:,} draws from a proposal")
    x = proposal.draw(rng, num).reshape(-1, *subject.event.shape).astype(subject.event.dtype)
    with np.errstate(over="ignore"):
        ratio = np.exp(subject.scores(x) - proposal.log_prob(x.reshape(num, -1).astype(np.float64)))
    mass, size = float(ratio.mean()), float(ratio.sum() ** 2 / max((ratio**2).sum(), 1e-300))
    error, clipped, log = float(ratio.std() / num**0.5), np.minimum(ratio, MOST_RATIO), math.log(2 / ALPHA)
    least = clipped.mean() - math.sqrt(2 * clipped.var(ddof=1) * log / num) - 7 * MOST_RATIO * log / (3 * (num - 1))
    numbers = {"mass": mass, "standard error": error, "effective sample size": size, "at least": float(least)}
    words = (
        f"importance sampling from {num:,} draws: the mass is {mass:.4g} +- {error:.2g}, of {size:.0f} effective draws"
    )
    if least > 1 + subject.tolerance:
        return Finding(FAILED, f"{words}, and at least {least:.4g}", numbers, {"x": x[:100], "p / q": ratio[:100]})
    if size < LEAST_SIZE * num or error > MOST_ERROR or abs(mass - 1) > 4 * error + subject.tolerance:
        return Finding(UNDECIDED, f"{words}: too few to decide", numbers)
    return Finding(PASSED, words, numbers, proves=True)
