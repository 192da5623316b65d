"""`edgesr train`: from photos to weights, and to a phone model where the recipe says so."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgesr.recipes import Outcome, Recipe
    from edgesr.recipes.running import Reported


def train_command(
    recipe: Annotated[
        str, typer.Argument(help="Recipe file, shipped recipe (`list` names them), or network.")
    ],
    data: Annotated[
        list[Path] | None, typer.Option(help="Folder of training photos; repeatable.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of this run; default: runs/ and the recipe's name.")
    ] = None,
    validation: Annotated[
        str | None, typer.Option(help="Image set or folder to measure on.")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE over the recipe's: steps=1000, qat.rate=0.01."),
    ] = None,
    cache: Annotated[
        Path, typer.Option(help="Folder for the decoded copies of the photos.")
    ] = Path("runs/cache"),
    steps: Annotated[int | None, typer.Option(min=1, help="Of every stage.")] = None,
    seed: Annotated[int | None, typer.Option()] = None,
    threads: Annotated[int, typer.Option(min=1)] = 2,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the exported file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Train a recipe or a network. The same command again goes on where it stopped.

    Several processes, one per GPU or socket: torchrun --nproc-per-node 2 --no-python edgesr train …
    """
    import dataclasses
    import os

    import torch

    from edgesr.cli.output import say, show_json, show_table
    from edgesr.recipes import read, run, shipped

    if recipe == "list":
        rows = [{"recipe": name, "network": read(name).network} for name in shipped()]
        show_table(rows, title="shipped recipes", as_json=as_json)
        return
    torch.set_num_threads(threads)
    settings = [*(setting or ()), *([f"steps={steps}"] if steps else ())]
    folders = [str(folder) for folder in data] if data else None
    chosen = read(recipe, settings, data=folders, validation=validation, seed=seed)
    folder = out or Path("runs") / Path(recipe).stem
    with _Bars(chosen) as bars:
        outcome = run(chosen, folder, cache=cache, report=bars.report, force=force)
    if int(os.environ.get("RANK", "0")) > 0:
        return  # the first of several processes speaks for all
    if as_json:
        show_json(dataclasses.asdict(outcome))
        return
    for line in _lines(outcome):
        say(line)


class _Bars:
    """One progress bar per stage, and a line per report."""

    def __init__(self, recipe: Recipe) -> None:
        from contextlib import ExitStack

        self._network = recipe.network
        self._stack, self._now = ExitStack(), ""

    def __enter__(self) -> _Bars:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def report(self, stage: str, progress: Reported) -> None:
        from edgesr.cli.output import progress as bar_of
        from edgesr.cli.output import say

        if stage != self._now:
            self._stack.close()
            title = f"{self._network}, {stage}"
            self._bar, self._task = self._stack.enter_context(bar_of(title, progress.steps))
            self._now = stage
        self._bar.update(self._task, completed=progress.step)
        say(f"{stage}: {progress}")


def _lines(outcome: Outcome) -> list[str]:
    quality = [] if outcome.validation is None else [f"{outcome.validation:.3f} dB"]
    lines = [f"wrote {outcome.weights} {' '.join(quality)}".rstrip()]
    if outcome.quantized:
        lines.append(f"wrote {outcome.quantized} {outcome.int8:.3f} dB in int8")
    if outcome.artifact:
        lines.append(f"wrote {outcome.artifact}, checked against the network")
    return [*lines, f"PSNR: {outcome.protocol}"]
