"""`edgesr info`: everything known about a network, a checkpoint or an artifact."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from edgesr.models import Entry


def info_command(
    what: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE",
            help="Network with scale (rlfn-x4), checkpoint, artifact, or module:factory.",
        ),
    ],
    architecture: Annotated[
        str | None, typer.Option(help="Network of a checkpoint, when its keys do not tell.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what a network, a checkpoint or an exported file is."""
    from edgesr.cli.output import show_json, show_table
    from edgesr.manifest import manifest_path

    path = Path(what)
    facts = about_artifact(path) if manifest_path(path).exists() else about(what, architecture)
    if as_json:
        show_json(facts)
        return
    for name, lengthy in (("parity", "golden"), ("calibration", "images")):
        if isinstance(facts.get(name), dict) and lengthy in facts[name]:
            facts[name] |= {lengthy: f"{len(facts[name][lengthy])} entries, shown by --json"}
    rows = [{"fact": key.replace("_", " "), "value": _text(value)} for key, value in facts.items()]
    show_table([row for row in rows if row["value"]], title=what)


def about(what: str, architecture: str | None = None) -> dict[str, Any]:
    """Facts about a registered network, with or without weights, or about a checkpoint."""
    from edgesr.analysis import analyse, deployed, sketch
    from edgesr.graph import trace
    from edgesr.models.intake import load

    if _entry(what) is not None and not _has_weights(what):
        network, weights = sketch(what), "none shipped; give a checkpoint file"
    else:
        network = load(what, architecture=architecture)
        weights = "shipped with edgesr" if _entry(what) is not None else what
        # A stranger's module may keep constants where only a trace finds them.
        known = _entry(network.name) is not None or hasattr(network.module, "collapsed")
        network = network.with_module(deployed(network.module) if known else trace(network))
    cost = analyse(network)
    entry = _entry(network.name)
    return {
        "network": network.name,
        "scale": network.scale,
        "colour": network.colour,
        "value_range": network.value_range,
        "weights": weights,
        "parameters": cost.parameters,
        "gmacs_720p": round(cost.macs / 1e9, 3),
        "receptive_field": cost.receptive_field.size,
        "halo": cost.receptive_field.halo,
        "exact_tiling": network.exact_tiling,
        "pad_multiple": network.pad_multiple,
        "paper": network.paper,
        "url": entry.paper.url if entry else "",
        "licence": network.licence,
        "notes": list(network.notes),
    }


def _entry(name: str) -> Entry | None:
    """Of the network called `name`, with its scale; None for anything else."""
    from edgesr.errors import UsageError
    from edgesr.models import parse_name

    try:
        return parse_name(name)[0]
    except UsageError:
        return None


def _has_weights(name: str) -> bool:
    from edgesr.models import parse_name
    from edgesr.models.intake import has_weights

    return has_weights(*parse_name(name))


def about_artifact(path: Path) -> dict[str, Any]:
    """The manifest of an exported file, and whether the file is still the one it describes."""
    import dataclasses

    from edgesr.manifest import read_manifest, sha256_of

    manifest = read_manifest(path)
    beside = path.with_suffix(".bin")  # weights of OpenVINO and ncnn
    hashes = [sha256_of(path)] + ([sha256_of(path, beside)] if beside.exists() else [])
    intact = manifest.sha256 in hashes
    state = "as exported" if intact else "CHANGED since its manifest was written"
    return {"file": str(path), "state": state, **dataclasses.asdict(manifest)}


def _text(value: Any) -> str:
    """One cell: nested facts on lines of their own."""
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_text(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return "\n".join(map(_text, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else str(value)
