"""Which networks exist, by name.

A builder is registered with the facts that cannot be computed from it: the paper, the scales the
paper gives, the parameter counts it prints, the meaning of its tensors.

    @register("abpn", paper=Paper(...), scales=(3,), parameters={3: 42_540})
    def abpn(scale: int) -> nn.Module: ...

`create("abpn-x3")` builds it; weights are loaded by `edgesr.models.intake`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import nn

from edgesr.errors import UsageError
from edgesr.network import Colour, Network

Builder = Callable[[int], nn.Module]


@dataclass(frozen=True)
class Paper:
    """Where a network was published."""

    title: str
    venue: str
    url: str = ""

    def __str__(self) -> str:
        return f"{self.title} ({self.venue})"


@dataclass(frozen=True)
class Entry:
    """A registered network: its builder and what the paper says of it."""

    name: str
    build: Builder
    paper: Paper
    scales: tuple[int, ...]
    parameters: Mapping[int, int] = field(default_factory=dict)
    """Scale to the parameter count of the deployed network, as the paper or its code gives it."""
    tolerance: float = 0.0
    """Relative rounding of the paper's count: 0.005 for a figure printed as `42.5 K`."""
    colour: Colour = "rgb"
    value_range: float = 1.0
    pad_multiple: int = 1
    exact_tiling: bool = True


_ENTRIES: dict[str, Entry] = {}


def register(
    name: str,
    *,
    paper: Paper,
    scales: tuple[int, ...],
    parameters: Mapping[int, int] | None = None,
    tolerance: float = 0.0,
    colour: Colour = "rgb",
    value_range: float = 1.0,
    pad_multiple: int = 1,
    exact_tiling: bool = True,
) -> Callable[[Builder], Builder]:
    """Register the decorated builder, `scale -> module`, under `name`."""

    def add(build: Builder) -> Builder:
        if name in _ENTRIES:
            raise ValueError(f"network `{name}` is registered twice")
        _ENTRIES[name] = Entry(
            name, build, paper, scales, dict(parameters or {}), tolerance,
            colour, value_range, pad_multiple, exact_tiling,
        )  # fmt: skip
        return build

    return add


def entries() -> dict[str, Entry]:
    """Every registered network, sorted by name."""
    import edgesr.models  # noqa: F401  (importing the package registers them)

    return dict(sorted(_ENTRIES.items()))


def parse_name(text: str) -> tuple[Entry, int]:
    """Split `plain-m-x3` into its registry entry and scale.

    Raises:
        UsageError: unknown name, or a scale the network does not come in.
    """
    known = entries()
    match = re.fullmatch(r"(?P<name>.+?)-x(?P<scale>\d+)", text)
    if match is None or match["name"] not in known:
        bare = text if match is None else match["name"]
        if bare in known:
            scales = ", ".join(f"{bare}-x{s}" for s in known[bare].scales)
            raise UsageError(f"`{text}` has no scale; choose one of {scales}")
        import difflib

        near = difflib.get_close_matches(bare, known, n=3)
        hint = f"did you mean {', '.join(near)}? " if near else ""
        raise UsageError(f"no network is called `{bare}`; {hint}`edgesr models` lists all")
    entry, scale = known[match["name"]], int(match["scale"])
    if scale not in entry.scales:
        raise UsageError(f"`{entry.name}` comes in scales {entry.scales}, not {scale}")
    return entry, scale


def create(text: str) -> Network:
    """Build the network called `text` (`rlfn-x4`) with fresh random weights.

    Raises:
        UsageError: unknown name or scale.
    """
    entry, scale = parse_name(text)
    return Network(
        module=entry.build(scale),
        name=f"{entry.name}-x{scale}",
        scale=scale,
        colour=entry.colour,
        value_range=entry.value_range,
        pad_multiple=entry.pad_multiple,
        exact_tiling=entry.exact_tiling,
        paper=str(entry.paper),
    )
