"""How files are replaced."""

import os
import stat

import numpy as np
import pytest
from refusals import refusal
from safetensors.numpy import save_file

from arjax.core.errors import UserError
from arjax.core.files import folder_to_write, locked, only_run_in, read_json_object, replacing, writable_folder


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


def test_locks_of_a_folder(tmp_path):
    """Shared ones are held together, an exclusive one alone; where no folder is there is nothing to wait for."""
    for exclusive in (True, False):
        with locked(tmp_path / "none", exclusive=exclusive) as held:
            assert held
    with locked(tmp_path, exclusive=False) as first, locked(tmp_path, exclusive=False) as second:
        assert first and second
        with locked(tmp_path, exclusive=True) as third:
            assert not third
    with locked(tmp_path, exclusive=True) as first:
        assert first
        for exclusive in (True, False):
            with locked(tmp_path, exclusive=exclusive, wait=False) as second:
                assert not second
        with pytest.raises(UserError, match=r"another process is training in .*: wait for it, or choose"):
            only_run_in(tmp_path).__enter__()
    with only_run_in(tmp_path), locked(tmp_path, exclusive=True) as second:
        assert not second


def test_json_objects_have_a_largest_size(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": 1}')
    assert read_json_object(path) == {"a": 1}
    os.truncate(path, 2**27 + 1)
    assert f"{path} is too large: 134,217,729 bytes" in refusal(read_json_object, path)


def test_a_folder_is_made_and_removed_again_if_nothing_comes_of_it(tmp_path):
    with pytest.raises(UserError, match="no luck"), folder_to_write(tmp_path / "a" / "b") as folder:
        assert folder.is_dir()
        raise UserError("no luck")
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="no luck"), folder_to_write(tmp_path / "a" / "b") as folder:
        (folder / "x").touch()
        raise UserError("no luck")
    assert (tmp_path / "a" / "b" / "x").exists()
    assert f"cannot write to the folder '{tmp_path}/a/b/x'" in refusal(writable_folder, tmp_path / "a" / "b" / "x")
