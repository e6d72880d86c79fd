"""The study of restored vowels: answers are compared with fragments, and a line of the page is a mean over seeds."""

from __future__ import annotations

import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.sweep.results import COLUMNS, read_csv, write_csv


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
    rows = [row("A", study.NATS, 0.5, 0), row("B", study.NATS, 0.4, 0), row("B", study.NATS, 0.6, 1)]
    rows += [row("B, greedy", study.EXACT_MATCH, 0.2, 0)]
    rows += [row(f"B, {study.BEAM}", study.EXACT_MATCH, value, seed) for seed, value in enumerate((0.2, 0.3))]
    first, second = study.page_rows(rows)
    assert first == ["A", "1", "0.5000 ± 0.0100", *[""] * 6]
    # draws were not measured; greedy was for one seed of two
    assert second == ["B", "2", "0.5000 ± 0.1000", "", "", "0.2500 ± 0.0500", "", "", "0.3500 ± 0.0500"]
    rows[-1]["validation"] = ""  # of one seed of two
    assert study.page_rows(rows)[1] == [*second[:-1], ""]


def full_row(name, model, metric="nll_nats_per_char", value="0.5"):
    row = dict.fromkeys(COLUMNS, "") | {"model": model, "metric": metric, "value": value, "value_stderr": "0.01"}
    return row | {"seed": "0", "command": f"arjax --config=c.py --workdir=runs/{name}"}


def test_rows_of_runs_in_other_folders_stay(study, tmp_path, monkeypatch):
    """Of three runs one was scored before, one lies in the folder, and of one nothing is left."""
    workdir, out = tmp_path / "runs", tmp_path / "page"
    out.mkdir()
    (workdir / "attention").mkdir(parents=True)
    (workdir / "attention" / "results.json").write_text("{}")
    (out / "README.md").write_text("Before.\n\n<!-- measured -->\n<!-- end measured -->\n\nAfter.\n")
    earlier = full_row("reversed", "LSTM, greedy", study.EXACT_MATCH, "0.125")
    write_csv(out / "results.csv", [full_row("reversed", "LSTM"), earlier])
    write_csv(workdir / "results.csv", [full_row("attention", "Transformer"), full_row("forward", "other LSTM")])

    def answers(folder, samplers, split):
        return ["ab", "ef" if split else "cd"], {sampler: ["ab", "ef"] for sampler in samplers}

    monkeypatch.setattr(study, "answers", answers)
    assert study.main([str(workdir), f"--out={out}"]) == 0

    rows = read_csv(out / "results.csv")
    exact = {row["model"]: float(row["value"]) for row in rows if row["metric"] == study.EXACT_MATCH}
    assert exact == {"LSTM, greedy": 0.125} | {f"Transformer, {sampler}": 0.5 for sampler in study.SAMPLERS}
    assert {row["model"] for row in rows if row["metric"] == study.NATS} == {"LSTM", "Transformer", "other LSTM"}
    assert {row["validation"] for row in rows if row["model"] == "Transformer, greedy"} == {"1", "0"}  # none is wrong
    page = (out / "README.md").read_text()
    assert page.startswith("Before.") and page.rstrip().endswith("After.") and "| other LSTM " in page

    monkeypatch.setattr(study, "answers", lambda folder, samplers, split: (["ab"], {name: ["ab"] for name in samplers}))
    assert study.main([str(workdir), f"--out={out}", "--samplers=greedy"]) == 0
    rows = read_csv(out / "results.csv")
    exact = {row["model"]: float(row["value"]) for row in rows if row["metric"] == study.EXACT_MATCH}
    assert exact["Transformer, greedy"] == 1 and exact["Transformer, cached"] == 0.5
    with pytest.raises(UserError, match="--samplers are some of"):
        study.main([str(workdir), f"--out={out}", "--samplers=gredy"])

    (workdir / "attention" / "results.json").unlink()
    with pytest.raises(UserError, match="no finished run"):
        study.main([str(workdir), f"--out={out}"])
