"""NPUs and graphics chips through their vendors' tools: recorded output, and the tools."""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from edgesr.benchmarks.devices import gpu, open_device, parity
from edgesr.benchmarks.devices.bench import bench_on
from edgesr.benchmarks.devices.device import DeviceError, Work
from edgesr.benchmarks.devices.snapdragon import read_report
from edgesr.benchmarks.devices.tools import TOOLS, find_tool
from edgesr.export.compile import child, environments
from edgesr.export.compile.rknn import read_table
from edgesr.export.onnx.shuffles import between_quantizers

from edgesr.errors import BadFileError, UsageError
from edgesr.processor import saturates
from edgesr.runtime.ort import session_options

TABLE = """\
D RKNN: [01:43:28.923] ID   OpType             DataType Target InputShape   OutputShape  \
Cycles(DDR/NPU/Total)    RW(KB)       FullName
D RKNN: [01:43:28.923] 0    InputOperator      INT8     CPU    \\                       \
(1,3,48,64)            0/0/0                    0            InputOperator:x
D RKNN: [01:43:28.923] 1    ConvRelu           INT8     NPU    (1,3,48,64),(16,3,3,3),(16) \
(1,16,48,64)           2576/27648/27648         11           Conv:conv2d_default.op
D RKNN: [01:43:28.923] 2    Softmax            INT8     CPU    (1,16,48,64)             \
(1,3,96,128)           18724/49152/49152        48           Softmax:s
D RKNN: [01:43:28.923] 3    OutputOperator     INT8     CPU    (1,3,96,128)             \
\\                      0/0/0                    384          OutputOperator:y
"""
ADAPTER = (
    "I0000 00:00:1795311806.242060   23560 environment.cc:532] Selected adapter: {}, arch={}, "
    "vendor=v, backend=Vulkan, adapterType={}\n"
)


def installed(name):
    try:
        find_tool(name).require()
    except DeviceError as error:
        pytest.skip(str(error))


def test_rockchips_table():
    placement, cycles = read_table(TABLE)
    assert placement.on_device == 1 and placement.on_cpu == ("Softmax",)
    assert cycles == 27648 + 49152
    assert read_table("something else")[0].full is None


def test_software_is_called_software():
    real = ADAPTER.format("NVIDIA H100", "hopper", "Discrete GPU")
    assert gpu.read_adapter(real) == ("NVIDIA H100", False)
    soft = ADAPTER.format("SwiftShader Device (Subzero)", "swiftshader", "CPU / Software")
    assert gpu.read_adapter(soft) == ("SwiftShader Device (Subzero)", True)
    assert gpu.read_adapter("no such line")[1]  # unknown counts as software


def test_movers_between_quantizers_are_the_same_function(artifact, tmp_path):
    path = artifact("onnx")
    model = onnx.load(str(path))
    between_quantizers(model)
    onnx.save(model, str(tmp_path / "wrapped.onnx"))
    kinds = [node.op_type for node in model.graph.node]
    at = kinds.index("DepthToSpace")
    assert kinds[at - 1 : at + 2] == ["DequantizeLinear", "DepthToSpace", "QuantizeLinear"]
    between_quantizers(model)
    assert [node.op_type for node in model.graph.node] == kinds
    tensor = parity.payload_for(path).golden
    outputs = [
        onnxruntime.InferenceSession(str(file), session_options()).run(None, {"x": tensor})[0]
        for file in (path, tmp_path / "wrapped.onnx")
    ]
    assert np.array_equal(*outputs)


def test_a_child_that_dies_says_why(tmp_path):
    python = Path(sys.executable)
    with pytest.raises(DeviceError, match="device failed: KeyError: 'model'"):
        child.call("device", python, Path(gpu.__file__).with_name("child_litert.py"), {})
    script = tmp_path / "slow.py"
    script.write_text("import time; time.sleep(9)")
    with pytest.raises(DeviceError, match="within"):
        child.call("device", python, script, {}, timeout=0.2)
    script.write_text("print('garbage')")
    with pytest.raises(DeviceError, match="no word why"):
        child.call("device", python, script, {})
    assert child.last_words("", -9) == "it was killed by signal 9"


def test_tools_that_are_not_there_name_the_command(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGESR_CACHE", str(tmp_path))
    for name in TOOLS:
        with pytest.raises(DeviceError, match=f"edgesr devices --install {name}"):
            find_tool(name).require()
    with pytest.raises(UsageError, match="qnn"):
        find_tool("tvm")


def test_an_environment_of_other_pins_is_not_ours(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGESR_CACHE", str(tmp_path))
    tool = environments.Tool("t", ("a==1",))
    python = tool.folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    (tool.folder / "edgesr-complete").write_text("a==1")
    assert tool.python() == python
    assert environments.Tool("t", ("a==2",)).python() is None


@pytest.mark.parametrize("io", ["uint8", "int8"])
def test_the_gpu_delegate_on_software(artifact, io):
    device = open_device("gpu")
    try:
        device.probe()
    except DeviceError as error:
        pytest.skip(str(error))
    (row,) = bench_on(device, [artifact(io=io)], require_full=True).rows
    if row.label == "software":
        assert row.samples == []
    # The delegate computes an int8 file in fp32, so codes may differ by the rounding of layers.
    # LiteRT's plugin cannot be told to leave OpenVINO's saturating kernels alone.
    assert row.parity.psnr is None or row.parity.psnr > (25 if saturates() else 40)


def test_the_npu_path_of_litert(artifact):
    device = open_device("npu")
    try:
        device.probe()
    except DeviceError as error:
        pytest.skip(str(error))
    (row,) = bench_on(device, [artifact()], require_full=True).rows
    assert row.label == "emulated" or row.samples
    # LiteRT's plugin cannot be told to leave OpenVINO's saturating kernels alone.
    assert row.parity.psnr is None or row.parity.psnr > (25 if saturates() else 40)


def test_hexagon_takes_the_whole_file(artifact):
    installed("qnn")
    (row,) = bench_on(open_device("qnn"), [artifact("onnx")], require_full=True).rows
    assert (row.label, row.samples) == ("emulated", [])
    assert row.facts["context_bytes"] > 10_000
    assert row.parity.psnr is None or row.parity.psnr > 35


def test_snapdragons_report():
    text = "Subgraph 0 partially compiled:\t9 / 11 ops offloaded to 2 partitions.\n"
    assert read_report(text).full is False and read_report(text).on_device == 9
    assert read_report(text.replace("9 /", "11 /")).full is True
    assert read_report("").full is None


def test_snapdragon_takes_the_whole_file(artifact):
    installed("qnn")
    (row,) = bench_on(open_device("snapdragon"), [artifact()], require_full=True).rows
    assert (row.label, row.samples, row.parity) == ("estimate", [], None)
    assert row.placement.on_device > 5 and row.facts["compiled_bytes"] > 10_000


def test_rockchip_takes_the_whole_file(artifact):
    installed("rknn")
    (row,) = bench_on(open_device("rknn"), [artifact("onnx")], require_full=True).rows
    assert (row.label, row.samples) == ("emulated", [])
    assert row.estimate["cycles"] > 0
    assert row.parity.psnr is None or row.parity.psnr > 35


@pytest.mark.parametrize("name", ["gpu:cuda", "gpu:openvino"])
def test_chips_that_are_not_here(name, artifact):
    device = open_device(name)
    try:
        device.probe()
    except DeviceError as error:
        assert "install" in str(error)
        return
    (row,) = bench_on(device, [artifact("onnx", "fp32")]).rows
    assert row.samples and row.parity.max_lsb <= 1


def test_files_of_another_kind_are_refused(artifact):
    device = open_device("rknn")
    with pytest.raises(BadFileError, match=r"takes \.onnx files"):
        device.push(parity.payload_for(artifact()))
    assert device.pull() is None and Work().threads == 1
