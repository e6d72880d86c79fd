"""Faults of models of tables."""

from __future__ import annotations

from fault import faults_of

_TABLE, _COLUMNS = "tables/test_table_model.py::", "tables/test_columns.py::"
_ROUGH = "tables/test_rough_tables.py::"
_codes = faults_of("tables/columns.py", _COLUMNS + "test_numbers_of_a_column_add_up_to_one")
_frames = faults_of("data/frames.py", "tables/test_frames.py::test_tiny_pieces_of_a_csv_file_give_the_same_cells")
_model = faults_of("tables/any_order.py", _TABLE + "test_one_pass_agrees_with_a_pass_for_each_column")

TABLE_FAULTS = (
    _codes(
        "the numbers of an interval are one too many",
        "size = (high - low) / self.step + 1 if self.step else high - low",
        "size = (high - low) / self.step + 2 if self.step else high - low",
    ),
    _codes(
        "no probability is left for numbers that training never saw",
        "inside = np.log1p(-novel) - np.log(size)",
        "inside = -np.log(size)",
    ),
    _codes(
        "a range that leaves its last number out",
        "return start, np.clip(last - start + 1, 0, None)",
        "return start, np.clip(last - start, 0, None)",
        _COLUMNS + "test_a_condition_cuts_an_interval",
    ),
    _codes(
        "ranges that overlap count twice",
        "if parts and first <= parts[-1][1] + 2e-4 * self.step:",
        "if False:",
        _ROUGH + "test_ranges_that_overlap_count_once",
    ),
    _codes(
        "draws anywhere in a code, whatever the range",
        "parts = [] if condition is None else self._parts(condition)",
        "parts = []",
        _ROUGH + "test_draws_of_a_narrow_range_are_inside",
    ),
    _codes(
        "large numbers lose their cents",
        "noise = np.minimum(1e-6 * np.abs(scaled) + 1e-13 * np.abs(scaled).max(), 5e-5)",
        "noise = 1e-6 * np.abs(scaled)",
        _ROUGH + "test_cents_of_large_numbers_are_seen",
    ),
    _codes(
        "the row of a stray value is counted in the train rows",
        'column = column if kind == "skip" else _of_kind(name, column, kind)',
        'column = column if kind == "skip" else _of_kind(name, column if rows is None else column[rows], kind)',
        _ROUGH + "test_the_row_of_a_stray_value_is_that_of_the_whole_table",
    ),
    _codes(
        "a number between two codes has the lower one",
        "return np.where(gaps, MISSING, np.where(nearer, after, code))",
        "return np.where(gaps, MISSING, code)",
        _COLUMNS + "test_the_nearest_code_stands_for_a_number_between",
    ),
    _frames(
        "007 that comes late in a csv file is a number",
        "if any(_is_code(cells[i]) for i in np.flatnonzero(found == np.round(found)).tolist()):",
        "if False:",
    ),
    _frames(
        "a word that comes late in a csv file leaves no column",
        "if texts:  # of columns of numbers in which a word comes late",
        "if False:",
    ),
    _model(
        "a missing cell is code 0",
        "x_ND[:, site] = np.where(codes == MISSING, np.nan, digit)",
        "x_ND[:, site] = np.where(codes == MISSING, 0, digit)",
    ),
    _model(
        "digits of codes that there are not have a part of the probability",
        "nats_ND[:, self.sites.of_column[c][1]] -= self._log_there(x_ND, codes_NC[:, c], order, c)",
        "continue",
    ),
    _model(
        "progressive sampling forgets the columns before",
        "total_N = total_N + log_mass_N",
        "total_N = log_mass_N",
        _TABLE + "test_progressive_sampling_is_unbiased",
    ),
    _model(
        "draws among all codes, whatever the condition",
        "p_NV = np.exp(self._digit(x_ND, observed_ND, c)) * allowed.max(1)",
        "p_NV = np.exp(self._digit(x_ND, observed_ND, c))",
        _TABLE + "test_draws_follow_the_model",
    ),
    _model(
        "a column is asked without those before it",
        "observed_NC = observed_NC | asked_NC & (np.arange(observed_NC.shape[1]) == c)",
        "pass",
        _TABLE + "test_probabilities_add_up_to_one",
        _TABLE + "test_one_pass_agrees_with_a_pass_for_each_column",
    ),
)
