"""Metric files survive a kill in mid-write and a resumed run repeats no line."""

import errno
import json
import math
import pathlib

import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.reporting.writers import MetricWriter, read_metrics


def write(workdir, steps, **kwargs):
    with MetricWriter(workdir, **kwargs) as writer:
        for step in steps:
            writer.write(step, {"train/loss": np.float32(step / 2)})


def steps_of(workdir):
    return [line["step"] for line in read_metrics(workdir)]


def test_lines_are_json_on_disk_before_close_and_a_second_writer_appends(tmp_path):
    assert read_metrics(tmp_path) == []
    write(tmp_path, [10])
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 10, "train/loss": 5.0}\n'
    writer = MetricWriter(tmp_path)
    writer.write(11, {"a": math.nan, "b": math.inf, "c": 1})
    assert read_metrics(tmp_path)[1:] == [{"step": 11, "a": None, "b": None, "c": 1.0}]
    writer.close()


@pytest.mark.parametrize(("resume_step", "kept"), [(2, [1, 2]), (5, [1, 2, 3]), (0, [])])
def test_resuming_removes_later_lines(tmp_path, resume_step, kept):
    write(tmp_path, [1, 2, 3])
    write(tmp_path, [], resume_step=resume_step)
    assert steps_of(tmp_path) == kept


def test_a_line_cut_by_a_kill_is_dropped(tmp_path):
    write(tmp_path, [1, 2])
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text()[:-5])
    assert steps_of(tmp_path) == [1]
    write(tmp_path, [2])
    assert steps_of(tmp_path) == [1, 2]
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_garbage_is_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with MetricWriter(tmp_path) as writer:
        writer.write(1, {"a": 1.0})
    path.write_bytes(
        path.read_bytes()
        + b'3\n[]\n{"a": 1}\n{"step": "x"}\n{"step": 1, "a": "x"}\n\xff\xfe\x00\n'
        + b"[" * 100_000
        + b'\n{"st'
    )
    assert read_metrics(tmp_path) == [{"step": 1, "a": 1.0}]
    with MetricWriter(tmp_path, resume_step=1) as writer:
        writer.write(2, {"a": 2.0})
    assert path.read_text() == '{"step": 1, "a": 1.0}\n{"step": 2, "a": 2.0}\n'


def test_a_full_disk_is_one_sentence_and_loses_no_line(tmp_path, monkeypatch):
    write(tmp_path, [1, 2])
    before = (tmp_path / "metrics.jsonl").read_text()

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    for call in (lambda: MetricWriter(tmp_path, resume_step=1), lambda: write(tmp_path, [3])):
        with monkeypatch.context() as patch:
            patch.setattr(pathlib.Path, "write_text", full)
            with pytest.raises(UserError, match=r"cannot write .*metrics\.jsonl: No space left on device"):
                call()
        assert (tmp_path / "metrics.jsonl").read_text() == before
    writer = MetricWriter(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "open", full)
        with pytest.raises(UserError, match="No space left on device"):
            writer.write(3, {"a": 1.0})
    writer.write(3, {"a": 1.0})
    writer.close()
    assert steps_of(tmp_path) == [1, 2, 3]


def test_a_folder_in_its_place_is_one_sentence(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    for call in (read_metrics, MetricWriter):
        with pytest.raises(UserError, match=r"metrics\.jsonl: Is a directory"):
            call(tmp_path)
