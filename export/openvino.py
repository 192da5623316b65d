"""OpenVINO IR (`.xml` and `.bin`), converted from the ONNX form, which keeps DepthToSpace.

int8 comes from the QDQ model, with the same scales. OpenVINO's CPU plugin keeps some intermediate
results in float where other runtimes requantize (the sum after a convolution), so its pixels are
close to the integer reference, not equal.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from pathlib import Path

import openvino
from edgesr.export import onnx
from edgesr.export.writers import Graph, Shape, Written

from edgesr.errors import EnvironmentLimitError
from edgesr.network import Network


def write(
    graph: Graph,
    network: Network,
    path: Path,
    shape: Shape,
    *,
    precision: str = "fp32",
    io: str = "uint8",
) -> Written:
    """Write `path` (`.xml`) and the weights beside it (`.bin`).

    Args:
        graph: lowered float graph for fp32 and fp16, quantized graph for int8.
        shape: (height, width), or None for any size.
        precision: `fp32`, `fp16` (weights; the plugin chooses the arithmetic) or `int8`.
        io: element type at both ends of an int8 model: `uint8`, `int8` or `float32`.

    Raises:
        EnvironmentLimitError: the folder cannot be written.
    """
    start = time.perf_counter()
    wide = "fp32" if precision == "fp16" else precision
    source = onnx.build(graph, network, shape, precision=wide, io=io)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            draft = Path(folder) / path.name
            draft.with_suffix(".onnx").write_bytes(source.SerializeToString())
            model = openvino.convert_model(draft.with_suffix(".onnx"))
            openvino.save_model(model, draft, compress_to_fp16=precision == "fp16")
            # The weights first: an old .xml beside new weights is noticed, the reverse is not.
            for suffix in (".bin", ".xml"):
                draft.with_suffix(suffix).replace(path.with_suffix(suffix))
    except OSError as error:
        raise EnvironmentLimitError(f"cannot write {path}: {error.strerror or error}") from error
    operators = Counter(op.get_type_name() for op in model.get_ordered_ops())
    for kind in ("Parameter", "Result", "Constant"):
        operators.pop(kind, None)
    milliseconds = 1e3 * (time.perf_counter() - start)
    files = (path, path.with_suffix(".bin"))
    return Written(files, dict(sorted(operators.items())), milliseconds)
