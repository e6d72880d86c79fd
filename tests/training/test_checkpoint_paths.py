"""Checkpoints lie safe under any path."""

import os
import tempfile

import pytest
from checkpoint_cases import TREE, abstract, plus
from loop_helpers import assert_same_bits

from arjax.core.errors import UserError
from arjax.training.checkpoint import CheckpointStore

NAMES = [
    "lr[1e-3]",
    "a*b",
    "a?b",
    "50%",
    "%20",
    "a#b",
    "{b}",
    "a b",
    "ü 中",
    "...",
    ".hidden",
    "a:b",
    "a\\b",
    "-x",
    "~",
]


@pytest.fixture
def links(tmp_path_factory, monkeypatch):
    """The folder for temporary files."""
    folder = tmp_path_factory.mktemp("links")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("name", [*NAMES, "line\nbreak", os.fsdecode(b"latin-\xe9"), "x/gs:/y"])
def test_any_path_holds_checkpoints(tmp_path, links, name):
    folder = tmp_path / name / "store"
    for step in (1, 2):
        CheckpointStore(folder, keep=1).save(step, plus(TREE, step), {"value": step})
    step, tree, extra = CheckpointStore(folder).restore(abstract(TREE))
    assert (step, extra) == (2, {"value": 2})
    assert_same_bits(tree, plus(TREE, 2))
    assert [path.name for path in tmp_path.iterdir()] == [name.partition("/")[0]], "nothing is written elsewhere"
    assert [path.name for path in folder.iterdir()] == ["2"]
    assert not list(links.iterdir())


def test_a_pattern_does_not_read_what_it_matches(tmp_path):
    other, store = CheckpointStore(tmp_path / "axb"), CheckpointStore(tmp_path / "a*b")
    for n in range(3):
        other.save(5, plus(TREE, n), {})  # of a later generation than the one below
    (tmp_path / "axb" / "partial-5").mkdir()  # as if both runs were saving at this moment
    (tmp_path / "axb" / "5" / "state").rename(tmp_path / "axb" / "partial-5" / "state.orbax-checkpoint-tmp")
    (tmp_path / "a*b").mkdir()
    store.save(5, plus(TREE, 7), {})
    files = sorted(path.name for path in (tmp_path / "a*b" / "5" / "state" / "state").iterdir())
    assert_same_bits(store.restore(abstract(TREE))[1], plus(TREE, 7))
    CheckpointStore(tmp_path / "plain").save(5, plus(TREE, 7), {})
    assert files == sorted(path.name for path in (tmp_path / "plain" / "5" / "state" / "state").iterdir())


def test_a_moved_checkpoint_is_read_where_it_is_now(tmp_path):
    CheckpointStore(tmp_path / "lr[1]").save(1, TREE, {})
    (tmp_path / "lr[1]").rename(tmp_path / "lr[2]")
    assert_same_bits(CheckpointStore(tmp_path / "lr[2]").restore(abstract(TREE))[1], TREE)
    (tmp_path / "lr[2]").rename(tmp_path / "plain")
    assert_same_bits(CheckpointStore(tmp_path / "plain").restore(abstract(TREE))[1], TREE)


def test_without_a_plain_folder_for_temporary_files(tmp_path, monkeypatch):
    (tmp_path / "t[1]").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "t[1]"))
    with pytest.raises(UserError, match="TMPDIR"):
        CheckpointStore(tmp_path / "lr[1]").save(1, TREE, {})
    CheckpointStore(tmp_path / "plain").save(1, TREE, {})
