"""Child of `gpu.py` and `openvino_npu.py`: LiteRT's CompiledModel on one accelerator.

Reading the output is what waits for the device, so it is inside the time. No edgesr here.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import ai_edge_litert
import numpy as np
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.environment import Environment, EnvironmentOptions
from ai_edge_litert.gpu_options import GpuOptions
from ai_edge_litert.hardware_accelerator import HardwareAccelerator
from ai_edge_litert.options import Options

PACKAGE = Path(ai_edge_litert.__file__).parent


def environment(vendor: str | None) -> Environment:
    if not vendor:
        return Environment.create(options=EnvironmentOptions(runtime_path=str(PACKAGE)))
    folder = PACKAGE / "vendors" / vendor
    return Environment.create(
        options=EnvironmentOptions(
            runtime_path=str(PACKAGE),
            compiler_plugin_path=str(folder / "compiler"),
            dispatch_library_path=str(folder / "dispatch"),
        )
    )


def accelerator(job: dict[str, Any]) -> Options:
    cpu = HardwareAccelerator.CPU
    if job["accelerator"] == "gpu":
        return Options(
            hardware_accelerators=HardwareAccelerator.GPU | cpu,
            gpu_options=GpuOptions(enforce_f32=True),
        )
    from ai_edge_litert.intel_openvino_options import (
        IntelOpenVinoGraphBackend,
        IntelOpenVinoOptions,
    )

    graph = IntelOpenVinoGraphBackend[job["graph"]]
    return Options(
        hardware_accelerators=HardwareAccelerator.NPU | cpu,
        intel_openvino_options=IntelOpenVinoOptions(graph_backend=graph),
    )


def main(job: dict[str, Any]) -> None:
    start = time.perf_counter()
    model = CompiledModel.from_file(
        job["model"], options=accelerator(job), environment=environment(job.get("vendor"))
    )
    compiled = time.perf_counter() - start
    inputs, outputs = model.create_input_buffers(0), model.create_output_buffers(0)
    tensor = np.load(job["input"])
    key = next(iter(model.get_signature_list()))
    (facts,) = model.get_output_tensor_details(key).values()
    shape, kind = facts["shape"], np.dtype(facts["dtype"])
    count = int(np.prod(shape))

    def call() -> Any:
        inputs[0].write(tensor)
        model.run_by_index(0, inputs, outputs)
        return outputs[0].read(count, kind.type)

    output = call()
    samples = []
    if job["timed"]:
        for _ in range(job["warm_up"]):
            call()
        for _ in range(job["runs"]):
            start = time.perf_counter()
            call()
            samples.append((time.perf_counter() - start) * 1e3)
    np.save(job["output"], output.reshape(shape))
    print(json.dumps({
        "samples": samples, "full": bool(model.is_fully_accelerated()), "compile_s": compiled,
    }), flush=True)  # fmt: skip


main(json.loads(sys.argv[1]))
