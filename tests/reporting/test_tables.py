"""Tables for terminal and README, and scores in words."""

import io

import pytest

from arjax.core.errors import UserError
from arjax.reporting.reports import describe_scores
from arjax.reporting.tables import format_bytes, format_count, print_table


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


NATS = {"nll_nats": 86.5412, "nll_stderr": 0.712, "bits_per_dim": 1.95081, "bits_per_dim_stderr": 0.01605}
ORDERS = {"num_orders": 8, "negative_elbo_nats": 87.0, "negative_elbo_stderr": 0.5}
EXPOSURE = {"nll_nats": 1.5, "exposure_forward_own_nats": 2.0, "exposure_forward_data_nats": 1.0}
EXPOSURE |= {"exposure_excess_percent": 100.0, "exposure_excess_stderr": 5.0}
EXPOSURE |= {"greedy_error": 0.75, "next_step_error": 0.5}
EXPOSURE |= {"judge_own_nll_nats": 3.0, "judge_own_nll_stderr": 0.5, "judge_data_nll_nats": 2.5}
EXPOSED = (
    "1.5000 nats, errors of 2.0000 nats under own prefixes, 1.0000 under the data's (excess 100.0 ± 5.0 %), 75.0 % of "
    "decoded values wrong, 50.0 % of next ones, samples 3.0000 ± 0.5000 nats under the judge, data 2.5000"
)
MIXED = "a mixture of 8 orders (their mean: 87.0000 ± 0.5000)"


@pytest.mark.parametrize(
    ("scores", "bits", "words"),
    [
        (NATS, True, "86.5412 ± 0.7120 nats, 1.9508 ± 0.0160 bits/dim"),
        (NATS, False, "86.5412 ± 0.7120 nats"),
        ({"nll_nats": 1.5, "bits_per_dim": 2.0}, True, "1.5000 nats, 2.0000 bits/dim"),
        (NATS | {"nll_nats_per_frame": 3.0}, False, "86.5412 ± 0.7120 nats, 3.0000 nats/frame"),
        (NATS | ORDERS, False, f"86.5412 ± 0.7120 nats, {MIXED}"),
        (NATS | {"num_orders": 1}, False, "86.5412 ± 0.7120 nats"),
        (NATS | {"nll_stderr": 0.0}, False, "86.5412 nats"),  # of a single example
        (NATS | ORDERS | {"negative_elbo_stderr": 0.0}, False, f"86.5412 ± 0.7120 nats, {MIXED[:-10]})"),
        (EXPOSURE, False, EXPOSED),
    ],
)
def test_scores_have_units_and_standard_errors(scores, bits, words):
    assert describe_scores(scores, bits) == words
