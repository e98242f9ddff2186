"""The head of a GGUF file (version 2 and 3), read in milliseconds: metadata without the long arrays.

`gguf.GGUFReader` needs 12 s for a vocabulary of 262,144 tokens; asking a file for its template must not.
Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Any

from ..errors import ModelError

MAGIC = b"GGUF"
TEMPLATE_KEY = "hearme.template"
"""Our metadata key: the chat template as JSON, so that a file carries the very template it was trained with."""
DRY_KEY = "hearme.dry_multiplier"
"""Our metadata key: the model's own `Sampling.dry_multiplier`."""
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9


def read_header(path: Path | str) -> dict[str, Any]:
    """Metadata of a GGUF file: numbers, booleans and strings by key; an array is given as its length.

    Raises:
        ModelError: not a GGUF file, or one that ends in the middle of its head.
    """
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data[:4] != MAGIC:
                raise ModelError("expected a GGUF file, found something else", where=str(path))
            return _fields(data)
    except (OSError, ValueError) as err:  # ValueError: an empty file cannot be mapped
        raise ModelError(f"expected a GGUF file, found {err}", where=str(path)) from None
    except (struct.error, KeyError, IndexError, UnicodeDecodeError):
        raise ModelError(
            "the GGUF file is damaged or cut off", where=str(path), hint="write or fetch it again"
        ) from None


def _fields(data: mmap.mmap) -> dict[str, Any]:
    count = struct.unpack_from("<Q", data, 16)[0]
    at = 24
    out: dict[str, Any] = {}
    for _ in range(count):
        key, at = _string(data, at)
        kind = struct.unpack_from("<I", data, at)[0]
        at += 4
        if kind == _ARRAY:
            item, length = struct.unpack_from("<IQ", data, at)
            at = _after_array(data, at + 12, item, length)
            out[key] = length
        elif kind == _STRING:
            out[key], at = _string(data, at)
        else:
            out[key] = struct.unpack_from(_SCALARS[kind], data, at)[0]
            at += struct.calcsize(_SCALARS[kind])
    return out


def _string(data: mmap.mmap, at: int) -> tuple[str, int]:
    length = struct.unpack_from("<Q", data, at)[0]
    end = at + 8 + length
    if end > len(data):
        raise IndexError(end)
    return data[at + 8 : end].decode("utf-8", "replace"), end


def _after_array(data: mmap.mmap, at: int, item: int, length: int) -> int:
    if item != _STRING:
        return at + length * struct.calcsize(_SCALARS[item])
    unpack = struct.Struct("<Q").unpack_from
    for _ in range(length):
        at += 8 + unpack(data, at)[0]
    return at
