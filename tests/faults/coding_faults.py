"""Faults of the lossless coder."""

from __future__ import annotations

from fault import Fault, faults_of

_TRIPS, _TEXTS, _DAMAGE = "coding/test_round_trips.py::", "coding/test_texts.py::", "coding/test_damage.py::"
_steps = faults_of("samplers/stepwise.py", _TRIPS + "test_a_mixture_in_one_order_is_coded_by_the_weights_of_bayes")
_texts = faults_of("coding/texts.py", _TEXTS + "test_tokens_and_exceptions_are_the_file")
_container = faults_of("coding/container.py", _DAMAGE + "test_each_flipped_bit_is_noticed")
_coder = faults_of("coding/coder.py", _DAMAGE + "test_other_probabilities_are_noticed_before_and_other_values_behind")

CODING_FAULTS = (
    Fault(
        "a cache that grows and forgets its past",
        "samplers/stepwise.py",
        "self._carries[k], self._pasts[k]\n",
        "self._carries[k], None\n",
        (_TRIPS + "test_a_cache_that_grows_keeps_its_past",),
    ),
    Fault(
        "chosen values that lose their fractions",
        "samplers/asking.py",
        'if found.shape != shape or found.dtype.kind not in "iu":',
        "if found.shape != shape:",
        (_TRIPS + "test_values_of_another_shape_or_type_are_refused",),
    ),
    _steps(
        "a mixture whose weights never change",
        "jax.nn.log_softmax(log_weight_KB + given_KB, axis=0)",
        "jax.nn.log_softmax(log_weight_KB, axis=0)",
    ),
    _steps(
        "a mixture whose weights know the scalar that is coded",
        "(jnp.arange(values_Bn.shape[1]) < j)",
        "(jnp.arange(values_Bn.shape[1]) <= j)",
    ),
    Fault(
        "rows that fill up a batch and are coded, too",
        "coding/examples.py",
        "goes_on_B = np.arange(num) < real",
        "goes_on_B = np.arange(num) < num",
        (_TRIPS + "test_steps_of_several_sites_of_different_sizes",),
    ),
    Fault(
        "bits for what stands behind the end of a string",
        "coding/examples.py",
        "goes_on_B[:] &= values_Bk[:, 0] != end",
        "goes_on_B[:] &= True",
        (_TRIPS + "test_behind_the_end_of_a_string_nothing_is_coded",),
    ),
    Fault(
        "bits per character over the padding of strings, too",
        "cli/compressing.py",
        "array = array[up_to_end(array, end)]",
        "array = array[up_to_end(array, end) | True]",
        ("cli/test_compressing.py::test_strings_are_counted_up_to_their_ends",),
    ),
    Fault(
        "values behind an end that are coded, and not counted",
        "core/ends.py",
        "return bool((x_BT[~up_to_end(x_BT, end)] == end).all())",
        "return True",
        ("cli/test_compressing.py::test_strings_are_counted_up_to_their_ends",),
    ),
    Fault(
        "columns with the table of another family",
        "conditionals/columns.py",
        "jnp.where((self.group_M == g)[:, None], own, found)",
        "jnp.where((self.group_M != g)[:, None], own, found)",
        (_TRIPS + "test_columns_without_reals_come_back_and_others_are_refused",),
    ),
    _texts(
        "exceptions one place too early",
        "np.diff(places, prepend=-1) - 1",
        "np.diff(places, prepend=0)",
    ),
    _texts(
        "numbers of more than seven bits that lose some",
        "number >>= 7",
        "number >>= 8",
    ),
    Fault(
        "windows that begin without the tokens before",
        "coding/texts.py",
        "start, first = last - overlap, last",
        "start, first = last, last",
        (_TEXTS + "test_a_window_slides_and_begins_with_the_tokens_before",),
    ),
    _container(
        "chunks whose checksum nobody reads",
        "if _crc(chunk) != crc:",
        "if _crc(chunk) == b'':",
    ),
    _container(
        "a header whose checksum nobody reads",
        "if self.take(4) != _crc(part):",
        "if self.take(4) == b'':",
    ),
    _coder(
        "tables that are not compared before",
        'if header["probe"] != _probe(found, job.batch):',
        'if header["probe"] == "":',
    ),
    _coder(
        "data that are not compared behind",
        'if zlib.crc32(_as_bytes(found)) != header.get("sum"):',
        'if header["sum"] == "":',
    ),
    Fault(
        "a file that is decoded anywhere",
        "coding/place.py",
        "if there.get(name) != here[name]:",
        'if name == "model" and there.get(name) != here[name]:',
        (_DAMAGE + "test_another_place_is_refused",),
    ),
    Fault(
        "improbable values without a limit of their bits",
        "samplers/stepwise.py",
        "LEAST = 2.0**-24",
        "LEAST = 2.0**-30",
        (_DAMAGE + "test_improbable_values_cost_24_bits_at_most",),
    ),
)
