"""Image files in and out: what a picture is besides its RGB pixels, and how it gets back to disk.

Networks read 8-bit RGB. Everything else a file holds is kept apart in `ImageFile`, so that an
enlarged picture is of the same kind as its source:

| in the file             | what happens                                                          |
|-------------------------|-----------------------------------------------------------------------|
| grey, bilevel           | replicated to RGB for the network, written as grey again              |
| alpha, transparent key  | kept beside the pixels, enlarged with bicubic                         |
| palette                 | becomes RGB, or RGBA if it has a transparent entry                    |
| 16 bits per sample      | every sample rounded to 8 (v / 257); the output has 8; a note says so  |
| EXIF orientation        | applied to the pixels, tag removed; camera, date and GPS tags kept    |
| ICC profile             | pixels untouched, profile copied to the output                        |
| CMYK, Lab               | converted to sRGB, through the embedded profile if there is one       |
| animation, several pages| refused                                                               |
"""

from __future__ import annotations

import io
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL import ImageCms, UnidentifiedImageError

from edgesr.data.bicubic import imresize
from edgesr.data.deep import eight_bits
from edgesr.errors import (
    BadFileError,
    EnvironmentLimitError,
    OutputExistsError,
    UsageError,
)

Image = npt.NDArray[np.uint8]

MAX_PIXELS = 128_000_000
"""Inputs above this are refused before decoding: too large for the memory promised, or a bomb."""

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"))
"""Names taken for images when a folder is searched."""
_READABLE = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")

_WRITABLE = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"
}  # fmt: skip
_LONGEST_SIDE = {"JPEG": 65535, "WEBP": 16383}
_WEBP_PIXELS = {False: 64_000_000, True: 24_000_000}
"""Largest WebP, without and with alpha: its encoder takes 11 and 37 bytes per pixel, which at
100 megapixels is 1.8 and 4.5 GB for the process. The others take 4."""

_ORIENTATION = 0x0112
_TURNS: dict[int, Callable[[Image], Image]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}
"""EXIF orientation to the turn that shows the picture upright (EXIF 2.32, section 4.6.4)."""

_KEPT_TAGS = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)
"""Description, make, model, software, date, artist, copyright: true at any size."""
_KEPT_BLOCKS = {0x8769: (0xA002, 0xA003, 0xA005, 0x927C), 0x8825: ()}
"""Exif and GPS blocks, less width, height, interoperability and the maker's note, which point
into the old file."""


@dataclass(frozen=True)
class ImageFile:
    """A picture and what its file said about it."""

    pixels: Image
    """uint8 HxWx3, RGB."""
    alpha: Image | None = None
    """uint8 HxW, 255 opaque; None without transparency."""
    grey: bool = False
    """The file has one colour channel; so will the output."""
    bits: int = 8
    """Bits per sample in the file: 8 (or fewer), or 16."""
    format: str = "PNG"
    """`PNG`, `JPEG`, `WEBP`, `TIFF` or `BMP`."""
    icc: bytes | None = None
    exif: bytes | None = None
    notes: tuple[str, ...] = ()
    """Sentences for the user: what was not kept."""

    def with_pixels(self, pixels: Image) -> ImageFile:
        """The same picture enlarged; alpha follows by bicubic."""
        height, width = self.pixels.shape[:2]
        scale = (pixels.shape[0] / height, pixels.shape[1] / width)
        alpha = self.alpha
        if alpha is not None:
            alpha = imresize(alpha[..., None], scale)[..., 0]
        return replace(self, pixels=pixels, alpha=alpha)


# --- reading -------------------------------------------------------------------------------------


def read_image(source: Path | bytes, name: str = "") -> ImageFile:
    """Read a still picture: PNG, JPEG, WebP, TIFF or BMP.

    Args:
        source: a file, or the bytes of one (standard input).
        name: what messages call it; the path by default.

    Raises:
        BadFileError: missing, empty, truncated, not an image, animated, too large, or with
            samples of unknown range.
    """
    name = name or (str(source) if isinstance(source, Path) else "standard input")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about metadata nobody asked for
            return _read(source, name)
    except BadFileError:
        raise
    except UnidentifiedImageError as error:
        raise BadFileError(
            f"{name} is not an image edgesr reads (PNG, JPEG, WebP, TIFF, BMP)"
        ) from error
    except Pillow.DecompressionBombError as error:
        raise BadFileError(_too_large(name, "far more pixels")) from error
    except FileNotFoundError as error:
        raise BadFileError(f"no such file: {name}") from error
    except IsADirectoryError as error:
        raise BadFileError(f"{name} is a folder, not an image") from error
    except Exception as error:
        # Pillow's decoders answer hostile bytes with almost any exception.
        cause = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise BadFileError(f"{name} cannot be decoded: {cause}") from error


def _too_large(name: str, size: str) -> str:
    return f"{name} would decode to {size}; at most {MAX_PIXELS // 10**6} megapixels are read"


def _read(source: Path | bytes, name: str) -> ImageFile:
    empty = not source if isinstance(source, bytes) else source.is_file() and not _bytes_in(source)
    if empty:
        raise BadFileError(f"{name} is empty (0 bytes)")

    def opened() -> Any:
        stream = io.BytesIO(source) if isinstance(source, bytes) else source
        return Pillow.open(stream, formats=_READABLE)

    with opened() as file:
        if file.width * file.height > MAX_PIXELS:
            raise BadFileError(_too_large(name, f"{file.width}x{file.height} pixels"))
        frames = getattr(file, "n_frames", 1)
        # Phones write MPO: the photo, then a preview or a depth map. The first frame is the photo.
        if frames > 1 and file.format != "MPO":
            raise BadFileError(
                f"{name} holds {frames} frames or pages; edgesr takes still pictures: extract one"
            )
        picture, bits = eight_bits(file, opened, name)
        picture.load()
        orientation, exif = _orientation(file), _kept_exif(file)
        icc = file.info.get("icc_profile") or None
        container = "JPEG" if file.format == "MPO" else str(file.format)
        picture, converted = _plain_mode(picture, icc, name)
        planes = np.asarray(picture)
    notes = [converted] if converted else []
    if bits > 8:
        notes.append(f"{name} has {bits} bits per sample; rounded to 8, and the output has 8")
    grey = picture.mode in ("L", "LA")
    if icc and (converted or icc[16:20] != (b"GRAY" if grey else b"RGB ")):
        if not converted:
            notes.append(f"the ICC profile of {name} does not fit its colours; left out")
        icc = None
    planes = planes.reshape(*planes.shape[:2], -1)
    if orientation in _TURNS:
        planes = _TURNS[orientation](planes)
    alpha = np.ascontiguousarray(planes[..., -1]) if picture.mode in ("LA", "RGBA") else None
    colour = np.repeat(planes[..., :1], 3, axis=2) if grey else planes[..., :3]
    pixels = np.ascontiguousarray(colour)
    return ImageFile(pixels, alpha, grey, bits, container, icc, exif, tuple(notes))


def _bytes_in(path: Path) -> int:
    return path.stat().st_size


def _plain_mode(picture: Any, icc: bytes | None, name: str) -> tuple[Any, str]:
    """The picture as L, LA, RGB or RGBA, and what had to be converted for it."""
    if picture.mode in ("CMYK", "LAB"):
        return _to_srgb(picture, icc, name)
    keyed = "transparency" in picture.info
    if picture.mode in ("1", "L"):
        return picture.convert("LA" if keyed else "L"), ""
    if picture.mode in ("LA", "La"):
        return picture.convert("LA"), ""
    keyed = keyed or picture.mode in ("RGBA", "RGBa", "PA")
    return picture.convert("RGBA" if keyed else "RGB"), ""


def _to_srgb(picture: Any, icc: bytes | None, name: str) -> tuple[Any, str]:
    space, srgb = picture.mode, ImageCms.createProfile("sRGB")
    if icc is not None or space == "LAB":
        source: Any = ImageCms.createProfile("LAB")
        if icc is not None:
            source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        try:
            converted = ImageCms.profileToProfile(picture, source, srgb, outputMode="RGB")
            return converted, f"{name} is {space}; converted to sRGB"
        except ImageCms.PyCMSError as error:
            if space == "LAB":
                raise BadFileError(f"{name}: its Lab colours cannot be converted") from error
    return picture.convert("RGB"), f"{name} is {space} without a usable profile; colours may differ"


def _orientation(file: Any) -> int:
    """How the decoded pixels must be turned; 1 when upright (TIFF is turned by its decoder)."""
    try:
        return int(file.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged metadata is no reason to refuse the picture
        return 1


def _kept_exif(file: Any) -> bytes | None:
    """The tags that hold for the enlarged picture too."""
    kept: Any = Pillow.Exif()  # type: ignore[no-untyped-call]
    try:
        tags = file.getexif()
        kept.update({tag: tags[tag] for tag in _KEPT_TAGS if tag in tags})
        for block, stale in _KEPT_BLOCKS.items():
            inner = {tag: value for tag, value in tags.get_ifd(block).items() if tag not in stale}
            if inner:
                kept[block] = inner
        return bytes(kept.tobytes()) if len(kept) else None
    except Exception:  # as above
        return None


# --- writing -------------------------------------------------------------------------------------


def check_output(image: ImageFile, target: Path, height: int, width: int, *, force: bool) -> str:
    """Say before any work is done whether `image` at this size can be written to `target`.

    Returns:
        The format of the file: `PNG`, `JPEG`, `WEBP` or `TIFF`.

    Raises:
        OutputExistsError: the file is there and `force` was not given.
        UsageError: the suffix names no such format, or the format cannot hold the picture.
    """
    container = _WRITABLE.get(target.suffix.lower())
    if container is None:
        raise UsageError(f"cannot write {target}: name it .png, .jpg, .webp or .tif")
    if target.exists() and not target.is_file():
        raise UsageError(f"cannot write {target}: it is not a regular file")
    if target.exists() and not force:
        raise OutputExistsError(f"{target} exists; --force overwrites it")
    _check_container(image, container, height, width)
    return container


def _check_container(image: ImageFile, container: str, height: int, width: int) -> None:
    longest = _LONGEST_SIDE.get(container)
    if longest and max(height, width) > longest:
        raise UsageError(
            f"{width}x{height} does not fit into {container} (at most {longest} pixels a side); "
            "write PNG or TIFF"
        )
    if container == "WEBP" and height * width > _WEBP_PIXELS[image.alpha is not None]:
        raise UsageError(f"a WebP of {width}x{height} takes gigabytes to encode; write PNG or JPEG")
    if container == "JPEG" and image.alpha is not None and np.any(image.alpha != 255):
        raise UsageError("JPEG holds no transparency; write PNG, WebP or TIFF")


def write_image(
    image: ImageFile,
    target: Path | IO[bytes],
    *,
    container: str | None = None,
    quality: int = 95,
    force: bool = False,
) -> None:
    """Write a picture with its alpha, profile and tags; beside the target, then renamed.

    Args:
        target: a file whose suffix names the format, or a binary stream.
        container: format on a stream; the source's by default.
        quality: of JPEG (4:4:4) and WebP; PNG and TIFF are lossless.
        force: overwrite.

    Raises:
        OutputExistsError, UsageError: as `check_output`.
        EnvironmentLimitError: disk full, folder read-only.
    """
    height, width = image.pixels.shape[:2]
    if not isinstance(target, Path):
        container = container or (image.format if image.format in _WRITABLE.values() else "PNG")
        _check_container(image, container, height, width)
        # Pipes cannot seek, encoders may want to.
        encoded = io.BytesIO()
        _encode(image, encoded, container, quality)
        target.write(encoded.getbuffer())
        return
    container = check_output(image, target, height, width, force=force)
    with written_beside(target) as file:
        _encode(image, file, container, quality)


def _encode(image: ImageFile, file: IO[bytes], container: str, quality: int) -> None:
    options: dict[str, Any] = {
        "PNG": {},
        "JPEG": {"quality": quality, "subsampling": 0},
        "WEBP": {"quality": quality},
        "TIFF": {},  # uncompressed: Pillow cannot put Exif and GPS blocks into a compressed one
    }[container]
    if image.icc:
        options["icc_profile"] = image.icc
    if image.exif and not (container == "JPEG" and len(image.exif) > 65533):
        options["exif"] = image.exif
    _to_pillow(image, with_alpha=container != "JPEG").save(file, container, **options)


def _to_pillow(image: ImageFile, *, with_alpha: bool, rows: int = 256) -> Any:
    """Pillow's own copy, filled strip by strip: a whole array in between would double memory."""
    alpha = image.alpha if with_alpha else None
    mode = ("L" if image.grey else "RGB") + ("A" if alpha is not None else "")
    height, width = image.pixels.shape[:2]
    picture = Pillow.new(mode, (width, height))
    for top in range(0, height, rows):
        strip = image.pixels[top : top + rows]
        if image.grey:
            # Luma of BT.601 in full range; equal channels give themselves.
            weighted = strip.astype(np.uint32) @ np.array([299, 587, 114], np.uint32)
            strip = ((weighted + 500) // 1000).astype(np.uint8)[..., None]
        if alpha is not None:
            strip = np.concatenate([strip, alpha[top : top + rows, :, None]], axis=2)
        part = Pillow.frombytes(mode, (width, len(strip)), strip.tobytes())
        picture.paste(part, (0, top))
    return picture


@contextmanager
def written_beside(target: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes the target's place once it is whole; else nothing is left.

    Raises:
        EnvironmentLimitError: the folder is read-only, the disk is full.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise EnvironmentLimitError(f"cannot write to {target.parent}: {error.strerror}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        Path(beside).chmod(0o644)
        Path(beside).replace(target)
    except OSError as error:
        cause = error.strerror or str(error)
        raise EnvironmentLimitError(f"cannot write {target}: {cause}") from error
    finally:
        Path(beside).unlink(missing_ok=True)
