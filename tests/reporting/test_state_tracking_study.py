"""The study of state tracking: its config, and the runs that its table takes."""

import json
from pathlib import Path

import pytest

from arjax.core.errors import UserError


@pytest.fixture(scope="module")
def measure(load_script):
    return load_script("experiments/state_tracking/measure.py")


def end(folder: Path, name: str, start: str) -> None:
    """The files of a run that has ended."""
    (folder / name).mkdir(parents=True)
    (folder / name / "results.json").write_text(json.dumps({"accuracy": 1.0, "train_seconds": 60.0}))
    (folder / name / "config.json").write_text(json.dumps({"train": {"init_from": start}}))


def row_of(measure, name):
    (row,) = (run for run in measure.get_sweep() if run.name == name)
    return row


def test_a_row_has_the_trainings_of_its_curriculum(measure, tmp_path):
    end(tmp_path, "s3-lstm-0-8", "")
    end(tmp_path, "s3-lstm-0-16", "elsewhere/s3-lstm-0-8")
    end(tmp_path, "s3-lstm-0-24", "elsewhere/s3-lstm-0-16")
    end(tmp_path, "s3-lstm-0", "elsewhere/s3-lstm-0-24")
    assert len(measure.trainings(row_of(measure, "s3-lstm-0"), tmp_path)) == 4


@pytest.mark.parametrize(
    ("starts", "sentence"),
    [
        ({"": ""}, "parity-lstm-0 begins with fresh parameters, and in this sweep with those of parity-lstm-0-8"),
        ({"": "x/parity-lstm-0-8"}, "parity-lstm-0-8 has no results that can be read, and the row 'parity-lstm-0'"),
        ({"": "x/parity-lstm-0-4", "-8": ""}, "parity-lstm-0 begins with the parameters of x/parity-lstm-0-4"),
        ({"": "x/parity-lstm-0-8", "-8": "y"}, "parity-lstm-0-8 begins with the parameters of y, .* fresh ones"),
    ],
)
def test_runs_of_another_recipe_end_in_one_sentence_and_leave_the_page(measure, tmp_path, starts, sentence):
    for suffix, start in starts.items():
        end(tmp_path / "runs", f"parity-lstm-0{suffix}", start)
    page = tmp_path / "page.md"
    page.write_text("<!-- measured -->\n<!-- end measured -->\n")
    with pytest.raises(UserError, match=sentence):
        measure.main([str(tmp_path / "runs"), f"--page={page}"])
    assert page.read_text() == "<!-- measured -->\n<!-- end measured -->\n"
