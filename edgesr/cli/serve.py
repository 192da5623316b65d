"""`edgesr serve`: the model in a browser's hands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def serve_command(
    model: Annotated[Path, typer.Argument(help="Exported file: .tflite or .onnx.")],
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in, a phone.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 0,
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open the page in this machine's browser.")
    ] = False,
) -> None:
    """Serve a page that runs the model in the browser; pictures stay there.

    Slider against bicubic, tiles, times. Ctrl-C ends it. `edgesr serve net.tflite --open`
    """
    import threading
    import webbrowser

    from edgesr.benchmarks.devices.model_page import ModelPage
    from edgesr.cli.output import say

    with ModelPage(model, host=host, port=port) as page:
        if host not in ("127.0.0.1", "localhost"):
            say("everybody in this network who knows the address can open the page; browsers give "
                "it one thread and no WebGPU, as it is neither https nor localhost")  # fmt: skip
        typer.echo(page.address)
        if open_browser:
            webbrowser.open(page.address)
        threading.Event().wait()
