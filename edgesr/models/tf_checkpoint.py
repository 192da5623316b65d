"""Read the weights of a TensorFlow 1 or 2 checkpoint without TensorFlow.

Such a checkpoint is two files: `NAME.index`, a sorted string table as LevelDB writes it, says for
every variable where its values lie in `NAME.data-00000-of-00001`. A table ends with a footer that
points at an index block, whose entries point at data blocks; keys are stored as what differs from
the key before. Values are protocol buffers (BundleEntryProto) of five numbers.

Names come back as torch would spell them (`MODEL/conv1/kernel` as `MODEL.conv1.weight`), 4-D
variables turned from HWIO into OIHW. What an optimizer left (moments, step counters) is dropped.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgesr.errors import BadFileError, UnsupportedError

_MAGIC = 0xDB4775248B80FB57
_FOOTER = 48
_TRAILER = 5
"""Bytes behind a block: compression and checksum."""
_DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8"}
_OPTIMIZER = ("Adam", "Adam_1", "Momentum", "beta1_power", "beta2_power", "global_step")
_DTYPE, _SHAPE, _SHARD, _OFFSET, _SIZE = 1, 2, 3, 4, 5
"""Fields of BundleEntryProto."""


def is_tf_index(path: Path) -> bool:
    """Whether the file is the index of a checkpoint, by its last eight bytes."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 8))
        return file.read() == struct.pack("<Q", _MAGIC)


def read_tf_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """The variables of the checkpoint whose `.index` file is `path`.

    Raises:
        BadFileError: one of the two files is missing or damaged.
        UnsupportedError: compressed, in several shards, or of types other than numbers.
    """
    try:
        entries = dict(_entries(path.read_bytes()))
        data = _data_file(path, entries.pop(b"", b"")).read_bytes()
        tensors = {key.decode(): _tensor(value, data) for key, value in entries.items()}
    except (BadFileError, UnsupportedError):
        raise
    except OSError as error:
        raise BadFileError(f"`{error.filename}` cannot be read: {error.strerror}") from error
    except Exception as error:  # damaged offsets can raise anything
        raise BadFileError(
            f"`{path}` is a damaged or truncated TensorFlow checkpoint; copy both files again"
        ) from error
    return {_torch_name(n): t for n, t in tensors.items() if n.split("/")[-1] not in _OPTIMIZER}


def _torch_name(name: str) -> str:
    *path, leaf = name.split("/")
    return ".".join([*path, "weight" if leaf == "kernel" else leaf])


def _data_file(path: Path, header: bytes) -> Path:
    shards = _message(header).get(1, 1)
    if shards != 1:
        raise UnsupportedError(f"`{path}` is in {shards} shards; save it with one")
    return path.with_suffix(".data-00000-of-00001")


def _tensor(value: bytes, data: bytes) -> torch.Tensor:
    fields = _message(value)
    if fields[_DTYPE] not in _DTYPES or fields.get(_SHARD, 0):
        raise UnsupportedError("a variable of the checkpoint is no array of numbers")
    shape = [_message(size).get(1, 0) for size in _repeated(fields.get(_SHAPE, b""), 2)]
    start = fields.get(_OFFSET, 0)
    content = data[start : start + fields[_SIZE]]
    values = np.frombuffer(content, _DTYPES[fields[_DTYPE]]).reshape(shape)
    tensor = torch.from_numpy(values.copy())
    return tensor.permute(3, 2, 0, 1).contiguous() if tensor.ndim == 4 else tensor


# --- sorted string table ---------------------------------------------------------------------


def _entries(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    footer = table[-_FOOTER:]
    position = 0
    for _ in range(2):  # where the meta index lies
        _, position = _varint(footer, position)
    for _, handle in _block(table, footer[position:]):
        yield from _block(table, handle)


def _block(table: bytes, handle: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of the block that `handle` (offset, size) points at."""
    start, position = _varint(handle, 0)
    size, _ = _varint(handle, position)
    block = table[start : start + size + _TRAILER]
    if block[size]:
        raise UnsupportedError("the index of the checkpoint is compressed; TensorFlow saves it so "
                               "only when told to")  # fmt: skip
    (restarts,) = struct.unpack_from("<I", block, size - 4)
    end = size - 4 - 4 * restarts
    position, key = 0, b""
    while position < end:
        shared, position = _varint(block, position)
        fresh, position = _varint(block, position)
        length, position = _varint(block, position)
        key = key[:shared] + block[position : position + fresh]
        position += fresh
        yield key, block[position : position + length]
        position += length


# --- protocol buffers ------------------------------------------------------------------------


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A number of seven bits per byte, and the position behind it."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        kind = tag & 7
        if kind == 0:
            value: Any
            value, position = _varint(data, position)
        elif kind == 2:
            length, position = _varint(data, position)
            value, position = data[position : position + length], position + length
        else:
            width = {1: 8, 5: 4}[kind]
            value, position = data[position : position + width], position + width
        yield tag >> 3, value


def _message(data: bytes) -> dict[int, Any]:
    return dict(_fields(data))


def _repeated(data: bytes, number: int) -> list[bytes]:
    return [value for field, value in _fields(data) if field == number]
