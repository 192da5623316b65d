"""Intake: a name, a checkpoint or a stranger's factory becomes a `Network`.

    load("plain-m-x3")                 # weights shipped with edgesr
    load("arbsr-plain", scale=(2.2, 4.2))   # the same as "arbsr-plain-x2.2x4.2"
    load("rlfn_x4.pth")                # architecture and scale found from its tensors
    load("weights.pth", architecture="edsr-baseline", scale=2)
    load("mypackage.nets:build", scale=2)
    load("random:ecbsr-m10c16-x2")     # untrained: for latency and certificates, not for pictures

What comes back is in evaluation mode and asks for no gradients; its notes say what was read.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgesr.errors import BadFileError, CheckpointError, UsageError
from edgesr.models.checkpoint import Tensors, first_bytes, is_tflite, read_checkpoint
from edgesr.models.recognise import recognise
from edgesr.models.registry import Entry, create, find_entry, parse_name
from edgesr.network import Network
from edgesr.scales import Scale, checked, scale_text

RANDOM = "random:"
_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".index", ".tflite")


def load(
    spec: str | Path, *, architecture: str | None = None, scale: Scale | None = None
) -> Network:
    """Load a network with its weights.

    Args:
        spec: registry name with shipped weights (`plain-m-x3`), checkpoint file (.safetensors,
            .pth, .pt, .index of TensorFlow, .tflite), `module:factory`, a callable returning a
            module or a `Network`, or `random:NAME`, a registered network with random weights.
        architecture: registry name, with or without scale, that the file must fit. Otherwise it
            is found from the tensors' names and shapes.
        scale: enlargement, where name or weights leave it open (MDSR, networks for any scale,
            strangers' modules).

    Raises:
        UsageError: unknown name, no shipped weights, factory that cannot be called.
        BadFileError: missing, truncated, hostile, or no checkpoint.
        CheckpointError: the weights do not fit, or are not finite.
    """
    text = str(spec)
    path = Path(text)
    scale = None if scale is None else checked(scale)
    if path.exists() or path.suffix.lower() in _SUFFIXES or isinstance(spec, Path):
        network = _from_file(path, architecture, scale)
    elif text.startswith(RANDOM):
        network = _untrained(text.removeprefix(RANDOM), scale)
    elif ":" in text:
        network = _from_factory(text, scale)
    elif "/" in text or "\\" in text:
        raise BadFileError(f"`{text}` does not exist")
    else:
        network = _shipped(text, architecture, scale)
    network.module.eval().requires_grad_(False)
    return network


def shipped_names() -> list[str]:
    """Names of networks whose weights come with edgesr."""
    folder = resources.files("edgesr.weights")
    names = (item.name for item in folder.iterdir())
    # `NAME.int8.safetensors` holds integers of the same network, for `edgesr.quantize.store`.
    files = (n for n in names if n.endswith(".safetensors") and ".int8." not in n)
    return sorted(n.removesuffix(".safetensors") for n in files)


def has_weights(entry: Entry, scale: Scale) -> bool:
    """Whether weights of this network come with edgesr."""
    return (entry.name if entry.any_scale else entry.named(scale)) in shipped_names()


def _untrained(name: str, scale: Scale | None) -> Network:
    """The same random weights every time; the name says so wherever it is printed."""
    if scale is not None:
        name = _at_scale(name, scale)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = create(name)
    return replace(network, name=f"{network.name}-random", notes=("random weights",))


def _asked(architecture: str | None, scale: Scale | None) -> tuple[Entry | None, Scale | None]:
    """Entry and scale that the caller insists on."""
    if architecture is None:
        return None, scale
    entry = find_entry(architecture)
    if entry is not None:
        if scale is not None:
            entry.check(scale)
        return entry, scale
    entry, named = parse_name(architecture)
    if scale not in (None, named):
        raise UsageError(f"`{architecture}` and scale {scale_text(scale)} contradict each other")
    return entry, named


def _at_scale(name: str, scale: Scale) -> str:
    """The name with its scale, where it has none yet.

    Raises:
        UsageError: it has another.
    """
    if (known := find_entry(name)) is not None:
        return known.named(scale)
    if parse_name(name)[1] != scale:
        raise UsageError(f"`{name}` and scale {scale_text(scale)} contradict each other")
    return name


def _shipped(name: str, architecture: str | None, scale: Scale | None) -> Network:
    if scale is not None and (known := find_entry(name)) is not None:
        name = known.named(scale)
    entry, named = parse_name(name)
    if scale not in (None, named) or architecture not in (None, entry.name, name):
        raise UsageError(f"`{name}` says what it is; drop --architecture and --scale")
    shipped = shipped_names()
    file = entry.name if entry.any_scale else name
    if file not in shipped:
        raise UsageError(
            f"no weights are shipped for `{name}`; shipped are {', '.join(shipped) or 'none'}. "
            f"Give a checkpoint file of it, or `random:{name}` for untrained weights"
        )
    with resources.as_file(resources.files("edgesr.weights") / f"{file}.safetensors") as path:
        network = _from_file(path, entry.name, named)
    return replace(network, licence="Apache-2.0")


def _from_file(path: Path, architecture: str | None, scale: Scale | None) -> Network:
    entry, scale = _asked(architecture, scale)
    if is_tflite(first_bytes(path)):
        from edgesr.models.tflite_weights import load_tflite

        return load_tflite(path, entry=entry, scale=scale)
    tensors = read_checkpoint(path)
    if path.name.endswith(".int8.safetensors"):
        raise BadFileError(
            f"`{path}` is in 8 bits already; name the network it was made from (export, eval, "
            "doctor and quantize qat take the file itself)"
        )
    match = recognise(tensors, str(path), entry=entry, scale=scale)
    if match is None:
        return _from_spandrel(path, tensors)
    network = create(match.name)
    network.module.load_state_dict(match.tensors)
    note = f"{len(match.tensors)} tensors of {path.name}, names as in {match.keymap.source}"
    return replace(network, licence="unknown", notes=(note,))


def _from_spandrel(path: Path, tensors: Tensors) -> Network:
    """Community architectures through `spandrel`, when it is installed."""
    sample = ", ".join(list(tensors)[:3])
    unknown = f"`{path}` is of no architecture that edgesr knows (its weights: {sample}, ...)"
    try:
        import spandrel  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise CheckpointError(
            f"{unknown}. spandrel may know it: pip install 'edgesr[community]'; or name the "
            "architecture with --architecture, or give a `module:factory`"
        ) from None
    except Exception as error:  # a torchvision built for another torch
        raise CheckpointError(f"{unknown}, and spandrel does not start here: {error}") from error
    try:
        found: Any = spandrel.ModelLoader(device="cpu").load_from_state_dict(dict(tensors))
    except Exception as error:
        raise CheckpointError(f"{unknown}; spandrel does not know it either") from error
    if found.input_channels not in (1, 3) or found.input_channels != found.output_channels:
        raise CheckpointError(
            f"`{path}` is a {found.architecture.name} from {found.input_channels} to "
            f"{found.output_channels} channels; edgesr handles RGB and luma networks"
        )
    return Network(
        module=found.model,
        name=f"{found.architecture.id}-x{found.scale}".lower(),
        scale=found.scale,
        colour="rgb" if found.input_channels == 3 else "y",
        pad_multiple=max(1, found.size_requirements.multiple_of),
        # A stranger's attention may look at the whole image; claiming less is safe.
        exact_tiling=False,
        paper=found.architecture.name,
        licence="unknown",
        notes=(f"{path.name} through spandrel",),
    )


@contextmanager
def _importable_from_here() -> Iterator[None]:
    """Let modules of the current folder be imported, as `python -m` does."""
    sys.path.insert(0, "")
    try:
        yield
    finally:
        sys.path.remove("")


def _from_factory(spec: str, scale: Scale | None) -> Network:
    module_name, _, attribute = spec.partition(":")
    try:
        with _importable_from_here():
            factory: Any = importlib.import_module(module_name)
            for part in attribute.split("."):
                factory = getattr(factory, part)
            made = factory if isinstance(factory, nn.Module | Network) else factory()
    except Exception as error:  # a stranger's code may raise anything
        raise UsageError(f"`{spec}` gave no network: {type(error).__name__}: {error}") from error
    if isinstance(made, Network):
        return made
    if not isinstance(made, nn.Module):
        raise UsageError(f"`{spec}` returned a {type(made).__name__}, not a torch module")
    colour, found = _probe(made.eval(), spec)
    if scale not in (None, found):
        raise UsageError(f"`{spec}` enlarges by {found}, not by {scale_text(scale)}")
    return Network(
        module=made,
        name=f"{attribute}-x{found}",
        scale=found,
        colour="rgb" if colour == 3 else "y",
        value_range=float(getattr(made, "value_range", 1.0)),
        exact_tiling=False,
        licence="unknown",
        notes=(f"module made by {spec}",),
    )


def _probe(module: nn.Module, spec: str) -> tuple[int, int]:
    """Channels and scale of a stranger's module, found by running it on a small image."""
    side = 48
    reason = ""
    for channels in (3, 1):
        try:
            with torch.inference_mode():
                shape = tuple(module(torch.zeros(1, channels, side, side)).shape)
        except Exception as error:  # a stranger's code may raise anything
            reason = reason or str(error).strip().splitlines()[0]
            continue
        scale = shape[-1] // side
        if scale >= 1 and shape == (1, channels, scale * side, scale * side):
            return channels, scale
        reason = f"{channels}x{side}x{side} became {'x'.join(map(str, shape[1:]))}"
    raise UsageError(f"`{spec}` is no image enlarging network: {reason}")
