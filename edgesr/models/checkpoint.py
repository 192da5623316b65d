"""Open a file of weights without trusting it: container -> named float tensors.

Four containers, told apart by their bytes and not by their names: safetensors, torch's zip
archive, its older bare pickle, and the index of a TensorFlow checkpoint. Pickles are opened with
`weights_only`, so that no code of the file runs; archives are read in place, nothing is extracted;
every tensor is checked to be finite and as large as it claims to be before anybody computes with
it.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgesr.errors import BadFileError, CheckpointError
from edgesr.models.tf_checkpoint import is_tf_index, read_tf_checkpoint

Tensors = dict[str, Tensor]

_ZIP, _PICKLE, _TFLITE = b"PK\x03\x04", b"\x80", b"TFL3"
_NESTS = (
    "params_ema", "params", "ema", "state_dict", "model_state_dict", "model_state", "model",
    "network", "net", "net_g", "generator", "module", "weights",
)  # fmt: skip
"""Where training code keeps the weights inside its checkpoint; the averaged ones first."""
_PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "net.", "net_g.", "generator.")
"""What wrappers (DataParallel, compile, trainers) put before every key."""


def first_bytes(path: Path, count: int = 64) -> bytes:
    """The beginning of a file that must be there, be a file, be readable, and not be empty.

    Raises:
        BadFileError: it is not.
    """
    if path.is_dir():
        raise BadFileError(f"`{path}` is a folder; name the checkpoint file in it")
    if not path.exists():
        raise BadFileError(f"`{path}` does not exist")
    try:
        with path.open("rb") as file:
            head = file.read(count)
    except OSError as error:
        raise BadFileError(f"`{path}` cannot be read: {error.strerror}") from error
    if not head:
        raise BadFileError(f"`{path}` is empty; copy or download it again")
    return head


def is_tflite(head: bytes) -> bool:
    """Whether a file that begins so is a TFLite model."""
    return head[4:8] == _TFLITE


def read_checkpoint(path: Path) -> Tensors:
    """Read the weights of `path`: name to tensor, float32, nesting and wrapper prefixes removed.

    Raises:
        BadFileError: missing, empty, truncated, hostile, or no checkpoint at all.
        CheckpointError: NaN or infinite weights.
    """
    head = first_bytes(path)
    if head.startswith(_ZIP):
        _check_archive(path)
        content = _read_torch(path)
    elif head[8:9] == b"{":
        # Before pickles: the eight bytes are the header's length, which may begin as they do.
        content = _read_safetensors(path)
    elif head.startswith(_PICKLE):
        content = _read_torch(path)
    elif is_tf_index(path):
        content = read_tf_checkpoint(path)
    else:
        raise BadFileError(f"`{path}` is no checkpoint: {_what_it_is(head)}")
    tensors = _without_prefixes(_state_dict(content, path))
    return {name: _checked(name, tensor, path) for name, tensor in tensors.items()}


def _what_it_is(head: bytes) -> str:
    """A guess at what was given instead, with the way out."""
    if head.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer; fetch the file itself with `git lfs pull`"
    if head.lstrip()[:1] == b"<":
        return "it is a web page, probably of a failed download; download it again"
    if is_tflite(head):
        return "it is a TFLite model"
    return "edgesr reads .safetensors, .pth and .pt of torch, .index of TensorFlow, and .tflite"


def _check_archive(path: Path) -> None:
    """Refuse zip files that torch did not write, before anything in them is read."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise BadFileError(f"`{path}` is a damaged or truncated archive; copy it again") from error
    for member in members:
        parts = re.split(r"[/\\]", member.filename)
        if ".." in parts or parts[0] == "" or ":" in parts[0]:
            raise BadFileError(
                f"`{path}` is a hostile archive: its member `{member.filename}` points outside "
                "of it; nothing was read or extracted"
            )
        if member.compress_type != zipfile.ZIP_STORED:
            # torch stores; compression hides bombs.
            raise BadFileError(
                f"`{path}` is a compressed archive, not a checkpoint that torch wrote; unpack it "
                "yourself and give the checkpoint file in it"
            )
    if not any(member.filename.endswith("data.pkl") for member in members):
        raise BadFileError(f"`{path}` is a zip archive without weights (no `data.pkl` in it)")


def _read_torch(path: Path) -> Any:
    try:
        # An open file, since torch goes by the suffix of a path.
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # hostile bytes can raise anything inside the unpickler
        named = re.search(r"GLOBAL (\S+) was not", str(error))
        if named is not None:
            raise BadFileError(
                f"`{path}` holds python objects (`{named[1]}`), not only tensors, and could run "
                "code; it was not opened. Save `model.state_dict()` instead of the model"
            ) from error
        told = re.search(r"WeightsUnpickler error:\s*(\S.*)", str(error))
        raise BadFileError(
            f"`{path}` is damaged or truncated, or holds python objects that could run code; it "
            f"was not opened ({told[1].strip() if told else _reason(error)})"
        ) from error


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, ValueError, OSError, RuntimeError) as error:
        raise BadFileError(
            f"`{path}` is a damaged or truncated safetensors file: {_reason(error)}"
        ) from error


def _reason(error: Exception) -> str:
    """First sentence of a library's message."""
    lines = str(error).strip().splitlines()
    return lines[0].split("  (Could")[0][:160] if lines else type(error).__name__


def _state_dict(content: Any, path: Path) -> Tensors:
    """Find the weights inside what a training script saved."""
    for _ in range(4):
        if not isinstance(content, Mapping):
            break
        inner = next((content[k] for k in _NESTS if isinstance(content.get(k), Mapping)), None)
        if inner is None:
            break
        content = inner
    if isinstance(content, Mapping):
        tensors = {str(k): v for k, v in content.items() if isinstance(v, Tensor)}
        if tensors:
            return tensors
        keys = ", ".join(f"`{key}`" for key in list(content)[:5]) or "nothing"
        raise BadFileError(f"`{path}` holds no weights; it holds {keys}")
    raise BadFileError(
        f"`{path}` holds a {type(content).__name__}, not a dictionary of weights; "
        "save `model.state_dict()`"
    )


def _without_prefixes(tensors: Tensors) -> Tensors:
    while True:
        common = next((p for p in _PREFIXES if all(k.startswith(p) for k in tensors)), None)
        if common is None:
            return tensors
        tensors = {key.removeprefix(common): tensor for key, tensor in tensors.items()}


def _checked(name: str, tensor: Tensor, path: Path) -> Tensor:
    """The tensor as float32 where it is floating, owned, finite."""
    if tensor.layout != torch.strided or tensor.is_quantized:
        raise CheckpointError(f"`{path}`: `{name}` is sparse or quantized; save it dense and float")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise BadFileError(
            f"`{path}`: `{name}` claims {tensor.numel()} values and stores fewer; the file is "
            "damaged or hostile"
        )
    if not tensor.is_floating_point():
        return tensor
    if not bool(torch.isfinite(tensor).all()):
        bad = int((~torch.isfinite(tensor)).sum())
        raise CheckpointError(
            f"`{path}`: `{name}` has {bad} NaN or infinite of {tensor.numel()} values; the "
            "training diverged or the file is damaged, use an earlier checkpoint"
        )
    return tensor.detach().to(torch.float32)
