"""`edgesr export`: network to phone model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def parse_shape(text: str | None, default: tuple[int, int] | None) -> tuple[int, int] | None:
    """`360x640` to (360, 640); `dynamic` to None.

    Raises:
        UsageError: neither.
    """
    import re

    from edgesr.errors import UsageError

    if text is None:
        return default
    if text == "dynamic":
        return None
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise UsageError(f"`{text}` is no shape; write HEIGHTxWIDTH (360x640) or dynamic")
    return int(match[1]), int(match[2])


def export_command(
    model: Annotated[
        str,
        typer.Argument(
            help="Shipped network (ncnet-x3), checkpoint, module:factory, or quantized file "
            "(.int8.safetensors)."
        ),
    ],
    target: Annotated[str, typer.Option(help="tflite, onnx or openvino.")] = "tflite",
    precision: Annotated[
        str | None,
        typer.Option(
            help="fp32 (default), fp16, int8, or int16x8 (16-bit activations, 8-bit weights); "
            "quantized files have theirs."
        ),
    ] = None,
    shape: Annotated[
        str | None,
        typer.Option(help="Low-resolution input HEIGHTxWIDTH, or dynamic. TFLite: 360x640."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path(),
    calibration: Annotated[
        Path | None, typer.Option(help="Folder of images for int8; default: shipped samples.")
    ] = None,
    io: Annotated[str, typer.Option(help="int8 models: uint8, int8 or float ends.")] = "uint8",
    architecture: Annotated[
        str | None, typer.Option(help="Network of a checkpoint, when its keys do not tell.")
    ] = None,
    scale: Annotated[
        int | None, typer.Option(help="Enlargement, where the weights do not tell.")
    ] = None,
    allow_border: Annotated[
        bool, typer.Option("--allow-border", help="Collapse even where border pixels change.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest.")] = False,
) -> None:
    """Collapse, lower, quantize, write and check a model file with its manifest."""
    from edgesr.cli.output import say, show_json, show_table
    from edgesr.data.datasets import calibration_images
    from edgesr.export import export
    from edgesr.quantize.store import load_model

    artifact = export(
        load_model(model, architecture=architecture, scale=scale),
        target=target,
        precision=precision,
        shape=parse_shape(shape, (360, 640) if target == "tflite" else None),
        out=out,
        calibration=calibration_images(calibration) if calibration else None,
        io=io,
        allow_border=allow_border,
        force=force,
    )
    manifest = artifact.manifest
    if as_json:
        import dataclasses

        show_json(dataclasses.asdict(manifest))
        return
    for line in artifact.certificate.summary() if artifact.certificate else []:
        say(line)
    parity = manifest.parity
    unit = "codes" if manifest.precision.startswith("int") else "of the range"
    row = {
        "file": str(artifact.path),
        "operators": sum(manifest.operators.values()),
        "size": f"{manifest.size / 1024:.0f} KiB",
        "parity": f"{100 * parity['identical']:.4g} % identical, "
        f"at most {parity['max_difference']:.2g} {unit} from the {parity['reference']}",
    }
    show_table([row], title=f"{manifest.network} for {manifest.target}, {manifest.precision}")
