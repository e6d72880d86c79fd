"""Paired differences against the test written by hand."""

import numpy as np
import pytest
import scipy.stats

from arjax.evaluation.summaries import paired_difference


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
