"""Faults of rows by names and units, of labels, and of classes by Bayes' rule."""

from __future__ import annotations

from fault import faults_of

_rows = faults_of("data/table_rows.py", "data/test_table_rows.py::test_every_form_of_a_table_is_the_same_array")
_cells = faults_of("data/column_form.py", "data/test_table_rows.py::test_a_boolean_is_the_word_of_the_file")
_classes = faults_of("evaluation/classes.py", "api/test_rows.py::test_posteriors_are_those_of_bayes_rule")
_strings = faults_of("data/strings.py", "data/test_labelled_strings.py::test_labels_stay_beside_their_strings")
_given = faults_of("api/trained_model.py", "api/test_rows.py::test_a_normal_distribution_has_the_numbers_of_the_books")
_files = faults_of("cli/new_rows.py", "cli/test_new_rows.py::test_arrays_are_in_the_units_of_the_data")
_compared = faults_of(
    "evaluation/comparison.py", "evaluation/test_comparison.py::test_a_paired_difference_is_the_paired_test_by_hand"
)

ROW_FAULTS = (
    _compared(
        "the error of a paired difference is that of two means",
        "stderr=float(stderr_of(nats_N)) if len(nats_N) > 1 else math.nan,",
        "stderr=math.hypot(float(stderr_of(first_SN.mean(0))), float(stderr_of(second_TN.mean(0)))),",
    ),
    _compared(
        "seeds do not count for a tie",
        "TIE * np.fmax(self.stderr, self.seeds_stderr)",
        "TIE * self.stderr",
        "evaluation/test_comparison.py::test_seeds_have_an_error_of_their_own_and_a_copy_is_a_tie",
    ),
    _rows(
        "columns of other rows are taken in the order of the frame",
        "column.read(found[column.name], place, unknown, remedy)",
        "column.read(list(found.values())[i], place, unknown, remedy)",
    ),
    _rows(
        "other rows are centred and not scaled",
        "else (values_ND - self.shift) / self.scale",
        "else values_ND - self.shift",
    ),
    _rows(
        "missing cells of other rows go to models that take none",
        "if missing_ND.any() and not holes:",
        "if False:",
        "data/test_table_rows.py::test_mistakes_are_one_sentence",
    ),
    _cells(
        "truth values are written in the way of Python alone",
        "return [str(cell), str(cell).lower(), str(cell).upper(), str(int(cell))]",
        "return [str(cell), str(int(cell))]",
    ),
    _cells(
        "levels are told apart by how they are written",
        "found |= {Decimal(word): level for level, word in enumerate(self.words) if is_number(word)}",
        "pass",
        "data/test_table_rows.py::test_numbers_are_levels_however_they_are_written",
    ),
    _classes(
        "a class that makes an example likely is unlikely",
        "log_joint_CN = log_prior_C[:, None] - np.stack(",
        "log_joint_CN = log_prior_C[:, None] + np.stack(",
    ),
    _classes(
        "the frequencies of classes have no effect",
        "return np.log(weights_C / weights_C.sum())",
        "return np.log(0 * weights_C + 1 / classes.num)",
    ),
    _classes(
        "all classes are scored as the first one",
        "context=self.classes.context(self.number, len(rows))",
        "context=self.classes.context(0, len(rows))",
    ),
    _classes(
        "combinations of classes are counted with the axes exchanged",
        "values = np.unravel_index(number, self.shape)",
        "values = np.unravel_index(number, self.shape[::-1])[::-1]",
        "api/test_rows.py::test_posteriors_of_several_classes_are_those_of_all_combinations",
    ),
    _strings(
        "the labels of long strings move to others when these are left out",
        "own = [labels[split][n] for n in kept]",
        "own = labels[split][: len(kept)]",
    ),
    _given(
        "a query without evidence is a marginal",
        "given = ~asked if evidence is None",
        "given = np.zeros_like(asked) if evidence is None",
    ),
    _files(
        "arrays in files are taken as standardised",
        "run.source(run.standardise(x), context)",
        "run.source(x, context)",
    ),
)
