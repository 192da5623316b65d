"""The command line. Each command is a thin function over the library, in a file of its own.

Nothing heavy is imported here or at the top of a command's file: `edgesr --help` answers at once.
"""

from __future__ import annotations

import errno
import gc
import os
import signal
import sys
import threading
from typing import Annotated

import typer

from edgesr.errors import EdgesrError

_COMMANDS = (
    "demo", "models", "info", "collapse", "export", "eval", "devices", "doctor", "upscale",
    "adapt", "train", "design", "report", "serve",
)  # fmt: skip

_INTERRUPTED = 130
"""What typer makes of Ctrl-C."""

_MACHINE_SAYS_NO = (
    errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.ENOTDIR,
)  # fmt: skip

app = typer.Typer(
    name="edgesr",
    help="From a training-side super-resolution network to a phone model, proved.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"edgesr {version('edgesr')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    if debug:
        os.environ["EDGESR_DEBUG"] = "1"


def _register() -> None:
    from importlib import import_module

    for name in _COMMANDS:
        module = import_module(f"edgesr.cli.{name}")
        app.command(name, no_args_is_help=name not in {"demo", "models", "devices"})(
            getattr(module, f"{name}_command")
        )
    app.add_typer(import_module("edgesr.cli.quantize").app, name="quantize")
    app.add_typer(import_module("edgesr.cli.data").app, name="data")
    app.add_typer(import_module("edgesr.cli.bench").app, name="bench")
    app.add_typer(import_module("edgesr.cli.android").app, name="android")


_register()


def main() -> None:
    """Entry point: runs the command; a user's mistake ends in one sentence and an exit code."""
    # Importing torch makes a million objects that stay; looking for garbage among them every 700
    # allocations costs a quarter of the import.
    gc.set_threshold(100_000)
    sys.unraisablehook = _interrupt_again
    try:
        app()
    except EdgesrError as error:
        _end(str(error), error.exit_code, error)
    except SystemExit as ending:
        if ending.code == _INTERRUPTED:
            typer.echo("edgesr: stopped; nothing half-written was left behind", err=True)
        raise
    except OSError as error:
        if error.errno == errno.EPIPE:
            sys.exit(141)
        code = 9 if error.errno in _MACHINE_SAYS_NO else 3
        where = f" ({error.filename})" if error.filename else ""
        _end(f"{error.strerror or error}{where}", code, error)
    except MemoryError as error:
        _end("out of memory; use a smaller --tile, image or shape", 9, error)


def _interrupt_again(lost: sys.UnraisableHookArgs) -> None:
    """Sends a Ctrl-C again that met a destructor, where Python drops what is raised."""
    if issubclass(lost.exc_type, KeyboardInterrupt):
        threading.Timer(0.01, signal.raise_signal, [signal.SIGINT]).start()
    else:
        sys.__unraisablehook__(lost)


def _end(message: str, code: int, error: BaseException) -> None:
    if os.environ.get("EDGESR_DEBUG"):
        raise error
    typer.echo(f"edgesr: {message}", err=True)
    sys.exit(code)
