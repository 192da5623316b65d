"""Photos to train on: folders of image files, and LMDB databases of them.

A database is one file instead of a hundred thousand, which network file systems like better:
keys are names, values the image files as they were. `pack` makes one; needs `edgesr[train]`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesr.data.images import SUFFIXES, Image, read_image
from edgesr.errors import BadFileError, EnvironmentLimitError, OutputExistsError

_DATABASE = "data.mdb"
_SPARE = 1 << 20
"""Pages a database needs besides its contents, at least."""


@dataclass(frozen=True)
class Photo:
    """One picture, not read yet."""

    name: str
    size: int
    """Bytes of the image file."""
    path: Path
    """The file, or the folder of the database."""

    def read(self) -> Image:
        """uint8 HxWx3.

        Raises:
            BadFileError: corrupt.
        """
        if self.name == str(self.path):
            return read_image(self.path).pixels
        key = self.name.removeprefix(f"{self.path}:")
        with _opened(self.path) as database, database.begin() as transaction:
            content = transaction.get(key.encode())
        if content is None:
            raise BadFileError(f"{self.path} has no picture `{key}` any more")
        return read_image(bytes(content), self.name).pixels


def photos(folders: Sequence[Path]) -> list[Photo]:
    """All images below `folders`, which may be databases; sorted.

    Raises:
        BadFileError: a folder is missing, or there is no image.
    """
    found: list[Photo] = []
    for folder in folders:
        if not folder.is_dir():
            raise BadFileError(f"no such folder: {folder}")
        if (folder / _DATABASE).is_file():
            found += _listed(folder)
            continue
        files = (p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
        found += [Photo(str(path), path.stat().st_size, path) for path in files]
    if not found:
        raise BadFileError(f"no images below {', '.join(map(str, folders))}")
    return sorted(found, key=lambda photo: Path(photo.name))


def pack(folder: Path, database: Path) -> int:
    """Put the image files below a folder into a database; returns how many.

    Raises:
        OutputExistsError: there is a database.
        BadFileError: no images.
        EnvironmentLimitError: no `lmdb` package, disk full.
    """
    lmdb = _package()
    if (database / _DATABASE).exists():
        raise OutputExistsError(f"{database} holds a database; give another folder")
    chosen = photos([folder])
    size = sum(photo.size + 8192 for photo in chosen) * 2 + _SPARE
    database.mkdir(parents=True, exist_ok=True)
    listing = {}
    try:
        with lmdb.open(str(database), map_size=size) as opened:
            for photo in chosen:
                key = photo.path.relative_to(folder).as_posix()
                with opened.begin(write=True) as transaction:
                    transaction.put(key.encode(), photo.path.read_bytes())
                listing[key] = photo.size
            # Written last: a database with a list is whole.
            with opened.begin(write=True) as transaction:
                transaction.put(_LIST, json.dumps(listing).encode())
    except lmdb.Error as error:
        for name in (_DATABASE, "lock.mdb"):
            (database / name).unlink(missing_ok=True)
        raise EnvironmentLimitError(f"cannot write {database}: {error}") from error
    return len(listing)


_LIST = b"\x00list"
"""Key of names and sizes; no file name begins with a zero."""


def _listed(folder: Path) -> list[Photo]:
    with _opened(folder) as database, database.begin() as transaction:
        content = transaction.get(_LIST)
    if content is None:
        raise BadFileError(
            f"{folder} is no database of edgesr's, or was not finished; pack it again"
        )
    sizes = json.loads(bytes(content))
    return [Photo(f"{folder}:{key}", int(size), folder) for key, size in sizes.items()]


def _opened(folder: Path) -> Any:
    lmdb = _package()
    try:
        return lmdb.open(str(folder), readonly=True, lock=False)
    except lmdb.Error as error:
        raise BadFileError(f"{folder} is no LMDB database, or damaged: {error}") from error


def _package() -> Any:
    try:
        import lmdb
    except ImportError as error:
        raise EnvironmentLimitError(
            "LMDB databases need a package: pip install 'edgesr[train]'"
        ) from error
    return lmdb
