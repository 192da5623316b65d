"""`edgesr bench`: how fast, measured so that it can be believed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

_COLUMNS = {
    "artifact": "artifact", "io": "in/out", "runtime": "runtime", "threads": "threads",
    "median_ms": "median ms", "p90_ms": "p90", "p99_ms": "p99", "spread_percent": "spread %",
    "peak_mb": "peak MB", "ms_per_megapixel": "ms/Mpixel", "gmac_per_s": "GMAC/s",
    "percent_of_peak": "% of GEMM",
}  # fmt: skip

_DEVICE_COLUMNS = {
    "artifact": "artifact", "device": "device", "runtime": "runtime", "label": "figures are",
    "median_ms": "median ms", "p90_ms": "p90", "estimate_ms": "estimate ms",
    "placement": "on the device", "parity": "parity",
}  # fmt: skip


def bench_command(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="ARTIFACT|MODEL...",
            help="Exported files (.tflite, .onnx, .xml), or names and checkpoints of networks, "
            "which torch runs.",
        ),
    ],
    device: Annotated[
        str,
        typer.Option(help="Where to run: `cpu` is this machine, `edgesr devices` lists the rest."),
    ] = "cpu",
    threads: Annotated[str, typer.Option(help="Numbers of threads, such as `1,2`.")] = "1",
    runtime: Annotated[
        str,
        typer.Option(
            help="litert, ort, openvino, torch; comma-separated. Default: all that open it."
        ),
    ] = "",
    shape: Annotated[
        str, typer.Option(help="Input HEIGHTxWIDTH of models that take any; 360x640 if not given.")
    ] = "",
    runs: Annotated[int, typer.Option(help="Timed runs of each.")] = 30,
    warm_up: Annotated[int, typer.Option(help="Untimed runs of each before the first.")] = 3,
    processes: Annotated[
        int, typer.Option(help="Fresh processes per model on a device; 0: the device's own number.")
    ] = 0,
    tool: Annotated[
        Path | None, typer.Option(help="adb: a benchmark_model of your own, built for the phone.")
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="web: let another browser, a phone's, do the runs.")
    ] = False,
    host: Annotated[
        str, typer.Option(help="--serve: address to listen on; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="--serve: port; 0 takes a free one.")] = 0,
    require_full: Annotated[
        bool, typer.Option("--require-full", help="Fail if a device leaves operators to a CPU.")
    ] = False,
    memory: Annotated[
        bool, typer.Option(help="Measure peak memory too, in a child process each (seconds).")
    ] = True,
    out: Annotated[
        Path | None, typer.Option(help="Write everything, raw samples included, as JSON.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite --out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Time models against each other, and against the machine.

    All artifacts, runtimes and thread counts take turns in one run, in a new random order every
    round, and the rate of plain matrix products is measured in the same turns: `% of GEMM` is the
    share of it that a model reaches. `edgesr bench plain-m-x3_int8_360x640.tflite --threads 1,2`
    """
    from edgesr.benchmarks.harness import Plan
    from edgesr.cli.output import progress, say, show_table
    from edgesr.errors import OutputExistsError, UsageError

    if out is not None and out.exists() and not force:
        raise OutputExistsError(f"{out} exists already; --force overwrites it")
    plan = Plan(runs=runs, warm_up=warm_up)
    counts, size = _numbers(threads), _shape(shape)

    from edgesr.benchmarks.cpu import bench
    from edgesr.benchmarks.devices import open_device
    from edgesr.benchmarks.devices.bench import bench_on
    from edgesr.benchmarks.entrants import line_up
    from edgesr.benchmarks.results import write_result

    names = [name.strip() for name in runtime.split(",") if name.strip()]
    where = None if device == "cpu" else open_device(device, tool=tool)
    if where is not None:
        _check_for_device(device, names, counts, size)
    if serve and (where is None or not device.startswith("web")):
        raise UsageError("--serve is for --device web")
    if where is None and (require_full or processes or tool):
        raise UsageError("--require-full, --processes and --tool are for devices, not for cpu")
    entrants = [] if where else line_up(models, runtimes=names, threads=counts, shape=size)
    with progress("bench", None) as (bar, task):

        def show(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        if serve:
            from edgesr.benchmarks.devices.web_serve import serve as serve_browsers

            result = serve_browsers(
                models, plan, threads=counts[0], host=host, port=port,
                tell=lambda text: say(f"edgesr: {text}"),
            )  # fmt: skip
        elif where is None:
            result = bench(entrants, plan, memory=memory, progress=show)
        else:
            result = bench_on(
                where, models, plan, threads=counts[0], processes=processes or None,
                require_full=require_full, progress=show,
            )  # fmt: skip
    if out is not None:
        write_result(result, out, force=force)
    rows = result.table()
    peaks: dict[str, float] = {}
    for peak in result.peaks:
        kind = f"{peak.arithmetic} x{peak.threads}"
        peaks[kind] = max(peak.rate, peaks.get(kind, 0))
    show_table(
        rows if as_json else [_readable(row) for row in rows],
        _DEVICE_COLUMNS if where else _COLUMNS,
        footer=_footer(peaks),
        as_json=as_json,
        extra={
            "gemm_gmac_per_s": peaks, "machine": vars(result.machine), "load": vars(result.load),
            "started": result.started, "warnings": result.warnings(),
        },
    )  # fmt: skip
    for warning in result.warnings():
        say(f"edgesr: {warning}")


def _check_for_device(
    device: str, runtimes: list[str], threads: list[int], shape: tuple[int, int] | None
) -> None:
    """Options that mean something on the processor of this machine only."""
    from edgesr.errors import UsageError

    if runtimes or shape:
        raise UsageError(
            f"--runtime and --shape are for cpu; {device} has its own runtime, and takes the size "
            "the file was exported with"
        )
    if len(threads) != 1 or threads[0] < 1:
        raise UsageError(f"--threads takes one number from 1 up on {device}")


def _footer(peaks: dict[str, float]) -> str:
    rates = ", ".join(f"{name}: {rate:.0f} GMAC/s" for name, rate in peaks.items())
    return f"GEMM {rates}" if rates else ""


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    """The row with figures rounded to what they are worth."""

    def whole(value: float | None, factor: float = 1) -> int | None:
        return None if value is None else round(value * factor)

    return {
        **row,
        "spread_percent": whole(row["spread"], 100),
        "peak_mb": whole(row["peak_mb"]),
        "gmac_per_s": whole(row["gmac_per_s"]),
        "percent_of_peak": whole(row["share_of_peak"], 100),
    }


def _numbers(text: str) -> list[int]:
    from edgesr.errors import UsageError

    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--threads takes numbers such as 1,2, not `{text}`") from None


def _shape(text: str) -> tuple[int, int] | None:
    from edgesr.errors import UsageError

    if not text:
        return None
    height, _, width = text.lower().partition("x")
    if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise UsageError(f"--shape takes HEIGHTxWIDTH such as 360x640, not `{text}`")
    return int(height), int(width)
