"""A run of several processes that loses one of them: the others end with one sentence and an exit code of their own."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import sys
import threading
import time
from typing import NoReturn, TextIO

#: The exit code of a process whose run has lost another process.
EXIT_LOST = 6
#: After so many seconds without a sign of life a process counts as lost.
HEARTBEAT_SECONDS = 10
#: What C++ code of JAX prints of a lost process, before it aborts; what it raises when a collective finds one gone.
_FATAL = re.compile(r"F\d{4} |.*(Polled an error|error polling to propagate|Failed to retrieve preemption notice)")
_COLLECTIVE = re.compile("gloo|nccl|coordination|heartbeat|UNAVAILABLE|DEADLINE_EXCEEDED|connection", re.IGNORECASE)
_SILENT_0 = re.compile("UNAVAILABLE|DEADLINE_EXCEEDED")  # process 0 runs the service that all others ask
_UNHEALTHY = re.compile(r"(?:stopped sending heartbeats\):|task:)\s*(?:/job:\w+/(?:replica:\d+/)?task:)?(\d+)")
_reads = threading.Event()


def end_if_lost(error: Exception, program: str) -> None:
    """Ends this process if its computation has failed because another one is gone: JAX finds which in some seconds."""
    if _reads.is_set() and _COLLECTIVE.search(str(error)):
        time.sleep(HEARTBEAT_SECONDS + 5)
        _end(sys.stderr, program, "")


def tell_of_lost_processes(program: str = "arjax") -> None:
    """From here on, a lost process is reported in one sentence, where JAX prints its stack and aborts.

    JAX writes to the file descriptor 2 and aborts in a thread of its own. This reads what comes there, passes it on to
    the stderr of this process, and ends the process when JAX tells of a loss; until then, `sleep` as the handler of
    SIGABRT holds the thread that aborts: its argument, the number of the signal, is 6.
    """
    stderr = os.fdopen(os.dup(2), "w", buffering=1)
    reader, writer = os.pipe()
    sys.stderr.flush()
    os.dup2(writer, 2)
    os.close(writer)
    if sys.stderr.fileno() == 2:
        sys.stderr = stderr
    libc = ctypes.CDLL(None)
    libc.signal.restype, libc.signal.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p)
    libc.signal(signal.SIGABRT, ctypes.cast(libc.sleep, ctypes.c_void_p))
    _reads.set()
    threading.Thread(target=_read, args=(reader, stderr, program), daemon=True).start()


def _read(reader: int, stderr: TextIO, program: str) -> None:
    said = ""
    with os.fdopen(reader, errors="replace") as lines:
        for line in lines:
            said += line if said or _FATAL.match(line) else ""
            if not said:
                stderr.write(line)
            elif line.startswith("F") or "Check failure stack trace" in line:
                _end(stderr, program, said)


def _end(stderr: TextIO, program: str, said: str) -> NoReturn:
    lost = _UNHEALTHY.search(said)
    if lost:
        which = f"process {lost[1]} of this run is lost"
    else:
        which = f"{'process 0' if _SILENT_0.search(said) else 'another process'} of this run is lost"
    sentence = f"{program}: {which}; the same command, given to all processes, goes on from the last checkpoint"
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    print(sentence, file=stderr, flush=True)
    os._exit(EXIT_LOST)
