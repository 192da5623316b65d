"""`edgesr adapt`: enlarge one picture with a network that learns from it first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgesr.data.degradations.gaussian import Kernel, Method
    from edgesr.data.images import Image
    from edgesr.models.mzsr import MZSR
    from edgesr.network import Network

_SELF_TRAINED = "zssr-x"


def adapt_command(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Picture.")],
    target: Annotated[
        Path | None, typer.Argument(metavar="OUT", help="Default: IN-x2.png beside it.")
    ] = None,
    model: Annotated[
        str,
        typer.Option(help="mzsr-x2, a checkpoint of it, or zssr-x2: nothing learned before."),
    ] = "mzsr-x2",
    kernel: Annotated[
        str, typer.Option(help="Blur of the picture: a .npy file with its kernel, or estimate.")
    ] = "estimate",
    steps: Annotated[
        int | None,
        typer.Option(min=0, help="Gradient steps. Default: 1; zssr-x2: 3000."),
    ] = None,
    reduction: Annotated[
        str, typer.Option(help="What followed the blur: direct (every 2nd pixel) or bicubic.")
    ] = "direct",
    save_kernel: Annotated[
        Path | None, typer.Option(help="Write the kernel, as .npy: what was estimated.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Default: all cores.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Learn from one picture, then enlarge it: for pictures that are blurred, not just small.

    `edgesr adapt photo.png --kernel estimate --steps 1`
    """
    import os
    import time

    import torch

    from edgesr.adapt.step import placed
    from edgesr.cli.output import say, show_table
    from edgesr.data.images import check_output, read_image, write_image
    from edgesr.errors import UsageError
    from edgesr.metrics.consistency import lr_consistency
    from edgesr.runtime import NetworkSession, upscale

    if reduction not in ("direct", "bicubic"):
        raise UsageError(f"no reduction `{reduction}`; choose direct or bicubic")
    method: Method = reduction  # type: ignore[assignment]
    torch.set_num_threads(threads or os.cpu_count() or 1)
    picture = read_image(source)
    network, module = _network(model)
    scale = module.scale
    target = target or source.with_name(f"{source.stem}-x{scale}.png")
    height, width = picture.pixels.shape[:2]
    check_output(picture, target, height * scale, width * scale, force=force)
    for note in picture.notes:
        say(note)
    blur, how = _kernel(kernel, picture.pixels, scale)
    if save_kernel is not None:
        _save(blur, save_kernel, force=force)
    began = time.perf_counter()
    learned = _learned(module, model, picture.pixels, blur, method, steps)
    seconds = time.perf_counter() - began
    plain, pixels = (
        upscale(NetworkSession(network.with_module(each)), picture.pixels)
        for each in (placed(module, blur, method).eval(), learned)
    )
    write_image(picture.with_pixels(pixels), target, force=force)
    row = {
        "file": str(target),
        "kernel": how,
        "learning s": seconds,
        "LR before": lr_consistency(plain, picture.pixels, kernel=blur, method=method),
        "LR after": lr_consistency(pixels, picture.pixels, kernel=blur, method=method),
    }
    footer = "LR: PSNR of the output, blurred and reduced again, against the picture (dB)"
    show_table([row], title=f"{source.name} x{scale}", footer=footer, as_json=as_json)


def _network(model: str) -> tuple[Network, MZSR]:
    from edgesr.errors import UsageError
    from edgesr.models.intake import load
    from edgesr.models.mzsr import MZSR
    from edgesr.models.zssr import zssr
    from edgesr.network import Network

    if model.startswith(_SELF_TRAINED):
        scale = model.removeprefix(_SELF_TRAINED)
        if scale not in ("2", "3", "4"):
            raise UsageError(f"`{model}`: choose zssr-x2, zssr-x3 or zssr-x4")
        module = zssr(int(scale)).eval().requires_grad_(False)
        return Network(module, model, int(scale)), module
    network = load(model)
    if not isinstance(network.module, MZSR):
        raise UsageError(
            f"`{model}` does not adapt: its weights were not trained for it. Take mzsr-x2 or "
            "zssr-x2 (`edgesr upscale` runs the others)"
        )
    return network, network.module


def _kernel(given: str, image: Image, scale: int) -> tuple[Kernel, str]:
    """The blur, and a word on where it comes from."""
    from edgesr.adapt.estimate import estimate_kernel
    from edgesr.adapt.kernel import read_kernel

    if given != "estimate":
        kernel = read_kernel(Path(given))
        return kernel, f"{Path(given).name}, {kernel.shape[0]}x{kernel.shape[1]}"
    found = estimate_kernel(image, scale)
    widths = f"{found.lambda1**0.5:.2f} x {found.lambda2**0.5:.2f} px"
    return found.kernel(), f"estimated: {widths} at {found.theta * 57.2958:.0f} degrees"


def _save(kernel: Kernel, path: Path, *, force: bool) -> None:
    import numpy as np

    from edgesr.data.images import written_beside
    from edgesr.errors import OutputExistsError

    if path.exists() and not force:
        raise OutputExistsError(f"{path} exists; --force overwrites it")
    with written_beside(path) as file:
        np.save(file, kernel)


def _learned(
    module: MZSR,
    model: str,
    image: Image,
    kernel: Kernel,
    method: Method,
    steps: int | None,
) -> MZSR:
    from edgesr.adapt.self_training import SelfTraining, self_train
    from edgesr.adapt.step import adapt
    from edgesr.cli.output import progress

    if not model.startswith(_SELF_TRAINED):
        return adapt(module, image, kernel, 1 if steps is None else steps, method=method)
    schedule = SelfTraining() if steps is None else SelfTraining(steps=steps)
    learned = module
    with progress("learning from the picture", schedule.steps) as (bar, task):
        learners = self_train(module, image, kernel, schedule, method=method)
        for learned in learners:  # noqa: B007  (always the same one, a step further)
            bar.advance(task)
    return learned
