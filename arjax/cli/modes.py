"""The modes of `arjax`: each is a function that names the flags and the fields of a config that it reads, from which
the help and the refusals are made. A mode imports what it needs itself, so that a command line is read without JAX.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from arjax.cli.command_line import EXIT_STOPPED
from arjax.cli.flags import Flag, help_of, listed, read_flags
from arjax.core.errors import UserError, refuse
from arjax.core.files import user_path, writable_file

if TYPE_CHECKING:
    from arjax.training.setup import Setup

#: The plots that a run has written, for the last lines of a training.
PICTURES = ("samples/samples.png", "entropy.png")
#: The most modes that a sentence about a flag names.
_NAMED = 5
#: The flags of a config with its overrides, of a run, and of several processes.
CONFIG, PROCESSES = ("config", "config.FIELD", "trust"), ("coordinator_address", "num_processes", "process_id")
#: Fields of a config that choose what is scored, and how.
OF_SCORES = tuple(f"evaluate.{name}" for name in ("split", "examples", "batch_size", "num_orders"))
EXAMPLES = """\
examples:
  arjax --config=digits --workdir=runs/digits
  arjax --config=configs/digits.py:smoke --workdir=runs/try --config.optimizer.learning_rate=3e-4
  arjax --mode=evaluate --workdir=runs/plants --input=new.csv --output=scores.csv
  arjax --mode=compare --workdir=runs/digits --other=runs/wavenet
  arjax --mode=sample --workdir=runs/digits --config.sample.num=64
  arjax --mode=suggest --workdir=runs/book --prompt="to be or n"
  arjax --mode=compress --workdir=runs/book --input=letter.txt --output=letter.arjax"""


class Mode(NamedTuple):
    """A mode: its function, the flags that it needs and takes, and beginnings of the fields that it reads."""

    run: Callable[[SimpleNamespace], int | None]  # returns an exit code, or None for 0
    needs: tuple[str, ...]
    takes: tuple[str, ...]
    reads: tuple[str, ...]


MODES: dict[str, Mode] = {}


def mode(*needs: str, takes: Sequence[str] = (), reads: Sequence[str] = ()) -> Callable[..., Any]:
    """Registers `run_<mode>`, whose docstring is the help of the mode."""

    def register(function: Callable[..., int | None]) -> Callable[..., int | None]:
        MODES[function.__name__.removeprefix("run_")] = Mode(function, needs, (*needs, *takes), tuple(reads))
        return function

    return register


def parse_flags(arguments: Sequence[str]) -> SimpleNamespace:
    """Returns the flags of a command line, checked."""
    declared = _declared()
    flags = read_flags("arjax", arguments, declared, lambda: _help(declared))
    flags.reads = MODES[flags.mode].reads
    _check(flags, {flag.name: flag for flag in declared})
    return flags


def _declared() -> list[Flag]:
    trust = "run the code that a stored run names, also your own, unless it is installed or --config=FILE.py names it"
    return [
        Flag("mode", "MODE", "one of the modes below [train]", "train", tuple(MODES)),
        Flag("config", "FILE.py[:ARG]", "config file, by its path or its name, with its argument"),
        Flag("config.FIELD", "VALUE", "another value of a field, such as --config.train.steps=1e4"),
        Flag("workdir", "DIR", "folder of the run"),
        Flag("prompt", "TEXT", "the characters at the beginning"),
        Flag("context", "N", "class, or name=N,name=N for several"),
        Flag("input", "FILE", "file of rows to score, or of what is compressed"),
        Flag("output", "FILE", "file of the result: a csv line for each row of --input, a page, or what is compressed"),
        Flag("other", "DIR,DIR", "folders of the other runs"),
        Flag("prior", "P", "frequencies of the classes: train or uniform [train]", "train", ("train", "uniform")),
        Flag("streams", "N", "rows side by side [16 of a text]", 0, least=1),
        Flag("verify", "", "decode the file and compare; --noverify leaves it out", True),
        Flag("devices", "N", "simulated devices [the mesh's size]", 0, least=1),
        Flag("accelerator", "NAME", "a step on it, such as H100"),
        Flag("draws", "", "draw config.sample.num examples on a slice, in place of a train step", False),
        Flag("budget_s", "N", "seconds, about [60]", 60, least=1),
        Flag("json", "", "the names alone, as JSON", False),
        Flag("trust", "", trust, False),
        Flag("coordinator_address", "HOST:PORT", "address of process 0; clusters (SLURM, TPU, GPU) need no such flags"),
        Flag("num_processes", "N", "number of processes", 0),
        Flag("process_id", "I", "number of this process", -1),
    ]


def _modes_with(flag: str) -> list[str]:
    return [name for name, mode in MODES.items() if flag in mode.takes]


def _help(declared: Sequence[Flag]) -> str:
    usage = "arjax --config=FILE.py[:arg,key=value] --workdir=DIR [--mode=MODE] [--config.a.b=value ...]"
    modes = listed((name, " ".join(str(mode.run.__doc__).split())) for name, mode in MODES.items())
    for flag in declared:
        if 0 < len(names := _modes_with(flag.name)) < _NAMED:
            flag.help = f"{', '.join(names)}: {flag.help}"
    about = "Trains, scores and samples an autoregressive model given by a config file."
    return help_of(usage, about, declared, f"\nmodes:\n{modes}\n{EXAMPLES}")


def _check(flags: SimpleNamespace, declared: dict[str, Flag]) -> None:
    mode = f"--mode={flags.mode}"
    for name in (*flags.given, *["config.FIELD"][: len(flags.overrides)]):
        if name != "mode" and name not in MODES[flags.mode].takes:
            *modes, last = _modes_with(name)
            named = " or ".join(filter(None, (", ".join(modes), last)))
            raise UserError(f"{mode} takes no --{name}" + f", which goes with --mode={named}" * (len(modes) < _NAMED))
    for name in MODES[flags.mode].needs:
        refuse((not getattr(flags, name).strip(","), f"{mode} needs {declared[name].usage}, the {declared[name].help}"))
    flags.workdir = flags.workdir and str(user_path(flags.workdir))
    scores = flags.mode in ("evaluate", "classify") and not flags.input
    paths = {user_path(name).resolve() for name in (flags.input, flags.output) if name}
    lost = f"--output={flags.output} is the file of --input, which would be lost: name another one"
    refuse(
        (scores and flags.output, "--output goes with --input: it has a line for each row"),
        (scores and flags.context, f"--context goes with --input in {mode}: it is one for all rows"),
        (flags.input and flags.output and len(paths) == 1, lost),
    )


@mode("config", "workdir", takes=(*CONFIG, *PROCESSES))
def run_train(flags: SimpleNamespace) -> int:
    """Trains, validates as it goes, and ends with the test likelihood; resumes the run of the folder."""
    import jax

    from arjax.api.fitting import train_in
    from arjax.cli.opening import connect, new_config

    checked = new_config(flags)
    connect(flags)
    outcome = train_in(checked, flags.workdir)
    if outcome.status != "finished":
        return EXIT_STOPPED
    if jax.process_index() == 0:
        assert outcome.setup is not None, "a finished training has its parts"
        print("\n".join(next_steps(outcome.setup, Path(flags.workdir), checked.config.plugins)))
    return 0


def next_steps(setup: Setup, workdir: Path, plugins: Sequence[str] = ()) -> list[str]:
    """Returns the last lines of a training: the plots to look at, and further commands to paste into a shell, which
    trust the user's code (`plugins`) by a flag.
    """
    places = [str(workdir / name) for name in PICTURES if (workdir / name).exists()]
    where = f"--workdir={shlex.quote(str(workdir))}" + " --trust" * bool(plugins)
    others = [split for split in ("validation", "test", "train") if split in setup.dataset.splits]
    other = next((split for split in others if split != setup.evaluate.split), setup.evaluate.split)
    return [
        *([f"look at: {' and '.join(places)}"] if places else []),
        f"more samples: arjax --mode=sample {where} --config.sample.num=64",
        f"another split: arjax --mode=evaluate {where} --config.evaluate.split={other}",
    ]


@mode("workdir", takes=(*CONFIG, *PROCESSES, "input", "output", "context"), reads=("evaluate.",))
def run_evaluate(flags: SimpleNamespace) -> None:
    """Scores config.evaluate.split with the parameters that were best on validation -> DIR/evaluations/; with
    --input=FILE the rows of a file like that of the training, and with --output=FILE.csv a line for each.
    """
    from arjax.cli.scoring import evaluate_rows, evaluate_split

    (evaluate_rows if flags.input else evaluate_split)(flags)


@mode("workdir", "other", takes=CONFIG, reads=OF_SCORES)
def run_compare(flags: SimpleNamespace) -> None:
    """Compares the nats of config.evaluate.split with those of other runs, example by example: paired differences with
    standard errors, and wins -> DIR/comparisons/.
    """
    from arjax.cli.scoring import compare_runs

    compare_runs(flags)


@mode("workdir", takes=(*CONFIG, *PROCESSES, "input", "output", "prior"), reads=OF_SCORES)
def run_classify(flags: SimpleNamespace) -> None:
    """Predicts the class of examples by a model of examples given their class: accuracy and -log p(class |
    x) of config.evaluate.split; with --input=FILE a label for each row.
    """
    from arjax.cli.scoring import classify

    classify(flags)


@mode("workdir", takes=(*CONFIG, *PROCESSES, "prompt", "context"), reads=("sample.",))
def run_sample(flags: SimpleNamespace) -> None:
    """Draws config.sample.num samples, which begin with --prompt -> DIR/samples-1/, samples-2/ and so on."""
    from arjax.api.showing import show_more_samples
    from arjax.cli.opening import open_run
    from arjax.evaluation.sampling import Conditioning

    run = open_run(flags)
    conditioning, options = Conditioning(flags.prompt, flags.context), run.config.sample
    conditioning.options(run.dataset, options.length)  # a mistake ends here
    for path in show_more_samples(run.setup, run.params, options, run.workdir, run.best_step, conditioning):
        print(path)


@mode("workdir", takes=(*CONFIG, "prompt", "context"), reads=("suggest.",))
def run_suggest(flags: SimpleNamespace) -> None:
    """Prints the most probable next characters after --prompt, and continuations, with their probabilities."""
    import sys

    from arjax.cli.opening import open_run
    from arjax.evaluation.sampling import encode_prompt, parse_context
    from arjax.reporting.tables import print_table
    from arjax.training.reporter import announce

    run = open_run(flags)
    dataset, options = run.dataset, run.config.suggest.to_dict()
    given = parse_context(dataset.context, flags.context, dataset.classes) if flags.context else None
    encode_prompt(dataset, flags.prompt)  # a mistake ends here
    run.params  # noqa: B018  and here
    assert dataset.vocabulary is not None, "a data set that encodes prompts has a vocabulary"
    announce("compiling, and looking for continuations ...", sys.stderr)
    suggestions, units = run.suggest(flags.prompt, context=given, **options), dataset.vocabulary.units
    if suggestions.num_dropped:
        read = dataset.vocabulary.num_tokens(suggestions.prompt)
        unread = f"the last {read} of the prompt are read, the first {suggestions.num_dropped} are not"
        print(f"windows of this model have {dataset.event.num_sites} {units}: {unread}")
    beams = f"continuations by a beam search that keeps {options['beams']}"
    after = f"next {units} after {suggestions.prompt!r}"
    for title, texts in ((after, suggestions.next), (beams, suggestions.continuations)):
        rows = [(repr(each.text) + " ..." * (not each.complete), f"{each.probability:.4f}") for each in texts]
        print_table(("text", "probability"), rows, title, right=("probability",))


@mode("workdir", takes=(*CONFIG, *PROCESSES), reads=("inpaint.", *OF_SCORES))
def run_inpaint(flags: SimpleNamespace) -> None:
    """Completes the hidden half of images, and scores it given the visible one -> DIR/inpainting/."""
    from arjax.cli.inpainting import inpaint

    inpaint(flags)


@mode("workdir", takes=(*CONFIG, "output", "budget_s"), reads=OF_SCORES)
def run_audit(flags: SimpleNamespace) -> int:
    """Audits whether the scores of the run are log-probabilities, and its samples follow them -> DIR/audit.html, or
    --output=FILE.html or .json. Exit code 0: valid, 3: invalid, 4: not decidable.
    """
    from arjax.cli.opening import open_run
    from arjax.testing.auditing import audit, report_file

    run, output = open_run(flags), report_file(flags.output or Path(flags.workdir) / "audit.html")
    writable_file(output)
    report = audit(run, budget_s=flags.budget_s, name=f"the run in {flags.workdir}")
    print(report, report.save(output), sep="\n")
    return report.exit_code


@mode("workdir", takes=(*CONFIG, "output"))
def run_page(flags: SimpleNamespace) -> None:
    """Writes one HTML file that plays the model in a browser -> DIR/page.html, or --output=FILE.html."""
    from arjax.cli.opening import open_run

    print(open_run(flags).page(flags.output or Path(flags.workdir) / "page.html").path)


@mode("workdir", "output", takes=(*CONFIG, "input", "context", "streams", "verify"), reads=("evaluate.split",))
def run_compress(flags: SimpleNamespace) -> None:
    """Writes the file --input, or config.evaluate.split, as a file --output of about -log2 p bits."""
    from arjax.cli.compressing import compress_file

    compress_file(flags)


@mode("workdir", "input", "output", takes=(*CONFIG, "context", "streams", "verify"))
def run_decompress(flags: SimpleNamespace) -> None:
    """Writes the data of such a file, --input, as --output: the same bytes."""
    from arjax.cli.compressing import decompress_file

    decompress_file(flags)


@mode("config", takes=(*CONFIG, "workdir", "devices", "accelerator", "draws"))
def run_plan(flags: SimpleNamespace) -> None:
    """Prints parameters, FLOPs and memory per device for the mesh in the config, without the devices."""
    from arjax.cli.planning import plan_run

    plan_run(flags)


@mode(takes=("json",))
def run_list(flags: SimpleNamespace) -> None:
    """Prints everything registered (networks, orderings, data sets, ...) with its options."""
    from arjax.cli.listing import print_components

    print_components(flags.json)


@mode("config")
def run_new(flags: SimpleNamespace) -> None:
    """Copies a config of the package into the current folder, as the beginning of one of your own."""
    from arjax.config.files import copy_config

    for path in copy_config(flags.config):
        print(path)
