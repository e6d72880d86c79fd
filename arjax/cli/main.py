"""The command `arjax`: reads the flags and calls the mode. Everything else is in the modules that it imports.

JAX is imported by the modes, not here: `--help` is instant, and `plan` sets the number of simulated devices first.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from arjax.cli.command_line import parse_flags, tell_mistakes
from arjax.cli.completion import SCRIPTS, answer
from arjax.core.parent import end_with_parent
from arjax.core.trust import trusting


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line `argv` (without the program's name; `sys.argv` by default); returns the exit code."""

    def call_mode() -> int:
        arguments = sys.argv[1:] if argv is None else argv
        if arguments[:1] == ["--complete"]:
            return answer("arjax", arguments[1:])
        flags = parse_flags(arguments)
        if flags.completion:
            print(SCRIPTS[flags.completion], end="")
            return 0
        from arjax.cli import modes

        with trusting(flags.trust):
            return getattr(modes, f"run_{flags.mode}")(flags)

    return tell_mistakes("arjax", call_mode)


def run() -> None:
    """Entry point of the console script."""
    end_with_parent()
    sys.exit(main())


if __name__ == "__main__":
    run()
