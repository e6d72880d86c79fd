"""The flags of `arjax`, which absl reads, and the ends of a command."""

import os
import subprocess
import sys
from types import SimpleNamespace

import jax
import pytest

import arjax
from arjax.cli.command_line import tell_mistakes
from arjax.cli.main import main
from arjax.cli.modes import MODES, parse_flags
from arjax.core.errors import UserError
from arjax.core.files import writable_folder
from arjax.parallel import sharding
from arjax.sweep.main import main as sweep
from arjax.tables.main import main as table

#: A value for each flag that a mode may need or take.
VALUES = {"config": "c.py", "workdir": "d", "prompt": "a", "context": "1", "input": "i", "output": "o", "other": "b"}
VALUES |= {"prior": "train", "streams": "2", "verify": "true", "devices": "2", "accelerator": "H100", "json": "true"}
VALUES |= {"trust": "true", "coordinator_address": "h:1", "num_processes": "2", "process_id": "0", "config.seed": "1"}


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
            with pytest.raises(UserError, match=f"^--mode={mode} takes no --{named}"):
                parse_flags(given)
    for name in MODES[mode].needs:
        others = [flag for flag in needs if not flag.startswith(f"--{name}=")]
        with pytest.raises(UserError, match=f"^--mode={mode} needs --{name}="):
            parse_flags([f"--mode={mode}", *others])


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
    with pytest.raises(UserError, match=r"^JAX_PLATFORMS=cuda names devices that JAX does not find here"):
        sharding.available_devices()
    sharding.jax.config.jax_platforms = None
    with pytest.raises(type(error)):
        sharding.available_devices()
