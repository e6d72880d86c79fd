"""Runs test files one at a time, each in a process of its own, and knows which lines of the project each executes.

Processes are forked from one that has imported jax, flax and pytest, but nothing of the project.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import hashlib
import json
import os
import random
import resource
import runpy
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

#: Packages that most tests import, and that take seconds.
_WARM = ("flax.linen", "optax", "pytest", "scipy.stats", "ml_collections")
#: That a process may take: a mutant must not take the memory of the machine.
_BYTES = 12 * 2**30
PASSED, TIMED_OUT = 0, -1


def sync(source: Path, copy: Path) -> None:
    """Makes a copy of the project, of all files that git knows or would take; files that are the same stay."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=source, capture_output=True, check=True, text=True).stdout
    names = {name for name in listed.split("\0") if name and os.path.lexists(source / name)}
    for name in names:
        old, new = copy / name, source / name
        if new.is_symlink():
            if not old.is_symlink():
                old.symlink_to(os.readlink(new))
        elif not old.is_file() or old.read_bytes() != new.read_bytes():
            old.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(new, old)
            forget_bytecode(old)
    for path in copy.rglob("*"):
        if (
            path.is_file()
            and not path.is_symlink()
            and "__pycache__" not in path.parts
            and str(path.relative_to(copy)) not in names
        ):
            path.unlink()


def forget_bytecode(file: Path) -> None:
    """Removes the bytecode of a file: Python would take it for that of another text of the same second and length."""
    for path in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
        path.unlink()


def digest(path: Path) -> str:
    """A short name of the content of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else "missing"


class Lines:
    """The lines of files of a folder that this process executes."""

    def __init__(self, root: Path):
        self._root = str(root) + os.sep
        self._seen = collections.defaultdict(set)

    def start(self) -> None:
        """Begins, in all threads; Python calls back once for each function of the folder and each line in it."""
        monitoring = sys.monitoring
        tool, events = monitoring.COVERAGE_ID, monitoring.events
        monitoring.use_tool_id(tool, "mutants")

        def started(code, offset):
            if code.co_filename.startswith(self._root):
                monitoring.set_local_events(tool, code, events.LINE)
            return monitoring.DISABLE

        def executed(code, line):
            self._seen[code.co_filename].add(line)
            return monitoring.DISABLE

        monitoring.register_callback(tool, events.PY_START, started)
        monitoring.register_callback(tool, events.LINE, executed)
        monitoring.set_events(tool, events.PY_START)

    def stop(self) -> None:
        """Ends."""
        sys.monitoring.free_tool_id(sys.monitoring.COVERAGE_ID)

    def seen(self) -> dict[str, list[int]]:
        """The lines of each file, by its path in the folder."""
        return {file.removeprefix(self._root): sorted(lines) for file, lines in sorted(self._seen.items())}


class TracedLines(Lines):
    """The same before Python 3.12, slower; a function whose lines are all known runs untraced."""

    def __init__(self, root: Path):
        super().__init__(root)
        self._codes = {}  # by id: to hash a code object takes longer than to run some

    def start(self) -> None:
        """Begins, in this thread and those that it will start."""
        threading.settrace(self._called)
        sys.settrace(self._called)

    def stop(self) -> None:
        """Ends."""
        sys.settrace(None)

    def _called(self, frame, event, argument):
        code = frame.f_code
        known = self._codes.get(id(code))
        if known is None:
            lines = {line for *_, line in code.co_lines() if line}
            ours = code.co_filename.startswith(self._root)
            known = self._codes[id(code)] = (code, lines if ours else set(), set())
        return self._line if known[1] else None

    def _line(self, frame, event, argument):
        if event == "line":
            _, left, seen = self._codes[id(frame.f_code)]
            left.discard(frame.f_lineno)
            seen.add(frame.f_lineno)
            return self._line if left else None
        return self._line

    def seen(self) -> dict[str, list[int]]:
        for code, _, seen in self._codes.values():
            if seen:
                self._seen[code.co_filename] |= seen
        return super().seen()


@dataclasses.dataclass(frozen=True)
class Ran:
    """The end of a test file: the exit code of pytest (`TIMED_OUT`, below that minus a signal), seconds, and the test
    that failed.

    Seconds of the processor are the same when other programs take the cores; those of the clock say when a test hangs.
    """

    code: int
    seconds: float
    clock: float
    words: str


class Tests:
    """The test files of a copy of the project."""

    def __init__(self, copy: Path, compiled: Path):
        self.copy, self.log = copy, copy.parent / "log.txt"
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(compiled))
        os.environ["PYTHONPATH"] = str(copy)
        runpy.run_path(str(copy / "tests" / "conftest.py"))  # settings, which must come before jax
        for name in _WARM:
            __import__(name)
        for name in [name for name in sys.modules if name.split(".")[0] == "arjax"]:
            raise SystemExit(f"{name} is imported already: tests would not see what has changed in it")

    def files(self) -> list[str]:
        """All test files, by their paths in the copy."""
        paths = sorted((self.copy / "tests").rglob("test_*.py"))
        return [str(path.relative_to(self.copy)) for path in paths]

    def run(self, file: str, limit: float, trace: Path | None = None) -> Ran:
        """Runs the fast tests of a file until one fails; with `trace`, writes the lines that it executes there."""
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            self._be_pytest(file, trace)
        code, seconds = _wait(child, began + limit)
        printed = self.log.read_text(errors="replace").splitlines()
        words = [line for line in printed if line.startswith(("FAILED", "ERROR"))]
        return Ran(code, seconds, time.monotonic() - began, words[0][:200] if words else "")

    def _be_pytest(self, file: str, trace: Path | None) -> None:
        """Never returns."""
        code = 3
        try:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_DATA, (_BYTES, _BYTES))
            os.chdir(self.copy)
            sys.path[:] = [str(self.copy), *(p for p in sys.path if Path(p or ".").resolve() != Path(__file__).parent)]
            sys.dont_write_bytecode = trace is None
            if trace is None:
                os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
            with self.log.open("w") as out:
                os.dup2(out.fileno(), 1)
                os.dup2(out.fileno(), 2)
            lines = (Lines if sys.version_info >= (3, 12) else TracedLines)(self.copy)
            if trace is not None:
                lines.start()
            import pytest

            base = self.copy.parent / "basetemp"
            options = ["-q", "-x", "-rfE", "-p", "no:cacheprovider", f"--basetemp={base}", f"--rootdir={self.copy}"]
            code = int(pytest.main([*options, str(self.copy / file)]))
            if trace is not None:
                lines.stop()
                trace.write_text(json.dumps(lines.seen()))
        finally:
            sys.stdout.flush()
            os._exit(code)


def _wait(child: int, end: float) -> tuple[int, float]:
    """Exit code and seconds of a child, which is ended with all that it started when its time is over."""
    while True:
        ended, status, usage = os.wait4(child, os.WNOHANG)
        late = time.monotonic() > end
        if ended or late:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)  # also what a finished test has left running
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else code - 1, usage.ru_utime + usage.ru_stime
        if late:
            os.waitpid(child, 0)
            return TIMED_OUT, float("inf")
        time.sleep(0.02)


#: Test files without a fast test end so.
NO_TESTS = 5


@dataclasses.dataclass(frozen=True)
class Coverage:
    """What one test file executes when nothing is wrong: its seconds, and the lines of each file of the project."""

    test: str
    seconds: float
    clock: float
    lines: dict[str, frozenset[int]]


def measure(tests: Tests, folder: Path, limit: float = 1200) -> list[Coverage]:
    """Runs every test file once, unless it and all files that it executes are as they were; raises where one fails.

    Several processes share this work: each takes the files in another order and reads what the others have measured.
    """
    found = []
    folder.mkdir(parents=True, exist_ok=True)
    files = tests.files()
    random.Random(os.getpid()).shuffle(files)
    for i, file in enumerate(files):
        kept = folder / (file.replace("/", ".") + ".json")
        record = json.loads(kept.read_text()) if kept.is_file() else None
        if record is None or any(digest(tests.copy / name) != value for name, value in record["digests"].items()):
            trace = folder / f"trace{os.getpid()}.json"
            ran = tests.run(file, limit, trace)
            if ran.code not in (PASSED, NO_TESTS):
                raise SystemExit(f"{file} fails without a mutant (code {ran.code}): {ran.words}; see {tests.log}")
            lines = json.loads(trace.read_text())
            digests = {name: digest(tests.copy / name) for name in {*lines, file}}
            record = {"seconds": ran.seconds, "clock": ran.clock, "lines": lines, "digests": digests}
            trace.write_text(json.dumps(record))
            trace.replace(kept)
            print(f"[{i + 1}/{len(files)}] {file}: {ran.seconds:.1f} s, {len(lines)} files", flush=True)
        lines = {name: frozenset(numbers) for name, numbers in record["lines"].items()}
        found.append(Coverage(file, record["seconds"], record["clock"], lines))
    return sorted(found, key=lambda each: each.test)
