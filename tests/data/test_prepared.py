"""Folders of tensorflow-datasets whose metadata are damaged, or name classes of others: one sentence, and nothing is
imported.
"""

import json
import shutil
import sys

import pytest

from arjax.core.errors import UserError
from arjax.data import make_dataset


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    import tensorflow_datasets as tfds

    class TinyShakespeare(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {
                split: iter([(split, {"text": "to be or not to be" * 9})]) for split in ("train", "validation", "test")
            }

        def _generate_examples(self):
            raise NotImplementedError

    folder = tmp_path_factory.mktemp("prepared")
    TinyShakespeare(data_dir=folder, file_format="array_record").download_and_prepare()
    return folder


@pytest.fixture
def folder(prepared, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "out"))
    shutil.copytree(prepared, tmp_path / "out")
    return tmp_path / "out" / "tiny_shakespeare" / "1.0.0"


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
        (("featuresDict", "features", "text", "pythonClassName"), "MODULE.Tensor"),
        (("featuresDict", "features", "text", "python_class_name"), "MODULE.Tensor"),
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
        make_dataset("tiny_shakespeare")


@pytest.mark.parametrize("name", ["features.json", "dataset_info.json"])
@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", "[" * 100_000, '{"a": ' * 300 + "1" + "}" * 300, "\xff"])
def test_files_that_are_no_json_objects(name, text, folder):
    (folder / name).write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=rf"{name} (is not JSON|holds no object).*prepare_data\.py tiny_shakespeare"):
        make_dataset("tiny_shakespeare")


@pytest.mark.parametrize(
    ("name", "keys", "value", "sentence"),
    [
        ("features.json", ("featuresDict",), 3, "is damaged"),
        ("features.json", ("featuresDict", "features", "text"), {}, "is damaged"),
        ("features.json", ("featuresDict", "features"), {}, "is damaged|has no feature .text."),
        ("features.json", ("pythonClassName",), "tensorflow_datasets.no.such.Class", "is damaged"),
        ("features.json", ("featuresDict", "features", "text", "text"), 3, "is damaged"),
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
    with pytest.raises(UserError, match=rf"({sentence}).*") as refusal:
        make_dataset("tiny_shakespeare")
    assert "delete it and run: python scripts/prepare_data.py tiny_shakespeare" in str(refusal.value)


def test_a_folder_is_read_as_a_file_is(folder):
    assert make_dataset("tiny_shakespeare", length=4).decode([0, 1]) == " b"
    for record in folder.glob("*-test.array_record*"):
        intact = record.read_bytes()
        for content in (intact[:1000], bytes(len(intact))):
            record.write_bytes(content)
            with pytest.raises(UserError, match="damaged"):
                make_dataset("tiny_shakespeare")
        record.unlink()
        with pytest.raises(UserError, match="is missing"):
            make_dataset("tiny_shakespeare")
