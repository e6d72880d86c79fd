"""Do two checkouts compute the same bits on this machine? Prints what differs, and exits with 1 if anything does.

    python scripts/same_bits.py BEFORE AFTER                    # folders of clones, such as worktrees
    python scripts/same_bits.py BEFORE AFTER --only=network     # cases whose names begin so
    python scripts/same_bits.py BEFORE AFTER --quick            # scores only: no first parameters, trainings and draws

The cases are those of `tests/golden.json` of this checkout. A checkout with a file `tests/golden_cases.py` runs them by
that one, others by that of this checkout. Compared are scores, first and trained parameters with their paths,
losses, gradients, draws and compressed files. Both compile as the tests do, unless JAX_DISABLE_MOST_OPTIMIZATIONS=0.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def digests(value: Any, path: str = "") -> dict[str, str]:
    """What a tree of arrays, texts and bytes holds: a digest of each leaf by its path."""
    import jax
    import numpy as np

    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {name: text for key, each in value.items() for name, text in digests(each, f"{path}/{key}").items()}
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return {f"{path}/{line}": "" for line in value}
    if isinstance(value, bytes):
        return {path: hashlib.sha256(value).hexdigest()[:16]}
    found = {}
    for keys, leaf in jax.tree.leaves_with_path(value):
        array = np.ascontiguousarray(leaf)
        text = f"{array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()[:16]}"
        found[path + jax.tree_util.keystr(keys)] = text
    return found


def run(cases_file: Path, record_file: Path, only: str, thorough: bool, out: Path) -> None:
    """Runs the cases in this process, and writes the digests of all that they give."""
    spec = importlib.util.spec_from_file_location("golden_cases", cases_file)
    cases = importlib.util.module_from_spec(spec)
    sys.modules["golden_cases"] = cases
    spec.loader.exec_module(cases)
    found = {}
    for title, entry in json.loads(record_file.read_text()).items():
        if title.startswith(only):
            try:
                values, more = cases.measure(entry["case"], thorough)
                found[title] = digests(values | more)
            except Exception:
                found[title] = {"error": traceback.format_exc(limit=-2)}
            print(".", end="", flush=True, file=sys.stderr)
    print(file=sys.stderr)
    out.write_text(json.dumps(found))


def started(checkout: Path, only: str, quick: bool, out: Path) -> subprocess.Popen:
    """Runs the cases in a checkout, in a process of its own."""
    own = checkout / "tests/golden_cases.py"
    cases = own if own.exists() else ROOT / "tests/golden_cases.py"
    variables = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "JAX_TRACEBACK_IN_LOCATIONS_LIMIT": "0", **os.environ}
    variables |= {"PYTHONPATH": str(checkout), "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
    command = [sys.executable, __file__, "--run", str(cases), f"--only={only}", f"--out={out}", *["--quick"] * quick]
    return subprocess.Popen(command, env=variables, cwd=checkout)


def main() -> None:
    """Compares two checkouts, or, with `--run`, is the process of one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkouts", nargs="*", type=Path, help="two folders")
    parser.add_argument("--only", default="", help="the beginning of the names of the cases")
    parser.add_argument("--quick", action="store_true", help="scores only")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        run(args.run, ROOT / "tests/golden.json", args.only, not args.quick, args.out)
        return
    if len(args.checkouts) != 2:
        parser.error("name two folders of checkouts")
    with tempfile.TemporaryDirectory() as folder:
        outs = [Path(folder, f"{i}.json") for i in range(2)]
        pairs = zip(args.checkouts, outs, strict=True)
        processes = [started(checkout.resolve(), args.only, args.quick, out) for checkout, out in pairs]
        codes = [process.wait() for process in processes]
        if any(codes):
            sys.exit("a checkout cannot run the cases")
        before, after = (json.loads(out.read_text()) for out in outs)
    differ = [line for title in before for line in differences(title, before[title], after[title])]
    print("\n".join(differ) or f"{len(before)} cases have the same bits")
    sys.exit(1 if differ else 0)


def differences(title: str, before: dict[str, str], after: dict[str, str]) -> list[str]:
    """A line for each leaf that has changed, is gone or is new; or for the error of a checkout."""
    sides = {"before": before, "after": after}
    if errors := [f"{title}: an error {side}: {each['error']}" for side, each in sides.items() if "error" in each]:
        return errors
    lines = []
    for name in sorted(before.keys() | after.keys()):
        if name not in after or name not in before:
            lines.append(
                f"{title}: {name} {'is gone' if name in before else 'is new'}: {before.get(name, after.get(name))}"
            )
        elif before[name] != after[name]:
            lines.append(f"{title}: {name} differs: {before[name]} -> {after[name]}")
    return lines


if __name__ == "__main__":
    main()
