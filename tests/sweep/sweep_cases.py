"""A sweep whose jobs are those of a stand-in for `arjax`, which trains nothing and fails for one config."""

import contextlib
import csv
import runpy
import sys
import warnings
from unittest import mock

from arjax.config.files import load_config_file, to_json
from arjax.core.files import writable_folder
from arjax.sweep.executors import LOG_NAME, add_to_log
from arjax.sweep.main import main

STAND_IN = """
import ast, json, os, sys
flags = dict(argument[2:].split("=", 1) for argument in sys.argv[1:])
folder = flags["workdir"]
os.makedirs(folder, exist_ok=True)
if "bad" in flags["config"]:
    sys.exit("arjax: the loss was not finite")
open(folder + "/starts", "a").write("x")
print("step 1\\rstep 2")
config = json.load(open("base.json"))
config["objective"] = flags["config"].partition(":")[2] or config["objective"]
for name, text in flags.items():
    if name.startswith("config."):
        *sections, field = name.split(".")[1:]
        section = config
        for each in sections:
            section = section.setdefault(each, {})
        is_text = isinstance(section.get(field, ""), str)
        section[field] = text if is_text else ast.literal_eval(text.capitalize() if text in ("true", "false") else text)
split, examples = config["evaluate"]["split"], config["evaluate"]["examples"]
json.dump(config, open(folder + "/config.json", "w"))
seed = int(flags.get("config.seed", 0))
results = dict(dataset="dna", split=split, nll_nats=79.8123 + seed, nll_stderr=0.512, bits_per_dim=0.64)
results |= dict(num_examples=examples or 300, step=1, best_step=1, kind="exact")
results |= dict(seed=seed, num_params=12345, train_seconds=90.0, train_sites_per_second=12345.0, device="1 x cpu")
json.dump(results, open(folder + "/results.json", "w"))
"""


def config_text(train, more=""):
    """A config file with these fields of the training, and another line."""
    return f"""
from arjax.config import base_config, dataset_config, network_config

def get_config(arg=""):
    config = base_config()
    config.dataset = dataset_config("digits")
    config.network = network_config("made", hidden_sizes=(8,))
    config.train.update({train})
    {more}
    return config
"""


#: The config file of the runs of the stand-in; its argument is a field, too.
GOOD = config_text("steps=100, batch_size=10", "config.objective = arg or config.objective")

#: The report of a run, as far as tables need it.
REPORT = {"dataset": "dna", "split": "test", "device": "1 x cpu", "nll_nats": 79.8, "nll_stderr": 0.5}
REPORT |= {"bits_per_dim": 0.64, "num_examples": 300, "num_params": 12345, "step": 1, "best_step": 1, "seed": 0}
REPORT |= {"train_seconds": 90.0, "kind": "exact"}

#: The config of a run, as far as tables and curves need it.
RUN_CONFIG = {"network": {"name": "made"}, "model": {"ordering": "raster"}, "train": {"batch_size": 10}}
RUN_CONFIG |= {"evaluate": {"split": "test", "examples": 0}}

SWEEP = """
from arjax.sweep import Run

def get_sweep():
    runs = [
        Run(f"made/seed-{i}", "good.py:dna", {"seed": i}, model="MADE", published=83.63, published_mark="1502.03509")
        for i in range(2)
    ]
    return runs + [Run("broken", "bad.py"), Run("plain", "good.py", metric="bits_per_dim")]
"""


def sweep(*flags, workdir="out"):
    return main(["--sweep=sweep.py", f"--workdir={workdir}", *flags])


class Here:
    """Executes the stand-in in this process, one run after the other, which is quicker than a process for each."""

    def __init__(self, jobs, devices_per_job, *, most):
        self.about = jobs, devices_per_job, most

    def execute(self, runs, workdir):
        for run in runs:
            add_to_log(writable_folder(workdir / run.name), f"$ {run.command()}")
            with (
                (workdir / run.name / LOG_NAME).open("a") as log,
                contextlib.redirect_stdout(log),
                mock.patch.object(sys, "argv", ["stand_in.py", *run.arguments(workdir)]),
            ):
                code = _code_of("stand_in.py", log)
            yield run, code


def _code_of(path, log):
    try:
        with warnings.catch_warnings(action="ignore", category=ResourceWarning):  # of files that a process would close
            runpy.run_path(path)
    except SystemExit as end:
        if isinstance(end.code, str):
            log.write(f"{end.code}\n")
        return 1 if isinstance(end.code, str) else end.code
    return 0


def rows():
    with open("out/results.csv", newline="") as file:
        return list(csv.DictReader(file))


def write_sweep(folder, *runs):
    head = "from arjax.sweep import Mean, Mixture, Run\ndef get_sweep():\n"
    (folder / "sweep.py").write_text(f"{head}    return [{', '.join(runs)}]\n")


def write_configs(folder):
    """The config files of a sweep, and the config with which the stand-in begins."""
    for name, text in (("good.py", GOOD), ("bad.py", "")):
        (folder / name).write_text(text)
    (folder / "base.json").write_text(to_json(load_config_file(str(folder / "good.py"))))
