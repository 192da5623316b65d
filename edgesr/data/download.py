"""Files over HTTP that arrive whole: resumed where a connection was cut, checked, then unpacked."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from edgesr.data.catalogue import Archive, ImageSet
from edgesr.data.images import SUFFIXES, read_image
from edgesr.errors import BadFileError, EnvironmentLimitError

Report = Callable[[str, int, int | None], None]
"""File name, bytes so far, bytes in all or None."""

_CHUNK = 1 << 20
_TRIES = 8
_TIMEOUT = 60.0


def get(
    chosen: ImageSet, folder: Path, *, report: Report = lambda *_: None, pause: float = 2.0
) -> Path:
    """Download and unpack a set; what is there already is neither fetched nor unpacked again.

    Args:
        folder: of all sets; the set's photos go into a folder of its name below.
        report: called as bytes arrive.
        pause: seconds before a cut connection is tried again, doubled each time.

    Raises:
        EnvironmentLimitError: no connection, disk full.
        BadFileError: the server gives other bytes than the checksum says; a damaged archive.
    """
    place = folder / chosen.name
    for archive in chosen.archives:
        if len(_images(place / archive.into)) == archive.images:
            continue
        file = folder / "downloads" / PurePosixPath(archive.url).name
        if not file.exists():
            fetch(archive.url, file, md5=archive.md5, report=report, pause=pause)
        unpack(file, archive, place / archive.into)
    return place


def fetch(
    url: str, target: Path, *, md5: str = "", report: Report = lambda *_: None, pause: float = 2.0
) -> None:
    """One file. `TARGET.part` holds what has arrived; the next call goes on from there.

    Raises:
        EnvironmentLimitError, BadFileError: as `get`.
    """
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(_TRIES):
            before = part.stat().st_size if part.exists() else 0
            try:
                if _receive(url, part, report):
                    break
            except (OSError, http.client.HTTPException) as error:
                _give_up(error, url, attempt)
            after = part.stat().st_size if part.exists() else 0
            if after == before:
                time.sleep(pause * 2**attempt)
        else:
            raise EnvironmentLimitError(
                f"{url}: the connection was cut {_TRIES} times; the same command goes on from here"
            )
    except PermissionError as error:
        raise EnvironmentLimitError(f"cannot write {part}: {error.strerror}") from error
    if md5 and (found := _md5(part)) != md5:
        part.unlink()
        raise BadFileError(
            f"{url} is not the file it should be (MD5 {found}, not {md5}); it was deleted, "
            "try again"
        )
    part.replace(target)


def _give_up(error: Exception, url: str, attempt: int) -> None:
    """Raise what trying again does not help against."""
    if isinstance(error, urllib.error.HTTPError) and error.code < 500:
        raise BadFileError(f"{url}: the server says {error.code} {error.reason}") from error
    if isinstance(error, OSError) and error.errno in (27, 28, 30, 122, 13):
        raise EnvironmentLimitError(f"cannot write the download: {error.strerror}") from error
    if attempt == _TRIES - 1:
        raise EnvironmentLimitError(f"no connection to {url}: {error}") from error


def _receive(url: str, part: Path, report: Report) -> bool:
    """Append what the server still has to give; whether the file is whole now."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "edgesr"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing left to give, or the file has become shorter
            length = error.headers.get("Content-Range", "").rpartition("/")[2]
            if length == str(have):
                return True
            part.unlink()
            return False
        raise
    with answer:
        resumed = answer.status == 206
        have = have if resumed else 0  # a server without ranges starts over
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length is not None else None
        with part.open("ab" if resumed else "wb") as file:
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                have += len(chunk)
                report(part.name.removesuffix(".part"), have, total)
    return total is None or have == total


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def unpack(file: Path, archive: Archive, into: Path) -> None:
    """The images of `archive.folder`, all or none.

    Only the last part of a name is used, and only below that folder: nothing is written outside
    of `into`, whatever an archive claims.

    Raises:
        BadFileError: no archive, damaged, or with another number of images.
        EnvironmentLimitError: disk full.
    """
    beside = into.with_name(f".{into.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        count = 0
        with _members(file) as members:
            for path, opened in members:
                inside = PurePosixPath(path)
                wanted = str(inside.parent).removeprefix("./") == archive.folder
                if not wanted or inside.suffix.lower() not in SUFFIXES:
                    continue
                with opened() as source, (beside / inside.name).open("wb") as target:
                    shutil.copyfileobj(source, target)
                count += 1
        if count != archive.images:
            raise BadFileError(
                f"{file} holds {count} images in {archive.folder}, not {archive.images}; delete it "
                "and try again"
            )
        shutil.rmtree(into, ignore_errors=True)
        beside.replace(into)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise BadFileError(f"{file} is damaged ({error}); delete it and try again") from error
    except OSError as error:
        raise EnvironmentLimitError(f"cannot unpack {file}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def _members(file: Path) -> Iterator[Iterator[tuple[str, Callable[[], IO[bytes]]]]]:
    """Files in a zip or tar: name, and how to open it."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as pack:
            names = [info for info in pack.infolist() if not info.is_dir()]
            yield ((info.filename, lambda info=info: pack.open(info)) for info in names)  # type: ignore[misc]
        return
    with tarfile.open(file) as tar:
        yield (
            (info.name, lambda info=info: tar.extractfile(info))  # type: ignore[misc]
            for info in tar
            if info.isfile()
        )


def check(chosen: ImageSet, folder: Path) -> list[str]:
    """What is wrong with a set on this machine; empty when nothing is."""
    faults = []
    for archive in chosen.archives:
        place = folder / chosen.name / archive.into
        images = _images(place)
        if len(images) != archive.images:
            faults.append(f"{place} holds {len(images)} images, not {archive.images}")
        for path in images:
            try:
                read_image(path)
            except BadFileError as error:
                faults.append(str(error))
    return faults


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
