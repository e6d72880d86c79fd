"""How files are replaced."""

import os
import stat

import numpy as np
import pytest
from safetensors.numpy import save_file

from arjax.core.files import replacing


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield 0o640
    os.umask(before)


def test_files_have_the_mode_of_the_umask(umask, tmp_path):
    """Also those that safetensors writes, for the user alone."""
    with replacing(tmp_path / "model.safetensors") as path:
        save_file({"a": np.zeros(3)}, path)
    assert stat.S_IMODE((tmp_path / "model.safetensors").stat().st_mode) == umask


def test_what_a_killed_write_has_left_is_removed_and_no_other_file(tmp_path):
    names = ["a[1].json.17.4.tmp", "a[1].json.18.4.tmp", "b.json.17.4.tmp"]
    for name in names:
        (tmp_path / name).write_text("half")
    for name in names[::2]:
        os.utime(tmp_path / name, (0, 0))
    with replacing(tmp_path / "a[1].json") as path:
        path.write_text("whole")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a[1].json", *names[1:]]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "a") as path:
        path.write_text(str(1 / 0))
    assert [each.read_text() for each in tmp_path.iterdir()] == ["old"]
