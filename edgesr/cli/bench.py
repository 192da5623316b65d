"""`edgesr bench`: how fast, measured so that it can be believed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from edgesr.cli.bench_compare import compare_command

if TYPE_CHECKING:
    from edgesr.errors import EdgesrError


class _DefaultCommand(TyperGroup):
    """`edgesr bench MODEL...` beside `edgesr bench compare A B`: what names no command is timed."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = bool(args) and args[0] in self.commands
        return super().parse_args(ctx, args if named else [_DEFAULT, *(args or ["--help"])])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return "" if name == _DEFAULT else name, command, rest


_DEFAULT = "run"

app = typer.Typer(cls=_DefaultCommand)
app.command("compare", no_args_is_help=True)(compare_command)


@app.command(_DEFAULT, hidden=True)
def bench_command(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ARTIFACT|MODEL...",
            help="Exported files (.tflite, .onnx, .xml, .param), or names and checkpoints of "
            "networks, which torch runs.",
        ),
    ] = None,
    suite: Annotated[
        str, typer.Option(help="Instead of models: a suite such as mobile-x3, or a .toml file.")
    ] = "",
    device: Annotated[
        list[str] | None,
        typer.Option(
            help="Where to run: `cpu` is this machine (default), `edgesr devices` lists the rest. "
            "Several phones run at once: --device adb:A --device adb:B."
        ),
    ] = None,
    threads: Annotated[str, typer.Option(help="Numbers of threads, such as `1,2`.")] = "1",
    runtime: Annotated[
        str,
        typer.Option(
            help="litert, ort, openvino, ncnn, torch; comma-separated. Default: all that open it."
        ),
    ] = "",
    shape: Annotated[
        str, typer.Option(help="Input HEIGHTxWIDTH of models that take any; 360x640 if not given.")
    ] = "",
    runs: Annotated[int, typer.Option(help="Timed runs of each, in every process.")] = 30,
    warm_up: Annotated[int, typer.Option(help="Untimed runs of each before the first.")] = 3,
    processes: Annotated[
        int,
        typer.Option(
            help="Fresh processes per model, which time cold starts too. 0: all in this one (on a "
            "device: its own number)."
        ),
    ] = 0,
    until_stable: Annotated[
        float,
        typer.Option(
            metavar="PERCENT",
            min=0,
            max=99,
            help="cpu: go on until the 95 % interval of each median is narrower than this, up to "
            "ten times --runs.",
        ),
    ] = 0,
    tool: Annotated[
        Path | None, typer.Option(help="adb: a benchmark_model of your own, built for the phone.")
    ] = None,
    runner: Annotated[
        str, typer.Option(help="adb: `app` lets the app on the phone do the runs.")
    ] = "",
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
    ray: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="--suite: spread over a Ray cluster; `auto`, or HOST:PORT of its head.",
        ),
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write everything, raw samples included, as JSON. --suite: a folder; given again, "
            "what is missing in it is done. Default: out/SUITE."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite --out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Time models against each other, and against the machine.

    All artifacts, runtimes and thread counts take turns in one run, in a new random order every
    round, and the rate of plain matrix products is measured in the same turns: `% of GEMM` is the
    share of it that a model reaches. `edgesr bench plain-m-x3_int8_360x640.tflite --threads 1,2`

    `edgesr bench --suite mobile-x3` exports, judges and times a whole table; `edgesr bench compare
    A B` fails if one result is slower or worse than another.
    """
    from edgesr.errors import OutputExistsError, UsageError

    devices = device or ["cpu"]
    if ray and not suite:
        raise UsageError("--ray spreads a --suite; single models are timed here")
    if suite:
        settings = (devices, threads, runtime, shape, runs, warm_up, processes, until_stable)
        usual = (["cpu"], "1", "", "", 30, 3, 0, 0)
        if models or settings != usual or tool or runner or serve or require_full:
            raise UsageError(
                "a suite says itself what is timed, where and how often; change its .toml, and "
                "leave models and their options out"
            )
        from edgesr.cli.bench_suite import run

        run(suite, out, ray=ray, as_json=as_json)
        return

    from edgesr.benchmarks.harness import Plan
    from edgesr.cli.bench_table import (
        CPU_COLUMNS,
        DEVICE_COLUMNS,
        PHASE_COLUMNS,
        ceilings,
        footer,
        readable,
    )
    from edgesr.cli.output import progress, say, show_table

    if not models:
        raise UsageError("nothing to time: give artifacts or networks, or a --suite")
    if out is not None and out.exists() and not force:
        raise OutputExistsError(f"{out} exists already; --force overwrites it")
    plan = Plan(
        runs=runs, warm_up=warm_up, processes=processes, until_stable=until_stable / 100
    )  # fmt: skip
    counts, size = _numbers(threads), _shape(shape)

    from edgesr.benchmarks.cpu import bench
    from edgesr.benchmarks.devices import open_device
    from edgesr.benchmarks.entrants import line_up
    from edgesr.benchmarks.results import write_result
    from edgesr.benchmarks.suite.everywhere import bench_everywhere

    names = [name.strip() for name in runtime.split(",") if name.strip()]
    here = devices == ["cpu"]
    if not here:
        _check_for_devices(devices, names, counts, size, until_stable)
    places = [] if here else [open_device(name, tool=tool, runner=runner) for name in devices]
    if serve and (len(places) != 1 or not devices[0].startswith("web")):
        raise UsageError("--serve is for --device web")
    if here and (require_full or tool or runner):
        raise UsageError("--require-full, --tool and --runner are for devices, not for cpu")
    entrants = line_up(models, runtimes=names, threads=counts, shape=size) if here else []
    failures: list[EdgesrError] = []
    with progress("bench", None) as (bar, task):

        def show(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        if serve:
            from edgesr.benchmarks.devices.web_serve import serve as serve_browsers

            result = serve_browsers(
                models, plan, threads=counts[0], host=host, port=port,
                tell=lambda text: say(f"edgesr: {text}"),
            )  # fmt: skip
        elif here:
            result = bench(entrants, plan, memory=memory, progress=show)
        else:
            result = bench_everywhere(
                places, models, plan, threads=counts[0], require_full=require_full, progress=show,
                lost=lambda error: failures.append(error),
            )  # fmt: skip
    if out is not None and result.rows:
        write_result(result, out, force=force)
    rows = result.table()
    rates = ceilings([result])
    shown = rows if as_json else [readable(row) for row in rows]
    show_table(
        shown,
        CPU_COLUMNS if here else DEVICE_COLUMNS,
        footer=footer(rates),
        as_json=as_json,
        extra={
            "ceilings": rates, "machine": vars(result.machine), "load": vars(result.load),
            "started": result.started, "warnings": result.warnings(),
        },
    )  # fmt: skip
    if processes and here and not as_json:
        show_table(shown, PHASE_COLUMNS, title="from a cold start, in ms")
    for warning in result.warnings():
        say(f"edgesr: {warning}")
    for error in failures[1:]:
        say(f"edgesr: {error}")
    if failures:
        raise failures[0]


def _check_for_devices(
    devices: list[str],
    runtimes: list[str],
    threads: list[int],
    shape: tuple[int, int] | None,
    until_stable: float,
) -> None:
    """Options that mean something on the processor of this machine only."""
    from edgesr.errors import UsageError

    where = " and ".join(devices)
    if "cpu" in devices:
        raise UsageError("cpu is timed alone: whatever runs beside it would slow it down")
    if len(set(devices)) < len(devices):
        raise UsageError(f"--device names one twice: {where}")
    if runtimes or shape or until_stable:
        raise UsageError(
            f"--runtime, --shape and --until-stable are for cpu; {where} has its own runtime, and "
            "takes the size the file was exported with"
        )
    if len(threads) != 1 or threads[0] < 1:
        raise UsageError(f"--threads takes one number from 1 up on {where}")


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
