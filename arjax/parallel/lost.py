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
#: How C++ code of JAX announces that it aborts because of a lost process, and lines about that before.
_LOST = "JAX distributed service detected fatal errors"
_ABOUT = re.compile(r"[IWE]\d{4} .*(coordination_service|preemption_sync_manager)")
_LOG_LINE = re.compile(r"[IWEF]\d{4} ")
_UNHEALTHY = re.compile(r"stopped sending heartbeats\):\s*(?:/job:\w+/(?:replica:\d+/)?task:)?(\d+)")
_SILENT_0 = re.compile("Failed to send RPC|DEADLINE_EXCEEDED")  # process 0 runs the service that all others ask
#: What a collective raises that finds another process gone.
_COLLECTIVE = re.compile("Gloo|NCCL|coordination service")
_reads = threading.Event()


def end_if_lost(error: Exception, program: str) -> None:
    """Ends this process if its computation has failed because another one is gone: JAX finds which in some seconds."""
    if _reads.is_set() and _COLLECTIVE.search(str(error)):
        time.sleep(HEARTBEAT_SECONDS + 5)
        print(str(error).partition("\n")[0], file=sys.stderr)
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
    held = ""  # about a process that may be lost
    with os.fdopen(reader, errors="replace") as lines:
        for line in lines:
            if _LOST in line:
                _end(stderr, program, held + line + (next(lines, "") if line.endswith(":\n") else ""))
            if _ABOUT.match(line) or (held and not _LOG_LINE.match(line)):
                held += line
            else:
                stderr.write(held + line)
                held = ""


def _end(stderr: TextIO, program: str, said: str) -> NoReturn:
    lost = _UNHEALTHY.search(said)
    if lost:
        which = f"process {lost[1]} of this run is lost"
    else:
        which = f"{'process 0' if _SILENT_0.search(said) else 'another process'} of this run is lost"
    sentence = f"{program}: {which}; the same command, given to all processes, resumes from the last checkpoint"
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    print(sentence, file=stderr, flush=True)
    os._exit(EXIT_LOST)
