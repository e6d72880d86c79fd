"""The numbers of a report, from scores of each example: means with standard errors, and differences of two models."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, TypeVar

import numpy as np
import scipy.stats

from arjax.core.errors import UserError
from arjax.core.scores import NO_LIKELIHOOD, SAMPLE_SCORE, mixed_nats
from arjax.core.spec import EventSpec
from arjax.factorization import Shares

K = TypeVar("K")
T = TypeVar("T")
#: A row of codes is named after the size of its codebook, such as "codes/512".
CODES = "codes/"
#: A difference within this many standard errors of 0 is a tie.
TIE = 2.0


def stderr_of(values: np.ndarray) -> np.ndarray:
    """The standard error of a mean over the first axis, float64; 0 for a single value."""
    num = len(values)
    return values.std(0, ddof=1) / math.sqrt(num) if num > 1 else np.zeros(values.shape[1:])


def mean_over_runs(values: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and standard error over the first axis; nan for fewer than two runs and for values not finite."""
    values = np.asarray(values, np.float64)
    known = len(values) > 1 and np.isfinite(values).all()
    return values.mean(0), stderr_of(values) if known else np.full(values.shape[1:], np.nan)


def grouped(pairs: Iterable[tuple[K, T]]) -> dict[K, list[T]]:
    """Returns the second things of the pairs, together where the first ones are equal, in the sequence of the pairs."""
    groups: dict[K, list[T]] = {}
    for key, each in pairs:
        groups.setdefault(key, []).append(each)
    return groups


def group_by_seed(runs: Iterable[T], but_seed: Callable[[T], tuple[Hashable, Hashable]]) -> list[list[T]]:
    """Returns the runs in groups whose members differ in their seed alone. `but_seed` returns everything else that a
    run is made from, and its seed; a second run with the same seed goes to another group.
    """
    groups: dict[Hashable, list[T]] = {}
    seen: collections.Counter[Hashable] = collections.Counter()
    for run in runs:
        rest, seed = but_seed(run)
        groups.setdefault((rest, seen[rest, seed]), []).append(run)
        seen[rest, seed] += 1
    return list(groups.values())


def ratio_of_means(values_N: np.ndarray, sites_N: np.ndarray) -> tuple[float, float]:
    """Returns sum of values / sum of sites, and its standard error over the N examples. To first order, this is the
    standard error of the mean of (value - ratio x sites) over mean sites.
    """
    ratio = values_N.sum() / sites_N.sum()
    return float(ratio), float(stderr_of(values_N - ratio * sites_N) / sites_N.mean())


def summarize_rows(
    rows: Mapping[str, np.ndarray], event: EventSpec, text: str = "", kind: str = "exact", shares: Shares | None = None
) -> dict[str, Any]:
    """Returns the scores of a split, by the names of `results.json`, from those of its examples.

    Args:
      rows: float64[..., N] by name: `nll` and `sites` of each example; possibly `by_order` [K, N], the terms of the
        score `terms/NAME`, numbers of codes `codes/K` [T, N], errors of answers `answers/NAME`, and `truth`, the nats
        under the truth of the data; of draws also `free_energy` and `energy`.
      kind: of the scores. Scores of the kind "none" are not nats: their mean is `sample_score`.
      shares: the weights of the orders in their mixture, if there is `by_order`.
    """
    if kind == NO_LIKELIHOOD:
        rows = {name: values for name, values in rows.items() if name in ("nll", "sites") or "answers/" in name}
        score_N, _ = _scored(rows["nll"], rows["sites"])
        scores: dict[str, Any] = _with_stderr(SAMPLE_SCORE, float(score_N.mean()), float(stderr_of(score_N)))
        scores["num_examples"] = len(score_N)
    else:
        scores = summarize(rows["nll"], rows["sites"], event, text)
    counted = {name: values[..., rows["sites"] > 0] for name, values in rows.items()}
    for name, values in counted.items():
        if name.startswith("terms/"):
            term = name.removeprefix("terms/")
            scores |= in_nats(term, values)
            per_dim = ratio_of_means(values, counted["sites"])
            scores |= _with_stderr(f"{term}_bits_per_dim", *per_dim, 1 / (math.log(2) * event.value_size))
        elif name.startswith(CODES):
            scores |= summarize_codes(code_counts(name, values), len(values))
    if "by_order" in counted:
        assert shares is not None, "rows with several orders come with the shares of these"
        scores |= summarize_orders(counted["by_order"].T, shares)
    for name, values in counted.items():
        if name.startswith("answers/"):
            scores |= _with_stderr(name.removeprefix("answers/"), float(values.mean()), float(stderr_of(values)))
    if "truth" in counted:
        # The mean difference over the examples is an estimate of KL(truth || model).
        scores |= in_nats("truth_nll", counted["truth"]) | in_nats("excess", counted["nll"] - counted["truth"])
    if "free_energy" in counted:
        scores |= summarize_draws(counted)
    return scores


def summarize_draws(rows: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Returns the entries about a target that is known up to a constant, from its scores of draws x of a model q, [N]
    by the names of `FreeEnergy.rows`. With the importance weights w = exp(-beta E(x)) / q(x) these are `log_z`, the
    logarithm of their mean, an estimate, with its standard error to first order, and `effective_samples`, (sum w)^2 /
    sum w^2 of the N draws: both are blind to values that q does not draw. `free_energy_per_site`, a bound, and
    `energy_per_site` are in the units of the energy.
    """
    log_w_N = -rows["nll"]
    w_N = np.exp(log_w_N - log_w_N.max())
    log_z = float(log_w_N.max() + np.log(w_N.mean()))
    scores: dict[str, Any] = _with_stderr("log_z", log_z, float(stderr_of(w_N) / w_N.mean()))
    scores |= {"log_z_kind": "estimate", "effective_samples": float(w_N.sum() ** 2 / np.square(w_N).sum())}
    for name in ("free_energy", "energy"):
        scores |= _with_stderr(f"{name}_per_site", *ratio_of_means(rows[name], rows["sites"]))
    return scores


def code_counts(name: str, numbers: np.ndarray) -> np.ndarray:
    """Returns how often each code occurs, int64[K], from a row `codes/K`."""
    return np.bincount(numbers.astype(np.int64).ravel(), minlength=int(name.removeprefix(CODES)))


def summarize_codes(counts_K: np.ndarray, num_tokens: int) -> dict[str, Any]:
    """Returns the use of a codebook by a split: `num_tokens` T and `num_codes` K; `token_bits`, T log2 K, the bits of
    the tokens of an example without a prior; `codes_used`, the number of codes that occur; and `codes_perplexity`, the
    exponential of the entropy of their frequencies, which is K if all codes are equally frequent.
    """
    frequency = counts_K[counts_K > 0] / counts_K.sum()
    return {
        "num_tokens": num_tokens,
        "num_codes": len(counts_K),
        "token_bits": num_tokens * math.log2(len(counts_K)),
        "codes_used": len(frequency),
        "codes_perplexity": float(np.exp(-(frequency * np.log(frequency)).sum())),
    }


def summarize_orders(nll_BK: np.ndarray, shares: Shares) -> dict[str, Any]:
    """Returns the entries of a result about several orders, from the nats of each example under each order.

    These are `num_orders` K; `negative_elbo_nats`, the weighted mean over the orders, an upper bound of the nats of
    their mixture; `negative_elbo_stderr`, its standard error as an estimate of the mean over all orders of the model,
    from which these are drawn without replacement (0 if they are all; left out if one of several is drawn; of the
    random orders alone, if there are also listed ones); and `nll_nats_by_num_orders`, the nats of the mixtures of the
    first 1, 2, ..., K orders.
    """
    num_orders, means_K = nll_BK.shape[1], nll_BK.mean(0)
    random_K = shares.drawn if shares.drawn.any() else np.ones(num_orders, bool)
    weight, num = shares.weights[random_K].sum(), int(random_K.sum())
    stderr = weight * stderr_of(means_K[random_K]) * math.sqrt(max(1 - num / shares.population, 0.0))
    known = {} if num == 1 < shares.population else {"negative_elbo_stderr": float(stderr)}
    return {
        "num_orders": num_orders,
        "negative_elbo_nats": float(means_K @ shares.weights),
        **known,
        "nll_nats_by_num_orders": [
            float(mixed_nats(nll_BK[:, :k].T, shares.first(k)).mean()) for k in range(1, num_orders + 1)
        ],
    }


def summarize(nll: np.ndarray, sites: np.ndarray, event: EventSpec, text: str = "") -> dict[str, float]:
    """Returns the scores of a split from the nats and the numbers of scored sites of its examples. Rows without a
    scored site (a window that is all context) are not examples. `text` is the unit of a text, "char" or "byte".
    """
    nll, sites = _scored(nll, sites)
    per_site, per_site_stderr = ratio_of_means(nll, sites)
    bits = 1 / math.log(2)
    result = in_nats("nll", nll)
    result |= _with_stderr("bits_per_dim", per_site, per_site_stderr, bits / event.value_size)
    result["num_examples"] = len(nll)
    if text:
        result |= _with_stderr(f"nll_nats_per_{text}", per_site, per_site_stderr)
        result |= _with_stderr(f"bits_per_{text}", per_site, per_site_stderr, bits)
        perplexity = float(np.exp(per_site))
        result |= {"perplexity": perplexity, "perplexity_stderr": perplexity * per_site_stderr}  # to first order
    if len(event.grid_shape) == 1 and event.value_shape:
        result |= _with_stderr("nll_nats_per_frame", per_site, per_site_stderr)
    return result


def _scored(values: np.ndarray, sites: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not (sites > 0).any():
        raise UserError("nothing is scored: the weights of all examples are 0, or the masks of all that count")
    return values[sites > 0], sites[sites > 0]


def in_nats(name: str, nats_N: np.ndarray) -> dict[str, float]:
    """Returns the mean over examples, and its standard error, by their names in a report."""
    return {f"{name}_nats": float(nats_N.mean()), f"{name}_stderr": float(stderr_of(nats_N))}


def _with_stderr(name: str, value: float, stderr: float, factor: float = 1.0) -> dict[str, float]:
    return {name: factor * value, f"{name}_stderr": factor * stderr}


@dataclasses.dataclass(frozen=True)
class Difference:
    """Nats of one model less those of another on each of N examples. Below 0 the first model is better.

    Attributes:
      nats_N: float64[N]; means over the seeds, if a model was trained under several.
      stderr: the standard error of the mean over the examples, which are paired; nan for a single example.
      seeds_stderr: the standard error over the seeds, if both models were trained under several; nan otherwise.
      tie: a mean within `tie` of 0 is a tie: two standard errors, or over few seeds the quantile of Student's t that is
        as rare (Welch's degrees of freedom), whichever is larger.
      wins, losses: the shares of examples on which the first model has fewer nats, and more.
    """

    nats_N: np.ndarray
    mean: float
    stderr: float
    seeds_stderr: float
    tie: float
    wins: float
    losses: float

    @property
    def is_tie(self) -> bool:
        """Whether the mean is nan or within `tie` of 0. An infinite mean is no tie."""
        return not (math.isinf(self.mean) or abs(self.mean) > self.tie)


def paired_difference(first_SN: np.ndarray, second_TN: np.ndarray) -> Difference:
    """The difference of two models from their nats of N examples, [S, N] and [T, N] under S and T seeds."""
    with np.errstate(invalid="ignore"):  # nats may be infinite
        nats_N = first_SN.mean(0) - second_TN.mean(0)
        by_seed = [nats.mean(1) for nats in (first_SN, second_TN)]
        stderr = float(stderr_of(nats_N)) if len(nats_N) > 1 else math.nan
        seeds_stderr, seeds_tie = _over_seeds(by_seed)
        return Difference(
            nats_N=nats_N,
            mean=float(nats_N.mean()),
            stderr=stderr,
            seeds_stderr=seeds_stderr,
            tie=float(np.fmax(TIE * stderr, seeds_tie)),
            wins=float((nats_N < 0).mean()),
            losses=float((nats_N > 0).mean()),
        )


def _over_seeds(by_seed: list[np.ndarray]) -> tuple[float, float]:
    """The standard error over the seeds of two models, and how far from 0 a tie goes; nan for a single seed."""
    if min(map(len, by_seed)) < 2:
        return math.nan, math.nan
    # Seeds are drawn for each model alone, so the variances add up (Welch, 1947).
    parts = np.array([float(stderr_of(means)) ** 2 for means in by_seed])
    stderr = math.sqrt(parts.sum())
    freedom = parts.sum() ** 2 / (parts**2 / [len(means) - 1 for means in by_seed]).sum()
    return stderr, stderr * float(scipy.stats.t.isf(scipy.stats.norm.sf(TIE), freedom))
