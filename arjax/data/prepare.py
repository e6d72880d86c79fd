"""Preparing data sets: raw files, given or downloaded, become record files that are read without TensorFlow."""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import importlib
import importlib.util
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zlib
from pathlib import Path

from arjax.core.errors import UserError, did_you_mean
from arjax.core.files import user_path
from arjax.data.prepared import DEFAULT_DATA_DIR, FILE_FORMAT, damage_errors, import_tfds, newest_version, search_path
from arjax.data.sources import SPLITS

STOCK = ("binarized_mnist", "fashion_mnist", "mnist")
#: Of the files that are downloaded, as the public repositories, tensorflow-datasets and users of the wines have them.
CHECKSUMS = {
    "adult.npz": "git:cf506ae6b4a4b818a92a6c951d334e61eeb27d81",
    "connect4.npz": "git:4685318ab6aabc98eec09b93ad4fa5debc24ec93",
    "dna.npz": "sha256:df2d2e7ce1469edfead15e41024e108d64f1b4633cfecfc40ef7107cc22c895c",
    "mushrooms.npz": "sha256:4130f1defa3033911fe746a3ab1bb22b0c812bb29e68391a0fbc2d65bab6ae74",
    "nips.npz": "sha256:dbf3b659a49670957c0851971bd51ff952a657f010581d12f6c1e2dca8907b20",
    "ocr_letters.npz": "git:b472383a2ddeddbc87b4e3019a3bd47736bddb37",
    "input.txt": "sha256:86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
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


#: name -> the class of its builder, and its configs.
OWN: dict[str, tuple[str, tuple[str, ...]]] = {
    "uci_binary": ("UciBinary", ("adult", "connect4", "dna", "mushrooms", "nips", "ocr_letters")),
    "poly_music": ("PolyMusic", ("jsb", "nottingham")),
    "spoken_digits": ("SpokenDigits", ("",)),
    "tiny_shakespeare": ("TinyShakespeare", ("",)),
    "wine_quality": ("WineQualityRed", ("",)),
}


def raw_of(name: str, config: str) -> Raw:
    """The raw files of one of our own sets; its builder imports tensorflow-datasets."""
    module = importlib.import_module(f"arjax.data.builders.{name}")
    files, url = module.FILES[config], module.URL.format(file=module.FILES[config][0])
    return Raw(f"{name}:{OWN[name][0]}", config, files, url, module.SIZES[config])


def known_names() -> list[str]:
    """All names `prepare` takes: `uci_binary` prepares all its sets, `uci_binary/dna` one of them."""
    single = [f"{name}/{config}" for name, (_, configs) in OWN.items() for config in configs if config]
    return sorted([*STOCK, *OWN, *single])


def check_name(name: str) -> None:
    """Raises `UserError` for a name that is not one of `known_names()`."""
    if name not in known_names():
        raise UserError(f"unknown data set {name!r}{did_you_mean(name, known_names())}")


def prepare(name: str, manual_dir: str = "", data_dir: str = "", check_sizes: bool = True) -> list[Path]:
    """Prepares a data set of `known_names()` and returns its folders; one that is already prepared is not changed.

    Raises `UserError` for a missing or wrong raw file, no network, or a package that is missing.

    Args:
      manual_dir: folder with the raw files; "" downloads them from the set's public address.
      data_dir: folder for prepared sets; "" for the first folder of `TFDS_DATA_DIR`, or `~/tensorflow_datasets`.
      check_sizes: whether the number of rows must be the published one.
    """
    check_name(name)
    target = search_path(data_dir)[0]
    import_tfds()
    try:
        target.mkdir(parents=True, exist_ok=True)
        if name in STOCK:
            return [_prepare_stock(name, manual_dir, target)]
        own, _, config = name.partition("/")
        raws = [raw_of(own, each) for each in OWN[own][1] if config in ("", each)]
        return [_prepare_own(raw, manual_dir, target, check_sizes) for raw in raws]
    except OSError as error:
        raise UserError(f"cannot prepare {name!r} in {target}: {error}") from error


def _prepare_stock(name: str, manual_dir: str, target: Path) -> Path:
    """A set that tensorflow-datasets ships: its own builder downloads it, and needs TensorFlow for that."""
    if manual_dir:
        raise UserError(f"{name} is downloaded by tensorflow-datasets itself: --manual_dir does not apply")
    if prepared := newest_version(target / name):
        return prepared
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
        files = user_path(manual_dir) if manual_dir else _downloaded(raw, target / "downloads" / module)
        if not any((files / name).exists() for name in raw.files):
            raise UserError(f"--manual_dir={files} must hold {' or '.join(raw.files)}")
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=files))
    found = tuple(builder.info.splits[split].num_examples for split in SPLITS)
    if check_sizes and found != raw.sizes:
        shutil.rmtree(folder)  # or the next run would read it
        raise UserError(f"{raw.files[0]} is not the published file: it has {found} rows instead of {raw.sizes}")
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


def download(url: str, path: Path, checksum: str) -> None:
    """Downloads an http or https address to a file, which appears only when it is complete and has the checksum.

    Raises `UserError` where the address is of another kind, cannot be reached, stops in the middle or answers another
    file, or the file cannot be written.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise UserError(f"only http and https addresses are downloaded, not {url}")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        with urllib.request.urlopen(url, timeout=60) as answer, partial.open("wb") as file:
            shutil.copyfileobj(answer, file)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        partial.unlink(missing_ok=True)
        reason = getattr(error, "reason", None) or error
        raise UserError(f"cannot download {url} ({reason}): get the file by hand and pass --manual_dir") from error
    if not has_checksum(partial, checksum):
        partial.unlink()
        raise UserError(
            f"{url} answered another file than the published one (its {checksum.replace(':', ' is not ')}), which was "
            "thrown away: get the right one by hand and pass --manual_dir"
        )
    partial.replace(path)


def has_checksum(path: Path, checksum: str) -> bool:
    """Whether a file is the one of a checksum: `sha256:` and its SHA-256, or `git:` and its name as a blob of git."""
    kind, _, expected = checksum.partition(":")
    if kind not in ("sha256", "git"):
        raise ValueError(f"a checksum begins with sha256: or git:, not {checksum!r}")
    content = path.read_bytes()
    if kind == "sha256":
        return hashlib.sha256(content).hexdigest() == expected
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == expected


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks a .tar.gz archive into `folder`; its entries appear there only when all are complete."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="unpacking") as place:
        try:
            with tarfile.open(archive) as file:
                file.extractall(place, filter="data")
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise UserError(f"{archive} is damaged ({error}): delete it and download it again") from error
        for entry in Path(place).iterdir():
            if not (folder / entry.name).exists():
                entry.rename(folder / entry.name)


def default_data_dir() -> str:
    """The default folder of prepared sets, for help texts."""
    return f"the first folder of TFDS_DATA_DIR, or {DEFAULT_DATA_DIR}"
