"""Which networks exist, by name.

A builder is registered with the facts that cannot be computed from it: the paper, the scales the
paper gives, the parameter counts it prints, the meaning of its tensors.

    @register("abpn", paper=Paper(...), scales=(3,), parameters={3: 42_540})
    def abpn(scale: int) -> nn.Module: ...

`create("abpn-x3")` builds it; weights are loaded by `edgesr.models.intake`. A network for any scale
gives its range, `any_scale=(1, 4)`; `create("arbsr-plain-x2.2x4.2")` builds it for that one.

A family has members without number, whose sizes are in their names: `plain-d5c28-x3`.

    @register_family("plain-d{}c{}", most={"convolutions": 64, "channels": 512}, sizes=sizes_of)
    def sized(name: str, depth: int, channels: int) -> Entry: ...
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from torch import Tensor, nn

from edgesr.errors import UsageError
from edgesr.network import Colour, Network
from edgesr.scales import Scale, factors, parse_scale, period, scale_text

Builder = Callable[[Any], nn.Module]
"""From the scale: an `int`, or for a network with `any_scale` a `Scale`."""


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
    """Whole scales, those that tables show."""
    parameters: Mapping[int, int] = field(default_factory=dict)
    """Scale to the parameter count of the deployed network, as the paper or its code gives it."""
    tolerance: float = 0.0
    """Relative rounding of the paper's count: 0.005 for a figure printed as `42.5 K`."""
    colour: Colour = "rgb"
    value_range: float = 1.0
    pad_multiple: int = 1
    exact_tiling: bool = True
    any_scale: tuple[float, float] | None = None
    """Least and largest factor of a network for any scale, whose weights serve all of them."""
    symmetric: bool = False
    """Whether it enlarges height and width by the same factor only."""

    def named(self, scale: Scale) -> str:
        """`plain-m-x3`, `arbsr-plain-x2.2x4.2`."""
        return f"{self.name}-x{scale_text(scale)}"

    def check(self, scale: Scale) -> None:
        """Raise `UsageError` if the network does not come in `scale`."""
        if self.any_scale is None:
            if scale not in self.scales:
                raise UsageError(
                    f"`{self.name}` comes in scales {self.scales}, not {scale_text(scale)}"
                )
            return
        least, largest = self.any_scale
        if not all(least <= factor <= largest for factor in factors(scale)):
            raise UsageError(
                f"`{self.name}` enlarges by {least:g} to {largest:g} each way, "
                f"not by {scale_text(scale)}"
            )
        if self.symmetric and len(set(factors(scale))) > 1:
            raise UsageError(
                f"`{self.name}` enlarges height and width by the same factor, "
                f"not by {scale_text(scale)}"
            )


_ENTRIES: dict[str, Entry] = {}

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Family:
    """Networks of one kind in any size.

    Attributes:
        names: with `{}` for every size, a whole number.
        most: what the sizes are, and the largest of each; the smallest is 1.
        member: from the name and the sizes.
        sizes: of the member whose weights look like these, or None; not all need to fit.
    """

    names: str
    most: Mapping[str, int]
    member: Callable[..., Entry]
    sizes: Callable[[Tensors], tuple[int, ...] | None]

    def check(self, name: str, sizes: Sequence[int]) -> None:
        """Raise `UsageError` if there is no member of these sizes."""
        for (what, most), size in zip(self.most.items(), sizes, strict=True):
            if not 1 <= size <= most:
                raise UsageError(f"`{name}`: {what} from 1 to {most}, not {size}")

    def find(self, name: str) -> Entry | None:
        """The member of that name; `UsageError` if it is too small or too large."""
        match = re.fullmatch(self.names.replace("{}", r"(\d+)"), name)
        if match is None:
            return None
        sizes = [int(text) for text in match.groups()]
        self.check(name, sizes)
        return self.member(name, *sizes)

    def name_of(self, tensors: Tensors) -> str | None:
        """Of the member whose weights look like these."""
        sizes = self.sizes(tensors)
        if sizes is None:
            return None
        name = self.names.format(*sizes)
        try:
            self.check(name, sizes)
        except UsageError:
            return None
        return name


_FAMILIES: list[Family] = []


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
    any_scale: tuple[float, float] | None = None,
    symmetric: bool = False,
) -> Callable[[Builder], Builder]:
    """Register the decorated builder, `scale -> module`, under `name`."""

    def add(build: Builder) -> Builder:
        if name in _ENTRIES:
            raise ValueError(f"network `{name}` is registered twice")
        _ENTRIES[name] = Entry(
            name, build, paper, scales, dict(parameters or {}), tolerance,
            colour, value_range, pad_multiple, exact_tiling, any_scale, symmetric,
        )  # fmt: skip
        return build

    return add


def register_family(
    names: str, *, most: Mapping[str, int], sizes: Callable[[Tensors], tuple[int, ...] | None]
) -> Callable[[Callable[..., Entry]], Callable[..., Entry]]:
    """Register the decorated `(name, *sizes) -> Entry` for all sizes; see `Family`."""

    def add(member: Callable[..., Entry]) -> Callable[..., Entry]:
        _FAMILIES.append(Family(names, most, member, sizes))
        return member

    return add


def entries() -> dict[str, Entry]:
    """Every registered network, sorted by name; of families none."""
    import edgesr.models  # noqa: F401  (importing the package registers them)

    return dict(sorted(_ENTRIES.items()))


def find_entry(name: str) -> Entry | None:
    """The network called `name`, without a scale, or the family's member; None if there is none.

    Raises:
        UsageError: a size the family does not have.
    """
    return entries().get(name) or _member(name)


@cache  # so that an entry is itself, whoever asks for it
def _member(name: str) -> Entry | None:
    found = (family.find(name) for family in _FAMILIES)
    return next((entry for entry in found if entry is not None), None)


def members_like(tensors: Tensors) -> list[Entry]:
    """Of every family the member whose weights look like these."""
    entries()
    names = [family.name_of(tensors) for family in _FAMILIES]
    found = [find_entry(name) for name in names if name is not None]
    return [entry for entry in found if entry is not None]


def parse_name(text: str) -> tuple[Entry, Scale]:
    """Split `plain-m-x3` (`plain-d5c28-x3`, `arbsr-plain-x1.5`) into its registry entry and scale.

    Raises:
        UsageError: unknown name, or a scale the network does not come in.
    """
    match = re.fullmatch(r"(?P<name>.+?)-x(?P<scale>[\d.]+(x[\d.]+)?)", text)
    bare = text if match is None else match["name"]
    entry = find_entry(bare)
    if match is None or entry is None:
        if entry is not None:
            scales = ", ".join(f"{bare}-x{s}" for s in entry.scales)
            other = f" or any other, as in {bare}-x1.5" if entry.any_scale else ""
            raise UsageError(f"`{text}` has no scale; choose one of {scales}{other}")
        import difflib

        near = difflib.get_close_matches(bare, entries(), n=3)
        hint = f"did you mean {', '.join(near)}? " if near else ""
        raise UsageError(f"no network is called `{bare}`; {hint}`edgesr models` lists all")
    scale = parse_scale(match["scale"])
    entry.check(scale)
    return entry, scale


def create(text: str) -> Network:
    """Build the network called `text` (`rlfn-x4`) with fresh random weights.

    Raises:
        UsageError: unknown name or scale.
    """
    entry, scale = parse_name(text)
    return Network(
        module=entry.build(scale),
        name=entry.named(scale),
        scale=scale,
        colour=entry.colour,
        value_range=entry.value_range,
        pad_multiple=math.lcm(entry.pad_multiple, period(scale)),
        exact_tiling=entry.exact_tiling,
        paper=str(entry.paper),
    )
