"""Standard output that is closed, full, or of an encoding without our characters: one line tells it, after the work."""

import errno
import io
import json
import os
import subprocess
import sys

import pytest

from arjax.cli.command_line import tell_mistakes
from arjax.cli.main import main
from arjax.core.errors import UserError
from arjax.reporting.tables import print_table


class Full(io.StringIO):
    """A file on a full disk, with a buffer or without."""

    def __init__(self, method: str):
        super().__init__()
        self.method = method

    def _write(self, *args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def __getattribute__(self, name):
        method = object.__getattribute__(self, "method") if name in ("write", "flush") else ""
        return object.__getattribute__(self, "_write" if name == method else name)


STREAMS = {"closed": lambda: None, "full": lambda: Full("write"), "full at the end": lambda: Full("flush")}


@pytest.mark.parametrize(("code", "told"), [(0, 2), (3, 3)])
@pytest.mark.parametrize("stream", STREAMS)
def test_what_cannot_be_written_is_told_once_after_the_work(stream, code, told, monkeypatch, capsys):
    """Another exit code is kept."""
    done = []

    def work() -> int:
        for i in range(3):
            print("line", i, flush=True)
        done.append(True)
        return code

    monkeypatch.setattr(sys, "stdout", STREAMS[stream]())
    assert tell_mistakes("arjax", work) == told and done
    error = capsys.readouterr().err
    assert error.startswith("arjax: cannot write to the standard output") and error.count("\n") == 1


def test_mistakes_do_not_go_to_stdout_when_stderr_is_closed(monkeypatch, capsys):
    def work() -> int:
        raise UserError("a mistake")

    monkeypatch.setattr(sys, "stderr", None)
    assert tell_mistakes("arjax", work) == 2
    assert capsys.readouterr().out == ""


def test_characters_that_the_encoding_lacks(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert tell_mistakes("arjax", lambda: print("1.5 ± 0.1 µ") or 0) == 0
    assert raw.getvalue() == b"1.5 +- 0.1 \\xb5\n"


@pytest.mark.slow
@pytest.mark.parametrize("stream", STREAMS)
def test_a_run_trains_to_its_end(stream, config_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", STREAMS[stream]())
    assert main([f"--config={config_file}:smoke", f"--workdir={tmp_path}"]) == 2
    assert json.loads((tmp_path / "results.json").read_text())["step"] == 6
    assert capsys.readouterr().err.count("cannot write to the standard output") == 1


@pytest.mark.parametrize(
    ("program", "redirection"),
    [("arjax --mode=list", ">/dev/full"), pytest.param("arjax.sweep.main --help", ">&-", marks=pytest.mark.slow)],
)
def test_as_a_process(program, redirection):
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    command = f"{sys.executable} -m {program} {redirection}"
    done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True)
    assert "cannot write to the standard output" in done.stderr and done.stderr.count("\n") == 1


def test_a_reader_that_has_seen_enough_ends_a_table(monkeypatch):
    """As in `arjax --mode=list | head`: rich would end the process with the code of a failure."""

    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    assert tell_mistakes("arjax", lambda: print_table(["name"], [["a"]]) or 0) == 141
