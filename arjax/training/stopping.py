"""Reasons to end a run before its last step: a signal, or a loss that is not finite."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

import jax

from arjax.core.errors import UserError
from arjax.parallel.processes import on_any_process

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class TrainingDiverged(UserError):
    """The loss is not finite. The command line ends with `exit_code`."""

    exit_code = 3


class StopSignal:
    """Turns the first SIGTERM or SIGINT into a request to stop; a second one acts as usual. A context manager."""

    def __init__(self):
        self._received = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        # Python allows handlers in the main thread only; elsewhere (some notebooks) signals act as usual.
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = True
        self.__exit__()

    def requested(self, at_pause: bool) -> bool:
        """Whether to stop now. Several processes can only agree on it at a pause, where all of them are."""
        if jax.process_count() == 1:
            return self._received
        return at_pause and on_any_process(self._received)
