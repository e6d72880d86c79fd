"""Faults of models of tables."""

from __future__ import annotations

from fault import Fault, faults_of

_TABLE, _COLUMNS = "tables/test_table_model.py::", "tables/test_columns.py::"
_ROUGH = "tables/test_rough_tables.py::"
_codes = faults_of("tables/columns.py", _COLUMNS + "test_numbers_of_a_column_add_up_to_one")
_finding = faults_of("tables/finding.py", _COLUMNS + "test_numbers_of_a_column_add_up_to_one")
_frames = faults_of("data/frames.py", "tables/test_frames.py::test_tiny_pieces_of_a_csv_file_give_the_same_cells")
_model = faults_of("tables/any_order.py", _TABLE + "test_one_pass_agrees_with_a_pass_for_each_column")
_engine = faults_of("tables/engine.py", _TABLE + "test_progressive_sampling_is_unbiased")
_GAUSSIAN = "tables/test_gaussian_table.py::"
_gaussian = faults_of("tables/gaussian.py", _GAUSSIAN + "test_rounded_numbers_have_the_mass_of_their_intervals")
_margin = faults_of("tables/margins.py", _GAUSSIAN + "test_margins_have_inverses_and_slopes")
_mixed = faults_of("tables/mixed.py", _GAUSSIAN + "test_a_mixture_of_engines")
_words = faults_of("tables/gaussian.py", "tables/test_gaussian_words.py::test_words_and_numbers_given_the_others")
_GUESSES, _HOLES = "tables/test_guessing.py::", "tables/test_holes_in_training.py::"
_guesses = faults_of("tables/guessing.py", _GUESSES + "test_weights_have_the_least_squared_error")
_results = faults_of("data/frames.py", _ROUGH + "test_results_of_rows_have_the_index_of_a_frame_of_pandas")
_files = faults_of("core/files.py", "tables/test_command.py::test_a_result_does_not_replace_a_file_that_is_read")
_one_site = faults_of(
    "networks/any_order/deep_nade.py",
    "networks/test_order_agnostic.py::test_the_features_of_one_site_are_those_that_all_sites_have",
)

TABLE_FAULTS = (
    _files(
        "the result of a command replaces the table or the model that it reads",
        "if any(user_path(each).resolve() == target.resolve() for each in read):",
        "if not target:",
    ),
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
        "parts = [] if condition is None else self.parts(condition)",
        "parts = []",
        _ROUGH + "test_draws_of_a_narrow_range_are_inside",
    ),
    _finding(
        "large numbers lose their cents",
        "noise = np.minimum(1e-6 * np.abs(scaled) + least, 5e-5)",
        "noise = 1e-6 * np.abs(scaled)",
        _ROUGH + "test_cents_of_large_numbers_are_seen",
    ),
    _finding(
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
        "if any(is_code(cells[i]) for i in np.flatnonzero(found == np.round(found)).tolist()):",
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
    _engine(
        "progressive sampling forgets the columns before",
        "total_N = total_N + log_mass_N",
        "total_N = log_mass_N",
    ),
    _model(
        "draws among all codes, whatever the condition",
        "p_NV = np.exp(self._digit(x_ND, observed_ND, c)) * most",
        "p_NV = np.exp(self._digit(x_ND, observed_ND, c))",
        _TABLE + "test_draws_follow_the_model",
    ),
    _model(
        "a first digit is drawn as if all codes under it were allowed where one is",
        "for digit in np.flatnonzero(least < most).tolist():",
        "for digit in ():",
        _TABLE + "test_draws_of_a_column_in_digits_follow_the_model",
    ),
    _model(
        "a large value is seen though it is not observed",
        "seen_ND = np.where(observed_ND, x_ND, np.nan)",
        "seen_ND = np.where(observed_ND | (x_ND > 1), x_ND, np.nan)",
        _TABLE + "test_the_table_of_a_site_is_that_of_its_features",
    ),
    _model(
        "a value that is not observed equals one that is 0",
        "varied = (array_ND != array_ND[:1]) & ~(np.isnan(array_ND) & np.isnan(array_ND[:1]))",
        "varied = np.nan_to_num(array_ND) != np.nan_to_num(array_ND[:1])",
        _TABLE + "test_equal_rows_are_computed_once",
    ),
    _one_site(
        "the features of one site see what is not observed",
        "observed_BD = observed_BD & observed",
        "pass",
    ),
    _one_site(
        "the features of one site do not know that a value is observed",
        "row_BU = (kernel_nU[:-1] + kernel_nU[-1])[values_BD[:, d].astype(jnp.int32)]",
        "row_BU = kernel_nU[:-1][values_BD[:, d].astype(jnp.int32)]",
    ),
    _model(
        "a column is asked without those before it",
        "observed_NC = observed_NC | asked_NC & (np.arange(observed_NC.shape[1]) == c)",
        "pass",
        _TABLE + "test_probabilities_add_up_to_one",
        _TABLE + "test_one_pass_agrees_with_a_pass_for_each_column",
    ),
    _gaussian("a rounded number has the density in its middle", "if margin.column.step:", "if False:"),
    _gaussian(
        "a density in steps, and not in the unit of the column",
        "return nats_N - sum(self.numbers[c].column.log_unit for c in factor.order[num_given:])",
        "return nats_N",
    ),
    _gaussian(
        "in the upper tail, probabilities near 1 are subtracted",
        "flip = low > 0  # in the upper tail",
        "flip = low > math.inf  # in the upper tail",
        _GAUSSIAN + "test_the_log_of_an_interval",
    ),
    _gaussian(
        "components without the evidence",
        "log_r_KN = self._log_weights[:, None] + self._in_order(cells_NC[some], before).sum(0)",
        "log_r_KN = self._log_weights[:, None] + np.zeros((1, len(some)))",
        _GAUSSIAN + "test_conditionals_are_ratios_of_the_joint_distribution",
    ),
    _margin(
        "the slope of a margin without its scale",
        "np.log1p(abs(t)) - math.log(self.scale * self.spread)",
        "np.log1p(abs(t))",
    ),
    _margin(
        "few irregular numbers have intervals of the smallest distance",
        "low, high = np.where(is_atom, self.edges[at], low), np.where(is_atom, self.edges[at + 1], high)",
        "pass",
        _GAUSSIAN + "test_a_few_irregular_numbers_share_the_line",
    ),
    _mixed("engines are mixed without the evidence", "if not np.isnan(cells_NC).all():", "if False:"),
    _engine(
        "responsibilities of evidence far away that do not add up to one",
        "log_p_KN = log_p_KN - log_p_KN.max(0)",
        "log_p_KN = log_p_KN - 0.0",
        _GAUSSIAN + "test_evidence_beyond_all_precision_has_probabilities",
    ),
    Fault(
        "known cells that are rounded when others are filled in",
        "tables/table.py",
        "np.where(known_N, exact_N, found[column.name])",
        "found[column.name]",
        ("tables/test_rough_tables.py::test_known_cells_stay_as_they_are",),
    ),
    Fault(
        "words of a csv file are numbers where all of them read as numbers",
        "data/frames.py",
        "list(self.places), not self.as_texts and self._are_numbers()",
        "list(self.places), self._are_numbers()",
        (_ROUGH + "test_words_of_a_csv_file_are_its_texts_whatever_the_other_rows_hold",),
    ),
    Fault(
        "a text that reads as a number is another word with this number",
        "tables/columns.py",
        "if isinstance(value, str) and not self.from_numbers:",
        "if False:",
        (_ROUGH + "test_words_of_a_csv_file_are_its_texts_whatever_the_other_rows_hold",),
    ),
    Fault(
        "a few real numbers that are far from each other have probabilities",
        "tables/finding.py",
        '"is_counted": step == 1,',
        '"is_counted": (step or _finest(different)) >= 1,',
        (_ROUGH + "test_a_few_real_numbers_have_densities_in_any_unit",),
    ),
    Fault(
        "numbers that differ are the same multiple of a step",
        "tables/finding.py",
        "and (apart | (np.diff(scaled) <= least)).all():",
        "and apart.size:",
        (_ROUGH + "test_numbers_that_hardly_differ_are_no_rounded_ones",),
    ),
    Fault(
        "large numbers that are all whole in float64",
        "tables/finding.py",
        "np.abs(known).max() <= _MOST_STEPS",
        "np.abs(known).max() <= math.inf",
        (_ROUGH + "test_large_numbers_are_real",),
    ),
    _gaussian(
        "the width of an interval is lost in the difference of its ends",
        "width = last - first if width is None else width",
        "width = last - first",
        _GAUSSIAN + "test_intervals_that_float64_loses_have_densities_times_their_length",
    ),
    _results(
        "completions without the index of the frame",
        "found.index = data.index",
        "pass",
    ),
    _results(
        "completions with texts as names of columns",
        "full.columns = [*data.columns, *added] if len(added) else data.columns",
        "pass",
        _ROUGH + "test_names_of_columns_stay_as_they_are",
    ),
    _words(
        "words that tell nothing about numbers",
        "log_r_KN = log_r_KN + self._of_words(cells_NC[some], given)",
        "log_r_KN = log_r_KN + 0.0",
    ),
    _words(
        "words that are drawn whatever a condition allows",
        "allowed_NV = p_NV if condition is None else p_NV * self.words[c].column.weights(condition)",
        "allowed_NV = p_NV",
        "tables/test_gaussian_words.py::test_words_are_drawn_as_often_as_they_are_probable",
    ),
    _words(
        "evidence of words left out of a conditional",
        "before_KN = self._of_words(cells_NC, given) + log_p_SKN[:num_given].sum(0)",
        "before_KN = log_p_SKN[:num_given].sum(0)",
        "tables/test_gaussian_words.py::test_any_columns_given_any_others",
    ),
    _mixed(
        "best guesses with the weights of the distribution",
        "zip(self.guess_weights[kind], self.engines, strict=True)",
        "zip(self.weights, self.engines, strict=True)",
        _GUESSES + "test_the_engine_with_the_smallest_errors_guesses",
    ),
    _guesses(
        "guesses are chosen by cells that the engines see",
        "return Hidden(cells_NC[rows], known_NC & ~hidden_NC, known_NC & hidden_NC)",
        "return Hidden(cells_NC[rows], known_NC, known_NC & hidden_NC)",
        _GUESSES + "test_hidden_cells_are_known_ones_and_none_is_given",
    ),
    _guesses(
        "guesses are chosen by errors in the units of the columns",
        "scale = np.nanstd(hidden.cells[:, c]) or 1.0",
        "scale = 1.0",
    ),
    Fault(
        "means that are always rounded",
        "tables/table.py",
        "return column.rounded(guess_N) if rounded and isinstance(column, Numbers) else guess_N",
        "return column.rounded(guess_N) if isinstance(column, Numbers) else guess_N",
        (_GUESSES + "test_means_are_rounded_as_the_column_is_unless_they_are_asked_for",),
    ),
    Fault(
        "mixtures of Gaussians of the rows without missing cells",
        "tables/gaussian_fitting.py",
        "found, r_NK = em_with_holes(read_NE, found, options.floor, _ITERATIONS, end)",
        "found, r_NK = em_with_holes(read_NE, found, options.floor, 0, end)",
        (_HOLES + "test_cells_missing_at_random_leave_mixtures_of_gaussians_unbiased",),
    ),
    Fault(
        "expected values of missing cells without their spread",
        "models/gaussian_holes.py",
        'second_KDD += np.einsum("pk,pkij->kij", r_PK, spread_PKDD)',
        "pass",
        (_HOLES + "test_em_reads_rows_with_missing_values_as_they_are",),
    ),
)
