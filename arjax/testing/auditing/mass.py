"""Total mass: the probabilities of all examples sum, or the density integrates, to 1; those of a bound to at most 1."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from arjax.testing.auditing.findings import FAILED, PASSED, UNDECIDED, Finding, audit_test
from arjax.testing.auditing.subject import ALPHA, REPEATS, SIGMAS, Subject, looks_like

#: Examples that are enumerated, at most; rows and rounds of the search for a witness, and its examples that are kept.
MOST_ENUMERATED, ROWS, ROUNDS, SHOWN = 2**18, 1024, 8, 1000
#: Nodes of an integral, and their largest distance in the unit of arsinh, by the number of scalars.
NODES, REACH = {1: 8001, 2: 701}, {1: 9.0, 2: 6.0}
#: Error of an integral that counts as none.
INTEGRAL = 2e-3
#: Points of a proposal, draws in the first round and in others, operations, and the largest ratio p/q that counts.
POINTS, PILOT, DRAWS, OPERATIONS, MOST_RATIO = 256, 2000, 20_000, 5 * 10**7, 20.0
#: Kernels of a proposal: the probability that a discrete scalar is kept, and the size of the noise of real ones in the
#: distance to the eighth point.
KERNELS, NEAR = ((0.5, 0.2), (0.8, 0.5), (0.95, 1.5)), 8
#: Draws from a proposal decide with this effective sample size and standard error, and end with a smaller one.
LEAST_SIZE, MOST_ERROR, SMALL_ERROR = 400.0, 0.02, 0.005


@audit_test("log_prob", finds="scores that sum to more or less than 1: caches, ensembles, wrong padding, wrong units")
def audit_mass(subject: Subject, rng: np.random.Generator) -> Finding:
    """Sums over all examples, else over a witness; integrates; or draws from a proposal. Draws miss a mode that neither
    the samples nor the data show.
    """
    event, earlier = subject.event, list[Finding]()
    few = event.num_dims <= 2 and not event.columns and not subject.is_random
    methods = [_enumerated, _witness] if event.is_discrete else [_integrated] if few else []
    if not methods or subject.conditionals is None:  # tables say more than draws
        methods.append(_sampled)
    for method in methods:
        finding = method(subject, rng)
        missed = any(each.numbers.get("mass", 0.0) > 1 + MOST_ERROR for each in earlier)  # there is more elsewhere
        if finding.status == FAILED or (finding.proves and not missed):
            return finding
        earlier.append(finding)
    return earlier[0] if PASSED in (earlier[0].status, finding.status) else finding


def _enumerated(subject: Subject, rng: np.random.Generator) -> Finding:
    """Sums over all examples of the event, and of smaller ones, where there is time for them."""
    most = min(max(0.5 * subject.left / subject.pace("log_prob") / subject.calls, 16), MOST_ENUMERATED)
    sizes = {event: event.num_levels**event.num_dims for event in (*subject.smaller, subject.event)}
    masses, words, numbers = list[float](), "", dict[str, Any]()
    for event in sorted((event for event in sizes if sizes[event] <= most), key=lambda event: sizes[event]):
        x = dataclasses.replace(subject, event=event).every(event)
        rounds = subject.rows("log_prob", 20 if subject.is_random else 1, each=len(x))
        log_p, stderr = subject.mean_scores(x, REPEATS * rounds)
        p = np.exp(log_p)
        masses.append(mass := float(p.sum()))
        noise = SIGMAS * math.sqrt(((p * stderr) ** 2).sum()) + float((p * stderr**2).sum()) + subject.tolerance
        numbers = {"mass": mass, "examples": len(x), "mass by size": masses}
        words = f"the probabilities of all {len(x):,} examples of {event.in_words} sum to {mass:.6g}"
        unit = looks_like(event, lambda factor: abs(np.exp(factor * log_p).sum() - 1) < 1e-3)  # noqa: B023, called at once
        if mass > 1 + noise:
            return Finding(FAILED, words + unit, numbers, _smallest(subject, x, log_p))
        if subject.claim == "exact" and mass < 1 - noise:
            words += unit or ": no likelihood, though a bound from below"
            return Finding(FAILED, words, numbers, {"x": x[:SHOWN], "log_prob": log_p[:SHOWN], "mass": mass})
    if sizes[subject.event] <= most:
        return Finding(PASSED, words, numbers, proves=True)
    return Finding(PASSED if words else UNDECIDED, f"{words}; the event itself is too large", numbers)


def _smallest(subject: Subject, x: np.ndarray, log_p: np.ndarray) -> dict[str, Any]:
    """The fewest examples whose probabilities sum to more than 1."""
    order = np.argsort(-log_p)
    num = int(np.argmax(np.cumsum(np.exp(log_p[order])) > 1 + subject.tolerance)) + 1
    shown = order[: min(num, SHOWN)]
    return {"x": x[shown], "log_prob": log_p[shown]} | ({"examples of the sum": num} if num > SHOWN else {})


def _witness(subject: Subject, rng: np.random.Generator) -> Finding:
    """Looks for distinct examples whose probabilities sum to more than 1, near the most probable ones."""
    x = subject.examples(rng, subject.rows("log_prob", ROWS, 0.02, least=8))
    for _ in range(ROUNDS // 2):
        x = np.unique(x, axis=0)
        log_p, stderr = subject.mean_scores(x)
        least = log_p - SIGMAS * stderr
        if (mass := float(np.exp(least).sum())) > 1 + subject.tolerance:
            witness = _smallest(subject, x, least)
            words = f"the probabilities of {len(witness['x'])} distinct examples sum to more than 1"
            return Finding(FAILED, words, {"mass": mass}, witness)
        best = x[np.argsort(-log_p)[:4]]
        near = subject.one_changed(rng, np.repeat(best, len(x) // len(best) + 1, 0))
        x = np.concatenate([x, near[subject.are_ended(near)]])
    words = f"it is too large to be summed over, and no few examples of {len(x):,} sum to more than 1"
    return Finding(UNDECIDED, words)


def _centre(subject: Subject, rng: np.random.Generator) -> np.ndarray:
    """Examples of the model by which integrals and proposals are placed, float64[N, D]."""
    x = subject.examples(rng, subject.rows("log_prob", POINTS, 0.2, least=4), likely=True)
    x = x[np.isfinite(subject.scores(x))]
    return x.reshape(len(x), subject.event.num_dims).astype(np.float64)


def _integrated(subject: Subject, rng: np.random.Generator) -> Finding:
    """Integrates a density of one or two scalars on two grids; not decidable where these, or their middles, differ."""
    num = subject.event.num_dims
    if not len(points := _centre(subject, rng)):
        return Finding(UNDECIDED, "no example has a finite score: give sample, or data")
    low, middle, high = np.quantile(points, (0.05, 0.5, 0.95), axis=0)
    scale = np.maximum((high - low) / 2, 1e-3)
    nodes = int(subject.rows("log_prob", NODES[num] ** num, 0.4, each=2) ** (1 / num) + 1e-6) | 1
    width, masses = 2 * REACH[num] / max(nodes - 1, 1), list[float]()
    for shift in (0.0, 0.5):
        t = (np.arange(nodes) + shift) * width - REACH[num]
        grid = np.stack(np.meshgrid(*[t] * num, indexing="ij"), -1).reshape(-1, num)
        x = (middle + scale * np.sinh(grid)).astype(np.float32).reshape(-1, *subject.event.shape)
        p = (np.cosh(grid) * width * scale).prod(1) * np.exp(subject.scores(x))
        masses += [float(p.sum()), float(p[(np.abs(grid) < 0.8 * REACH[num]).all(1)].sum())]
    mass, numbers = masses[0], {"mass": masses[0], "points": len(x)}
    words = f"the density integrates to {mass:.5g} over {len(x):,} points"
    if not max(masses) - min(masses) <= INTEGRAL * mass:
        return Finding(UNDECIDED, f"{words}, which is not precise", numbers)
    if mass > 1 + 2 * INTEGRAL or (subject.claim == "exact" and mass < 1 - 2 * INTEGRAL):
        grid_of = {"middle": middle, "scale": scale, "nodes": nodes, "reach": REACH[num]}
        return Finding(FAILED, words, numbers, grid_of | {"mass": mass})
    return Finding(PASSED, words, numbers, proves=True)


class _Proposal:
    """A mixture of kernels around points [K, D]: discrete scalars are kept or drawn anew, real ones get the noise of a
    multivariate Student distribution of 4 degrees of freedom with the covariance of the points, as wide as the distance
    to a near one.
    """

    def __init__(self, points: np.ndarray, levels: np.ndarray):
        self.points, self.discrete, self.real = points, np.flatnonzero(levels), np.flatnonzero(levels == 0)
        self.levels, num = levels[self.discrete], len(self.real)
        covariance = np.atleast_2d(np.cov(points[:, self.real].T)) if num else np.eye(0)
        covariance = covariance + (1e-6 * np.trace(covariance) + 1e-12) * np.eye(num)
        self.factor = np.linalg.cholesky(covariance)
        self.z = self._standard(points)
        distances = np.sqrt(((self.z[:, None] - self.z) ** 2).sum(-1))
        self.scale = np.maximum(np.sort(distances, 1)[:, min(NEAR, len(points) - 1)], 1e-6)[:, None]

    def _standard(self, x: np.ndarray) -> np.ndarray:
        return np.linalg.solve(self.factor, x[:, self.real].T).T

    def draw(self, rng: np.random.Generator, num: int) -> np.ndarray:
        """Returns draws [num, D]."""
        point = rng.integers(len(self.points), size=num)
        x = self.points[point]
        keep, size = np.array(KERNELS)[rng.integers(len(KERNELS), size=num)].T[:, :, None]
        anew = rng.random((num, len(self.discrete))) > keep
        x[:, self.discrete] = np.where(anew, rng.integers(self.levels, size=anew.shape), x[:, self.discrete])
        noise = rng.normal(size=(num, len(self.real))) * np.sqrt(4 / rng.chisquare(4, size=(num, 1)))
        x[:, self.real] += size * self.scale[point] * (noise @ self.factor.T)
        return x

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """Returns log q of draws, [N]."""
        return np.concatenate([self._log_prob(part) for part in np.array_split(x, max(1, len(x) // 500))])

    def _log_prob(self, x: np.ndarray) -> np.ndarray:
        same = np.float32(x[:, None, self.discrete] == self.points[:, self.discrete])
        square, num = ((self._standard(x)[:, None] - self.z) ** 2).sum(-1)[..., None], len(self.real)
        keep, size = np.array(KERNELS).T[:, None]
        size, anew = size * self.scale, (1 - keep) / self.levels[:, None]
        kept = same.reshape(len(x) * len(self.points), len(self.levels)) @ np.float32(np.log1p(keep / anew))
        student = math.lgamma(2 + num / 2) - num / 2 * math.log(4 * math.pi) - np.log(np.diag(self.factor)).sum()
        student = student - num * np.log(size) - (2 + num / 2) * np.log1p(square / size**2 / 4)
        log_q = np.log(anew).sum(0) + kept.reshape(*square.shape[:2], -1) + student
        return np.logaddexp.reduce(log_q.reshape(len(x), -1), axis=1) - math.log(len(KERNELS) * len(self.points))


def _sampled(subject: Subject, rng: np.random.Generator) -> Finding:
    """Importance sampling from a proposal whose density is known, in rounds until it is precise. More than 1 is refused
    by a bound that holds for any number of draws (Maurer & Pontil 2009, theorem 4), of the ratios up to 20: the rest
    only adds to the mass.
    """
    points, until = _centre(subject, rng), 0.6 * subject.left
    if len(points) < 3:
        return Finding(UNDECIDED, "hardly an example has a finite score: give sample, or data")
    num = subject.rows("log_prob", min(DRAWS, OPERATIONS // points.size), 0.3)
    if subject.end is not None or num < 100:
        return Finding(UNDECIDED, "the event is too large to be enumerated: give conditionals, or raise budget_s")
    proposal = _Proposal(points, subject.levels)
    ratios, leasts = np.zeros(0), np.zeros(0)
    for _ in range(ROUNDS):
        x = proposal.draw(rng, num if len(ratios) else min(num, PILOT))
        x = x.reshape(-1, *subject.event.shape).astype(subject.event.dtype)
        score, stderr = subject.mean_scores(x)
        score = score - proposal.log_prob(x.reshape(len(x), -1).astype(np.float64))
        ratios = np.append(ratios, np.exp(score))
        leasts = np.append(leasts, np.minimum(np.exp(score - SIGMAS * stderr), MOST_RATIO))
        mass, error = float(ratios.mean()), float(ratios.std() / len(ratios) ** 0.5)
        size = float(ratios.sum() ** 2 / max((ratios**2).sum(), 1e-300))
        if error < SMALL_ERROR or size < 50 or subject.left < until:
            break
    total, log = len(ratios), math.log(2 * ROUNDS / ALPHA)
    noise = math.sqrt(2 * leasts.var(ddof=1) * log / total) + 7 * MOST_RATIO * log / (3 * (total - 1))
    least = float(leasts.mean()) - noise
    numbers = {"mass": mass, "standard error": error, "effective sample size": size, "at least": least}
    words = f"by {total:,} draws from a proposal, {size:.0f} effective ones, the mass is {mass:.4g} +- {error:.2g}"
    if least > 1 + subject.tolerance:
        return Finding(FAILED, f"{words}, and at least {least:.4g}", numbers, {"x": x[:100], "log p / q": score[:100]})
    beyond = mass - 1 if subject.is_random else abs(mass - 1)
    if error > MOST_ERROR or size < LEAST_SIZE or beyond > 4 * error + subject.tolerance:
        return Finding(UNDECIDED, f"{words}: too few to decide", numbers)
    return Finding(PASSED, words, numbers, proves=True)
