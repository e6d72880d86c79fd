"""The modes of `arjax`: `run_<mode>(flags)` returns the exit code.

Each mode imports what it needs itself: `list` and `new` would else wait for the checkpoints and plots of the others.
"""

from __future__ import annotations

import dataclasses
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np
from ml_collections import ConfigDict

from arjax.cli.command_line import Flags
from arjax.config.fields import fields
from arjax.config.files import (
    apply_overrides,
    check_same_run,
    copy_config,
    load_config_file,
    load_workdir_config,
)
from arjax.config.validate import Checked, validate, validate_run
from arjax.core.errors import say_once
from arjax.core.files import writable_folder, write_json
from arjax.core.plugins import joined_plugins
from arjax.reporting.reports import line_of

if TYPE_CHECKING:
    from arjax.api.run import Run
    from arjax.evaluation.suggestions import Suggestion
    from arjax.training.setup import Setup

#: The plots that a run has written, for the last lines of a training.
PICTURES = ("samples/samples.png", "entropy.png")


def run_train(flags: Flags) -> int:
    """Trains in `flags.workdir`, from its newest checkpoint, and shows the results."""
    from arjax.api.fitting import train_in

    checked = _load_config(flags)
    _connect(flags)
    outcome = train_in(checked, flags.workdir)
    if outcome.status == "finished" and jax.process_index() == 0:
        assert outcome.setup is not None, "a finished training has its parts"
        print("\n".join(next_steps(outcome.setup, Path(flags.workdir))))
    return 0


def next_steps(setup: Setup, workdir: Path) -> list[str]:
    """The last lines of a training: the plots to look at, and further commands to paste into a shell."""
    places = [str(workdir / name) for name in PICTURES if (workdir / name).exists()]
    where = f"--workdir={shlex.quote(str(workdir))}"
    others = [split for split in ("validation", "test", "train") if split in setup.dataset.splits]
    other = next((split for split in others if split != setup.evaluate.split), setup.evaluate.split)
    return [
        *([f"look at: {' and '.join(places)}"] if places else []),
        f"more samples: arjax --mode=sample {where} --config.sample.num=64",
        f"another split: arjax --mode=evaluate {where} --config.evaluate.split={other}",
    ]


def run_evaluate(flags: Flags) -> int:
    """Scores `config.evaluate.split` with the best parameters of a finished or running run -> `DIR/evaluations/`; with
    `flags.input`, the rows of a file.
    """
    from arjax.cli.new_rows import evaluate_rows
    from arjax.cli.ranking import show_ranking
    from arjax.evaluation.report import open_judge
    from arjax.models.checks import check_likelihood
    from arjax.reporting.plots import write_exposure
    from arjax.training.reporter import announce
    from arjax.training.results import run_report, write_evaluation
    from arjax.training.setup import restore_params

    if flags.input:
        evaluate_rows(_run(flags), flags.input, flags.context, flags.output)
        return 0
    setup, _ = _build_run(flags)
    open_judge(setup.model, setup.dataset, setup.evaluate, setup.open_run)  # a mistake ends here
    if setup.evaluate.ranking:
        check_likelihood(setup.model, "config.evaluate.ranking")
    best = restore_params(setup, flags.workdir)
    announce(f"compiling, and scoring the {setup.evaluate.split} split ...", sys.stderr)
    scored = run_report(setup, flags.workdir, best)
    if jax.process_index() == 0:
        print(line_of(scored.scores, setup.model.event.has_bits))  # before the file, which the disk may refuse
        path = write_evaluation(flags.workdir, scored.scores)
        write_exposure(path.with_name(f"{path.stem}-exposure"), scored.curves)
        print(path)
        if setup.evaluate.ranking:
            for line in show_ranking(setup, scored.rows, path):
                print(line)
    return 0


def _run(flags: Flags) -> Run:
    """The run in `flags.workdir`, with the overrides of the command line."""
    from arjax.api.run import Run
    from arjax.config.build import build

    checked = _load_run_config(flags)
    _connect(flags)
    return Run(flags.workdir, checked, build(checked))


def run_classify(flags: Flags) -> int:
    """Classifies the examples of `config.evaluate.split` -> `DIR/classification/`, or the rows of a file."""
    from arjax.cli.new_rows import classify_rows, classify_split

    run, prior = _run(flags), flags.prior or "train"
    if flags.input:
        classify_rows(run, flags.input, prior, flags.output)
    else:
        classify_split(run, prior)
    return 0


def run_compare(flags: Flags) -> int:
    """Compares the nats of a run with those of others, example by example -> `DIR/comparisons/`."""
    from arjax.cli.comparing import compare_runs

    names = [name for name in map(str.strip, flags.other.split(",")) if name]
    compare_runs(_run(flags), [_other(flags, name) for name in names])  # a mistake ends here
    return 0


def _other(flags: Flags, workdir: str) -> Run:
    """Another run, scored by the options with which the first one is."""
    from arjax.api.run import Run, open_run

    run = open_run(workdir)
    overrides = [override for override in flags.overrides if override[0].startswith("evaluate.")]
    apply_overrides(run.config, overrides)
    return Run(run.workdir, validate(run.config)) if overrides else run


def run_sample(flags: Flags) -> int:
    """Draws `config.sample.num` samples with the best parameters of a run -> `DIR/samples-1/`, `samples-2/`, ..."""
    from arjax.api.showing import show_more_samples
    from arjax.evaluation.prompts import Conditioning
    from arjax.training.setup import restore_params

    setup, config = _build_run(flags)
    conditioning = Conditioning(flags.prompt, flags.context)
    conditioning.options(setup.dataset, config.sample.length)  # a mistake ends here
    params, best_step, _ = restore_params(setup, flags.workdir)
    for path in show_more_samples(setup, params, config.sample, Path(flags.workdir), best_step, conditioning):
        print(path)
    return 0


def run_suggest(flags: Flags) -> int:
    """Prints the most probable next characters after `flags.prompt`, and continuations, with their probabilities."""
    from arjax.core.traits import require
    from arjax.evaluation.prompts import encode_prompt, parse_context
    from arjax.evaluation.suggestions import suggest
    from arjax.training.reporter import announce
    from arjax.training.setup import restore_params

    setup, config = _build_run(flags)
    model, dataset = require(setup.model, "conditionals", "the mode suggest"), setup.dataset
    params, _, _ = restore_params(setup, flags.workdir)
    given = parse_context(dataset.context, flags.context, dataset.classes) if flags.context else None
    encode_prompt(dataset, flags.prompt)  # a mistake ends here
    assert dataset.vocabulary is not None, "a data set that encodes prompts has a vocabulary"
    announce("compiling, and looking for continuations ...", sys.stderr)
    suggestions = suggest(model, params, dataset, flags.prompt, context=given, **config.suggest.to_dict())
    units = dataset.vocabulary.units
    if suggestions.num_dropped:
        read = dataset.vocabulary.num_tokens(suggestions.prompt)
        unread = f"the last {read} of the prompt are read, the first {suggestions.num_dropped} are not"
        print(f"windows of this model have {dataset.event.num_sites} {units}: {unread}")
    _print_suggestions(f"next {units} after {suggestions.prompt!r}", suggestions.next)
    title = f"continuations, found by a beam search that keeps {config.suggest.beams}"
    _print_suggestions(title, suggestions.continuations)
    return 0


def _print_suggestions(title: str, suggestions: tuple[Suggestion, ...]) -> None:
    from arjax.reporting.tables import print_table

    rows = [(repr(each.text) + " ..." * (not each.complete), f"{each.probability:.4f}") for each in suggestions]
    print_table(("text", "probability"), rows, title, right=("probability",))


def run_inpaint(flags: Flags) -> int:
    """Completes and scores the hidden half of the images of `config.evaluate.split` -> `DIR/inpainting/`."""
    from arjax.cli.inpainting import inpaint
    from arjax.core.traits import require
    from arjax.training.setup import restore_params

    setup, config = _build_run(flags)
    model = require(setup.model, "conditionals", "the mode inpaint")
    params, _, _ = restore_params(setup, flags.workdir)
    inpaint(setup, model, params, config.inpaint, Path(flags.workdir))
    return 0


def run_page(flags: Flags) -> int:
    """Writes the page of the best parameters of a run -> `DIR/page.html`, or the file of `flags.output`."""
    run = _run(flags)
    print(run.page(flags.output or Path(flags.workdir) / "page.html").path)
    return 0


def run_compress(flags: Flags) -> int:
    """Compresses the file `flags.input`, or `config.evaluate.split`, and prints its size beside others."""
    from arjax.cli.compressing import compress_file, options_of

    run = _run(flags)
    compress_file(run, flags.input, flags.output, options_of(run, flags.context, flags.streams, flags.verify))
    return 0


def run_decompress(flags: Flags) -> int:
    """Writes the data of a compressed file."""
    from arjax.cli.compressing import decompress_file, options_of

    run = _run(flags)
    decompress_file(run, flags.input, flags.output, options_of(run, flags.context, flags.streams, flags.verify))
    return 0


def run_plan(flags: Flags) -> int:
    """Prints the needs of the run of a config, and writes them to `DIR/plan.json` when there is a workdir."""
    from arjax.cli.planning import make_plan, print_plan, simulate_devices
    from arjax.config.build import build
    from arjax.evaluation.flops import accelerator_of

    checked = _load_config(flags)
    accelerator = accelerator_of(flags.accelerator) if flags.accelerator else None
    config, mesh = checked.config, checked.config.mesh
    simulate_devices(flags.devices or max(mesh.data, 1) * mesh.fsdp * mesh.tensor)
    setup = build(checked)
    companions = {name: trained.companion for name, trained in setup.trained_companions().items()}
    example = setup.dataset.splits["train"].__getitems__(np.arange(1))
    given = setup.mesh, setup.rules, companions, accelerator, example
    plan = make_plan(setup.recipe, config.train.batch_size, *given)
    print_plan(plan, accelerator)
    if flags.workdir:
        path = writable_folder(flags.workdir) / "plan.json"
        write_json(path, dataclasses.asdict(plan))
    return 0


def run_list(flags: Flags) -> int:
    """Prints everything that configs can choose: tables with options, or the names as JSON."""
    from arjax.cli.listing import print_components

    print_components(flags.json)
    return 0


def run_new(flags: Flags) -> int:
    """Copies a config of the package into the current folder, with the files that it reads; prints their names."""
    for path in copy_config(flags.config):
        print(path)
    return 0


def _build_run(flags: Flags) -> tuple[Setup, ConfigDict]:
    """The parts of the run in `flags.workdir`, and its config."""
    from arjax.config.build import build

    checked = _load_run_config(flags)
    _connect(flags)
    return build(checked), checked.config


def _load_config(flags: Flags) -> Checked:
    """The config of the flags, checked: file, argument and overrides."""
    config = load_config_file(flags.config)
    apply_overrides(config, flags.overrides)
    return validate(config)


def _load_run_config(flags: Flags) -> Checked:
    """The config of the run in `flags.workdir`, with overrides that do not change the trained model."""
    stored = load_workdir_config(flags.workdir)
    if flags.config:
        config = load_config_file(flags.config)
    else:
        config = stored.copy_and_resolve_references()
        apply_overrides(config, [override for override in flags.overrides if override[0] == "plugins"])
        config.plugins = joined_plugins(stored.plugins, config.plugins)
        validate_run(config, flags.workdir)
    apply_overrides(config, [override for override in flags.overrides if flags.config or override[0] != "plugins"])
    checked = validate(config)
    check_same_run(config, flags.workdir)
    _tell_unread(flags, config, stored)
    return checked


#: Sections of a config of which each mode reads some, and the beginnings of the fields that a mode reads.
SECTIONS = ("train", "evaluate", "sample", "inpaint", "suggest")
OF_SCORES = tuple(f"evaluate.{name}" for name in ("split", "examples", "batch_size", "num_orders"))
READ = {"evaluate": ("evaluate.",), "sample": ("sample.",), "inpaint": ("inpaint.", *OF_SCORES)}
READ |= dict.fromkeys(("classify", "compare"), OF_SCORES) | {"suggest": ("suggest.",), "compress": ("evaluate.split",)}
READ |= {"decompress": (), "page": ()}
#: Fields that choose examples of the data set, and so have no effect on those of `--input`.
OF_SPLITS = ("evaluate.split", "evaluate.examples", "evaluate.ranking")


def _tell_unread(flags: Flags, config: ConfigDict, stored: ConfigDict) -> None:
    """Says on stderr which overrides change the stored config and have no effect on this mode."""
    before, now = dict(fields(stored)), dict(fields(config))
    for name, _ in flags.overrides:
        section = name.partition(".")[0]
        of_mode = section in SECTIONS and not name.startswith(READ[flags.mode])
        of_input = bool(flags.input) and name in OF_SPLITS
        if (of_mode or of_input) and name in before and now[name] != before[name]:
            where = f"--mode={flags.mode}" if of_mode else "the examples of --input"
            say_once(f"--config.{name} has no effect on {where}")


def _connect(flags: Flags) -> None:
    from arjax.parallel.distributed import describe_devices, initialize
    from arjax.parallel.sharding import available_devices

    if flags.mode in ("suggest", "page"):  # always one process
        return
    initialize(flags.coordinator_address, flags.num_processes, flags.process_id)
    if len(available_devices()) > 1 and jax.process_index() == 0:
        print(f"on {describe_devices()}", flush=True)
