"""Preparing data sets: raw files, given or downloaded, become files that are read without TensorFlow."""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zlib
from pathlib import Path

from arjax.core.errors import UserError, did_you_mean, refuse
from arjax.core.files import replacing, user_path
from arjax.data.prepared import FILE_FORMAT, import_tfds, prepared_in, search_path, write_splits
from arjax.data.raw_sets import RAW_SETS, RawSet
from arjax.data.sources import SPLITS

#: Sets of tensorflow-datasets, which also prepares them.
STOCK = ("binarized_mnist", "fashion_mnist", "mnist")


def known_names() -> list[str]:
    """Returns all names `prepare` takes: `uci_binary` prepares all its sets, `uci_binary/dna` one of them."""
    return sorted({*STOCK, *RAW_SETS, *(name.partition("/")[0] for name in RAW_SETS)})


def check_name(name: str) -> None:
    """Refuses a name that is not one of `known_names()`."""
    known = known_names()
    refuse((name not in known, f"unknown data set {name!r}{did_you_mean(name, known)}"))


def prepare(name: str, manual_dir: str = "", data_dir: str = "", check_sizes: bool = True) -> list[Path]:
    """Prepares a data set of `known_names()` and returns its files; one that is already prepared is not changed.

    Args:
      manual_dir: folder with the raw files; "" downloads them from the set's public address.
      data_dir: folder for prepared sets; "" for the first folder of `TFDS_DATA_DIR`, or `~/tensorflow_datasets`.
      check_sizes: whether the number of rows must be the published one.
    """
    check_name(name)
    target = search_path(data_dir)[0]
    try:
        target.mkdir(parents=True, exist_ok=True)
        if name in STOCK:
            return [_prepare_stock(name, manual_dir, target)]
        names = [each for each in RAW_SETS if name in (each, each.partition("/")[0])]
        return [prepared_in(target, each) or _prepare_raw(each, manual_dir, target, check_sizes) for each in names]
    except OSError as error:
        raise UserError(f"cannot prepare {name!r} in {target}: {error}") from error


def _prepare_stock(name: str, manual_dir: str, target: Path) -> Path:
    """Prepares a set that tensorflow-datasets ships: its own builder downloads it, with TensorFlow."""
    refuse((manual_dir, f"{name} is downloaded by tensorflow-datasets itself: --manual_dir does not apply"))
    if prepared := prepared_in(target, name):
        return prepared
    if importlib.util.find_spec("tensorflow") is None:
        raise UserError(f"preparing {name} needs TensorFlow (reading it does not): pip install 'arjax[prepare]'")
    tfds = import_tfds()
    builder = tfds.builder(name, data_dir=target, file_format=FILE_FORMAT)
    try:
        builder.download_and_prepare()
    except tfds.download.DownloadError as error:
        raise UserError(f"cannot download {name}: {error}") from error
    return Path(builder.data_dir)


def _prepare_raw(name: str, manual_dir: str, target: Path, check_sizes: bool) -> Path:
    """Writes the .npz file of a set from its raw files."""
    raw, path = RAW_SETS[name], target / f"{name}.npz"
    folder = user_path(manual_dir) if manual_dir else downloaded(raw, target / "downloads" / name.partition("/")[0])
    files = [folder / file for file in raw.files if (folder / file).exists()]
    refuse((not files, f"--manual_dir={folder} must hold {' or '.join(raw.files)}"))
    splits = raw.read(files[0])
    sizes = tuple(len(splits[split].keys) for split in SPLITS)
    if check_sizes and sizes != raw.sizes:
        raise UserError(f"{files[0].name} is not the published file: it has {sizes} rows instead of {raw.sizes}")
    write_splits(path, splits)
    return path


def downloaded(raw: RawSet, folder: Path) -> Path:
    """Returns the folder of the raw files, which are downloaded unless an earlier download is still there."""
    file, name = folder / raw.url.rsplit("/", 1)[1], raw.files[0]
    if not file.is_file() or not has_checksum(file, raw.checksum):
        download(raw.url, file, raw.checksum)
    if not raw.url.endswith(".tar.gz"):
        return folder
    if not any(folder.glob(f"*/{name}")):
        unpack(file, folder)
    if not (unpacked := list(folder.glob(f"*/{name}"))):
        raise UserError(f"{file} does not hold a folder {name!r}")
    return unpacked[0].parent


def download(url: str, path: Path, checksum: str) -> None:
    """Downloads an http or https address to a file, which appears only when it is complete and has the checksum."""
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise UserError(f"only http and https addresses are downloaded, not {url}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        try:
            with urllib.request.urlopen(url, timeout=60) as answer, partial.open("wb") as file:
                shutil.copyfileobj(answer, file)
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            reason = getattr(error, "reason", None) or error
            raise UserError(f"cannot download {url} ({reason}): get the file by hand and pass --manual_dir") from error
        other = f"{url} answered another file than the published one (its {checksum.replace(':', ' is not ')})"
        refuse((not has_checksum(partial, checksum), f"{other}: get the right one by hand and pass --manual_dir"))


def has_checksum(path: Path, checksum: str) -> bool:
    """Returns whether a file has a checksum: `sha256:` and its SHA-256, or `git:` and its name as a blob of git."""
    kind, _, expected = checksum.partition(":")
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
