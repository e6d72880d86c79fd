"""Compiled programs that are kept between processes: the second start of a run compiles next to nothing.

JAX's persistent compilation cache keeps them in `$XDG_CACHE_HOME/arjax/programs` or `~/.cache/arjax/programs`, in a
folder for each type of processor, since machines that share a home folder may have different ones. Writing needs no
lock: a program that was not written to its end is compiled anew. `JAX_ENABLE_COMPILATION_CACHE=false` turns it off, and
`JAX_COMPILATION_CACHE_DIR` names another folder, for which JAX's own rules hold.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import sys
from pathlib import Path

FOLDER, SWITCH = "JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE"
#: Settings of JAX under which it keeps programs of any size and of any time to compile.
SETTINGS = {"jax_persistent_cache_min_compile_time_secs": 0.0, "jax_persistent_cache_min_entry_size_bytes": -1}
#: Bytes of all programs, beyond which the least recently used ones are deleted.
MOST = 2**30


def keep_programs() -> None:
    """Lets JAX keep compiled programs, here and in child processes, unless the user decided; JAX is not imported."""
    if FOLDER in os.environ or SWITCH in os.environ or (folder := _made_folder()) is None:
        return
    if (jax := sys.modules.get("jax")) is not None:
        if jax.config.jax_compilation_cache_dir is not None:
            return
        from jax.experimental.compilation_cache import compilation_cache

        for name, value in (SETTINGS | {FOLDER.lower(): str(folder)}).items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()  # JAX looks for a folder once, at its first program
    for name, value in SETTINGS.items():
        os.environ.setdefault(name.upper(), str(value))
    os.environ[FOLDER] = str(folder)
    delete_oldest(folder.parent)


def delete_oldest(folder: Path, most: int = MOST) -> None:
    """Deletes the least recently used programs under a folder until the rest have at most `most` bytes."""
    files = []
    for path in folder.glob("*/*-cache"):
        with contextlib.suppress(OSError):  # another process has deleted it
            about = path.stat()
            files.append((max(about.st_atime, about.st_mtime), about.st_size, path))
    left = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if left <= most:
            break
        with contextlib.suppress(OSError):
            path.unlink()
        left -= size


def processor() -> tuple[str, str]:
    """Returns the name of the processor, and its features as the system lists them."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return platform.processor() or platform.machine(), platform.machine()
    lines = [line.partition(":") for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    entries = {name.strip(): value.strip() for name, _, value in reversed(lines)}
    features = sorted((entries.get("flags") or entries.get("Features") or "").split())
    return entries.get("model name", platform.machine()), " ".join(features)


def _made_folder() -> Path | None:
    """Returns the folder for programs of this processor, or None where it cannot be made."""
    kind = hashlib.sha256(repr(processor()).encode()).hexdigest()[:16]
    with contextlib.suppress(OSError, RuntimeError):  # a disk that refuses; a user without a home
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = root / "arjax" / "programs" / kind
        folder.mkdir(parents=True, exist_ok=True)
        return folder if os.access(folder, os.W_OK) else None
    return None
