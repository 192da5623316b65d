"""Every bad file ends in one sentence; none is run, none is unpacked."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from containers import CONTAINERS, NAME, Tensors
from safetensors.torch import save_file
from torch import nn

from edgesr.errors import BadFileError, EdgesrError
from edgesr.models import create
from edgesr.models.checkpoint import read_checkpoint
from edgesr.models.intake import load


@pytest.fixture
def weights() -> Tensors:
    torch.manual_seed(7)
    return create(NAME).module.state_dict()


class Evil:
    """Runs code when unpickled by a careless reader."""

    def __reduce__(self):
        return (Path.write_text, (Path("owned"), "owned"))


def _evil_zip(path: Path) -> None:
    torch.save({"weight": Evil()}, path)


def _evil_legacy(path: Path) -> None:
    path.write_bytes(pickle.dumps({"weight": Evil()}))


def _zip_of(path: Path, members: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def _truncated(path: Path, save: Callable[..., None]) -> None:
    whole = path.with_suffix(".whole")
    save(create(NAME).module.state_dict(), whole)
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])


def _claims_too_much(path: Path) -> None:
    torch.save({"weight": torch.zeros(1).expand(1_000_000, 1_000_000)}, path)


def _truncated_tflite(path: Path) -> None:
    path.write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(40))


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda p: None, "does not exist"),
    "folder": (lambda p: p.mkdir(), "is a folder"),
    "empty": (lambda p: p.touch(), "is empty"),
    "text": (lambda p: p.write_text("weights go here"), "is no checkpoint"),
    "short": (lambda p: p.write_bytes(b"\x08"), "is no checkpoint"),
    "picture": (lambda p: p.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(64)), "is no checkpoint"),
    "web page": (lambda p: p.write_text("<!DOCTYPE html><html>404"), "web page"),
    "lfs": (lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
    "truncated zip": (lambda p: _truncated(p, torch.save), "truncated"),
    "truncated legacy": (lambda p: _truncated(p, CONTAINERS["legacy"]), "truncated"),
    "truncated safetensors": (lambda p: _truncated(p, save_file), "truncated safetensors"),
    "lying safetensors": (
        lambda p: p.write_bytes((1 << 62).to_bytes(8, "little") + b"{}"), "safetensors",
    ),
    "truncated tflite": (_truncated_tflite, "truncated TFLite"),
    "hostile zip": (_evil_zip, "could run code"),
    "hostile legacy": (_evil_legacy, "could run code"),
    "whole model": (lambda p: torch.save(nn.Conv2d(1, 1, 1), p), "state_dict"),
    "zip slip": (lambda p: _zip_of(p, {"../../owned": b"x", "a/data.pkl": b""}), "hostile archive"),
    "absolute": (lambda p: _zip_of(p, {"/owned": b"x"}), "hostile archive"),
    "drive": (lambda p: _zip_of(p, {"C:\\owned": b"x"}), "hostile archive"),
    "zip bomb": (
        lambda p: _zip_of(p, {"a/data.pkl": bytes(1 << 20)}, zipfile.ZIP_DEFLATED), "compressed",
    ),
    "other zip": (lambda p: _zip_of(p, {"notes.txt": b"x"}), "without weights"),
    "garbled pickle": (lambda p: _zip_of(p, {"a/data.pkl": b"\x80\x02garbage"}), "damaged"),
    "list": (lambda p: torch.save([torch.zeros(1)], p), "list, not a dictionary"),
    "no tensors": (lambda p: torch.save({"epoch": 3, "lr": 0.1}, p), "holds `epoch`, `lr`"),
    "sparse": (lambda p: torch.save({"w": torch.eye(3).to_sparse()}, p), "sparse"),
    "stretched": (_claims_too_much, "claims 1000000000000 values"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_files_end_in_one_sentence(case: str, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, message = BAD[case]
    path = tmp_path / "file.pth"
    make(path)
    before = {p.name for p in tmp_path.iterdir()}
    with pytest.raises(BadFileError) as raised:
        load(str(path))
    assert message in str(raised.value) and "file.pth" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert {p.name for p in tmp_path.iterdir()} == before, "something was extracted or run"


@pytest.mark.parametrize("container", ["zip", "legacy", "safetensors"])
def test_files_cut_anywhere_never_give_a_traceback(
    container: str, weights: Tensors, tmp_path: Path, rng: np.random.Generator
):
    """Cut and flipped bytes: an error of ours, or (a flipped weight) a network all the same."""
    CONTAINERS[container]({"tail.bias": weights["tail.bias"]}, tmp_path / "whole")
    data = (tmp_path / "whole").read_bytes()
    path = tmp_path / "damaged.pth"
    for _ in range(60):
        damaged = bytearray(data[: rng.integers(1, len(data))])
        damaged[rng.integers(len(damaged))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            read_checkpoint(path)
        except EdgesrError as error:
            assert "damaged.pth" in str(error)


def test_pickles_are_not_read_by_suffix(tmp_path: Path):
    """A hostile pickle with an innocent name is still opened as what it is."""
    _evil_legacy(tmp_path / "weights.safetensors")
    with pytest.raises(BadFileError, match="could run code"):
        load(tmp_path / "weights.safetensors")
    assert not Path("owned").exists()
