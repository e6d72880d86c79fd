"""How many random mistakes do the tests notice? Draws mutants, runs the tests that execute them, lists the survivors.

    make mutants SEED=2 NUM=300      # runs/mutants/seed2.jsonl; the same command goes on where it was stopped
    python scripts/mutants.py --seed=2 --num=300 --report      # what is known so far, without running anything

A mutant is one change of one place (`mutants_places.py`), put into a copy of the project. The fast test files that
execute its statement are run one after another, each in a process of its own (what is traced once is not executed
again), quickest first, those of the same package as if they were three times as quick, while their usual seconds on a
processor add up to at most `--seconds`. The first that fails has killed the mutant; so has one that takes four times as
long as usual and a minute more.

An equivalent mutant changes nothing that could be noticed; it stands with the reason in
scripts/equivalent_mutants.toml and does not count. A mutant that is known is run again only if its file, or a test
file on which the verdict stands, has changed.
"""

from __future__ import annotations

import argparse
import ast
import collections
import dataclasses
import json
import random
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

from mutants_places import places, put_in
from mutants_tests import NO_TESTS, PASSED, TIMED_OUT, Coverage, Tests, digest, forget_bytecode, measure, sync

ROOT = Path(__file__).resolve().parent.parent
#: Folders of arjax/ without a mechanism of their own: configs, and laws, which are tests.
LEFT_OUT = ("configs", "testing")
EQUIVALENT = "scripts/equivalent_mutants.toml"
#: At most this part of the drawn mutants may be called equivalent.
MOST_EQUIVALENT = 0.1
KILLED = ("killed", "timed out")
#: Tests of the module of a mutant, and of its package, come as if they were so much quicker, those that only import it
#: as if slower.
_NAMED, _NEAR, _FAR = 100.0, 3.0, 5.0
#: Tests that compare all defaults and constants: they come first for statements outside of functions.
_OF_DEFAULTS = ("tests/core/test_defaults.py", "tests/docs/test_options.py")


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One change. Its name are the file, the function, and the line before and after, which stay when lines move."""

    file: str
    where: str
    operator: str
    old: str
    new: str
    span: tuple[int, int, int, int] = dataclasses.field(compare=False)
    statement: tuple[int, int] = dataclasses.field(compare=False)
    text: str = dataclasses.field(compare=False)

    @property
    def package(self) -> str:
        return self.file.split("/")[1]

    @property
    def name(self) -> tuple[str, str, str, str]:
        return self.file, self.where, self.old, self.new

    def __str__(self) -> str:
        place = f"{self.file}:{self.span[0]} {self.where} ({self.operator})"
        return f"{place}\n    - {self.old}\n    + {self.new}"


def packages_of(root: Path) -> list[str]:
    """The packages in which mutants are drawn."""
    return sorted({path.parent.name for path in (root / "arjax").glob("*/__init__.py")} - {*LEFT_OUT})


def mutants_of(root: Path, seed: int, num: int, packages: Iterable[str] = ()) -> list[Mutant]:
    """The first `num` of all places of the packages (all by default) in a random order, with one of the changes that
    each allows.
    """
    rng, sources = random.Random(seed), {}
    for package in packages or packages_of(root):
        for path in sorted((root / "arjax" / package).rglob("*.py")):
            sources[str(path.relative_to(root))] = path.read_text()
    every = [(file, place) for file, source in sources.items() for place in places(source)]
    rng.shuffle(every)
    drawn = []
    for file, place in every[:num]:
        text = rng.choice(place.instead)
        old, new = _lines(sources[file], place.span, text)
        drawn.append(Mutant(file, place.where, place.operator, old, new, place.span, place.statement, text))
    return drawn


def _lines(source: str, span: tuple[int, int, int, int], text: str) -> tuple[str, str]:
    """The lines of a place before and after a change, in one line each."""
    before, after = source.splitlines(), put_in(source, span, text).splitlines()
    first, last = span[0] - 1, span[2]
    longer = len(after) - len(before)
    changed = before[first:last], after[first : last + longer]
    return tuple(" ".join(line.strip() for line in lines) for lines in changed)


def tests_for(mutant: Mutant, coverage: list[Coverage], source: str, seconds: float) -> tuple[list[Coverage], int]:
    """The test files that are run for a mutant, and how many more execute it.

    A statement outside functions is executed when its module is imported: the tests of defaults come first, then files
    that execute functions.
    """
    lines = frozenset(range(mutant.statement[0], mutant.statement[1] + 1))
    inside = _lines_in_functions(source)
    covering = [c for c in coverage if c.lines.get(mutant.file, frozenset()) & lines]

    def rank(c: Coverage) -> float:
        if c.test in _OF_DEFAULTS and not lines & inside:
            return 0.0
        near = f"tests/{mutant.package}/" in c.test
        if Path(c.test).stem == f"test_{Path(mutant.file).stem}":
            return c.seconds / _NAMED
        far = not lines & inside and not c.lines[mutant.file] & inside
        return c.seconds * (_FAR if far else 1) / (_NEAR if near else 1)

    covering.sort(key=rank)
    chosen, spent = [], 0.0
    for c in covering:
        if not chosen or spent + c.seconds <= seconds:
            chosen.append(c)
            spent += c.seconds
    return chosen, len(covering) - len(chosen)


def _lines_in_functions(source: str) -> frozenset[int]:
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            body = node.body if isinstance(node.body, list) else [node.body]
            found |= set(range(body[0].lineno, node.end_lineno + 1))
    return frozenset(found)


def verdict(mutant: Mutant, tests: Tests, chosen: list[Coverage], left: int) -> dict:
    """Runs the tests of one mutant; a record without its name."""
    file = tests.copy / mutant.file
    right = file.read_text()
    file.write_text(put_in(right, mutant.span, mutant.text))
    forget_bytecode(file)
    seconds = 0.0
    try:
        for c in chosen:
            ran = tests.run(c.test, 60 + 4 * c.clock)
            seconds += ran.clock
            if ran.code not in (PASSED, NO_TESTS):
                how = "timed out" if ran.code == TIMED_OUT else "killed"
                return {"verdict": how, "by": c.test, "words": ran.words, "seconds": round(seconds, 1)}
    finally:
        file.write_text(right)
        forget_bytecode(file)
    return {"verdict": "survived" if chosen else "not executed", "left": left, "seconds": round(seconds, 1)}


class Known:
    """The verdicts of earlier runs, one JSON object in each line of a file."""

    def __init__(self, path: Path):
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text().splitlines() if path.is_file() else []
        self._records = {tuple(record["mutant"]): record for record in map(json.loads, lines)}

    def verdict(self, mutant: Mutant, root: Path) -> dict | None:
        """The verdict of a mutant, if the files on which it stands are as they were."""
        record = self._records.get(mutant.name)
        if record is None or any(digest(root / name) != value for name, value in record["digests"].items()):
            return None
        return record

    def add(self, mutant: Mutant, record: dict, root: Path, chosen: list[Coverage]) -> dict:
        """Keeps a verdict, which stands on the test file that killed the mutant, or on all that passed."""
        ran = [c for c in chosen if record.get("by", c.test) == c.test]
        files = {mutant.file, *(file for c in ran for file in (c.test, *c.lines) if file.startswith("tests/"))}
        digests = {file: digest(root / file) for file in sorted(files)}
        record = {"mutant": mutant.name, "operator": mutant.operator, **record, "digests": digests}
        with self._path.open("a") as out:
            out.write(json.dumps(record) + "\n")
        self._records[mutant.name] = record
        return record


def equivalents(root: Path) -> dict[tuple[str, str, str, str], str]:
    """The mutants that change nothing that could be noticed, by name, and why."""
    path = root / EQUIVALENT
    listed = tomllib.loads(path.read_text()).get("mutant", []) if path.is_file() else []
    return {(m["file"], m["where"], m["old"], m["new"]): m["why"] for m in listed}


def report(drawn: list[Mutant], records: list[dict | None], reasons: dict) -> str:
    """The shares of killed mutants by package, and those that are left."""
    counts, lists = collections.defaultdict(collections.Counter), collections.defaultdict(list)
    for mutant, record in zip(drawn, records, strict=True):
        what = record["verdict"] if record else "not run"
        what = "equivalent" if mutant.name in reasons and what not in KILLED else what
        for package in (mutant.package, "all"):
            counts[package][what] += 1
        by = f"\n    {record['by']}" if what == "timed out" else f"\n    {reasons.get(mutant.name, '')}"
        left = f"\n    {record['left']} more test files execute it" if record and record.get("left") else ""
        lists[what].append(f"{mutant}{by if what in ('timed out', 'equivalent') else left}")
    lines = []
    for what in ("survived", "not executed", "timed out", "equivalent"):
        lines += [f"{what}: {len(lists[what])}", *(f"  {text}" for text in lists[what]), ""]
    lines.append(f"{'package':14} drawn killed  share  timed out survived  not executed  equivalent  not run")
    for package in (*sorted(counts.keys() - {"all"}), "all"):
        c = counts[package]
        killed, counted = sum(c[how] for how in KILLED), sum(c.values()) - c["equivalent"] - c["not run"]
        share = f"{killed / counted:6.1%}" if counted else "     -"
        rest = f"{c['timed out']:9} {c['survived']:8} {c['not executed']:13} {c['equivalent']:11} {c['not run']:8}"
        lines.append(f"{package:14} {sum(c.values()):5} {killed:6} {share} {rest}")
    if counts["all"]["equivalent"] > MOST_EQUIVALENT * len(drawn):
        lines.append(f"more than {MOST_EQUIVALENT:.0%} are called equivalent")
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    """Reads the flags, measures what tests execute, runs what is not known yet, reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="of the draw [1]")
    parser.add_argument("--num", type=int, default=300, help="mutants [300]")
    parser.add_argument("--seconds", type=float, default=90, help="of the tests of one mutant, at most [90]")
    parser.add_argument(
        "--part", default="1/1", help="K/N: every N-th mutant from the K-th, for several processes [1/1]"
    )
    parser.add_argument("--root", type=Path, default=ROOT, help="the project [that of this script]")
    parser.add_argument("--report", action="store_true", help="reports what is known, and runs nothing")
    flags = parser.parse_args(argv)
    root, (part, parts) = flags.root.resolve(), map(int, flags.part.split("/"))
    drawn = mutants_of(root, flags.seed, flags.num)
    known = Known(root / "runs" / "mutants" / f"seed{flags.seed}.jsonl")
    if not flags.report:
        run_all(root, drawn, part, parts, known, flags.seconds)
    print(report(drawn, [known.verdict(mutant, root) for mutant in drawn], equivalents(root)))
    return 0


def run_all(root: Path, drawn: list[Mutant], part: int, parts: int, known: Known, seconds: float) -> None:
    """Runs those of a part of the mutants that are not known, in a copy of the project under build/."""
    copy = root / "build" / "mutants" / str(part) / "copy"
    copy.mkdir(parents=True, exist_ok=True)
    sync(root, copy)
    tests = Tests(copy, root / ".cache" / "mutants" / "jax")
    coverage = measure(tests, root / ".cache" / "mutants" / "coverage")
    for i in range(part - 1, len(drawn), parts):
        mutant = drawn[i]
        if known.verdict(mutant, copy) is None:
            chosen, left = tests_for(mutant, coverage, (copy / mutant.file).read_text(), seconds)
            record = known.add(mutant, verdict(mutant, tests, chosen, left), copy, chosen)
            end = f"{record['verdict']}, {record['seconds']} s {record.get('words', '')}"
            print(f"[{i + 1}/{len(drawn)}] {mutant}\n    {end}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
