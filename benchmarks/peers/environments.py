"""An environment of its own for each peer: their pins contradict each other and ours."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from edgesr.errors import EnvironmentLimitError

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Peer:
    """A converter and how to call it.

    Attributes:
        name: of its environment and of `requirements/<name>.txt`.
        python: oldest Python it installs on.
        script: in this folder; run by the environment's Python.
    """

    name: str
    python: tuple[int, int]
    script: str


TENSORFLOW = Peer("tensorflow", (3, 11), "convert_tensorflow.py")
LITERT_TORCH = Peer("litert-torch", (3, 11), "convert_litert_torch.py")
ONNX2TF = Peer("onnx2tf", (3, 12), "convert_onnx2tf.py")
PEERS = (TENSORFLOW, LITERT_TORCH, ONNX2TF)
"""Converters."""
NNCF = Peer("nncf", (3, 11), "quantizers/by_nncf.py")
AI_EDGE = Peer("litert-torch", (3, 11), "quantizers/by_ai_edge.py")
TENSORFLOW_PTQ = Peer("tensorflow", (3, 11), "quantizers/by_tensorflow.py")
QUANTIZERS = (NNCF, AI_EDGE, TENSORFLOW_PTQ)
"""Quantizers; litert-torch brings the AI Edge Quantizer along."""

EXECUTORCH = Peer("executorch", (3, 11), "run_executorch.py")
NCNN = Peer("ncnn", (3, 11), "run_ncnn.py")
MNN = Peer("mnn", (3, 11), "run_mnn.py")
"""Runtimes with their own converters."""


def environment(peer: Peer, cache: Path) -> Path:
    """Python of the peer's environment below `cache`; built on first use (minutes, 2-3 GB each).

    Raises:
        EnvironmentLimitError: no Python is new enough, or the packages do not install.
    """
    python = cache / peer.name / "bin" / "python"
    complete = cache / peer.name / "edgesr-complete"
    if complete.exists() and python.exists():
        return python
    cache.mkdir(parents=True, exist_ok=True)
    requirements = _HERE / "requirements" / f"{peer.name}.txt"
    _run([_python_for(peer), "-m", "venv", "--clear", str(cache / peer.name)], peer)
    _run([str(python), "-m", "pip", "install", "--quiet", "-r", str(requirements)], peer)
    complete.touch()
    return python


def _python_for(peer: Peer) -> str:
    """This Python if it is new enough, else a newer one found in PATH."""
    if sys.version_info >= peer.python:
        return sys.executable
    for minor in range(peer.python[1], peer.python[1] + 4):
        found = shutil.which(f"python{peer.python[0]}.{minor}")
        if found and subprocess.run([found, "-c", ""], capture_output=True).returncode == 0:
            return found
    wanted = ".".join(map(str, peer.python))
    raise EnvironmentLimitError(
        f"{peer.name} needs Python {wanted} or newer, and PATH holds none; install one, or leave "
        f"the peer out with --peers"
    )


def _run(command: list[str], peer: Peer) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise EnvironmentLimitError(f"the environment of {peer.name} cannot be built: {last}")
