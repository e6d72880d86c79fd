"""The flags of `arjax`: reading them, with one sentence for each mistake. Imports nothing heavy."""

from __future__ import annotations

import argparse
import dataclasses
import gc
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from arjax.cli.output import guarded_output
from arjax.core import __version__
from arjax.core.errors import UserError, did_you_mean
from arjax.core.files import user_path
from arjax.core.kept_programs import keep_programs

MODES = (
    *("train", "evaluate", "compare", "classify", "sample", "suggest", "inpaint", "page", "compress", "decompress"),
    *("plan", "list", "new"),
)
#: The modes of the lossless coder.
CODES = ("compress", "decompress")
#: The frequencies of classes that `classify` takes.
PRIORS = ("train", "uniform")
SHELLS = ("bash", "zsh", "fish")
EXIT_USER_ERROR = 2
TRUST_HELP = "run the code that a stored run names; yours, too, unless --config=FILE.py names it or it is installed"

_DESCRIPTION = "Trains, scores and samples an autoregressive model given by a config file."
_EPILOG = """\
modes:
  train      trains, validates as it goes, ends with the test likelihood; goes on by itself in a folder with a run
  evaluate   scores config.evaluate.split with the parameters that were best on validation -> DIR/evaluations/
             with --input=FILE: the rows of a file like that of the training; --output=FILE.csv has a line for each
  compare    paired differences of the nats of config.evaluate.split beside other runs, --other=DIR,DIR: with standard
             errors, wins, and the examples on which the runs differ most -> DIR/comparisons/
  classify   the most probable class given an example, of a model of examples given their class: accuracy and
             -log p(class | x) of config.evaluate.split; with --input=FILE a label for each row
  sample     draws config.sample.num samples -> DIR/samples-1/, samples-2/, ...; they begin with --prompt
  suggest    the most probable next characters after --prompt, and continuations, with their probabilities
  inpaint    completes the hidden half of images, and scores it given the visible one -> DIR/inpainting/
  page       writes one HTML file that plays the model in a browser -> DIR/page.html, or --output=FILE.html
  compress   the file --input, or config.evaluate.split, as a file --output of about -log2 p bits
  decompress the data of such a file, --input, as --output: the same bytes
  plan       parameter table, FLOPs and memory per device for the mesh in the config, without an accelerator
  list       everything registered (networks, orderings, data sets, ...) with its options; --json: the names alone
  new        copies a config of the package into the current folder, as the beginning of one of your own

examples:
  arjax --config=digits --workdir=runs/digits
  arjax --mode=new --config=digits
  arjax --config=configs/digits.py --workdir=runs/digits
  arjax --config=configs/digits.py:smoke --workdir=runs/try --config.optimizer.learning_rate=3e-4
  arjax --mode=evaluate --workdir=runs/plants --input=new.csv --output=scores.csv
  arjax --mode=compare --workdir=runs/digits --other=runs/wavenet
  arjax --mode=sample --workdir=runs/digits --config.sample.num=64
  arjax --mode=suggest --workdir=runs/book --prompt="to be or n"
  arjax --mode=page --workdir=runs/digits
  arjax --mode=compress --workdir=runs/book --input=letter.txt --output=letter.arjax
  arjax --completion=bash >> ~/.bashrc
"""


@dataclasses.dataclass(frozen=True)
class Flags:
    """The command line of `arjax`, see `_parser`; "", 0 and -1 are flags that are not given.

    `overrides` has a pair (`train.steps`, text) for each `--config.train.steps=text`.
    """

    mode: str = "train"
    config: str = ""
    workdir: str = ""
    overrides: tuple[tuple[str, str], ...] = ()
    prompt: str = ""
    context: str = ""
    input: str = ""
    output: str = ""
    other: str = ""
    prior: str = ""
    streams: int = 0
    verify: bool = True
    devices: int = 0
    accelerator: str = ""
    json: bool = False
    trust: bool = False
    completion: str = ""
    coordinator_address: str = ""
    num_processes: int = 0
    process_id: int = -1


class Parser(argparse.ArgumentParser):
    """An argument parser that raises `UserError`s, with the nearest name, and takes no flag twice."""

    def parse_args(self, args=None, namespace=None):
        """As that of argparse; raises `UserError` for the first argument that is none of its own."""
        known, unknown = self.parse_known_args(args, namespace)
        if unknown:
            raise UserError(unknown_argument(unknown[0], self))
        return known

    def parse_known_args(self, args=None, namespace=None):
        """As that of argparse; raises `UserError` where a flag is given twice: the first one would be forgotten."""
        args = sys.argv[1:] if args is None else list(args)
        flags = [arg.partition("=")[0] for arg in args]
        for flag in flags:
            if flag in self._option_string_actions and flags.count(flag) > 1:
                raise UserError(f"{flag} is given twice")
        return super().parse_known_args(args, namespace)

    def _check_value(self, action: argparse.Action, value: str) -> None:
        """Raises `UserError` with the nearest choice where a value is none."""
        if action.choices is not None and value not in action.choices:
            name = max(action.option_strings, key=len, default=action.dest)
            raise UserError(f"{name} cannot be {value!r}{did_you_mean(value, action.choices)}")

    def error(self, message: str) -> None:  # type: ignore[override]
        """Raises the message that argparse would print after its usage text."""
        raise UserError(message)


def workdir_of(argv: Sequence[str], text: str | None) -> Path:
    """The folder that a script takes as its only argument; `text` is its help. Raises `UserError` as `Parser`."""
    parser = Parser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdir", type=Path, help="folder for the results")
    return parser.parse_args(argv).workdir


def parse_flags(argv: Sequence[str]) -> Flags:
    """Reads the arguments behind the program's name.

    Raises:
      UserError: unknown flag, wrong mode, a missing `--config` or `--workdir`, one that does not fit the mode, or a
        `--workdir` that is no path.
      SystemExit: with code 0, after `--help` and `--version`.
    """
    rest, overrides = split_overrides(argv)
    flags = Flags(overrides=overrides, **vars(_parser().parse_args(rest)))
    _check(flags)
    return dataclasses.replace(flags, workdir=str(user_path(flags.workdir))) if flags.workdir else flags


def _parser() -> Parser:
    parser = Parser(
        prog="arjax",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        usage="arjax --config=FILE.py[:arg,key=value] --workdir=DIR [--mode=MODE] [--config.a.b=value ...]",
    )
    parser.add_argument("--config", default="", metavar="FILE.py[:ARG]", help="config file, with its argument")
    parser.add_argument("--workdir", default="", metavar="DIR", help="folder of the run")
    parser.add_argument("--mode", default="train", choices=MODES, metavar="MODE", help=f"{' | '.join(MODES)} [train]")
    parser.add_argument("--prompt", default="", metavar="TEXT", help="sample, suggest: the characters at the beginning")
    parser.add_argument(
        "--context", default="", metavar="N", help="sample, suggest, compress: class, or name=N,name=N for several"
    )
    parser.add_argument("--input", default="", metavar="FILE", help="evaluate, classify: rows to score; compress: data")
    parser.add_argument(
        "--output", default="", metavar="FILE", help="a csv line for each row of --input; compress: file"
    )
    parser.add_argument(
        "--streams", default=0, type=int, metavar="N", help="compress: rows side by side [16 of a text]"
    )
    parser.add_argument(
        "--verify", default=True, action=argparse.BooleanOptionalAction, help="compress: decode the file and compare"
    )
    parser.add_argument("--other", default="", metavar="DIR,DIR", help="compare: folders of the other runs")
    parser.add_argument("--prior", default="", choices=PRIORS, metavar="P", help="classify: train | uniform [train]")
    parser.add_argument("--devices", default=0, type=int, metavar="N", help="plan: simulated devices [the mesh's size]")
    parser.add_argument("--accelerator", default="", metavar="NAME", help="plan: a step on it, such as H100")
    parser.add_argument("--json", action="store_true", help="list: names as JSON")
    parser.add_argument("--trust", action="store_true", help=TRUST_HELP)
    parser.add_argument(
        "--completion", default="", choices=SHELLS, metavar="SHELL", help=f"print what {', '.join(SHELLS)} need for Tab"
    )
    parser.add_argument("--version", action="version", version=f"arjax {__version__}", help="print the version")
    group = parser.add_argument_group("several processes (found by itself on SLURM, TPU and GPU clusters)")
    group.add_argument("--coordinator_address", default="", metavar="HOST:PORT", help="address of process 0")
    group.add_argument("--num_processes", default=0, type=int, metavar="N", help="number of processes")
    group.add_argument("--process_id", default=-1, type=int, metavar="I", help="number of this process")
    return parser


def split_overrides(argv: Sequence[str]) -> tuple[list[str], tuple[tuple[str, str], ...]]:
    """Separates `--config.a.b=value` and `--config.a.b value` from the other arguments."""
    rest, arguments = [], list(argv)
    overrides: list[tuple[str, str]] = []
    while arguments:
        argument = arguments.pop(0)
        match = re.match(r"--?config\.([^=]*)(=(.*))?$", argument, flags=re.DOTALL)
        if not match:
            rest.append(argument)
            continue
        name, has_value, value = match.groups()
        if not has_value:
            if not arguments or arguments[0].startswith("--"):
                raise UserError(f"{argument} needs a value: write {argument}=...")
            value = arguments.pop(0)
        if name in dict(overrides):
            raise UserError(f"--config.{name} is given twice")
        overrides.append((name, value))
    return rest, tuple(overrides)


def unknown_argument(argument: str, parser: argparse.ArgumentParser) -> str:
    """The sentence for an unknown argument."""
    if not argument.startswith("-"):
        return f"unexpected argument {argument!r}: all arguments are flags, such as --workdir=DIR"
    name = argument.split("=")[0]
    flags = [option for option in parser._option_string_actions if option.startswith("--")]
    return f"unknown flag {name!r}{did_you_mean(name, flags)}"


def _check(flags: Flags) -> None:
    if flags.completion:
        if flags != Flags(completion=flags.completion):
            raise UserError(f"--completion={flags.completion} goes alone: it prints the script and does nothing else")
        return
    if flags.mode in ("train", "plan", "new") and not flags.config:
        raise UserError(f"--mode={flags.mode} needs --config={'NAME' if flags.mode == 'new' else 'FILE.py'}")
    if flags.mode == "new" and flags != Flags(mode="new", config=flags.config):
        raise UserError("--mode=new goes with --config=NAME alone: it copies that config into the current folder")
    if flags.mode not in ("plan", "list", "new") and not flags.workdir:
        raise UserError(f"--mode={flags.mode} needs --workdir=DIR")
    if flags.mode == "list" and (flags.config or flags.overrides or flags.workdir):
        raise UserError("--mode=list takes neither a config nor a workdir")
    if flags.mode == "compare" and not flags.other.strip(","):
        raise UserError("--mode=compare needs --other=DIR, the folder of another run, or several with commas between")
    if flags.other and flags.mode != "compare":
        raise UserError("--other goes with --mode=compare")
    _check_rows(flags)
    for name, text in (("prompt", flags.prompt), ("context", flags.context)):
        of_rows = name == "context" and (bool(flags.mode == "evaluate" and flags.input) or flags.mode in CODES)
        if text and flags.mode not in ("sample", "suggest") and not of_rows:
            raise UserError(f"--{name} goes with --mode=sample or --mode=suggest")
    if flags.mode in ("suggest", "compare", "page", "plan", "list", *CODES) and (
        flags.coordinator_address or flags.num_processes or flags.process_id != -1
    ):
        raise UserError(f"--mode={flags.mode} is one process: no coordinator_address, num_processes or process_id")
    if flags.devices and flags.mode != "plan":
        raise UserError("--devices goes with --mode=plan; a run uses the devices of the machine")
    if flags.accelerator and flags.mode != "plan":
        raise UserError("--accelerator goes with --mode=plan; a run uses the devices of the machine")
    if flags.json and flags.mode != "list":
        raise UserError("--json goes with --mode=list")
    if flags.trust and flags.mode == "list":
        raise UserError("--trust goes with modes that open runs")
    if flags.devices < 0:
        raise UserError(f"--devices must be above 0, not {flags.devices}")


def _check_rows(flags: Flags) -> None:
    """Checks the flags of rows in files."""
    if flags.input and flags.mode not in ("evaluate", "classify", *CODES):
        raise UserError("--input goes with --mode=evaluate, --mode=classify, --mode=compress or --mode=decompress")
    if flags.mode in CODES and not flags.output:
        raise UserError(f"--mode={flags.mode} needs --output=FILE, where the result goes")
    if flags.mode == "decompress" and not flags.input:
        raise UserError("--mode=decompress needs --input=FILE, a file of --mode=compress")
    if (flags.streams or not flags.verify) and flags.mode not in CODES:
        raise UserError("--streams and --verify go with --mode=compress or --mode=decompress")
    if flags.streams < 0:
        raise UserError(f"--streams must be above 0, not {flags.streams}")
    if flags.output and not flags.input and flags.mode not in ("page", *CODES):
        raise UserError("--output goes with --input: it has a line for each row; and with --mode=page")
    if flags.input and flags.output and user_path(flags.input).resolve() == user_path(flags.output).resolve():
        raise UserError(f"--output={flags.output} is the file of --input, which would be lost: name another one")
    if flags.prior and flags.mode != "classify":
        raise UserError("--prior goes with --mode=classify")


def tell_mistakes(program: str, main: Callable[[], int]) -> int:
    """Runs `main` and returns its exit code; a `UserError` becomes one sentence on stderr and exit code 2.

    So does an output that cannot be written, once the work is done. What `main` compiles is kept for later processes.
    """
    keep_programs()
    try:
        with guarded_output(program) as output:
            code = _exit_code(program, main)
    except BrokenPipeError:  # the reader of the output has ended, as in `arjax --mode=list | head`
        return 141
    return code or EXIT_USER_ERROR * bool(output.failure)


def leave(code: int) -> NoReturn:
    """Ends the process. Python would look through all its objects for cycles first, for half a second."""
    gc.freeze()
    sys.exit(code)


def _exit_code(program: str, main: Callable[[], int]) -> int:
    try:
        return main()
    except UserError as error:
        sentence, code = str(error), getattr(error, "exit_code", EXIT_USER_ERROR)
    except MemoryError as error:
        sentence, code = f"this machine has too little memory{f': {error}' if str(error) else ''}", EXIT_USER_ERROR
    except RuntimeError as error:
        from arjax.core.programs import is_out_of_memory  # JAX is there, where an error is its own

        if not is_out_of_memory(error):
            raise
        sentence, code = f"the devices have too little memory: {error}", EXIT_USER_ERROR
    except KeyboardInterrupt as stop:
        sentence, code = f"interrupted{f': {stop}' if str(stop) else ''}", 130
    print(f"{program}: {' '.join(sentence.split())}", file=sys.stderr)
    return code
