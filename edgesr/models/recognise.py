"""Which registered network do these weights belong to?

No guessing by file names: each candidate is built, without initial values, and the renamed
tensors must fit it exactly. What fits nothing is compared with the candidate it comes
closest to, so that the report names the few keys that matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from edgesr.errors import CheckpointError
from edgesr.models.checkpoint import Tensors
from edgesr.models.keymaps import KEYMAPS, OWN, KeyMap
from edgesr.models.registry import Entry, entries, find_entry, members_like
from edgesr.scales import Scale, scale_text

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Match:
    """A candidate network and how the tensors of a file fit it."""

    entry: Entry
    scale: Scale
    keymap: KeyMap
    tensors: Tensors
    """The file's tensors under our names, constants removed."""
    spelled: dict[str, str]
    """Our name of each tensor to the file's own."""

    @property
    def name(self) -> str:
        """Registry name with scale."""
        return self.entry.named(self.scale)

    @property
    def missing(self) -> list[str]:
        """Our names of weights the file lacks."""
        return [key for key in expected_shapes(self.entry, self.scale) if key not in self.tensors]

    @property
    def left_over(self) -> list[str]:
        """The file's names of weights that the network has no place for."""
        expected = expected_shapes(self.entry, self.scale)
        return [self.spelled[key] for key in self.tensors if key not in expected]

    @property
    def misshapen(self) -> list[str]:
        """Weights whose name fits and whose shape does not, with both shapes."""
        return [
            f"{self.spelled[key]} is {_sides(tuple(self.tensors[key].shape))}, not {_sides(shape)}"
            for key, shape in expected_shapes(self.entry, self.scale).items()
            if key in self.tensors and tuple(self.tensors[key].shape) != shape
        ]

    @property
    def fits(self) -> bool:
        """Nothing missing, nothing left over, every shape as expected."""
        return not (self.missing or self.left_over or self.misshapen)

    @property
    def closeness(self) -> float:
        """Share of tensors, of either side, that fit."""
        total = len(expected_shapes(self.entry, self.scale)) + len(self.left_over)
        return 1.0 - (len(self.missing) + len(self.left_over) + len(self.misshapen)) / total

    def report(self) -> str:
        """What does not fit, as one sentence."""
        kinds = {"missing": self.missing, "left over": self.left_over, "misshapen": self.misshapen}
        parts = [f"{len(keys)} {kind} ({_few(keys)})" for kind, keys in kinds.items() if keys]
        return "; ".join(parts)


def _sides(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a scalar"


def _few(names: list[str], count: int = 3) -> str:
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


class _NoInitialValues(TorchFunctionMode):
    """Leave new weights as they were allocated: memory never touched costs nothing.

    The meta device would do too, but its first multiplication imports torch's compiler: seconds.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


@cache
def _shapes(name: str, scale: Scale) -> Shapes:
    entry = find_entry(name)
    assert entry is not None
    with _NoInitialValues():
        module = entry.build(scale)
    return {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}


def expected_shapes(entry: Entry, scale: Scale) -> Shapes:
    """Shapes of the tensors that a checkpoint of this network holds, in order of definition."""
    return _shapes(entry.name, scale)


def _candidates(tensors: Tensors, entry: Entry | None, scale: Scale | None) -> Iterator[Match]:
    known = entries()
    for keymap in (*(k for k in KEYMAPS if entry is not None or k.mark in tensors), OWN):
        named = [known[name] for name in keymap.networks]
        for candidate in named or ([entry] if entry is not None else known.values()):
            if entry is not None and candidate is not entry:
                continue
            spelled = _spelled(tensors, keymap)
            if keymap is OWN and entry is None:
                names = expected_shapes(candidate, candidate.scales[0])
                if not any(key in names for key in tensors):
                    continue
            renamed = {ours: tensors[theirs] for ours, theirs in spelled.items()}
            asked = scale is not None and candidate.any_scale is not None
            for each in (scale,) if asked else candidate.scales:
                assert each is not None
                yield Match(candidate, each, keymap, renamed, spelled)


def _spelled(tensors: Tensors, keymap: KeyMap) -> dict[str, str]:
    """Our name of each tensor to the file's own name."""
    spelled: dict[str, str] = {}
    for key in tensors:
        if key not in keymap.constants:
            ours = keymap.rename(key)
            # Two keys may not share a name: the second one stays what it is, and is left over.
            spelled[key if ours in spelled else ours] = key
    return spelled


def recognise(
    tensors: Tensors, file: str, *, entry: Entry | None = None, scale: Scale | None = None
) -> Match | None:
    """Find the network whose weights these are.

    Args:
        tensors: what `read_checkpoint` returned.
        file: name for messages.
        entry, scale: what the caller insists on.

    Returns:
        The match, or None when the weights resemble no registered network.

    Raises:
        CheckpointError: weights are missing, left over or misshapen; several networks fit; a
            tensor that our module has built in has another value.
    """
    matches = list(_candidates(tensors, entry, scale))
    if entry is None and not any(match.fits for match in matches):
        for member in members_like(tensors):
            matches += _candidates(tensors, member, scale)
    # One network may match in two spellings when none of its keys is renamed.
    fitting = {match.name: match for match in reversed(matches) if match.fits}
    if fitting and scale is not None:
        names = sorted(fitting)
        fitting = {name: match for name, match in fitting.items() if match.scale == scale}
        if not fitting:
            asked = scale_text(scale)
            raise CheckpointError(f"`{file}` holds {', '.join(names)}; scale {asked} was asked for")
    if len(fitting) > 1:
        names = sorted(fitting)
        kind = "scale" if len({m.entry.name for m in fitting.values()}) == 1 else "architecture"
        raise CheckpointError(
            f"`{file}` fits {', '.join(names)}; say which with --{kind} ({kind}= in python)"
        )
    if fitting:
        (match,) = fitting.values()
        _check_constants(match, tensors, file)
        return match
    if not matches:
        return None
    nearest = max(matches, key=lambda match: (match.closeness, match.scale == scale))
    if entry is None and nearest.closeness < 0.5:
        return None
    why = "which was asked for" if entry else "its nearest"
    raise CheckpointError(
        f"`{file}` does not fit {nearest.name}, {why}: "
        f"of {len(nearest.tensors)} tensors {nearest.report()}. Give the network these weights "
        "were trained for with --architecture, or another file"
    )


def _check_constants(match: Match, tensors: Tensors, file: str) -> None:
    for key, constant in match.keymap.constants.items():
        if key not in tensors:
            continue
        given = tensors[key]
        if given.shape != constant.shape or not torch.allclose(given, constant, rtol=1e-3):
            raise CheckpointError(
                f"`{file}`: `{key}` is {given.flatten()[:3].tolist()}, while {match.name} has "
                f"{constant.flatten()[:3].tolist()} built in; these weights were trained for "
                "another value range or data set"
            )
