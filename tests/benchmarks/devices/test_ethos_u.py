"""Vela's output as recorded; the real one where it is installed."""

import pytest
from edgesr.benchmarks.devices import open_device
from edgesr.benchmarks.devices.bench import bench_on
from edgesr.benchmarks.devices.device import DeviceError
from edgesr.export.compile.vela import read_placement, read_summary

from edgesr.errors import BadFileError

SUMMARY = """\
experiment,network,accelerator_configuration,system_config,memory_mode,core_clock,inference_time,\
sram_memory_used,dram_memory_used,off_chip_flash_memory_used,nn_macs,cycles_npu,cycles_total
default,net,Ethos_U65_512,Ethos_U65_Client_Server,Dedicated_Sram_384KB,1000000000.0,0.009917487,\
364.015625,6810.203125,0.0,3474038400,8924229,9917487
"""
OUTPUT = """\
TfLiteReader: Built-in options type 'DepthToSpaceOptions' is not yet implemented.

Warning (supported operators) operator: DEPTH_TO_SPACE, ofm: 'depth_to_space_default'
Reason: Unsupported opType

CPU operators = 1 (9.1%)
   CPU: Passthrough = depth_to_space_default (outputs [1, 1020, 672, 3])
NPU operators = 3 (90.9%)
   NPU: Quantize = x_codes (outputs [1, 340, 224, 3])
   NPU: Conv2D = conv2d_default_6 (outputs [1, 340, 224, 27])
   NPU: Add = add_tensor_16 (outputs [1, 340, 224, 27])
"""


def test_the_summary_in_our_units():
    estimate = read_summary(SUMMARY)
    assert estimate["ms"] == pytest.approx(9.917487)
    assert (estimate["cycles"], estimate["clock_mhz"]) == (9917487, 1000.0)
    assert estimate["sram_kib"] == pytest.approx(364.015625)
    assert estimate["system"] == "Ethos_U65_Client_Server"


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", SUMMARY.replace("0.009917487", "fast")])
def test_another_vela_is_named(text):
    with pytest.raises(DeviceError, match="known version"):
        read_summary(text)


def test_operators_left_behind_have_their_own_names():
    placement, reasons = read_placement(OUTPUT)
    assert placement.on_device == 3 and placement.on_cpu == ("DEPTH_TO_SPACE",)
    assert placement.full is False
    assert reasons == {"DEPTH_TO_SPACE": "Unsupported opType"}
    assert read_placement(OUTPUT.replace("CPU: Pass", "NPU: Pass"))[0].full is True
    assert read_placement("nothing of the kind")[0].full is None


def test_vela_itself(artifact):
    pytest.importorskip("ethosu.vela", reason="Vela is not installed: pip install 'edgesr[npu]'")
    times = {}
    for name in ("ethos-u55-256", "ethos-u65-512", "ethos-u85-2048"):
        (row,) = bench_on(open_device(name), [artifact()]).rows
        times[name] = row.estimate["ms"]
        assert row.samples == [] and row.label == "estimate" and row.parity is None
        assert row.placement.on_cpu == ("DEPTH_TO_SPACE",) and row.placement.on_device > 5
        assert row.estimate["macs"] > 0 and row.estimate["sram_kib"] > 0
    assert times["ethos-u55-256"] > times["ethos-u65-512"] > 0


def test_float_files_are_refused(artifact):
    pytest.importorskip("ethosu.vela", reason="Vela is not installed: pip install 'edgesr[npu]'")
    with pytest.raises(BadFileError, match="--precision int8"):
        bench_on(open_device("ethos-u65-512"), [artifact(precision="fp32")])
