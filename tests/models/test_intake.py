"""Intake: every container and nesting gives the same network."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from containers import CONTAINERS, NAME, Tensors
from safetensors.torch import save_file
from torch import nn

from edgesr.errors import BadFileError, CheckpointError, UsageError
from edgesr.models import create, entries, intake
from edgesr.models.intake import load
from edgesr.models.keymaps import KEYMAPS
from edgesr.models.recognise import expected_shapes, recognise
from edgesr.network import Network
from edgesr.scales import Scale


@pytest.fixture
def weights() -> Tensors:
    torch.manual_seed(7)
    return create(NAME).module.state_dict()


def same(network: Network, weights: Tensors) -> bool:
    state = network.module.state_dict()
    return state.keys() == weights.keys() and all(torch.equal(state[k], weights[k]) for k in state)


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_the_same_network(container: str, weights: Tensors, tmp_path: Path):
    path = tmp_path / "any.name"
    CONTAINERS[container](weights, path)
    network = load(path)
    assert network.name == NAME and network.scale == 3 and network.value_range == 1.0
    assert same(network, weights)
    assert not network.module.training
    assert not any(parameter.requires_grad for parameter in network.module.parameters())
    assert "any.name" in network.notes[0] and network.licence == "unknown"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(dtype: torch.dtype, weights: Tensors, tmp_path: Path):
    path = tmp_path / "half.pth"
    torch.save({key: tensor.to(dtype) for key, tensor in weights.items()}, path)
    expected = {key: tensor.to(dtype).float() for key, tensor in weights.items()}
    assert same(load(path), expected)


def spelled_as(source: str, name: str) -> Tensors:
    """Random weights of a network under the names of a published code base."""
    (keymap,) = [k for k in KEYMAPS if k.source == source]
    torch.manual_seed(1)
    state = create(name).module.state_dict()
    return {THEIRS[source](key): tensor for key, tensor in state.items()} | dict(keymap.constants)


def _edsr(key: str) -> str:
    """sanghyun-son/EDSR-PyTorch, written out by hand from its code."""
    for ours, theirs in (("first", "body.0"), ("second", "body.2"), ("blocks", "body")):
        key = key.replace(ours, theirs)
    key = key.replace("tail.", "tail.1.").replace("upsample.", "tail.0.").replace("fuse", "body.16")
    return key.replace("head", "head.0")


def _mdsr(key: str) -> str:
    for ours, theirs in (("first", "body.0"), ("second", "body.2"), ("blocks", "body")):
        key = key.replace(ours, theirs)
    key = key.replace("tail.", "tail.0.").replace("pre.", "pre_process.")
    return key.replace("fuse", "body.16").replace("head", "head.0")


def _basicsr(key: str) -> str:
    for ours, theirs in (
        ("first", "conv1"), ("second", "conv2"), ("blocks", "body"), ("tail", "conv_last"),
        ("head", "conv_first"), ("fuse", "conv_after_body"),
    ):  # fmt: skip
        key = key.replace(ours, theirs)
    return key


THEIRS: dict[str, Callable[[str], str]] = {
    "sanghyun-son/EDSR-PyTorch, EDSR": _edsr,
    "sanghyun-son/EDSR-PyTorch, MDSR": _mdsr,
    "XPixelGroup/BasicSR, EDSR": _basicsr,
}


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("source", [s for s in THEIRS if "MDSR" not in s])
def test_edsr_as_others_spell_it(source: str, scale: int, tmp_path: Path):
    """The other spellings are tested on the published files themselves, with the pack."""
    path = tmp_path / "edsr.pt"
    torch.save(spelled_as(source, f"edsr-baseline-x{scale}"), path)
    network = load(path)
    assert network.name == f"edsr-baseline-x{scale}" and source in network.notes[0]
    torch.manual_seed(1)
    assert same(network, create(network.name).module.state_dict())


def test_mdsr_holds_every_scale_so_one_must_be_named(tmp_path: Path):
    path = tmp_path / "mdsr.pt"
    torch.save(spelled_as("sanghyun-son/EDSR-PyTorch, MDSR", "mdsr-baseline-x2"), path)
    with pytest.raises(CheckpointError, match=r"mdsr-baseline-x2, .*-x3, .*-x4; .* --scale"):
        load(path)
    network = load(path, scale=3)
    assert network.name == "mdsr-baseline-x3" and network.module.scale == 3


def test_another_mean_shift_is_refused(tmp_path: Path):
    """A network trained on 0..1 has the mean in 0..1: same names, another function."""
    tensors = spelled_as("sanghyun-son/EDSR-PyTorch, EDSR", "edsr-baseline-x2")
    tensors["sub_mean.bias"] = tensors["sub_mean.bias"] / 255
    torch.save(tensors, tmp_path / "edsr.pt")
    with pytest.raises(CheckpointError, match=r"sub_mean\.bias.*another value range"):
        load(tmp_path / "edsr.pt")


def test_no_two_networks_are_confused():
    """Whatever we train and save is recognised as itself, from names and shapes alone."""
    for entry in entries().values():
        for scale in entry.scales:
            shapes = expected_shapes(entry, scale)
            tensors = {key: torch.empty(shape) for key, shape in shapes.items()}
            match = recognise(tensors, "any", scale=scale)
            assert match is not None and match.name == f"{entry.name}-x{scale}"


def test_architecture_is_forced(weights: Tensors, tmp_path: Path):
    path = tmp_path / "weights.pth"
    torch.save(weights, path)
    assert load(path, architecture="ncnet").name == NAME
    assert load(path, architecture=NAME).name == NAME
    with pytest.raises(CheckpointError, match=r"does not fit rlfn-.*which was asked for"):
        load(path, architecture="rlfn")
    with pytest.raises(CheckpointError, match="scale 2 was asked for"):
        load(path, scale=2)
    with pytest.raises(UsageError, match="did you mean ncnet"):
        load(path, architecture="ncnett")
    with pytest.raises(UsageError, match="comes in scales"):
        load(path, architecture="ncnet", scale=8)


# Bad weights in a good file


def test_missing_and_left_over_keys_are_named(weights: Tensors, tmp_path: Path):
    weights["stranger.weight"] = weights.pop("tail.bias")
    weights["body.0.weight"] = weights["body.0.weight"][:, :, :1]
    torch.save(weights, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError) as raised:
        load(tmp_path / "odd.pth")
    message = str(raised.value)
    assert "1 missing (tail.bias)" in message
    assert "1 left over (stranger.weight)" in message
    assert "body.0.weight is 32x3x1x3, not 32x3x3x3" in message
    assert "ncnet-x3" in message and "--architecture" in message


def test_published_keys_are_reported_in_their_own_spelling(tmp_path: Path):
    source = "XPixelGroup/BasicSR, EDSR"
    tensors = spelled_as(source, "edsr-baseline-x2")
    tensors["conv_last.weight"] = torch.zeros(3, 5, 3, 3)
    torch.save(tensors, tmp_path / "edsr.pth")
    with pytest.raises(CheckpointError, match=r"conv_last\.weight is 3x5x3x3, not 3x64x3x3"):
        load(tmp_path / "edsr.pth")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("container", ["safetensors", "zip"])
def test_weights_that_are_not_finite(
    value: float, container: str, weights: Tensors, tmp_path: Path
):
    weights["body.2.bias"][5] = value
    CONTAINERS[container](weights, tmp_path / "diverged")
    with pytest.raises(CheckpointError, match=r"`body\.2\.bias` has 1 NaN or infinite of 32"):
        load(tmp_path / "diverged")


def test_safetensors_that_begin_as_pickles_do(weights: Tensors, tmp_path: Path):
    for padding in range(0, 256, 8):
        path = tmp_path / f"{padding}.safetensors"
        save_file(weights, path, metadata={"note": "x" * padding})
        if path.read_bytes()[:1] == b"\x80":
            break
    else:
        pytest.fail("no length of the header begins as pickles do")
    assert same(load(path), weights)


def test_unknown_architecture_names_the_ways_out(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "spandrel", None)
    torch.save({"attention.query.weight": torch.zeros(4, 4)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"attention\.query\.weight.*edgesr\[community\]"):
        load(tmp_path / "other.pth")


def test_spandrel_is_asked_when_it_is_there(tmp_path: Path, monkeypatch):
    class Loader:
        def __init__(self, device: str):
            assert device == "cpu"

        def load_from_state_dict(self, tensors: Tensors) -> types.SimpleNamespace:
            assert list(tensors) == ["strange.weight"]
            return types.SimpleNamespace(
                model=nn.Upsample(scale_factor=2), scale=2, input_channels=3, output_channels=3,
                size_requirements=types.SimpleNamespace(multiple_of=8),
                architecture=types.SimpleNamespace(id="SwinX", name="Swin X"),
            )  # fmt: skip

    monkeypatch.setitem(sys.modules, "spandrel", types.SimpleNamespace(ModelLoader=Loader))
    torch.save({"strange.weight": torch.zeros(4)}, tmp_path / "x.pth")
    network = load(tmp_path / "x.pth")
    assert (network.name, network.pad_multiple, network.exact_tiling) == ("swinx-x2", 8, False)


# Names and factories


def test_names_without_shipped_weights_say_which_have_some(monkeypatch):
    monkeypatch.setattr(intake, "shipped_names", lambda: ["plain-m-x3"])
    with pytest.raises(UsageError, match=r"no weights are shipped for `rlfn-x4`.*plain-m-x3"):
        load("rlfn-x4")
    with pytest.raises(UsageError, match="no network is called `nonsense`"):
        load("nonsense-x2")
    with pytest.raises(BadFileError, match="does not exist"):
        load("runs/best-x2")


def test_a_name_loads_what_is_shipped(weights: Tensors, tmp_path: Path, monkeypatch):
    save_file(weights, tmp_path / f"{NAME}.safetensors")
    (tmp_path / f"{NAME}.md").write_text("card")
    monkeypatch.setattr(intake.resources, "files", lambda package: tmp_path)
    assert intake.shipped_names() == [NAME]
    assert same(load(NAME), weights) and load(NAME).licence == "Apache-2.0"
    with pytest.raises(UsageError, match="says what it is"):
        load(NAME, scale=2)


def test_every_shipped_weight_loads():
    for name in intake.shipped_names():
        fixed = name[-3:-1] == "-x"
        network = load(name, scale=None if fixed else (1.5, 2.25))
        assert network.name == (name if fixed else f"{name}-x1.5x2.25")
        assert network.licence == "Apache-2.0"


def test_factories(tmp_path: Path, monkeypatch):
    (tmp_path / "stranger.py").write_text(
        "import torch\n"
        "def build(): return torch.nn.Upsample(scale_factor=2)\n"
        "nn = torch.nn\n"
        "def luma(): return nn.Sequential(nn.Conv2d(1, 4, 1), nn.PixelShuffle(2))\n"
        "def same(): return torch.nn.Linear(3, 3)\n"
        "def number(): return 3\n"
        "def broken(): raise RuntimeError('no luck')\n"
        "ready = torch.nn.Upsample(scale_factor=3)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "stranger", raising=False)
    network = load("stranger:build")
    assert (network.scale, network.colour, network.name) == (2, "rgb", "build-x2")
    assert load("stranger:luma").colour == "y"
    assert load("stranger:ready", scale=3).scale == 3
    for spec, message in (
        ("stranger:number", "returned a int"),
        ("stranger:broken", "RuntimeError: no luck"),
        ("stranger:nothing", "has no attribute 'nothing'"),
        ("strangest:build", "No module named 'strangest'"),
        ("stranger:same", "no image enlarging network"),
    ):
        with pytest.raises(UsageError, match=message):
            load(spec)
    with pytest.raises(UsageError, match="enlarges by 2, not by 4"):
        load("stranger:build", scale=4)


@pytest.mark.parametrize(
    ("spec", "scale", "name"),
    [
        ("mdsr-baseline", 3, "mdsr-baseline-x3-random"),
        ("metasr-plain", (1.5, 1.5), "metasr-plain-x1.5-random"),
        ("metasr-plain-x2", 2, "metasr-plain-x2-random"),
    ],
)
def test_random_weights_at_the_scale_asked_for(spec: str, scale: Scale, name: str):
    network = intake.load(f"random:{spec}", scale=scale)
    assert (network.name, network.scale) == (name, scale)


def test_random_weights_at_two_scales_at_once():
    with pytest.raises(UsageError, match=r"`metasr-plain-x2` and scale 1\.5 contradict"):
        intake.load("random:metasr-plain-x2", scale=(1.5, 1.5))


def test_random_weights_are_the_same_every_time_and_named_so():
    first, second = intake.load("random:ncnet-x2"), intake.load("random:ncnet-x2")
    assert first.name == "ncnet-x2-random" and "random" in first.notes[0]
    for a, b in zip(first.module.parameters(), second.module.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(UsageError, match="random:"):
        intake.load("ecbsr-m4c8-x2")
