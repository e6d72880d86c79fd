"""What an audit says: the finding of each test, the table of all tests, and the verdict, a function of the findings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
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

    def __init__(self, finding: Finding):
        super().__init__(finding.words)
        self.finding = finding


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
    """Registers `audit_<name>(subject, rng, budget) -> Finding`; each of `needs` names functions that suffice."""

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


def numbers_in(witness: Mapping[str, Any]) -> int:
    """Returns the number of numbers in a witness, those without one last."""
    return sum(getattr(value, "size", 1) for value in witness.values()) or 2**60


def verdict_of(findings: Mapping[str, Finding], *, chained: bool, tabled: bool = True) -> Verdict:
    """Returns the verdict. A failure makes it invalid. It is valid if a test proves by itself that the scores are those
    of a distribution, or if the conditionals sum to 1 and leak nothing and, where there are whole scores beside them
    (`chained`), their products, of tables (`tabled`), are these. Else it is not decidable.
    """
    failed = {name: each for name, each in findings.items() if each.status == FAILED}
    if failed:
        name = min(failed, key=lambda name: numbers_in(failed[name].witness))
        others = ", ".join(other for other in failed if other != name)
        words = f"{name}: {failed[name].words}" + f" (also failed: {others})" * bool(others)
        return Verdict(INVALID, words, failed[name].witness)
    needed = ("conditionals", "leak", *(["kind"] if chained else []))
    proofs = [name for name, each in findings.items() if each.proves]
    if tabled and all(findings[name].status == PASSED for name in needed):
        proofs.append(" and ".join(needed))
    if proofs:
        warned = [f" (warning: {each.words})" for each in findings.values() if each.status == WARNED]
        undecided = ", ".join(name for name, each in findings.items() if each.status == UNDECIDED)
        warned += [f" (not decidable: {undecided})"] if undecided else []
        return Verdict(VALID, f"shown by {', '.join(proofs)}{''.join(warned)}")
    reasons = [f"{name}: {each.words}" for name, each in findings.items() if each.status == UNDECIDED]
    remedy = "nothing shows that the probabilities sum to 1: give conditionals, or an event that can be enumerated"
    return Verdict(UNDECIDED, "; ".join(reasons) or remedy)
