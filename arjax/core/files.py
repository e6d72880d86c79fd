"""Files and folders: paths of users, disk errors in one sentence, files written whole or not at all, locks."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import hashlib
import json
import math
import os
import stat
import tempfile
import threading
import time
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arjax.core.errors import UserError, did_you_mean, refuse
from arjax.core.values import parse_json

#: The folder of this package, in which the configs of the project travel along.
PACKAGE = Path(__file__).resolve().parents[1]


def user_path(text: str | os.PathLike) -> Path:
    """Returns the path that a user wrote, with `~` and `~name` replaced by home folders. It need not exist."""
    text = path_text(text)
    refuse((text == "", "the path is empty: name a file or a folder, the current one is '.'"))
    path = Path(text)
    try:
        path = path.expanduser()
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return path
    except (RuntimeError, ValueError, OSError) as error:  # no such home folder; a NUL character; no permission
        no_home = "there is no such home folder, write the path in full"
        reason = no_home if isinstance(error, RuntimeError) else getattr(error, "strerror", None) or error
        raise UserError(f"cannot use the path {str(text)!r}: {reason}") from error
    return path


def path_text(path: str | os.PathLike) -> str:
    """Returns the path as a text."""
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        raise UserError(f"a path is a text, such as 'runs/digits', not {path!r}")
    return os.fspath(path)


@contextlib.contextmanager
def writing(path: str | os.PathLike, verb: str = "write") -> Iterator[None]:
    """Turns an error of the disk (full, read-only, a folder in the place of a file) into a `UserError`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot {verb} {path}: {error.strerror or error}") from error


def reading(path: str | os.PathLike) -> contextlib.AbstractContextManager[None]:
    """Turns a file that cannot be read (no permission, a folder in its place) into a `UserError`."""
    return writing(path, "read")


def digest_of(path: str | os.PathLike) -> bytes:
    """Returns the SHA-256 digest of a file of any size."""
    with reading(path), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def fingerprint_of(digests: Iterable[bytes]) -> str:
    """Returns a fingerprint, 16 characters, of files with these SHA-256 digests."""
    return hashlib.sha256(b"".join(digests)).hexdigest()[:16]


def fingerprint_of_value(value: Any) -> str:
    """Returns a fingerprint, 16 characters, of a value of JSON."""
    return fingerprint_of([json.dumps(value, sort_keys=True).encode()])


#: Nobody writes to a file any more that has not changed for so long.
_LEFT_SECONDS = 3600


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yields the path of a file that replaces `path` when the body has written it: readers, and a restart after a kill
    at any moment, find the old file or the whole new one. What killed processes have left of their own is removed.
    """
    path = Path(path)
    check_regular(path)  # a file in the place of /dev/null would be there for all programs
    replacement = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    with writing(path):
        for left in path.parent.glob(f"{glob.escape(path.name)}.*.*.tmp"):
            with contextlib.suppress(OSError):
                if time.time() - left.stat().st_mtime > _LEFT_SECONDS:
                    left.unlink()
        try:
            replacement.touch()
            mode = replacement.stat().st_mode  # that of the umask, which not every library keeps to
            yield replacement
            replacement.chmod(mode)
            replacement.replace(path)
        finally:
            with contextlib.suppress(OSError):
                replacement.unlink()


#: The most bytes of a JSON file of a run: files of others may have any size.
MOST_JSON = 2**27


def check_regular(*paths: str | os.PathLike, most: float = math.inf) -> None:
    """Refuses pipes and devices, which might be read for ever, also behind links, and files above `most` bytes."""
    for path in paths:
        with contextlib.suppress(OSError):
            status = os.stat(path)
            is_file = stat.S_ISREG(status.st_mode)
            refuse(
                (not is_file and not stat.S_ISDIR(status.st_mode), f"{path} is a pipe or a device, and no file"),
                (is_file and status.st_size > most, f"{path} is too large: {status.st_size:,} bytes"),
            )


def writable_file(path: str | os.PathLike) -> Path:
    """Returns the path of a file that long work will write, and checks now that it can be written."""
    path = user_path(path)
    check_regular(path)
    with writing(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with tempfile.TemporaryFile(dir=path.parent):
            return path


def result_file(path: str | os.PathLike, *read: str | os.PathLike) -> Path:
    """Returns the path as `writable_file` does, unless the file is one that the work reads."""
    target = writable_file(path)
    if any(user_path(each).resolve() == target.resolve() for each in read):
        raise UserError(f"{path} is a file that this command reads, and would be lost: name another one for the result")
    return target


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a file atomically; see `replacing`."""
    with replacing(path) as replacement:
        replacement.write_text(text, encoding="utf-8", errors="backslashreplace")  # half of a pair of surrogates


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes a value as indented JSON, atomically; see `replacing`."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json_object(path: str | os.PathLike) -> dict[str, Any] | None:
    """Returns the JSON object in a file; None without a file or if it holds anything else, such as half an object."""
    check_regular(path, most=MOST_JSON)
    with reading(path):
        try:
            value = parse_json(Path(path).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):  # both decoding errors are ValueErrors
            return None
    return value if isinstance(value, dict) else None


@contextlib.contextmanager
def locked(folder: str | os.PathLike, *, exclusive: bool, wait: bool | None = None) -> Iterator[bool]:
    """Holds a lock on a folder, which ends with the process: exclusive, or shared with other shared locks. By default a
    shared lock is waited for and an exclusive one is not; `wait` changes that. Yields whether the lock is held; True
    also where there is no such folder, or the file system (such as some network ones) has no locks.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        yield True
        return
    free, kind = True, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    waits = not exclusive if wait is None else wait
    try:
        with contextlib.suppress(OSError):
            try:
                fcntl.flock(descriptor, kind if waits else kind | fcntl.LOCK_NB)
            except BlockingIOError:
                free = False
        yield free
    finally:
        os.close(descriptor)


def inside(workdir: str | os.PathLike, name: str) -> Path:
    """Returns the path of something in the folder of a run, unless a link leads out of it."""
    path = Path(workdir) / name
    if not path.resolve().is_relative_to(Path(workdir).resolve()):
        raise UserError(f"{path} lies behind a link out of the folder of the run: put its contents in there")
    return path


def own_folder(workdir: str | os.PathLike, name: str) -> Path:
    """Makes a folder in that of a run where it is missing, and returns it."""
    folder = inside(workdir, name)
    with writing(folder):
        folder.mkdir(exist_ok=True)
    return folder


def writable_folder(path: str | os.PathLike) -> Path:
    """Makes the folder when missing, checks that files can be written in it, and returns it."""
    folder = user_path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise UserError(f"cannot write to the folder {str(path)!r}: {error.strerror}") from error


@contextlib.contextmanager
def folder_to_write(path: str | os.PathLike) -> Iterator[Path]:
    """Yields `writable_folder(path)`; a `UserError` in the body removes the empty folders that were made for it."""
    folder = user_path(path)
    made = [each for each in (folder, *folder.parents) if not os.path.exists(each)]
    try:
        yield writable_folder(path)
    except UserError:
        with contextlib.suppress(OSError):  # one that is not empty, or that others have removed
            for each in made:
                each.rmdir()
        raise


@contextlib.contextmanager
def only_run_in(folder: Path) -> Iterator[None]:
    """Refuses a second process that trains in the folder: two runs would remove each other's checkpoints."""
    with locked(folder, exclusive=True) as free:
        if not free:
            raise UserError(f"another process is training in {folder}: wait for it, or choose another --workdir")
        yield


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a compressed .npz file, atomically."""
    with replacing(path) as replacement, replacement.open("wb") as file:
        np.savez_compressed(file, **dict[str, Any](arrays))


def read_arrays(path: Path, keys: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Returns the arrays of an .npz file by name, only those in `keys` if given."""
    check_regular(path)
    with reading(path):
        try:
            # np.load takes a file that is no zip archive for a pickle
            with zipfile.ZipFile(path), np.load(path) as file:
                arrays = {key: file[key] for key in (file.files if keys is None else keys) if key in file}
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError) as error:
            raise UserError(f"{path} is not an .npz file of numbers, or damaged: {error}") from error
    for key in keys or ():
        refuse((key not in arrays, f"{path} has no array {key!r}"))
    return arrays


def read_array(path: Path, mmap_mode: Any = None) -> Any:
    """Returns the array in an .npy file, mapped into memory for the mode "r"."""
    check_regular(path)
    return load_array(path, path, mmap_mode)


#: The disk; a damaged header, which numpy reads as a dict of Python; sizes that no memory holds.
_DAMAGE = (OSError, ValueError, EOFError, TypeError, ArithmeticError, MemoryError)


def load_array(file: Any, name: str | os.PathLike, mmap_mode: Any = None) -> Any:
    """Returns the array in a path or an open file that users call `name`."""
    try:
        array = np.load(file, mmap_mode, allow_pickle=False)
    except (*_DAMAGE, tokenize.TokenError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"cannot read the array {str(name)!r}: {reason}") from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise UserError(f"{str(name)!r} holds several arrays: write each with numpy.save into a file of its own")
    return array


def split_argument(text: str) -> tuple[str, str]:
    """Splits `configs/x.py:a,b=c` into (`configs/x.py`, `a,b=c`), and `x:a` into (`x`, `a`)."""
    head, separator, arg = text.partition(".py:")
    if separator:
        return head + ".py", arg
    if text.endswith(".py") or user_path(text).is_file():
        return text, ""
    head, _, arg = text.partition(":")
    return head, arg


def short_names(folder: str) -> dict[str, Path]:
    """Returns the files of a folder such as `configs`, here and in the package, by their short names."""
    return {path.stem: path for each in (PACKAGE, Path()) for path in sorted((each / folder).glob("*.py"))}


def find_file(text: str, folder: str, kind: str = "file") -> Path:
    """Returns the file of a path or short name, or raises a `UserError` with the nearest name of such a `kind` of file.
    With the folder `configs`, `digits` is the first of `digits.py`, `configs/digits.py` and the `configs/digits.py` of
    the package; so is the path `configs/digits.py` where there is no such file.
    """
    path = user_path(text)
    if path.is_file():
        return path
    names, is_name = short_names(folder), "/" not in text and not text.endswith(".py")
    if is_name and (here := Path(f"{text}.py")).is_file():
        return here
    if Path(text).parent in (Path(), Path(folder)) and path.name.removesuffix(".py") in names:
        return names[path.name.removesuffix(".py")]
    near = "" if is_name else did_you_mean(text, map(str, sorted(path.parent.glob("*.py"))))
    raise UserError(f"there is no {kind} {text!r}{near or did_you_mean(path.name.removesuffix('.py'), sorted(names))}")
