"""Runs a notebook that is written as a Python file with cells, and writes it with its outputs.

Run: python scripts/run_notebook.py docs/lecture/1_joints_and_orders.py build/lecture/1_joints_and_orders.ipynb
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

from arjax.cli.command_line import Parser, tell_mistakes
from arjax.core.errors import UserError

#: Seconds that one cell may take.
TIMEOUT = 600


def run(source: Path, target: Path) -> None:
    """Runs all cells in a kernel of this interpreter; raises `UserError` without such a file."""
    if not source.is_file():
        raise UserError(f"there is no file {source}")
    notebook = jupytext.read(source)
    resources = {"metadata": {"path": str(source.parent)}}
    NotebookClient(notebook, kernel_name="python3", timeout=TIMEOUT, resources=resources).execute()
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target)


def main(argv: Sequence[str]) -> int:
    """Reads the flags and runs."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the file with cells")
    parser.add_argument("target", type=Path, help="the notebook with its outputs")
    flags = parser.parse_args(argv)
    run(flags.source, flags.target)
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("run_notebook", lambda: main(sys.argv[1:])))
