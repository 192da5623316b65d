"""`edgesr android`: the app, built and used over adb."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="The Android app: build it, put it and your models on a phone, measure there.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

Serial = Annotated[
    str, typer.Option("--serial", help="The phone, as `adb devices` calls it; the only one if not.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.command("parts")
def parts_command(as_json: AsJson = False) -> None:
    """Fetch what the build and the host tests need: locked, checksummed, some 400 MB, once."""
    from edgesr.android.parts import have, part, read_lock
    from edgesr.cli.output import say, show_table

    rows = []
    for name, locked in read_lock().items():
        if not have(name):
            say(f"edgesr: {locked.spec}")
        rows.append({"part": name, "from": locked.client, "what": locked.spec})
        part(name)
    show_table(rows, as_json=as_json)


@app.command("build")
def build_command(
    out: Annotated[Path, typer.Option(help="The APK.")] = Path("out/edgesr.apk"),
    abi: Annotated[
        list[str] | None, typer.Option(help="arm64-v8a (phones), x86_64 (emulators); repeatable.")
    ] = None,
    model: Annotated[
        list[Path] | None,
        typer.Option(help="File to bundle; repeatable. Default: plain-m-x3 and -x2, int8."),
    ] = None,
    litert: Annotated[
        Path | None, typer.Option(help="LiteRT's .aar, for .tflite models and their GPU.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="Keystore to sign with; default: one of this machine.")
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Build the app without an SDK: a signed APK, checked as a phone would.

    Parts that are not here yet are downloaded (`edgesr android parts`).
    """
    import dataclasses

    from edgesr.android.build import build
    from edgesr.cli.output import say, show_table

    checked = build(
        out, abis=abi or ["arm64-v8a"], models=model or [], litert=litert, key=key, force=force,
        tell=lambda what: say(f"edgesr: {what}"),
    )  # fmt: skip
    row = {"apk": str(out), "megabytes": out.stat().st_size / 1e6, **dataclasses.asdict(checked)}
    lists = ("schemes", "abis", "activities")
    shown = {**row, **{name: ", ".join(row[name]) for name in lists}}
    show_table([row if as_json else shown], as_json=as_json)


@app.command("assets")
def assets_command(
    out: Annotated[Path, typer.Option(help="The app's folder of assets.")] = Path(
        "android-demo/app/src/main/assets"
    ),
    model: Annotated[
        list[Path] | None,
        typer.Option(help="File to bundle; repeatable. Default: plain-m-x3 and -x2, int8."),
    ] = None,
    force: Force = False,
) -> None:
    """Write models and samples for a build with Gradle."""
    from edgesr.android.build import write_assets
    from edgesr.cli.output import say

    for path in write_assets(out, model or [], force=force):
        say(f"edgesr: {path}")


@app.command("install")
def install_command(
    apk: Annotated[Path, typer.Argument(help="The APK.")] = Path("out/edgesr.apk"),
    serial: Serial = "",
) -> None:
    """Install the app on the connected phone, or replace it; its files are kept."""
    from edgesr.android.phone import install
    from edgesr.cli.output import say

    say(f"edgesr: {apk.name} is on {install(apk, serial)}")


@app.command("push", no_args_is_help=True)
def push_command(
    artifacts: Annotated[
        list[Path], typer.Argument(metavar="ARTIFACT...", help="Exported .tflite or .onnx files.")
    ],
    serial: Serial = "",
    start: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the app with the last one.")
    ] = True,
) -> None:
    """Bring models with their manifests to the phone, and open the app with the last one."""
    from edgesr.android.phone import push
    from edgesr.cli.output import say

    for path in push(artifacts, serial, start=start):
        say(f"edgesr: {path}")


@app.command("bench", no_args_is_help=True)
def bench_command(
    artifacts: Annotated[
        list[Path], typer.Argument(metavar="ARTIFACT...", help="Exported .tflite or .onnx files.")
    ],
    serial: Serial = "",
    backend: Annotated[str, typer.Option(help="cpu, gpu, npu or nnapi; no other one will do.")] = (
        "cpu"
    ),
    threads: Annotated[int, typer.Option(help="Of the processor.")] = 1,
    runs: Annotated[int, typer.Option(help="Timed runs of each, per process.")] = 30,
    warm_up: Annotated[int, typer.Option(help="Untimed runs of each before.")] = 3,
    processes: Annotated[int, typer.Option(help="Fresh processes per model.")] = 3,
    out: Annotated[Path | None, typer.Option(help="Write everything as JSON.")] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Time models in the app: `edgesr bench --device adb --runner app` with a backend."""
    from edgesr.benchmarks.devices.android_app import AndroidApp, check_backend
    from edgesr.benchmarks.devices.bench import bench_on
    from edgesr.benchmarks.harness import Plan
    from edgesr.benchmarks.results import write_result
    from edgesr.cli.output import progress, say, show_table
    from edgesr.errors import OutputExistsError

    if out is not None and out.exists() and not force:
        raise OutputExistsError(f"{out} exists already; --force overwrites it")
    device = AndroidApp(serial, check_backend(backend))
    with progress("bench", None) as (bar, task):
        result = bench_on(
            device, artifacts, Plan(runs=runs, warm_up=warm_up), threads=threads,
            processes=processes,
            progress=lambda what, done, total: bar.update(
                task, description=what, completed=done, total=total
            ),
        )  # fmt: skip
    if out is not None:
        write_result(result, out, force=force)
    columns = {
        "artifact": "artifact", "device": "device", "runtime": "runtime", "label": "figures are",
        "median_ms": "median ms", "p90_ms": "p90", "parity": "parity",
    }  # fmt: skip
    show_table(result.table(), columns, as_json=as_json)
    for warning in result.warnings():
        say(f"edgesr: {warning}")


@app.command("pull")
def pull_command(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("out/phone"),
    serial: Serial = "",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Fetch the results of benchmarks that were started on the phone (`am start`)."""
    from statistics import median

    from edgesr.android.phone import pull
    from edgesr.cli.output import show_table

    rows = pull(out, serial, force=force)
    shown = [
        {
            "file": row["file"], "runtime": row.get("runtime"), "backend": row.get("backend"),
            "median ms": median(row["samples_ms"]) if row.get("samples_ms") else None,
            "error": row.get("error"),
        }
        for row in rows
    ]  # fmt: skip
    show_table(rows if as_json else shown, as_json=as_json)
