"""The study of restored vowels: answers are compared with fragments, and a line of the page is a mean over seeds."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def study(monkeypatch):
    path = Path(__file__).resolve().parents[2] / "experiments/seq2seq/exact_match.py"
    monkeypatch.syspath_prepend(str(path.parent))
    monkeypatch.delitem(sys.modules, "sweep", raising=False)
    spec = importlib.util.spec_from_file_location("exact_match", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("sweep", None)


def test_answers_are_counted_by_whole_fragments_and_by_characters(study):
    assert [study.distance("kitten", other) for other in ("sitting", "kitten", "", "mitten")] == [3, 0, 6, 1]
    found = study.scores(["abcd", "ab", "a", "abc"], ["abcd", "b", "a", ""])
    assert found[study.EXACT_MATCH] == (0.5, 0.25)
    errors, sizes = np.array([0, 1, 0, 3]), np.array([4, 2, 1, 3])
    stderr = np.std(errors - 0.4 * sizes, ddof=1) / 2 / 2.5
    np.testing.assert_allclose(found[study.ERROR_RATE], [0.4, stderr], rtol=1e-6)


def row(model, metric, value, seed):
    return {"model": model, "metric": metric, "value": str(value), "value_stderr": "0.01", "seed": str(seed)}


def test_a_line_is_the_mean_over_the_seeds_that_are_there(study):
    rows = [row("A", study.NATS, 0.5, 0), row("B", study.NATS, 0.4, 0), row("B", study.NATS, 0.6, 1)]
    rows += [row("B, greedy", study.EXACT_MATCH, 0.2, 0)]
    rows += [row(f"B, {study.BEAM}", study.EXACT_MATCH, value, seed) for seed, value in enumerate((0.2, 0.3))]
    first, second = study.page_rows(rows)
    assert first == ["A", "1", "0.5000 ± 0.0100", "", "", "", "", ""]
    # draws were not measured; greedy was for one seed of two
    assert second == ["B", "2", "0.5000 ± 0.1000", "", "", "0.2500 ± 0.0500", "", ""]
