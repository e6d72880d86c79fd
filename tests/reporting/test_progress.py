"""The progress line: in place on a terminal, a line per update elsewhere."""

import io

import pytest

from arjax.reporting.progress import Progress, format_duration


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_lines_name_step_loss_speed_and_time_left():
    clock, out = Clock(), io.StringIO()
    progress = Progress(1000, stream=out, clock=clock)
    clock.now = 10.0
    progress.update(100, 2.5, 1234.0)
    assert out.getvalue() == "step 100/1,000 (10%)  loss 2.5000 bits/dim  1,234 examples/s  ETA 1m30s\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_validation_is_a_line_that_stays_and_names_its_step(terminal):
    out = Terminal() if terminal else io.StringIO()
    progress = Progress(1000, stream=out, clock=Clock())
    progress.update(100, 2.5, 1234.0)
    progress.validation(100, 2.25)
    progress.update(200, 2.4, 1234.0)
    lines = [line.split("\r")[-1] for line in out.getvalue().split("\n")]
    assert "step 100/1,000 (10%)  validation 2.2500 bits/dim" in lines
    assert out.getvalue().count("validation") == 1


def test_compilation_does_not_count_in_the_time_left():
    clock = Clock()
    progress = Progress(1000, stream=io.StringIO(), clock=clock)
    for now, step in ((100.0, 100), (101.0, 200), (102.0, 300)):
        clock.now = now
        progress.update(step, 1.0, 1.0)
    assert progress.seconds_left() == pytest.approx(7.0)


def test_a_resumed_run_measures_from_its_start():
    clock = Clock()
    progress = Progress(1000, start_step=900, stream=io.StringIO(), clock=clock)
    clock.now = 5.0
    progress.update(950, 1.0, 1.0)
    assert progress.seconds_left() == pytest.approx(5.0)


def test_nothing_is_known_at_the_start_and_nothing_left_at_the_end():
    assert Progress(10, stream=io.StringIO()).seconds_left() == float("inf")
    assert Progress(10, start_step=10, stream=io.StringIO()).seconds_left() == 0.0


def test_a_terminal_keeps_one_line_and_messages_stay_above(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    out = Terminal()
    progress = Progress(10, stream=out, clock=Clock())
    progress.update(1, 1.0, 1.0)
    progress.update(2, 1.0, 1.0)
    assert "\n" not in out.getvalue()
    assert all(len(part) < 60 for part in out.getvalue().split("\r"))
    progress.message("validation 2.0")
    assert out.getvalue().endswith("\rvalidation 2.0\n")
    progress.update(3, 1.0, 1.0)
    progress.close()
    assert out.getvalue().endswith("\n")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.6, "1m00s"), (185, "3m05s"), (7620, "2h07m"), (273600, "3d04h"), (float("inf"), "?")],
)
def test_durations(seconds, text):
    assert format_duration(seconds) == text
