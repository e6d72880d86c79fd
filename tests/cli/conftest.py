"""A config file for the tests of the command line, and a finished tiny run made with it."""

import contextlib
import io
import pathlib
import shutil

import pytest

from arjax.cli.main import main

CONFIG = """
from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg

def get_config(arg=""):
    arg = parse_arg(arg, smoke=False, context="none", units=8)
    config = base_config()
    config.dataset = dataset_config("digits", context=arg.context)
    config.network = network_config("made", hidden_sizes=(arg.units,), direct=False)
    config.train.steps = 100
    config.evaluate.batch_size = 100
    return apply_smoke(config) if arg.smoke else config
"""


@pytest.fixture(scope="session")
def config_file(tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("configs") / "tiny.py"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="session")
def finished_run(config_file, tmp_path_factory) -> pathlib.Path:
    """The workdir of a finished run, and beside it `printed.txt`; tests must not change its checkpoints."""
    workdir, printed = tmp_path_factory.mktemp("runs") / "tiny", io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main([f"--config={config_file}:smoke,context=label", f"--workdir={workdir}"]) == 0
    (workdir.parent / "printed.txt").write_text(printed.getvalue())
    return workdir


@pytest.fixture
def workdir(finished_run, tmp_path) -> pathlib.Path:
    """A copy of the finished run, for tests that change it."""
    return shutil.copytree(finished_run, tmp_path / "run")


@pytest.fixture
def last_sentence(capsys):
    """A function that runs a command line that must fail; returns the last line of stderr."""

    def call(*command: str, lines: int | None = None) -> str:
        capsys.readouterr()
        code = main(list(command))
        error = capsys.readouterr().err
        *before, last = error.splitlines(keepends=True)
        assert code == 2 and last.startswith("arjax: ") and "Traceback" not in error, error
        assert lines is None or len(before) + 1 == lines, error
        return last

    return call


@pytest.fixture
def sentence_of(last_sentence):
    """The same of a list of arguments, where nothing else is printed."""
    return lambda command: last_sentence(*command, lines=1)
