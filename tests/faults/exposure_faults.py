"""Faults of the measures of exposure bias."""

from __future__ import annotations

from fault import Fault, faults_of

_TRUTH = faults_of("evaluation/exposure.py", "evaluation/test_exposure.py::test_errors_are_those_of_all_sequences")
_DECODING = faults_of("evaluation/exposure.py", "evaluation/test_decoding.py::test_both_errors_are_those_of_the_table")
_JUDGES = faults_of("evaluation/judges.py", "evaluation/test_judges.py::test_texts_are_read_in_windows_or_whole")
_COST = faults_of(
    "evaluation/gradient_cost.py", "evaluation/test_gradient_cost.py::test_variance_and_norm_of_a_known_gradient"
)

EXPOSURE_FAULTS = (
    _TRUTH(
        "prefixes of the data that the model has drawn",
        "truth.model.draw(truth.params, keys[rows], end=truth.end)",
        "model.draw(params, keys[rows], end=truth.end)",
    ),
    _TRUTH(
        "the divergence from the model in place of that from the truth",
        "[_kl(log_p, log_q), _kl(log_q, log_p)]",
        "[_kl(log_q, log_p), _kl(log_p, log_q)]",
    ),
    _TRUTH(
        "an excess per step, not of the errors up to a length",
        "own_NS, data_NS = np.cumsum(own_NS, axis=1), np.cumsum(data_NS, axis=1)\n    own_S",
        "own_S",
    ),
    _TRUTH(
        "an excess whose error adds the noise that both kinds of prefixes share",
        "stderr_of(own_NS - ratio_S * data_NS)",
        "stderr_of(own_NS + ratio_S * data_NS)",
        "evaluation/test_exposure.py::test_intervals_cover",
        slow=True,
    ),
    _DECODING(
        "decodings that observe everything",
        "observed_D.reshape(grid)}",
        "np.ones(grid, bool)}",
    ),
    _JUDGES(
        "windows of a text whose scores stand at other sites",
        "found[:, skip:]",
        "found[:, : size - skip]",
    ),
    _JUDGES(
        "a judge that scores what stands behind the end of a sample",
        "mask = up_to_end(x, end)",
        "mask = None",
        "evaluation/test_judges.py::test_strings_are_judged_up_to_their_end",
    ),
    _JUDGES(
        "the judge reads samples at all sites, and windows of a text at their last ones",
        "mask = None if rows.mask is None else np.asarray(rows.mask)[numbers % len(rows)]",
        "mask = None",
        "evaluation/test_judges.py::test_samples_are_judged_at_the_sites_of_the_data",
    ),
    _COST(
        "a squared norm that holds the variance of its mean",
        "float(optax.tree_utils.tree_vdot(mean, mean)) - variance / num",
        "float(optax.tree_utils.tree_vdot(mean, mean)) + variance",
    ),
    Fault(
        "an error of sums as if their steps were independent",
        "evaluation/exposure.py",
        "summed_NS.mean(0), stderr_of(summed_NS))",
        "summed_NS.mean(0), np.sqrt(np.cumsum(stderr_of(kl_NS) ** 2)))",
        ("evaluation/test_exposure.py::test_errors_of_sums_and_of_ratios_know_that_steps_go_together",),
    ),
    Fault(
        "an excess that is 1 % too large",
        "evaluation/exposure.py",
        "return np.where(none, 0.0, 100 * (ratio_S - 1))",
        "return np.where(none, 0.0, 101 * (ratio_S - 1))",
        ("evaluation/test_exposure.py::test_errors_are_those_of_all_sequences",),
    ),
)
