"""Faults of missing values: some that are seen, scored or counted, and gradients that are no numbers."""

from __future__ import annotations

from fault import Fault, faults_of

_LAW = "laws/test_holes.py::test_missing_values_are_left_out"
_DATA, _MODELS = "data/test_holes.py::", "models/test_holes.py::"

_any_order = faults_of("networks/any_order/order_agnostic.py", _LAW)
_two_stream = faults_of("networks/any_order/two_stream.py", _LAW)
_model = faults_of("models/autoregressive.py", _MODELS + "test_features_and_scores_of_sites")
_sources = faults_of("data/sources.py", _DATA + "test_masks_of_batches_are_0_where_values_are_missing")

HOLE_FAULTS = (
    _any_order(
        "missing values that the network sees as 0",
        "return values, observed & present",
        "return values, observed",
    ),
    Fault(
        "missing values whose gradient is no number",
        "networks/any_order/masked_transformer.py",
        "values_BDE = self.value(values_BDv, sites_D)",
        "values_BDE = self.value(flat_sites(x, self.event), sites_D)",
        (_LAW,),
    ),
    _two_stream(
        "attention to the contents of missing sites",
        "return exists_C & jnp.pad(",
        "return exists_C | jnp.pad(",
    ),
    Fault(
        "missing values in blocks that are scored jointly",
        "models/autoregressive.py",
        "if self.event.is_discrete or scores_blocks(self.conditional, self.factorization):",
        "if self.event.is_discrete:",
        ("laws/test_holes.py::test_blocks_that_are_scored_jointly_refuse_them",),
    ),
    _model(
        "missing values that take the scores of blocks with them",
        "return jnp.where(present, number(head, features, x, factorization), 0.0)",
        "return jnp.where(present & (factorization.block_size == 1), number(head, features, x, factorization), 0.0)",
        "laws/test_holes.py::test_missing_values_within_blocks_are_left_out",
    ),
    Fault(
        "columns whose missing words are the first word",
        "networks/layers/embedding.py",
        "return jnp.where(is_present(x, 0)[..., None], inputs, jnp.nan)",
        "return inputs",
        (_LAW,),
    ),
    _model(
        "missing values that are scored as 0",
        "return jnp.where(present, number(head, features, x, factorization), 0.0)",
        "return number(head, features, x, factorization)",
    ),
    _sources(
        "missing values count where there is no mask",
        "mask = present if mask is None else present & (mask > 0)",
        "mask = mask if mask is None else present & (mask > 0)",
    ),
    _sources(
        "missing values count where the mask does not say otherwise",
        "mask = present if mask is None else present & (mask > 0)",
        "mask = present if mask is None else mask > 0",
    ),
    _sources(
        "missing values make equal splits different",
        "return np.array_equal(a, b, equal_nan=is_real_type(a.dtype) and is_real_type(b.dtype))",
        "return np.array_equal(a, b)",
        _DATA + "test_what_reads_the_values_of_a_set_reads_those_that_are_there",
    ),
    Fault(
        "means of columns in which missing values are 0",
        "data/standardised.py",
        "np.nanmean(known, 0), np.where",
        "np.nan_to_num(known).mean(0), np.where",
        (_DATA + "test_empty_cells_of_a_table_are_missing_values",),
    ),
    Fault(
        "a training on missing values of a network that takes none",
        "training/setup.py",
        "if not model.takes_holes:",
        "if False:",
        (_MODELS + "test_what_takes_none_refuses_them_before_the_training",),
    ),
)
