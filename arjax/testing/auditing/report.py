"""An audit: all tests of a subject within some seconds, and the report of them."""

from __future__ import annotations

import dataclasses
import functools
import os
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from arjax.core.errors import refuse
from arjax.core.files import user_path, write_json, write_text
from arjax.core.options import checked_arguments
from arjax.core.spec import EventSpec, check_spec

# The tests register themselves; cheap ones come first.
# isort: off
from arjax.testing.auditing import repeats, conditionals, claims, draws, files, mass  # noqa: F401

# isort: on
from arjax.testing.auditing.findings import (
    EXIT_CODES,
    FAILED,
    NOT_DONE,
    TESTS,
    UNDECIDED,
    Fault,
    Finding,
    Verdict,
    verdict_of,
)
from arjax.testing.auditing.page import page_of
from arjax.testing.auditing.subject import Budget, Subject, as_data, check_subject
from arjax.testing.laws import Law, LawTest, NotSupported, require

#: Characters in a line of a printed report.
WIDTH = 110


@dataclasses.dataclass(frozen=True, repr=False)
class Report:
    """The findings of an audit by the names of the tests, the verdict, and its seconds."""

    name: str
    findings: Mapping[str, Finding]
    verdict: Verdict
    seconds: float

    @property
    def exit_code(self) -> int:
        """0 for a valid model, 3 for an invalid one, 4 where it is not decidable."""
        return EXIT_CODES[self.verdict.status]

    def __repr__(self) -> str:
        return f"Report({self.name!r}: {self.verdict.status})"

    def __str__(self) -> str:
        lines = textwrap.wrap(f"{self.name} is {self.verdict.status}: {self.verdict.words}", WIDTH)
        if self.verdict.witness:
            lines += textwrap.wrap(f"witness: {in_short(self.verdict.witness)}", WIDTH)
        lines.append("")
        for name, finding in self.findings.items():
            first, *others = textwrap.wrap(finding.words, WIDTH - 32) or [""]
            lines += [f"{name:<16}{finding.status:<16}{first}", *(f"{'':<32}{other}" for other in others)]
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """Returns the report in types of JSON."""
        verdict = {"verdict": self.verdict.status, "why": self.verdict.words, "witness": _plain(self.verdict.witness)}
        findings = {name: _plain(each._asdict()) for name, each in self.findings.items()}
        return {"name": self.name, **verdict, "seconds": round(self.seconds, 3), "findings": findings}

    def save(self, path: str | os.PathLike) -> Path:
        """Writes the report as a page (.html) or as JSON (.json), with the whole witness; returns the path."""
        file = report_file(path)
        if file.suffix.lower() == ".json":
            write_json(file, self.as_json())
        else:
            write_text(file, page_of(self.as_json()))
        return file


def report_file(path: str | os.PathLike) -> Path:
    """Returns the path of a report; refuses one that is neither a page nor JSON."""
    file = user_path(path)
    is_kind = file.suffix.lower() in (".html", ".htm", ".json")
    refuse((not is_kind, f"a report is a file such as audit.html or audit.json, not {str(path)!r}"))
    return file


def in_short(witness: Mapping[str, Any]) -> str:
    """Returns a witness in a line; long arrays are cut off, and stand in the file of the report."""
    with np.printoptions(threshold=24, edgeitems=4, precision=5, linewidth=10_000):
        return ", ".join(f"{name} = {' '.join(str(value).split())}" for name, value in witness.items())


def _plain(value: Any) -> Any:
    """Arrays and numbers of numpy as those of JSON; numbers that are not finite as texts."""
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value


def make_subject(subject: Any = None, event: EventSpec | None = None, **functions: Any) -> Subject:
    """Returns the subject of the arguments of `audit`, checked."""
    if subject is not None:
        has = isinstance(subject, Subject) or hasattr(subject, "as_subject")
        refuse(
            (
                not has,
                f"audit takes a trained model, as from arjax.open_run, or functions by their names, not {subject!r}",
            ),
            (event is not None, "a trained model has its event: leave it out"),
        )
        made = subject if isinstance(subject, Subject) else subject.as_subject()
        made = dataclasses.replace(made, **functions)
    else:
        refuse((event is None, "an audit of functions needs event=arjax.EventSpec(...), the form of an example"))
        assert event is not None, "it was refused"
        check_spec(event, EventSpec)
        made = Subject(event, **functions)
    if made.data is not None:
        made = dataclasses.replace(made, data=as_data(made.event, made.data))
    check_subject(made)
    return made


@checked_arguments(like=Subject, seed=0)
def audit(subject: Any = None, *, budget_s: float = 60.0, seed: int = 0, quiet: bool = False, **options: Any) -> Report:
    """Audits whether the scores of a model are log-probabilities, and its samples and conditionals fit them.

        report = arjax.audit(log_prob=f, event=arjax.EventSpec((6,), (), "tokens", 5))
        report = arjax.audit(arjax.open_run("runs/digits"))
        print(report); report.save("audit.html")

    Args:
      subject: a trained model of arjax; None for functions.
      budget_s: seconds, about; a test for which there is no time is not decidable.
      seed: of the examples and draws.
      quiet: prints nothing about work that takes long.
      **options: the functions and claims, fields of `arjax.testing.auditing.Subject`: `event`, `log_prob`,
        `conditionals`, `conditional_log_prob`, `sample`, `elsewhere`, `fit`, `data`, `truth`, `claim`, `order`, `end`,
        `smaller`, `reported`, `unit`, `tolerance`, `batch_size`, `name`.

    Raises:
      UserError: wrong arguments; functions that fail on the first two examples, or return other shapes.
    """
    begin = time.monotonic()
    made = make_subject(subject, **options)
    budget = Budget(budget_s, quiet)
    findings = {name: _finding(made, name, np.random.default_rng((seed, n)), budget) for n, name in enumerate(TESTS)}
    unproven = made.log_prob is not None and made.conditionals is None
    verdict = verdict_of(findings, chained=made.log_prob is not None, tabled=not unproven)
    return Report(made.name, findings, verdict, time.monotonic() - begin)


def _finding(subject: Subject, name: str, rng: np.random.Generator, budget: Budget) -> Finding:
    if lacking := TESTS[name].lacks(subject):
        return Finding(NOT_DONE, f"needs {lacking}")
    if not budget.left:
        return Finding(UNDECIDED, "there was no time left: raise budget_s")
    try:
        with np.errstate(all="ignore"):
            return TESTS[name].run(subject, rng, budget)
    except Fault as fault:
        return fault.finding


@LawTest
def audit_laws(subject: Any = None, *, budget_s: float = 60.0, seed: int = 0, **options: Any) -> list[Law]:
    """A pytest test of a model of one's own, with an item for each test of the audit and one for the verdict:

        test_mine = arjax.testing.audit(log_prob=f, event=arjax.EventSpec((6,), (), "tokens", 5))

    The arguments are those of `arjax.audit`. Tests without their functions are skipped, and a verdict that is not
    "valid" fails.
    """
    run = functools.cache(lambda: audit(subject, budget_s=budget_s, seed=seed, quiet=True, **options))

    def check(name: str) -> None:
        finding = run().findings[name]
        if finding.status in (NOT_DONE, UNDECIDED):
            raise NotSupported(finding.words)
        require(finding.status != FAILED, f"{finding.words}; witness: {in_short(finding.witness)}")

    def check_verdict() -> None:
        require(run().exit_code == 0, str(run()))

    return [*(Law(name, functools.partial(check, name)) for name in TESTS), Law("verdict", check_verdict)]
