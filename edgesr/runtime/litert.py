"""TFLite files in LiteRT's interpreter, or in an older one if that is what is installed.

`ai-edge-litert` comes first. `tflite-runtime` (last built in 2023) needs numpy < 2 and was built
without VNNI kernels: on x86 its int8 is slower than its fp32 (413 against 220 ms for the same net
where LiteRT takes 77 and 242), so its latencies say nothing about a phone. TensorFlow's own
interpreter is the second opinion.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from edgesr.errors import BadFileError, EnvironmentLimitError
from edgesr.manifest import Manifest
from edgesr.runtime.pixels import Array
from edgesr.runtime.session import SessionInfo, TensorSession

_PACKAGES = {
    "ai_edge_litert": ("ai_edge_litert.interpreter", "ai-edge-litert", "litert"),
    "tflite_runtime": ("tflite_runtime.interpreter", "tflite-runtime", "tflite-runtime"),
    "tensorflow": ("tensorflow.lite.python.interpreter", "tensorflow-cpu", "tensorflow"),
}
"""Import name to (interpreter's module, name on PyPI, runtime name), in order of preference."""

_INSTALL = {
    "ai_edge_litert": "pip install ai-edge-litert",
    "tflite_runtime": "pip install tflite-runtime 'numpy<2' (its int8 is slow on x86)",
    "tensorflow": "pip install 'edgesr[tf]'",
}

_SLOW_INT8 = (
    "tflite-runtime runs int8 slower than fp32 on x86; install ai-edge-litert for latencies that "
    "mean something"
)


def open_litert(artifact: Path, manifest: Manifest, threads: int) -> LiteRtSession:
    """The first interpreter that is installed.

    Raises:
        EnvironmentLimitError: none is.
    """
    for package in _PACKAGES:
        if find_spec(package) is not None:
            return LiteRtSession(artifact, manifest, threads, package=package)
    raise EnvironmentLimitError(
        f"{artifact.name} needs a TFLite interpreter: {_INSTALL['ai_edge_litert']}"
    )


def open_reference(artifact: Path, manifest: Manifest, threads: int) -> LiteRtSession:
    """LiteRT's reference kernels: slow, plain C++, the specification of the format."""
    return LiteRtSession(artifact, manifest, threads, reference=True)


def open_tflite_runtime(artifact: Path, manifest: Manifest, threads: int) -> LiteRtSession:
    """The frozen predecessor of LiteRT."""
    return LiteRtSession(artifact, manifest, threads, package="tflite_runtime")


def open_tensorflow(artifact: Path, manifest: Manifest, threads: int) -> LiteRtSession:
    """The interpreter inside TensorFlow."""
    return LiteRtSession(artifact, manifest, threads, package="tensorflow")


class LiteRtSession(TensorSession):
    """A TFLite file in an interpreter; XNNPACK takes over what it can unless `reference`.

    Raises:
        EnvironmentLimitError: the package is missing, or does not work with this numpy.
        BadFileError: the interpreter refuses the file, or the manifest describes another input.
    """

    def __init__(
        self,
        artifact: Path,
        manifest: Manifest,
        threads: int,
        *,
        package: str = "ai_edge_litert",
        reference: bool = False,
    ) -> None:
        self.manifest = manifest
        self._package, self._threads, self._reference = package, threads, reference
        module = _load(package)
        kernels = module.OpResolverType
        try:
            with _quiet():
                self._interpreter = module.Interpreter(
                    # Content, not path: the interpreter would map the file, and a file replaced
                    # while mapped ends in a bus error.
                    model_content=artifact.read_bytes(),
                    num_threads=threads,
                    experimental_op_resolver_type=(
                        kernels.BUILTIN_REF if reference else kernels.AUTO
                    ),
                )
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            first = str(error).strip().splitlines()[0] if str(error) else "no reason given"
            raise BadFileError(f"{artifact} is refused by {package}: {first}") from error
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        shape = (1, manifest.height, manifest.width, 3 if manifest.colour == "rgb" else 1)
        if (
            len(inputs) != 1
            or len(outputs) != 1
            or tuple(inputs[0]["shape"]) != shape
            or np.dtype(inputs[0]["dtype"]) != np.dtype(manifest.dtype)
        ):
            found = [(tuple(map(int, i["shape"])), np.dtype(i["dtype"]).name) for i in inputs]
            raise BadFileError(
                f"{artifact} takes {found}, its manifest says {[(shape, manifest.dtype)]}"
            )
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]

    def infer(self, tensor: Array) -> Array:
        """See `Session.infer`."""
        self._interpreter.set_tensor(self._input, tensor)
        self._interpreter.invoke()
        result: Array = self._interpreter.get_tensor(self._output)
        return result

    def info(self) -> SessionInfo:
        """See `Session.info`."""
        _, on_pypi, name = _PACKAGES[self._package]
        try:
            release = version(on_pypi)
        except PackageNotFoundError:
            release = str(import_module(self._package).__version__)
        slow = self._package == "tflite_runtime"
        return SessionInfo(
            runtime="litert-reference" if self._reference else name,
            version=release,
            device="cpu",
            threads=self._threads,
            delegate="reference kernels" if self._reference else self._delegate(),
            notes=(_SLOW_INT8,) if slow and self.manifest.precision == "int8" else (),
        )

    def _delegate(self) -> str:
        """How much of the graph XNNPACK took: ideally one partition."""
        names = [op["op_name"] for op in self._interpreter._get_ops_details()]
        parts = names.count("DELEGATE") + names.count("TfLiteXNNPackDelegate")
        return f"XNNPACK in {parts} partition{'s' * (parts != 1)}" if parts else "builtin kernels"


def _load(package: str) -> Any:
    """Import an interpreter's module."""
    if find_spec(package) is None:
        raise EnvironmentLimitError(f"{package} is not installed: {_INSTALL[package]}")
    if package == "tflite_runtime" and int(np.__version__.split(".")[0]) >= 2:
        raise EnvironmentLimitError(
            f"tflite-runtime crashes with numpy {np.__version__}: pip install ai-edge-litert "
            "(or 'numpy<2')"
        )
    try:
        return import_module(_PACKAGES[package][0])
    except ImportError as error:
        raise EnvironmentLimitError(
            f"{package} is installed but does not load ({error}): {_INSTALL[package]}"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the interpreter's "INFO: Created ... delegate" off the terminal; let the rest through.

    It is written by C++ straight to file descriptor 2, and no setting turns it off.
    """
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            caught.seek(0)
            for line in caught.read().splitlines(keepends=True):
                if not line.startswith(b"INFO:"):
                    os.write(2, line)
