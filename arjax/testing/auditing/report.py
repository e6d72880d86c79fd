"""An audit: all tests of a subject within some seconds, and the report of them as text, page and JSON."""

from __future__ import annotations

import dataclasses
import functools
import html
import json
import os
import textwrap
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arjax.core.errors import refuse
from arjax.core.files import user_path, write_json, write_text
from arjax.core.options import checked_arguments
from arjax.core.spec import NO_CONTEXT, EventSpec, check_spec
from arjax.data.sources import array_source, read_all

# The tests register themselves; cheap ones come first.
# isort: off
from arjax.testing.auditing import repeats, conditionals, claims, mass  # noqa: F401

# isort: on
from arjax.testing.auditing.findings import FAILED, NOT_DONE, TESTS, UNDECIDED, Fault, Finding, Verdict, verdict_of
from arjax.testing.auditing.subject import Subject, check_subject
from arjax.testing.laws import Law, LawTest, NotSupported, require

#: Characters in a line of a printed report.
WIDTH = 110
STYLE = """body { font: 15px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222 }
td, th { text-align: left; vertical-align: top; padding: .3em 1em .3em 0; border-top: 1px solid #ddd }
.passed, .valid { color: #2e7d32 } .failed, .invalid { color: #b3261e } .warned { color: #b26a00 }
pre { background: #f4f4f4; padding: 1em; overflow-x: auto } figure { display: inline-block; margin: 1em 2em 1em 0 }"""
#: The classes of a histogram.
CLASSES = 30


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
        return self.verdict.exit_code

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
        """Returns the report in types of JSON; numbers that are not finite are texts."""
        verdict = {"verdict": self.verdict.status, "why": self.verdict.words, "witness": self.verdict.witness}
        findings = {name: each._asdict() for name, each in self.findings.items()}
        report = {"name": self.name, **verdict, "seconds": round(self.seconds, 3), "findings": findings}
        return json.loads(json.dumps(report, default=lambda array: array.tolist()), parse_constant=str)

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


def page_of(report: Mapping[str, Any]) -> str:
    """Returns the HTML of a report in types of JSON."""
    rows, pictures, title = "", "", html.escape(report["name"])
    for name, finding in report["findings"].items():
        lists = {key: value for key, value in finding["numbers"].items() if isinstance(value, list)}
        small = "; ".join(f"{key} {value}" for key, value in finding["numbers"].items() if key not in lists)
        status = f'<b class="{finding["status"]}">{finding["status"]}</b>'
        rows += f"<tr><td>{name}<td>{status}<td>{html.escape(finding['words'])}<td>{small}"
        pictures += "".join(_picture(f"{name}: {key}", value) for key, value in lists.items())
    witness = f"<h2>Witness</h2><pre>{html.escape(json.dumps(report['witness']))}</pre>" if report["witness"] else ""
    return f"""<!doctype html><meta charset="utf-8"><title>audit of {title}</title>
<style>{STYLE}</style>
<h1>{title}: <span class="{report["verdict"]}">{report["verdict"]}</span></h1>
<p>{html.escape(report["why"])}</p>{witness}
<h2>Tests</h2><table>{rows}</table>
<div>{pictures}</div>
"""


def _picture(title: str, values: Sequence[float]) -> str:
    """Bars of few values, such as the mass over sizes; of many their histogram."""
    numbers = np.array(values, float)
    numbers = numbers[np.isfinite(numbers)]
    counts, edges = np.maximum(numbers, 0), np.array([1, len(numbers)])
    if len(numbers) > CLASSES:
        counts, edges = np.histogram(numbers, CLASSES)
    tall = max(float(counts.max(initial=0)), 1e-300)
    bars = (
        f'<rect x="{i}" y="{1 - part:.4f}" width=".9" height="{part:.4f}"/>' for i, part in enumerate(counts / tall)
    )
    form = f'width="300" height="140" viewBox="0 0 {len(counts)} 1" preserveAspectRatio="none" fill="#2b5f91"'
    caption = f"{html.escape(title)}: {edges[0]:.3g} to {edges[-1]:.3g}, bars to {tall:.4g}"
    return f"<figure><svg {form}>{''.join(bars)}</svg><figcaption>{caption}</figcaption></figure>"


def make_subject(subject: Any, functions: Mapping[str, Any]) -> Subject:
    """Returns the subject of the arguments of `audit`, checked."""
    if subject is None:
        needs = "an audit of functions needs event=arjax.EventSpec(...), the form of an example"
        refuse(("event" not in functions, needs))
        check_spec(functions["event"], EventSpec)
        made = Subject(**functions)
    else:
        of_model = f"audit takes a trained model, as from arjax.open_run, or functions by their names, not {subject!r}"
        refuse((not hasattr(subject, "as_subject"), of_model))
        refuse(("event" in functions, "a trained model has its event: leave it out"))
        made = dataclasses.replace(subject.as_subject(), **functions)
    if made.data is not None:
        examples = array_source(made.event, NO_CONTEXT, "given", {"x": made.data})
        made = dataclasses.replace(made, data=np.asarray(read_all(examples).x))
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
      budget_s: seconds, about; a test for which there is no time is not decidable. The clock is read before each call
        of a function, so that the last call may end later.
      seed: of the examples and draws.
      quiet: prints nothing about work that takes long.
      **options: the functions and claims, fields of `arjax.testing.auditing.Subject`: `event`, `log_prob`,
        `conditionals`, `conditional_log_prob`, `in_order`, `sample`, `elsewhere`, `fit`, `data`, `truth`, `claim`,
        `order`, `end`, `smaller`, `reported`, `unit`, `num_bytes`, `tolerance`, `batch_size`, `name`.

    Raises:
      UserError: wrong arguments; functions that fail on the first two examples, or return other shapes.
    """
    begin = time.monotonic()
    made = dataclasses.replace(make_subject(subject, options), _until=begin + budget_s, _quiet=quiet)
    findings = {name: _finding(made, name, np.random.default_rng((seed, n))) for n, name in enumerate(TESTS)}
    chained = ("kind",) * (made.log_prob is not None)
    unproven = chained and made.conditionals is None
    verdict = verdict_of(findings, () if unproven else ("conditionals", "leak", *chained))
    return Report(made.name, findings, verdict, time.monotonic() - begin)


def _finding(subject: Subject, name: str, rng: np.random.Generator) -> Finding:
    if lacking := TESTS[name].lacks(subject):
        return Finding(NOT_DONE, f"needs {lacking}")
    try:
        with np.errstate(all="ignore"):
            return TESTS[name].run(subject, rng)
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
