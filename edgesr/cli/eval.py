"""`edgesr eval`: PSNR and SSIM by the protocol of the literature."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgesr.data.images import Image
    from edgesr.evaluate import Upscaler
    from edgesr.runtime import Session
    from edgesr.scales import Scale

_LR = "LR: consistency, PSNR of the output reduced again against the input (docs/drn.md)"


def eval_command(
    model: Annotated[
        str,
        typer.Argument(
            metavar="ARTIFACT|MODEL",
            help="Exported file, quantized file (.int8.safetensors), shipped network "
            "(plain-m-x3), checkpoint, module:factory; or bicubic.",
        ),
    ],
    data: Annotated[
        str,
        typer.Option(
            help="Folder or image file, or set5, set14, b100, kodak24, mcmaster18 (below "
            "$EDGESR_DATA), samples."
        ),
    ] = "samples",
    scale: Annotated[
        str | None,
        typer.Option(help="For bicubic and networks for any scale: 2, 1.5, 2.2x4.2."),
    ] = None,
    runtime: Annotated[
        str | None, typer.Option(help="Default: the first that opens the file; torch for networks.")
    ] = None,
    rgb: Annotated[bool, typer.Option("--rgb", help="Measure in RGB too.")] = False,
    precisions: Annotated[
        bool | None,
        typer.Option(
            help="torch fp32, exported fp32, integer reference and runtime int8 side by side. "
            "Default for quantized files.",
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(help="Quantized file or network that an int8 ARTIFACT was made of."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help="Files that --precisions exports: onnx (default), tflite, openvino."),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Default: all cores.")] = None,
    save: Annotated[
        Path | None, typer.Option(help="Folder to write the enlarged images to, as PNG.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite saved images.")] = False,
    ray: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="Spread images over a Ray cluster: auto, HOST:PORT."),
    ] = "",
    summary: Annotated[bool, typer.Option("--summary", help="Only mean and worst.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Judge a model: its low-resolution images are made by MATLAB's bicubic from DATA.

    `edgesr eval plain-m-x3 --data set14`

    What int8 costs, step by step, against the original and against fp32:
    `edgesr eval plain-m-x3.int8.safetensors --data set14`, or for a file that is there already
    `edgesr eval plain-m-x3_int8_360x640.tflite --source plain-m-x3 --data set14`.
    """
    from edgesr.cli.output import progress, show_table
    from edgesr.data.datasets import dataset
    from edgesr.errors import UsageError
    from edgesr.evaluate import evaluate
    from edgesr.metrics.psnr import LITERATURE, RGB
    from edgesr.scales import parse_scale, scale_text

    side_by_side = _side_by_side(model, precisions, source, target)
    if ray and (side_by_side or save or model == "bicubic"):
        raise UsageError("--ray spreads one model's images; leave --precisions and --save out")
    if side_by_side:
        _show_precisions(
            model, data, source, target, runtime, threads,
            rgb=rgb, save=save, force=force, summary=summary, as_json=as_json,
        )  # fmt: skip
        return
    asked = parse_scale(scale) if scale else None
    subject = None if ray else _subject(model, asked, runtime, threads)
    images = dataset(data)
    targets = _targets(images.labels, save, force)
    protocols = (LITERATURE, RGB) if rgb else (LITERATURE,)
    with progress(f"{Path(model).name} on {images.name}", len(images)) as (bar, task):

        def seen(label: str, sr: Image) -> None:
            if targets:
                _save(sr, targets[label], force)
            bar.advance(task)

        if subject is None:
            from edgesr.benchmarks.suite.ray_pool import RayPool
            from edgesr.benchmarks.suite.spread import evaluate_on

            report = evaluate_on(
                RayPool(ray), model, images, asked, protocols, runtime=runtime,
                seen=lambda _label: bar.advance(task),
            )  # fmt: skip
        else:
            report = evaluate(subject, images, asked, protocols, name=model, seen=seen)
    rows = report.rows()
    columns = {"image": "image", "psnr_y": "PSNR Y", "ssim_y": "SSIM Y"}
    columns |= {"bicubic_y": "bicubic", "gain_y": "gain", "lr": "LR"}
    if rgb:
        columns |= {"psnr_rgb": "PSNR RGB", "bicubic_rgb": "bicubic", "gain_rgb": "gain"}
    show_table(
        [_rounded(row) for row in (rows[-2:] if summary else rows)] if not as_json else rows,
        columns,
        title=f"{model} on {report.data}, x{scale_text(report.scale)}, {len(report.images)} images",
        footer="\n".join((*(f"protocol: {protocol}" for protocol in protocols), _LR)),
        as_json=as_json,
        extra={key: value for key, value in report.to_dict().items() if key != "rows"},
    )


def _subject(
    model: str, scale: Scale | None, runtime: str | None, threads: int | None
) -> Session | Upscaler:
    import os

    from edgesr.errors import UsageError
    from edgesr.evaluate import bicubic
    from edgesr.runtime import open_model

    if model != "bicubic":
        threads = threads or os.cpu_count() or 1
        return open_model(model, runtime=runtime, threads=threads, scale=scale)
    if scale is None:
        raise UsageError("bicubic has no scale of its own; give --scale")
    return bicubic(scale)


def _side_by_side(
    model: str, precisions: bool | None, source: str | None, target: str | None
) -> bool:
    from edgesr.runtime.session import QUANTIZED

    if precisions is None:
        return bool(source or target) or model.endswith(QUANTIZED)
    return precisions


def _show_precisions(
    model: str,
    data: str,
    source: str | None,
    target: str | None,
    runtime: str | None,
    threads: int | None,
    *,
    rgb: bool,
    save: Path | None,
    force: bool,
    summary: bool,
    as_json: bool,
) -> None:
    """Table of the four columns, and below it the same by image."""
    import os

    from edgesr.cli.output import progress, say, show_json, show_table
    from edgesr.data.datasets import dataset
    from edgesr.errors import UsageError
    from edgesr.manifest import manifest_path, read_manifest
    from edgesr.metrics.psnr import LITERATURE, RGB
    from edgesr.precisions import EXPORTED, RUNTIME, compare, four_columns
    from edgesr.quantize.store import load_model

    path = Path(model)
    artifacts = {}
    if manifest_path(path).exists():
        if source is None:
            raise UsageError(
                f"{path.name} alone does not tell what it was made of; name the quantized file or "
                "the network with --source"
            )
        facts = read_manifest(path)
        artifacts[RUNTIME if facts.precision.startswith("int") else EXPORTED] = path
        target = target or facts.target
    images = dataset(data)
    targets = _targets(images.labels, save, force)
    columns = four_columns(
        load_model(source or model), target=target, artifacts=artifacts, runtime=runtime,
        threads=threads or os.cpu_count() or 1,
    )  # fmt: skip
    with (
        progress(f"{path.name} on {images.name}", len(images)) as (bar, task),
        columns as sessions,
    ):

        def seen(label: str, sr: Image) -> None:
            if targets:
                _save(sr, targets[label], force)
            bar.advance(task)

        protocol = RGB if rgb else LITERATURE
        report = compare(sessions, images, protocol=protocol, name=path.name, seen=seen)
    if as_json:
        show_json(report.to_dict())
        return
    colour = protocol.colour
    title = f"{path.name} on {report.data}, x{report.scale}, {len(report.images)} images"
    if not summary:
        by_column = {column: column for column in report.runs_in}
        rows = [_in_db(row) for row in report.image_rows()]
        show_table(rows, {"image": f"PSNR {colour}"} | by_column, title=title)
    show_table(
        [_in_db(row) for row in report.rows()],
        {
            "column": "mean", "psnr": f"PSNR {colour}", "drop": "drop",
            "against_float": "PSNR against fp32", "identical": "same as the row above",
            "worst_image": "worst image", "worst_drop": "drop there", "runs_in": "runs in",
        },
        title=title if summary else "",
        footer=f"protocol: {protocol}",
    )  # fmt: skip
    if report.mirrored:
        say(
            f"edgesr: {len(report.mirrored)} images are smaller than a file's input and were "
            "mirrored to fill it; their borders differ whatever the precision"
        )


def _in_db(row: dict[str, object]) -> dict[str, object]:
    """dB with two digits; drops with three, since they are what int8 is judged by."""
    out: dict[str, object] = {}
    for key, value in row.items():
        if key == "identical":
            out[key] = f"{value:.2%}"
        else:
            digits = 3 if key.endswith("drop") else 2
            out[key] = f"{value:.{digits}f}" if isinstance(value, float) else value
    return out


def _targets(labels: tuple[str, ...], folder: Path | None, force: bool) -> dict[str, Path]:
    """Where each image goes; checked before the first is computed."""
    from edgesr.errors import OutputExistsError

    if folder is None:
        return {}
    targets = {label: folder / f"{label}.png" for label in labels}
    there = next((path for path in targets.values() if path.exists()), None)
    if there and not force:
        raise OutputExistsError(f"{there} exists; --force overwrites it")
    return targets


def _save(sr: Image, target: Path, force: bool) -> None:
    from edgesr.data.images import ImageFile, write_image

    write_image(ImageFile(sr), target, force=force)


def _rounded(row: dict[str, object]) -> dict[str, object]:
    """Papers print PSNR with two digits and SSIM with four."""
    out: dict[str, object] = {}
    for key, value in row.items():
        digits = 4 if key.startswith("ssim") else 2
        sign = "+" if key.startswith("gain") else ""
        out[key] = f"{value:{sign}.{digits}f}" if isinstance(value, float) else value
    return out
