"""OpenVINO IR, and ONNX files, in OpenVINO on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgesr.errors import BadFileError, EnvironmentLimitError
from edgesr.manifest import Manifest
from edgesr.processor import saturates
from edgesr.runtime.ort import fits
from edgesr.runtime.pixels import Array
from edgesr.runtime.session import SessionInfo, TensorSession


def settings(threads: int = 0) -> dict[str, Any]:
    """Options of the CPU plugin under which a file gives the same pixels on every machine; 0
    threads: all cores.

    What is not int8 is computed in fp32: left alone, the plugin takes bf16 where the CPU has it.
    Where its int8 kernels would saturate, int8 layers are computed in floats, too: within a code of
    the integer reference, and as slow as fp32.
    """
    known: dict[str, Any] = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    if saturates():
        known["LP_TRANSFORMS_MODE"] = "NO"
    return known


class OpenVinoSession(TensorSession):
    """An IR (`.xml` with its `.bin`) or ONNX file, compiled for low latency.

    Raises:
        EnvironmentLimitError: openvino is not installed.
        BadFileError: the file is refused, or the manifest describes another input.
    """

    def __init__(self, artifact: Path, manifest: Manifest, threads: int) -> None:
        try:
            import openvino
        except ImportError as error:
            raise EnvironmentLimitError(
                f"{artifact.name} needs OpenVINO: pip install openvino ({error})"
            ) from error
        self.manifest = manifest
        self._artifact, self._threads = artifact, threads
        self._version = str(openvino.__version__).split("-")[0]
        self._core = openvino.Core()
        try:
            model = self._core.read_model(str(artifact))
            self._compiled: Any = self._core.compile_model(model, "CPU", settings(threads))
        except Exception as error:  # RuntimeError, or classes of its own that changed over time
            lines = [line for line in str(error).strip().splitlines() if line.strip()]
            raise BadFileError(f"{artifact} is refused by openvino: {lines[-1:]}") from error
        inputs = self._compiled.inputs
        shapes = [_sides(port) for port in inputs]
        types = [port.get_element_type().to_dtype() for port in inputs]
        if len(inputs) != 1 or len(self._compiled.outputs) != 1 or not fits(
            shapes[0], manifest
        ) or types[0] != np.dtype(manifest.dtype):  # fmt: skip
            raise BadFileError(
                f"{artifact} takes {list(zip(shapes, types, strict=True))}, its manifest says "
                f"{manifest.height}x{manifest.width} in {manifest.dtype}, {manifest.layout}"
            )
        self._request = self._compiled.create_infer_request()

    def infer(self, tensor: Array) -> Array:
        """See `Session.infer`. The result is a copy: the next call would write into it."""
        self._request.infer({0: tensor}, share_inputs=True)
        return np.array(self._request.get_output_tensor(0).data)

    def info(self) -> SessionInfo:
        """See `Session.info`."""
        device = self._compiled.get_property("EXECUTION_DEVICES")
        precision = self._compiled.get_property("INFERENCE_PRECISION_HINT")
        kind = precision.to_string() if hasattr(precision, "to_string") else str(precision)
        return SessionInfo(
            "openvino", self._version, "cpu", self._threads, f"{'+'.join(device)} plugin, {kind}",
            ("no VNNI here, int8 kernels would saturate: int8 layers are computed in floats",)
            if saturates() and self.manifest.precision == "int8" else (),
        )  # fmt: skip

    def bytes_per_pixel(self) -> int:
        """Inputs and outputs of the largest operator, twice, as in `OrtSession`."""
        side = 64 * self.manifest.pad_multiple
        channels = 3 if self.manifest.colour == "rgb" else 1
        model = self._core.read_model(str(self._artifact))
        nchw = self.manifest.layout == "NCHW"
        model.reshape([1, channels, side, side] if nchw else [1, side, side, channels])
        largest = 1
        for operator in model.get_ordered_ops():
            if operator.get_type_name() in ("Constant", "Result"):
                continue
            ports = [*operator.outputs(), *operator.inputs()]
            sizes = [
                int(np.prod(list(port.get_shape()))) * port.get_element_type().size
                for port in ports
                if not _is_constant(port)
            ]
            largest = max(largest, sum(sizes))
        return max(1, 2 * largest // side**2)


def _is_constant(port: Any) -> bool:
    source = port.get_source_output() if hasattr(port, "get_source_output") else port
    return bool(source.get_node().get_type_name() == "Constant")


def _sides(port: Any) -> list[int | str | None]:
    shape = port.get_partial_shape()
    return [side.get_length() if side.is_static else None for side in shape]
