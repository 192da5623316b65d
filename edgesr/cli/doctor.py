"""`edgesr doctor`: what int8 does to a network, which layer does it, and the command that helps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgesr.data.datasets import Dataset
    from edgesr.quantize.doctor import Diagnosis, Sample

_LAYERS, _NOTICES = 6, 8
"""Rows in the terminal; the page and `--json` have all."""


def doctor_command(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|ARTIFACT",
            help="Shipped network (plain-m-x3), checkpoint, .int8.safetensors, module:factory; or "
            "an exported int8 file.",
        ),
    ],
    target: Annotated[
        str | None, typer.Option(help="tflite, onnx or openvino; a file knows its own.")
    ] = None,
    data: Annotated[
        str,
        typer.Option(help="Photos to look at: folder, image, set5 ..., samples (shipped)."),
    ] = "samples",
    low_resolution: Annotated[
        bool,
        typer.Option("--low-resolution", help="DATA are inputs as they are, no ground truth."),
    ] = False,
    source: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Of an exported file: what it was made from."),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Folder of images for int8; default: shipped samples.")
    ] = None,
    treated: Annotated[
        bool,
        typer.Option(
            "--treated", help="Quantize a network as export does, healing what can be healed."
        ),
    ] = False,
    architecture: Annotated[
        str | None, typer.Option(help="Network of a checkpoint, when its keys do not tell.")
    ] = None,
    scale: Annotated[
        int | None, typer.Option(help="Enlargement, where the weights do not tell.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, help="How long to look.")] = 60.0,
    out: Annotated[
        Path | None, typer.Option(help="Write the report, one HTML page with pictures.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the report.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Examine int8: per-layer SQNR, saturation, channel ranges, tint, banding, and what to do.

    `edgesr doctor plain-m-x3 --out report.html`
    """
    from edgesr.cli.output import progress, say, show_json
    from edgesr.data.datasets import calibration_images, dataset
    from edgesr.errors import OutputExistsError, UsageError
    from edgesr.manifest import read_manifest
    from edgesr.quantize.doctor import Budget, examine
    from edgesr.quantize.doctor.artifact import examine_artifact
    from edgesr.quantize.doctor.diagnosis import MODEL
    from edgesr.quantize.doctor.examine import BARE
    from edgesr.quantize.ptq import Recipe
    from edgesr.quantize.scheme import QuantizedGraph
    from edgesr.quantize.store import load_model
    from edgesr.targets import find_target

    if out is not None and out.exists() and not force:
        raise OutputExistsError(f"{out} exists; --force overwrites it")
    if target is not None:
        find_target(target)
    images = dataset(data)
    artifact = _artifact(model)
    budget = Budget(seconds)
    with progress(f"examining {Path(model).name}", 100) as (bar, task):

        def report(share: float) -> None:
            bar.update(task, completed=round(100 * share))

        if artifact is not None:
            facts = read_manifest(artifact)
            if target not in (None, facts.target):
                raise UsageError(f"{artifact} was exported for {facts.target}, not for {target}")
            origin = None if source is None else load_model(source)
            diagnosis = examine_artifact(
                artifact, _samples(images, facts.scale, low_resolution), source=origin,
                report=report, data=images.name, images=len(images), budget=budget,
            )  # fmt: skip
        else:
            if source is not None:
                raise UsageError("--source names what an exported file was made from")
            subject = load_model(model, architecture=architecture, scale=scale)
            network = subject.network if isinstance(subject, QuantizedGraph) else subject
            diagnosis = examine(
                subject, _samples(images, network.scale, low_resolution),
                target=target or "tflite", model=model, ptq_of="" if network is subject else MODEL,
                report=report,
                recipe=Recipe() if treated else BARE,
                calibration=calibration_images(calibration) if calibration else None,
                data=images.name, images=len(images), budget=budget,
            )  # fmt: skip
    if out is not None:
        from edgesr.quantize.doctor.report import write

        write(diagnosis, out)
        say(f"wrote {out}")
    if as_json:
        show_json(diagnosis.to_dict())
        return
    _show(diagnosis)


def _artifact(model: str) -> Path | None:
    """The path, if it is an exported file rather than a checkpoint."""
    from edgesr.manifest import manifest_path
    from edgesr.runtime.session import is_artifact

    path = Path(model)
    if is_artifact(path) and (manifest_path(path).exists() or path.suffix != ".tflite"):
        return path
    return None


def _samples(
    images: Dataset, scale: int | tuple[float, float], low_resolution: bool
) -> Iterator[Sample]:
    from edgesr.errors import BadFileError, UnsupportedError
    from edgesr.evaluate import low_resolution as shrink
    from edgesr.quantize.doctor import Sample

    if not isinstance(scale, int):
        raise UnsupportedError(f"a scale of {scale}: the doctor knows whole ones only")
    for label, image in images:
        if low_resolution:
            yield Sample(label, image)
            continue
        if min(image.shape[:2]) < 2 * scale:
            raise BadFileError(
                f"{label} is {image.shape[1]}x{image.shape[0]}: too small to shrink by {scale}"
            )
        yield Sample(label, *shrink(image, scale))


def _show(diagnosis: Diagnosis) -> None:
    from edgesr.cli.output import show_table
    from edgesr.quantize.doctor import Severity

    if diagnosis.layers:
        rows = [
            {
                "layer": layer.name, "kind": layer.kind, "alone": f"{layer.sqnr_alone:.1f}",
                "accumulated": f"{layer.sqnr_accumulated:.1f}",
                "picture": "-" if layer.impact is None else f"{layer.impact:.1f}",
                "saturated": f"{100 * layer.saturation:.2g} %",
                "channels": f"{layer.range_ratio:.1f}", "codes": f"{100 * layer.codes_used:.0f} %",
            }
            for layer in diagnosis.worst_layers(_LAYERS)
        ]  # fmt: skip
        headings = {
            "layer": "layer", "kind": "kind", "alone": "SQNR alone", "accumulated": "accumulated",
            "picture": "picture alone", "saturated": "saturated", "channels": "channels max/median",
            "codes": "codes used",
        }  # fmt: skip
        show_table(rows, headings, title=f"{diagnosis.network}: layers that cost most, dB")
    problems = [f for f in diagnosis.findings if f.severity == Severity.PROBLEM]
    notices = [f for f in diagnosis.findings if f.severity == Severity.NOTICE]
    fine = [f for f in diagnosis.findings if f.severity == Severity.OK]
    hidden = len(notices) - _NOTICES
    rows = [
        {
            "severity": finding.severity.name.lower(), "rule": finding.rule,
            "layer": finding.layer, "figure": finding.figure,
            "cause": "\n".join(filter(None, (finding.cause, finding.command))),
        }
        for finding in (*problems, *notices[:_NOTICES], *fine)
    ]  # fmt: skip
    headings = {
        "severity": "", "rule": "looked at", "layer": "layer", "figure": "figure",
        "cause": "cause, and the command that helps",
    }  # fmt: skip
    more = [f"{hidden} more notices are in --out and --json"] if hidden > 0 else []
    title = f"{diagnosis.subject} for {diagnosis.target}, int8 on {diagnosis.data}"
    show_table(rows, headings, title=title, footer="\n".join([*more, *diagnosis.notes]))
