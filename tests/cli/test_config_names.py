"""Config files and sweep files go by their names: those here, then those of the package, which can be copied."""

import pytest

from arjax.cli.main import main
from arjax.config.files import load_config_file
from arjax.core.errors import UserError
from arjax.core.files import PACKAGE, find_file, short_names
from arjax.sweep.main import main as sweep

CONFIG = "from ml_collections import ConfigDict\ndef get_config(arg=''):\n    return ConfigDict({'arg': arg})\n"


@pytest.mark.parametrize("text", ["mine", "mine:a=1", "mine.py:a=1", "configs/mine.py:a=1"])
def test_a_config_may_be_given_by_its_name(text, tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "mine.py").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    assert load_config_file(text).arg == text.partition(":")[2]


def test_the_configs_of_the_package_have_names_everywhere(repository, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert {path.stem for path in (repository / "configs").glob("*.py")} == set(short_names("configs"))
    for name in ("digits", "digits.py", "configs/digits.py"):
        assert load_config_file(f"{name}:smoke,network=made").network.name == "made"
    for wrong in ("digit:smoke", "configs/digit.py"):
        with pytest.raises(UserError, match=f"there is no config file '{wrong[:-6]}.*', did you mean 'digits'"):
            load_config_file(wrong)
    with pytest.raises(UserError, match=r"there is no config file 'elsewhere/digits\.py'"):
        load_config_file("elsewhere/digits.py")
    assert sweep(["--sweep=real_table:smoke", "--workdir=out", "--dry_run=commands"]) == 0
    assert "--config=configs/real_table.py:recipe=flow,smoke" in capsys.readouterr().out
    assert sweep(["--sweep=real_tabel", "--workdir=out", "--dry_run"]) == 2
    assert "there is no sweep file 'real_tabel', did you mean 'real_table'?" in capsys.readouterr().err


def test_a_name_means_the_file_here_before_those_of_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_file("digits", "configs") == PACKAGE / "configs" / "digits.py"
    (tmp_path / "configs").mkdir()
    for path in ("configs/digits.py", "digits.py"):
        (tmp_path / path).write_text(CONFIG)
        assert str(find_file("digits", "configs")) == path


def test_a_config_is_copied_to_begin_with(tmp_path, monkeypatch, capsys):
    """With a file that it reads or imports; never over a file that is here."""
    monkeypatch.chdir(tmp_path)
    assert main(["--mode=new", "--config=long_text"]) == 0
    assert capsys.readouterr().out.split() == ["long_text.py", "llama.py"]
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (PACKAGE / "configs" / path.name).read_bytes()
    for _ in range(2):  # then hamlet.txt is here as it is there
        (tmp_path / "text.py").unlink(missing_ok=True)
        assert main(["--mode=new", "--config=text"]) == 0
        assert capsys.readouterr().out.split() == ["text.py", "hamlet.txt"]
    (tmp_path / "plants.csv").write_text("mine")
    for name, said in (
        ("text", "text.py is here already and would be overwritten"),
        ("table", "plants.csv is here already and would be overwritten"),
        ("digits:smoke", "leave out 'smoke'"),
        ("digit", "did you mean 'digits'?"),
    ):
        assert main(["--mode=new", f"--config={name}"]) == 2 and said in capsys.readouterr().err
    assert (tmp_path / "plants.csv").read_text() == "mine" and not (tmp_path / "table.py").exists()
