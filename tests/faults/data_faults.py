"""Faults of data that lose or merge something without a word, and of what is accepted and ignored."""

from __future__ import annotations

from fault import Fault

_doubts = "data/test_table_doubts.py::"
_splits = "data/test_split_files.py::"

_arrays = "data/test_small_parts.py::test_arrays_in_standard_units"

DATA_FAULTS = (
    Fault(
        "masked sites count in the mean and the deviation of standardised arrays",
        "data/standardised.py",
        "return np.where(scored | (present & is_given), x, np.nan)",
        "return np.where(present, x, np.nan)",
        (_arrays,),
    ),
    Fault(
        "patches of images that are not standardised",
        "data/images.py",
        "(levels + np.float32(0.5) - shift_32) / scale_32",
        "levels",
        ("data/test_small_parts.py::test_patches_are_pieces_of_images",),
    ),
    Fault(
        "the padding behind all train series counts in the mean and the deviation that all sites share",
        "data/standardised.py",
        'axis=0 if units == "sites" else None',
        "axis=0",
        ("data/test_small_parts.py::test_padding_beyond_the_longest_train_series_has_no_part_in_common_units",),
    ),
    Fault(
        "entries of a value that are standardised alike at all sites have one mean",
        "data/standardised.py",
        "rows = rows.reshape(-1, *event.value_shape)",
        "rows = np.broadcast_to(rows.reshape(-1, 1), (rows.size, *event.value_shape))",
        (_arrays,),
    ),
    Fault(
        "nats of the training are those of standardised values",
        "training/step.py",
        "nll=loss.metrics.nll + units)",
        "nll=loss.metrics.nll)",
        ("api/test_arrays.py::test_arrays_in_standard_units_are_scored_in_their_own",),
    ),
    Fault(
        "levels of a table are told apart as float64 tells them",
        "data/table_columns.py",
        "return np.array([Decimal(cell) for cell in cells], object)",
        "return numbers",
        (_doubts + "test_numbers_that_float64_merges_are_levels_of_their_own_and_no_real_values",),
    ),
    Fault(
        "identifiers of which no two are one float64 are measurements",
        "data/table_columns.py",
        "(one_each and min(map(abs, numbers)) >= FIRST_MERGED) or column.merges",
        "column.merges",
        (_doubts + "test_identifiers_are_named_and_refused_or_left_out",),
    ),
    Fault(
        "words that are stated are numbers where they can be",
        "data/table_columns.py",
        "are_numbers = not as_words and self.is_numeric",
        "are_numbers = self.is_numeric",
        (_doubts + "test_as_words_they_are_kept_as_they_are_written",),
    ),
    Fault(
        "a shift of float32, which rounds columns around a large number",
        "data/standardised.py",
        'return {"scale": scale, "shift": shift}',
        'return {"scale": scale, "shift": shift.astype(np.float32)}',
        (_doubts + "test_a_column_that_varies_little_around_a_large_number_keeps_its_digits",),
    ),
    Fault(
        "real values of integer types are not compared after their conversion",
        "core/arrays.py",
        "merged = differ & (high.astype(np.float32) == low.astype(np.float32))",
        "merged = differ & (high == low)",
        (_doubts + "test_arrays_whose_values_float32_would_merge_are_refused",),
    ),
    Fault(
        "an array of a misspelled name is something extra",
        "data/sources.py",
        "if key not in (*ARRAYS, *extra):",
        "if False:",
        ("data/test_datasets.py::test_arrays_that_do_not_fit_are_refused",),
    ),
    Fault(
        "a copy of the training file is another file",
        "data/sources.py",
        "a.samefile(b) or filecmp.cmp(a, b, shallow=False) for",
        "a.samefile(b) for",
        (_splits + "test_two_splits_of_one_content_are_refused",),
    ),
    Fault(
        "a run starts from parameters of other levels",
        "training/setup.py",
        '_MEANING = ("kind", "num_levels", "value_shape", "name")',
        '_MEANING = ("kind", "value_shape", "name")',
        ("training/test_init_from.py::test_the_same_parameters_under_other_meanings_are_said_or_refused",),
    ),
    Fault(
        "an argument that goes to another function is not looked at",
        "core/arguments.py",
        "known = _names(called) | (set() if like is None else _names(like))",
        "known, like = _names(called), None",
        ("api/test_argument_names.py::test_it_is_told_with_the_nearest_name",),
    ),
    Fault(
        "pilots are chosen on the test split",
        "sweep/table.py",
        "return math.nan if results is None else validation_of(metric, results, folder)[0]",
        "return math.nan if results is None else results[metric]",
        ("sweep/test_pilots.py::test_a_run_takes_the_fields_of_the_best_pilot_that_it_lacks",),
    ),
)
