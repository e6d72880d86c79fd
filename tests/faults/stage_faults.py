"""Faults of stages, cascades and recoded data."""

from __future__ import annotations

from fault import Fault, faults_of

_LAWS, _CASCADE = "laws/test_laws_of_stages.py::", "models/test_cascade.py::"
_digits = faults_of("stages/digits.py", _LAWS + "test_cuts_invert_and_limits_are_tight")
_cascade = faults_of("models/cascade.py", _CASCADE + "test_the_score_is_the_sum_of_the_stages")

STAGE_FAULTS = (
    _digits(
        "a last digit that may exceed the largest value",
        "high = jnp.where(is_largest, largest // self._place(k) % self.base, self.base - 1)",
        "high = jnp.full(is_largest.shape, self.base - 1)",
    ),
    Fault(
        "differences that leave a value of a pair out",
        "stages/haar.py",
        "most = jnp.minimum(2 * mean + 1, 2 * (self._top - mean))",
        "most = jnp.minimum(2 * mean, 2 * (self._top - mean))",
        (_LAWS + "test_cuts_invert_and_limits_are_tight",),
    ),
    Fault(
        "a pair that is rounded the wrong way",
        "stages/haar.py",
        "first = x + (difference + 1) // 2",
        "first = x + difference // 2",
        (_LAWS + "test_cuts_invert_and_limits_are_tight",),
    ),
    Fault(
        "averaged scales that are called exact",
        "stages/averaged.py",
        "exact = False",
        "exact = True",
        (_CASCADE + "test_a_bound_is_below_the_sum_over_all_coarser_pictures",),
    ),
    Fault(
        "the probability of values that cannot occur is lost",
        "conditionals/limited.py",
        "        return restricted(self.family.log_table(own), allowed)",
        "        return jnp.where(allowed, self.family.log_table(own), -jnp.inf)",
        (_CASCADE + "test_values_that_cannot_occur_have_no_probability",),
    ),
    _cascade(
        "noise on coarser stages outside of training",
        "if train and self.noise else None",
        "if key is not None and self.noise else None",
        _CASCADE + "test_noise_is_on_what_parts_read_in_training_alone",
    ),
    _cascade(
        "some stages of a shared part that count as all of them",
        "total = total * num / self.train_stages",
        "total = total",
        _CASCADE + "test_some_stages_of_a_shared_part_have_the_whole_score_as_their_mean",
    ),
    _cascade(
        "observed sites behind others that are drawn without them",
        "if k > open_since and mask.any()), None)",
        "if k > len(masks) and mask.any()), None)",
        _CASCADE + "test_observed_sites_are_those_of_whole_stages_and_of_the_next_one",
    ),
    Fault(
        "drafts of recoded data that are refused behind the training",
        "models/recoded.py",
        "        if sampler.has_arrays:",
        "        if False:",
        (_CASCADE + "test_samplers_of_recoded_data_have_no_drafts",),
    ),
    Fault(
        "a mask of recoded data that is that of the first digits alone",
        "models/recoded.py",
        "jnp.concatenate(self.cut.masks(checked.mask), 1)",
        "jnp.concatenate([checked.mask] + [0 * each for each in self.cut.masks(checked.mask)[1:]], 1)",
        (_CASCADE + "test_recoded_data_are_scored_and_drawn_as_their_digits",),
    ),
    Fault(
        "a part that begins with the parameters of the whole run",
        "training/setup.py",
        "model=other.model.named_parts[name], params=other.params[name])",
        "model=other.model.named_parts[name], params=other.params)",
        ("training/test_parts_apart.py::test_parts_come_from_runs_of_the_part_or_of_a_whole_cascade",),
    ),
    Fault(
        "sets of a scale that are counted in sites of the finest one",
        "factorization/orderings.py",
        "set_D * interleave + coordinate_D // spacing_D % interleave",
        "set_D * interleave + coordinate_D % interleave",
        ("factorization/test_partitions.py::test_blocks",),
    ),
)
