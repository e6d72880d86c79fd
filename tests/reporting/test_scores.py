"""Scores in words."""

import pytest

from arjax.reporting.reports import describe_scores

NATS = {"nll_nats": 86.5412, "nll_stderr": 0.712, "bits_per_dim": 1.95081, "bits_per_dim_stderr": 0.01605}
ORDERS = {"num_orders": 8, "negative_elbo_nats": 87.0, "negative_elbo_stderr": 0.5}
EXPOSURE = {"nll_nats": 1.5, "exposure_forward_own_nats": 2.0, "exposure_forward_data_nats": 1.0}
EXPOSURE |= {"exposure_excess_percent": 100.0, "exposure_excess_stderr": 5.0}
EXPOSURE |= {"greedy_error": 0.75, "next_step_error": 0.5}
EXPOSURE |= {"judge_own_nll_nats": 3.0, "judge_own_nll_stderr": 0.5, "judge_data_nll_nats": 2.5}
MIXED = "a mixture of 8 orders (their mean: 87.0000 ± 0.5000)"


@pytest.mark.parametrize(
    ("scores", "bits", "words"),
    [
        (NATS, True, "86.5412 ± 0.7120 nats, 1.9508 ± 0.0160 bits/dim"),
        (NATS, False, "86.5412 ± 0.7120 nats"),
        ({"nll_nats": 1.5, "bits_per_dim": 2.0}, True, "1.5000 nats, 2.0000 bits/dim"),
        (NATS | {"nll_nats_per_frame": 3.0}, False, "86.5412 ± 0.7120 nats, 3.0000 nats/frame"),
        (NATS | ORDERS, False, f"86.5412 ± 0.7120 nats, {MIXED}"),
        (NATS | {"num_orders": 1}, False, "86.5412 ± 0.7120 nats"),
        (NATS | {"nll_stderr": 0.0}, False, "86.5412 nats"),  # of a single example
        (
            NATS | ORDERS | {"negative_elbo_stderr": 0.0},
            False,
            "86.5412 ± 0.7120 nats, a mixture of 8 orders (their mean: 87.0000)",
        ),
        (
            EXPOSURE,
            False,
            "1.5000 nats, errors of 2.0000 nats under own prefixes, 1.0000 under the data's (excess 100.0 ± 5.0 %), "
            "75.0 % of decoded values wrong, 50.0 % of next ones, samples 3.0000 ± 0.5000 nats under the judge, "
            "data 2.5000",
        ),
    ],
)
def test_scores_have_units_and_standard_errors(scores, bits, words):
    assert describe_scores(scores, bits) == words
