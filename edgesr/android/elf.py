"""What a 64-bit shared library needs, exports, and how it wants to be loaded."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from edgesr.errors import BadFileError

_LOAD, _DYNAMIC = 1, 2
_NEEDED, _STRTAB, _SYMTAB, _SONAME = 1, 5, 6, 14
_MACHINES = {183: "arm64-v8a", 62: "x86_64"}


@dataclass(frozen=True)
class Library:
    """Attributes:
    abi: Android's name of the processor.
    needed: libraries that must be there.
    alignment: smallest alignment of a loaded segment, in bytes; phones with 16 KB pages want
        16384.
    exported: functions others may call.
    """

    abi: str
    needed: tuple[str, ...]
    alignment: int
    exported: tuple[str, ...]


def read_library(path: Path) -> Library:
    """Read the headers of a little-endian 64-bit ELF file.

    Raises:
        BadFileError: it is none.
    """
    data = path.read_bytes()
    try:
        return _read(data)
    except (struct.error, ValueError, KeyError, IndexError) as error:
        raise BadFileError(f"{path} is no shared library for Android: {error}") from error


def _read(data: bytes) -> Library:
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not ELF of 64 bits")
    machine = struct.unpack_from("<H", data, 18)[0]
    program_at, section_at = struct.unpack_from("<QQ", data, 32)
    program_size, programs, section_size, sections = struct.unpack_from("<HHHH", data, 54)
    headers = [
        struct.unpack_from("<IIQQQQQQ", data, program_at + i * program_size)
        for i in range(programs)
    ]
    loads = [header for header in headers if header[0] == _LOAD]

    def place(address: int) -> int:
        header = next(h for h in loads if h[3] <= address < h[3] + h[5])
        return int(address - header[3] + header[2])

    dynamic = next(header for header in headers if header[0] == _DYNAMIC)
    entries = [
        struct.unpack_from("<qQ", data, dynamic[2] + at) for at in range(0, dynamic[5], 16)
    ]  # fmt: skip
    strings = place(next(value for tag, value in entries if tag == _STRTAB))

    def text(at: int) -> str:
        start = strings + at
        return data[start : data.index(b"\0", start)].decode()

    exported = []
    for i in range(sections):
        kind = struct.unpack_from("<I", data, section_at + i * section_size + 4)[0]
        if kind != 11:  # SHT_DYNSYM
            continue
        start, size = struct.unpack_from("<QQ", data, section_at + i * section_size + 24)
        for at in range(start, start + size, 24):
            name, info, _, section = struct.unpack_from("<IBBH", data, at)
            if section and info & 15 == 2:  # defined here, a function
                exported.append(text(name))
    return Library(
        abi=_MACHINES[machine],
        needed=tuple(text(value) for tag, value in entries if tag == _NEEDED),
        alignment=min(header[7] for header in loads),
        exported=tuple(sorted(exported)),
    )
