"""The numbers of a report: means, their errors, and paired differences."""

import math

import numpy as np
import pytest
import scipy.stats

from arjax.core.errors import UserError
from arjax.core.scores import SAMPLE_SCORE
from arjax.core.spec import EventSpec
from arjax.evaluation.summaries import mean_over_runs, paired_difference, ratio_of_means, stderr_of, summarize_rows
from arjax.factorization import Shares

NLL, SITES, SCORED = np.array([3.0, 99.0, 6.0, 1.5]), np.array([2, 0, 4, 3]), [0, 2, 3]
N, L = NLL[SCORED], SITES[SCORED]
LOG_2 = math.log(2)
#: Nats per site, and its error by the variance of a ratio.
PER_SITE = 10.5 / 9
PER_SITE_ERROR = np.std(N - PER_SITE * L, ddof=1) / math.sqrt(3) / 3


def mean_and_error(name, values):
    return {name: np.mean(values), f"{name}_stderr": np.std(values, ddof=1) / math.sqrt(len(values))}


def scaled(name, factor=1.0):
    return {name: factor * PER_SITE, f"{name}_stderr": factor * PER_SITE_ERROR}


#: Of an event with two numbers at a site; values are given out of all of which masked ones do not count.
PLAIN = {
    "nll_nats": 3.5,
    "nll_stderr": np.std(N, ddof=1) / math.sqrt(3),
    **scaled("bits_per_dim", 1 / (2 * LOG_2)),
    "num_examples": 3,
}
ORDERS = np.array([[1.0, 0, 2, 3], [2.0, 9, 5, 1]])
TERM = np.array([0.5, 70.0, 1.0, 3.0])
#: The bits of the term for each scored number, with an error as that of the nats for a site.
KL_ERROR = np.std(TERM[SCORED] - 4.5 / 9 * L, ddof=1) / math.sqrt(3) / 3
KL_BITS = {"kl_bits_per_dim": 4.5 / (LOG_2 * 2 * 9), "kl_bits_per_dim_stderr": KL_ERROR / (LOG_2 * 2)}
TEXT = PLAIN | scaled("bits_per_dim", 1 / LOG_2) | scaled("nll_nats_per_char") | scaled("bits_per_char", 1 / LOG_2)
TEXT |= {"perplexity": math.exp(PER_SITE), "perplexity_stderr": math.exp(PER_SITE) * PER_SITE_ERROR}
OF_TRUTH = {"truth_nll_nats": 3.0, "truth_nll_stderr": np.std([2.0, 5, 2], ddof=1) / math.sqrt(3)}
OF_TRUTH |= {"excess_nats": 0.5, "excess_stderr": np.std([1.0, 1, -0.5], ddof=1) / math.sqrt(3)}
OF_CODES = {"num_tokens": 2, "num_codes": 5, "token_bits": 2 * math.log2(5), "codes_used": 3, "codes_perplexity": 3.0}
MIXED = [2.0, -np.log(np.exp(-ORDERS[:, SCORED]).mean(0)).mean()]
OF_ORDERS = {"num_orders": 2, "negative_elbo_nats": (2 + 8 / 3) / 2, "negative_elbo_stderr": (8 / 3 - 2) / 2}
OF_ONE = {"num_orders": 1, "negative_elbo_nats": 2.0, "nll_nats_by_num_orders": [2.0]}
OF_KL = {"kl_nats": 1.5, "kl_stderr": np.std(TERM[SCORED], ddof=1) / math.sqrt(3)} | KL_BITS
GRID = EventSpec((2, 2), (2,))
CASES = [
    ({}, GRID, "", PLAIN),
    ({}, EventSpec((4,), (2,)), "", PLAIN | scaled("nll_nats_per_frame")),
    ({}, EventSpec((4,), kind="tokens", num_levels=3), "char", TEXT),
    ({"terms/kl": TERM}, GRID, "", PLAIN | OF_KL),
    ({"truth": np.array([2.0, 50.0, 5.0, 2.0])}, GRID, "", PLAIN | OF_TRUTH),
    ({"answers/greedy_error": TERM}, GRID, "", PLAIN | mean_and_error("greedy_error", TERM[SCORED])),
    ({"codes/5": np.array([[0.0, 4, 1, 1], [0, 4, 3, 3]])}, GRID, "", PLAIN | OF_CODES),
    ({"by_order": ORDERS}, GRID, "", PLAIN | OF_ORDERS | {"nll_nats_by_num_orders": MIXED}),
    ({"by_order": ORDERS[:1]}, GRID, "", PLAIN | OF_ONE),
]


@pytest.mark.parametrize(("rows", "event", "text", "expected"), CASES)
def test_every_number_of_a_report(rows, event, text, expected):
    num = len(rows.get("by_order", ()))
    shares = Shares(np.full(num, 1 / max(num, 1)), np.zeros(num, bool))
    found = summarize_rows({"nll": NLL, "sites": SITES} | rows, event, text, shares=shares)
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-9), name


def test_orders_count_by_their_shares():
    """One listed order and two random ones: the error of their mean is that of the random ones alone."""
    nll_KB = np.array([[1.0, 2, 3], [2.0, 5, 1], [4.0, 4, 2]])
    shares = Shares(np.array([0.5, 0.25, 0.25]), np.array([False, True, True]))
    rows = {"nll": NLL[SCORED], "sites": SITES[SCORED], "by_order": nll_KB}
    found = summarize_rows(rows, EventSpec((2, 2), (2,)), shares=shares)
    means = nll_KB.mean(1)
    assert found["negative_elbo_nats"] == pytest.approx(means @ shares.weights)
    assert found["negative_elbo_stderr"] == pytest.approx(0.5 * abs(means[1] - means[2]) / 2)
    all_drawn = summarize_rows(rows, EventSpec((2, 2), (2,)), shares=shares._replace(population=2))
    assert all_drawn["negative_elbo_stderr"] == 0.0  # they are all that there are
    one_of = Shares(np.ones(1), np.array([True]), 24)
    assert "negative_elbo_stderr" not in summarize_rows(
        rows | {"by_order": nll_KB[:1]}, EventSpec((2, 2), (2,)), shares=one_of
    )
    p = np.exp(-nll_KB)
    mixtures = [p[0], (p[0] + p[1]) / 2, p[0] / 2 + (p[1] + p[2]) / 4]
    np.testing.assert_allclose(found["nll_nats_by_num_orders"], [-np.log(mixture).mean() for mixture in mixtures])


def test_scores_of_samples_are_no_nats():
    rows = {"nll": NLL, "sites": SITES, "terms/kl": TERM, "answers/error": TERM}
    found = summarize_rows(rows, EventSpec((2, 2), (2,)), kind="none")
    expected = mean_and_error(SAMPLE_SCORE, N) | {"num_examples": 3} | mean_and_error("error", TERM[SCORED])
    assert found == pytest.approx(expected, rel=1e-9)


def test_nothing_is_scored():
    for kind in ("exact", "none"):
        with pytest.raises(UserError, match="nothing is scored"):
            summarize_rows({"nll": NLL, "sites": 0 * SITES}, EventSpec((4,)), kind=kind)


def test_errors_of_means():
    assert stderr_of(np.array([1.0])) == 0 and stderr_of(np.zeros((1, 2))).tolist() == [0, 0]
    assert stderr_of(np.array([1.0, 3.0])) == pytest.approx(1.0)
    mean, error = mean_over_runs([[1.0, 2], [3, 2]])
    assert mean.tolist() == [2, 2] and error.tolist() == pytest.approx([1, 0])
    for runs in ([[1.0, 2]], [[1.0, np.inf], [3, 2]]):
        assert np.isnan(mean_over_runs(runs)[1]).all()


def test_the_error_of_a_ratio_is_that_of_many_draws():
    rng = np.random.default_rng(0)
    sites = rng.integers(1, 9, (2000, 100))
    values = 1.5 * sites + rng.normal(size=sites.shape) * np.sqrt(sites)
    found = np.array([ratio_of_means(*rows) for rows in zip(values, sites, strict=True)])
    np.testing.assert_allclose(found[:, 0].mean(), 1.5, rtol=0.01)
    np.testing.assert_allclose(found[:, 1].mean(), found[:, 0].std(), rtol=0.05)
    assert ratio_of_means(np.array([2.0, 6.0, 3.0]), np.array([2, 4, 2]))[0] == 11 / 8


def test_a_paired_difference_is_the_paired_test_by_hand():
    rng = np.random.default_rng(0)
    first, second = rng.normal(80, 20, 300), rng.normal(0, 1, 300)
    second += first + 0.5  # hard examples are hard for both models
    found = paired_difference(first[None], second[None])
    t = scipy.stats.ttest_rel(first, second)
    assert found.mean == pytest.approx(first.mean() - second.mean())
    assert found.mean / found.stderr == pytest.approx(t.statistic)
    assert found.stderr < 0.1 < np.hypot(first.std(), second.std()) / 300**0.5
    assert (found.wins, found.losses) == ((first < second).mean(), (first > second).mean())
    assert np.isnan(found.seeds_stderr) and not found.is_tie


def test_seeds_have_an_error_of_their_own_and_a_copy_is_a_tie():
    rng = np.random.default_rng(1)
    nats = rng.normal(80, 20, 50)
    first, second = nats + np.array([[0.0], [3.0], [6.0]]), nats + np.array([[4.0], [5.0]])
    found = paired_difference(first, second)
    assert found.mean == pytest.approx(-1.5) and found.stderr == pytest.approx(0, abs=1e-9)
    assert found.seeds_stderr == pytest.approx((9 / 3 + 0.5 / 2) ** 0.5)  # Welch, by hand
    assert found.is_tie  # by its seeds, though every example has the same difference
    assert not paired_difference(np.full((1, 3), np.inf), np.ones((1, 3))).is_tie
    assert not paired_difference(np.ones((2, 3)), np.array([[1, np.inf, 1], [1, 1, 1]])).is_tie
    copy = paired_difference(nats[None], nats[None])
    assert copy.is_tie and (copy.mean, copy.wins, copy.losses) == (0, 0, 0)
