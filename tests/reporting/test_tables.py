"""Tables for terminal and README."""

import io

import pytest

from arjax.reporting.tables import format_bytes, format_count, markdown_table, print_table


def test_markdown_is_padded_aligned_and_escaped():
    table = markdown_table(["name", "n"], [["a|b", 1], ["c", 23]], right=["n"])
    assert table.splitlines() == ["| name |   n |", "| ---- | --: |", "| a\\|b |   1 |", "| c    |  23 |"]


def test_printed_table_holds_every_cell_in_full():
    out = io.StringIO()
    print_table(["path", "n"], [["layers/attention/" + "x" * 60, 7], ["[b]", 8]], title="Parameters", stream=out)
    text = out.getvalue()
    assert "Parameters" in text and "x" * 60 in text and "[b]" in text and "7" in text


@pytest.mark.parametrize(("n", "text"), [(12, "12"), (1234, "1.23k"), (1.3e9, "1.3B"), (2.5e12, "2.5T"), (7e6, "7M")])
def test_counts(n, text):
    assert format_count(n) == text


@pytest.mark.parametrize(("n", "text"), [(12, "12 B"), (2048, "2 KiB"), (3 * 2**30, "3 GiB")])
def test_bytes(n, text):
    assert format_bytes(n) == text
