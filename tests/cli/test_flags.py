"""The flags of `arjax`."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

import arjax
from arjax.cli.command_line import Flags, parse_flags, tell_mistakes
from arjax.core.errors import UserError
from arjax.core.files import writable_folder
from arjax.parallel import sharding


def test_all_flags():
    flags = parse_flags(
        [
            "--config=c.py:a=1",
            "--workdir",
            "d",
            "--mode=sample",
            "--config.a.b=x=y",
            "--config.seed",
            "3",
            "--process_id=1",
        ]
    )
    assert flags == Flags(
        mode="sample",
        config="c.py:a=1",
        workdir="d",
        overrides=(("a.b", "x=y"), ("seed", "3")),
        process_id=1,
    )


def test_training_is_the_default():
    assert parse_flags(["--config=c.py", "--workdir=d"]).mode == "train"


@pytest.mark.parametrize(
    "argv", [["--mode=list"], ["--mode=plan", "--config=c.py"], ["--mode=evaluate", "--workdir=d"]]
)
def test_what_a_mode_does_without(argv):
    assert parse_flags(argv).mode == argv[0].partition("=")[2]


def test_help_is_instant_and_complete():
    before = os.times()
    done = subprocess.run([sys.executable, "-m", "arjax", "--help"], capture_output=True, text=True, check=True)
    after = os.times()  # of the processor: other programs may use it, too
    assert after.children_user - before.children_user + after.children_system - before.children_system < 2.0
    for word in ("--config", "--workdir", "train", "evaluate", "sample", "plan", "list"):
        assert word in done.stdout


def test_help_does_not_import_jax():
    code = "import sys, arjax.cli.main; from arjax.cli.command_line import parse_flags\nprint('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_version(capsys):
    with pytest.raises(SystemExit) as end:
        parse_flags(["--version"])
    assert end.value.code == 0 and capsys.readouterr().out == f"arjax {arjax.__version__}\n"


def test_a_mistake_is_one_line_and_code_2(capsys):
    def main():
        raise UserError("one\n  two")

    assert tell_mistakes("arjax", main) == 2
    assert capsys.readouterr().err == "arjax: one two\n"


def test_an_interrupt_is_no_traceback(capsys):
    def main():
        raise KeyboardInterrupt

    assert tell_mistakes("arjax", main) == 130
    assert capsys.readouterr().err == "arjax: interrupted\n"


def test_other_errors_are_not_hidden():
    def main():
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError):
        tell_mistakes("arjax", main)


def test_writable_folder_makes_folders_and_leaves_nothing(tmp_path):
    folder = writable_folder(str(tmp_path / "a" / "b"))
    assert folder.is_dir() and not list(folder.iterdir())


@pytest.mark.parametrize("error", [RuntimeError("Unable to initialize backend 'cuda'"), AssertionError()])
def test_devices_that_are_not_there(error, monkeypatch):
    """What jax 0.12 and jax 0.10 raise under JAX_PLATFORMS=cuda without a GPU; other errors stay as they are."""

    def failing():
        raise error

    monkeypatch.setattr(sharding, "jax", SimpleNamespace(devices=failing, config=SimpleNamespace(jax_platforms="cuda")))
    with pytest.raises(UserError, match=r"^JAX_PLATFORMS=cuda names devices that JAX does not find here"):
        sharding.available_devices()
    sharding.jax.config.jax_platforms = None
    with pytest.raises(type(error)):
        sharding.available_devices()
