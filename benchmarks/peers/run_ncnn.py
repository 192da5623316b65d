"""ncnn through pnnx: convert the exchange folder, or run the files. Its own environment.

    python run_ncnn.py convert FOLDER OUT.ncnn.param fp32
    python run_ncnn.py serve OUT.ncnn.param INPUT.npy OUTPUT.npy     # pnnx's file, or edgesr's

fp32 throughout: fp16 and bf16 storage, which phones would use, are off, so that the rows compare.
int8 needs the tools ncnn2table and ncnn2int8, which are not in its wheel.
"""

# mypy: ignore-errors
# (its imports exist in the peer's environment only)

import collections
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np


def convert(folder: Path, out: Path, precision: str) -> None:
    import torch
    from chain import Network

    if precision != "fp32":
        sys.exit("ncnn2table and ncnn2int8, which quantize, are not in ncnn's wheel")
    torch.set_num_threads(1)
    network = Network(folder).eval()
    (x,) = network.example()
    start = time.perf_counter()
    script = out.with_name("network.pt")
    torch.jit.trace(network, x).save(str(script))
    pnnx = Path(sys.executable).with_name("pnnx")
    shape = ",".join(map(str, x.shape))
    command = [
        str(pnnx), str(script), f"inputshape=[{shape}]", f"ncnnparam={out}",
        f"ncnnbin={out.with_suffix('.bin')}", "fp16=0",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=out.parent)
    if done.returncode or not out.exists():
        sys.exit(f"pnnx fails: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    seconds = time.perf_counter() - start
    kinds = [line.split()[0] for line in out.read_text().splitlines()[2:] if line.strip()]
    from importlib.metadata import version

    print(json.dumps({
        "seconds": seconds, "operators": dict(collections.Counter(kinds)), "left": {},
        "versions": {name: version(name) for name in ("ncnn", "pnnx", "torch")},
    }))  # fmt: skip


def serve(file: Path, source: Path, output: Path) -> None:
    import ncnn
    from chain import serve as answer

    net = ncnn.Net()
    net.opt.num_threads = 1
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = False
    net.load_param(str(file))
    net.load_model(str(file.with_suffix(".bin")))
    pixels = np.ascontiguousarray(np.load(source)[0])

    def run() -> Any:
        extractor = net.create_extractor()
        extractor.input(net.input_names()[0], ncnn.Mat(pixels))
        return np.array(extractor.extract(net.output_names()[0])[1])

    answer(run, output)


if __name__ == "__main__":
    mode, *rest = sys.argv[1:]
    if mode == "convert":
        convert(Path(rest[0]), Path(rest[1]), rest[2])
    else:
        serve(*map(Path, rest))
