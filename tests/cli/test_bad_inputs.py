"""Every wrong input ends in one sentence on stderr and exit code 2: never a traceback, never half a run."""

import json
import subprocess
import sys

import pytest

# (arguments, a piece of the sentence). CONFIG, RUN, EMPTY and FILE stand for paths made by the test.
COMMANDS = [
    (["--mode=plan", "--config=CONFIG", "--num_processes=2"], "--mode=plan takes no --num_processes, which goes with"),
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
    (["--config=nowhere.py", "--workdir=EMPTY"], "there is no config file 'nowhere.py'"),
    (["--config=CONFIG:smok", "--workdir=EMPTY"], "no argument 'smok', did you mean 'smoke'"),
    (["--config=CONFIG:units=big", "--workdir=EMPTY"], "'units' must be an integer, not 'big'"),
    (["--config=CONFIG:context=colour", "--workdir=EMPTY"], "'context' of the dataset 'digits' must be one of none"),
    (["--config=CONFIG", "--workdir=FILE"], "cannot write to the folder"),
    (["--config=CONFIG", "--workdir=/proc/nowhere"], "cannot write to the folder '/proc/nowhere'"),
    (["--mode=evaluate", "--workdir=EMPTY"], "holds no run"),
    (["--mode=evaluate", "--workdir=EMPTY", "--config=CONFIG"], "holds no run"),
    (
        ["--config=CONFIG:smoke,units=9,context=label", "--workdir=RUN"],
        "network.hidden_sizes was (8,) there and is (9,)",
    ),
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
    (["--mode=list", "--config.seed=1"], "--mode=list takes no --config.FIELD"),
    (["--flagfile=nowhere"], "nowhere"),
    (["--flagfile"], "--flagfile with no argument"),
    (["--verbosity=loud", "--mode=list"], "flag --verbosity=loud: "),
    # flags that do not go together; those of each mode: test_flags.py
    (["--mode=compare", "--workdir=a", "--other=,"], "--mode=compare needs --other=DIR"),
    (["--mode=compress", "--workdir=a", "--input=x", "--output=./x"], "is the file of --input, which would be lost"),
    (["--mode=evaluate", "--workdir=a", "--input=x", "--output=a/../x"], "is the file of --input, which would be lost"),
    (["--mode=evaluate", "--workdir=a", "--output=a.csv"], "--output goes with --input"),
    (["--mode=evaluate", "--workdir=a", "--context=3"], "--context goes with --input in --mode=evaluate"),
    (["--mode=classify", "--workdir=a", "--prior=uniforn"], "--prior cannot be 'uniforn', did you mean 'uniform'"),
]

# Overrides of a good config, and a piece of the sentence.
OVERRIDES = [
    ("--config.optimiser.b1=0", "did you mean 'optimizer.b1'"),
    ("--config.sample.sampler=speculative(draft='nowhere')", "holds no run"),
    ("--config.seed", "--config.seed needs a value"),
    ("--config.train.data_on_device=perhaps", "must be true or false, not 'perhaps'"),
    ("--config.optimizer.learning_rate=nan", "must be a finite number, not nan"),
    ("--config.train.steps=0", "exactly one of train.steps, train.examples and train.epochs must be above 0"),
    ("--config.model.ordering=random(", "cannot read 'random('"),
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
