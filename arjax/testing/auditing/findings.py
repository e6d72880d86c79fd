"""What an audit says: the finding of each test, the table of all tests, and the verdict, a function of the findings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

PASSED, WARNED, FAILED, UNDECIDED, NOT_DONE = "passed", "warned", "failed", "not decidable", "not done"
VALID, INVALID = "valid", "invalid"
#: The exit code of each verdict; 2 is a mistake of the user.
EXIT_CODES = {VALID: 0, INVALID: 3, UNDECIDED: 4}


class Finding(NamedTuple):
    """What one test says.

    Attributes:
      status: "passed", "warned" (it says something about the model, and nothing against its scores), "failed", "not
        decidable", or "not done": a function is missing.
      words: a sentence.
      numbers: sizes of what was measured; lists become pictures of the page.
      witness: arrays and numbers by which anyone can recompute a failure.
      proves: whether it alone shows that the scores are those of a distribution, or below those of one.
    """

    status: str
    words: str
    numbers: Mapping[str, Any] = {}
    witness: Mapping[str, Any] = {}
    proves: bool = False


class Fault(Exception):
    """A function of the subject fails, or returns what is no score: the finding of the test that called it."""

    def __init__(self, words: str, status: str = UNDECIDED, witness: Mapping[str, Any] | None = None):
        super().__init__(words)
        self.finding = Finding(status, words, witness=witness or {})


class AuditTest(NamedTuple):
    """A test: what it finds, the functions that it needs, one of some sets of names, and the function of it."""

    finds: str
    needs: tuple[tuple[str, ...], ...]
    run: Callable[..., Finding]

    def lacks(self, subject: Any) -> str:
        """Returns the names of functions that are missing, "" if it can be done."""
        if any(all(getattr(subject, name) is not None for name in names) for names in self.needs):
            return ""
        return ", or ".join(" and ".join(names) for names in self.needs)


#: All tests by name.
TESTS: dict[str, AuditTest] = {}


def audit_test(*needs: str, finds: str) -> Callable[..., Any]:
    """Registers `audit_<name>(subject, rng) -> Finding`; each of `needs` names functions that suffice."""

    def register(function: Callable[..., Finding]) -> Callable[..., Finding]:
        name = function.__name__.removeprefix("audit_")
        TESTS[name] = AuditTest(finds, tuple(tuple(names.split()) for names in needs), function)
        return function

    return register


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The verdict: "valid", "invalid" or "not decidable", the reason, and the smallest witness of a failure."""

    status: str
    words: str
    witness: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.status]


def numbers_in(witness: Mapping[str, Any]) -> int:
    """Returns the number of numbers in a witness, those without one last."""
    return sum(getattr(value, "size", 1) for value in witness.values()) or 2**60


def verdict_of(findings: Mapping[str, Finding], together: Sequence[str] = ()) -> Verdict:
    """Returns the verdict. A failure makes it invalid. It is valid if a test proves by itself that the scores are those
    of a distribution, or if some tests, which prove it `together`, have passed. Else it is not decidable.
    """

    def having(status: str) -> list[str]:
        return [name for name, each in findings.items() if each.status == status]

    if failed := having(FAILED):
        first = min(failed, key=lambda name: numbers_in(findings[name].witness))
        others = ", ".join(name for name in failed if name != first)
        words = f"{first}: {findings[first].words}" + f" (also failed: {others})" * bool(others)
        return Verdict(INVALID, words, findings[first].witness)
    proofs = [name for name, each in findings.items() if each.proves]
    proofs += [" and ".join(together)] if together and set(together) <= set(having(PASSED)) else []
    undecided = having(UNDECIDED)
    if proofs:
        remarks = [f" (warning: {findings[name].words})" for name in having(WARNED)]
        remarks += [f" (not decidable: {', '.join(undecided)})"] if undecided else []
        return Verdict(VALID, f"shown by {', '.join(proofs)}{''.join(remarks)}")
    remedy = "nothing shows that the probabilities sum to 1: give conditionals, or an event that can be enumerated"
    return Verdict(UNDECIDED, "; ".join(f"{name}: {findings[name].words}" for name in undecided) or remedy)
