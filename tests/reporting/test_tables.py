"""Tables for terminal and README."""

import io
import json

import pytest

from arjax.core.errors import UserError
from arjax.reporting.tables import (
    format_bytes,
    format_count,
    print_table,
)


@pytest.fixture(scope="module")
def measured(load_script):
    return load_script("scripts/measured.py")


def test_markdown_is_padded_aligned_and_escaped(measured):
    table = measured.markdown_table(["name", "n"], [["a|b", 1], ["c", 23]], right=["n"])
    assert table.splitlines() == ["| name |   n |", "| ---- | --: |", "| a\\|b |   1 |", "| c    |  23 |"]


def test_a_measured_table_takes_the_place_of_the_last_one_and_is_read_back(measured, tmp_path):
    page = tmp_path / "README.md"
    page.write_text("Before.\n\n<!-- measured -->\n<!-- end measured -->\n\nAfter.\n")
    assert measured.measured_rows(page, ["name", "n"]) == []
    for rows in ([["a|b", "1"]], [["a|b", "2"], ["", "3 ± 1"]]):
        measured.write_measured(page, measured.markdown_table(["name", "n"], rows))
        assert measured.measured_rows(page, ["name", "n"]) == rows
    text = page.read_text()
    assert text.startswith("Before.\n\n<!-- measured -->\n| name") and text.endswith(
        "<!-- end measured -->\n\nAfter.\n"
    )
    with pytest.raises(UserError, match="has other columns"):
        measured.measured_rows(page, ["name", "m"])
    with pytest.raises(UserError, match=r"none\.md"):
        measured.write_measured(tmp_path / "none.md", "x")
    measured.write_measured(page, "| name | n |\n| -- | -- |\n| a |")
    with pytest.raises(UserError, match="more or fewer cells"):
        measured.measured_table(page)
    page.write_text("<!-- measured -->\nno end")
    with pytest.raises(UserError, match="no place for a table"):
        measured.write_measured(page, "x")


def test_printed_table_holds_every_cell_in_full():
    out = io.StringIO()
    print_table(["path", "n"], [["layers/attention/" + "x" * 60, 7], ["[b]", 8]], title="Parameters", stream=out)
    text = out.getvalue()
    assert "Parameters" in text and "x" * 60 in text and "[b]" in text and "7" in text


COUNTS = [(12, "12"), (1234, "1.23k"), (1.3e9, "1.3B"), (2.5e12, "2.5T"), (7e6, "7M"), (0.5, "0.5"), (5e18, "5000P")]


@pytest.mark.parametrize(("n", "text"), [*COUNTS, (999.4, "999"), (999.7, "1k"), (999_700, "1M"), (999_400, "999k")])
def test_counts(n, text):
    assert format_count(n) == text


LARGE = [(1001, "1001 B"), (1010.3 * 2**20, "1010 MiB"), (1023.9 * 2**20, "1 GiB"), (1000 * 2**40, "1000 TiB")]


@pytest.mark.parametrize(("n", "text"), [(12, "12 B"), (2048, "2 KiB"), (3 * 2**30, "3 GiB"), *LARGE])
def test_bytes(n, text):
    assert format_bytes(n) == text


def test_the_study_of_latents_keeps_rows_that_were_not_measured_again(measured, repository, run_script, tmp_path):
    study = "experiments/latent_variables"
    page = tmp_path / "README.md"
    page.write_text((repository / study / "README.md").read_text(encoding="utf-8"), encoding="utf-8")
    run = f"{study}/measure.py", tmp_path / "runs", f"--page={page}"
    done = run_script(*run)
    assert done.returncode == 2 and "has no finished run" in done.stderr
    scores = {"reconstruction_nats": 80.25, "kl_nats": 20.5, "importance_nats": 2.0, "nll_stderr": 0.3}
    scores |= {"importance_bound_nats": 88.0, "importance_bound_stderr": 0.25, "importance_samples": 5000}
    scores |= {"active_units": 20, "train_seconds": 600.0}
    folder = tmp_path / "runs/iwae5"
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(scores))
    (folder / "config.json").write_text(json.dumps({"model": {"latents": [50]}}))
    columns = ["model", "-ELBO", "of it KL", "active", "L_k", "k", "published", "minutes"]
    before = {row[0]: row for row in measured.measured_rows(page, columns)}
    done = run_script(*run)
    assert done.returncode == 0, done.stderr
    after = {row[0]: row for row in measured.measured_rows(page, columns)}
    name = "IWAE, k = 5, 50 latents"
    assert after[name][1:6] == ["100.75", "20.50", "20 of 50", "88.00 ± 0.25", "5,000"] and after[name][-1] == "10.0"
    assert list(after) == list(before) and all(after[row] == before[row] for row in before if row != name)
