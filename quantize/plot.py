"""What a calibration run saw and what an observer makes of it: rows, and a page of histograms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from edgesr.quantize.doctor.diagnosis import Histogram as Picture
from edgesr.quantize.doctor.pictures import histogram_chart
from edgesr.quantize.observers import BINS, Histogram
from edgesr.quantize.ranges import choose_ranges
from edgesr.quantize.scales import choose_scales
from edgesr.quantize.scheme import QParams
from edgesr.quantize.statistics import Statistics
from edgesr.quantize.ties import CLIPS, MERGES, MOVES
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from torch import fx

from edgesr.graph import is_call, layer_of, tensor_nodes
from edgesr.manifest import write_atomically
from edgesr.network import Network

aten = torch.ops.aten

TEMPLATE = Path(__file__).with_name("plot.html")
PICTURED_BINS = 128

Row = dict[str, Any]


def rows_of(seen: Statistics, network: Network, observer: str) -> list[Row]:
    """One row per tensor that has a range of its own; values that are only moved are left out.

    Raises:
        UsageError: no observer of that name.
    """
    ranges = choose_ranges(seen, observer)
    scales = choose_scales(seen.graph, network, ranges)
    return [
        {
            "layer": layer_of(node.args[0] if is_call(node, *CLIPS) else node),  # type: ignore[arg-type]
            "tensor": node.name,
            "low": seen.histograms[node.name].low,
            "high": seen.histograms[node.name].high,
            "from": scales[node.name].lowest,
            "to": scales[node.name].highest,
            "scale": scales[node.name].scale,
            "zero_point": scales[node.name].zero_point,
            "outside": 100 * _outside(seen.histograms[node.name], scales[node.name]),
        }
        for node in tensor_nodes(seen.graph)
        if _has_own_range(node)
    ]


def _has_own_range(node: fx.Node) -> bool:
    """Whether its values come into being here, after the clip that decides how they are stored."""
    users = [user for user in node.users if user.op != "output"]
    if users and all(is_call(user, *CLIPS) for user in users):
        return False
    if is_call(node, *CLIPS):
        return not is_call(node.args[0], *MOVES, *MERGES)
    return not is_call(node, *MOVES, *MERGES)


def write_page(
    path: Path, rows: list[Row], seen: Statistics, network: Network, observer: str
) -> None:
    """One self-contained page: every tensor's values, its range, and what lies outside."""
    charts = [Markup(_chart(seen.histograms[row["tensor"]], row)) for row in rows]
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        network=network.name,
        observer=observer,
        photos=len(seen.photos.hashes),
        patches=seen.patches,
        classes=seen.classes,
        tensors=list(zip(rows, charts, strict=True)),
    )
    write_atomically(path, page.encode())


def _outside(seen: Histogram, params: QParams) -> float:
    """Share of values that saturate."""
    half = params.scale / 2
    beyond = (seen.centres < params.lowest - half) | (seen.centres > params.highest + half)
    return float(seen.counts[beyond].sum() / max(seen.counts.sum(), 1))


def _chart(seen: Histogram, row: Row) -> str:
    counts = seen.counts.reshape(PICTURED_BINS, BINS // PICTURED_BINS).sum(1)
    if seen.high <= seen.low:
        return ""
    return histogram_chart(
        Picture(seen.low, seen.high, tuple(int(count) for count in counts), row["from"], row["to"])
    )
