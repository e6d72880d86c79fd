"""The progress of a run, and its metrics: they survive a kill in mid-write, and writers show each number once."""

import collections
import dataclasses
import errno
import importlib.util
import io
import itertools
import json
import math
import pathlib
import sys
import types

import numpy as np
import pytest
from refusals import refusal

from arjax.reporting.figures import save_figure
from arjax.reporting.plots import sample_figure
from arjax.reporting.progress import Progress, format_duration
from arjax.reporting.writers import WRITERS, MetricWriter, Writer, make_writers, read_metrics


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
    garbage = b'3\n[]\n{"a": 1}\n{"step": "x"}\n{"step": 1, "a": "x"}\n\xff\xfe\x00\n' + b"[" * 100_000 + b'\n{"st'
    path.write_bytes(path.read_bytes() + garbage)
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
            assert "metrics.jsonl: No space left on device" in refusal(call)
        assert (tmp_path / "metrics.jsonl").read_text() == before
    writer = MetricWriter(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "open", full)
        assert "No space left on device" in refusal(writer.write, 3, {"a": 1.0})
    writer.write(3, {"a": 1.0})
    writer.close()
    assert steps_of(tmp_path) == [1, 2, 3]


def test_a_folder_in_its_place_is_one_sentence(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    for call in (read_metrics, MetricWriter):
        assert "metrics.jsonl: Is a directory" in refusal(call, tmp_path)


def test_a_text_calls_writers():
    assert make_writers("") == make_writers("  ") == []
    first, second = make_writers("tensorboard, wandb(project='a,b', group=\"c\")")
    assert type(first) is WRITERS.get("tensorboard") and (second.project, second.group) == ("a,b", "c")
    for text, words in (
        ("tensorbord", "did you mean 'tensorboard'"),
        ("wandb(projet='x')", "did you mean 'project'"),
        ("tensorboard,,", "cannot read 'tensorboard,,'"),
        ("tensorboard wandb", "cannot read 'tensorboard wandb'"),
        ("wandb(project=3)", "must be a text"),
    ):
        assert words in refusal(make_writers, text)


def test_a_missing_package_is_one_sentence(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name, package in (("tensorboard", "tensorboardX"), ("wandb", "wandb"), ("trackio", "trackio")):
        (writer,) = make_writers(name)
        assert f"'{name}' needs the package {package}" in refusal(writer.check)


@dataclasses.dataclass
class Notes(Writer):
    def open(self, workdir, resume_step, lines):
        self.notes = [("open", resume_step, [line["step"] for line in lines])]

    def write(self, step, scalars):
        self.notes.append((step, scalars))

    def close(self):
        self.notes.append("close")


def test_a_writer_of_ones_own_hears_everything(tmp_path):
    for resume_step, lines in ((0, []), (2, [2]), (None, [2, 4])):
        notes = Notes()
        with MetricWriter(tmp_path, resume_step, [notes]) as writer:
            if resume_step is not None:
                writer.write(resume_step + 2, {"a": np.float32(0.5)})
                writer.result(resume_step + 2, {"test/a": 1.0})
        end = [] if resume_step is None else [(resume_step + 2, {"a": 0.5}), (resume_step + 2, {"test/a": 1.0})]
        assert notes.notes == [("open", resume_step, lines), *end, "close"]
    assert [line["step"] for line in read_metrics(tmp_path)] == [2, 4]
    Notes().picture(1, "samples", tmp_path / "none.png")  # most places have none
    Notes().check()


def events_of(workdir):
    """What TensorBoard shows: of each file in turn its values, without those that a later start takes back."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(workdir.glob("events.*")):
        data = path.read_bytes()
        while data:  # length, checksum, event, checksum
            size = int.from_bytes(data[:8], "little")
            event, data = Event.FromString(data[12 : 12 + size]), data[16 + size :]
            if event.session_log.status == 1:
                found = [known for known in found if known[0] < event.step]
            found += [(event.step, value.tag, value) for value in event.summary.value]
    return found


def test_tensorboard_shows_each_number_once_with_config_and_picture(tmp_path):
    pytest.importorskip("tensorboardX")
    (tmp_path / "config.json").write_text(json.dumps({"seed": 3}))
    picture = tmp_path / "samples.png"
    save_figure(sample_figure(np.eye(4)[None]), picture)
    for number, (resume_step, steps) in enumerate(((0, [2, 4, 6]), (4, [6, 8]))):
        with MetricWriter(tmp_path, resume_step, make_writers("tensorboard")) as writer:
            for step in steps:
                writer.write(step, {"a": step / 2})
            assert events_of(tmp_path)[-1][2].simple_value == steps[-1] / 2, "on disk before close"
            writer.result(8, {"test/b": 0.25 * number})
    (writer,) = make_writers("tensorboard")
    with MetricWriter(tmp_path, others=[writer]):
        writer.picture(8, "samples", picture)
    config, *rest = events_of(tmp_path)
    assert config[1].startswith("config") and '"seed": 3' in config[2].tensor.string_val[0].decode()
    numbers = [(step, tag, value.simple_value) for step, tag, value in rest[:-1]]
    assert numbers == [(2, "a", 1.0), (4, "a", 2.0), (6, "a", 3.0), (8, "a", 4.0), (8, "test/b", 0.25)]
    step, tag, value = rest[-1]
    assert (step, tag, value.image.encoded_image_string) == (8, "samples", picture.read_bytes())
    assert value.image.width > 0 < value.image.height


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    pytest.importorskip("tensorboardX")
    from tensorboardX.event_file_writer import EventsWriter

    def full(self, event):
        raise OSError(errno.ENOSPC, "No space left on device")

    with MetricWriter(tmp_path, 0, make_writers("tensorboard")) as writer, monkeypatch.context() as patch:
        patch.setattr(EventsWriter, "write_event", full)
        assert "cannot write the TensorBoard events in " in refusal(writer.write, 1, {"a": 1.0})
    assert [line["step"] for line in read_metrics(tmp_path)] == [1]


class Server:
    """As much of wandb as the writer uses: a server that keeps rows by step, and takes none before the last one."""

    Error, Settings = RuntimeError, collections.namedtuple("Settings", "console")

    def __init__(self, offline=False):
        self.rows, self.summary, self.offline, self.ids = {}, {}, offline, set()

    def init(self, id, resume, **options):
        self.options = options
        self.ids.add(id)
        if resume is None or self.offline:
            self.rows = {}
        return self

    @property
    def step(self):
        return max(self.rows, default=-1) + 1

    def log(self, row, step):
        if step >= self.step:
            self.rows[step] = dict(row)

    def finish(self):
        pass


@pytest.mark.parametrize("offline", [False, True])
@pytest.mark.parametrize("sent", [True, False])
def test_wandb_has_each_number_once_after_a_kill(tmp_path, monkeypatch, offline, sent):
    server = Server(offline)
    monkeypatch.setitem(sys.modules, "wandb", server)
    (tmp_path / "config.json").write_text(json.dumps({"seed": 3}))
    writer = MetricWriter(tmp_path, 0, make_writers("wandb(project='p')"))
    for step in (2, 4, 6):  # killed after step 6, or at step 6 before its validation; step 4 is saved
        writer.write(step, {"train/a": step / 2})
        if step < 6 or sent:
            writer.write(step, {"validation/a": step / 4})
    with MetricWriter(tmp_path, 4, make_writers("wandb(project='p')")) as writer:
        for step in (6, 8):
            writer.write(step, {"train/a": step / 2})
            writer.write(step, {"validation/a": step / 4})
        writer.result(8, {"test/a": 1.0})
    assert server.rows == {step: {"train/a": step / 2, "validation/a": step / 4} for step in (2, 4, 6, 8)}
    assert server.summary == {"test/a": 1.0} and len(server.ids) == 1
    known = {name: server.options[name] for name in ("project", "config", "name")}
    assert known == {"project": "p", "config": {"seed": 3}, "name": tmp_path.name}


def test_a_refusal_of_wandb_is_one_sentence(tmp_path, monkeypatch):
    server = Server()
    server.init = lambda **options: (_ for _ in ()).throw(RuntimeError("no key"))
    monkeypatch.setitem(sys.modules, "wandb", server)
    assert "wandb begins no run: no key;" in refusal(MetricWriter, tmp_path, 0, make_writers("wandb"))


class Tracked:
    """As much of trackio as the writer uses: runs of a project on this machine, each with an id of its own."""

    def __init__(self):
        self.kept, self.numbers = [], itertools.count()

    def Api(self):
        return types.SimpleNamespace(runs=lambda project: list(self.kept))

    def init(self, project, **options):
        if not project.strip():
            raise ValueError("a project has\na name")
        run = types.SimpleNamespace(id=f"run{next(self.numbers)}", options=options | {"project": project}, rows=[])
        run.delete, run.finish = lambda: self.kept.remove(run), lambda: run.rows.append("end")
        run.log = lambda row, step: run.rows.append((step, row))
        self.kept.append(run)
        return run


def test_trackio_has_each_number_once_after_a_kill(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "trackio", tracked := Tracked())
    (tmp_path / "config.json").write_text(json.dumps({"seed": 3}))
    other = tracked.init("arjax", name=tmp_path.name)  # of another folder with this name
    writer = MetricWriter(tmp_path, 0, make_writers("trackio(group='g')"))
    for step in (2, 4, 6):  # killed after step 6; step 4 is saved
        writer.write(step, {"train/a": step / 2})
    with MetricWriter(tmp_path, 4, make_writers("trackio(group='g')")) as writer:
        for step in (6, 8):
            writer.write(step, {"train/a": step / 2})
        writer.result(8, {"test/a": 1.0})
    assert tracked.kept[0] is other and not other.rows
    (run,) = tracked.kept[1:]
    assert run.rows == [*((step, {"train/a": step / 2}) for step in (2, 4, 6, 8)), (8, {"test/a": 1.0}), "end"]
    known = {name: run.options[name] for name in ("project", "group", "config", "name", "embed")}
    assert known == {"project": "arjax", "group": "g", "config": {"seed": 3}, "name": tmp_path.name, "embed": False}
    assert "trackio begins no run: a project has a name" in refusal(
        MetricWriter, tmp_path, 0, make_writers("trackio(project=' ')")
    )


def test_trackio_itself_keeps_a_run(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "kept"))
    pytest.importorskip("trackio")
    from trackio.sqlite_storage import SQLiteStorage

    for resume_step, steps in ((0, [2, 4]), (2, [4, 6])):
        with MetricWriter(tmp_path, resume_step, make_writers("trackio")) as writer:
            for step in steps:
                writer.write(step, {"a": step / 2})
    (record,) = SQLiteStorage.get_run_records("arjax")
    logs = SQLiteStorage.get_logs("arjax", record["name"], run_id=record["id"])
    assert [(row["step"], row["a"]) for row in logs] == [(2, 1.0), (4, 2.0), (6, 3.0)]


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_lines_name_step_loss_speed_and_time_left():
    clock, out = Clock(), io.StringIO()
    progress = Progress(1000, stream=out, clock=clock)
    clock.now = 10.0
    progress.update(100, "2.5000 bits/dim", 1234.0)
    assert out.getvalue() == "step 100/1,000 (10%)  loss 2.5000 bits/dim  1,234 examples/s  ETA 1m30s\n"


def test_a_validation_names_its_step():
    out = io.StringIO()
    progress = Progress(1000, stream=out, clock=Clock(), indent="  ")
    progress.message("compiling ...")
    progress.validation(100, "2.25 ± 0.01 bits/dim [exact]")
    lines = ["  compiling ...", "  step 100/1,000 (10%)  validation 2.25 ± 0.01 bits/dim [exact]", ""]
    assert out.getvalue().split("\n") == lines


def test_the_time_that_is_left():
    """It is unknown at the start and 0 at the end; the compilation, and the steps of an earlier start, do not count."""
    assert Progress(10, stream=io.StringIO()).seconds_left() == float("inf")
    assert Progress(10, start_step=10, stream=io.StringIO()).seconds_left() == 0.0
    for start, updates, left in ((0, ((100, 100), (101, 200), (102, 300)), 7.0), (900, ((5, 950),), 5.0)):
        clock = Clock()
        progress = Progress(1000, start_step=start, stream=io.StringIO(), clock=clock)
        for clock.now, step in updates:
            progress.update(step, "1.0 bits/dim", 1.0)
        assert progress.seconds_left() == pytest.approx(left)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.6, "1m00s"), (185, "3m05s"), (7620, "2h07m"), (273600, "3d04h"), (float("inf"), "?")],
)
def test_durations(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize(("resume_step", "resume", "sent"), [(0, None, []), (3, "allow", [3])])
def test_a_run_of_wandb_goes_on_and_a_new_one_replaces_another(tmp_path, monkeypatch, resume_step, resume, sent):
    asked, rows = [], []
    run = types.SimpleNamespace(step=3, log=lambda row, step: rows.append(step), finish=lambda: None)
    settings = types.SimpleNamespace
    wandb = types.SimpleNamespace(init=lambda **fields: asked.append(fields) or run, Settings=settings, Error=OSError)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    (writer,) = make_writers("wandb(group='g')")
    lines = [{"step": step, "a": 1.0} for step in (2, 3)] if resume_step else []
    writer.open(tmp_path, resume_step, lines)
    writer.close()
    (fields,) = asked
    assert (fields["resume"], fields["group"], fields["name"]) == (resume, "g", tmp_path.name)
    assert fields["entity"] is None and fields["dir"] == str(tmp_path) and rows == sent
