"""The flags of `arjax`, and wrong inputs: each ends in one sentence on stderr and exit code 2, never half a run."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import jax
import pytest
from refusals import refusal

import arjax
from arjax.cli.command_line import tell_mistakes
from arjax.cli.main import main
from arjax.cli.modes import MODES, parse_flags
from arjax.core.errors import UserError
from arjax.core.files import writable_folder
from arjax.parallel import sharding
from arjax.sweep.main import main as sweep
from arjax.tables.main import main as table

# (arguments, a piece of the sentence). CONFIG, RUN, EMPTY and FILE stand for paths made by the test.
COMMANDS = [
    (
        ["--config=CONFIG", "--workdir=EMPTY", "--coordinator_address=h", "--num_processes=1", "--process_id=0"],
        "coordinator_address must be host:port, such as 10.0.0.1:8476, not 'h'",
    ),
    (["--mode=dream", "--config=CONFIG", "--workdir=EMPTY"], "--mode cannot be 'dream' (there are: train, evaluate"),
    (["--mode=plan", "--mode=train", "--config=CONFIG", "--workdir=EMPTY"], "--mode is given twice"),
    (["--config=CONFIG", "--workdir", "EMPTY", "--workdir=EMPTY"], "--workdir is given twice"),
    (["--confg=CONFIG", "--workdir=EMPTY"], "unknown flag '--confg', did you mean '--config'"),
    (["CONFIG"], "all arguments are flags"),
    (["--workdir"], "--workdir needs a value: write --workdir=..."),
    (["--config=CONFIG", "--mode=plan", "--devices=many"], "--devices must be an integer, not 'many'"),
    (["--config=CONFIG", "--mode=plan", "--devices=-1"], "--devices must be at least 1, not -1"),
    (["--config=CONFIG", "--mode=plan", "--devices=1000000"], "the number of simulated devices must be at most 4096"),
    (["--config=CONFIG", "--mode=plan", "--draws", "--accelerator=v5e"], "draws are planned for a slice: name one"),
    (["--config=CONFIG", "--mode=plan", "--draws", "--devices=2"], "--devices are simulated, and --draws are compiled"),
    (["--config=CONFIG:smok", "--workdir=EMPTY"], "no argument 'smok', did you mean 'smoke'"),
    (["--config=CONFIG:context=colour", "--workdir=EMPTY"], "'context' of the dataset 'digits' must be one of none"),
    (["--config=CONFIG", "--workdir=FILE"], "cannot write to the folder"),
    (["--config=CONFIG", "--workdir=/proc/nowhere"], "cannot write to the folder '/proc/nowhere'"),
    (["--mode=evaluate", "--workdir=EMPTY"], "holds no run"),
    (["--mode=evaluate", "--workdir=EMPTY", "--config=CONFIG"], "holds no run"),
    (["--config=CONFIG:smoke,context=label", "--workdir=RUN", "--config.train.steps=3"], "longer, not shorter"),
    (["--mode=evaluate", "--workdir=RUN", "--config.network.hidden_sizes=9"], "network.hidden_sizes was (8,) there"),
    (["--mode=sample", "--workdir=RUN", "--config.sample.sampler=chaced"], "did you mean 'cached'"),
    (["--config=CONFIG", "--workdir=EMPTY", "--process_id=1"], "needs all of coordinator_address"),
    # what absl alone would let pass, or tell in a stack trace
    ([], "--mode=train needs --config=FILE.py"),
    (["--mode="], "--mode cannot be ''"),
    (["--config.train.step=5", "--config=CONFIG", "--workdir=EMPTY"], "field 'train.step', did you mean 'train.steps'"),
    (["--config=CONFIG", "--workdir=EMPTY", "--config.seed=1", "--config.seed", "2"], "--config.seed is given twice"),
    (["--config=CONFIG", "--workdir=EMPTY", "--", "--config.seed=1"], "unexpected argument '--'"),
    (["--config", "--workdir=EMPTY"], "--config needs a value: write --config=..."),
    (["--mode=compress", "--workdir=a", "--output=b", "--no-verify"], "did you mean '--noverify'?"),
    (["--mode=compress", "--workdir=a", "--output=b", "--verify", "--noverify"], "--noverify is given twice"),
    (["--mode=list", "--json=perhaps"], "--json must be true or false, not 'perhaps'"),
    (["--mode=list", "--nojson=1"], "--nojson=1 does not take an argument"),
    (["--flagfile=nowhere"], "nowhere"),
    (["--flagfile"], "--flagfile with no argument"),
    (["--verbosity=loud", "--mode=list"], "flag --verbosity=loud: "),
    # flags that do not go together; those of each mode: below
    (["--mode=compare", "--workdir=a", "--other=,"], "--mode=compare needs --other=DIR"),
    (["--mode=compress", "--workdir=a", "--input=x", "--output=./x"], "is the file of --input, which would be lost"),
    (["--mode=evaluate", "--workdir=a", "--input=x", "--output=a/../x"], "is the file of --input, which would be lost"),
    (["--mode=evaluate", "--workdir=a", "--output=a.csv"], "--output goes with --input"),
    (["--mode=evaluate", "--workdir=a", "--context=3"], "--context goes with --input in --mode=evaluate"),
    (["--mode=classify", "--workdir=a", "--prior=uniforn"], "--prior cannot be 'uniforn', did you mean 'uniform'"),
]

# Overrides of a good config, and a piece of the sentence.
OVERRIDES = [
    ("--config.sample.sampler=speculative(draft='nowhere')", "holds no run"),
    ("--config.seed", "--config.seed needs a value"),
    ("--config.optimizer.learning_rate=nan", "must be a finite number, not nan"),
    ("--config.train.steps=0", "exactly one of train.steps, train.examples and train.epochs must be above 0"),
    ("--config.model.ordering=list(order=(0, 0, 1))", "the ordering lists 3 sites, but there are 64"),
    ("--config.model.partition=blocks(size=0)", "size"),
    ("--config.model.partition=sizes(sizes=(1, 2))", "64"),
    ("--config.model.conditional=bernoulli", "bernoulli"),
    ("--config.mesh.data=3", "does not multiply up to the number of devices"),
    ("--config.mesh.rules=(('kernel$', ('wide',)),)", "names the axis 'wide'"),
    ("--config.mesh.rules=(('kernel$', ({'a': 1},)),)", "config.mesh.rules must be a tuple"),
    ("--config.network.hidden_sizes=" + "-" * 20_000 + "1", "config.network.hidden_sizes must be a tuple"),
    ("--config.network.hidden_sizes=" + "[" * 20_000, "config.network.hidden_sizes must be a tuple"),
    ("--config.model.ordering=random(seed=" + "-" * 20_000 + "1)", "cannot read 'random(seed=---"),
    ("--config.model.ordering=list(order=" + "+".join("1" * 20_000) + ")", "cannot read 'list(order="),
    ("--config.model.ordering=random(seed=3\0)", "cannot read 'random("),
    ("--config.optimizer.decay_pattern=" + "(" * 5000, "config.optimizer.decay_pattern is not a regular expression"),
]

# What a config file may hold, and a piece of the sentence.
FILES = [
    ("def get_config(arg=''):\n    return (", "fails with SyntaxError"),
    ("import nonexistent_module", "line 1, fails with ModuleNotFoundError: No module named 'nonexistent_module'"),
    ("x = 1", "does not define get_config()"),
    ("def get_config(arg=''):\n    return {'seed': 0}", "must return a ConfigDict, not dict"),
    ("def get_config(arg=''):\n    return 1 / 0", "line 2, fails with ZeroDivisionError: division by zero"),
    ("raise SystemExit('bye')", "fails with SystemExit: bye"),
    (
        "from ml_collections import ConfigDict\ndef get_config(arg=''):\n    return ConfigDict({'seed': 0})",
        "lacks the field",
    ),
    ("SETS: c.train.stepz = 3", "line 7, fails with unknown config field 'stepz', did you mean 'steps'?"),
    ("SETS: c.network = network_config('mode')", "unknown network 'mode', did you mean 'made'"),
    ("SETS: c = base_config()", "names no dataset"),
    ("SETS: c.unlock().sed = 1", "unknown config field 'sed', did you mean 'seed'"),
    ("SETS: c.dataset = dataset_config('uci_binary', data_dir='/nowhere')", "scripts/prepare_data.py uci_binary"),
    ("SETS: c.network.unlock()[3] = 4", "config.network has a field that is named by no text"),
    ("SETS: c.unlock()[3] = 4", "config has a field that is named by no text"),
    ("SETS: c.parts.unlock()[3] = part('made')", "config.parts has a field that is named by no text"),
    ("SETS: c.parts.unlock()['a'] = c", "sections of a config hold one another without end"),
    ("SETS: c.seed = True", "config.seed must be an integer, not"),
    ("SETS: c.mesh.rules = None", "config.mesh.rules must be a tuple, not None"),
]


#: How the files with `SETS:` begin.
BEGINNING = """
from arjax.config import *
def get_config(arg=''):
    c = base_config()
    c.dataset, c.network = dataset_config('digits'), network_config('made')
    c.train.steps = 3
    """


@pytest.fixture
def places(tmp_path, config_file):
    """A function that puts paths in the place of the words of the tables."""
    (tmp_path / "file").write_text("")
    words = {"CONFIG": config_file, "EMPTY": tmp_path / "empty", "FILE": tmp_path / "file"}

    def fill(argument: str) -> str:
        for word, path in words.items():
            argument = argument.replace(word, str(path))
        return argument

    return fill


@pytest.mark.parametrize(("argv", "piece"), COMMANDS, ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_commands(argv, piece, places, request, sentence_of):
    argv = [places(argument) for argument in argv]
    if any("RUN" in argument for argument in argv):
        run = str(request.getfixturevalue("finished_run"))
        argv = [argument.replace("RUN", run) for argument in argv]
    assert piece in sentence_of(argv)


@pytest.mark.parametrize(("override", "piece"), OVERRIDES, ids=lambda v: v[:80] if v.startswith("--") else "")
def test_overrides(override, piece, config_file, tmp_path, sentence_of):
    assert piece in sentence_of([f"--config={config_file}", f"--workdir={tmp_path / 'run'}", override])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("text", "piece"), FILES, ids=lambda v: "")
def test_config_files(text, piece, tmp_path, sentence_of, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))  # whatever is prepared on this machine
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "c.py"
    text = BEGINNING + text.removeprefix("SETS: ") + "\n    return c" if text.startswith("SETS: ") else text
    path.write_text(text + "\n")
    assert piece in sentence_of([f"--config={path}", f"--workdir={tmp_path / 'new' / 'run'}"])
    assert not (tmp_path / "new").exists()


def test_runs_without_checkpoints_or_with_other_fields(finished_run, tmp_path, sentence_of):
    (tmp_path / "config.json").write_text((finished_run / "config.json").read_text())
    assert "holds no checkpoint yet" in sentence_of(["--mode=evaluate", f"--workdir={tmp_path}"])
    config = json.loads((finished_run / "config.json").read_text())
    config["optimizer"]["beta"] = config["optimizer"].pop("b1")
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "optimizer.b" in sentence_of(["--mode=evaluate", f"--workdir={tmp_path}"])


@pytest.mark.slow
def test_as_a_process(places):
    argv = [places(word) for word in ("--config=CONFIG", "--workdir=EMPTY", "--config.model.conditional=bernoulli")]
    done = subprocess.run([sys.executable, "-m", "arjax", *argv], capture_output=True, text=True)
    assert done.returncode == 2 and "bernoulli" in done.stderr and done.stderr.count("\n") == 1
    assert done.stdout == ""


#: A value for each flag that a mode may need or take.
VALUES = {"config": "c.py", "workdir": "d", "prompt": "a", "context": "1", "input": "i", "output": "o", "other": "b"}
VALUES |= {"prior": "train", "streams": "2", "verify": "true", "devices": "2", "accelerator": "H100", "json": "true"}
VALUES |= {
    "budget_s": "2",
    "trust": "true",
    "coordinator_address": "h:1",
    "num_processes": "2",
    "process_id": "0",
    "config.seed": "1",
}


def test_flags_in_any_order_are_those_of_one_call(monkeypatch):
    flags = parse_flags(
        ["--config.a.b=x=y", "--workdir", "d", "--config.seed", "3", "--mode=sample", "--process_id", "-1", "--trust"]
    )
    assert (flags.mode, flags.workdir, flags.config, flags.process_id, flags.trust) == ("sample", "d", "", -1, True)
    assert flags.overrides == (("a.b", "x=y"), ("seed", "3"))
    assert parse_flags(["--config=c.py:a=1", "--workdir=d"]).mode == "train", "it is the default"
    assert parse_flags(["--config=c.py", "--mode=plan", "--devices=1e1"]).devices == 10
    monkeypatch.setattr(sys, "argv", ["arjax", "--config.seed=7", "--bogus"])
    assert parse_flags(["--mode=list", "--json"]).json is True
    flags = parse_flags(["--mode=list"])
    assert flags.json is False and flags.overrides == ()
    for more, verify in (([], True), (["--noverify"], False)):
        assert parse_flags(["--mode=compress", "--workdir=d", "--output=o", *more]).verify is verify


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_takes_the_flags_that_it_names_and_no_others(mode):
    needs = [f"--{name}={VALUES[name]}" for name in MODES[mode].needs]
    for name, value in VALUES.items():
        given = [*needs, f"--mode={mode}", *([f"--{name}={value}"] if name not in MODES[mode].needs else [])]
        if name in ("output", "context") and mode in ("evaluate", "classify"):
            given.append("--input=i")
        named = "config.FIELD" if name == "config.seed" else name
        if named in MODES[mode].takes:
            assert parse_flags(given).mode == mode
        else:
            assert refusal(parse_flags, given).startswith(f"--mode={mode} takes no --{named}")
    for name in MODES[mode].needs:
        others = [flag for flag in needs if not flag.startswith(f"--{name}=")]
        assert refusal(parse_flags, [f"--mode={mode}", *others]).startswith(f"--mode={mode} needs --{name}=")


def test_flags_from_a_file(tmp_path, sentence_of):
    (tmp_path / "my.flags").write_text("# a comment\n--mode=sample\n--config.sample.num=1e2\n\n--workdir=d\n")
    flags = parse_flags([f"--flagfile={tmp_path / 'my.flags'}", "--config.seed=3"])
    assert (flags.mode, flags.workdir) == ("sample", "d")
    assert flags.overrides == (("sample.num", "1e2"), ("seed", "3"))
    assert "--mode is given twice" in sentence_of([f"--flagfile={tmp_path / 'my.flags'}", "--mode=evaluate"])
    (tmp_path / "my.flags").write_bytes(b"\xff\xfe")
    assert "decode" in sentence_of([f"--flagfile={tmp_path / 'my.flags'}"])


def test_help_and_version_end_well_are_complete_and_import_nothing_heavy():
    code = "import sys; from arjax.cli.main import main; from arjax.tables.main import main as table\n"
    code += "codes = [table(['--help']), main(['--help']), main(['--version'])]\n"
    code += "print(codes, {'jax', 'flax', 'ml_collections'} & set(sys.modules))"
    before = os.times()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    after = os.times()  # of the processor: other programs may use it, too
    assert after.children_user - before.children_user + after.children_system - before.children_system < 1.0
    assert done.stdout.splitlines()[-2:] == [f"arjax {arjax.__version__}", "[0, 0, 0] set()"] and not done.stderr
    assert all(f"--{name}" in done.stdout for name in VALUES if "." not in name)
    assert all(f"\n  {mode} " in done.stdout for mode in MODES)


@pytest.mark.parametrize("command", [main, sweep, table])
def test_every_command_has_the_flags_of_absl(command, tmp_path, capsys):
    assert command(["--helpfull"]) == 0
    full = capsys.readouterr().out
    assert command(["-h"]) == command(["--helpshort"]) == command(["--version"]) == 0
    if command is not table:  # argparse takes no value there
        assert command(["--help=true"]) == 0
    assert full.startswith("usage: arjax") and "--verbosity" in full and "--flagfile" in full
    (tmp_path / "my.flags").write_text("--helpshort\n")
    assert command([f"--flagfile={tmp_path / 'my.flags'}"]) == 0
    assert command(["--bogus"]) == 2 and capsys.readouterr().err.count("\n") == 1


LOGS = """
import logging, sys
import absl.logging
from arjax.cli.flags import launch, read_flags

def work(flags):
    logging.getLogger("library").warning("of a library")
    absl.logging.warning("of absl")
    absl.logging.info("more")
    return 3

sys.exit(launch("arjax", lambda arguments: read_flags("arjax", arguments, [], str), work, sys.argv[1:]))
"""


def test_messages_of_libraries_stay_as_they_are_unless_more_are_asked_for():
    plain, more = (
        subprocess.run([sys.executable, "-c", LOGS, *flags], capture_output=True, text=True)
        for flags in ([], ["--verbosity=1"])
    )
    assert plain.stderr == "of a library\nWARNING:absl:of absl\n" and plain.returncode == more.returncode == 3
    assert [line.rpartition("] ")[2] for line in more.stderr.splitlines()] == ["of a library", "of absl", "more"]


OUT_OF_MEMORY = jax.errors.JaxRuntimeError("INTERNAL: Error dispatching:\nOut of memory allocating 20 bytes.")


def failing(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("one\n  two"), 2, "one two"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError("Unable to allocate 90.9 TiB"), 2, "this machine has too little memory: Unable to allocate 90.9"),
        (OUT_OF_MEMORY, 2, "the devices have too little memory: INTERNAL: Error dispatching: Out of memory allocating"),
    ],
)
def test_what_a_user_can_mend_is_one_line(error, code, line, capsys):
    assert tell_mistakes("arjax", failing(error)) == code
    told = capsys.readouterr().err
    assert told.startswith(f"arjax: {line}") and told.count("\n") == 1


@pytest.mark.parametrize("error", [RuntimeError("a bug"), jax.errors.JaxRuntimeError("INTERNAL: a device is lost")])
def test_other_errors_are_not_hidden(error):
    with pytest.raises(type(error), match=str(error)):
        tell_mistakes("arjax", failing(error))


def test_writable_folder_makes_folders_and_leaves_nothing(tmp_path):
    folder = writable_folder(str(tmp_path / "a" / "b"))
    assert folder.is_dir() and not list(folder.iterdir())


@pytest.mark.parametrize("error", [RuntimeError("Unable to initialize backend 'cuda'"), AssertionError()])
def test_devices_that_are_not_there(error, monkeypatch):
    """What jax 0.12 and jax 0.10 raise under JAX_PLATFORMS=cuda without a GPU; other errors stay as they are."""
    monkeypatch.setattr(
        sharding, "jax", SimpleNamespace(devices=failing(error), config=SimpleNamespace(jax_platforms="cuda"))
    )
    assert "JAX_PLATFORMS=cuda names devices that JAX does not find here" in refusal(sharding.available_devices)
    sharding.jax.config.jax_platforms = None
    with pytest.raises(type(error)):
        sharding.available_devices()
