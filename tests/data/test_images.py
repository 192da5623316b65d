"""Image files: whatever a file holds survives the way in and out, or is refused in one sentence."""

from __future__ import annotations

import contextlib
import io
import struct
import subprocess
import sys
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageCms

from edgesr.data import images
from edgesr.data.images import ImageFile, read_image, write_image
from edgesr.errors import BadFileError, EnvironmentLimitError, OutputExistsError, UsageError

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def encoded(picture: Any, container: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, container, **options)
    return stream.getvalue()


def png16(samples: np.ndarray, extra: bytes = b"") -> bytes:
    """A 16-bit PNG written by hand: no filter, one IDAT."""
    height, width, channels = samples.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)

    def chunk(name: bytes, data: bytes) -> bytes:
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    keyed = chunk(b"tRNS", extra) if extra else b""
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + keyed + pixels + chunk(b"IEND", b"")


def tiff16(samples: np.ndarray, order: str, *, alpha_kind: int = 2, **more: int) -> bytes:
    """An uncompressed 16-bit TIFF written by hand, little (`<`) or big (`>`) endian."""
    height, width, channels = samples.shape
    data = samples.astype(f"{order}u2").tobytes()
    tags = {256: width, 257: height, 259: 1, 262: 2 if channels > 1 else 1, 277: channels}
    tags |= {273: 8, 278: height, 279: len(data), 284: 1} | {int(k[1:]): v for k, v in more.items()}
    if channels == 4:
        tags[338] = alpha_kind
    bits_at = 8 + len(data)
    bits = struct.pack(f"{order}{channels}H", *[16] * channels)
    entries = {tag: struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags.items()}
    entries[258] = struct.pack(f"{order}HHII", 258, 3, channels, bits_at)
    if channels == 1:
        entries[258] = struct.pack(f"{order}HHIHH", 258, 3, 1, 16, 0)
    folder = struct.pack(f"{order}H", len(entries)) + b"".join(entries[t] for t in sorted(entries))
    start = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", bits_at + len(bits))
    return start + data + bits + folder + b"\0\0\0\0"


def rounded(samples: np.ndarray) -> np.ndarray:
    return np.floor(samples / 257 + 0.5).astype(np.uint8)


# --- what comes back -----------------------------------------------------------------------------


@pytest.mark.parametrize("container", ["PNG", "WEBP", "TIFF", "BMP"])
def test_lossless_pixels_come_back(noise, container):
    options = {"lossless": True} if container == "WEBP" else {}
    image = read_image(encoded(Pillow.fromarray(noise), container, **options))
    assert np.array_equal(image.pixels, noise)
    assert (image.alpha, image.grey, image.bits, image.format) == (None, False, 8, container)
    assert image.notes == ()


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp"])
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("with_alpha", [False, True])
def test_the_written_file_is_of_the_same_kind(tmp_path, scene, suffix, grey, with_alpha):
    pixels = np.repeat(scene[..., :1], 3, axis=2) if grey else scene
    alpha = scene[..., 1] if with_alpha else None
    image = ImageFile(pixels, alpha, grey, icc=None if grey else SRGB)
    target = tmp_path / f"out{suffix}"
    if with_alpha and suffix == ".jpg":
        with pytest.raises(UsageError, match="JPEG holds no transparency"):
            write_image(image, target)
        assert list(tmp_path.iterdir()) == []
        return
    write_image(image, target)
    back = read_image(target)
    assert back.icc == image.icc
    assert (back.alpha is None) == (alpha is None)
    if suffix != ".webp":  # WebP has no grey
        assert back.grey == grey
    if suffix in (".png", ".tif"):
        assert np.array_equal(back.pixels, pixels)
        assert alpha is None or np.array_equal(back.alpha, alpha)
    else:
        shown = np.ones(scene.shape[:2], bool) if alpha is None else alpha > 0
        assert np.abs(back.pixels.astype(int) - pixels)[shown].mean() < 5


def test_opaque_alpha_may_become_jpeg(tmp_path, scene):
    write_image(ImageFile(scene, np.full(scene.shape[:2], 255, np.uint8)), tmp_path / "a.jpg")


def test_palette_bilevel_and_transparent_keys():
    palette = Pillow.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putpixel((1, 0), 1)
    plain = read_image(encoded(palette, "PNG"))
    assert plain.pixels.tolist() == [[[10, 20, 30], [200, 100, 50]]] and plain.alpha is None
    keyed = read_image(encoded(palette, "PNG", transparency=1))
    assert keyed.alpha is not None and keyed.alpha.tolist() == [[255, 0]]
    bilevel = Pillow.new("1", (3, 1))
    bilevel.putpixel((1, 0), 1)
    assert read_image(encoded(bilevel, "PNG")).pixels[0, :, 0].tolist() == [0, 255, 0]
    colour = Pillow.new("RGB", (2, 1), (1, 2, 3))
    colour.putpixel((1, 0), (1, 2, 4))
    seen = read_image(encoded(colour, "PNG", transparency=(1, 2, 4)))
    assert seen.alpha is not None and seen.alpha.tolist() == [[255, 0]]


def test_alpha_grows_with_the_pixels(scene):
    image = ImageFile(scene, scene[..., 0])
    larger = image.with_pixels(np.repeat(np.repeat(scene, 3, axis=0), 3, axis=1))
    assert larger.alpha is not None and larger.alpha.shape == larger.pixels.shape[:2]
    assert abs(float(larger.alpha.mean()) - float(scene[..., 0].mean())) < 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("container", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_exif_rotation_is_applied_once(tmp_path, scene, orientation, container):
    """A viewer sees the same picture; the output carries no tag that would turn it again."""
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    exif[0x0110] = "camera"
    exif.get_ifd(0x8769)[0x9003] = "2024:02:29 12:00:00"
    lossless = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}
    options = lossless.get(container, {})
    data = encoded(Pillow.fromarray(scene), container, exif=exif.tobytes(), **options)
    turns = {
        1: (0, 0),
        2: (0, 1),
        3: (2, 0),
        4: (2, 1),
        5: (-1, 1),
        6: (-1, 0),
        7: (1, 1),
        8: (1, 0),
    }
    quarter, mirrored = turns[orientation]
    shown = np.rot90(scene, quarter)
    shown = shown[:, ::-1] if mirrored else shown
    image = read_image(data)
    assert image.pixels.shape == shown.shape
    assert np.abs(image.pixels.astype(int) - shown).mean() < (1.5 if container == "JPEG" else 1e-9)
    for suffix in (".png", ".jpg", ".webp", ".tif"):
        write_image(image, tmp_path / f"o{suffix}", force=True)
        with Pillow.open(tmp_path / f"o{suffix}") as written:
            tags = written.getexif()
            assert tags.get(0x0112, 1) == 1
            assert tags[0x0110] == "camera"
            assert tags.get_ifd(0x8769)[0x9003] == "2024:02:29 12:00:00"


def test_icc_profile_is_kept_where_it_fits(noise):
    kept = read_image(encoded(Pillow.fromarray(noise), "JPEG", icc_profile=SRGB))
    assert kept.icc == SRGB and kept.notes == ()
    misfit = read_image(encoded(Pillow.fromarray(noise[..., 0]), "TIFF", icc_profile=SRGB))
    assert misfit.icc is None and "does not fit" in misfit.notes[0]


def test_cmyk_is_converted():
    data = encoded(Pillow.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")
    image = read_image(data, "ad.jpg")
    red, green, blue = image.pixels[4, 4].astype(int)
    assert red > 180 and green < 80 and blue < 80
    assert image.icc is None and "ad.jpg is CMYK" in image.notes[0]


def test_phone_pictures_with_a_preview_are_one_picture(noise):
    first, preview = Pillow.fromarray(noise), Pillow.fromarray(noise[:8, :8])
    data = encoded(first, "MPO", save_all=True, append_images=[preview])
    assert Pillow.open(io.BytesIO(data)).n_frames == 2
    image = read_image(data)
    assert image.pixels.shape == noise.shape and image.format == "JPEG"


# --- 16 bits -------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png_is_rounded_not_cut(rng, channels):
    samples = rng.integers(0, 65536, (7, 11, channels), np.uint16)
    samples[0, 0], samples[0, 1], samples[0, 2] = 65535, 0, 383  # 383 / 257 = 1.49
    image = read_image(png16(samples))
    expected = rounded(samples)
    assert np.any(expected != samples >> 8), "the test must tell rounding from cutting"
    assert image.bits == 16 and "rounded to 8" in image.notes[0]
    colours = 3 if channels > 2 else 1
    assert image.grey == (colours == 1)
    assert np.array_equal(image.pixels[..., :colours], expected[..., :colours])
    if channels in (2, 4):
        assert image.alpha is not None and np.array_equal(image.alpha, expected[..., -1])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bit_tiff_is_rounded_not_cut(rng, order, channels):
    samples = rng.integers(0, 65536, (7, 11, channels), np.uint16)
    image = read_image(tiff16(samples, order))
    expected = rounded(samples)
    assert np.array_equal(
        image.pixels, np.repeat(expected, 3, 2) if channels == 1 else expected[..., :3]
    )
    assert image.bits == 16


def test_16_bit_details(rng):
    samples = rng.integers(0, 65536, (7, 11, 3), np.uint16)
    keyed = read_image(png16(samples, extra=samples[2, 3].astype(">u2").tobytes()))
    assert keyed.alpha is not None
    assert keyed.alpha[2, 3] == 0 and np.count_nonzero(keyed.alpha == 0) == 1
    inverted = read_image(tiff16(samples[..., :1], "<", t262=0))
    assert np.array_equal(inverted.pixels[..., 0], rounded(65535 - samples[..., 0]))
    turned = read_image(tiff16(samples, "<", t274=6))
    assert np.array_equal(turned.pixels, np.rot90(rounded(samples), -1))
    alpha = rng.integers(1, 65536, (7, 11, 1), np.uint16)
    product = np.rint(samples.astype(float) * alpha / 65535).astype(np.uint16)
    multiplied = np.concatenate([product, alpha], axis=2)
    straight = read_image(tiff16(multiplied, "<", alpha_kind=1))
    error = np.abs(straight.pixels.astype(float) - samples / 257)[alpha[..., 0] > 2000]
    assert error.max() < 5 and error.mean() < 0.5
    with pytest.raises(BadFileError, match="separate planes"):
        read_image(tiff16(samples, "<", t284=2))


@pytest.mark.parametrize("mode", ["I", "F"])
def test_samples_of_unknown_range_are_refused(mode):
    with pytest.raises(BadFileError, match="unknown range"):
        read_image(encoded(Pillow.new(mode, (4, 4)), "TIFF"))


# --- bad input -----------------------------------------------------------------------------------


def one_sentence(error: pytest.ExceptionInfo[BaseException]) -> str:
    text = str(error.value)
    assert "\n" not in text and len(text) < 300
    return text


@pytest.mark.parametrize("container", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
def test_truncated_files_are_refused(tmp_path, noise, container):
    data = encoded(Pillow.fromarray(noise), container)
    path = tmp_path / "half"
    for share in (0.02, 0.5, 0.9):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(BadFileError, match="half") as error:
            read_image(path)
        one_sentence(error)


@pytest.mark.parametrize("container", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_hostile_bytes_never_escape(scene, rng, container):
    """Any corruption gives a picture or a `BadFileError`, never another exception."""
    data = bytearray(encoded(Pillow.fromarray(scene), container, icc_profile=SRGB))
    for _ in range(150):
        broken = bytearray(data)
        for position in rng.integers(0, len(data), 3):
            broken[position] = rng.integers(256)
        with contextlib.suppress(BadFileError):
            assert read_image(bytes(broken)).pixels.dtype == np.uint8


def test_other_files_are_refused(tmp_path, noise):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no image")
    frames = [Pillow.fromarray(noise), Pillow.fromarray(255 - noise)]
    for name, container in (("moving.webp", "WEBP"), ("pages.tif", "TIFF"), ("moving.png", "PNG")):
        frames[0].save(tmp_path / name, container, save_all=True, append_images=frames[1:])
    for name, why in {
        "empty.png": "empty",
        "text.png": "not an image",
        "moving.webp": "2 frames",
        "moving.png": "2 frames",
        "pages.tif": "2 frames or pages",
        "missing.png": "no such file",
        ".": "folder",
    }.items():
        with pytest.raises(BadFileError, match=why) as error:
            read_image(tmp_path / name)
        one_sentence(error)
    with pytest.raises(BadFileError, match="standard input is empty"):
        read_image(b"")


def test_a_bomb_is_refused_before_decoding():
    """A few kilobytes that claim 60 000 x 60 000 pixels, and one just above our own limit."""
    for width, height in ((60_000, 60_000), (16_000, 8_001)):
        header = bytearray(png16(np.zeros((1, 1, 3), np.uint16)))
        header[16:24] = struct.pack(">II", width, height)
        header[29:33] = struct.pack(">I", zlib.crc32(header[12:29]))
        with pytest.raises(BadFileError, match="megapixels") as error:
            read_image(bytes(header), "bomb.png")
        one_sentence(error)


# --- writing -------------------------------------------------------------------------------------


def test_nothing_is_overwritten_without_force(tmp_path, noise):
    target = tmp_path / "a.png"
    target.write_bytes(b"mine")
    with pytest.raises(OutputExistsError, match="--force"):
        write_image(ImageFile(noise), target)
    assert target.read_bytes() == b"mine"
    write_image(ImageFile(noise), target, force=True)
    assert np.array_equal(read_image(target).pixels, noise)


def test_impossible_outputs_are_named(tmp_path, noise):
    with pytest.raises(UsageError, match=r"\.png, \.jpg"):
        write_image(ImageFile(noise), tmp_path / "a.gif")
    (tmp_path / "d.png").mkdir()
    with pytest.raises(UsageError, match="regular file"):
        write_image(ImageFile(noise), tmp_path / "d.png", force=True)
    wide = ImageFile(np.zeros((1, 16384, 3), np.uint8))
    with pytest.raises(UsageError, match="16383"):
        write_image(wide, tmp_path / "a.webp")
    large = ImageFile(np.broadcast_to(np.uint8(0), (8000, 8001, 3)))
    with pytest.raises(UsageError, match="gigabytes"):
        write_image(large, tmp_path / "a.webp")


@pytest.mark.parametrize("container", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_streams(noise, container):
    stream = io.BytesIO()
    write_image(ImageFile(noise, format=container), stream)
    assert read_image(stream.getvalue()).format == container


def test_an_interrupted_write_leaves_nothing(tmp_path, noise, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(images, "_encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_image(ImageFile(noise), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, suffix):
    """The kernel refuses to let any file of the child grow past 4 kB."""
    script = f"""
import resource, numpy as np
from pathlib import Path
from edgesr.data.images import ImageFile, write_image
from edgesr.errors import EnvironmentLimitError
pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_image(ImageFile(pixels), Path({str(tmp_path / ("a" + suffix))!r}))
except EnvironmentLimitError as error:
    print("refused:", error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith("refused: cannot write"), done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path, noise):
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentLimitError, match="cannot write"):
        write_image(ImageFile(noise), tmp_path / "file" / "a.png")
