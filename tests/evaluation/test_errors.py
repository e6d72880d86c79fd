"""Standard errors of means and of ratios of means, beside draws of the same sizes."""

import numpy as np

from arjax.evaluation.summaries import ratio_of_means, stderr_of


def test_a_single_value_has_no_error():
    assert stderr_of(np.array([3.0])) == 0 and stderr_of(np.ones((1, 2))).tolist() == [0, 0]
    assert stderr_of(np.array([1.0, 3.0])) == 1


def test_the_error_of_a_ratio_is_that_of_many_draws():
    rng = np.random.default_rng(0)
    sites = rng.integers(1, 9, (2000, 100))
    values = 1.5 * sites + rng.normal(size=sites.shape) * np.sqrt(sites)
    found = np.array([ratio_of_means(*rows) for rows in zip(values, sites, strict=True)])
    np.testing.assert_allclose(found[:, 0].mean(), 1.5, rtol=0.01)
    np.testing.assert_allclose(found[:, 1].mean(), found[:, 0].std(), rtol=0.05)
    assert ratio_of_means(np.array([2.0, 6.0, 3.0]), np.array([2, 4, 2]))[0] == 11 / 8
