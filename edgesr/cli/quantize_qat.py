"""`edgesr quantize qat`: train a network to live with 8 bits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgesr.data.images import Image
    from edgesr.quantize import QuantizedGraph


def qat_command(
    model: Annotated[
        str, typer.Argument(help="Shipped network, checkpoint, or a file of `quantize ptq`.")
    ],
    data: Annotated[list[Path], typer.Option(help="Folder of training images; repeatable.")],
    out: Annotated[Path, typer.Option(help="File to write: NAME.int8.safetensors.")],
    steps: Annotated[int, typer.Option(min=1)] = 1000,
    batch: Annotated[int, typer.Option(min=1, help="Patches per step.")] = 8,
    patch: Annotated[int, typer.Option(min=8, help="Side of an LR patch.")] = 32,
    rate: Annotated[float, typer.Option(help="Highest learning rate, in 8-bit steps.")] = 0.02,
    distil: Annotated[
        float,
        typer.Option(min=0, max=1, help="Learn from the float network (1) or the originals (0)."),
    ] = 0.5,
    ranges: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the steps that also learn ranges.")
    ] = 0.3,
    range_rate: Annotated[
        float, typer.Option(help="Their learning rate; ranges chosen badly need 0.02.")
    ] = 0.003,
    calibration: Annotated[
        Path | None,
        typer.Option(help="Folder of images for the ranges to start from; default: samples."),
    ] = None,
    cache: Annotated[
        Path, typer.Option(help="Folder for the decoded copies of the training images.")
    ] = Path("runs/cache"),
    validation: Annotated[
        int, typer.Option(min=1, help="How many images of the data are kept to validate on.")
    ] = 16,
    every: Annotated[int, typer.Option(min=1, help="Steps between validations.")] = 100,
    seed: Annotated[int, typer.Option()] = 0,
    threads: Annotated[int, typer.Option(min=1)] = 2,
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
    as_json: Annotated[bool, typer.Option("--json", help="Print figures as JSON.")] = False,
) -> None:
    """Quantization-aware training. The same command again resumes where it stopped.

    Values follow the integer arithmetic of the runtimes bit for bit, so the validation figure is
    the exported file's. The best step is kept; if none beats the start, the start is.
    """
    import torch

    from edgesr.cli.output import progress, say, show_table
    from edgesr.errors import OutputExistsError, UsageError
    from edgesr.quantize.qat import Options, adapt
    from edgesr.quantize.store import save
    from edgesr.train.loop import Progress
    from edgesr.train.patches import PatchCache

    if not out.name.endswith(".int8.safetensors"):
        raise UsageError(f"{out.name}: a quantized file is called NAME.int8.safetensors")
    if out.exists() and not force:
        raise OutputExistsError(f"{out} exists; --force overwrites it")
    torch.set_num_threads(threads)
    start = _start(model, calibration, architecture, scale, allow_border)
    network = start.network
    patches = PatchCache(data, int(network.scale), cache, kept=validation)  # type: ignore[arg-type]
    options = Options(
        steps=steps, batch=batch, patch=patch, rate=rate, distil=distil, ranges=ranges,
        range_rate=range_rate, every=every, seed=seed,
    )  # fmt: skip
    out.parent.mkdir(parents=True, exist_ok=True)
    with progress(f"training {network.name} in 8 bits", steps) as (bar, task):

        def report(state: Progress) -> None:
            bar.update(task, completed=state.step)
            say(str(state))

        outcome = adapt(
            start, patches, options,
            validation=patches.held_out(), state=out.with_name(out.name + ".state"),
            forbidden=_evaluation_images(), report=report,
        )  # fmt: skip
    save(outcome.quantized, out)
    if not outcome.improved:
        say(
            f"no step beat the start on validation; {out.name} holds the start as it was. More "
            "--steps or a smaller --rate may help"
        )
    row = {
        "float": outcome.float_psnr,
        "before": outcome.start_psnr,
        "after": outcome.best_psnr,
        "drop": outcome.float_psnr - outcome.best_psnr,
        "step": outcome.best_step,
        "seconds_per_step": outcome.seconds_per_step,
        "file": str(out),
    }
    columns = {
        "float": "float, dB", "before": "int8 before", "after": "int8 after", "drop": "drop",
        "step": "best step", "file": "file",
    }  # fmt: skip
    footer = f"{len(patches.held_out())} images kept from training; {outcome.protocol}"
    show_table(
        [row], columns, title=f"{network.name} in int8", footer=footer, as_json=as_json,
        extra={"protocol": outcome.protocol},
    )  # fmt: skip


def _start(
    model: str,
    calibration: Path | None,
    architecture: str | None,
    scale: int | None,
    allow_border: bool,
) -> QuantizedGraph:
    """A quantized file as it is; anything else after post-training quantization."""
    from dataclasses import replace

    from edgesr.data.datasets import calibration_images, calibration_samples
    from edgesr.export.pipeline import prepare
    from edgesr.quantize import QuantizedGraph, quantize
    from edgesr.quantize.store import load_model

    loaded = load_model(model, architecture=architecture, scale=scale)
    if isinstance(loaded, QuantizedGraph):
        return loaded
    lowered, plain, certificate = prepare(loaded, allow_border=allow_border)
    images = calibration_images(calibration) if calibration else calibration_samples()
    return replace(quantize(lowered, plain, images), certificate=certificate.to_dict())


def _evaluation_images() -> Iterator[Image]:
    """Of the benchmarks that are on this machine: nobody may train on those."""
    from edgesr.data.datasets import NAMES, dataset
    from edgesr.errors import BadFileError

    for name in NAMES:
        try:
            images = dataset(name)
        except BadFileError:
            continue
        yield from (image for _, image in images)
