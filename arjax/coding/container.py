r"""A compressed file: its bytes, and the model, the versions and the machine that its bits depend on.

    b"arjax\0" | format uint16 | size of the header uint32 | header, JSON, deflated | CRC uint32
    size of the side information uint32 | side information | CRC uint32
    chunks: number of words uint32 | CRC uint32 | words uint32[...]

All numbers are little-endian. The checksums are read before anything is decoded.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jaxlib
import numpy as np

from arjax.coding.entropy import coder_version
from arjax.core.errors import UserError, refuse
from arjax.core.kept_programs import processor
from arjax.core.values import parse_json
from arjax.models import Model, recipe_of
from arjax.parallel.devices import usable_cores

MAGIC, FORMAT = b"arjax\0", 2
#: The preset dictionary of deflate: what headers have in common. The text is a part of the format.
TYPICAL = (
    b'"dtype":"int32","context":"","orders":0,"platform":"gpu","device":"NVIDIA ","device":"Intel(R) Xeon",'
    b'{"place":{"model":"","params":"","jax":"0.12.0","jaxlib":"0.12.0","constriction":"0.5.0","platform":"cpu",'
    b'"device":"AMD EPYC","features":"","cores":1,"xla_flags":""},"job":[0,16,-1,true],"choice":0,"probe":"",'
    b'"about":{"form":"text"},"sum":'
)
#: Words of a chunk.
CHUNK = 2**16
#: Bytes of a header, at most.
MOST_HEADER = 2**20
#: The entries of a header about the place, and the sentence where they differ: {0} is that of the file, {1} that here.
REFUSALS = {
    "model": "the file was compressed with another model: an order, a network or a conditional is not that of the file",
    "params": "the file was compressed with other parameters of this model",
    "jax": "the file was compressed with jax {0}, and here is jax {1}: other versions compute other bits",
    "jaxlib": "the file was compressed with jaxlib {0}, and here is jaxlib {1}: other versions compute other bits",
    "constriction": "the file was compressed with constriction {0}, and here is constriction {1}",
    "platform": "the file was compressed on the platform {0}, and here is {1}: these compute other bits",
    "device": "the file was compressed on {0!r}, and here is {1!r}: other processors may compute other bits",
    "features": "the file was compressed on a processor with other features: it may compute other bits",
    "cores": "the file was compressed by a process with {0} cores, and this one has {1}: sums are divided otherwise",
    "xla_flags": "the file was compressed with XLA_FLAGS={0!r}, and here it is {1!r}",
}


class Container(NamedTuple):
    """The contents of a file; `side` are bytes beside the words."""

    header: dict[str, Any]
    side: bytes
    words: np.ndarray

    def pack(self) -> bytes:
        deflater = zlib.compressobj(9, zdict=TYPICAL)
        text = json.dumps(self.header, separators=(",", ":")).encode()
        header = deflater.compress(text) + deflater.flush()
        parts = [MAGIC, struct.pack("<HI", FORMAT, len(header)), header, _crc(header)]
        parts += [struct.pack("<I", len(self.side)), self.side, _crc(self.side)]
        words = np.asarray(self.words, "<u4")
        for start in range(0, len(words), CHUNK):
            chunk = words[start : start + CHUNK].tobytes()
            parts += [struct.pack("<I", len(chunk) // 4), _crc(chunk), chunk]
        parts.append(struct.pack("<I", 0))
        return b"".join(parts)


def read_container(data: bytes) -> Container:
    """The contents of a file, all of whose bytes are as they were written."""
    if not isinstance(data, bytes | bytearray | memoryview):
        raise UserError(f"compressed data are bytes, as from run.compress, not {type(data).__name__}")
    reader = _Reader(bytes(data))
    refuse((reader.take(len(MAGIC)) != MAGIC, "this is no file that arjax has compressed"))
    version, size = struct.unpack("<HI", reader.take(6))
    refuse((version != FORMAT, f"the file has format {version}, and this version of arjax reads format {FORMAT}"))
    header = reader.checked(size, "its header")
    side = reader.checked(reader.number(), "its side information")
    words: list[np.ndarray] = []
    while size := reader.number():
        crc = reader.take(4)
        chunk = reader.take(4 * size)
        refuse((_crc(chunk) != crc, f"the file is damaged: chunk {len(words)} is not as it was written"))
        words.append(np.frombuffer(chunk, "<u4"))
    refuse((reader.rest, f"the file is damaged: {reader.rest} bytes stand behind its end"))
    return Container(_header(header), side, np.concatenate([np.zeros(0, np.uint32), *words]))


def _header(packed: bytes) -> dict[str, Any]:
    """The header; its checksum was right, but anyone can write one."""
    with contextlib.suppress(zlib.error, ValueError):
        header = parse_json(zlib.decompressobj(zdict=TYPICAL).decompress(packed, MOST_HEADER).decode())
        if isinstance(header, dict):
            return header
    raise UserError("the file has a header that arjax does not write")


def _crc(part: bytes) -> bytes:
    return struct.pack("<I", zlib.crc32(part))


class _Reader:
    def __init__(self, data: bytes):
        self._data, self._at = data, 0

    def take(self, size: int) -> bytes:
        refuse((size > self.rest, "the file is cut off, or damaged: it ends before its contents do"))
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self) -> int:
        return int(struct.unpack("<I", self.take(4))[0])

    def checked(self, size: int, name: str) -> bytes:
        """The next bytes, which their checksum follows."""
        part = self.take(size)
        refuse((self.take(4) != _crc(part), f"the file is damaged: {name} is not as it was written"))
        return part

    @property
    def rest(self) -> int:
        return len(self._data) - self._at


def digest(*parts: bytes) -> str:
    """16 hexadecimal digits."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(len(part).to_bytes(8, "little") + part)
    return sha.hexdigest()[:16]


def digest_of_arrays(tree: Any) -> str:
    """The digest of a tree of arrays: their places, types, shapes and values."""
    leaves = [(jax.tree_util.keystr(path), np.asarray(leaf)) for path, leaf in jax.tree.leaves_with_path(tree)]
    parts = [(f"{path} {leaf.dtype} {leaf.shape}".encode(), leaf.tobytes()) for path, leaf in leaves]
    return digest(*(part for pair in parts for part in pair))


def describe_place(model: Model, params: Any) -> dict[str, Any]:
    """All that has to be the same where a file is decoded, as JSON."""
    recipe = recipe_of(model)
    text = json.dumps(recipe.as_json(), sort_keys=True).encode()
    device = jax.devices()[0]
    is_cpu = device.platform == "cpu"
    return {
        "model": digest(text, digest_of_arrays(recipe.arrays).encode()),
        "params": digest_of_arrays(params),
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "constriction": coder_version(),
        "platform": device.platform,
        "device": processor()[0] if is_cpu else device.device_kind,
        "features": digest(processor()[1].encode()) if is_cpu else "",
        "cores": len(usable_cores()),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def check_place(there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Refuses the first entry in which the place of a file differs from this one."""
    for name, sentence in REFUSALS.items():
        entry = there.get(name)
        if entry != here[name]:
            shown = entry if str(entry).isprintable() else ascii(entry)  # no characters that a terminal obeys
            raise UserError(sentence.format(shown, here[name]))
