"""`edgesr upscale`: pictures of any size, with any model, in any runtime."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgesr.data.images import ImageFile
    from edgesr.runtime import Session


def upscale_command(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="Picture, folder of pictures, or - for stdin.")
    ],
    target: Annotated[
        str, typer.Argument(metavar="OUT", help="File, folder, or - for stdout (format as IN).")
    ],
    model: Annotated[
        str,
        typer.Option(
            help="Shipped network (plain-m-x3), checkpoint, module:factory, or exported artifact."
        ),
    ],
    scale: Annotated[
        str | None,
        typer.Option(help="For a network for any scale: 1.5, or 2.2x4.2 (height x width)."),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            help="litert, litert-reference, tflite-runtime, tensorflow, ort, openvino; torch for "
            "networks. Default: the first that opens the file."
        ),
    ] = None,
    tile: Annotated[
        int | None,
        typer.Option(help="Pixels a tile adds per side; 0: no tiles. Default: by memory."),
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Default: all cores.")] = None,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of JPEG and WebP.")] = 95,
    force: Annotated[bool, typer.Option("--force", help="Overwrite.")] = False,
) -> None:
    """Upscale a picture, a folder of pictures, or standard input.

    Large pictures are cut into tiles; the result has the same pixels as in one piece (networks
    that see the whole picture at once say so and blend). Alpha, grey, EXIF rotation and ICC
    profile are kept. `edgesr upscale photo.jpg photo-x3.png --model plain-m-x3`
    """
    import os

    from edgesr.cli.output import say
    from edgesr.errors import UsageError
    from edgesr.runtime import open_model
    from edgesr.scales import parse_scale

    folder = source != "-" and Path(source).is_dir()
    if folder and target == "-":
        raise UsageError("a folder of pictures does not fit into stdout; give a folder for OUT")
    pairs = _folder(Path(source), Path(target), force) if folder else []
    if source != "-" and not folder and target != "-" and Path(target).is_dir():
        target = str(Path(target) / Path(source).name)
    session = open_model(
        model, runtime=runtime, threads=threads or os.cpu_count() or 1,
        scale=parse_scale(scale) if scale else None,
    )  # fmt: skip
    for note in session.info().notes:
        say(note)

    def one(place: str, goal: str) -> None:
        _upscale(session, place, goal, tile=tile, quality=quality, force=force)

    if folder:
        _each(pairs, one)
    else:
        one(source, target)


def _folder(source: Path, target: Path, force: bool) -> list[tuple[Path, Path]]:
    """Every picture of the folder with its output, checked before any work is done.

    Raises:
        BadFileError: no picture in it.
        UsageError: the output is no folder.
        OutputExistsError: an output is there and `force` is off.
    """
    from edgesr.data.images import SUFFIXES
    from edgesr.errors import BadFileError, OutputExistsError, UsageError

    files = sorted(f for f in source.iterdir() if f.is_file() and f.suffix.lower() in SUFFIXES)
    if not files:
        raise BadFileError(f"{source} holds no pictures ({', '.join(sorted(SUFFIXES))})")
    if target.exists() and not target.is_dir():
        raise UsageError(f"{source} is a folder, so OUT must be one; {target} is a file")
    # BMP is read, not written.
    names = [f.with_suffix(".png").name if f.suffix.lower() == ".bmp" else f.name for f in files]
    pairs = [(file, target / name) for file, name in zip(files, names, strict=True)]
    there = [goal for _, goal in pairs if goal.exists()]
    if there and not force:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise OutputExistsError(f"{there[0]}{more} exists; --force overwrites")
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UsageError(f"two pictures would both be written to {target / min(twice)}")
    return pairs


def _each(pairs: list[tuple[Path, Path]], one: Callable[[str, str], None]) -> None:
    """One broken picture does not stop the others; it is named, and the exit code tells."""
    from edgesr.cli.output import say
    from edgesr.errors import BadFileError, UsageError

    failed: list[str] = []
    for place, goal in pairs:
        try:
            one(str(place), str(goal))
        except (BadFileError, UsageError) as error:
            failed.append(str(error))
            say(f"skipped: {error}")
    if failed:
        raise BadFileError(f"{len(failed)} of {len(pairs)} pictures failed; first: {failed[0]}")


def _upscale(
    session: Session, source: str, target: str, *, tile: int | None, quality: int, force: bool
) -> None:
    from edgesr.cli.output import progress, say
    from edgesr.data.images import check_output, read_image, write_image
    from edgesr.runtime import plan_for, upscale
    from edgesr.scales import enlarged_size, scale_text

    image = _standard_input() if source == "-" else read_image(Path(source))
    height, width = image.pixels.shape[:2]
    scale = session.manifest.scale
    if target != "-":
        check_output(image, Path(target), *enlarged_size(height, width, scale), force=force)
    for note in image.notes:
        say(note)
    plan = plan_for(session, height, width, tile=tile)
    if not plan.exact:
        say(f"{source}: {plan.why_inexact}")
    name = "stdin" if source == "-" else Path(source).name
    with progress(f"{name} {width}x{height} x{scale_text(scale)}", len(plan)) as (bar, task):
        pixels = upscale(
            session, image.pixels, tile=tile,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )  # fmt: skip
    result = image.with_pixels(pixels)
    if target == "-":
        write_image(result, sys.stdout.buffer, quality=quality)
        sys.stdout.buffer.flush()
    else:
        write_image(result, Path(target), quality=quality, force=force)


def _standard_input() -> ImageFile:
    from edgesr.data.images import read_image

    return read_image(sys.stdin.buffer.read(), "standard input")
