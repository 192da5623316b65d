"""A TFLite file that learns on the phone: `adapt`, `infer`, `save` and `restore` in one file.

    file = export_training(edgesr.load("mzsr-x2"), shape=(128, 128), out="out")

| signature | in | out |
|---|---|---|
| `adapt` | `image` 1xHxWx3 in [0, 1], `kernel` 15x15 with sum 1, `rate` | `loss` before the step |
| `infer` | `image` | `image`, enlarged with the weights as they now are |
| `save` | | all weights, to be put into a file by the app |
| `restore` | all weights | `restored`, a number without meaning |

Every operator is one of LiteRT's own, so that the app needs no TensorFlow. The kernel's centre of
mass must be its middle tap. TensorFlow is needed here, to write the file: installed beside edgesr
(`pip install 'edgesr[tf]'`), or in another Python that EDGESR_TENSORFLOW names.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from edgesr.adapt.step import RATE, adapt, as_batch, placed
from edgesr.data.bicubic import imresize
from edgesr.data.degradations.gaussian import SIZE, isotropic_gaussian
from edgesr.data.images import Image, written_beside
from edgesr.errors import EnvironmentLimitError, OutputExistsError, ParityError, UsageError
from edgesr.models.mzsr import MZSR
from edgesr.network import Network

PYTHON = "EDGESR_TENSORFLOW"
"""Environment variable: a Python that has TensorFlow."""
TOLERANCE = 1e-4
"""Largest difference from torch after a step, of the pixel range."""
_SCRIPT = Path(__file__).parent / "tflite" / "training_tensorflow.py"


@dataclass(frozen=True)
class TrainingFile:
    """What was written and how close one step of it is to torch's."""

    path: Path
    operators: dict[str, int]
    difference: float
    """Largest, of the enlarged image after one step, as a share of the range."""
    moved: float
    """How far that step moved the enlarged image: what the difference is to be compared with."""


def export_training(
    network: Network, *, shape: tuple[int, int], out: Path | str = ".", force: bool = False
) -> TrainingFile:
    """Write the file, run one step in LiteRT and in torch, and keep it if they agree.

    Args:
        network: `mzsr-x2`.
        shape: height and width of the low-resolution image.
        out: folder.

    Raises:
        UsageError: another network; an image that is smaller than the kernel or does not divide.
        OutputExistsError: the file is there.
        EnvironmentLimitError: there is no TensorFlow.
        ParityError: LiteRT's step is not torch's.
    """
    if not isinstance(network.module, MZSR):
        raise UsageError(f"`{network.name}` has no on-device training; `mzsr-x2` has")
    scale, (height, width) = network.module.scale, shape
    if min(shape) < SIZE or height % scale or width % scale:
        raise UsageError(
            f"{height}x{width} cannot be trained on: both sides must be at least {SIZE}, the "
            f"kernel's, and divide by {scale}"
        )
    path = Path(out) / f"{network.name}_training_{height}x{width}.tflite"
    if path.exists() and not force:
        raise OutputExistsError(f"{path} exists; --force overwrites it")
    python = tensorflow_python()
    with tempfile.TemporaryDirectory() as scratch:
        draft = Path(scratch) / "model.tflite"
        _write(network.module, shape, python, Path(scratch), draft)
        result = _checked(network.module, shape, draft, path)
        with written_beside(path) as file:
            file.write(draft.read_bytes())
    return result


def tensorflow_python() -> str:
    """A Python that has TensorFlow.

    Raises:
        EnvironmentLimitError: there is none.
    """
    named = os.environ.get(PYTHON)
    if named and not Path(named).is_file():
        raise EnvironmentLimitError(f"{PYTHON}={named} is no file; name a Python with TensorFlow")
    if named:
        return named
    if importlib.util.find_spec("tensorflow") is not None:
        return sys.executable
    raise EnvironmentLimitError(
        "files that learn on the phone are written by TensorFlow, which is not installed: "
        f"pip install 'edgesr[tf]', or set {PYTHON} to a Python that has it"
    )


def _write(module: MZSR, shape: tuple[int, int], python: str, scratch: Path, draft: Path) -> None:
    fixed = placed(module, isotropic_gaussian(SIZE, 1.0))
    filters = fixed.enlarge.weight[: module.scale**2, 0].permute(1, 2, 0)[:, :, None]
    arrays: dict[str, npt.NDArray[np.float32]] = {"enlarge": filters.numpy()}
    for index, conv in enumerate(fixed.convs):
        weight, bias = conv.get_parameter("weight"), conv.get_parameter("bias")
        arrays[f"weight_{index}"] = _hwio(weight)
        arrays[f"bias_{index}"] = bias.detach().numpy()
    np.savez(scratch / "weights.npz", **arrays)  # type: ignore[arg-type]
    facts = {"scale": module.scale, "height": shape[0], "width": shape[1], "kernel": SIZE}
    (scratch / "facts.json").write_text(json.dumps(facts | {"layers": len(module.convs)}))
    command = [python, str(_SCRIPT), str(scratch), str(draft)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise EnvironmentLimitError(f"TensorFlow ({python}) could not write the file: {last}")


def _hwio(weight: torch.Tensor) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = weight.detach().permute(2, 3, 1, 0).contiguous().numpy()
    return array


def _checked(module: MZSR, shape: tuple[int, int], draft: Path, path: Path) -> TrainingFile:
    """One step in both on the same image; then back to the weights the file was written with."""
    image, kernel = _photo_like(*shape), isotropic_gaussian(SIZE, 2.0**0.5)
    learner = Learner(draft)
    untouched = learner.save()
    before = learner.infer(image)
    learner.adapt(image, kernel, RATE)
    after = learner.infer(image)
    learner.restore(untouched)
    adapted = adapt(module, image, kernel, 1)
    with torch.inference_mode():
        expected = adapted(as_batch(image))
    difference = float(np.abs(after - expected[0].permute(1, 2, 0).numpy()).max())
    moved = float(np.abs(after - before).max())
    if difference > TOLERANCE or moved == 0 or not np.array_equal(learner.infer(image), before):
        raise ParityError(
            f"{path.name}: after one step LiteRT's image is {difference:.2g} of the range from "
            f"torch's (allowed {TOLERANCE:g}), the step itself moved it by {moved:.2g}; the file "
            "was not kept"
        )
    return TrainingFile(path, learner.operators(), difference, moved)


def _photo_like(height: int, width: int) -> Image:
    """Smooth noise: what a step on it does is neither nothing nor chaos."""
    noise = np.random.default_rng(0).integers(
        0, 256, (height // 4 + 1, width // 4 + 1, 3), np.uint8
    )
    return imresize(noise, 4)[:height, :width]


class Learner:
    """The file in LiteRT, one thread; images are uint8 HxWx3."""

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_path=str(path), num_threads=1)
        self._run: dict[str, Any] = {
            name: self._interpreter.get_signature_runner(name)
            for name in ("adapt", "infer", "save", "restore")
        }

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the image it takes."""
        _, height, width, _ = self._run["infer"].get_input_details()["image"]["shape"]
        return int(height), int(width)

    def adapt(self, image: Image, kernel: npt.NDArray[np.float64], rate: float) -> float:
        """One gradient step; the loss before it."""
        result = self._run["adapt"](
            image=_floats(image), kernel=kernel.astype(np.float32), rate=np.float32(rate)
        )
        return float(result["loss"])

    def infer(self, image: Image) -> npt.NDArray[np.float32]:
        """The enlarged image, in [0, 1]."""
        output: npt.NDArray[np.float32] = self._run["infer"](image=_floats(image))["image"][0]
        return output

    def save(self) -> dict[str, npt.NDArray[np.float32]]:
        """All weights by name."""
        return dict(self._run["save"]())

    def restore(self, weights: dict[str, npt.NDArray[np.float32]]) -> None:
        """Set all weights."""
        self._run["restore"](**weights)

    def operators(self) -> dict[str, int]:
        """Operators of one step, by name."""
        counts: dict[str, int] = {}
        for operator in self._interpreter._get_ops_details():
            counts[operator["op_name"]] = counts.get(operator["op_name"], 0) + 1
        return counts


def _floats(image: Image) -> npt.NDArray[np.float32]:
    return image[None].astype(np.float32) / np.float32(255)
