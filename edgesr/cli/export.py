"""`edgesr export`: network to phone model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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
    target: Annotated[
        str,
        typer.Option(
            help="tflite, onnx, openvino, ncnn; or an NPU, whose compiler runs too: ethos-u55-256, "
            "ethos-u65-512, ethos-u85-512, rk3588, hexagon-v73, ..."
        ),
    ] = "tflite",
    precision: Annotated[
        str | None,
        typer.Option(
            help="fp32 (default), fp16, int8, or int16x8 (16-bit activations, 8-bit weights); "
            "quantized files have theirs, NPUs int8."
        ),
    ] = None,
    shape: Annotated[
        str | None,
        typer.Option(
            help="Low-resolution input HEIGHTxWIDTH, or dynamic. TFLite and NPUs: 360x640."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path(),
    calibration: Annotated[
        Path | None, typer.Option(help="Folder of images for int8; default: shipped samples.")
    ] = None,
    split: Annotated[
        bool,
        typer.Option(
            "--split", help="int8: split sums, PReLUs, gates and clips: closer to float, slower."
        ),
    ] = False,
    io: Annotated[
        str | None,
        typer.Option(help="int8 models: uint8 (default), int8 (Ethos-U's default) or float ends."),
    ] = None,
    require_full: Annotated[
        bool, typer.Option("--require-full", help="NPUs: fail if operators stay on a CPU.")
    ] = False,
    architecture: Annotated[
        str | None, typer.Option(help="Network of a checkpoint, when its keys do not tell.")
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(
            help="Enlargement, where name and weights leave it open: 2, 1.5, 2.2x4.2 (height x "
            "width); several for one TFLite file with a signature each: 2,3,4; `any` for an ONNX "
            "or OpenVINO file that takes it as an input."
        ),
    ] = None,
    allow_border: Annotated[
        bool, typer.Option("--allow-border", help="Collapse even where border pixels change.")
    ] = False,
    training: Annotated[
        bool,
        typer.Option(
            "--training",
            help="TFLite file that learns on the phone (mzsr-x2; needs TensorFlow, docs/adapt.md).",
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest.")] = False,
) -> None:
    """Collapse, lower, quantize, write and check a model file with its manifest."""
    from edgesr.cli.output import say, show_json, show_table
    from edgesr.data.datasets import calibration_images
    from edgesr.errors import UsageError
    from edgesr.export import export
    from edgesr.quantize.store import load_model
    from edgesr.scales import parse_scale
    from edgesr.targets import find_target

    several = scale == "any" or (scale is not None and "," in scale)
    if split and (training or several):
        raise UsageError("--split is for int8 files of one scale")
    if training:
        _export_training(
            model, target, precision, parse_shape(shape, (128, 128)), out, force=force,
            as_json=as_json,
        )  # fmt: skip
        return
    default = None if find_target(target).dynamic else (360, 640)
    if scale is not None and several:
        _export_many(
            model, scale, target, precision or "fp32", parse_shape(shape, default), out,
            io=io or "uint8", force=force, as_json=as_json,
        )  # fmt: skip
        return
    artifact = export(
        load_model(model, architecture=architecture, scale=parse_scale(scale) if scale else None),
        target=target,
        precision=precision,
        shape=parse_shape(shape, default),
        out=out,
        calibration=calibration_images(calibration) if calibration else None,
        split=split,
        io=io,
        allow_border=allow_border,
        require_full=require_full,
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
    if manifest.compiled:
        for line in describe_compiled(manifest.compiled):
            say(line)


def describe_compiled(compiled: dict[str, Any]) -> list[str]:
    """What an NPU's compiler said, in lines for the terminal."""
    left = compiled["placement"]["on_cpu"] or []
    files = ", ".join(compiled["files"]) or "no binary"
    lines = [f"{compiled['tool']} for {compiled['chip']}: {files}"]
    estimate = compiled["estimate"]
    if "ms" in estimate:
        lines.append(
            f"estimate: {estimate['ms']:.1f} ms at {estimate['clock_mhz']:g} MHz, "
            f"{estimate['sram_kib']:.0f} KiB SRAM ({estimate['system']}, {estimate['memory']})"
        )
    elif "cycles" in estimate:
        lines.append(f"estimate: {estimate['cycles']} cycles")
    kinds = ", ".join(dict.fromkeys(left))
    lines.append(f"left on the CPU, not in any estimate: {kinds}" if left else "all on the NPU")
    lines += [f"why: {reason}" for reason in compiled["reasons"].values()]
    parity = compiled.get("parity")
    if parity:
        far = "" if parity["psnr"] is None else f", {parity['psnr']:.1f} dB"
        lines.append(
            f"in the vendor's simulator: {100 * parity['identical']:.4g} % identical, at most "
            f"{parity['max_lsb']} codes from the {parity['reference']}{far}"
        )
    return lines


def _export_training(
    model: str,
    target: str,
    precision: str | None,
    shape: tuple[int, int] | None,
    out: Path,
    *,
    force: bool,
    as_json: bool,
) -> None:
    from edgesr.cli.output import show_table
    from edgesr.errors import UsageError
    from edgesr.export.training import export_training
    from edgesr.models.intake import load

    if target != "tflite" or precision not in (None, "fp32") or shape is None:
        raise UsageError("--training writes TFLite files in fp32 of one size: give --shape 128x128")
    written = export_training(load(model), shape=shape, out=out, force=force)
    row = {
        "file": str(written.path),
        "operators": sum(written.operators.values()),
        "size": f"{written.path.stat().st_size / 1024:.0f} KiB",
        "one step": f"within {written.difference:.1g} of torch's, which moved the image by "
        f"{written.moved:.2g}",
    }
    show_table([row], title=f"{model}, learning in LiteRT", as_json=as_json)


def _export_many(
    model: str,
    scale: str,
    target: str,
    precision: str,
    shape: tuple[int, int] | None,
    out: Path,
    *,
    io: str,
    force: bool,
    as_json: bool,
) -> None:
    """One file for several scales."""
    from edgesr.cli.output import show_table
    from edgesr.errors import UsageError
    from edgesr.models.intake import load
    from edgesr.scales import parse_scale, scale_text

    if scale == "any":
        from edgesr.export.any_scale import export_any_scale

        if precision != "fp32":
            raise UsageError(f"a file that takes the scale as an input is fp32, not {precision}")
        written = export_any_scale(load(model, scale=2), target=target, out=out, force=force)
        rows = [
            {"file": str(written.path), "scale": f"x{scale_text(at)}", "parity": f"{value:.1e}"}
            for at, value in written.differences.items()
        ]
        title = f"{model}, the scale is an input; largest difference from torch, of the range"
        show_table(rows, title=title, as_json=as_json)
        return
    from edgesr.export.scales import export_scales

    if target != "tflite" or shape is None:
        raise UsageError("several scales in one file are signatures of TFLite: --target tflite")
    networks = [load(model, scale=parse_scale(one)) for one in scale.split(",")]
    merged = export_scales(networks, shape=shape, out=out, precision=precision, io=io, force=force)
    row = {
        "file": str(merged.path),
        "signatures": ", ".join(merged.signatures),
        "size": f"{merged.size / 1024:.0f} KiB",
        "apart": f"{merged.apart / 1024:.0f} KiB",
    }
    show_table([row], title=f"{model}, a signature per scale", as_json=as_json)
