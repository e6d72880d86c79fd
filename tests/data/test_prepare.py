"""Sets that are downloaded and prepared, and prepared folders that are damaged or name classes of others."""

import dataclasses
import hashlib
import io
import json
import os
import re
import runpy
import shutil
import sys
import tarfile
import types
import urllib.error
from pathlib import Path

import numpy as np
import pytest

from arjax.cli.command_line import tell_mistakes
from arjax.core.errors import UserError
from arjax.data import make_dataset
from arjax.data import prepare as preparing
from arjax.data import prepared as prepared_files
from arjax.data.prepare import known_names, prepare
from arjax.data.raw_sets import RAW_SETS, UCI, RawSet
from arjax.data.vectors import uci_binary


@pytest.fixture
def answers(monkeypatch):
    """Puts a dict of url -> bytes in the place of the network."""
    pages = {}

    def urlopen(url, timeout):
        if url not in pages:
            raise urllib.error.URLError("no network")
        return io.BytesIO(pages[url])

    monkeypatch.setattr(preparing.urllib.request, "urlopen", urlopen)
    return pages


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("uci_binary/dna", r"dna\.npz"),
        ("uci_binary", r"adult\.npz"),
        ("poly_music/nottingham", r"Nottingham\.mat"),
        ("spoken_digits", "recordings"),
        ("wine_quality", r"winequality-red\.csv or wine_quality_red\.tsv\.gz"),
    ],
)
def test_a_wrong_manual_dir_names_the_file_expected(name, file, tmp_path):
    with pytest.raises(UserError, match=f"must hold {file}$"):
        prepare(name, manual_dir=str(tmp_path), data_dir=str(tmp_path / "out"))


@pytest.mark.parametrize("name", ["uci_binary/dna", "poly_music/jsb", "spoken_digits", "wine_quality"])
def test_without_network_the_sentence_names_the_address(name, answers, tmp_path):
    with pytest.raises(UserError, match=r"cannot download https://\S+ \(no network\).*--manual_dir"):
        prepare(name, data_dir=str(tmp_path))
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix in (".npz", ".mat", ".partial")]


def test_a_download_is_prepared_and_kept(answers, tmp_path, monkeypatch):
    arrays = {f"{part}_data": np.eye(3, 180, dtype=np.uint8) for part in ("train", "valid", "test")}
    file = io.BytesIO()
    np.savez(file, **arrays)
    url = "https://raw.githubusercontent.com/mgermain/MADE/master/datasets/dna.npz"
    answers[url] = file.getvalue()
    with pytest.raises(UserError, match=r"answered another file than the published one \(its sha256 is not df2d2e7c"):
        prepare("uci_binary/dna", data_dir=str(tmp_path), check_sizes=False)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    published = dataclasses.replace(RAW_SETS["uci_binary/dna"], checksum=sha256(file.getvalue()))
    monkeypatch.setitem(RAW_SETS, "uci_binary/dna", published)
    (prepared,) = prepare("uci_binary/dna", data_dir=str(tmp_path), check_sizes=False)
    assert prepared == tmp_path / "uci_binary" / "dna.npz"
    kept = tmp_path / "downloads" / "uci_binary" / "dna.npz"
    assert kept.read_bytes() == file.getvalue()
    kept.write_bytes(b"damaged since")
    prepared.unlink()
    prepare("uci_binary/dna", data_dir=str(tmp_path), check_sizes=False)
    assert kept.read_bytes() == file.getvalue()


def test_every_download_has_a_checksum_of_one_of_two_kinds(tmp_path):
    for raw in RAW_SETS.values():
        kind, _, digits = raw.checksum.partition(":")
        assert len(bytes.fromhex(digits)) == {"sha256": 32, "git": 20}[kind]
    path = tmp_path / "file"
    path.write_bytes(b"what is up, doc?")
    name = "git:bd9dbf5aae1a3862dd1526723246b20206e5fc37"  # the example of the book "Pro Git"
    assert preparing.has_checksum(path, name) and preparing.has_checksum(path, sha256(b"what is up, doc?"))
    path.write_bytes(b"what is up, dog?")
    assert not preparing.has_checksum(path, name) and not preparing.has_checksum(path, sha256(b"what is up, doc?"))


def test_raw_files_are_the_published_ones():
    """A name, an address, a checksum or a size that changes is another data set, with scores that do not compare."""
    rows = [(name, raw.files, raw.url, raw.checksum, raw.sizes) for name, raw in sorted(RAW_SETS.items())]
    assert sha256(repr(rows).encode())[7:23] == "6ad877006d5061ad"
    stated = dict(re.findall(r'"(\w+)" \((\d+)', uci_binary.__doc__))
    assert {name: int(dims) for name, dims in stated.items()} == {name: dims for name, (dims, *_) in UCI.items()}


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("tensorflow_datasets", "pip install tensorflow-datasets"),
        ("array_record", "pip install array_record"),
        ("importlib_resources", "pip install importlib_resources"),
        ("", "tensorflow-datasets cannot import all that it needs: install it again with its dependencies"),
    ],
)
def test_reading_needs_packages_that_are_named(missing, sentence, monkeypatch):
    monkeypatch.setattr(prepared_files.importlib.util, "find_spec", lambda name: None if name == missing else name)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", types.ModuleType("tensorflow_datasets"))
    with pytest.raises(UserError, match=f"{sentence}$"):
        prepared_files.import_tfds()


def test_stock_sets_are_prepared_by_their_own_builders(monkeypatch, tmp_path):
    asked, found = [], preparing.importlib.util.find_spec
    builder = types.SimpleNamespace(data_dir=tmp_path / "mnist", download_and_prepare=lambda: None)
    download = types.SimpleNamespace(DownloadError=ArithmeticError)
    tfds = types.SimpleNamespace(
        builder=lambda *names, **options: asked.append((names, options)) or builder, download=download
    )
    monkeypatch.setattr(preparing, "import_tfds", lambda: tfds)
    monkeypatch.setattr(preparing.importlib.util, "find_spec", lambda name: name == "tensorflow" or found(name))
    assert prepare("mnist", data_dir=str(tmp_path)) == [tmp_path / "mnist"]
    assert asked == [(("mnist",), {"data_dir": tmp_path, "file_format": "array_record"})]
    builder.download_and_prepare = lambda: 1 / 0
    with pytest.raises(UserError, match=r"^cannot download mnist: division by zero$"):
        prepare("mnist", data_dir=str(tmp_path))


def test_folders_of_prepared_sets_are_searched_in_turn(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TFDS_DATA_DIR", f"a{os.pathsep}b")
    home = tmp_path / "tensorflow_datasets"
    assert prepared_files.search_path("c") == [Path("c"), Path("a"), Path("b"), home]
    monkeypatch.delenv("TFDS_DATA_DIR")
    assert prepared_files.search_path() == [home]
    for version in ("1.9.0", "1.10.0", "1.2.0", "other"):
        (tmp_path / "x" / version).mkdir(parents=True)
        (tmp_path / "x" / version / "features.json").touch()
    assert prepared_files.prepared_in(tmp_path, "x").name == "1.10.0"
    (tmp_path / "x.npz").touch()
    assert prepared_files.prepared_in(tmp_path, "x").name == "x.npz" and not prepared_files.prepared_in(tmp_path, "y")

    def fail(path):
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "expanduser", fail)
    with pytest.raises(UserError, match=r"no home folder for data sets: set TFDS_DATA_DIR, or give config\.dataset\."):
        prepared_files.search_path()


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.org/x", "data:,x", "/etc/passwd", "FILE:/x"])
def test_other_addresses_are_not_opened(url, tmp_path):
    with pytest.raises(UserError, match="only http and https addresses are downloaded"):
        preparing.download(url, tmp_path / "file", sha256(b""))
    assert not (tmp_path / "file").exists()


def sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def archive_of(name: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo(name))
    return file.getvalue()


def set_in(archive: bytes, answers) -> RawSet:
    """A set whose raw files lie in an archive, which the network has."""
    raw = RawSet(("recordings",), "https://example.org/v1.tar.gz", sha256(archive), (1, 1, 1), dict)
    answers[raw.url] = archive
    return raw


def test_an_archive_is_unpacked_once(answers, tmp_path):
    raw = set_in(archive_of("set-1.0/recordings/0_ann_0.wav"), answers)
    folder = preparing.downloaded(raw, tmp_path)
    assert (folder / "recordings" / "0_ann_0.wav").is_file()
    answers.clear()
    assert preparing.downloaded(raw, tmp_path) == folder


def test_a_wrong_archive_is_told(answers, tmp_path):
    for archive, sentence in ((b"none", "is damaged"), (archive_of("set-1.0/other"), "does not hold a folder")):
        with pytest.raises(UserError, match=sentence):
            preparing.downloaded(set_in(archive, answers), tmp_path)
        assert [path.name for path in tmp_path.iterdir() if path.is_dir() and path.name != "set-1.0"] == []


def test_stock_sets_need_tensorflow_and_say_so(monkeypatch, tmp_path):
    found = preparing.importlib.util.find_spec
    monkeypatch.setattr(
        preparing.importlib.util, "find_spec", lambda name: None if name == "tensorflow" else found(name)
    )
    with pytest.raises(UserError, match=r"pip install 'arjax\[prepare\]'"):
        prepare("mnist", data_dir=str(tmp_path))
    with pytest.raises(UserError, match="--manual_dir does not apply"):
        prepare("mnist", manual_dir=str(tmp_path), data_dir=str(tmp_path))
    folder = tmp_path / "mnist" / "3.0.1"
    folder.mkdir(parents=True)
    (folder / "features.json").touch()
    assert prepare("mnist", data_dir=str(tmp_path)) == [folder]  # nothing is left to do


def test_every_name_in_a_missing_set_sentence_can_be_prepared():
    assert {"mnist", "uci_binary/ocr_letters", "poly_music/nottingham", "spoken_digits"} <= set(known_names())
    with pytest.raises(UserError, match="did you mean 'uci_binary/dna'"):
        prepare("uci_binary/dan")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "name a data set, or several"),
        (["wine_quality", "digitz"], "unknown data set 'digitz'"),
        (["digitz"], "unknown data set 'digitz'"),
        (["wine_quality", "--manual_dr=x"], "manual_dir"),
        (["wine_quality", "--manual_dir=nowhere"], "--manual_dir=nowhere must hold winequality-red.csv"),
        (["wine_quality", "--data_dir=taken"], "cannot prepare 'wine_quality' in taken"),
    ],
)
def test_the_script_ends_in_one_sentence_and_exit_code_2(
    arguments, sentence, tmp_path, repository, monkeypatch, capsys
):
    (tmp_path / "taken").write_text("a file")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["prepare_data.py", *arguments])
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "prepared"))
    main = runpy.run_path(str(repository / "scripts" / "prepare_data.py"))["main"]
    assert tell_mistakes("prepare_data", main) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.startswith("prepare_data: ") and error.count("\n") == 1


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
    with pytest.raises(
        UserError, match=rf"{name} is missing, or holds no JSON object.*prepare_data\.py tiny_shakespeare"
    ):
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
