"""`edgesr models`: the networks there are, and what each costs."""

from __future__ import annotations

from typing import Annotated

import typer

_COLUMNS = {
    "name": "network",
    "scales": "scales",
    "scale": "at",
    "parameters": "parameters",
    "gmacs": "GMAC at 720p",
    "receptive_field": "receptive field",
    "halo": "halo",
    "colour": "colour",
    "exact_tiling": "tiles exactly",
    "weights": "weights",
    "venue": "published",
}


def models_command(
    name: Annotated[
        str, typer.Argument(help="Only networks with this in their name, at every scale.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with titles.")] = False,
) -> None:
    """List the networks: deployed size, cost for a 1280x720 output, reach, shipped weights."""
    from edgesr.analysis import analyse, sketch
    from edgesr.cli.output import show_table
    from edgesr.errors import UsageError
    from edgesr.models import entries
    from edgesr.models.intake import has_weights

    rows = []
    for entry in entries().values():
        if name not in entry.name:
            continue
        weights = [s for s in entry.scales if has_weights(entry, s)]
        # The scale that has weights says most; one scale is enough to choose by.
        for scale in entry.scales if name else (weights or entry.scales)[:1]:
            cost = analyse(sketch(f"{entry.name}-x{scale}"))
            rows.append(
                {
                    "name": entry.name,
                    "scales": "any" if entry.any_scale else " ".join(f"x{s}" for s in entry.scales),
                    "scale": f"x{scale}",
                    "parameters": cost.parameters,
                    "gmacs": cost.macs / 1e9,
                    "receptive_field": cost.receptive_field.size,
                    "halo": cost.receptive_field.halo,
                    "colour": entry.colour,
                    "exact_tiling": entry.exact_tiling,
                    "weights": " ".join(f"x{s}" for s in weights) or None,
                    "venue": entry.paper.venue,
                    "paper": entry.paper.title,
                    "url": entry.paper.url,
                }
            )
    if not rows:
        raise UsageError(f"no network has `{name}` in its name; `edgesr models` lists all")
    show_table(
        rows,
        _COLUMNS,
        footer="Deployed form; receptive field and halo in low-resolution pixels, - = whole image. "
        "Plain comes in any size: plain-d5c28-x3 (`edgesr design` finds one for a latency), "
        "plain-y-d5c28-x3 for luma; so does Recursive: recursive-k5c48p2-x2 has 5 kernels of 48 "
        "channels in 2 passes.",
        as_json=as_json,
    )
