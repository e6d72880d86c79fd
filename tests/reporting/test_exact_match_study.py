"""The study of restored vowels: answers are compared with fragments, and a line of the page is a mean over seeds."""

import numpy as np
import pytest


@pytest.fixture
def study(load_script):
    return load_script("experiments/seq2seq/exact_match.py")


def test_answers_are_counted_by_whole_fragments_and_by_characters(study):
    assert [study.distance("kitten", other) for other in ("sitting", "kitten", "", "mitten")] == [3, 0, 6, 1]
    found = study.scores(["abcd", "ab", "a", "abc"], ["abcd", "b", "a", ""])
    assert found[study.EXACT_MATCH] == (0.5, 0.25)
    errors, sizes = np.array([0, 1, 0, 3]), np.array([4, 2, 1, 3])
    stderr = np.std(errors - 0.4 * sizes, ddof=1) / 2 / 2.5
    np.testing.assert_allclose(found[study.ERROR_RATE], [0.4, stderr], rtol=1e-6)


def row(model, metric, value, seed):
    both = {"value": str(value), "value_stderr": "0.01", "validation": str(value + 0.1), "validation_stderr": "0.02"}
    return {"model": model, "metric": metric, "seed": str(seed)} | both


def test_a_line_is_the_mean_over_the_seeds_that_are_there(study):
    rows = [row("A", study.NATS, 0.5, 0), row(f"A, {study.BEAM}", study.EXACT_MATCH, 0.1, 0)]
    rows += [row("B", study.NATS, value, seed) for seed, value in enumerate((0.4, 0.5, 0.9))]
    rows += [row("B, greedy", study.EXACT_MATCH, 0.2, 0)]
    rows += [row(f"B, {study.BEAM}", study.EXACT_MATCH, value, seed) for seed, value in enumerate((0.2, 0.3, 0.4))]
    first, second = study.page_rows(rows)
    assert first == ["A", "1", "0.5000 ± 0.0100", "", "", "0.1000 ± 0.0100", "", "", "0.2000 ± 0.0200"]
    # draws were not measured; greedy was for one seed of three
    assert second == ["B", "3", "0.6000 ± 0.1528", "", "", "0.3000 ± 0.0577", "", "", "0.4000 ± 0.0577"]
    rows[-1]["validation"] = ""  # of two seeds of three
    assert study.page_rows(rows)[1] == [*second[:-1], ""]
