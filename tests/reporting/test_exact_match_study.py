"""The study of restored vowels: answers are compared with fragments, and a line of the page is a mean over seeds."""

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


def full_row(name, model, metric="nll_nats_per_char", value="0.5", **more):
    row = dict.fromkeys(COLUMNS, "") | {"model": model, "metric": metric, "value": value, "value_stderr": "0.01"}
    return row | {"seed": "0", "command": f"arjax --config=c.py --workdir=runs/{name}"} | more


@pytest.fixture
def folders(study, tmp_path, monkeypatch):
    """A workdir with a finished run and one that is gone; a page and a table with a row of a third; the scored."""
    workdir, out = tmp_path / "runs", tmp_path / "page"
    out.mkdir()
    (workdir / "attention").mkdir(parents=True)
    (workdir / "attention" / "results.json").write_text("{}")
    (out / "README.md").write_text("Before.\n\n<!-- measured -->\n<!-- end measured -->\n\nAfter.\n")
    earlier = full_row("reversed", "LSTM, greedy", study.EXACT_MATCH, "0.125")
    write_csv(out / "results.csv", [full_row("reversed", "LSTM"), earlier])
    first = full_row("attention", "Transformer", train_minutes="3", validation="0.4", kind="exact")
    first["command"] += f" --config.train.init_from={workdir}/other"
    write_csv(workdir / "results.csv", [first, full_row("forward", "other LSTM")])
    scored = []

    def answers(folder, samplers, split):
        scored.append((folder, split))
        return ["ab", "ef" if split else "cd"], {sampler: ["ab", "ef"] for sampler in samplers}

    monkeypatch.setattr(study, "answers", answers)
    return workdir, out, scored


def exact_in(study, table):
    return {row["model"]: row["value"] for row in read_csv(table) if row["metric"] == study.EXACT_MATCH}


def test_a_run_is_scored_on_both_splits_and_rows_of_other_folders_stay(study, folders):
    workdir, out, scored = folders
    for _ in range(2):  # the second start finds its own rows
        assert study.main([str(workdir), f"--out={out}"]) == 0
        expected = {f"Transformer, {sampler}": "0.5" for sampler in study.SAMPLERS}
        assert exact_in(study, workdir / "results.csv") == expected
        assert exact_in(study, out / "results.csv") == {"LSTM, greedy": "0.125"} | expected
    assert scored == [(workdir / "attention", ""), (workdir / "attention", "validation")] * 2
    rows = read_csv(out / "results.csv")
    assert {row["model"] for row in rows if row["metric"] == study.NATS} == {"LSTM", "Transformer"}
    greedy = [row for row in rows if row["model"] == "Transformer, greedy"]
    assert [(row["validation"], row["kind"]) for row in greedy] == [("1", ""), ("0", "")]  # exact, no wrong characters
    page = (out / "README.md").read_text()
    assert page.startswith("Before.") and page.rstrip().endswith("After.") and "| LSTM " in page


def test_mistakes(study, folders):
    workdir, out, _ = folders
    with pytest.raises(UserError, match="--samplers are some of"):
        study.main([str(workdir), f"--out={out}", "--samplers=gredy"])
    means = full_row("attention", "Transformer", stderr_over="seeds")
    write_csv(workdir / "results.csv", [means])
    with pytest.raises(UserError, match="has means over seeds"):
        study.main([str(workdir), f"--out={out}"])
    write_csv(workdir / "results.csv", [full_row("forward", "other LSTM")])
    with pytest.raises(UserError, match="no finished run"):
        study.main([str(workdir), f"--out={out}"])
