"""The Tab key: candidates for the last word of a line, and the functions of shells that ask for them."""

import json
import shlex
import shutil
import subprocess
import sys

import pytest

from arjax.cli import completion
from arjax.cli.completion import complete
from arjax.cli.main import main
from arjax.sweep.main import main as sweep

CONFIG = """
from arjax.config import base_config, dataset_config, network_config, parse_arg

def get_config(arg=""):
    arg = parse_arg(arg, smoke=False, network="made", size=8)
    config = base_config()
    config.dataset, config.network = dataset_config("digits"), network_config("lstm")
    return config
"""

# What stands behind `arjax `, and the candidates.
LINES = {
    "--mo": ["--mode="],
    "--mode=s": ["--mode=sample", "--mode=suggest"],
    "--completion=": ["--completion=bash", "--completion=fish", "--completion=zsh"],
    "--workdir=x --wo": [],
    "--js": ["--json"],
    "--config=m": ["--config=memory", "--config=mine.py"],
    "--config=sub/": ["--config=sub/other.py"],
    "--workdir=s": ["--workdir=sub/"],
    "--workdir 's": ["sub/"],
    "--workdir run --config.network.": ["--config.network.mine="],
    "--config.sample.sampler gr": ["greedy"],
    "--config=mine.py:": ["--config=mine.py:network=", "--config=mine.py:size=", "--config=mine.py:smoke"],
    "--config=mine.py:smoke,si": ["--config=mine.py:smoke,size="],
    "--config=mine.py:network=ls": ["--config=mine.py:network=lstm"],
    "--config=digits:sm": ["--config=digits:smoke"],
    "--config=mine.py --config.tr": ["--config.train."],
    "--config=mine.py --config.train.ep": ["--config.train.epochs="],
    "--config=mine.py --config.se": ["--config.seed="],
    "--config=mine.py --config.network.hid": ["--config.network.hidden_size="],
    "--config=mine.py:network=made --config.network.hid": [
        "--config.network.hidden_size=",
        "--config.network.hidden_sizes=",
    ],
    "--config=none.py --config.network.": [],
    "--config=mine.py --config.sample.sampler=b": ["--config.sample.sampler=beam", "--config.sample.sampler=best"],
    "--config.train.data_on_device=": ["--config.train.data_on_device=false", "--config.train.data_on_device=true"],
    "--config.evaluate.split=te": ["--config.evaluate.split=test"],
    "--workdir=run --config.network.": ["--config.network.mine="],
    "--config='mine.py' --config.optimizer.cl": ["--config.optimizer.clip_norm="],
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(CONFIG)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "other.py").write_text("def broken(")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps({"seed": 1, "network": {"mine": 3}}))
    return tmp_path


def test_candidates(folder):
    for line, wanted in LINES.items():
        assert complete("arjax", "zsh", f"arjax {line}") == wanted, line
    assert {"--config=", "--config.", "--workdir="} <= set(complete("arjax", "zsh", "arjax --"))
    assert complete("arjax", "zsh", "arjax --config=sub/other.py:") == [], "a file that is no Python has no words"
    for typed, wanted in (
        ("--sweep=m", "--sweep=mine.py"),
        ("--sweep=real", "--sweep=real_table"),
        ("--dry_run=c", "--dry_run=commands"),
    ):
        assert complete("arjax-sweep", "zsh", f"arjax-sweep {typed}") == [wanted]
    assert complete("arjax", "bash", "arjax --config=mine.py:sm", " =:") == ["smoke"], "bash replaces no more than that"
    assert complete("arjax", "bash", "arjax --config=mine.py:sm", " ") == ["--config=mine.py:smoke"]


def test_the_names_are_those_that_there_are(load_script):
    script = load_script("scripts/update_names.py")
    assert json.loads(completion.NAMES.read_text()) == script.names(), "run `make tables`"
    assert completion.SCRIPTS.keys() == set(script.names()["choices"]["arjax"]["--completion"])
    kinds = {*completion.VALUES.values(), *completion.ARGUMENTS.values()}
    assert kinds <= script.names()["names"].keys()
    assert {*completion.VALUES, *completion.FIXED} <= script.names()["fields"].keys()


def test_bash_completes(folder):
    """The function that bash calls, as bash calls it, in a shell of its own."""
    program = folder / "arjax"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m arjax "$@"\n')
    program.chmod(0o755)
    (folder / "completion").write_text(completion.SCRIPTS["bash"])
    asked = ["arjax --mode=pl", "arjax --config=mine.py:network=two", "arjax --config.evaluate.sp", "arjax --nothing"]
    calls = [
        f'COMP_LINE={shlex.quote(line)}; COMP_POINT={len(line)}; _arjax_complete {program}; echo "${{COMPREPLY[*]}}"'
        for line in asked
    ]
    script = "\n".join(["source completion", *calls])
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:4] == ["plan", "two_stream", "--config.evaluate.split=", ""], done.stderr
    registered = subprocess.run(["bash", "-c", "source completion; complete -p arjax"], capture_output=True, text=True)
    assert registered.stdout.strip() == "complete -F _arjax_complete arjax"


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_read_their_scripts(shell, tmp_path):
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    (tmp_path / "script").write_text(completion.SCRIPTS[shell])
    subprocess.run([shell, "-n", str(tmp_path / "script")], check=True)


def test_one_command_prints_the_script(capsys):
    for shell, script in completion.SCRIPTS.items():
        assert main([f"--completion={shell}"]) == 0 and capsys.readouterr().out == script
    assert main(["--completion=bash", "--workdir=x"]) == 2 and "goes alone" in capsys.readouterr().err
    assert (
        main(["--completion=csh"]) == 2
        and "--completion cannot be 'csh', did you mean 'zsh'?" in capsys.readouterr().err
    )
    assert main(["--complete", "zsh", "arjax --mode=pl"]) == 0 and capsys.readouterr().out == "--mode=plan\n"
    assert sweep(["--complete", "zsh", "arjax-sweep --jo"]) == 0 and capsys.readouterr().out == "--jobs=\n"
    assert main(["--complete"]) == 2 and "turn completion on with arjax --completion=bash" in capsys.readouterr().err


def test_it_imports_nothing_heavy():
    call = "from arjax.cli.main import main; main(['--complete', 'bash', 'arjax --config=digits --config.'])"
    check = "import sys; assert not {'jax', 'flax', 'ml_collections', 'optax'} & set(sys.modules), sorted(sys.modules)"
    done = subprocess.run([sys.executable, "-c", f"{call}; {check}"], capture_output=True, text=True)
    assert done.returncode == 0 and "--config.train." in done.stdout, done.stderr
