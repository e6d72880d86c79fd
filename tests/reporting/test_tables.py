"""Tables for terminal and README."""

import io

import pytest

from arjax.core.errors import UserError
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
