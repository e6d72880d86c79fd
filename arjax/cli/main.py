"""The command `arjax`: reads the flags and calls the mode, which imports JAX: `--help` is instant, and `plan` sets the
number of simulated devices first.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from arjax.cli.command_line import leave
from arjax.cli.flags import launch
from arjax.cli.modes import MODES, parse_flags

#: The environment variable of a process that ends with its parent: the parent's process id.
PARENT = "ARJAX_PARENT"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line `argv` (without the program's name; `sys.argv` by default); returns the exit code."""
    return launch("arjax", parse_flags, _run_mode, argv)


def _run_mode(flags: Any) -> int:
    from arjax.core.plugins import trusting

    with trusting(flags.trust):
        return MODES[flags.mode].run(flags) or 0


def run() -> None:
    """Entry point of the console script."""
    end_with_parent()
    leave(main())


def marked_as_parent() -> dict[str, str]:
    """The environment for a process that ends with this one."""
    return os.environ | {PARENT: str(os.getpid())}


def end_with_parent(seconds: float = 1.0) -> None:
    """Asks this process to end, by SIGTERM, once the parent that its environment names is gone, as a training run then
    saves its state. A killed parent cannot signal its children: they look for a new parent once in `seconds`.
    """
    parent = os.environ.get(PARENT, "")
    if parent.isdigit():
        threading.Thread(target=_watch, args=(int(parent), seconds), daemon=True).start()


def _watch(parent: int, seconds: float) -> None:
    while os.getppid() == parent:
        time.sleep(seconds)
    print("arjax: the process that started this one is gone", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    run()
