"""A fault: one wrong line, and the tests that fail with it."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Fault:
    """One wrong line.

    Attributes:
      what: the fault, in words.
      file: the file under `arjax/`.
      text: what stands there, exactly once.
      wrong: what stands there instead.
      caught_by: the tests that fail then, under `tests/`, as pytest names them.
      slow: whether these tests are slow, so that the fast suite does not notice the fault.
    """

    what: str
    file: str
    text: str
    wrong: str
    caught_by: tuple[str, ...]
    slow: bool = False


def faults_of(file: str, *caught_by: str):
    """Makes faults of one file that are caught by the same tests."""
    return lambda what, text, wrong, *others, slow=False: Fault(what, file, text, wrong, others or caught_by, slow)
