"""How commands and scripts end, and the arguments of scripts: one sentence for each mistake. Imports nothing heavy."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from absl import flags
from absl.flags import argparse_flags

from arjax.cli.output import guarded_output
from arjax.core.errors import UserError, did_you_mean, refuse
from arjax.core.kept_programs import keep_programs

EXIT_USER_ERROR = 2
#: Of a training that SIGTERM or Ctrl-C has stopped, its state saved: not 0, so that an engine starts it again.
EXIT_STOPPED = 143
#: The most characters of a sentence on stderr.
LONGEST = 4000
#: What follows the name of an unknown flag that is like no other.
LISTED = " (--help lists all)"


class Parser(argparse_flags.ArgumentParser):
    """An argument parser that raises `UserError`s, with the nearest name, and takes no flag twice."""

    def __init__(self, **options: Any):
        super().__init__(allow_abbrev=False, **options)

    def parse_args(self, args=None, namespace=None):
        known, unknown = self.parse_known_args(args, namespace)
        if unknown and unknown[0].startswith("-"):
            commands = (c for a in self._actions if a.nargs == argparse.PARSER for c in a.choices.values())
            name, parsers = unknown[0].partition("=")[0], (self, *commands)
            options = {o for parser in parsers for o in parser._option_string_actions if o[:2] == "--"}
            raise UserError(f"unknown flag {name!r}{did_you_mean(name, options, LISTED)}")
        if unknown:
            raise UserError(f"unexpected argument {unknown[0]!r}")
        return known

    def parse_known_args(self, args=None, namespace=None):
        args = with_flagfiles(sys.argv[1:] if args is None else args)
        names = [arg.partition("=")[0] for arg in args]
        for name in names:
            action = self._option_string_actions.get(name)
            if action is not None and names.count(name) > 1:
                several = f": write all of its values after one {name}" if action.nargs in ("*", "+") else ""
                raise UserError(f"{name} is given twice{several}")
        try:
            return super().parse_known_args(args, namespace)
        except flags.Error as error:
            raise UserError(str(error)) from error

    def _check_value(self, action: argparse.Action, value: str) -> None:
        if action.choices is not None and value not in action.choices:
            raise UserError(f"{_name_of(action)} cannot be {value!r}{did_you_mean(value, action.choices)}")

    def _get_value(self, action: argparse.Action, arg_string: str):
        if action.type not in (int, float):
            return super()._get_value(action, arg_string)
        from arjax.core.values import parse_value

        return parse_value(arg_string, action.type(), _name_of(action))

    def error(self, message: str) -> None:  # type: ignore[override]
        name, _, fault = message.removeprefix("argument ").partition(": ")
        refuse(("required" in name, f"these arguments are missing: {fault}{LISTED}"))
        raise UserError(f"{name} needs a value" if fault.startswith("expected") else f"{name}: {fault}")


def _name_of(action: argparse.Action) -> str:
    return max(action.option_strings, key=len, default=action.dest)


def with_flagfiles(arguments: Sequence[str]) -> list[str]:
    """Returns arguments with those of the files that `--flagfile` names in its place."""
    try:
        return flags.FLAGS.read_flags_from_files(list(arguments))
    except (flags.Error, ValueError) as error:
        raise UserError(f"--flagfile needs a file of flags: {str(error).removeprefix('ERROR:: ')}") from error


def workdir_of(argv: Sequence[str], text: str | None) -> Path:
    """Returns the folder that a script takes as its only argument; `text` is its help."""
    parser = Parser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdir", type=Path, help="folder for the results")
    return parser.parse_args(argv).workdir


def tell_mistakes(program: str, main: Callable[[], int]) -> int:
    """Runs `main` and returns its exit code; a `UserError`, or an output that cannot be written once the work is done,
    becomes one sentence on stderr and exit code 2. What `main` compiles is kept for later processes.
    """
    keep_programs()
    try:
        with guarded_output(program) as output:
            code = _exit_code(program, main)
    except BrokenPipeError:  # the reader of the output has ended, as in `arjax --mode=list | head`
        return 141
    return code or EXIT_USER_ERROR * bool(output.failure)


def leave(code: int) -> NoReturn:
    """Ends the process without Python's search of all objects for cycles, which takes half a second."""
    gc.freeze()
    sys.exit(code)


def _exit_code(program: str, main: Callable[[], int]) -> int:
    try:
        return main()
    except UserError as error:
        sentence, code = str(error), getattr(error, "exit_code", EXIT_USER_ERROR)
    except MemoryError as error:
        sentence, code = f"this machine has too little memory{f': {error}' if str(error) else ''}", EXIT_USER_ERROR
    except (RuntimeError, ValueError) as error:
        from arjax.core.programs import is_out_of_memory  # JAX is there, where an error is its own
        from arjax.parallel.lost import end_if_lost

        if not is_out_of_memory(error):
            end_if_lost(error, program)
            raise
        sentence, code = f"the devices have too little memory: {error}", EXIT_USER_ERROR
    except KeyboardInterrupt as stop:
        sentence, code = f"interrupted{f': {stop}' if str(stop) else ''}", 130
    sentence = " ".join(sentence.split())
    shown = sentence if len(sentence) <= LONGEST else sentence[:LONGEST] + "..."  # files of others hold any name
    print(f"{program}: {shown}", file=sys.stderr)
    return code
