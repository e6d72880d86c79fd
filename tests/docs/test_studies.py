"""Every number of a study says what it is and what it cost, and the page of results names every study once."""

import csv
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]
RESULTS = [
    path
    for path in sorted(ROOT.glob("experiments/*/*.csv"))
    if {"metric", "train_minutes"} <= {*path.read_text().partition("\n")[0].split(",")}
]
#: Scores of models that another row has trained.
TRAINED_ELSEWHERE = ("hidden.csv", "ensembles.csv")


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_rows_state_their_kind_and_minutes(path):
    rows = list(csv.DictReader(path.read_text().splitlines()))
    scores = [row for row in rows if any(unit in row["metric"] for unit in ("nats", "bits"))]
    for row in scores:
        assert row["kind"] in ("exact", "bound", "estimate", "none"), row
        assert row["train_minutes"] or path.name in TRAINED_ELSEWHERE, row


def test_the_page_of_results_names_every_study_once():
    text = (ROOT / "docs" / "results.md").read_text()
    named = [name for line in re.findall(r"<!-- studies: (.*) -->", text) for name in line.split()]
    assert sorted(named) == sorted(str(path.parent.relative_to(ROOT)) for path in ROOT.glob("experiments/*/README.md"))
