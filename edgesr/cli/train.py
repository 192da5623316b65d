"""`edgesr train`: from images to weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train_command(
    network: Annotated[str, typer.Argument(help="Registry name with scale: plain-m-x3.")],
    data: Annotated[list[Path], typer.Option(help="Folder of training images; repeatable.")],
    out: Annotated[Path, typer.Option(help="Folder of this run: state, log, weights.")],
    validation: Annotated[Path | None, typer.Option(help="Folder of HR validation images.")] = None,
    cache: Annotated[
        Path, typer.Option(help="Folder for the decoded copies of the images.")
    ] = Path("runs/cache"),
    steps: Annotated[int, typer.Option(min=1)] = 60_000,
    batch: Annotated[int, typer.Option(min=1, help="Patches per step.")] = 16,
    patch: Annotated[int, typer.Option(min=8, help="Side of an LR patch.")] = 48,
    rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 1e-3,
    seed: Annotated[int, typer.Option()] = 0,
    every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 1000,
    threads: Annotated[int, typer.Option(min=1)] = 2,
    start: Annotated[
        Path | None, typer.Option(help="Weights to start from instead of random ones.")
    ] = None,
) -> None:
    """Train a registered network. The same command again resumes where it stopped."""
    import torch
    from safetensors.torch import load_file, save_file

    from edgesr.cli.output import progress, say
    from edgesr.models import create
    from edgesr.train.loop import Progress, Schedule, train
    from edgesr.train.patches import PatchCache
    from edgesr.train.validation import PsnrOn

    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    built = create(network)
    if start is not None:
        built.module.load_state_dict(load_file(start))
    patches = PatchCache(data, int(built.scale), cache)  # type: ignore[arg-type]
    schedule = Schedule(steps=steps, batch=batch, patch=patch, rate=rate, seed=seed)
    with progress(f"training {built.name}", steps) as (bar, task):

        def report(state: Progress) -> None:
            bar.update(task, completed=state.step)
            quality = "" if state.validation is None else f", validation {state.validation:.3f} dB"
            say(f"step {state.step}: loss {state.loss:.5f}{quality}, {state.time_left} left")

        scale = patches.scale
        judge = PsnrOn.folder(validation, scale, built.colour) if validation else None
        average = train(
            built, patches, out, schedule, validation=judge, every=every, report=report
        )  # fmt: skip
    path = out / f"{built.name}.safetensors"
    facts = {"network": built.name, "steps": str(steps), "seed": str(seed)}
    weights = {name: value.contiguous() for name, value in average.state_dict().items()}
    save_file(weights, path, metadata=facts)
    say(f"wrote {path}")
