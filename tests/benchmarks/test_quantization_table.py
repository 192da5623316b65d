"""The quantization table: figures by hand, kept while they hold, honest where something lacks."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from edgesr.benchmarks import candidates, quantization, subjects
from edgesr.benchmarks.candidates import litert
from edgesr.benchmarks.documents import read_document
from edgesr.benchmarks.markdown import replace_section, table
from edgesr.benchmarks.quality import judge
from edgesr.benchmarks.quantization import Options, measure_row, run
from edgesr.benchmarks.quantization_table import markdown
from edgesr.benchmarks.subjects import SUBJECTS, Subject, load_subject

from edgesr.data.datasets import Dataset
from edgesr.data.images import ImageFile, write_image
from edgesr.errors import BadFileError, UsageError
from edgesr.models.registry import create

TINY = Subject("plain-d3c16-x2", "plain")


def save_state(folder, subject=TINY, seed=0):
    """A training state as `edgesr train` leaves it."""
    torch.manual_seed(seed)
    module = create(subject.name).module
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    (folder / subject.name).mkdir(exist_ok=True)
    torch.save({"average": module.state_dict(), "step": 1}, folder / subject.name / "state.pt")


@pytest.fixture
def data(tmp_path, scene, noise):
    paths = []
    for name, image in (("scene", scene), ("noise", noise)):
        paths.append(tmp_path / f"{name}.png")
        write_image(ImageFile(image), paths[-1])
    return Dataset("tiny", tuple(paths))


@pytest.fixture
def options(tmp_path, scene):
    torch.set_num_threads(1)
    save_state(tmp_path)
    return Options(states=tmp_path, litert=1, calibration=[scene, scene[::-1]])


def test_quality_by_hand(scene):
    """One code off in every value is 48.13 dB, and the float network loses nothing to itself."""

    def exact(low):
        return low.repeat(2, 0).repeat(2, 1).clip(0, 254)

    exact_quality, found = judge(
        exact, {"same": exact, "off": lambda low: exact(low) + 1}, [("scene", scene)], 2
    )
    assert found["same"].against_fp32 is None and found["same"].mean == exact_quality.mean
    assert found["off"].against_fp32 == pytest.approx(20 * np.log10(255))


def test_a_row_is_measured_and_equals_litert(options, data):
    row = measure_row(TINY, [data], {}, options)
    cells = row["sets"]["tiny"]
    assert cells["ptq"]["images"] == ["scene", "noise"]
    assert cells["ptq"]["drop"] == pytest.approx(cells["fp32"]["mean"] - cells["ptq"]["mean"])
    assert cells["ptq"]["against_fp32"] > 35
    assert cells["ptq"]["litert"]["images"] == 1 and cells["ptq"]["litert"]["different"] == 0
    assert "qat" not in cells and row["no_qat"]


def test_the_luma_network_of_the_table_is_judged_on_rgb(tmp_path, options, data):
    luma = Subject("ecbsr-m4c8-x2", "plain")
    save_state(tmp_path, luma)
    cells = measure_row(luma, [data], {}, options)["sets"]["tiny"]
    assert cells["ptq"]["litert"]["different"] == 0


def test_figures_are_kept_until_the_weights_change(options, data, tmp_path, monkeypatch):
    row = measure_row(TINY, [data], {}, options)
    monkeypatch.setattr(candidates, "quantize", lambda *_: pytest.fail("measured again"))
    assert measure_row(TINY, [data], row, options) == row
    shorter = Dataset("tiny", data.paths[:1])
    monkeypatch.undo()
    assert measure_row(TINY, [shorter], row, options)["sets"]["tiny"]["ptq"]["images"] == ["scene"]
    save_state(tmp_path, seed=1)
    changed = measure_row(TINY, [data], row, options)
    assert changed["weights"] != row["weights"]
    assert changed["sets"]["tiny"]["ptq"]["mean"] != row["sets"]["tiny"]["ptq"]["mean"]


def test_candidates_that_are_not_asked_for_keep_their_figures(options, data, monkeypatch):
    row = measure_row(TINY, [data], {}, options)
    row["sets"]["tiny"]["ptq"]["made_from"] = "code that has changed since"
    monkeypatch.setattr(candidates, "quantize", lambda *_: pytest.fail("measured again"))
    assert measure_row(TINY, [data], row, replace(options, only=("qat",)))["sets"] == row["sets"]


def test_ptq_waits_for_the_next_run(options, data, tmp_path, monkeypatch):
    kept = replace(options, keep=tmp_path / "keep")
    row = measure_row(TINY, [data], {}, kept)
    monkeypatch.setattr(candidates, "quantize", lambda *_: pytest.fail("quantized again"))
    again = measure_row(TINY, [data], {}, kept)["sets"]["tiny"]["ptq"]
    assert again["psnr"] == row["sets"]["tiny"]["ptq"]["psnr"]


def test_other_sets_stay(options, data):
    row = measure_row(TINY, [data], {"sets": {"b100": {"fp32": {"mean": 1.0}}}}, options)
    assert set(row["sets"]) == {"b100", "tiny"}


def test_a_network_without_weights_says_so(options, tmp_path):
    row = measure_row(Subject("imdn-x3", "deep"), [], {}, options)
    assert "no weights" in row["skipped"]
    text = markdown(run([Subject("imdn-x3", "deep")], [], tmp_path / "r.json", options))
    assert "imdn-x3: no weights" in text


def test_weights_by_others_need_the_pack(monkeypatch):
    monkeypatch.delenv("EDGESR_PACK", raising=False)
    with pytest.raises(BadFileError, match="EDGESR_PACK is not set"):
        load_subject(Subject("x", "deep", "rlfn/rlfn_x4.pth"))


def test_the_reference_check_would_notice(options, data, scene):
    """LiteRT runs the file, not the reference: other integers give other pixels."""
    network = load_subject(TINY, options.states)
    (ptq, *_) = candidates.candidates_for(TINY, network, options.calibration)
    made = ptq.make()
    before = made.run(scene)
    weights = dict(made.quantized.weights)
    name, first = next(iter(weights.items()))
    weights[name] = replace(first, bias=first.bias + 500)
    assert (litert(replace(made.quantized, weights=weights), scene) != before).any()


def row_of(drop, **more):
    cell = {"mean": 30.0 - drop, "drop": drop, "against_fp32": 48.0, "date": "2026-01-02T00:00",
            "litert": {"images": 1, "values": 9, "different": 0, "largest": 0}}  # fmt: skip
    sets = {"set14": {"fp32": {"mean": 30.0}, "ptq": cell, **more}}
    return {"network": "a", "group": "plain", "sets": sets, "no_qat": ""}


def document(row):
    return {
        "rows": [row], "protocol": "P", "calibration_images": 3, "machine": {"packages": {}}
    }  # fmt: skip


def test_a_drop_beyond_the_budget_is_bold():
    assert "| **0.051** |" in markdown(document(row_of(0.051)))
    assert "| 0.049 |" in markdown(document(row_of(0.049)))
    assert "2026-01-02" in markdown(document(row_of(0.049)))


def test_qat_has_its_own_budget_and_published_files_their_table():
    qat = row_of(0.03)["sets"]["set14"]["ptq"]
    text = markdown(document(row_of(0.04, qat=qat, **{"theirs.tflite": qat | {"litert": None}})))
    assert "| **0.030** |" in text and "| theirs.tflite | a | set14 |" in text


def test_differences_from_litert_are_told():
    row = row_of(0.01)
    row["sets"]["set14"]["ptq"]["litert"] |= {"different": 2, "largest": 3}
    assert "2 of 9 values differ, by up to 3" in markdown(document(row))


def test_a_document_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "other.json"
    path.write_text(json.dumps({"version": 1}))
    with pytest.raises(BadFileError, match="not a result"):
        read_document(path, 1)


def test_a_section_is_replaced_and_nothing_else(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("a\n<!-- begin t -->\nold\n<!-- end t -->\nb\n")
    replace_section(path, "t", "new\n")
    assert path.read_text() == "a\n<!-- begin t -->\n\nnew\n\n<!-- end t -->\nb\n"
    with pytest.raises(UsageError, match="no section"):
        replace_section(path, "u", "new\n")


def test_markdown_tables_align_figures():
    text = table([{"a": "x", "b": 1.23456}, {"a": None, "b": 2}], {"a": "A", "b": "B"})
    assert text == "| A | B |\n| --- | ---: |\n| x | 1.235 |\n|  | 2 |\n"


def test_the_command_names_its_rows(tmp_path, capsys):
    out = str(tmp_path / "r.json")
    assert quantization.main(["--rows", "nonesuch", "--sets", "samples", "--out", out]) == 2
    assert "plain-m-x3" in capsys.readouterr().err


@pytest.mark.pack
@pytest.mark.parametrize("subject", [s for s in SUBJECTS if s.source], ids=lambda s: s.name)
def test_published_weights_load(pack, subject):
    network = load_subject(subject)
    assert isinstance(network.scale, int)
    for name in subject.published:
        assert subjects.published_file(name).is_file()
