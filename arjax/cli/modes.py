"""What `arjax` does in each mode: `run_<mode>(flags)` returns the exit code."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from arjax.cli.command_line import Flags, only_run_in, writable_folder
from arjax.config.files import (
    FILE_NAME,
    apply_overrides,
    check_same_run,
    config_names,
    load_config_file,
    load_workdir_config,
    save_config,
)
from arjax.config.validate import validate, validate_run
from arjax.core.errors import UserError
from arjax.core.files import write_json
from arjax.reporting.scores import describe_scores


def run_train(flags: Flags) -> int:
    """Trains in `flags.workdir`, from wherever the run there stands, and shows what came out."""
    from arjax.cli.next_steps import next_steps

    config = _load_config(flags)
    _connect(flags)
    workdir = writable_folder(flags.workdir)
    if jax.process_index() > 0:
        _train(config, workdir)
        return 0
    with only_run_in(workdir):
        outcome = _train(config, workdir)
    if outcome.status == "finished":
        print("\n".join(next_steps(config, outcome.setup, workdir, flags.config)))
    return 0


def _train(config: ConfigDict, workdir: Path) -> Any:
    from arjax.cli.showing import show_run
    from arjax.config.build import build
    from arjax.training.loop import train
    from arjax.training.run_folder import RunFolder

    path = workdir / FILE_NAME
    is_new = not path.exists()
    if not is_new:
        check_same_run(config, workdir, training=True)
    with RunFolder(workdir) as folder:
        if jax.process_index() == 0:
            save_config(config, workdir)
        try:
            outcome = train(build(config), workdir)
        except UserError:
            if is_new and folder.is_there() and not any((workdir / "checkpoints").glob("*/*")):
                path.unlink(missing_ok=True)  # nothing was trained: the corrected config may use this folder
            raise
        if jax.process_index() == 0:
            print(outcome.message)
        if outcome.status == "finished":
            folder.check()
            show_run(outcome.setup, config, workdir)
    return outcome


def run_evaluate(flags: Flags) -> int:
    """Scores `config.evaluate.split` with the best parameters of a finished or running run -> `DIR/evaluations/`."""
    from arjax.config.build import build
    from arjax.evaluation.likelihood import Evaluator
    from arjax.reporting.reports import read_report
    from arjax.training.reporter import announce
    from arjax.training.results import cost_of_run, device_name, validation_scores, write_evaluation
    from arjax.training.setup import latest_store, restore_params

    config = _load_run_config(flags)
    _connect(flags)
    setup = build(config)
    split = config.evaluate.split
    known = read_report(flags.workdir) or {}
    params, best_step, about = restore_params(setup, flags.workdir)
    newest = latest_store(flags.workdir).newest()
    announce(f"compiling, and scoring the {split} split ...", sys.stderr)
    scores = Evaluator(
        setup.model, setup.dataset, config.evaluate.batch_size, setup.mesh, config.seed, config.evaluate.num_orders
    )(params, split)
    results: dict[str, Any] = {"dataset": setup.dataset.name, "split": split, "kind": setup.model.kind} | scores
    results |= validation_scores(about)
    results |= {
        "num_params": sum(leaf.size for leaf in jax.tree.leaves(params)),
        "step": newest[0] if newest else best_step,
        "best_step": best_step,
        "seed": setup.seed,
    }
    if newest:
        results |= cost_of_run(newest[1], newest[0], config.train.batch_size * setup.model.event.num_sites)
    results["device"] = known.get("device", device_name())
    if jax.process_index() == 0:
        print(_line(results, setup.model.event.is_discrete))  # first of all: the disk may refuse the file
        print(write_evaluation(flags.workdir, results))
    return 0


def _line(results: dict[str, Any], bits: bool) -> str:
    """One line for people: `digits test: 86.54 ± 0.71 nats, 1.9512 ± 0.0161 bits/dim (exact; 300 examples, ...)`."""
    about = f"({results['kind']}; {results['num_examples']:,} examples, parameters of step {results['best_step']:,})"
    return f"{results['dataset']} {results['split']}: {describe_scores(results, bits)} {about}"


def run_sample(flags: Flags) -> int:
    """Draws `config.sample.num` samples with the best parameters of a run -> `DIR/samples-1/`, `samples-2/`, ..."""
    from arjax.cli.showing import show_more_samples
    from arjax.config.build import build
    from arjax.training.setup import restore_params

    config = _load_run_config(flags)
    _connect(flags)
    setup = build(config)
    params, best_step, _ = restore_params(setup, flags.workdir)
    for path in show_more_samples(setup, params, config.sample, Path(flags.workdir), best_step):
        print(path)
    return 0


def run_inpaint(flags: Flags) -> int:
    """Completes and scores the hidden half of the images of `config.evaluate.split` -> `DIR/inpainting/`."""
    from arjax.cli.inpainting import inpaint
    from arjax.config.build import build
    from arjax.training.setup import restore_params

    config = _load_run_config(flags)
    _connect(flags)
    setup = build(config)
    params, _, _ = restore_params(setup, flags.workdir)
    inpaint(setup, params, config.inpaint, Path(flags.workdir))
    return 0


def run_plan(flags: Flags) -> int:
    """Prints what the run of a config needs, and writes it to `DIR/plan.json` when there is a workdir."""
    from arjax.cli.planning import make_plan, print_plan, simulate_devices
    from arjax.config.build import build

    config = _load_config(flags)
    mesh = config.mesh
    simulate_devices(flags.devices or max(mesh.data, 1) * mesh.fsdp * mesh.tensor)
    setup = build(config)
    companions = {name: trained.companion for name, trained in setup.trained_companions().items()}
    plan = make_plan(setup.recipe, config.train.batch_size, setup.mesh, setup.rules, companions)
    print_plan(plan)
    if flags.workdir:
        path = writable_folder(flags.workdir) / "plan.json"
        write_json(path, dataclasses.asdict(plan))
    return 0


def run_list(flags: Flags) -> int:
    """Prints the names of everything that configs can choose, as JSON."""
    from arjax.conditionals import CONDITIONALS
    from arjax.data import DATASETS
    from arjax.factorization import GRAPHS, ORDER_DISTRIBUTIONS, ORDERINGS, PARTITIONS
    from arjax.models import Nested  # noqa: F401  a conditional that lies there
    from arjax.networks import NETWORKS
    from arjax.objectives import OBJECTIVES
    from arjax.samplers import SAMPLERS
    from arjax.training.optimizer import OPTIMIZERS
    from arjax.training.schedules import SCHEDULES

    registries = {
        "networks": NETWORKS,
        "conditionals": CONDITIONALS,
        "orderings": ORDERINGS,
        "partitions": PARTITIONS,
        "orders": ORDER_DISTRIBUTIONS,
        "graphs": GRAPHS,
        "objectives": OBJECTIVES,
        "optimizers": OPTIMIZERS,
        "schedules": SCHEDULES,
        "samplers": SAMPLERS,
        "datasets": DATASETS,
    }
    names = {kind: registry.names() for kind, registry in registries.items()}
    print(json.dumps(names | {"configs": sorted(config_names())}, indent=2))
    return 0


def _load_config(flags: Flags) -> ConfigDict:
    """The config of the flags, checked: file, argument and overrides."""
    config = load_config_file(flags.config)
    apply_overrides(config, flags.overrides)
    validate(config)
    return config


def _load_run_config(flags: Flags) -> ConfigDict:
    """The config of the run in `flags.workdir`, with overrides that do not change what the run has learned."""
    stored = load_workdir_config(flags.workdir)
    if flags.config:
        config = load_config_file(flags.config)
    else:
        validate_run(stored, flags.workdir)
        config = stored.copy_and_resolve_references()
    apply_overrides(config, flags.overrides)
    validate(config)
    check_same_run(config, flags.workdir)
    return config


def _connect(flags: Flags) -> None:
    from arjax.parallel.distributed import describe_devices, initialize

    initialize(flags.coordinator_address, flags.num_processes, flags.process_id)
    if jax.process_index() == 0 and jax.device_count() > 1:
        print(f"on {describe_devices()}", flush=True)
