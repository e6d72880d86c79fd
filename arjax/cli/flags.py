"""The flags of a command, read by absl, and its launch: one sentence for each mistake. Imports nothing heavy."""

from __future__ import annotations

import logging as python_logging
import sys
import textwrap
import types
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from absl import app, flags, logging

from arjax.cli.command_line import LISTED, tell_mistakes, with_flagfiles
from arjax.core import __version__
from arjax.core.errors import UserError, did_you_mean, refuse

_WIDTH, _INDENT = 120, 26


class Flag(flags.Flag):
    """A flag of a command."""

    def __init__(
        self,
        name: str,
        form: str,  # how its value is written, such as `DIR`; "" for a switch
        about: str,
        absent: Any = "",  # its value where it is not given, with the type of its values; None for a whole number
        choices: Sequence[str] = (),  # its values, unless any are allowed
        least: int | None = None,  # the least whole number
        bare: str = "",  # the value of the flag without one
    ):
        self.form, self.absent, self.choices, self.least, self.bare = form, absent, choices, least, bare
        is_switch = isinstance(absent, bool) or bool(bare)
        super().__init__(flags.ArgumentParser(), flags.ArgumentSerializer(), name, None, about, boolean=is_switch)

    @property
    def usage(self) -> str:
        return f"--{self.name}{'=' * bool(self.form)}{self.form}"

    def _parse(self, argument: Any) -> Any:
        if self.bare and argument in ("true", "false"):
            return self.bare if argument == "true" else self.absent
        if self.choices and argument not in self.choices:
            raise UserError(f"--{self.name} cannot be {argument!r}{did_you_mean(argument, self.choices)}")
        if isinstance(self.absent, str):
            return argument
        from arjax.core.values import parse_value

        value = parse_value(argument, 0 if self.absent is None else self.absent, f"--{self.name}")
        if self.least is not None and value < self.least:
            raise UserError(f"--{self.name} must be at least {self.least}, not {value}")
        return value


def launch(
    program: str, read: Callable[[list[str]], Any], call: Callable[[Any], int], argv: Sequence[str] | None
) -> int:
    """Runs a command as `absl.app` does: `call` with the flags that `read` makes of `argv`. Returns the exit code."""

    def parse(arguments: list[str]) -> Any:
        logging.set_verbosity(logging.WARNING)  # absl would print all that is of interest to a developer
        result = read(arguments[1:])
        flags.FLAGS.mark_as_parsed()
        if flags.FLAGS.verbosity == logging.WARNING:
            python_logging.root.removeHandler(logging.get_absl_handler())
        return result

    def run() -> Any:
        try:
            app.run(call, [program, *(sys.argv[1:] if argv is None else argv)], flags_parser=parse)
        except SystemExit as end:
            return end.code

    return tell_mistakes(program, run)


def read_flags(
    program: str, arguments: Sequence[str], declared: Sequence[Flag], help_text: Callable[[], str]
) -> types.SimpleNamespace:
    """Returns the values of flags, the names of those that are `given`, and as `overrides` a pair (`train.steps`, text)
    for each `--config.train.steps=text` of a command with the flag `config.FIELD`.
    """
    arguments = with_flagfiles(arguments)
    texts = dict.fromkeys(("help", "h", "helpshort", "?"), help_text)
    texts |= {"version": lambda: f"{program} {__version__}"}
    texts |= {"helpfull": lambda: f"{help_text()}\n{flags.FLAGS.get_help()}"}
    for argument in arguments:
        if argument.startswith("-") and (text := texts.get(argument.lstrip("-").removesuffix("=true"))) is not None:
            print(text())
            sys.exit(0)
    values = flags.FlagValues()  # those of absl are global: they would still be set in the next call
    for flag in (*declared, *(flags.FLAGS[name] for name in flags.FLAGS)):
        if flag.name not in values and not flag.name.startswith("help"):
            values[flag.name] = flag
    try:
        values([program, *_joined(arguments, values)])
    except UserError:
        raise
    except flags.UnrecognizedFlagError as error:
        name, known = f"--{error.flagname}", [f"--{name}" for name in (*values, *texts)]
        known += [f"--no{name}" for name in values if values[name].boolean and error.flagname.startswith("no")]
        raise UserError(f"unknown flag {name!r}{did_you_mean(name, known, LISTED)}") from error
    except (flags.Error, ValueError) as error:
        raise UserError(str(error)) from error
    fields = [name for name in values if name.startswith("config.") and values[name].present]
    return types.SimpleNamespace(
        **{flag.name: flag.value if flag.present else flag.absent for flag in declared},
        given=[flag.name for flag in declared if flag.present],
        overrides=tuple((name.removeprefix("config."), values[name].value) for name in fields),
    )


def _joined(arguments: Sequence[str], values: flags.FlagValues) -> list[str]:
    """Returns the arguments as `--flag=value` each, and defines a flag for each field of the config among them."""
    joined, seen, rest = [], set(), list(arguments)
    while rest:
        argument = rest.pop(0)
        name, has_value, _ = argument.lstrip("-").partition("=")
        if not argument.startswith("-") or not name or " " in name:
            raise UserError(f"unexpected argument {argument!r}: all arguments are flags, such as --workdir=DIR")
        if "config.FIELD" in values and name.startswith("config.") and name not in values:
            flags.DEFINE_string(name, None, "a field of the config", flag_values=values)
        flag = values._flags().get(name)
        subject = name if flag is not None else name.removeprefix("no")  # --noverify
        refuse((subject in seen, f"--{name} is given twice"))
        seen.add(subject)
        is_switch = flag.boolean if flag is not None else subject in values and values[subject].boolean
        if getattr(flag, "bare", "") and rest and not rest[0].startswith("-"):
            is_switch = False  # its value is a word of its own
        if not has_value and not is_switch:
            if rest and not rest[0].startswith("--"):
                argument += f"={rest.pop(0)}"
            elif flag is not None:
                raise UserError(f"{argument} needs a value: write {argument}=...")
        joined.append(argument)
    return joined


def help_of(usage: str, about: str, declared: Iterable[Flag], more: str) -> str:
    """Returns the text of --help: the usage, a sentence about the command, its flags, and more about it."""
    rows = [(flag.usage, flag.help) for flag in declared]
    rows.append(("--help, --helpfull", "this text, and with it the flags of absl: --flagfile, --verbosity, ..."))
    rows.append(("--version", "the version of arjax"))
    return f"usage: {usage}\n\n{about}\n\nflags:\n{listed(rows)}\n{more}"


def listed(rows: Iterable[tuple[str, str]]) -> str:
    """Returns names with texts about them, one below the other."""
    lines = []
    for name, text in rows:
        first, *others = textwrap.wrap(text, _WIDTH - _INDENT)
        lines += [f"  {name:<{_INDENT - 3}} {first}", *(" " * _INDENT + line for line in others)]
    return "\n".join(lines) + "\n"
