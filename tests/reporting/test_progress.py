"""The progress of a run: a bar on a terminal, a line per update elsewhere."""

import io
import re
import sys
import types

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
    progress.update(100, "2.5000 bits/dim", 1234.0)
    assert out.getvalue() == "step 100/1,000 (10%)  loss 2.5000 bits/dim  1,234 examples/s  ETA 1m30s\n"


def rows(text):
    """The rows of a terminal after this output, without colours: `\\r` and erasing a line are all that is used."""
    found = []
    for line in text.split("\n"):
        shown = re.sub(r"\x1b\[\?25[lh]|\x1b\[[\d;]*m", "", line).removesuffix("\r").split("\r")[-1]
        assert re.fullmatch(r"(\x1b\[2K)?[^\x1b]*", shown), shown
        found.append(shown.removeprefix("\x1b[2K").rstrip())
    return found


@pytest.mark.parametrize("terminal", [True, False])
def test_a_validation_is_a_line_that_stays_and_names_its_step(terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal() if terminal else io.StringIO()
    progress = Progress(1000, stream=out, clock=Clock())
    progress.message("compiling ...")
    progress.update(100, "2.5 bits/dim", 1234.0)
    progress.validation(100, "2.25 ± 0.01 bits/dim [exact]")
    progress.update(200, "2.4 bits/dim", 1234.0)
    progress.close()
    progress.message("scoring ...")
    lines = rows(out.getvalue())
    assert lines[0] == "compiling ..." and lines[-2:] == ["scoring ...", ""]
    assert "step 100/1,000 (10%)  validation 2.25 ± 0.01 bits/dim [exact]" in lines
    assert out.getvalue().count("validation") == 1
    assert len(lines) == (5 if terminal else 6), "on a terminal one bar, which stays where it ends"
    if terminal:
        assert re.match(r"200/1,000 .*loss 2.4 bits/dim  1,234 examples/s .*ETA \S+$", lines[-3])


def test_the_bar_moves_between_updates_and_fits_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    out, clock = Terminal(), Clock()
    progress = Progress(10, stream=out, clock=clock)
    progress.update(1, "1.0 bits/dim, and more than sixty columns have space for", 1.0)
    for step in range(2, 6):
        clock.now += 1.0
        progress.at(step)
        assert rows(out.getvalue())[-1].startswith(f"{step}/10")
    before = out.getvalue()
    progress.at(6)
    assert out.getvalue() == before, "twice in a moment"
    assert all(len(row) <= 60 for row in rows(out.getvalue())) and len(rows(before)) == 1
    progress.close()
    assert out.getvalue().endswith("\x1b[?25h"), "the cursor is back"


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_no_bar_in_files_and_on_terminals_that_have_no_way_back(stream, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    progress = Progress(10, stream=(out := stream()), clock=Clock())
    progress.at(1)
    assert out.getvalue() == ""
    progress.update(1, "1.0 bits/dim", 1.0)
    assert out.getvalue().startswith("step 1/10 (10%)  loss 1.0 bits/dim") and "\x1b" not in out.getvalue()


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


class Cell(io.StringIO):
    """The output of a cell, by the name of its module."""


Cell.__module__ = "ipykernel.iostream"


def test_in_a_notebook_one_bar_is_drawn_anew_above_the_lines(monkeypatch):
    drawn, clock, out = [], Clock(), Cell()

    class Handle:
        def update(self, bundle, raw):
            assert raw
            drawn.append(bundle)

    def display(bundle, raw, display_id):
        assert raw and display_id, "its place is kept"
        drawn.append(bundle)
        return Handle()

    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(display=display))
    progress = Progress(1000, stream=out, clock=clock, indent="  ")
    progress.message("compiling ...")
    assert not drawn, "no bar before there is a step"
    for step in range(1, 101):
        clock.now += 0.01
        progress.at(step)
    assert 1 <= len(drawn) <= 5, "a page is not flooded"
    progress.update(100, "2.5 <b>", 1234.0)
    progress.validation(100, "2.25 nats")
    progress.close()
    progress.message("scoring ...")
    assert out.getvalue() == "  compiling ...\n  step 100/1,000 (10%)  validation 2.25 nats\n  scoring ...\n"
    assert 'value="100" max="1000"' in drawn[-1]["text/html"] and "2.5 &lt;b&gt;" in drawn[-1]["text/html"]
    assert drawn[-1]["text/plain"] == "100/1,000  loss 2.5 <b>  1,234 examples/s  ETA 9s"
