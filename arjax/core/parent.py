"""Ends a job with the process that started it, in any case. Imports nothing heavy."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

#: The environment variable of a process that ends with its parent: the parent's process id.
VARIABLE = "ARJAX_PARENT"


def marked_as_parent() -> dict[str, str]:
    """The environment for a process that ends with this one."""
    return os.environ | {VARIABLE: str(os.getpid())}


def end_with_parent(seconds: float = 1.0) -> None:
    """Asks this process to end, by SIGTERM, once the parent that its environment names is gone.

    A killed parent cannot signal its children. They notice it by their new parent: they check it every so many
    `seconds`; a training run then saves its state and ends.
    """
    parent = os.environ.get(VARIABLE, "")
    if parent.isdigit():
        threading.Thread(target=_watch, args=(int(parent), seconds), daemon=True).start()


def _watch(parent: int, seconds: float) -> None:
    while os.getppid() == parent:
        time.sleep(seconds)
    print("arjax: the process that started this one is gone", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
