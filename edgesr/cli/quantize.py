"""`edgesr quantize`: calibrate, ptq, qat."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgesr.cli.quantize_qat import qat_command

if TYPE_CHECKING:
    from torch import fx

    from edgesr.collapse import Certificate
    from edgesr.network import Network
    from edgesr.quantize.mixed import MixedPlan
    from edgesr.quantize.scheme import QuantizedGraph

app = typer.Typer(
    help="From float to 8 bits: see what tensors hold, choose integers, train with them.",
    no_args_is_help=True,
)

Model = Annotated[str, typer.Argument(help="Shipped network, checkpoint file, or module:factory.")]
Architecture = Annotated[
    str | None, typer.Option(help="Network of a checkpoint, when its keys do not tell.")
]
Scale = Annotated[int | None, typer.Option(help="Enlargement, where the weights do not tell.")]
AllowBorder = Annotated[
    bool, typer.Option("--allow-border", help="Collapse even where border pixels change.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite.")]
Data = Annotated[
    Path | None, typer.Option(help="Folder of low-resolution photos; default: shipped samples.")
]
Observer = Annotated[
    str,
    typer.Option(help="Ranges by: output, mse, minmax, moving-average, percentile or kl."),
]
Split = Annotated[
    bool,
    typer.Option(
        "--split", help="Split sums, PReLUs, gates and clips: closer to float, and slower."
    ),
]


@app.command("calibrate", no_args_is_help=True)
def calibrate_command(
    model: Model,
    out: Annotated[Path, typer.Option(help="File of statistics to write: stats.json.")],
    data: Data = None,
    observer: Observer = "output",
    equalize: Annotated[bool, typer.Option(help="Give every channel its share of codes.")] = True,
    split: Split = False,
    plot: Annotated[
        Path | None, typer.Option(help="Page of histograms with the chosen ranges: stats.html.")
    ] = None,
    architecture: Architecture = None,
    scale: Scale = None,
    allow_border: AllowBorder = False,
    force: Force = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the ranges as JSON.")] = False,
) -> None:
    """See what every tensor holds on photos. The same command again resumes where it stopped.

    The file serves every observer: `edgesr quantize ptq MODEL --statistics stats.json`.
    """
    from edgesr.cli.output import say, show_table
    from edgesr.data.datasets import calibration_images, calibration_samples
    from edgesr.data.fingerprints import evaluation_hashes
    from edgesr.quantize import statistics
    from edgesr.quantize.clipping import SPLIT, WHOLE
    from edgesr.quantize.plot import rows_of, write_page
    from edgesr.quantize.ranges import check_observer
    from edgesr.quantize.split import split as split_graph

    check_observer(observer)
    for path in filter(None, (out, plot)):
        _check_free(path, force)
    lowered, network, _ = _prepare(model, architecture, scale, allow_border)
    if split:
        lowered = split_graph(lowered)
    out.parent.mkdir(parents=True, exist_ok=True)
    with _bar() as report:
        seen = statistics.calibrate(
            lowered, network, calibration_images(data) if data else calibration_samples(), out,
            forbidden=evaluation_hashes(), equalized=equalize, costs=SPLIT if split else WHOLE,
            report=report,
        )  # fmt: skip
    rows = rows_of(seen, network, observer)
    if plot is not None:
        write_page(plot, rows, seen, network, observer)
        say(f"wrote {plot}")
    columns = {
        "layer": "layer", "tensor": "tensor", "low": "lowest", "high": "highest",
        "from": "codes from", "to": "to", "outside": "outside, %",
    }  # fmt: skip
    footer = (
        f"{len(seen.photos.hashes)} photos, {seen.patches} patches; {seen.classes} channel classes "
        f"equalized; wrote {out}"
    )
    title = f"{network.name}: what its tensors hold, ranges by {observer}"
    plain = [{key: row[key] for key in columns} for row in rows]
    show_table(plain, columns, title=title, footer=footer, as_json=as_json)


@app.command("ptq", no_args_is_help=True)
def ptq_command(
    model: Model,
    out: Annotated[Path, typer.Option(help="File to write: NAME.int8.safetensors.")],
    data: Data = None,
    statistics: Annotated[
        Path | None, typer.Option(help="File of `quantize calibrate`, in place of --data.")
    ] = None,
    observer: Observer = "output",
    equalize: Annotated[bool, typer.Option(help="Give every channel its share of codes.")] = True,
    split: Split = False,
    rounding: Annotated[
        bool, typer.Option(help="Round weights by the layer's output, not to the nearest.")
    ] = True,
    bias_correction: Annotated[
        bool, typer.Option(help="Take the mean error of every channel out of its bias.")
    ] = True,
    max_drop: Annotated[
        float | None,
        typer.Option(help="dB: keep the fewest layers in float that lose no more than this."),
    ] = None,
    architecture: Architecture = None,
    scale: Scale = None,
    allow_border: AllowBorder = False,
    force: Force = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Choose integers for a trained network. Its file goes into `edgesr export`, `eval`, `doctor`.

    `--max-drop` judges on the shipped evaluation samples, or on --data.
    """
    from dataclasses import replace

    from edgesr.cli.output import say, show_table
    from edgesr.data.datasets import calibration_images, calibration_samples
    from edgesr.data.fingerprints import evaluation_hashes
    from edgesr.errors import UsageError
    from edgesr.quantize.ptq import Recipe, quantize, quantize_observed
    from edgesr.quantize.split import split as split_graph
    from edgesr.quantize.split import splits
    from edgesr.quantize.statistics import read
    from edgesr.quantize.store import save

    if not out.name.endswith(".int8.safetensors"):
        raise UsageError(f"{out.name}: a quantized file is called NAME.int8.safetensors")
    if data is not None and statistics is not None:
        raise UsageError("--data and --statistics both say what to calibrate on; give one")
    _check_free(out, force)
    recipe = Recipe(observer, equalize, rounding, bias_correction, split)
    lowered, network, certificate = _prepare(model, architecture, scale, allow_border)
    with _bar() as report:
        if statistics is not None:
            seen = read(statistics, split_graph(lowered) if split else lowered)
            quantized = quantize_observed(seen, network, recipe=recipe, report=report)
        else:
            quantized = quantize(
                lowered, network, calibration_images(data) if data else calibration_samples(),
                forbidden=evaluation_hashes(), recipe=recipe, report=report,
            )  # fmt: skip
    quantized = replace(quantized, certificate=certificate.to_dict())
    plan = None
    if max_drop is not None:
        plan = _within(quantized, max_drop, data)
        quantized = plan.quantized
    out.parent.mkdir(parents=True, exist_ok=True)
    save(quantized, out)
    for line in plan.summary() if plan else []:
        say(line)
    if plan and plan.layers and not split and splits(lowered):
        say("--split --max-drop may need fewer of them in float: see docs/quantize.md")
    row: dict[str, Any] = {
        "file": str(out),
        "convolutions": len(quantized.weights),
        "photos": len(quantized.calibration["images"]),
        "done": "; ".join(quantized.calibration["steps"]),
    }
    extra = {"mixed": plan.to_dict()} if plan else None
    show_table([row], title=f"{network.name} in int8", as_json=as_json, extra=extra)


def _within(quantized: QuantizedGraph, max_drop: float, data: Path | None) -> MixedPlan:
    """Float islands, judged on photos and timed in LiteRT at 180x320."""
    from edgesr.cli.output import say
    from edgesr.data.datasets import dataset
    from edgesr.export.timing import Stopwatch
    from edgesr.quantize.mixed import search

    photos = [image for _, image in dataset(str(data) if data else "samples")]
    return search(
        quantized, quantized.network, max_drop, photos, Stopwatch("tflite", (180, 320)), report=say
    )


def _prepare(
    model: str, architecture: str | None, scale: int | None, allow_border: bool
) -> tuple[fx.GraphModule, Network, Certificate]:
    from edgesr.export.pipeline import prepare
    from edgesr.models.intake import load

    return prepare(load(model, architecture=architecture, scale=scale), allow_border=allow_border)


def _check_free(path: Path, force: bool) -> None:
    from edgesr.errors import OutputExistsError

    if path.exists() and not force:
        raise OutputExistsError(f"{path} exists; --force overwrites it")


@contextmanager
def _bar() -> Iterator[Callable[[str, int, int], None]]:
    from edgesr.cli.output import progress

    with progress("reading photos", None) as (bar, task):

        def report(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total or None)

        yield report


app.command("qat", no_args_is_help=True)(qat_command)
