"""`edgesr design`: the best plain network for a latency budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from edgesr.design import Found
    from edgesr.design.measure import OnDevice

_COLUMNS = {
    "network": "network", "depth": "depth", "channels": "channels", "parameters": "parameters",
    "gmacs": "GMAC", "predicted_ms": "predicted ms", "ms": "ms", "rank": "rank",
    "chosen": "chosen",
}  # fmt: skip


def design_command(
    scale: Annotated[int, typer.Option(help="Enlargement: 2, 3 or 4.")],
    budget: Annotated[str, typer.Option(help="Time per image, such as 8ms.")],
    device: Annotated[
        str, typer.Option(help="Where it has to run; `edgesr devices` lists what is here.")
    ] = "cpu",
    shape: Annotated[str, typer.Option(help="Low-resolution input, HEIGHTxWIDTH.")] = "360x640",
    runtime: Annotated[str, typer.Option(help="cpu: litert, ort or openvino.")] = "litert",
    threads: Annotated[int, typer.Option(min=1, help="Of the runtime.")] = 1,
    runs: Annotated[int, typer.Option(min=1, help="Timed runs of each network.")] = 30,
    out: Annotated[
        Path | None, typer.Option(help="Recipe to write; default: design-xSCALE-BUDGET-DEVICE.toml")
    ] = None,
    train: Annotated[bool, typer.Option("--train", help="Train the winner at once.")] = False,
    data: Annotated[
        list[Path] | None, typer.Option(help="--train: folder of photos; repeatable.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the recipe.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Choose depth and width of a plain network by measured latency, and write its recipe.

    A handful of sizes is exported with random weights in int8 and timed, a model predicts the
    rest, those near the budget are timed themselves: edgesr design --scale 3 --budget 40ms
    """
    import tempfile

    from edgesr.cli.export import parse_shape
    from edgesr.cli.output import progress, say, show_table
    from edgesr.design import SPACE, search
    from edgesr.design.measure import OnDevice
    from edgesr.design.recipe import recipe_text
    from edgesr.errors import OutputExistsError, UsageError
    from edgesr.manifest import write_atomically
    from edgesr.models import parse_name

    limit, size = _milliseconds(budget), parse_shape(shape, None)
    if size is None:
        raise UsageError("--shape is one size, HEIGHTxWIDTH: latency depends on it")
    parse_name(SPACE.members[0].name(scale))
    if bool(data) != train:
        raise UsageError("--train and --data go together: photos to train the winner on")
    path = out or Path(f"design-x{scale}-{limit:g}ms-{device.replace(':', '-')}.toml")
    if path.exists() and not force:
        raise OutputExistsError(f"{path} exists already; --force overwrites it")
    with tempfile.TemporaryDirectory() as folder, progress("design", None) as (bar, task):

        def tell(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        measure = OnDevice(
            scale, size, Path(folder), device=device, runtime=runtime, threads=threads, runs=runs,
            tell=tell,
        )  # fmt: skip
        measure.require()
        found = search(SPACE, limit, measure)
    network = found.chosen.name(scale)
    place = f"{shape} in int8 on {device}, {threads} thread(s), {measure.how}"
    why = f"{network}: {found.timed[found.chosen]:.1f} of {limit:g} ms, {place}.\n"
    why += f"edgesr design --scale {scale} --budget {budget} --device {device} --shape {shape}"
    write_atomically(
        path, recipe_text(network, why, target=measure.target.name, shape=size).encode()
    )
    rows = _rows(found, scale, size)
    notes = _notes(found, measure, scale)
    show_table(
        rows, _COLUMNS, footer=f"{place}. Rank: by quality to be expected, 1 is the best.",
        as_json=as_json,
        extra={"chosen": network, "recipe": path, "budget_ms": limit, "how": measure.how,
               "warnings": notes},
    )  # fmt: skip
    for note in notes:
        say(f"edgesr: {note}")
    say(f"wrote {path}")
    if train:
        from edgesr.cli.train import train_command

        train_command(str(path), data=data, threads=threads, force=force)
    else:
        say(f"train it: edgesr train {path} --data PHOTOS")


def _rows(found: Found, scale: int, shape: tuple[int, int]) -> list[dict[str, Any]]:
    from edgesr.analysis import analyse, sketch

    rows = []
    for rank, member in enumerate(found.table, 1):
        cost = analyse(sketch(member.name(scale)), *shape)
        rows.append({
            "network": member.name(scale), "depth": member.depth, "channels": member.channels,
            "parameters": cost.parameters, "gmacs": cost.macs / 1e9,
            "predicted_ms": found.predicted.get(member), "ms": found.timed[member], "rank": rank,
            "chosen": "chosen" if member == found.chosen else None,
        })  # fmt: skip
    return rows


def _notes(found: Found, measure: OnDevice, scale: int) -> list[str]:
    from edgesr.design import SPACE

    notes = list(measure.warnings)
    if found.chosen == SPACE.members[-1]:
        notes.append(
            f"{found.chosen.name(scale)} is the largest there is; the budget has room for more"
        )
    return notes


def _milliseconds(text: str) -> float:
    from edgesr.errors import UsageError

    number = text.strip().removesuffix("ms").strip()
    try:
        value = float(number)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise UsageError(f"--budget is a time above zero, such as 8ms, not `{text}`")
    return value
