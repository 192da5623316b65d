"""x86 without VNNI: the runtimes are told not to add products in 16 bits."""

from __future__ import annotations

import numpy as np
import pytest

from edgesr import processor
from edgesr.runtime import open_session, upscale
from edgesr.runtime.ort import session_options
from edgesr.runtime.ov import settings

ZEN3 = "processor\t: 0\nmodel name\t: a chip\nflags\t\t: fpu sse4_2 avx2 fma\n\nprocessor\t: 1\n"
ZEN4 = ZEN3.replace("fma", "fma avx512f avx512_vnni")
ALDER = ZEN3.replace("fma", "fma avx_vnni")
PHONE = "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\n"


@pytest.mark.parametrize(
    ("facts", "machine", "wrong"),
    [
        (ZEN3, "x86_64", True),
        (ZEN4, "x86_64", False),
        (ALDER, "x86_64", False),
        (PHONE, "aarch64", False),
        (None, "x86_64", False),  # no Linux: nothing is known
    ],
)
def test_who_saturates(facts, machine, wrong, monkeypatch, tmp_path):
    file = tmp_path / "cpuinfo"
    if facts:
        file.write_text(facts)
    known = processor.cpuinfo(file)
    monkeypatch.setattr(processor, "cpuinfo", lambda: known)
    monkeypatch.setattr(processor.platform, "machine", lambda: machine)
    assert processor.saturates() is wrong


def test_floats_stand_in_for_int8_in_openvino(write, rng, monkeypatch):
    """Whatever this processor is: the form that others get gives LiteRT's codes, nearly."""
    path = write("plain-s-x3", "openvino", "int8", (40, 50))
    image = rng.integers(0, 256, (40, 50, 3), np.uint8)
    exact = write("plain-s-x3", "tflite", "int8", (40, 50))
    wanted = upscale(open_session(exact), image).astype(int)
    for wrong in (True, False):
        monkeypatch.setattr("edgesr.runtime.ov.saturates", lambda wrong=wrong: wrong)
        assert ("LP_TRANSFORMS_MODE" in settings(1)) is wrong
        session = open_session(path)
        assert any("no VNNI" in note for note in session.info().notes) is wrong
        if wrong:
            gap = np.abs(upscale(session, image) - wanted)
            assert gap.max() <= 2 and np.mean(gap > 0) < 0.01


def test_onnxruntime_is_asked_for_the_kernels_that_do_not(monkeypatch):
    """Only where others are wrong: where there is VNNI, they take 2.6 times as long."""
    key = "session.x64quantprecision"
    monkeypatch.setattr("edgesr.runtime.ort.saturates", lambda: True)
    assert session_options(1).get_session_config_entry(key) == "1"
    monkeypatch.setattr("edgesr.runtime.ort.saturates", lambda: False)
    with pytest.raises(RuntimeError, match=key):
        session_options(1).get_session_config_entry(key)
