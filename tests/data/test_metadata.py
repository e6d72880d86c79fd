"""Prepared sets whose metadata are damaged, or name classes of others: one sentence, and nothing is imported."""

import json
import shutil
import sys

import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.data import make_dataset
from arjax.data.prepare import prepare


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    np.savez(
        folder / "dna.npz", **{f"{part}_data": np.eye(3, 180, dtype=np.uint8) for part in ("train", "valid", "test")}
    )
    prepare("uci_binary/dna", str(folder), str(folder / "out"), check_sizes=False)
    return folder / "out"


@pytest.fixture
def folder(prepared, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "out"))
    shutil.copytree(prepared, tmp_path / "out")
    return tmp_path / "out" / "uci_binary" / "dna" / "1.0.0"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module on the path that has not been imported."""
    (tmp_path / "somebody_elses.py").write_text("raise SystemExit('it was run')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "somebody_elses"
    assert "somebody_elses" not in sys.modules


def edit(path, *keys, value):
    whole = json.loads(path.read_text())
    part = whole
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    path.write_text(json.dumps(whole))


IMAGE = {"pythonClassName": "tensorflow_datasets.core.features.image_feature.Image", "image": {}}


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("pythonClassName",), "MODULE.Features"),
        (("featuresDict", "features", "x", "pythonClassName"), "MODULE.Tensor"),
        (("featuresDict", "features", "x", "python_class_name"), "MODULE.Tensor"),
        (("type",), "MODULE.Features"),
        (("proto_cls",), "MODULE.Features"),
        (
            ("featuresDict", "features", "y"),
            {
                "pythonClassName": "tensorflow_datasets.core.features.sequence_feature.Sequence",
                "sequence": {"length": "-1", "feature": IMAGE | {"pythonClassName": "MODULE.Image"}},
            },
        ),
        (
            ("featuresDict", "features", "y"),
            IMAGE | {"json": {"json": json.dumps({"type": "MODULE.Image", "content": {}})}},
        ),
    ],
)
def test_classes_of_other_packages_are_not_imported(keys, value, folder, module):
    edit(folder / "features.json", *keys, value=json.loads(json.dumps(value).replace("MODULE", module)))
    with pytest.raises(UserError, match=rf"names the class '{module}\.\w+', which does not belong to tensorflow-dat"):
        make_dataset("uci_binary")


@pytest.mark.parametrize("name", ["features.json", "dataset_info.json"])
@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", "[" * 100_000, '{"a": ' * 300 + "1" + "}" * 300, "\xff"])
def test_files_that_are_no_json_objects(name, text, folder):
    (folder / name).write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=rf"{name} (is not JSON|holds no object).*prepare_data\.py uci_binary/dna"):
        make_dataset("uci_binary")


@pytest.mark.parametrize(
    ("name", "keys", "value", "sentence"),
    [
        ("features.json", ("featuresDict",), 3, "is damaged"),
        ("features.json", ("featuresDict", "features", "x"), {}, "is damaged"),
        ("features.json", ("featuresDict", "features"), {}, "is damaged|has no feature 'x'"),
        ("features.json", ("pythonClassName",), "tensorflow_datasets.no.such.Class", "is damaged"),
        ("features.json", ("featuresDict", "features", "x", "tensor", "dtype"), "uint99", "is damaged"),
        ("features.json", ("featuresDict", "features", "x", "tensor", "shape", "dimensions"), ["7"], "."),
        ("dataset_info.json", ("splits",), [], "is damaged|has no train split"),
        ("dataset_info.json", ("splits", 0, "name"), "abc", "file .* is missing|unknown split"),
        ("dataset_info.json", ("splits", 0, "shardLengths"), ["9"], "is damaged"),
        ("dataset_info.json", ("splits", 0, "shardLengths"), [], "has no train split|is damaged"),
        ("dataset_info.json", ("version",), [], "is damaged"),
        ("dataset_info.json", ("fileFormat",), "tfrecord", "only TensorFlow reads the tfrecord files"),
    ],
)
def test_metadata_that_say_something_else(name, keys, value, sentence, folder):
    edit(folder / name, *keys, value=value)
    with pytest.raises(UserError, match=rf"({sentence}).*") as told:
        make_dataset("uci_binary")
    assert "delete the folder and run: python scripts/prepare_data.py uci_binary/dna" in str(told.value)


def test_preparing_over_a_damaged_folder_says_what_to_delete(folder, tmp_path):
    (folder / "dataset_info.json").write_text('{"splits": 3}')
    np.savez(tmp_path / "dna.npz", train_data=np.eye(3, 180))
    with pytest.raises(UserError, match=r"out/uci_binary/dna is damaged: delete that folder"):
        prepare("uci_binary/dna", str(tmp_path), str(tmp_path / "out"))
