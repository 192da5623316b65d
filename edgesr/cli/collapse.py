"""`edgesr collapse`: what folds into what, and the proof."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def collapse_command(
    model: Annotated[
        str,
        typer.Argument(help="Shipped network (plain-m-x3), checkpoint file, or module:factory."),
    ],
    allow_border: Annotated[
        bool, typer.Option("--allow-border", help="Collapse even where border pixels change.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write the collapsed weights (.safetensors).")
    ] = None,
    architecture: Annotated[
        str | None, typer.Option(help="Network of a checkpoint, when its keys do not tell.")
    ] = None,
    scale: Annotated[
        int | None, typer.Option(help="Enlargement, where the weights do not tell.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail if something cannot be collapsed exactly.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the certificate.")] = False,
) -> None:
    """Fold linear layers into plain convolutions and print the certificate."""
    from edgesr.cli.output import say, show_json, show_table
    from edgesr.collapse import collapse, save
    from edgesr.models.intake import load

    network = load(model, architecture=architecture, scale=scale)
    plain, certificate = collapse(network, allow_border=allow_border, strict=strict)
    if out is not None:
        save(plain, certificate, out, force=force)
    if as_json:
        show_json({"network": network.name, **certificate.to_dict()})
        return
    rows = [
        {
            "form": form,
            "convolutions": getattr(certificate, f"convs_{when}"),
            "gmacs": getattr(certificate, f"macs_{when}") / 1e9,
            "parameters": getattr(certificate, f"parameters_{when}"),
        }
        for form, when in (("as trained", "before"), ("collapsed", "after"))
    ]
    columns = {
        "form": network.name,
        "convolutions": "convolutions",
        "gmacs": "GMAC for 1280x720",
        "parameters": "parameters",
    }
    show_table(rows, columns)
    for line in certificate.details():
        typer.echo(line)
    for line in certificate.remarks():
        say(line)
