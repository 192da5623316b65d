"""ONNX files in ONNX Runtime, on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgesr.errors import BadFileError, EnvironmentLimitError
from edgesr.manifest import Manifest
from edgesr.processor import saturates
from edgesr.runtime.pixels import Array
from edgesr.runtime.session import SessionInfo, TensorSession

_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16",
          "tensor(uint8)": "uint8", "tensor(int8)": "int8"}  # fmt: skip


def session_options(threads: int = 0) -> Any:
    """Options under which int8 files give the same codes on every CPU; 0 threads: all cores.

    x86 without VNNI adds products in pairs, in 16 bits, and saturates. Kernels for unsigned weights
    do not, and ONNX Runtime takes those where the precision entry asks for them; where there is
    VNNI it would get the same codes in 2.6 times the time (plain-m-x3, Zen 4).

    Raises:
        EnvironmentLimitError: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise EnvironmentLimitError(
            f"ONNX files need ONNX Runtime: pip install onnxruntime ({error})"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    if saturates():
        options.add_session_config_entry("session.x64quantprecision", "1")
    # Spinning waits burn the core that the next runtime of a benchmark is timed on.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


class OrtSession(TensorSession):
    """An ONNX file, all graph optimizations on, no spinning threads.

    Raises:
        EnvironmentLimitError: onnxruntime is not installed.
        BadFileError: the file is refused, or the manifest describes another input.
    """

    def __init__(self, artifact: Path, manifest: Manifest, threads: int) -> None:
        options = session_options(threads)
        import onnxruntime

        self.manifest = manifest
        self._artifact, self._threads = artifact, threads
        self._version = str(onnxruntime.__version__)
        try:
            self._session = onnxruntime.InferenceSession(
                str(artifact), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has a class of its own per status code
            first = str(error).strip().splitlines()[0]
            raise BadFileError(f"{artifact} is refused by onnxruntime: {first}") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1 or not fits(inputs[0].shape, manifest) or (
            _TYPES.get(inputs[0].type) != manifest.dtype
        ):  # fmt: skip
            raise BadFileError(
                f"{artifact} takes {[(i.shape, i.type) for i in inputs]}, its manifest says "
                f"{manifest.height}x{manifest.width} in {manifest.dtype}, {manifest.layout}"
            )
        self._input, self._output = inputs[0].name, outputs[0].name

    def infer(self, tensor: Array) -> Array:
        """See `Session.infer`."""
        result: Array = self._session.run([self._output], {self._input: tensor})[0]
        return result

    def info(self) -> SessionInfo:
        """See `Session.info`."""
        providers = ", ".join(self._session.get_providers())
        return SessionInfo(
            "onnxruntime", self._version, "cpu", self._threads, providers,
            ("no VNNI here, int8 kernels would saturate: exact ones, which are slower, run",)
            if saturates() and self.manifest.precision == "int8" else (),
        )  # fmt: skip

    def bytes_per_pixel(self) -> int:
        """Inputs and outputs of the largest node, twice: what a skip holds on to comes on top."""
        import onnx

        side = 64 * self.manifest.pad_multiple
        model = onnx.load(str(self._artifact))
        axes = (2, 3) if self.manifest.layout == "NCHW" else (1, 2)
        for axis in axes:
            model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = side
        del model.graph.value_info[:]
        model.graph.output[0].type.tensor_type.ClearField("shape")
        graph = onnx.shape_inference.infer_shapes(model).graph
        sizes = {}
        for value in (*graph.input, *graph.value_info, *graph.output):
            kind = value.type.tensor_type
            width = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)).itemsize
            sizes[value.name] = width * int(np.prod([d.dim_value for d in kind.shape.dim]))
        largest = max(
            sum(sizes.get(name, 0) for name in (*node.input, *node.output)) for node in graph.node
        )
        return max(1, int(2 * largest // side**2))


def fits(shape: list[int | str | None], manifest: Manifest) -> bool:
    """Whether an input of this shape (names where a side is free) is what the manifest says."""
    channels = 3 if manifest.colour == "rgb" else 1
    wanted: list[int | None] = [manifest.height, manifest.width]
    wanted = [*wanted, channels] if manifest.layout == "NHWC" else [channels, *wanted]
    # A side given as a name takes any value; one given as a number only its own.
    return len(shape) == 4 and all(
        side == want if isinstance(side, int) else True
        for side, want in zip(shape[1:], wanted, strict=True)
    )
