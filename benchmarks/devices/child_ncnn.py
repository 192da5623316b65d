"""Child of `gpu_ncnn.py`: an ncnn file in ncnn's Vulkan kernels. No edgesr here.

Reading the output is what waits for the device, so it is inside the time.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import ncnn
import numpy as np

KINDS = ("discrete", "integrated", "virtual", "software")
"""ncnn's numbers for kinds of adapters; Vulkan has others."""


def opened(job: dict[str, Any], adapter: int) -> ncnn.Net:
    net = ncnn.Net()
    net.opt.use_vulkan_compute = True
    for name in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic"):
        setattr(net.opt, name, job["half"])
    net.opt.use_bf16_packed = net.opt.use_bf16_storage = False
    net.set_vulkan_device(adapter)
    if net.load_param(job["model"]) or net.load_model(str(Path(job["model"]).with_suffix(".bin"))):
        sys.exit(f"ERROR: ncnn refuses {Path(job['model']).name}")
    return net


def main(job: dict[str, Any]) -> None:
    if ncnn.get_gpu_count() == 0:
        # It would compute on the processor and say nothing.
        sys.exit("ERROR: ncnn finds no Vulkan adapter that it takes")
    adapter = ncnn.get_default_gpu_index()
    facts = ncnn.get_gpu_info(adapter)
    start = time.perf_counter()
    net = opened(job, adapter)
    compiled = time.perf_counter() - start
    planes = np.load(job["input"])[0]  # named: a Mat does not keep it alive
    image = ncnn.Mat(planes).clone()

    def call() -> Any:
        extractor = net.create_extractor()
        extractor.input("x", image)
        failed, output = extractor.extract("y")
        if failed:
            sys.exit(f"ERROR: ncnn fails with code {failed}")
        return np.array(output)

    output = call()
    samples = []
    if job["timed"] and KINDS[facts.type()] != "software":
        for _ in range(job["warm_up"]):
            call()
        for _ in range(job["runs"]):
            start = time.perf_counter()
            call()
            samples.append((time.perf_counter() - start) * 1e3)
    np.save(job["output"], output[None])
    layers = [layer for layer in net.layers() if layer.type != "Input"]
    print(json.dumps({
        "samples": samples, "compile_s": compiled, "adapter": facts.device_name(),
        "kind": KINDS[facts.type()],
        "on_gpu": sum(layer.support_vulkan for layer in layers),
        "on_cpu": [layer.type for layer in layers if not layer.support_vulkan],
    }), flush=True)  # fmt: skip


main(json.loads(sys.argv[1]))
