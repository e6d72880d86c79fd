"""Configs in a folder `configs` go by their names."""

from __future__ import annotations

import pytest

from arjax.config.files import load_config_file
from arjax.core.errors import UserError


@pytest.mark.parametrize("text", ["mine", "mine:a=1", "mine.py:a=1", "configs/mine.py:a=1"])
def test_a_config_may_be_given_by_its_name(text, tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "mine.py").write_text(
        "from ml_collections import ConfigDict\ndef get_config(arg=''):\n    return ConfigDict({'arg': arg})\n"
    )
    monkeypatch.chdir(tmp_path)
    assert load_config_file(text).arg == text.partition(":")[2]


def test_the_configs_of_the_repository_have_names_everywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config_file("digits:smoke,network=made").network.name == "made"
    with pytest.raises(UserError, match="there is no config file 'digit', did you mean 'digits'"):
        load_config_file("digit:smoke")
